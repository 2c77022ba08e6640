//! The head of a request, as strict as it can be read.
//!
//! Lines are looked at one after the other, as they are there: a head that comes byte by byte costs no more than one that comes at
//! once, and what is wrong is known at the end of its line.

use std::net::Ipv6Addr;

use memchr::memchr;

use super::fault::HeadFault;
use crate::listener::limits::{BODY, FIELDS, HEAD};

/// How long a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the head, with the empty line that ends it.
    pub length: usize,
    /// Bytes of the body: Content-Length, or none.
    pub body: usize,
}

/// Reads the head that `bytes` begin with. There is none as long as it has more of them.
///
/// What is refused because of some bytes is refused in the same way with more.
pub fn head(bytes: &[u8]) -> Result<Option<Head>, HeadFault> {
    Scan::default().advance(bytes)
}

/// How far a head is read.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Where the line begins that is not whole yet.
    line: usize,
    /// Before here no line ends that was not looked at.
    searched: usize,
    fields: usize,
    body: Option<usize>,
    expect: bool,
    host: bool,
}

impl Scan {
    /// Reads on. The bytes are those of the last time, and more.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<Option<Head>, HeadFault> {
        loop {
            let rest = bytes.get(self.searched..).unwrap_or_default();
            let Some(feed) = memchr(b'\n', rest) else {
                self.searched = bytes.len();
                // The end of this line would be beyond the limit.
                return if bytes.len() < HEAD {
                    Ok(None)
                } else {
                    Err(self.too_long())
                };
            };
            let feed = self.searched + feed;
            let end = feed + 1;
            if end > HEAD {
                return Err(self.too_long());
            }
            let line = bytes
                .get(self.line..feed)
                .and_then(|line| line.strip_suffix(b"\r"))
                .ok_or(HeadFault::BareFeed)?;
            if memchr(b'\r', line).is_some() {
                return Err(HeadFault::BareReturn);
            }
            match (self.line == 0, line.is_empty()) {
                (true, true) => return Err(HeadFault::EmptyLine),
                (true, false) => request_line(line)?,
                (false, true) => return self.end(end).map(Some),
                (false, false) => self.field(line)?,
            }
            self.line = end;
            self.searched = end;
        }
    }

    fn too_long(&self) -> HeadFault {
        if self.line == 0 {
            HeadFault::TargetTooLong
        } else {
            HeadFault::HeadTooLong
        }
    }

    fn end(&self, length: usize) -> Result<Head, HeadFault> {
        if !self.host {
            return Err(HeadFault::HostAbsent);
        }
        Ok(Head {
            length,
            body: self.body.unwrap_or(0),
        })
    }

    fn field(&mut self, line: &[u8]) -> Result<(), HeadFault> {
        self.fields += 1;
        if self.fields > FIELDS {
            return Err(HeadFault::TooManyFields);
        }
        if line.first().copied().is_some_and(is_space) {
            return Err(HeadFault::Fold);
        }
        let colon = memchr(b':', line).ok_or(HeadFault::NoColon)?;
        let (name, value) = line.split_at(colon);
        if name.last().copied().is_some_and(is_space) {
            return Err(HeadFault::SpaceBeforeColon);
        }
        if !is_token(name) {
            return Err(HeadFault::FieldName);
        }
        let value = trim(value.get(1..).unwrap_or_default());
        let is_text = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
        // All bytes are looked at, also after a wrong one: so they are compared many at a time.
        if !value.iter().fold(true, |all, byte| all & is_text(byte)) {
            let wrong = value.iter().find(|byte| !is_text(byte));
            return Err(match wrong {
                Some(0x80..) => HeadFault::NonAscii,
                _ => HeadFault::ControlByte,
            });
        }
        self.known(name, value)
    }

    /// Looks at fields that say where a request ends, or what the connection is for.
    fn known(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadFault> {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        if is(b"connection") {
            let taken = |option: &[u8]| {
                let option = trim(option);
                option.eq_ignore_ascii_case(b"close") || option.eq_ignore_ascii_case(b"keep-alive")
            };
            if !value.split(|&byte| byte == b',').all(taken) {
                return Err(HeadFault::ConnectionOption);
            }
        } else if is(b"content-length") {
            if self.body.is_some() {
                return Err(HeadFault::ContentLengthTwice);
            }
            self.body = Some(content_length(value)?);
        } else if is(b"expect") {
            if self.expect || !value.eq_ignore_ascii_case(b"100-continue") {
                return Err(HeadFault::Expect);
            }
            self.expect = true;
        } else if is(b"host") {
            if self.host {
                return Err(HeadFault::HostTwice);
            }
            if !is_host(value) {
                return Err(HeadFault::Host);
            }
            self.host = true;
        } else if is(b"te") {
            return Err(HeadFault::Te);
        } else if is(b"transfer-encoding") {
            return Err(HeadFault::TransferEncoding);
        } else if is(b"upgrade") {
            return Err(HeadFault::Upgrade);
        }
        Ok(())
    }
}

/// `method SP request-target SP HTTP-version` (RFC 9112, 3).
fn request_line(line: &[u8]) -> Result<(), HeadFault> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(HeadFault::RequestLine);
    };
    match version {
        b"HTTP/1.1" => {}
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            return Err(HeadFault::Version);
        }
        _ => return Err(HeadFault::RequestLine),
    }
    if !is_token(method) {
        return Err(HeadFault::Method);
    }
    if method == b"CONNECT" {
        return Err(HeadFault::Connect);
    }
    origin_form(target)
}

/// `absolute-path [ "?" query ]` (RFC 9112, 3.2.1).
fn origin_form(target: &[u8]) -> Result<(), HeadFault> {
    match target {
        [b'/', ..] => {}
        b"*" => return Err(HeadFault::AsteriskTarget),
        _ if target.windows(3).any(|part| part == b"://") => {
            return Err(HeadFault::AbsoluteTarget);
        }
        _ => return Err(HeadFault::AuthorityTarget),
    }
    let mut rest = target;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            (b'%', [high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                after
            }
            (b'/' | b'?' | b':' | b'@', _) => after,
            _ if is_unreserved(byte) || is_delimiter(byte) => after,
            _ => return Err(HeadFault::TargetByte),
        };
    }
    Ok(())
}

/// Plain digits, with no zero before them: no two readers can take that for different numbers (RFC 9110, 8.6).
fn content_length(value: &[u8]) -> Result<usize, HeadFault> {
    let digits = matches!(value, b"0" | [b'1'..=b'9', ..]) && value.iter().all(u8::is_ascii_digit);
    if !digits {
        return Err(HeadFault::ContentLength);
    }
    // What does not fit a number does not fit the limit either.
    str::from_utf8(value)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .filter(|&length| length <= BODY)
        .ok_or(HeadFault::BodyTooLarge)
}

/// `uri-host [ ":" port ]` (RFC 9110, 7.2). Names have letters, digits, `-`, `.`, `_` and `~`: no DNS name has what RFC 3986
/// lets a `reg-name` have beyond, and nobody needs an `IPvFuture`, a zone, or a colon without port.
fn is_host(value: &[u8]) -> bool {
    let Ok(value) = str::from_utf8(value) else {
        return false;
    };
    let (valid, rest) = if let Some(literal) = value.strip_prefix('[') {
        let Some((address, rest)) = literal.split_once(']') else {
            return false;
        };
        (address.parse::<Ipv6Addr>().is_ok(), rest)
    } else {
        let (name, rest) = value.split_at(value.find(':').unwrap_or(value.len()));
        (!name.is_empty() && name.bytes().all(is_unreserved), rest)
    };
    let port = match rest.strip_prefix(':') {
        None => rest.is_empty(),
        Some(port) => port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok(),
    };
    valid && port
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| TOKEN[usize::from(*byte)])
}

/// Which bytes tokens have (RFC 9110, 5.6.2).
const TOKEN: [bool; 256] = {
    let mut is_in = [false; 256];
    let mut byte = 0_u8;
    while byte.is_ascii() {
        is_in[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    is_in
};

/// RFC 3986, 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// `sub-delims` of RFC 3986, 2.2.
fn is_delimiter(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
    )
}

/// Takes optional white space away (RFC 9110, 5.6.3), which is less than what `trim_ascii` does.
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}
