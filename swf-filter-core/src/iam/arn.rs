//! Amazon Resource Names, and patterns of them.
//!
//! The six parts are matched apart, so that a `*` never reaches over a colon into the account.

use std::ops::Range;
use std::sync::Arc;

use super::context::Context;
use super::pattern::{BadVariable, Case, Pattern, Variables, Wildcards};

/// A pattern of ARNs, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArnPattern {
    text: Arc<str>,
    /// None means any.
    parts: Option<Box<[Pattern; 6]>>,
}

/// A pattern of resources: an ARN of which an empty region stands for any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourcePattern(ArnPattern);

/// Why a text is no pattern of ARNs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotArn {
    /// It has not six parts, or the first is not `arn`.
    Parts,
    /// A variable in it is wrong.
    Variable(BadVariable),
}

impl ArnPattern {
    /// Reads a pattern.
    pub fn new(text: &str, variables: Variables) -> Result<Self, NotArn> {
        if text == "*" {
            return Ok(Self {
                text: text.into(),
                parts: None,
            });
        }
        let spans = split(text, variables).ok_or(NotArn::Parts)?;
        let mut parts = Vec::with_capacity(spans.len());
        for span in spans {
            let part = text.get(span.clone()).unwrap_or_default();
            let part = Pattern::new(part, Wildcards::Match, variables, Case::Keep).map_err(
                |mut bad| {
                    bad.span = span.start + bad.span.start..span.start + bad.span.end;
                    NotArn::Variable(bad)
                },
            )?;
            parts.push(part);
        }
        let parts = <Box<[Pattern; 6]>>::try_from(parts.into_boxed_slice());
        Ok(Self {
            text: text.into(),
            parts: Some(parts.map_err(|_| NotArn::Parts)?),
        })
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The keys of its variables, in lower case.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts
            .iter()
            .flat_map(|parts| parts.iter())
            .flat_map(Pattern::variables)
    }

    /// Whether `arn` matches. What has not six parts matches `*` only.
    #[must_use]
    pub fn matches(&self, arn: &str, context: &Context) -> bool {
        let Some(parts) = &self.parts else {
            return true;
        };
        let mut subject = arn.splitn(6, ':');
        parts.iter().all(|pattern| {
            subject
                .next()
                .is_some_and(|part| pattern.matches(part, context))
        })
    }
}

impl ResourcePattern {
    /// Reads a pattern.
    pub fn new(text: &str, variables: Variables) -> Result<Self, NotArn> {
        let mut pattern = ArnPattern::new(text, variables)?;
        if let Some([_, _, _, region, ..]) = pattern.parts.as_deref_mut()
            && region.text().is_empty()
        {
            *region = Pattern::glob("*", Case::Keep);
        }
        Ok(Self(pattern))
    }

    /// The pattern `*`.
    #[must_use]
    pub fn any() -> Self {
        Self(ArnPattern {
            text: "*".into(),
            parts: None,
        })
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &Arc<str> {
        self.0.text()
    }

    /// The keys of its variables, in lower case.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.variables()
    }

    /// Whether it matches a resource.
    #[must_use]
    pub fn matches(&self, resource: &str, context: &Context) -> bool {
        self.0.matches(resource, context)
    }

    /// Its six parts; none if it matches whatever there is.
    #[must_use]
    pub(crate) fn parts(&self) -> Option<&[Pattern; 6]> {
        self.0.parts.as_deref()
    }

    /// The only SWF domain that it can match, if there is one.
    #[must_use]
    pub fn only_domain(&self) -> Option<&str> {
        let [.., resource] = self.0.parts.as_deref()?;
        resource.as_literal()?.strip_prefix("/domain/")
    }
}

/// The partition of all hosts.
const PARTITION: &str = "aws";

/// The six parts: split at colons outside of variables.
fn split(text: &str, variables: Variables) -> Option<Vec<Range<usize>>> {
    let mut spans = Vec::with_capacity(6);
    let mut start = 0;
    let mut inside = false;
    let mut previous = ' ';
    for (offset, character) in text.char_indices() {
        match character {
            '{' if previous == '$' && variables == Variables::Expand => inside = true,
            '}' => inside = false,
            ':' if !inside && spans.len() < 5 => {
                spans.push(start..offset);
                start = offset + 1;
            }
            _ => {}
        }
        previous = character;
    }
    spans.push(start..text.len());
    (spans.len() == 6 && text.starts_with("arn:")).then_some(spans)
}

/// The ARN of an SWF domain.
#[must_use]
pub fn domain(region: &str, account: &str, name: &str) -> String {
    format!("arn:{PARTITION}:swf:{region}:{account}:/domain/{name}")
}

/// All parts but the last of the ARNs that the domains of a region and account have.
#[must_use]
pub(crate) fn before_domain<'a>(region: &'a str, account: &'a str) -> [&'a str; 5] {
    ["arn", PARTITION, "swf", region, account]
}

/// The region, account and name of an SWF domain's ARN. The name of all domains is `*`.
#[must_use]
pub fn domain_parts(arn: &str) -> Option<[&str; 3]> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match *parts {
        ["arn", PARTITION, "swf", region, account, name] => {
            let name = name.strip_prefix("/domain/")?;
            (!name.is_empty()).then_some([region, account, name])
        }
        _ => None,
    }
}
