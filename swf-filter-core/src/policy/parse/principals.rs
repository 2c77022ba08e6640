//! `[[account]]`, `[[user]]` and `[[role]]` blocks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use toml::de::DeValue;

use super::super::fault::Block;
use super::super::limits::{Limit, TAGS};
use super::super::{Account, Fault, Identity, Place, Principals, Problem, Problems};
use super::attached::Library;
use super::document::{Document, Table, Text, integer};
use super::names::Names;
use crate::credentials::{Prefix, unique_id};
use crate::iam::Kind;
use crate::iam::principal::is_account;

/// The principals of all files, and the names of the accounts.
pub(super) fn read<'a>(
    documents: &'a [Document<'a>],
    library: &mut Library<'_, '_>,
    problems: &mut Problems,
) -> (Principals, Names<'a>) {
    let mut names = Names::new(Block::Account);
    let mut accounts = Vec::new();
    for document in documents {
        for table in document.blocks(Block::Account, problems) {
            accounts.extend(account(&table, &mut names, problems));
        }
    }
    let mut reader = Reader {
        accounts: &names,
        taken: HashMap::new(),
        library,
    };
    let mut users = Vec::new();
    let mut roles = Vec::new();
    for document in documents {
        for table in document.blocks(Block::User, problems) {
            users.extend(reader.identity(&table, problems));
        }
        for table in document.blocks(Block::Role, problems) {
            roles.extend(reader.identity(&table, problems));
        }
    }
    let principals = Principals {
        accounts,
        users,
        roles,
    };
    (principals, names)
}

fn account<'a>(
    table: &Table<'a>,
    names: &mut Names<'a>,
    problems: &mut Problems,
) -> Option<Account> {
    table.check_fields(problems);
    let organization = table.text("organization", problems);
    let id = table.required_text("id", problems)?;
    if !check_account(&id, table, problems) || !names.define(&id, table, problems) {
        return None;
    }
    Some(Account {
        id: id.value.into(),
        origin: table.place().origin,
        organization: organization.map(|text| text.value.into()),
    })
}

fn check_account(id: &Text<'_>, table: &Table<'_>, problems: &mut Problems) -> bool {
    let right = is_account(id.value);
    if !right {
        let fault = Fault::AccountId {
            found: id.value.into(),
        };
        table.report(fault, id.span.clone(), problems);
    }
    right
}

/// The account that `table` belongs to: the one that it names, or the only one.
pub(super) fn account_of(
    table: &Table<'_>,
    accounts: &Names<'_>,
    problems: &mut Problems,
) -> Option<Arc<str>> {
    let Some(text) = table.text("account", problems) else {
        return accounts.only().map(Arc::from);
    };
    if !check_account(&text, table, problems) {
        return None;
    }
    if accounts.find(text.value).is_none() && !accounts.is_empty() {
        table.report(accounts.unknown(text.value), text.span, problems);
        return None;
    }
    Some(text.value.into())
}

struct Reader<'r, 'a, 'b, 'c> {
    accounts: &'r Names<'a>,
    /// Where each user and role is defined, by account and name.
    taken: HashMap<String, Place>,
    library: &'r mut Library<'b, 'c>,
}

impl Reader<'_, '_, '_, '_> {
    fn identity(&mut self, table: &Table<'_>, problems: &mut Problems) -> Option<Identity> {
        table.check_fields(problems);
        let name = table.name(problems);
        let written = table.value("account").is_some();
        let account = account_of(table, self.accounts, problems);
        if account.is_none() && !written {
            table.require("account", problems);
        }
        let path = path(table, problems);
        let policies = self
            .library
            .list(table, "policies", Kind::Identity, problems);
        let boundary = self
            .library
            .single(table, "boundary", Kind::Identity, problems);
        let trust = self.library.single(table, "trust", Kind::Trust, problems);
        let max_session_duration = session_duration(table, problems);
        let tags = tags(table, problems);
        let id = table.text("id", problems);
        let (name, account) = (name?, account?);
        let (kind, prefix) = match table.block {
            Block::Role => ("role", Prefix::Role),
            _ => ("user", Prefix::User),
        };
        let arn: Arc<str> = format!("arn:aws:iam::{account}:{kind}{}{}", path?, name.value).into();
        let place = table.index.place(name.span.clone());
        // IAM User Guide, "IAM identifiers": whatever the path and the case, a name is unique in an account.
        let own = format!("{account}:{kind}/{}", name.value.to_ascii_lowercase());
        if let Some(first) = self.taken.get(&own) {
            let fault = Fault::Duplicate {
                block: table.block,
                name: name.value.into(),
            };
            let first = first.clone();
            problems.add(|| Problem::new(fault, place).with_other(first));
            return None;
        }
        self.taken.insert(own, place);
        Some(Identity {
            name: name.value.into(),
            origin: table.place().origin,
            account,
            id: match id {
                Some(text) => text.value.into(),
                None => unique_id(prefix, &arn).into(),
            },
            arn,
            tags,
            policies,
            boundary,
            trust,
            max_session_duration,
        })
    }
}

/// Seconds: an hour to twelve, and an hour unless said (IAM User Guide, "Update the maximum session duration for a role").
fn session_duration(table: &Table<'_>, problems: &mut Problems) -> i64 {
    const FIELD: &str = "max_session_duration";
    const HOUR: i64 = 3_600;
    let Some(item) = table.value(FIELD) else {
        return HOUR;
    };
    if !item.get_ref().is_integer() {
        table.wrong_type(FIELD, "a number of seconds", item, problems);
        return HOUR;
    }
    let seconds = integer(item.get_ref()).filter(|seconds| (HOUR..=12 * HOUR).contains(seconds));
    seconds.unwrap_or_else(|| {
        let fault = Fault::SessionDuration {
            found: table.written(item).into(),
        };
        table.report(fault, item.span(), problems);
        HOUR
    })
}

/// The path before the name in an ARN: it starts and ends with a slash.
fn path<'a>(table: &Table<'a>, problems: &mut Problems) -> Option<&'a str> {
    let Some(text) = table.text("path", problems) else {
        return Some("/");
    };
    let graphic = text
        .value
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"*?$".contains(&byte));
    let right = text.value.starts_with('/')
        && text.value.ends_with('/')
        && graphic
        && text.value.len() <= 512;
    if !right {
        let fault = Fault::IdentityPath {
            found: text.value.into(),
        };
        table.report(fault, text.span, problems);
        return None;
    }
    Some(text.value)
}

fn tags(table: &Table<'_>, problems: &mut Problems) -> Vec<(Arc<str>, Arc<str>)> {
    let Some(value) = table.value("tags") else {
        return Vec::new();
    };
    let DeValue::Table(members) = value.get_ref() else {
        table.wrong_type("tags", "a table of texts", value, problems);
        return Vec::new();
    };
    if members.len() > TAGS {
        let limit = Limit::Tags;
        table.report(Fault::TooMany { limit }, value.span(), problems);
        return Vec::new();
    }
    let mut seen = HashSet::new();
    let tags = members.iter().filter_map(|(key, value)| {
        let name: &str = key.get_ref().as_ref();
        // IAM User Guide, "Tags for AWS Identity and Access Management resources": keys do not differ in case only.
        if !seen.insert(name.to_ascii_lowercase()) {
            let found = name.into();
            table.report(Fault::TagTwice { found }, key.span(), problems);
        }
        let text = table.as_text("tags", value, problems)?;
        Some((name.into(), text.value.into()))
    });
    tags.collect()
}
