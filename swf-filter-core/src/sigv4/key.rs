//! Secrets, and the keys that are derived from them for a day, a region and a service.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::canonical::hex;

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
    pub fn sign(&self, text: &str) -> String {
        let mut signature = String::with_capacity(64);
        // Writing to a string does not fail.
        let _ = hex(&*hmac(&*self.0, text.as_bytes()), &mut signature);
        signature
    }

    /// Whether `signature` is that of `text`. How long it takes does not tell how much of it is right.
    #[must_use]
    pub fn is_signature(&self, text: &str, signature: &str) -> bool {
        self.sign(text)
            .as_bytes()
            .ct_eq(signature.as_bytes())
            .into()
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
    keys: HashMap<Name, SigningKey>,
    oldest: VecDeque<Name>,
    most: usize,
}

/// An access key id, and the scope of a derived key.
type Name = (Box<str>, Box<str>);

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

    /// The key of an access key id for a scope, derived now if it is not known.
    ///
    /// Secrets do not change: an access key id stands for one.
    pub fn key(
        &mut self,
        access_key_id: &str,
        scope: &str,
        derive: impl FnOnce() -> SigningKey,
    ) -> SigningKey {
        let name = (Box::from(access_key_id), Box::from(scope));
        if let Some(key) = self.keys.get(&name) {
            return key.clone();
        }
        while self.keys.len() >= self.most.max(1) {
            let Some(oldest) = self.oldest.pop_front() else {
                break;
            };
            self.keys.remove(&oldest);
        }
        let key = derive();
        self.keys.insert(name.clone(), key.clone());
        self.oldest.push_back(name);
        key
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.oldest.clear();
    }
}
