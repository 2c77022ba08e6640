//! Authenticated encryption of what leaves the process and has to come back as it was: session tokens, and secrets at rest.
//!
//! XChaCha20-Poly1305 with a nonce of 24 bytes, which is long enough to be drawn at random for as many texts as there will
//! ever be (draft-irtf-cfrg-xchacha, section 2.1). The nonce is an argument, because nothing here draws lots.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

/// Bytes of a key.
pub const KEY: usize = 32;
/// Bytes of a nonce.
pub const NONCE: usize = 24;
/// Bytes that sealing adds: nonce and tag.
pub const OVERHEAD: usize = NONCE + 16;

/// A key to seal with. It is wiped from memory at its end, and never printed.
#[derive(Clone)]
pub struct SealingKey(Zeroizing<[u8; KEY]>);

/// What was to be opened was not sealed with this key, or for this purpose, or was altered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was sealed with another key or for another purpose, or was altered")]
pub struct NotSealed;

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(..)")
    }
}

impl SealingKey {
    /// Takes a key.
    #[must_use]
    pub fn new(key: [u8; KEY]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// Seals `text` for a purpose, which has to be the same when it is opened. The nonce comes first in what is given back.
    #[must_use]
    pub fn seal(&self, purpose: &[u8], text: &[u8], nonce: [u8; NONCE]) -> Vec<u8> {
        let payload = Payload {
            msg: text,
            aad: purpose,
        };
        let mut sealed = nonce.to_vec();
        match self.cipher().encrypt(&XNonce::from(nonce), payload) {
            Ok(rest) => sealed.extend(rest),
            // Only texts of more than 256 GiB cannot be sealed.
            Err(error) => unreachable!("{error}"),
        }
        sealed
    }

    /// Opens what [`seal`](Self::seal) gave back.
    pub fn open(&self, purpose: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotSealed> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or(NotSealed)?;
        let payload = Payload {
            msg: rest,
            aad: purpose,
        };
        let text = self.cipher().decrypt(&XNonce::from(*nonce), payload);
        Ok(Zeroizing::new(text.map_err(|_| NotSealed)?))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&Key::from(*self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const NONCE: [u8; 24] = [9; 24];

    #[test]
    fn what_is_sealed_opens_again() {
        let key = SealingKey::new(KEY);
        let sealed = key.seal(b"test", b"text", NONCE);
        assert_eq!(sealed.len(), 4 + OVERHEAD);
        assert_eq!(&**key.open(b"test", &sealed).unwrap(), b"text");
    }

    #[test]
    fn nothing_else_opens() {
        let key = SealingKey::new(KEY);
        let sealed = key.seal(b"test", b"text", NONCE);
        assert_eq!(key.open(b"tess", &sealed), Err(NotSealed));
        assert_eq!(
            SealingKey::new([8; 32]).open(b"test", &sealed),
            Err(NotSealed)
        );
        for index in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[index] ^= 1;
            assert_eq!(key.open(b"test", &altered), Err(NotSealed), "byte {index}");
            assert_eq!(key.open(b"test", &sealed[..index]), Err(NotSealed));
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", SealingKey::new(KEY)), "SealingKey(..)");
    }
}
