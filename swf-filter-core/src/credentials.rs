//! How access keys look: made from random bytes, which are arguments.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::sigv4::Secret;

/// What an id is of, as its first four characters say. IAM User Guide, "IAM identifiers", unique identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prefix {
    /// `AKIA`: an access key that lasts.
    LongLived,
    /// `AROA`: a role.
    Role,
    /// `ASIA`: an access key that comes with a session token.
    Temporary,
    /// `AIDA`: a user.
    User,
}

impl Prefix {
    /// The four characters.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::LongLived => "AKIA",
            Self::Role => "AROA",
            Self::Temporary => "ASIA",
            Self::User => "AIDA",
        }
    }
}

/// An access key id of 20 characters, with 80 bits of `bytes`.
#[must_use]
pub fn access_key_id(prefix: Prefix, bytes: [u8; 10]) -> String {
    format!("{}{}", prefix.text(), base32(&bytes))
}

/// A secret access key of 40 characters, with 240 bits of `bytes`.
#[must_use]
pub fn secret(bytes: [u8; 30]) -> Secret {
    Secret::new(STANDARD.encode(bytes))
}

/// The unique id, of 21 characters, of a user or role that was given none: always the same for one ARN.
#[must_use]
pub fn unique_id(prefix: Prefix, arn: &str) -> String {
    let hash = blake3::derive_key("swf-filter unique id of a principal 1", arn.as_bytes());
    // 88 bits: 17 characters of 5 bits.
    let (bytes, _) = hash.split_at(11);
    format!("{}{}", prefix.text(), base32(bytes))
}

/// Five bits a character, without padding; bits that fill no character are left out. RFC 4648, section 6.
fn base32(bytes: &[u8]) -> String {
    let bits = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1));
    let mut text = String::with_capacity(bytes.len() * 8 / 5);
    let (mut value, mut count) = (0, 0);
    for bit in bits {
        value = value << 1 | bit;
        count += 1;
        if count == 5 {
            text.push(char::from(match value {
                0..=25 => b'A' + value,
                _ => b'2' + (value - 26),
            }));
            (value, count) = (0, 0);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_that_of_rfc_4648() {
        // Section 10, without the padding; "fooba" is 40 bits.
        assert_eq!(base32(b"fooba"), "MZXW6YTB");
        assert_eq!(base32(b"foo"), "MZXW");
        assert_eq!(base32(b""), "");
        assert_eq!(base32(&[0xff; 5]), "77777777");
    }

    #[test]
    fn keys_have_the_length_of_those_of_aws() {
        let id = access_key_id(Prefix::LongLived, [0; 10]);
        assert_eq!(id, "AKIAAAAAAAAAAAAAAAAA");
        assert_eq!(
            access_key_id(Prefix::Temporary, [255; 10]),
            "ASIA7777777777777777"
        );
        assert_eq!(secret([0; 30]).expose(), "A".repeat(40));
        assert_ne!(secret([1; 30]).expose(), secret([2; 30]).expose());
    }

    #[test]
    fn a_unique_id_is_of_one_arn() {
        let arn = "arn:aws:iam::111122223333:role/worker";
        let id = unique_id(Prefix::Role, arn);
        assert_eq!(id.len(), 21);
        assert!(id.starts_with("AROA"));
        assert_eq!(id, unique_id(Prefix::Role, arn));
        assert_ne!(
            id,
            unique_id(Prefix::Role, "arn:aws:iam::111122223333:role/other")
        );
    }
}
