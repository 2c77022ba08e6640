//! Answers, as AWS's clients read them.

use std::error::Error;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use serde_json::json;
use swf_filter_core::sts;

use super::refusal::Told;
use super::request::RequestId;
use super::upstream::{Answer, AnswerBody};

/// What is answered.
pub(super) type Body = UnsyncBoxBody<Bytes, BodyError>;
/// Why an answer has no end.
pub(super) type BodyError = Box<dyn Error + Send + Sync>;

/// The status of an answer, and its header fields.
pub(super) type Head = (StatusCode, HeaderMap);

const JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const CRC32: HeaderName = HeaderName::from_static("x-amz-crc32");

/// A body that is there already.
pub(super) fn whole(bytes: impl Into<Bytes>) -> Body {
    let body = Full::new(bytes.into());
    body.map_err(|never| match never {}).boxed_unsync()
}

/// What of an upstream's answer is handed on.
pub(super) fn head(answer: Answer) -> (Head, AnswerBody) {
    let mut headers = HeaderMap::new();
    if let Some(kind) = answer.content_type {
        headers.insert(CONTENT_TYPE, kind);
    }
    if let Some(crc32) = answer.crc32 {
        headers.insert(CRC32, crc32);
    }
    ((answer.status, headers), answer.body)
}

/// An upstream's answer.
pub(super) fn passed_on((status, headers): Head, body: Body, id: RequestId) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    with_id(response, id)
}

/// An answer of STS.
pub(super) fn xml(answer: sts::Answer, id: RequestId) -> Response<Body> {
    let mut response = Response::new(whole(answer.body));
    // INVARIANT: it is a constant of `sts`, or was a status before.
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or_default();
    let kind = HeaderValue::from_static(sts::CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    with_id(response, id)
}

/// An exception, as services with JSON 1.0 have it.
pub(super) fn told(told: &Told, id: RequestId) -> Response<Body> {
    let kind = format!("com.amazon.coral.service#{}", told.code);
    let body = match &told.message {
        Some(message) => json!({"__type": kind, "message": message}),
        None => json!({"__type": kind}),
    };
    let mut response = Response::new(whole(body.to_string()));
    *response.status_mut() = told.status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    with_id(response, id)
}

/// The same, as STS has it. Codes of its protocol do not say what they are.
pub(super) fn told_in_xml(told: &Told, id: RequestId) -> Response<Body> {
    let code = told.code.strip_suffix("Exception").unwrap_or(told.code);
    let message = told.message.as_deref().unwrap_or_default();
    let status = told.status.as_u16();
    xml(
        sts::Answer::error(status, code, message, &id.to_string()),
        id,
    )
}

fn with_id(mut response: Response<Body>, id: RequestId) -> Response<Body> {
    // An id is digits and hyphens.
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
