//! Lists of which a request has to meet one.
//!
//! A list may have [`VALUES`](super::limits::VALUES) members, and each request that its statement could be about is held
//! against it. So what stands for one text only is in a table, and a request pays for looking its own text up, however long
//! the list is. Members with wildcards or variables are tried one by one, and each is paid for.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::Arc;

use super::arn::ArnPattern;
use super::context::Context;
use super::pattern::{Case, Pattern, fold, fold_work};
use super::principal::{Caller, Principal, account_of, role_name};

/// Patterns of texts.
#[derive(Clone, Debug)]
pub struct Patterns {
    all: Vec<Pattern>,
    case: Case,
    literals: HashSet<Arc<str>>,
    /// Where the others stand.
    others: Vec<usize>,
}

impl Patterns {
    /// A list of patterns to which case counts, or not, alike.
    #[must_use]
    pub fn new(all: Vec<Pattern>, case: Case) -> Self {
        let mut literals = HashSet::new();
        let mut others = Vec::new();
        for (place, pattern) in all.iter().enumerate() {
            match pattern.as_literal() {
                Some(literal) => {
                    literals.insert(shared(literal, pattern.text()));
                }
                None => others.push(place),
            }
        }
        Self {
            all,
            case,
            literals,
            others,
        }
    }

    /// Whether one of them matches `subject`.
    #[must_use]
    pub fn matches(&self, subject: &str, context: &Context<'_>) -> bool {
        if !context.spend(1 + subject.len() + fold_work(subject, self.case)) {
            return false;
        }
        let subject = &*fold(subject, self.case);
        let mut others = self.others.iter().filter_map(|place| self.all.get(*place));
        self.literals.contains(subject)
            || others.any(|pattern| pattern.matches_folded(subject, context))
    }
}

impl Deref for Patterns {
    type Target = [Pattern];

    fn deref(&self) -> &[Pattern] {
        &self.all
    }
}

/// Patterns of ARNs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arns<P> {
    all: Vec<P>,
    literals: HashSet<Arc<str>>,
    /// Where those stand of which the last part stands for one text only, by that.
    named: HashMap<Box<str>, Vec<usize>>,
    /// Where the others stand.
    others: Vec<usize>,
}

impl<P: AsRef<ArnPattern>> Arns<P> {
    /// A list of patterns.
    #[must_use]
    pub fn new(all: Vec<P>) -> Self {
        let mut literals = HashSet::new();
        let mut named: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        let mut others = Vec::new();
        for (place, pattern) in all.iter().map(AsRef::as_ref).enumerate() {
            if let Some(literal) = pattern.as_literal() {
                literals.insert(shared(&literal, pattern.text()));
            } else if let Some(name) = pattern.name().and_then(Pattern::as_literal) {
                named.entry(name.into()).or_default().push(place);
            } else {
                others.push(place);
            }
        }
        Self {
            all,
            literals,
            named,
            others,
        }
    }

    /// Whether one of them matches `arn`.
    #[must_use]
    pub fn matches(&self, arn: &str, context: &Context<'_>) -> bool {
        if !context.spend(1 + 2 * arn.len()) {
            return false;
        }
        let name = arn.splitn(6, ':').nth(5);
        let named = name.and_then(|name| self.named.get(name));
        let places = named.into_iter().flatten().chain(&self.others);
        let mut others = places.filter_map(|place| self.all.get(*place));
        self.literals.contains(arn) || others.any(|pattern| pattern.as_ref().matches(arn, context))
    }
}

impl<P> Deref for Arns<P> {
    type Target = [P];

    fn deref(&self) -> &[P] {
        &self.all
    }
}

/// Whom a statement names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principals {
    all: Vec<Principal>,
    /// Whether one of them is [`Principal::Anyone`].
    anyone: bool,
    accounts: HashSet<Arc<str>>,
    arns: HashSet<Arc<str>>,
    /// The accounts that the roles of a name are of, ascending.
    roles: HashMap<Box<str>, Vec<Box<str>>>,
}

impl Principals {
    /// A list of principals.
    #[must_use]
    pub fn new(all: Vec<Principal>) -> Self {
        let mut own = Self {
            anyone: false,
            accounts: HashSet::new(),
            arns: HashSet::new(),
            roles: HashMap::new(),
            all: Vec::new(),
        };
        for principal in &all {
            match principal {
                Principal::Account { id, .. } => {
                    own.accounts.insert(Arc::clone(id));
                }
                Principal::Anyone => own.anyone = true,
                Principal::Arn(arn) => {
                    own.arns.insert(Arc::clone(arn));
                    if let Some((name, account)) = role_name(arn).zip(account_of(arn)) {
                        let accounts = own.roles.entry(name.into()).or_default();
                        accounts.push(account.into());
                    }
                }
                // They never call.
                Principal::Other { .. } => {}
            }
        }
        for accounts in own.roles.values_mut() {
            accounts.sort_unstable();
            accounts.dedup();
        }
        Self { all, ..own }
    }

    /// Whether a caller is meant.
    #[must_use]
    pub fn match_caller(&self, caller: &Caller) -> bool {
        self.accounts.contains(&**caller.account()) || self.grant(caller)
    }

    /// Whether a caller is meant by more than its account. What an account may do, its own documents hand on.
    #[must_use]
    pub fn grant(&self, caller: &Caller) -> bool {
        self.anyone || self.name(caller) || caller.role().is_some_and(|role| self.name_role(role))
    }

    /// Whether a caller is named as a user or session, and not by its role or account.
    #[must_use]
    pub fn name(&self, caller: &Caller) -> bool {
        self.arns.contains(&**caller.arn())
    }

    /// Whether a role is named, whatever its path: the ARN of a session leaves that out.
    fn name_role(&self, role: &str) -> bool {
        role_name(role)
            .zip(account_of(role))
            .is_some_and(|(name, account)| {
                let accounts = self.roles.get(name);
                accounts.is_some_and(|accounts| {
                    accounts
                        .binary_search_by(|own| (**own).cmp(account))
                        .is_ok()
                })
            })
    }

    /// What it costs to look a caller up, in units of work.
    pub(super) fn work(caller: &Caller) -> usize {
        let role = caller.role().map_or(0, |role| role.len());
        1 + caller.account().len() + caller.arn().len() + 2 * role
    }
}

impl Deref for Principals {
    type Target = [Principal];

    fn deref(&self) -> &[Principal] {
        &self.all
    }
}

/// A text, without a copy where it is `written` already.
fn shared(text: &str, written: &Arc<str>) -> Arc<str> {
    if *text == **written {
        Arc::clone(written)
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests;
