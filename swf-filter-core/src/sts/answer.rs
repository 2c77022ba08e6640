//! Answers in the XML of AWS's query protocol.

use std::fmt::{self, Write};

use super::decide::Outcome;
use crate::session::Session;

/// The `Content-Type` of all answers.
pub const CONTENT_TYPE: &str = "text/xml";

/// An answer. It may hold a secret, and is not to be logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// XML.
    pub body: String,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status;
        f.debug_struct("Answer")
            .field("status", &status)
            .finish_non_exhaustive()
    }
}

impl Outcome {
    /// What AWS answers. `token` is the sealed session of [`Outcome::session`].
    #[must_use]
    pub fn answer(&self, token: &str, request_id: &str) -> Answer {
        let (action, result) = match self {
            Self::AssumeRole {
                session,
                user_id,
                packed,
            } => {
                let user = [
                    Element::text("AssumedRoleId", user_id),
                    Element::text("Arn", session.caller.arn()),
                ];
                let mut result = vec![credentials(session, token)];
                result.push(Element::list("AssumedRoleUser", user));
                result.extend(
                    packed.map(|packed| Element::text("PackedPolicySize", &packed.to_string())),
                );
                let identity = session.source_identity.as_deref();
                result.extend(identity.map(|identity| Element::text("SourceIdentity", identity)));
                ("AssumeRole", result)
            }
            Self::GetCallerIdentity { caller, user_id } => {
                let result = vec![
                    Element::text("Arn", caller.arn()),
                    Element::text("UserId", user_id),
                    Element::text("Account", caller.account()),
                ];
                ("GetCallerIdentity", result)
            }
            Self::GetSessionToken { session } => {
                ("GetSessionToken", vec![credentials(session, token)])
            }
        };
        let mut body = String::new();
        // Writing to a string does not fail.
        let _ = write!(body, "<{action}Response xmlns=\"{NAMESPACE}\">");
        let _ = write!(body, "<{action}Result>");
        for element in result {
            let _ = write!(body, "{element}");
        }
        let metadata = [Element::text("RequestId", request_id)];
        let metadata = Element::list("ResponseMetadata", metadata);
        let _ = write!(body, "</{action}Result>{metadata}</{action}Response>");
        Answer { status: 200, body }
    }
}

impl Answer {
    /// An error, as this protocol has it.
    #[must_use]
    pub fn error(status: u16, code: &str, message: &str, request_id: &str) -> Self {
        let fault = if status < 500 { "Sender" } else { "Receiver" };
        let error = Element::list(
            "Error",
            [
                Element::text("Type", fault),
                Element::text("Code", code),
                Element::text("Message", message),
            ],
        );
        let id = Element::text("RequestId", request_id);
        Self {
            status,
            body: format!("<ErrorResponse xmlns=\"{NAMESPACE}\">{error}{id}</ErrorResponse>"),
        }
    }
}

fn credentials(session: &Session, token: &str) -> Element {
    let credentials = [
        Element::text("AccessKeyId", &session.access_key_id),
        Element::text("SecretAccessKey", session.secret.expose()),
        Element::text("SessionToken", token),
        Element::text("Expiration", &session.expires.to_string()),
    ];
    Element::list("Credentials", credentials)
}

/// An element of XML, with its content.
pub(super) struct Element {
    name: &'static str,
    content: Content,
}

enum Content {
    List(Vec<Element>),
    Text(String),
}

impl Element {
    pub(super) fn text(name: &'static str, text: &str) -> Self {
        let content = Content::Text(text.to_owned());
        Self { name, content }
    }

    pub(super) fn list(name: &'static str, list: impl IntoIterator<Item = Self>) -> Self {
        let content = Content::List(list.into_iter().collect());
        Self { name, content }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.name)?;
        match &self.content {
            Content::List(list) => list.iter().try_for_each(|element| element.fmt(f))?,
            Content::Text(text) => text
                .chars()
                .try_for_each(|character| escape(character, f))?,
        }
        write!(f, "</{}>", self.name)
    }
}

fn escape(character: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match character {
        '&' => f.write_str("&amp;"),
        '<' => f.write_str("&lt;"),
        '>' => f.write_str("&gt;"),
        '"' => f.write_str("&quot;"),
        '\'' => f.write_str("&apos;"),
        '\t' | '\n' | ' '..='\u{fffd}' | '\u{10000}'.. => f.write_char(character),
        // XML 1.0, section 2.2, has no other characters; a carriage return would be read as a line feed.
        '\r' => f.write_str("&#13;"),
        _ => f.write_char(char::REPLACEMENT_CHARACTER),
    }
}

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
