//! What is sent on: a request made from scratch.

use std::sync::LazyLock;

use http_body_util::Full;
use hyper::header::{
    CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use hyper::{Method, Request, Uri};
use swf_filter_core::swf::Action;

use super::{Message, UpstreamFault};
use crate::listener::request::AuthorizedRequest;

/// The request, without whom it comes from.
pub(super) fn plain(authority: &HeaderValue, request: &AuthorizedRequest) -> Message {
    let body = request.body();
    let mut message = Request::new(Full::new(body.clone()));
    *message.method_mut() = Method::POST;
    *message.uri_mut() = Uri::from_static("/");
    let mut headers = HeaderMap::with_capacity(FIELDS);
    headers.insert(HOST, authority.clone());
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(CONTENT_LENGTH, body.len().into());
    // INVARIANT: `TARGETS` has all actions, in order.
    if let Some(target) = TARGETS.get(request.action() as usize) {
        headers.insert(TARGET, target.clone());
    }
    *message.headers_mut() = headers;
    message
}

/// Adds whom the request comes from, for an upstream that believes the listener.
pub(super) fn identify(
    message: &mut Message,
    request: &AuthorizedRequest,
) -> Result<(), UpstreamFault> {
    let identity = request.identity();
    let key = &identity.access_key_id;
    let headers = message.headers_mut();
    let mut tell = |field, value: &str| {
        let value = HeaderValue::from_str(value).map_err(|_| UpstreamFault::Identity {
            field,
            value: value.into(),
        })?;
        headers.insert(HeaderName::from_static(field), value);
        Ok(())
    };
    tell("x-swf-filter-access-key-id", key)?;
    tell("x-swf-filter-account", identity.caller.account())?;
    tell("x-swf-filter-principal", identity.caller.arn())?;
    tell("x-swf-filter-request-id", &request.id().to_string())?;
    tell("x-swf-filter-source-ip", &identity.source.to_string())?;
    if let Some(vpc) = &identity.vpc {
        tell("x-swf-filter-source-vpc", vpc)?;
    }
    if let Some(endpoint) = &identity.endpoint {
        tell("x-swf-filter-source-vpce", endpoint)?;
    }
    tell("authorization", &credential(key, &identity.scope))
}

/// The client's credential, and no signature: there is no secret to sign with. Backends that tell services apart by the
/// credential's scope, as moto does, find it there. Who verifies it refuses it.
fn credential(key: &str, scope: &str) -> String {
    format!("AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders=host, Signature={NONE}")
}

const JSON: &str = "application/x-amz-json-1.0";
const AGENT: &str = concat!("swf-filter/", env!("CARGO_PKG_VERSION"));
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
/// As long as a signature.
const NONE: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Fields that are sent at most.
const FIELDS: usize = 16;

/// What `x-amz-target` says for each action, in the order of [`Action::ALL`].
static TARGETS: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
    let text = |action: Action| format!("SimpleWorkflowService.{}", action.name());
    // INVARIANT: names of actions are letters.
    let target = |action| {
        HeaderValue::try_from(text(action)).unwrap_or_else(|error| unreachable!("{error}"))
    };
    Action::ALL.map(target).into()
});
