//! The canonical request: one text for all ways to write the same request.

use std::borrow::Cow;
use std::collections::HashMap;
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
}

/// In hexadecimal digits.
impl fmt::Display for BodyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for BodyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub(super) fn hex(bytes: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    // Formatting each byte would take longer than hashing them.
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .try_for_each(|digit| f.write_char(digit))
}

impl<'a> Head<'a> {
    /// The values of a header field, whose name is given in lower case.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    /// The values of all header fields, by their names in lower case.
    pub(super) fn fields(&self) -> HashMap<String, Vec<&'a [u8]>> {
        let mut fields: HashMap<String, Vec<&[u8]>> = HashMap::new();
        for (name, value) in &self.headers {
            let values = fields.entry(name.to_ascii_lowercase()).or_default();
            values.push(value);
        }
        fields
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
        let mut text = Vec::new();
        text.extend(self.method.as_bytes());
        text.push(b'\n');
        let own = match path {
            PathForm::AsSent => Cow::Borrowed(self.path),
            PathForm::Normalized => normalized(self.path).into(),
        };
        text.extend(encoded(own.as_bytes(), Slash::Keep).bytes());
        text.push(b'\n');
        text.extend(self.canonical_query(unsigned).bytes());
        text.push(b'\n');
        let fields = self.fields();
        for name in signed.split(';') {
            text.extend(name.bytes());
            text.push(b':');
            let values = fields.get(name).into_iter().flatten();
            let values: Vec<Vec<u8>> = values.map(|value| collapsed(value)).collect();
            text.extend(values.join(&b','));
            text.push(b'\n');
        }
        text.push(b'\n');
        text.extend(signed.bytes());
        text.push(b'\n');
        text.extend(body.to_string().bytes());
        text
    }

    fn canonical_query(&self, unsigned: Option<&str>) -> String {
        let is_signed = |name: &[u8]| unsigned.is_none_or(|unsigned| name != unsigned.as_bytes());
        let parameters = self.parameters().filter(|(name, _)| is_signed(name));
        let mut parameters: Vec<(String, String)> = parameters
            .map(|(name, value)| {
                (
                    encoded(&name, Slash::Encode),
                    encoded(&value, Slash::Encode),
                )
            })
            .collect();
        parameters.sort_unstable();
        let parameters: Vec<String> = parameters
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        parameters.join("&")
    }
}

/// A path without `.`, `..` and empty segments. What these end in is a directory, which ends in a slash.
fn normalized(path: &str) -> String {
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
    format!("/{}{end}", kept.join("/"))
}

/// A header field's value, trimmed, and with one space for each run of them.
fn collapsed(value: &[u8]) -> Vec<u8> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let words = value.split(is_space).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(&b' ')
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slash {
    Encode,
    Keep,
}

/// With all but unreserved characters (RFC 3986, section 2.3) as `%XX`.
fn encoded(bytes: &[u8], slash: Slash) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                text.push(char::from(*byte));
            }
            b'/' if slash == Slash::Keep => text.push('/'),
            _ => {
                // Writing to a string does not fail.
                let _ = fmt::Write::write_fmt(&mut text, format_args!("%{byte:02X}"));
            }
        }
    }
    text
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
