//! What makes a policy document wrong.

use thiserror::Error;

use super::Kind;
use super::condition::Operator;
use super::key::{self, NotKey};
use super::limits::Limit;
use super::pattern::Wrong;
use crate::policy::fault::nearest;
use crate::prefix::text::excerpt;

/// What makes a policy document wrong. Messages are for operators, as those of [`Fault`](crate::policy::Fault).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DocumentFault {
    /// A text is not `service:action`.
    #[error("`{}` is not an action", excerpt(.text))]
    Action {
        /// The text.
        text: String,
    },
    /// A service has no such action.
    #[error("{} has no action `{}`", .service.name(), excerpt(.text))]
    ActionUnknown {
        /// The service.
        service: Service,
        /// The text.
        text: String,
        /// An action that looks like it.
        nearest: Option<String>,
    },
    /// A text is not an ARN.
    #[error("`{}` is not an ARN", excerpt(.text))]
    Arn {
        /// The text.
        text: String,
    },
    /// Two elements exclude each other.
    #[error("a statement has `{element}` or `{other}`, not both")]
    Both {
        /// The later one.
        element: &'static str,
        /// The earlier one.
        other: &'static str,
    },
    /// An object has two members of one name.
    #[error("`{}` is written twice", excerpt(.name))]
    Duplicate {
        /// The name.
        name: String,
    },
    /// Two statements have one `Sid`.
    #[error("two statements have the `Sid` `{}`", excerpt(.sid))]
    DuplicateSid {
        /// The `Sid`.
        sid: String,
    },
    /// A list, an object or a text holds nothing.
    #[error("`{}` is empty", excerpt(.element))]
    Empty {
        /// The element, or member.
        element: String,
    },
    /// `Effect` is something else.
    #[error("`{}` is not an effect", excerpt(.found))]
    Effect {
        /// What stands there.
        found: String,
    },
    /// There is no such condition key.
    #[error("{}`{}`", key_message(.reason), excerpt(.text))]
    Key {
        /// The key as written.
        text: String,
        /// Why not.
        reason: NotKey,
    },
    /// A required element is not there.
    #[error("{} without `{element}`", if *.element == "Statement" { "document" } else { "statement" })]
    Missing {
        /// The element.
        element: &'static str,
    },
    /// An ARN of SWF is that of no domain.
    #[error("`{}` is the ARN of no SWF domain", excerpt(.text))]
    NoDomain {
        /// The ARN.
        text: String,
    },
    /// An element stands in a document that must not have it.
    #[error("`{element}` cannot stand in {}", kind_name(*.kind))]
    NotHere {
        /// The element.
        element: &'static str,
        /// What the document is.
        kind: Kind,
    },
    /// There is no such operator.
    #[error("`{}` is not a condition operator", excerpt(.text))]
    Operator {
        /// The text.
        text: String,
    },
    /// A key never holds what the operator compares.
    #[error("`{operator}` cannot compare `{key}`, which is {}", holds(*.kind))]
    OperatorKey {
        /// The operator.
        operator: String,
        /// The key.
        key: String,
        /// What it holds.
        kind: key::Kind,
    },
    /// A text does not name a principal.
    #[error("`{}` is not a principal", excerpt(.text))]
    Principal {
        /// The text.
        text: String,
    },
    /// A `Sid` has characters that it must not have.
    #[error("`{}` is not a `Sid`", excerpt(.text))]
    Sid {
        /// The text.
        text: String,
    },
    /// The file is not JSON.
    #[error("not valid JSON: {message}")]
    Syntax {
        /// What the JSON reader says.
        message: String,
    },
    /// There is more than a limit allows.
    #[error("more than {} {limit}", limit.value())]
    TooMany {
        /// The limit.
        limit: Limit,
    },
    /// There is no such element.
    #[error("{} has no element `{}`", .place.words(), excerpt(.element))]
    Unknown {
        /// Where it stands.
        place: Place,
        /// The element.
        element: String,
    },
    /// A value cannot be read as what the operator compares.
    #[error("`{}` is not {}", excerpt(.text), .expected)]
    Value {
        /// What is expected.
        expected: &'static str,
        /// The value.
        text: String,
    },
    /// A variable is wrong.
    #[error("`{}` {}", excerpt(.text), variable_message(*.wrong))]
    Variable {
        /// The variable.
        text: String,
        /// What is wrong.
        wrong: Wrong,
    },
    /// A variable stands with an operator that takes none.
    #[error("`{}`: `{operator}` takes no variables", excerpt(.text))]
    VariableHere {
        /// The value.
        text: String,
        /// The operator.
        operator: String,
    },
    /// There is no such version.
    #[error("`{}` is not a version of the policy language", excerpt(.found))]
    Version {
        /// What stands there.
        found: String,
    },
    /// A value has the wrong type.
    #[error("`{}` takes {expected}, not {found}", excerpt(.element))]
    WrongType {
        /// The element, or member.
        element: String,
        /// What it takes.
        expected: &'static str,
        /// What stands there.
        found: &'static str,
    },
}

/// A service whose actions are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// AWS STS.
    Sts,
    /// Amazon SWF.
    Swf,
}

impl Service {
    /// What stands before its actions in documents.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Sts => "sts",
            Self::Swf => "swf",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Sts => "STS",
            Self::Swf => "SWF",
        }
    }
}

/// An object of a document that has elements of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The document.
    Document,
    /// The object that `Principal` takes.
    Principal,
    /// A statement.
    Statement,
}

impl Place {
    /// The elements that it may have.
    #[must_use]
    pub fn elements(self) -> &'static [&'static str] {
        match self {
            Self::Document => &["Version", "Id", "Statement"],
            Self::Principal => &["AWS", "CanonicalUser", "Federated", "Service"],
            Self::Statement => &[
                "Sid",
                "Effect",
                "Principal",
                "NotPrincipal",
                "Action",
                "NotAction",
                "Resource",
                "NotResource",
                "Condition",
            ],
        }
    }

    /// The element that a name was most likely meant to be.
    fn meant(self, name: &str) -> Option<&'static str> {
        let mut elements = self.elements().iter().copied();
        let ignoring_case = elements.find(|element| element.eq_ignore_ascii_case(name));
        ignoring_case.or_else(|| nearest(name, self.elements().iter().copied()))
    }

    fn words(self) -> &'static str {
        match self {
            Self::Document => "a policy document",
            Self::Principal => "a principal",
            Self::Statement => "a statement",
        }
    }
}

impl DocumentFault {
    /// The way out.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        let text = match self {
            Self::Action { .. } => {
                "write `*`, or a service and an action, such as `swf:StartWorkflowExecution`; several \
                                    stand in a list"
            }
            Self::ActionUnknown {
                nearest: Some(nearest),
                ..
            } => return Some(did_you_mean(nearest)),
            Self::ActionUnknown {
                service: Service::Sts,
                ..
            } => "to assume a role is `sts:AssumeRole`",
            Self::ActionUnknown { .. } => "docs/iam.md lists the actions of SWF",
            Self::Operator { text } => match Operator::meant(text) {
                Some(nearest) => return Some(did_you_mean(&nearest)),
                None => "docs/iam.md lists the operators",
            },
            Self::Arn { .. } | Self::NoDomain { .. } => {
                "write six parts, `arn:aws:swf:REGION:ACCOUNT:/domain/NAME`; several stand in a list"
            }
            Self::Both { .. } | Self::Duplicate { .. } => "take one of them out",
            Self::DuplicateSid { .. } => {
                "rename one of them: reports name statements by their `Sid`"
            }
            Self::Empty { .. } => "write at least one, or leave the element out",
            Self::Effect { .. } => "write `Allow` or `Deny`",
            Self::Key {
                text,
                reason: NotKey::Unknown,
            } => match key::meant(text) {
                Some(nearest) => return Some(did_you_mean(&nearest)),
                None => "docs/iam.md lists the condition keys",
            },
            Self::Key {
                reason: NotKey::Unknowable,
                ..
            } => {
                "take the condition out: swf-filter cannot learn this key's value, and would have to guess"
            }
            Self::Missing { element } => return Some(format!("add `\"{element}\": ...`")),
            Self::NotHere {
                kind: Kind::Identity,
                ..
            } => {
                "a document of a user or role is about that user or role; only those of hosts name principals"
            }
            Self::NotHere { .. } => "a trust policy is about the role that it belongs to",
            Self::OperatorKey { .. } => "use an operator that compares what the key holds",
            Self::Principal { .. } => {
                "write `*`, an account's id, or the ARN of a user, role or session, without wildcards; all but `*` stand \
                 in `{\"AWS\": ...}`"
            }
            Self::Sid { .. } => "write letters and digits only",
            Self::TooMany {
                limit: Limit::Values,
            } => "split the statement",
            Self::TooMany { .. } => "split the document",
            Self::Unknown { place, element } => {
                return Some(match place.meant(element) {
                    Some(nearest) => did_you_mean(nearest),
                    None => format!("write one of `{}`", place.elements().join("`, `")),
                });
            }
            Self::Variable {
                wrong: Wrong::Default,
                ..
            } => "write `${key, 'default'}`",
            Self::Variable { .. } => "write `${key}`; a dollar sign alone is `${$}`",
            Self::VariableHere { .. } => {
                "variables stand in resources, and with operators on strings and ARNs"
            }
            Self::Version { .. } => "write `2012-10-17`",
            Self::Syntax { .. } | Self::Value { .. } | Self::WrongType { .. } => return None,
        };
        Some(text.into())
    }

    /// What to set beside the caret.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Duplicate { .. } | Self::DuplicateSid { .. } => "again here",
            Self::Missing { .. } => "in this object",
            Self::TooMany { .. } => "the first too many",
            _ => "here",
        }
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Identity => "a policy of a user or role",
        Kind::Resource => "a policy of a host",
        Kind::Trust => "a trust policy",
    }
}

fn did_you_mean(nearest: &str) -> String {
    format!("did you mean `{nearest}`?")
}

fn key_message(reason: &NotKey) -> &'static str {
    match reason {
        NotKey::Unknowable => "swf-filter cannot know the condition key ",
        NotKey::Unknown => "there is no condition key ",
    }
}

fn variable_message(wrong: Wrong) -> &'static str {
    match wrong {
        Wrong::Default => "has a default without quotes",
        Wrong::Empty => "names no key",
        Wrong::Unclosed => "has no closing brace",
    }
}

fn holds(kind: key::Kind) -> &'static str {
    match kind {
        key::Kind::Address => "an address",
        key::Kind::Arn => "an ARN",
        key::Kind::Bool => "true or false",
        key::Kind::Date => "a date",
        key::Kind::Number => "a number",
        key::Kind::Text => "a text",
    }
}
