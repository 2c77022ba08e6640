//! Why a request is not taken for its caller's, and what AWS answers then.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use super::time::{earlier, later, written};
use crate::prefix::text::excerpt;

/// A part that a signature has to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The access key id and scope.
    Credential,
    /// The time.
    Date,
    /// For how long a signature in the query holds.
    Expires,
    /// The signature itself.
    Signature,
    /// The names of the header fields that are signed.
    SignedHeaders,
}

/// Why a request is not taken for its caller's. In words, it says more than its answer, and is for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// A header field that is said to be signed is not there.
    #[error("the header field `{}` is signed, but not there", excerpt(.name))]
    AbsentHeader {
        /// Its name.
        name: String,
    },
    /// It is signed by an algorithm that is not known.
    #[error("the algorithm is `{}`, not AWS4-HMAC-SHA256", excerpt(.algorithm))]
    Algorithm {
        /// The algorithm.
        algorithm: String,
    },
    /// The body is not the one that `x-amz-content-sha256` tells of, or is not signed at all.
    #[error("x-amz-content-sha256 is not the hash of the body")]
    Body,
    /// There is a signature both in the header and in the query.
    #[error("both the header and the query have a signature")]
    BothForms,
    /// The time is written wrong.
    #[error("`{}` is no time such as 20150830T123600Z", excerpt(.text))]
    Date {
        /// As written.
        text: String,
    },
    /// The day of the scope is not that of the time.
    #[error("the scope is for the day `{}`, but the request is of {day}", excerpt(.scope))]
    Day {
        /// The scope's.
        scope: String,
        /// The time's.
        day: String,
        /// The time, as it was sent.
        time: String,
    },
    /// It comes too late.
    #[error("it was signed for a time before {}", written(*.since))]
    Expired {
        /// The time of the request.
        time: Timestamp,
        /// The earliest that is taken now.
        since: Timestamp,
        /// The time now.
        now: Timestamp,
    },
    /// `X-Amz-Expires` is not a number of seconds from 1 to 604,800.
    #[error("X-Amz-Expires is `{}`, not a number from 1 to 604800", excerpt(.text))]
    Expires {
        /// As written.
        text: String,
    },
    /// The signature is not the one that the caller's key makes.
    #[error("the signature is not that of the request")]
    Mismatch,
    /// It is not signed at all.
    #[error("it is not signed")]
    Missing,
    /// Parts of the signature are missing.
    #[error("the signature lacks {}", listed(.parts))]
    Parts {
        /// Which.
        parts: Vec<Part>,
        /// The header field, as it was sent; none if the signature stands in the query.
        header: Option<String>,
    },
    /// It is signed for another region.
    #[error("the scope is for the region `{}`", excerpt(.region))]
    Region {
        /// The scope's.
        region: String,
    },
    /// A field, or a part of the signature, is there several times where one is meant.
    #[error("there are several `{name}`")]
    Repeated {
        /// Its name.
        name: &'static str,
    },
    /// The credential has not five parts.
    #[error("the credential `{}` has not five parts", excerpt(.credential))]
    Scope {
        /// As written.
        credential: String,
    },
    /// It is signed for another service.
    #[error("the scope is for the service `{}`", excerpt(.service))]
    Service {
        /// The scope's.
        service: String,
        /// The right one.
        expected: String,
    },
    /// The names of signed header fields are not in lower case, in order and each there once.
    #[error("the names of signed header fields `{}` are not in lower case, or not in order", excerpt(.names))]
    SignedHeaders {
        /// As written.
        names: String,
    },
    /// The scope does not end as it has to.
    #[error("the scope ends in `{}`, not in aws4_request", excerpt(.terminator))]
    Terminator {
        /// The scope's.
        terminator: String,
    },
    /// It comes too early.
    #[error("it was signed for a time after {}", written(*.until))]
    TooEarly {
        /// The time of the request.
        time: Timestamp,
        /// The latest that is taken now.
        until: Timestamp,
        /// The time now.
        now: Timestamp,
    },
    /// A header field that AWS reads is not signed.
    #[error("the header field `{}` is not signed", excerpt(.name))]
    UnsignedHeader {
        /// Its name.
        name: String,
    },
    /// The host is not signed.
    #[error("the header field `host` is not signed")]
    UnsignedHost,
}

/// An error as AWS words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The error's name.
    pub code: &'static str,
    /// Its message.
    pub message: String,
}

impl Fault {
    /// What AWS answers. It does not tell what a signature would have to be.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let (code, message) = match self {
            Self::AbsentHeader { .. }
            | Self::Body
            | Self::Mismatch
            | Self::SignedHeaders { .. } => (
                INVALID,
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                 Access Key and signing method. Consult the service documentation for details."
                    .to_owned(),
            ),
            Self::Algorithm { algorithm } => (
                INCOMPLETE,
                format!("Unsupported AWS 'algorithm': '{algorithm}'."),
            ),
            Self::BothForms => (
                INVALID,
                "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.".to_owned(),
            ),
            Self::Date { text } => (
                INCOMPLETE,
                format!(
                    "Date must be in ISO-8601 'basic format'. Got '{text}'. See http://en.wikipedia.org/wiki/ISO_8601"
                ),
            ),
            Self::Day { scope, day, time } => (
                INVALID,
                format!(
                    "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
                     '{scope}' != '{day}', from '{time}'."
                ),
            ),
            Self::Expired { time, since, now } => (
                INVALID,
                format!(
                    "Signature expired: {} is now earlier than {} ({} - {}.)",
                    written(*time),
                    written(*since),
                    written(*now),
                    minutes(now.duration_since(*since)),
                ),
            ),
            Self::Expires { .. } => (
                INCOMPLETE,
                "X-Amz-Expires must be a number of seconds from 1 to 604800".to_owned(),
            ),
            Self::Missing => (
                "MissingAuthenticationTokenException",
                "Request is missing Authentication Token".to_owned(),
            ),
            Self::Parts { parts, header } => (INCOMPLETE, missing(parts, header.as_deref())),
            Self::Region { region } => (
                INVALID,
                format!("Credential should be scoped to a valid region, not '{region}'. "),
            ),
            Self::Repeated { name } => (INCOMPLETE, format!("'{name}' must not be repeated.")),
            Self::Scope { credential } => (
                INCOMPLETE,
                format!(
                    "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got \
                     '{credential}'"
                ),
            ),
            Self::Service { expected, .. } => (
                INVALID,
                format!("Credential should be scoped to correct service: '{expected}'. "),
            ),
            Self::Terminator { terminator } => (
                INVALID,
                format!(
                    "Credential should be scoped with a valid terminator: 'aws4_request', not '{terminator}'. "
                ),
            ),
            Self::TooEarly { time, until, now } => (
                INVALID,
                format!(
                    "Signature not yet current: {} is still later than {} ({} + {}.)",
                    written(*time),
                    written(*until),
                    written(*now),
                    minutes(until.duration_since(*now)),
                ),
            ),
            Self::UnsignedHost => (
                INVALID,
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.".to_owned(),
            ),
            Self::UnsignedHeader { name } => (
                INVALID,
                format!("'{name}' must be a 'SignedHeader' in the AWS Authorization."),
            ),
        };
        Answer { code, message }
    }

    /// A request that comes too early or too late.
    pub(super) fn of_time(time: Timestamp, now: Timestamp, skew: SignedDuration) -> Option<Self> {
        let (first, last) = (earlier(now, skew), later(now, skew));
        if time < first {
            let since = first;
            Some(Self::Expired { time, since, now })
        } else if time > last {
            let until = last;
            Some(Self::TooEarly { time, until, now })
        } else {
            None
        }
    }
}

const INCOMPLETE: &str = "IncompleteSignatureException";
const INVALID: &str = "InvalidSignatureException";

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Credential => "Credential",
            Self::Date => "Date",
            Self::Expires => "Expires",
            Self::Signature => "Signature",
            Self::SignedHeaders => "SignedHeaders",
        }
    }
}

/// One sentence for each part.
fn missing(parts: &[Part], header: Option<&str>) -> String {
    let sentences = parts.iter().map(|part| match (part, header) {
        (Part::Date, Some(_)) => {
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "
                .to_owned()
        }
        (part, Some(_)) => {
            format!(
                "Authorization header requires '{}' parameter. ",
                part.name()
            )
        }
        (part, None) => format!(
            "AWS query-string parameters must include 'X-Amz-{}'. ",
            part.name()
        ),
    });
    let mut message: String = sentences.collect();
    match header {
        Some(header) => {
            message.push_str("Authorization=");
            message.push_str(header);
        }
        None => message.push_str("Re-examine the query-string parameters."),
    }
    message
}

fn listed(parts: &[Part]) -> String {
    let names: Vec<&str> = parts.iter().map(|part| part.name()).collect();
    names.join(", ")
}

fn minutes(duration: SignedDuration) -> impl fmt::Display {
    format!("{} min", duration.as_mins())
}
