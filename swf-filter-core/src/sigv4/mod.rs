//! Signature Version 4: who signed a request.
//!
//! A request goes through three types. [`Claim::read`] takes apart what a request says of its signature, whatever its
//! truth. [`Claim::check`] holds it against the clock, the region and service, and what has to be signed. What comes out
//! names the access key, whose secret then tells by [`Checked::verify`] whether the signature is right. The order is that in which
//! AWS answers, and [`Fault::answer`] has its words.
//!
//! `SigV4a`, chunked and unsigned bodies are refused: SWF has none of them.

mod canonical;
mod claim;
mod fault;
mod key;
mod time;

pub use self::canonical::{BodyHash, Head, PathForm};
pub use self::claim::{Checked, Claim, Form};
pub use self::fault::{Answer, Fault, Part};
pub use self::key::{KeyCache, Secret, SigningKey};

/// What a signature is held against.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The region that requests have to be signed for.
    pub region: Box<str>,
    /// The service, such as `swf`.
    pub service: Box<str>,
    /// How far a client's clock may be off, either way.
    pub skew: jiff::SignedDuration,
    /// Whether a signature may stand in the query.
    pub query: QueryForm,
    /// How the path was signed.
    pub path: PathForm,
}

/// Whether a signature may stand in the query, as in presigned URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryForm {
    /// It may.
    Accept,
    /// It is as if there were none, but beside one in the header it is wrong all the same.
    Ignore,
}

impl Rules {
    /// Those of AWS for a region and service.
    #[must_use]
    pub fn of(region: &str, service: &str) -> Self {
        Self {
            region: region.into(),
            service: service.into(),
            skew: jiff::SignedDuration::from_mins(15),
            query: QueryForm::Ignore,
            path: PathForm::Normalized,
        }
    }
}

#[cfg(test)]
mod tests;
