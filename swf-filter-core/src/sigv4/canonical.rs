//! The canonical request: one text for all ways to write the same request.

use std::borrow::Cow;
use std::fmt;

use sha2::{Digest, Sha256};

/// The head of a request, as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, as it was sent.
    pub path: &'a str,
    /// The query without its `?`, as it was sent.
    pub query: &'a str,
    /// The header fields in the order in which they arrived. Over HTTP/2, the authority is `host`.
    pub headers: Vec<(&'a str, &'a [u8])>,
}

/// The SHA-256 of a whole body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BodyHash([u8; 32]);

/// How a path was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathForm {
    /// As it was sent, and encoded once more.
    AsSent,
    /// Without `.`, `..` and empty segments, and encoded once more.
    Normalized,
}

impl BodyHash {
    /// Hashes a body.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }

    /// In hexadecimal digits.
    pub(super) fn digits(self) -> [u8; 64] {
        hex(&self.0)
    }
}

/// In hexadecimal digits.
impl fmt::Display for BodyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text(&self.digits()))
    }
}

impl fmt::Debug for BodyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hexadecimal digits. Formatting each byte would take longer than hashing them.
pub(super) fn hex(bytes: &[u8; 32]) -> [u8; 64] {
    let mut digits = [0; 64];
    for (pair, byte) in digits.as_chunks_mut().0.iter_mut().zip(bytes) {
        *pair = [byte >> 4, byte & 0xf].map(|half| half + if half < 10 { b'0' } else { b'a' - 10 });
    }
    digits
}

/// Digits as text.
pub(super) fn text(digits: &[u8; 64]) -> &str {
    // INVARIANT: they are ASCII.
    str::from_utf8(digits).unwrap_or_default()
}

impl<'a> Head<'a> {
    /// The values of a header field, whose name is given in lower case.
    pub(super) fn values(&self, name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(own, _)| own.as_bytes().eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    /// The parameters of the query, decoded.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let parts = self.query.split('&').filter(|part| !part.is_empty());
        parts.map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decoded(name), decoded(value))
        })
    }

    /// The canonical request. `signed` are names of header fields, with `;` between them. `unsigned` is the parameter of
    /// the query that holds the signature, if one does.
    pub(super) fn canonical(
        &self,
        signed: &str,
        unsigned: Option<&str>,
        path: PathForm,
        body: BodyHash,
    ) -> Vec<u8> {
        let mut text = Vec::with_capacity(USUAL_LENGTH);
        text.extend(self.method.as_bytes());
        text.push(b'\n');
        let own = match path {
            PathForm::AsSent => Cow::Borrowed(self.path),
            PathForm::Normalized => normalized(self.path),
        };
        encode(own.as_bytes(), Slash::Keep, &mut text);
        text.push(b'\n');
        self.write_query(unsigned, &mut text);
        text.push(b'\n');
        for name in names_in(signed) {
            text.extend(name);
            text.push(b':');
            for (number, value) in self.values(name).enumerate() {
                if number > 0 {
                    text.push(b',');
                }
                collapse(value, &mut text);
            }
            text.push(b'\n');
        }
        text.push(b'\n');
        text.extend(signed.as_bytes());
        text.push(b'\n');
        text.extend(body.digits());
        text
    }

    fn write_query(&self, unsigned: Option<&str>, text: &mut Vec<u8>) {
        let is_signed = |name: &[u8]| unsigned.is_none_or(|unsigned| name != unsigned.as_bytes());
        let encoded = |part: &[u8]| {
            let mut text = Vec::new();
            encode(part, Slash::Encode, &mut text);
            text
        };
        let parameters = self.parameters().filter(|(name, _)| is_signed(name));
        let mut parameters: Vec<[Vec<u8>; 2]> = parameters
            .map(|(name, value)| [encoded(&name), encoded(&value)])
            .collect();
        parameters.sort_unstable();
        for (number, [name, value]) in parameters.iter().enumerate() {
            if number > 0 {
                text.push(b'&');
            }
            text.extend(name);
            text.push(b'=');
            text.extend(value);
        }
    }
}

/// The names in a list of signed header fields.
pub(super) fn names_in(signed: &str) -> impl Iterator<Item = &[u8]> {
    signed.as_bytes().split(|byte| *byte == b';')
}

/// Bytes of most canonical requests, without a session token.
const USUAL_LENGTH: usize = 512;

/// A path without `.`, `..` and empty segments. What these end in is a directory, which ends in a slash.
fn normalized(path: &str) -> Cow<'_, str> {
    if path == "/" {
        return path.into();
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut is_directory = false;
    for segment in path.split('/') {
        is_directory = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            _ => kept.push(segment),
        }
    }
    let end = if is_directory && !kept.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{end}", kept.join("/")).into()
}

/// Writes a header field's value, trimmed, and with one space for each run of them.
fn collapse(value: &[u8], text: &mut Vec<u8>) {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let words = value.split(is_space).filter(|word| !word.is_empty());
    for (number, word) in words.enumerate() {
        if number > 0 {
            text.push(b' ');
        }
        text.extend(word);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slash {
    Encode,
    Keep,
}

/// Writes bytes with all but unreserved characters (RFC 3986, section 2.3) as `%XX`.
fn encode(bytes: &[u8], slash: Slash, text: &mut Vec<u8>) {
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => text.push(*byte),
            b'/' if slash == Slash::Keep => text.push(b'/'),
            _ => text.extend([b'%', digit(byte >> 4), digit(byte & 15)]),
        }
    }
}

/// A hexadecimal digit.
fn digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0' + value,
        _ => b'A' - 10 + value,
    }
}

/// With `%XX` as the byte that it stands for, and `+` as a space, as signers read queries. What is not `%XX` stays.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let (byte, after) = match byte {
            b'%' => escaped(after).unwrap_or((*byte, after)),
            b'+' => (b' ', after),
            _ => (*byte, after),
        };
        bytes.push(byte);
        rest = after;
    }
    bytes
}

/// The byte that two hexadecimal digits stand for, and what follows them.
fn escaped(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, after) = text.split_first_chunk::<2>()?;
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    let byte = u8::try_from(high? * 16 + low?).ok()?;
    Some((byte, after))
}
