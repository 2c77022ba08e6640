//! Kinds of callers, which no statement about requests to a host tells apart.

use std::collections::BTreeSet;

use super::known;
use crate::iam::Choice;
use crate::iam::principal::{Caller, Principal, account_of, role_name};
use crate::policy::{HostDocuments, Identity, Policy};

/// Somebody who may make requests.
#[derive(Clone, Debug)]
pub(super) struct Party<'a> {
    /// One of them.
    pub(super) caller: Caller,
    /// What is known of them.
    pub(super) known: known::Caller<'a>,
    /// The user or role; none if it is not known which documents are attached to it.
    pub(super) identity: Option<&'a Identity>,
}

/// All who may make requests to a host.
pub(super) fn parties<'a>(policy: &'a Policy, documents: &HostDocuments) -> Vec<Party<'a>> {
    let named = named(documents);
    let principals = &policy.principals;
    let mut parties = Vec::new();
    for user in &principals.users {
        parties.extend(Caller::from_arn(&user.arn).ok().map(|caller| Party {
            caller,
            known: known::Caller::User(known::Only(user)),
            identity: Some(user),
        }));
    }
    for role in &principals.roles {
        let callers = sessions(role, &named).chain([Caller::some_session(&role.arn)]);
        parties.extend(callers.map(|caller| Party {
            caller,
            known: known::Caller::Role(known::Only(role)),
            identity: Some(role),
        }));
    }
    if principals.accounts.is_empty() {
        let unknown = unknown(&named, documents).into_iter();
        parties.extend(unknown.map(|caller| Party {
            caller,
            known: known::Caller::Anyone,
            identity: None,
        }));
    }
    parties
}

/// The principals that the documents of a host name.
fn named(documents: &HostDocuments) -> BTreeSet<&Principal> {
    let documents = documents.policies.iter();
    documents
        .flat_map(|document| &document.statements)
        .flat_map(|statement| &statement.principals)
        .flat_map(Choice::patterns)
        .collect()
}

/// The sessions of a role that are named.
fn sessions(role: &Identity, named: &BTreeSet<&Principal>) -> impl Iterator<Item = Caller> {
    let arns = named.iter().filter_map(|principal| principal.arn());
    arns.filter_map(|arn| Caller::from_arn(arn).ok())
        .filter(|caller| {
            caller.account() == &role.account
                && caller.role().and_then(|own| role_name(own)) == role_name(&role.arn)
        })
        .map(|caller| caller.with_role(role.arn.clone()))
}

/// Where no principals are configured at all, whoever the host's documents name may exist, and others of each account.
fn unknown(named: &BTreeSet<&Principal>, documents: &HostDocuments) -> Vec<Caller> {
    let mut callers = Vec::new();
    let mut accounts = BTreeSet::new();
    for principal in named {
        match principal {
            Principal::Account { id, .. } => {
                accounts.insert(&**id);
            }
            Principal::Arn(arn) => {
                accounts.extend(account_of(arn));
                callers.extend(match role_name(arn) {
                    Some(_) => Some(Caller::some_session(arn)),
                    None => Caller::from_arn(arn).ok(),
                });
            }
            Principal::Anyone | Principal::Other { .. } => {}
        }
    }
    // Of no account that is named.
    accounts.insert("");
    accounts.extend(documents.account.as_deref());
    callers.extend(accounts.into_iter().map(Caller::some_user));
    // Of another account, nobody is allowed anything without documents of his own.
    callers.retain(|caller| documents.is_of_account(caller.account()));
    callers
}
