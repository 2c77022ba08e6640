//! Kinds of callers, which no statement about requests to a host tells apart.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

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
    let sessions = sessions(&named);
    for role in &principals.roles {
        let own = role_name(&role.arn).and_then(|name| sessions.get(&(&*role.account, name)));
        let own = own
            .into_iter()
            .flatten()
            .map(|session| session.clone().with_role(Arc::clone(&role.arn)));
        parties.extend(
            own.chain([Caller::some_session(&role.arn)])
                .map(|caller| Party {
                    caller,
                    known: known::Caller::Role(known::Only(role)),
                    identity: Some(role),
                }),
        );
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

/// The sessions that are named, by the account and name of their role.
fn sessions<'a>(named: &BTreeSet<&'a Principal>) -> HashMap<(&'a str, &'a str), Vec<Caller>> {
    let mut sessions: HashMap<_, Vec<Caller>> = HashMap::new();
    for arn in named.iter().filter_map(|principal| principal.arn()) {
        let session = Caller::from_arn(arn).ok();
        let session = session.filter(|caller| caller.role().is_some());
        // arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION
        if let Some((session, name)) = session.zip(arn.split('/').nth(1)) {
            let account = account_of(arn).unwrap_or_default();
            let own = sessions.entry((account, name)).or_default();
            own.push(session);
        }
    }
    sessions
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
