//! `[[expect]]` blocks.

use std::net::IpAddr;
use std::sync::Arc;

use toml::de::DeValue;

use super::super::fault::{Block, nearest};
use super::super::limits::{EXPECTATIONS, Limit};
use super::super::{Effect, Expectation, Expected, ExpectedRequest, Fault, Problem, Problems, Vpc};
use super::document::{Document, Table};
use super::entries::Scope;
use super::names::Names;
use crate::iam;
use crate::iam::key::Key;
use crate::iam::principal::Caller;
use crate::swf::{Action, TokenCache, made_up_call};

/// What expectations may name.
pub(super) struct Blocks<'a> {
    pub(super) hosts: &'a Names<'a>,
    pub(super) scope: &'a Scope<'a>,
    pub(super) vpcs: &'a [Vpc],
}

/// The expectations of all files.
pub(super) fn read(
    documents: &[Document<'_>],
    blocks: &Blocks<'_>,
    problems: &mut Problems,
) -> Vec<Expectation> {
    let mut expectations = Vec::new();
    for document in documents {
        for table in document.blocks(Block::Expect, problems) {
            if expectations.len() == EXPECTATIONS {
                problems.add(|| Problem::new(Fault::from(Limit::Expectations), table.place()));
                return expectations;
            }
            expectations.extend(blocks.expectation(&table, problems));
        }
    }
    expectations
}

impl Blocks<'_> {
    fn expectation(&self, table: &Table<'_>, problems: &mut Problems) -> Option<Expectation> {
        table.check_fields(problems);
        let host = self.host(table, problems);
        let from = from(table, problems);
        let endpoint = table.text("vpce", problems);
        let vpc = match table.value("vpc") {
            Some(_) => Some(self.named("vpc", &self.scope.vpcs, table, problems)?),
            None => endpoint.as_ref().and_then(|endpoint| {
                let has = |vpc: &Vpc| vpc.endpoints.iter().any(|own| **own == *endpoint.value);
                self.vpcs.iter().position(has)
            }),
        };
        let packet = expected(
            table,
            "packet",
            &["pass", "drop"],
            &[Some(Effect::Pass), Some(Effect::Drop)],
            problems,
        );
        let verdict = expected(
            table,
            "request",
            &["allow", "deny"],
            &[Some(iam::Effect::Allow), Some(iam::Effect::Deny)],
            problems,
        );
        let is_request = verdict.is_some() || table.value("principal").is_some();
        let request = is_request.then(|| request(table, problems));
        if table.value("packet").is_none() && table.value("request").is_none() {
            table.report(Fault::ExpectNothing, table.span(), problems);
        }
        let request = match (request, verdict) {
            (Some(request), Some(verdict)) => Some((request?, verdict)),
            _ => None,
        };
        Some(Expectation {
            origin: table.place().origin,
            host: host?,
            from: from?,
            vpc,
            endpoint: endpoint.map(|text| text.value.into()),
            packet,
            request,
        })
    }

    /// The host that the block names, or the only one.
    fn host(&self, table: &Table<'_>, problems: &mut Problems) -> Option<usize> {
        if table.value("host").is_none()
            && let Some(only) = self.hosts.only()
        {
            return self.hosts.find(only);
        }
        self.named("host", self.hosts, table, problems)
    }

    fn named(
        &self,
        field: &'static str,
        names: &Names<'_>,
        table: &Table<'_>,
        problems: &mut Problems,
    ) -> Option<usize> {
        let text = table.required_text(field, problems)?;
        let found = names.find(text.value);
        if found.is_none() && self.scope.complete {
            table.report(names.unknown(text.value), text.span, problems);
        }
        found
    }
}

fn from(table: &Table<'_>, problems: &mut Problems) -> Option<IpAddr> {
    let text = table.required_text("from", problems)?;
    let address = text.value.parse().ok();
    if address.is_none() {
        let found = text.value.into();
        table.report(Fault::NotAddress { found }, text.span, problems);
    }
    address
}

fn expected<T: Copy>(
    table: &Table<'_>,
    field: &'static str,
    words: &'static [&'static str],
    values: &[Option<T>],
    problems: &mut Problems,
) -> Option<Expected<T>> {
    let span = table.value(field)?.span();
    let verdict = table.choice(field, words, values, None, problems)?;
    Some(Expected {
        verdict,
        origin: table.index.origin(span.start),
    })
}

fn request(table: &Table<'_>, problems: &mut Problems) -> Option<ExpectedRequest> {
    let principal = principal(table, problems);
    let action = action(table, problems);
    let resource = table.text("resource", problems);
    let body = table.text("body", problems);
    let context = context(table, problems);
    let (principal, action) = (principal?, action?);
    let made_up = made_up_call(
        action,
        resource.as_ref().map(|text| text.value),
        body.as_ref().map(|text| text.value.as_bytes()),
        &mut TokenCache::new(1),
    );
    if let Err(fault) = made_up {
        let at = body.as_ref().or(resource.as_ref());
        let span = at.map_or_else(|| table.span(), |text| text.span.clone());
        table.report(fault, span, problems);
        return None;
    }
    Some(ExpectedRequest {
        principal,
        action,
        resource: resource.map(|text| text.value.into()),
        body: body.map(|text| text.value.into()),
        context,
    })
}

fn principal(table: &Table<'_>, problems: &mut Problems) -> Option<Arc<str>> {
    let text = table.required_text("principal", problems)?;
    match Caller::from_arn(text.value) {
        Ok(_) => Some(text.value.into()),
        Err(error) => {
            table.report(error, text.span, problems);
            None
        }
    }
}

fn action(table: &Table<'_>, problems: &mut Problems) -> Option<Action> {
    let text = table.required_text("action", problems)?;
    let action = Action::from_text(text.value);
    if action.is_none() {
        let name = text
            .value
            .split_once(':')
            .map_or(text.value, |(_, name)| name);
        let fault = Fault::Action {
            found: text.value.into(),
            nearest: nearest(name, Action::ALL.map(Action::name)),
        };
        table.report(fault, text.span, problems);
    }
    action
}

/// The table of condition keys, each with a text or a list of texts.
fn context(table: &Table<'_>, problems: &mut Problems) -> Vec<(String, String)> {
    const EXPECTED: &str = "a table of condition keys, each with a text or a list of texts";
    let mut context = Vec::new();
    let Some(value) = table.value("context") else {
        return context;
    };
    let DeValue::Table(members) = value.get_ref() else {
        table.wrong_type("context", EXPECTED, value, problems);
        return context;
    };
    for (key, value) in members {
        let name: &str = key.get_ref();
        if Key::new(name).is_err() {
            let fault = Fault::ConditionKey { found: name.into() };
            table.report(fault, key.span(), problems);
        }
        let values = match value.get_ref() {
            DeValue::Array(values) => values.iter().collect(),
            _ => vec![value],
        };
        for value in values {
            match value.get_ref().as_str() {
                Some(text) => context.push((name.to_owned(), text.to_owned())),
                None => table.wrong_type("context", EXPECTED, value, problems),
            }
        }
    }
    context
}
