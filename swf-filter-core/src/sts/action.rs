//! The actions of AWS STS: those that documents decide about here, and the names of all.

use std::fmt;

/// An action of AWS STS that decides whether somebody may assume a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Becoming a session of a role.
    AssumeRole,
    /// Saying, with it, who is behind the session.
    SetSourceIdentity,
    /// Giving the session tags, or handing on those that stay.
    TagSession,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::AssumeRole, Self::SetSourceIdentity, Self::TagSession];

    /// Its name, without `sts:`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AssumeRole => "AssumeRole",
            Self::SetSourceIdentity => "SetSourceIdentity",
            Self::TagSession => "TagSession",
        }
    }
}

/// As policies write it: `sts:AssumeRole`.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sts:{}", self.name())
    }
}

/// The names of all actions of STS. No document decides about the others here: there is no such call, or it cannot be denied.
///
/// Service Authorization Reference, "Actions, resources, and condition keys for AWS Security Token Service".
pub const NAMES: [&str; 16] = [
    "AssumeRole",
    "AssumeRoleWithSAML",
    "AssumeRoleWithWebIdentity",
    "AssumeRoot",
    "DecodeAuthorizationMessage",
    "GetAccessKeyInfo",
    "GetCallerIdentity",
    "GetDelegatedAccessToken",
    "GetFederationToken",
    "GetServiceBearerToken",
    "GetSessionToken",
    "GetWebIdentityToken",
    "SetContext",
    "SetSourceIdentity",
    "TagGetWebIdentityToken",
    "TagSession",
];

/// The condition keys of STS that requests for a role can have.
pub const KEYS: [&str; 4] = [
    "sts:ExternalId",
    "sts:RoleSessionName",
    "sts:SourceIdentity",
    "sts:TransitiveTagKeys",
];

/// Its other condition keys, which are about calls that there are not. One that ends in a slash is followed by any name.
pub const OTHER_KEYS: [&str; 7] = [
    "sts:AWSServiceName",
    "sts:DurationSeconds",
    "sts:IdentityTokenAudience",
    "sts:RequestContext/",
    "sts:RequestContextProviders",
    "sts:SigningAlgorithm",
    "sts:TaskPolicyArn",
];
