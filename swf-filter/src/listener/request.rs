//! What a request is known to be, as types: whoever has an [`AuthorizedRequest`] has one that may go on.
//!
//! Fields are private. Only [`AuthorizedRequest::authorize`] makes one, and only with a ruling that allows it.

use std::fmt;
use std::net::IpAddr;

use hyper::body::Bytes;
use swf_filter_core::iam::principal::Caller;
use swf_filter_core::judge::Ruling;
use swf_filter_core::swf::Action;
use uuid::Uuid;

/// The id of a request, as it is answered in `x-amzn-RequestId`, and written to the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub u128);

/// As AWS writes it: groups of hexadecimal digits.
impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_u128(self.0).hyphenated().fmt(f)
    }
}

/// Who made a request, and from where: what an upstream may be told of it.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The caller.
    pub caller: Caller,
    /// The access key that signed.
    pub access_key_id: Box<str>,
    /// The scope of the signature, as in `20150830/us-east-1/swf/aws4_request`.
    pub scope: Box<str>,
    /// The address.
    pub source: IpAddr,
    /// The VPC, if it came through one.
    pub vpc: Option<Box<str>>,
    /// The VPC endpoint, if it came through one that is known.
    pub endpoint: Option<Box<str>>,
}

/// A call of SWF that documents allow.
#[derive(Clone, Debug)]
pub struct AuthorizedRequest {
    id: RequestId,
    action: Action,
    body: Bytes,
    identity: Identity,
}

impl AuthorizedRequest {
    /// Takes a request that a ruling allows; none if it does not.
    #[must_use]
    pub fn authorize(
        ruling: &Ruling,
        id: RequestId,
        action: Action,
        body: Bytes,
        identity: Identity,
    ) -> Option<Self> {
        ruling.is_allowed().then_some(Self {
            id,
            action,
            body,
            identity,
        })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// What is called.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// What is sent.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Who sends it.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}
