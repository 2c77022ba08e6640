//! Why STS does not do what it is asked for, and what AWS answers then.

use thiserror::Error;

use super::Action;
use super::answer::Answer;
use crate::iam::authorize::Reason;
use crate::prefix::text::excerpt;
use crate::session::TokenFault;
use crate::sigv4;

/// Why a call is refused. In words, it may say more than its answer, and is for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// Documents do not allow it.
    #[error("`{caller}` may not {action} on `{role}`: {}", .reason.map_or_else(|| "there is no such role".to_owned(), |reason| reason.to_string()))]
    AccessDenied {
        /// Who asked.
        caller: Box<str>,
        /// What for.
        action: Action,
        /// For which role.
        role: Box<str>,
        /// Why not; none if the policy has no such role.
        reason: Option<Reason>,
    },
    /// A session was to last longer than the role's do.
    #[error("sessions of the role last {most} s at most")]
    AboveMaximum {
        /// What the role has.
        most: i64,
    },
    /// A session asks for a session token.
    #[error("a session asked for a session token")]
    BySession,
    /// A role was to be assumed from a role for longer than an hour.
    #[error("a role was to be assumed from a role for {seconds} s, more than an hour")]
    ChainedTooLong {
        /// For how long.
        seconds: i64,
    },
    /// The session has expired.
    #[error("the session has expired")]
    Expired,
    /// The body is no form that has one meaning.
    #[error("in the form, {wrong}")]
    Form {
        /// What is wrong.
        wrong: String,
    },
    /// A code of an MFA device came with it.
    #[error("there is no MFA")]
    Mfa,
    /// It does not say what it wants.
    #[error("there is no Action")]
    NoAction,
    /// A session was to be told of more than fits into a token.
    #[error("policy and tags take {percent} % of their room")]
    Packed {
        /// How much they take.
        percent: usize,
    },
    /// A parameter is missing or wrong.
    #[error("{wrong}")]
    Parameter {
        /// What is wrong, as AWS words it.
        wrong: String,
    },
    /// The session policy cannot be read.
    #[error("the session policy is wrong: {wrong}")]
    Policy {
        /// What is wrong.
        wrong: String,
    },
    /// The signature is not right.
    #[error(transparent)]
    Signature(#[from] sigv4::Fault),
    /// Who is behind a session is not to be changed.
    #[error("the source identity of a session cannot be changed")]
    SourceIdentity,
    /// The keys of tags do not go together.
    #[error("{wrong}")]
    TagKeys {
        /// What is wrong, as AWS words it.
        wrong: &'static str,
    },
    /// The session token is not taken.
    #[error(transparent)]
    Token(#[from] TokenFault),
    /// There is no such call.
    #[error("there is no call `{}` of version `{}`", excerpt(.action), excerpt(.version))]
    UnknownAction {
        /// What it is called.
        action: Box<str>,
        /// The version of the API.
        version: Box<str>,
    },
    /// The policy has not the caller, or nobody has the access key.
    #[error("nobody has the access key")]
    UnknownCaller,
}

impl Fault {
    pub(super) fn unknown_action(action: &str, version: &str) -> Self {
        Self::UnknownAction {
            action: action.into(),
            version: version.into(),
        }
    }

    /// What AWS answers.
    ///
    /// The codes are those of the API reference of STS, "Common Errors" and the errors of each action.
    #[must_use]
    pub fn answer(&self, request_id: &str) -> Answer {
        let (status, code) = self.code();
        Answer::error(status, code, &self.message(), request_id)
    }

    /// The HTTP status, and the error's name.
    #[must_use]
    pub fn code(&self) -> (u16, &'static str) {
        match self {
            Self::AccessDenied { .. } | Self::BySession | Self::Mfa => (403, "AccessDenied"),
            Self::AboveMaximum { .. } | Self::ChainedTooLong { .. } | Self::Parameter { .. } => {
                (400, "ValidationError")
            }
            Self::Expired => (403, "ExpiredToken"),
            Self::Form { .. } => (400, "InvalidQueryParameter"),
            Self::NoAction => (400, "MissingAction"),
            Self::Packed { .. } => (400, "PackedPolicyTooLarge"),
            Self::Policy { .. } => (400, "MalformedPolicyDocument"),
            Self::Signature(fault) => signature(fault),
            Self::SourceIdentity | Self::TagKeys { .. } => (400, "InvalidParameterValue"),
            Self::Token(_) | Self::UnknownCaller => (403, "InvalidClientTokenId"),
            Self::UnknownAction { .. } => (400, "InvalidAction"),
        }
    }

    /// The words that the client gets.
    fn message(&self) -> String {
        match self {
            Self::AccessDenied {
                caller,
                action,
                role,
                ..
            } => format!("User: {caller} is not authorized to perform: {action} on resource: {role}"),
            Self::AboveMaximum { .. } => {
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.".into()
            }
            Self::BySession => "Cannot call GetSessionToken with session credentials".into(),
            Self::ChainedTooLong { .. } => {
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining".into()
            }
            Self::Expired => "The security token included in the request is expired".into(),
            Self::Mfa => "MultiFactorAuthentication failed, unable to validate MFA code.".into(),
            Self::NoAction => "Missing Action".into(),
            Self::Packed { percent } => {
                format!("Packed size of session tags and policy consumes {percent}% of allotted space.")
            }
            Self::Signature(fault) => fault.answer().message,
            Self::SourceIdentity => "The SourceIdentity of a session cannot be changed.".into(),
            Self::Token(_) | Self::UnknownCaller => {
                "The security token included in the request is invalid.".into()
            }
            Self::UnknownAction { action, version } => format!(
                "Could not find operation {} for version {}",
                excerpt(action),
                excerpt(version)
            ),
            Self::Form { wrong } | Self::Parameter { wrong } | Self::Policy { wrong } => wrong.clone(),
            Self::TagKeys { wrong } => (*wrong).into(),
        }
    }
}

/// What services of this protocol call what is wrong with a signature.
fn signature(fault: &sigv4::Fault) -> (u16, &'static str) {
    match fault {
        sigv4::Fault::AbsentHeader { .. }
        | sigv4::Fault::Body
        | sigv4::Fault::BothForms
        | sigv4::Fault::Day { .. }
        | sigv4::Fault::Expired { .. }
        | sigv4::Fault::Mismatch
        | sigv4::Fault::Region { .. }
        | sigv4::Fault::Service { .. }
        | sigv4::Fault::SignedHeaders { .. }
        | sigv4::Fault::Terminator { .. }
        | sigv4::Fault::TooEarly { .. }
        | sigv4::Fault::UnsignedHeader { .. }
        | sigv4::Fault::UnsignedHost => (403, "SignatureDoesNotMatch"),
        sigv4::Fault::Algorithm { .. }
        | sigv4::Fault::Date { .. }
        | sigv4::Fault::Expires { .. }
        | sigv4::Fault::Parts { .. }
        | sigv4::Fault::Repeated { .. }
        | sigv4::Fault::Scope { .. } => (400, "IncompleteSignature"),
        sigv4::Fault::Missing => (403, "MissingAuthenticationToken"),
    }
}
