//! Why a request gets no further, and what its client is told.
//!
//! One exhaustive `match` gives the code, status and words. What is wrong in detail goes to the audit log, and never to the client.

use std::borrow::Cow;

use hyper::StatusCode;
use swf_filter_core::iam::principal::NotCaller;
use swf_filter_core::judge::{Refused, Ruling, UNKNOWN_NETWORK};
use swf_filter_core::session::TokenFault;
use swf_filter_core::swf::CallFault;
use swf_filter_core::{sigv4, sts};
use thiserror::Error;

use super::audit::Verdict;
use super::guard::HeadFault;
use super::upstream::UpstreamFault;

/// Why a request gets no further. In words, it is for the operator.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    /// Its body does not come, or does not come in time.
    #[error("the body did not arrive: {0}")]
    Body(Box<str>),
    /// What it asks for cannot be told.
    #[error("{0}")]
    Call(#[from] CallFault),
    /// The policy's documents do not allow it.
    #[error("{}", words(.0))]
    Denied(Box<Ruling>),
    /// The temporary credentials are over.
    #[error("the session token has expired")]
    ExpiredToken,
    /// Its head is not one.
    #[error("{0}")]
    Head(#[from] HeadFault),
    /// The documents are not even asked.
    #[error("{0}")]
    NotJudged(#[from] Refused),
    /// It cannot be told which VPC it comes from.
    #[error("it cannot be told which VPC it comes from")]
    NoNetwork,
    /// The user of an access key has no ARN that can be read.
    #[error("{0}")]
    NoCaller(#[from] NotCaller),
    /// The system has no randomness.
    #[error("no randomness: {0}")]
    NoRandomness(getrandom::Error),
    /// There is no policy, or it has no such host.
    #[error("no policy is in force for this listener")]
    NoPolicy,
    /// Its client has as many bodies under way as it may, or as many large requests that wait.
    #[error(
        "request bodies in flight, or large requests that wait, exceed the limit of the client or of all"
    )]
    NoRoom,
    /// STS does not do what it is asked for.
    #[error("{0}")]
    Sts(#[from] sts::Fault),
    /// The policy does not let its source in any more.
    #[error("its source is not let in: {rule}")]
    Source {
        /// What decides.
        rule: Box<str>,
    },
    /// Who signed cannot be told.
    #[error("{0}")]
    Signature(#[from] sigv4::Fault),
    /// It is not for where it was sent.
    #[error("`{method} {path}` is nothing that SWF has")]
    Target {
        /// The method.
        method: Box<str>,
        /// The path.
        path: Box<str>,
    },
    /// The session token is not taken.
    #[error("{0}")]
    Token(#[from] TokenFault),
    /// No user has the access key, or it is disabled.
    #[error("no active access key is `{access_key_id}`")]
    UnknownKey {
        /// The access key.
        access_key_id: Box<str>,
    },
    /// The operation is none of SWF.
    #[error("`{target}` is no operation of SWF")]
    UnknownOperation {
        /// What the request names.
        target: Box<str>,
    },
    /// The upstream does not answer.
    #[error("{0}")]
    Upstream(#[from] UpstreamFault),
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) status: StatusCode,
    /// The exception's name, after `#`.
    pub(super) code: &'static str,
    pub(super) message: Option<Cow<'static, str>>,
}

impl Told {
    fn bad(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code,
            message: Some(message.into()),
        }
    }
}

const DENIED: &str = "AccessDeniedException";
const SERIALIZATION: &str = "SerializationException";
const INVALID_TOKEN: &str = "The security token included in the request is invalid";

impl Refusal {
    /// Its name, in the audit log. Names are stable.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Body(_) => "body-missing",
            Self::Call(_) => "bad-call",
            Self::Denied(ruling) => ruling
                .refused()
                .map_or("allowed", |(_, decision)| decision.reason.name()),
            Self::ExpiredToken => "expired-token",
            Self::Head(_) => "bad-head",
            Self::NoNetwork => UNKNOWN_NETWORK,
            Self::NoCaller(_)
            | Self::NotJudged(Refused::AnotherCaller { .. } | Refused::UnknownCaller { .. }) => {
                "unknown-caller"
            }
            Self::NoPolicy => "no-policy",
            Self::NoRandomness(_) => "no-randomness",
            Self::NoRoom => "too-many-bodies",
            Self::NotJudged(Refused::Elsewhere { .. } | Refused::NotDomain { .. }) => {
                "other-resource"
            }
            Self::NotJudged(Refused::NoDocuments) => "no-documents",
            Self::NotJudged(Refused::UnknownToken) => "unknown-task-token",
            Self::Upstream(_) => "upstream-failed",
            Self::Signature(_) => "bad-signature",
            Self::Source { .. } => "source-not-allowed",
            Self::Sts(fault) => match fault.code() {
                (403, _) => "sts-denied",
                _ => "sts-refused",
            },
            Self::Target { .. } => "bad-target",
            Self::Token(_) => "bad-token",
            Self::UnknownKey { .. } => "unknown-access-key",
            Self::UnknownOperation { .. } => "unknown-operation",
        }
    }

    /// What became of the request.
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Denied(_) | Self::NotJudged(_) | Self::NoNetwork => Verdict::Denied,
            Self::Sts(fault) if fault.code().0 == 403 => Verdict::Denied,
            Self::NoRandomness(_) | Self::Upstream(_) => Verdict::Failed,
            Self::Body(_)
            | Self::Call(_)
            | Self::ExpiredToken
            | Self::Head(_)
            | Self::NoCaller(_)
            | Self::NoPolicy
            | Self::NoRoom
            | Self::Signature(_)
            | Self::Source { .. }
            | Self::Sts(_)
            | Self::Target { .. }
            | Self::Token(_)
            | Self::UnknownKey { .. }
            | Self::UnknownOperation { .. } => Verdict::Refused,
        }
    }

    /// What STS says of it; none if it has no word of its own for it.
    pub(super) fn sts(&self) -> Option<sts::Fault> {
        match self {
            Self::ExpiredToken => Some(sts::Fault::Expired),
            Self::Signature(fault) => Some(fault.clone().into()),
            Self::Sts(fault) => Some(fault.clone()),
            Self::Token(fault) => Some((*fault).into()),
            Self::UnknownKey { .. }
            | Self::NoCaller(_)
            | Self::NotJudged(Refused::AnotherCaller { .. } | Refused::UnknownCaller { .. }) => {
                Some(sts::Fault::UnknownCaller)
            }
            _ => None,
        }
    }

    /// What the client is told. `denied` says who may not do what, as AWS words it.
    pub(super) fn told(&self, denied: String) -> Told {
        match self {
            Self::Body(_) => Told {
                status: StatusCode::REQUEST_TIMEOUT,
                code: "RequestTimeoutException",
                message: Some("the body did not arrive in time".into()),
            },
            Self::Call(CallFault::Malformed { .. }) => Told {
                status: StatusCode::BAD_REQUEST,
                code: SERIALIZATION,
                message: None,
            },
            Self::Call(CallFault::Large { .. }) => Told {
                status: StatusCode::PAYLOAD_TOO_LARGE,
                code: SERIALIZATION,
                message: Some("the request is too large".into()),
            },
            Self::Call(CallFault::NotOperation { .. }) | Self::UnknownOperation { .. } => Told {
                status: StatusCode::BAD_REQUEST,
                code: "UnknownOperationException",
                message: None,
            },
            // As AWS words it, but for the value, which is long.
            Self::Call(CallFault::TooLong { path, most }) => Told::bad(
                "ValidationException",
                format!(
                    "1 validation error detected: Value at '{path}' failed to satisfy constraint: \
                     Member must have length less than or equal to {most}"
                ),
            ),
            // These say no more than what the client itself has sent.
            Self::Call(
                fault @ (CallFault::Empty { .. }
                | CallFault::Missing { .. }
                | CallFault::Nul { .. }
                | CallFault::RepeatedTag { .. }
                | CallFault::TooMany { .. }
                | CallFault::Type { .. }
                | CallFault::UnknownDecision { .. }),
            ) => Told::bad("ValidationException", fault.to_string()),
            // What STS has words for is answered in them.
            Self::Denied(_) | Self::NotJudged(_) | Self::NoNetwork | Self::Sts(_) => {
                Told::bad(DENIED, denied)
            }
            Self::ExpiredToken => Told::bad(
                "ExpiredTokenException",
                "The security token included in the request is expired",
            ),
            Self::Head(fault) => Told {
                status: fault.status(),
                code: SERIALIZATION,
                message: Some(fault.to_string().into()),
            },
            Self::NoPolicy => Told {
                status: StatusCode::SERVICE_UNAVAILABLE,
                code: "ServiceUnavailableException",
                message: Some("no policy is in force".into()),
            },
            Self::NoRoom => Told {
                status: StatusCode::SERVICE_UNAVAILABLE,
                code: "ServiceUnavailableException",
                message: Some("too many requests are under way".into()),
            },
            Self::Signature(fault) => {
                let sigv4::Answer { code, message } = fault.answer();
                Told::bad(code, message)
            }
            Self::Source { .. } => Told {
                status: StatusCode::FORBIDDEN,
                code: DENIED,
                message: Some("requests from this source are not allowed".into()),
            },
            Self::Target { .. } => Told {
                status: StatusCode::NOT_FOUND,
                code: "UnknownOperationException",
                message: None,
            },
            Self::Token(_) | Self::NoCaller(_) => {
                Told::bad("UnrecognizedClientException", INVALID_TOKEN)
            }
            Self::UnknownKey { .. } => Told::bad(
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            ),
            Self::NoRandomness(_) => Told {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                code: "InternalFailure",
                message: None,
            },
            Self::Upstream(fault) => {
                let (status, code) = fault.answer();
                Told {
                    status,
                    code,
                    message: None,
                }
            }
        }
    }
}

fn words(ruling: &Ruling) -> String {
    match ruling.refused() {
        Some((Some(inside), decision)) => format!(
            "decisions[{}] is {}, and {}",
            inside.position, inside.action, decision.reason
        ),
        Some((None, decision)) => decision.reason.to_string(),
        None => "it is allowed".to_owned(),
    }
}
