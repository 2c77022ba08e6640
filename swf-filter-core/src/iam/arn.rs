//! Amazon Resource Names, and patterns of them.
//!
//! The six parts are matched apart, so that a `*` never reaches over a colon into the account.

use std::ops::Range;
use std::sync::Arc;

use super::context::Context;
use super::pattern::{BadVariable, Case, Pattern, Variables, Wildcards};
use super::principal::is_account;

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
    /// It is one of SWF, and no domain has it.
    NoDomain,
    /// It has not six parts, the first is not `arn`, or there is no such partition.
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
        let parts = parts.map_err(|_| NotArn::Parts)?;
        let [_, partition, ..] = &*parts;
        if !partition.as_literal().is_none_or(is_partition) {
            return Err(NotArn::Parts);
        }
        Ok(Self {
            text: text.into(),
            parts: Some(parts),
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

    /// The only ARN that it matches, if there is one only.
    pub(super) fn as_literal(&self) -> Option<String> {
        let parts = self.parts.as_deref()?.iter();
        let texts: Vec<&str> = parts.map(Pattern::as_literal).collect::<Option<_>>()?;
        let (_, before) = texts.split_last()?;
        // What is compared with it is split at its first colons.
        (!before.iter().any(|text| text.contains(':'))).then(|| texts.join(":"))
    }

    /// The pattern of the last part; none if it matches whatever there is.
    pub(super) fn name(&self) -> Option<&Pattern> {
        self.parts.as_deref()?.last()
    }

    /// Whether `arn` matches. What has not six parts matches `*` only.
    #[must_use]
    pub fn matches(&self, arn: &str, context: &Context<'_>) -> bool {
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

impl AsRef<Self> for ArnPattern {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl AsRef<ArnPattern> for ResourcePattern {
    fn as_ref(&self) -> &ArnPattern {
        &self.0
    }
}

impl ResourcePattern {
    /// Reads a pattern.
    pub fn new(text: &str, variables: Variables) -> Result<Self, NotArn> {
        let mut pattern = ArnPattern::new(text, variables)?;
        if !pattern.parts.as_deref().is_none_or(may_be_domain) {
            return Err(NotArn::NoDomain);
        }
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
    pub fn matches(&self, resource: &str, context: &Context<'_>) -> bool {
        self.0.matches(resource, context)
    }

    /// Its six parts; none if it matches whatever there is.
    #[must_use]
    pub(crate) fn parts(&self) -> Option<&[Pattern; 6]> {
        self.0.parts.as_deref()
    }
}

/// Whether there is such a partition: `aws`, `aws-cn`, `aws-us-gov` and the like.
#[must_use]
pub(super) fn is_partition(text: &str) -> bool {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    text == PARTITION
        || text
            .strip_prefix("aws-")
            .is_some_and(|rest| rest.split('-').all(word))
}

/// Whether some domain can have an ARN of six parts, or it is of another service.
fn may_be_domain(parts: &[Pattern; 6]) -> bool {
    let [_, _, service, region, account, name] = parts;
    match service.as_literal() {
        Some("swf") => {}
        // Parts of ARNs differ in case: this would never match.
        Some(service) => return !service.is_empty() && !service.eq_ignore_ascii_case("swf"),
        None => return true,
    }
    let is_region = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let (start, _) = name.edges();
    // API reference of SWF, RegisterDomain: what names of domains must not have.
    // In version 2008-10-17, variables stand for themselves.
    let is_name = |text: &str| {
        let wrong = |character: char| ":/|".contains(character) || character.is_control();
        text.contains("${") || !text.contains(wrong)
    };
    region.as_literal().is_none_or(is_region)
        && account.as_literal().is_none_or(is_account)
        && match name.as_literal() {
            Some(text) => text
                .strip_prefix(DOMAIN)
                .is_some_and(|name| !name.is_empty() && is_name(name)),
            None => start
                .strip_prefix(DOMAIN)
                .map_or_else(|| DOMAIN.starts_with(start), is_name),
        }
}

/// What the last part of a domain's ARN starts with.
const DOMAIN: &str = "/domain/";

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
