//! Secrets, and the keys that are derived from them for a day, a region and a service.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::canonical::{hex, text};

/// A secret access key. It is wiped from memory at its end, and never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself, for whom it is made, or to seal it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A key that signs requests of one day to one region and service. It is wiped and never printed, either.
#[derive(Clone)]
pub struct SigningKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

impl SigningKey {
    /// Derives the key for a day, written as `20150830`, a region and a service.
    #[must_use]
    pub fn derive(secret: &Secret, day: &str, region: &str, service: &str) -> Self {
        let mut first = Zeroizing::new(String::with_capacity(secret.0.len() + 4));
        first.push_str("AWS4");
        first.push_str(&secret.0);
        let parts = [region, service, "aws4_request"].into_iter();
        Self(
            parts.fold(hmac(first.as_bytes(), day.as_bytes()), |key, part| {
                hmac(&*key, part.as_bytes())
            }),
        )
    }

    /// The signature of a text, in hexadecimal digits.
    #[must_use]
    pub fn sign(&self, what: &str) -> String {
        text(&self.digits(what)).to_owned()
    }

    /// Whether `signature` is that of `text`. How long it takes does not tell how much of it is right.
    #[must_use]
    pub fn is_signature(&self, text: &str, signature: &str) -> bool {
        self.digits(text).ct_eq(signature.as_bytes()).into()
    }

    fn digits(&self, text: &str) -> [u8; 64] {
        hex(&hmac(&*self.0, text.as_bytes()))
    }
}

fn hmac(key: &[u8], text: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut mac = match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac,
        // HMAC takes keys of any length.
        Err(error) => unreachable!("{error}"),
    };
    mac.update(text);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// Derived keys, of which the oldest goes when there are too many.
#[derive(Debug)]
pub struct KeyCache {
    /// By credential: an access key id, and the scope of a key.
    keys: HashMap<Arc<str>, SigningKey>,
    oldest: VecDeque<Arc<str>>,
    most: usize,
}

impl KeyCache {
    /// A cache of at most `most` keys.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            keys: HashMap::new(),
            oldest: VecDeque::new(),
            most,
        }
    }

    /// The key of a [credential](super::Checked::credential), derived now if it is not known.
    ///
    /// Secrets do not change: an access key id stands for one.
    pub fn key(&mut self, credential: &str, derive: impl FnOnce() -> SigningKey) -> SigningKey {
        if let Some(key) = self.keys.get(credential) {
            return key.clone();
        }
        while self.keys.len() >= self.most.max(1) {
            let Some(oldest) = self.oldest.pop_front() else {
                break;
            };
            self.keys.remove(&oldest);
        }
        let key = derive();
        let credential = Arc::from(credential);
        self.keys.insert(Arc::clone(&credential), key.clone());
        self.oldest.push_back(credential);
        key
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.oldest.clear();
    }
}
