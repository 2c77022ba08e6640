//! Condition keys: which there are, what they hold, and whether a request to an SWF host can have them.

use std::sync::Arc;

use crate::policy::fault::nearest;
use crate::{sts, swf};

/// The source address of a request that did not come through a VPC endpoint.
pub const SOURCE_IP: &str = "aws:sourceip";
/// The VPC that a request came from.
pub const SOURCE_VPC: &str = "aws:sourcevpc";
/// The VPC endpoint that a request came through.
pub const SOURCE_VPCE: &str = "aws:sourcevpce";
/// The source address of a request that came through a VPC endpoint.
pub const VPC_SOURCE_IP: &str = "aws:vpcsourceip";

/// Whether a key, which is given in lower case, says where a request comes from.
#[must_use]
pub fn is_source(name: &str) -> bool {
    [SOURCE_IP, SOURCE_VPC, SOURCE_VPCE, VPC_SOURCE_IP].contains(&name)
}

/// A condition key of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    text: Arc<str>,
    name: Arc<str>,
    kind: Kind,
    presence: Presence,
}

/// What the values of a key are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An IP address.
    Address,
    /// An ARN.
    Arn,
    /// `true` or `false`.
    Bool,
    /// A point in time.
    Date,
    /// A number.
    Number,
    /// A text, which may look like any of the others.
    Text,
}

/// Whether requests have a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// No request to an SWF host has it. Requests for a role may.
    Never,
    /// Requests may have it.
    Possible,
}

/// Why a text is no condition key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotKey {
    /// AWS has such a key, and swf-filter has no way to learn its value.
    Unknowable,
    /// There is no such key.
    Unknown,
}

impl Key {
    /// Looks a key up, ignoring case.
    pub fn new(text: &str) -> Result<Self, NotKey> {
        let name = text.to_ascii_lowercase();
        let key = |kind, presence| {
            Ok(Self {
                text: text.into(),
                name: name.as_str().into(),
                kind,
                presence,
            })
        };
        if let Some((_, kind, presence)) = find(&name) {
            return match presence {
                Global::Never => key(kind, Presence::Never),
                Global::Possible => key(kind, Presence::Possible),
                Global::Unknowable => Err(NotKey::Unknowable),
            };
        }
        match name.split_once(':') {
            Some(("swf", _)) if swf::is_condition_key(&name) => key(Kind::Text, Presence::Possible),
            Some(("sts", _)) if is_sts(&name) => key(Kind::Text, Presence::Never),
            Some(("aws" | "sts" | "swf" | "swf-filter", _)) | None => Err(NotKey::Unknown),
            // Keys of other services: in documents that are shared with them.
            Some((service, rest)) if is_word(service) && !rest.is_empty() => {
                match nearest(service, ["aws", "sts", "swf", "swf-filter"]) {
                    Some(_) if meant(text).is_some() => Err(NotKey::Unknown),
                    _ => key(Kind::Text, Presence::Never),
                }
            }
            Some(_) => Err(NotKey::Unknown),
        }
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// In lower case.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its values are.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether requests have it.
    #[must_use]
    pub fn presence(&self) -> Presence {
        self.presence
    }
}

/// Whether a key, which is given in lower case, is one that requests for a role can have besides those of all requests.
#[must_use]
pub fn is_of_roles(name: &str) -> bool {
    sts::KEYS.iter().any(|key| key.eq_ignore_ascii_case(name))
        || name.starts_with("iam:resourcetag/")
}

/// Whether STS has a key, which is given in lower case.
fn is_sts(name: &str) -> bool {
    sts::OTHER_KEYS
        .iter()
        .any(|key| match key.strip_suffix('/') {
            Some(stem) => name
                .split_once('/')
                .is_some_and(|(own, rest)| stem.eq_ignore_ascii_case(own) && !rest.is_empty()),
            None => key.eq_ignore_ascii_case(name),
        })
        || is_of_roles(name)
}

fn find(name: &str) -> Option<(&'static str, Kind, Global)> {
    GLOBAL
        .iter()
        .find(|(known, ..)| match known.strip_suffix('*') {
            // What stands after the slash is a tag's key, of any name.
            Some(stem) => {
                let known = stem.to_ascii_lowercase();
                name.strip_prefix(&*known)
                    .is_some_and(|tag| !tag.is_empty())
            }
            None => known.eq_ignore_ascii_case(name),
        })
        .copied()
}

/// The key that was most likely meant.
pub(super) fn meant(text: &str) -> Option<String> {
    let name = text.to_ascii_lowercase();
    let names = || {
        let globals = GLOBAL.iter().map(|(name, ..)| *name);
        let own = globals.chain(swf::condition_key_names());
        own.chain(sts::KEYS)
    };
    // Distances are taken without case; the answer is spelt as AWS spells it.
    let lower: Vec<String> = names().map(str::to_ascii_lowercase).collect();
    let prefixed = format!("aws:{name}");
    let found = lower
        .iter()
        .position(|known| *known == prefixed)
        .or_else(|| {
            let near = nearest(&name, lower.iter().map(String::as_str))?;
            lower.iter().position(|known| known == near)
        })?;
    names().nth(found).map(str::to_owned)
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[derive(Clone, Copy)]
enum Global {
    Never,
    Possible,
    Unknowable,
}

/// The keys that AWS has for all services, and two of our own.
///
/// IAM User Guide, "AWS global condition context keys". A request that a client signs and sends itself has none of the
/// keys that AWS sets on calls between its services, and nobody here has those of MFA and federation. What is possible has
/// to be filled in [`Judge::context`](crate::judge::Judge::context) or from a call: else a Deny on it would never deny.
const GLOBAL: &[(&str, Kind, Global)] = &[
    ("aws:AssumedRoot", Kind::Bool, Global::Never),
    ("aws:CalledVia", Kind::Text, Global::Never),
    ("aws:CalledViaFirst", Kind::Text, Global::Never),
    ("aws:CalledViaLast", Kind::Text, Global::Never),
    ("aws:ChatbotSourceArn", Kind::Arn, Global::Never),
    ("aws:CurrentTime", Kind::Date, Global::Possible),
    (
        "aws:Ec2InstanceSourcePrivateIPv4",
        Kind::Address,
        Global::Unknowable,
    ),
    ("aws:Ec2InstanceSourceVpc", Kind::Text, Global::Unknowable),
    ("aws:EpochTime", Kind::Date, Global::Possible),
    ("aws:FederatedProvider", Kind::Text, Global::Never),
    ("aws:MultiFactorAuthAge", Kind::Number, Global::Never),
    ("aws:MultiFactorAuthPresent", Kind::Bool, Global::Possible),
    ("aws:PrincipalAccount", Kind::Text, Global::Possible),
    ("aws:PrincipalArn", Kind::Arn, Global::Possible),
    ("aws:PrincipalIsAWSService", Kind::Bool, Global::Possible),
    ("aws:PrincipalOrgID", Kind::Text, Global::Possible),
    ("aws:PrincipalOrgPaths", Kind::Text, Global::Unknowable),
    ("aws:PrincipalServiceName", Kind::Text, Global::Never),
    ("aws:PrincipalServiceNamesList", Kind::Text, Global::Never),
    ("aws:PrincipalTag/*", Kind::Text, Global::Possible),
    ("aws:PrincipalType", Kind::Text, Global::Possible),
    ("aws:Referer", Kind::Text, Global::Possible),
    ("aws:RequestTag/*", Kind::Text, Global::Possible),
    ("aws:RequestedRegion", Kind::Text, Global::Possible),
    ("aws:ResourceAccount", Kind::Text, Global::Possible),
    ("aws:ResourceOrgID", Kind::Text, Global::Unknowable),
    ("aws:ResourceOrgPaths", Kind::Text, Global::Unknowable),
    ("aws:ResourceTag/*", Kind::Text, Global::Unknowable),
    ("aws:SecureTransport", Kind::Bool, Global::Possible),
    ("aws:SourceAccount", Kind::Text, Global::Never),
    ("aws:SourceArn", Kind::Arn, Global::Never),
    ("aws:SourceIdentity", Kind::Text, Global::Possible),
    ("aws:SourceIp", Kind::Address, Global::Possible),
    ("aws:SourceOrgID", Kind::Text, Global::Never),
    ("aws:SourceOrgPaths", Kind::Text, Global::Never),
    ("aws:SourceVpc", Kind::Text, Global::Possible),
    ("aws:SourceVpcArn", Kind::Arn, Global::Unknowable),
    ("aws:SourceVpce", Kind::Text, Global::Possible),
    ("aws:TagKeys", Kind::Text, Global::Possible),
    ("aws:TokenIssueTime", Kind::Date, Global::Possible),
    ("aws:UserAgent", Kind::Text, Global::Possible),
    ("aws:ViaAWSService", Kind::Bool, Global::Possible),
    ("aws:VpcSourceIp", Kind::Address, Global::Possible),
    ("aws:VpceAccount", Kind::Text, Global::Unknowable),
    ("aws:VpceOrgID", Kind::Text, Global::Unknowable),
    ("aws:VpceOrgPaths", Kind::Text, Global::Unknowable),
    ("aws:userid", Kind::Text, Global::Possible),
    ("aws:username", Kind::Text, Global::Possible),
    ("swf-filter:TlsCipherSuite", Kind::Text, Global::Possible),
    ("swf-filter:TlsVersion", Kind::Text, Global::Possible),
];

#[cfg(test)]
mod tests;
