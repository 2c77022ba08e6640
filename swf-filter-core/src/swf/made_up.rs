//! Calls that an operator made up, to ask what would become of them.

use thiserror::Error;

use super::{Action, Call, Scope, TokenCache, TokenFault, read_call};
use crate::policy::Fault;

/// Why it cannot be told what a made-up call is about.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScopeFault {
    /// Neither a resource nor a body was given.
    #[error("nothing says which domain the request is about")]
    Missing,
    /// The body has a task token, and nothing else.
    #[error("a task token does not tell its domain")]
    Token,
    /// The token or the domain could not have been learned.
    #[error(transparent)]
    Unlearned(#[from] TokenFault),
    /// Both the body and the resource say it.
    #[error("the body says which domain the request is about, and so does the resource")]
    Twice,
}

impl ScopeFault {
    /// The way out.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::Missing => {
                "name the domain as the resource, or give the body that a client sends"
            }
            Self::Token => "name the domain as the resource",
            Self::Unlearned(_) => "SWF gives out no such token",
            Self::Twice => "leave the resource out",
        }
    }
}

/// The call of `action` with this body, or on this resource, which is a domain's name or an ARN.
///
/// Of a call with a task token, the resource tells the domain: `tokens` learns it.
pub fn made_up_call(
    action: Action,
    resource: Option<&str>,
    body: Option<&[u8]>,
    tokens: &mut TokenCache,
) -> Result<Call, Fault> {
    let Some(body) = body else {
        let scope = match (resource, action) {
            (Some(arn), _) if arn.starts_with("arn:") => Scope::ResourceArn(arn.to_owned()),
            (Some(domain), _) => Scope::Domain(domain.to_owned()),
            (None, Action::ListDomains) => Scope::EveryDomain,
            (None, _) => return Err(ScopeFault::Missing.into()),
        };
        return Ok(Call {
            action,
            scope,
            keys: Vec::new(),
            decisions: Vec::new(),
        });
    };
    let call = read_call(action, body)?;
    match (&call.scope, resource) {
        (Scope::TaskToken(_), None) => Err(ScopeFault::Token.into()),
        (Scope::TaskToken(token), Some(resource)) => {
            // The region and account of its ARN are the host's.
            let domain = resource.rsplit('/').next().unwrap_or(resource);
            tokens.learn(token, domain).map_err(ScopeFault::from)?;
            Ok(call)
        }
        (_, Some(_)) => Err(ScopeFault::Twice.into()),
        (_, None) => Ok(call),
    }
}
