//! `[[host]]` blocks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::fault::Block;
use super::super::limits::{ADDRESSES, HOSTS, Limit, RULES};
use super::super::{Effect, Entry, Fault, Host, HostDocuments, Mode, Place, Problem, Problems};
use super::attached::Library;
use super::document::{Document, Table};
use super::entries::{Scope, plain, plain_prefixes, take};
use super::names::Names;
use super::ports;
use super::principals::account_of;
use crate::admission::Lists;
use crate::compile::documents::Judged;
use crate::iam::Kind;
use crate::prefix::{Address, Prefix, PrefixList};

/// The hosts of all files, and their names.
pub(super) fn read<'a>(
    documents: &'a [Document<'a>],
    scope: &Scope<'_>,
    library: &mut Library<'_, '_>,
    problems: &mut Problems,
) -> (Vec<Host>, Names<'a>) {
    let mut reader = Reader {
        scope,
        library,
        hosts: Vec::new(),
        owners: Owners::default(),
        rules: RULES,
    };
    let mut names = Names::new(Block::Host);
    for document in documents {
        for table in document.blocks(Block::Host, problems) {
            if reader.hosts.len() == HOSTS {
                problems.add(|| Problem::new(Fault::from(Limit::Hosts), table.place()));
                return (reader.hosts, names);
            }
            reader.read_host(&table, &mut names, problems);
        }
    }
    (reader.hosts, names)
}

struct Reader<'a, 'b, 'c> {
    scope: &'a Scope<'a>,
    library: &'a mut Library<'b, 'c>,
    hosts: Vec<Host>,
    owners: Owners,
    /// How many more rules there may be.
    rules: usize,
}

impl Reader<'_, '_, '_> {
    fn read_host<'a>(&mut self, table: &Table<'a>, names: &mut Names<'a>, problems: &mut Problems) {
        table.check_fields(problems);
        let name = table.name(problems);
        let defined = name
            .as_ref()
            .is_some_and(|name| names.define(name, table, problems));
        table.require_items("addresses", problems);
        if let Err(limit) = take(&mut self.rules) {
            problems.add(|| Problem::new(Fault::from(limit), table.place()));
        }
        let name: Arc<str> = name.map_or("", |name| name.value).into();
        let host = Host {
            origin: table.place().origin,
            addresses: self.owners.addresses(table, &name, problems),
            ports: ports::read(table, problems),
            default: table.choice(
                "default",
                &["drop", "pass"],
                &[Effect::Drop, Effect::Pass],
                Effect::Drop,
                problems,
            ),
            mode: table.choice(
                "mode",
                &["enforce", "audit"],
                &[Mode::Enforce, Mode::Audit],
                Mode::Enforce,
                problems,
            ),
            allow: self
                .scope
                .entries(table, "allow", &mut self.rules, problems),
            audit: self
                .scope
                .entries(table, "audit", &mut self.rules, problems),
            deny: self.scope.entries(table, "deny", &mut self.rules, problems),
            documents: self.documents(table, problems),
            trusted_proxies: self.trusted_proxies(table, problems),
            lists: Lists::default(),
            name,
        };
        if defined {
            self.hosts.push(host);
        }
    }

    /// What makes the host's requests subject to policy documents, if it names an account or documents of its own.
    fn documents(&mut self, table: &Table<'_>, problems: &mut Problems) -> Option<HostDocuments> {
        let field = table.value("resource_policies");
        let judged = field.or_else(|| table.value("account"));
        for field in ["domains", "region"] {
            if judged.is_none() && table.value(field).is_some() {
                let place = table.value(field).map_or(0..0, toml::Spanned::span);
                table.report(Fault::WithoutDocuments { field }, place, problems);
            }
        }
        let judged = judged?;
        table.refuse_empty("resource_policies", problems);
        table.refuse_empty("domains", problems);
        let accounts = &self.scope.accounts;
        let account = account_of(table, accounts, problems);
        if account.is_none() && !accounts.is_empty() && table.value("account").is_none() {
            table.require("account", problems);
        }
        let named = |field, what, problems: &mut Problems| -> Vec<Arc<str>> {
            let texts = table.texts(field, problems).into_iter();
            let right = texts.filter(|text| {
                is_domain(text.value) || {
                    let name = text.value.into();
                    table.report(Fault::Name { what, name }, text.span.clone(), problems);
                    false
                }
            });
            right.map(|text| text.value.into()).collect()
        };
        let domains = named("domains", "SWF domain", problems);
        let region = table.text("region", problems);
        let region = region.filter(|text| table.check_name("region", text, problems));
        Some(HostDocuments {
            account,
            region: region.map(|text| text.value.into()),
            policies: self
                .library
                .list(table, "resource_policies", Kind::Resource, problems),
            domains,
            origin: table.index.origin(judged.span().start),
            judged: Judged::default(),
        })
    }

    fn trusted_proxies(&mut self, table: &Table<'_>, problems: &mut Problems) -> Vec<Entry> {
        let field = "trusted_proxies";
        let mut entries = Vec::new();
        for text in table.texts(field, problems) {
            let entry = plain(&text, field, table.index, problems);
            if let Some(entry) = entry {
                if let Err(limit) = take(&mut self.rules) {
                    table.report(Fault::TooMany { limit }, text.span, problems);
                    break;
                }
                entries.push(entry);
            }
        }
        entries
    }
}

/// Whose each protected address is.
#[derive(Default)]
struct Owners {
    v4: BTreeMap<u32, Owner>,
    v6: BTreeMap<u128, Owner>,
}

#[derive(Clone)]
struct Owner {
    name: Arc<str>,
    place: Place,
}

impl Owners {
    /// Writes out the `addresses` of the host `name`, and makes them its own.
    fn addresses(
        &mut self,
        table: &Table<'_>,
        name: &Arc<str>,
        problems: &mut Problems,
    ) -> PrefixList {
        let mut addresses = PrefixList::default();
        for text in table.texts("addresses", problems) {
            let Some(prefixes) = plain_prefixes(&text, "addresses", table.index, problems) else {
                continue;
            };
            let owner = Owner {
                name: name.clone(),
                place: table.index.place(text.span.clone()),
            };
            let taken = own(
                &mut self.v4,
                &prefixes.v4,
                &owner,
                Limit::AddressesV4,
                &mut addresses.v4,
            )
            .and_then(|()| {
                own(
                    &mut self.v6,
                    &prefixes.v6,
                    &owner,
                    Limit::AddressesV6,
                    &mut addresses.v6,
                )
            });
            if let Err(refusal) = taken {
                let over = matches!(refusal, Refusal::TooMany(_));
                problems.add(|| refusal.into_problem(&owner));
                if over {
                    break;
                }
            }
        }
        addresses
    }
}

/// Whether SWF would take a text as the name of a domain (Amazon SWF API Reference, `RegisterDomain`).
fn is_domain(text: &str) -> bool {
    let refused = |character: char| matches!(character, ':' | '/' | '|') || character.is_control();
    (1..=256).contains(&text.chars().count())
        && text != "arn"
        && text.trim() == text
        && !text.contains(refused)
}

enum Refusal {
    Taken(std::net::IpAddr, Owner),
    TooMany(Limit),
}

impl Refusal {
    fn into_problem(self, host: &Owner) -> Problem {
        match self {
            Self::TooMany(limit) => Problem::new(Fault::from(limit), host.place.clone()),
            Self::Taken(address, owner) => {
                let fault = Fault::TwoOwners {
                    address,
                    owner: owner.name.to_string(),
                    host: host.name.to_string(),
                };
                Problem::new(fault, host.place.clone()).with_other(owner.place)
            }
        }
    }
}

/// Enters each address of `prefixes` into `owners` and `addresses`.
///
/// Stops at the first that cannot be had, so that no prefix is walked further than the table of owners is long.
fn own<A: Address>(
    owners: &mut BTreeMap<A, Owner>,
    prefixes: &[Prefix<A>],
    host: &Owner,
    limit: Limit,
    addresses: &mut Vec<Prefix<A>>,
) -> Result<(), Refusal> {
    let walk = |prefix: &Prefix<A>| {
        let last = prefix.last();
        std::iter::successors(Some(prefix.first()), move |address| {
            address.successor().filter(|next| *next <= last)
        })
    };
    for address in prefixes.iter().flat_map(walk) {
        match owners.get(&address) {
            Some(owner) if owner.name == host.name => {}
            Some(owner) => return Err(Refusal::Taken(address.to_ip(), owner.clone())),
            None if owners.len() == ADDRESSES => return Err(Refusal::TooMany(limit)),
            None => {
                owners.insert(address, host.clone());
                addresses.push(Prefix::containing(address, A::BITS));
            }
        }
    }
    Ok(())
}
