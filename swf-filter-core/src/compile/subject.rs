//! Who may be meant by the principals of a statement, where the caller is not known yet.

use crate::iam::Choice;
use crate::iam::principal::Principal;
use crate::policy::Identity;

/// Somebody, or anybody of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject<'a> {
    /// Any principal of an account.
    Account(&'a str),
    /// Anybody.
    Anyone,
    /// The user, or the session, of this ARN.
    Caller { account: &'a str, arn: &'a str },
    /// Any session of the role of this ARN.
    Role { account: &'a str, arn: &'a str },
}

/// Whether something is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Certainty {
    /// It is not.
    Never,
    /// It may be.
    Possible,
    /// It is.
    Sure,
}

impl<'a> Subject<'a> {
    pub(super) fn user(user: &'a Identity) -> Self {
        Self::Caller {
            account: &user.account,
            arn: &user.arn,
        }
    }

    pub(super) fn role(role: &'a Identity) -> Self {
        Self::Role {
            account: &role.account,
            arn: &role.arn,
        }
    }

    /// Those whom a principal of a statement means; none if nobody who can call.
    pub(super) fn named(principal: &'a Principal) -> Option<Self> {
        Some(match principal {
            Principal::Account { id, .. } => Self::Account(id),
            Principal::Anyone => Self::Anyone,
            Principal::Arn(arn) => {
                let account = account_of(arn)?;
                if arn.contains(":role/") {
                    Self::Role { account, arn }
                } else {
                    Self::Caller { account, arn }
                }
            }
            Principal::Other { .. } => return None,
        })
    }

    pub(super) fn account(self) -> Option<&'a str> {
        match self {
            Self::Anyone => None,
            Self::Account(account) | Self::Caller { account, .. } | Self::Role { account, .. } => {
                Some(account)
            }
        }
    }

    /// Whether it is among those that a statement is about.
    pub(super) fn meets(self, choice: &Choice<Principal>) -> Certainty {
        let best = choice
            .patterns()
            .iter()
            .map(|principal| self.is(principal))
            .max();
        let best = best.unwrap_or(Certainty::Never);
        match (choice, best) {
            (Choice::Of(_), best) => best,
            (Choice::Not(_), Certainty::Never) => Certainty::Sure,
            (Choice::Not(_), Certainty::Possible) => Certainty::Possible,
            (Choice::Not(_), Certainty::Sure) => Certainty::Never,
        }
    }

    /// Whether a statement may be about it, other than by naming somebody who is a subject of his own.
    pub(super) fn may_be_meant(self, choice: &Choice<Principal>) -> bool {
        match (self, choice) {
            (Self::Account(_) | Self::Anyone, Choice::Of(_)) => {
                self.meets(choice) == Certainty::Sure
            }
            _ => self.meets(choice) != Certainty::Never,
        }
    }

    /// Whether a statement may mean it by more than its account.
    pub(super) fn is_granted_by(self, choice: &Choice<Principal>) -> bool {
        let Choice::Of(principals) = choice else {
            return true;
        };
        let is_account = |principal: &Principal| matches!(principal, Principal::Account { .. });
        let mut others = principals.iter().filter(|principal| !is_account(principal));
        others.any(|principal| self.is(principal) != Certainty::Never)
    }

    /// Whether a statement may name it as a user or session, which sets it free of boundaries.
    pub(super) fn is_named_by(self, choice: &Choice<Principal>) -> bool {
        let Choice::Of(principals) = choice else {
            return false;
        };
        principals.iter().any(|principal| match (self, principal) {
            (Self::Caller { arn, .. }, Principal::Arn(named)) => arn == &**named,
            (Self::Role { arn, .. }, Principal::Arn(named)) => is_session_of(named, arn),
            (Self::Account(account), Principal::Arn(named)) => account_of(named) == Some(account),
            (Self::Anyone, Principal::Arn(_)) => true,
            _ => false,
        })
    }

    fn is(self, principal: &Principal) -> Certainty {
        let certain = |yes| {
            if yes {
                Certainty::Sure
            } else {
                Certainty::Never
            }
        };
        let possible = |yes| {
            if yes {
                Certainty::Possible
            } else {
                Certainty::Never
            }
        };
        match (self, principal) {
            (_, Principal::Other { .. }) => Certainty::Never,
            (_, Principal::Anyone) => Certainty::Sure,
            (Self::Anyone, _) => Certainty::Possible,
            (_, Principal::Account { id, .. }) => certain(self.account() == Some(id)),
            (Self::Account(account), Principal::Arn(arn)) => {
                possible(account_of(arn) == Some(account))
            }
            (Self::Caller { arn, .. }, Principal::Arn(named)) if arn == &**named => Certainty::Sure,
            (Self::Caller { arn, .. }, Principal::Arn(named)) => certain(is_session_of(arn, named)),
            (Self::Role { arn, .. }, Principal::Arn(named)) if arn == &**named => Certainty::Sure,
            (Self::Role { arn, .. }, Principal::Arn(named)) => possible(is_session_of(named, arn)),
        }
    }
}

fn account_of(arn: &str) -> Option<&str> {
    arn.split(':').nth(4)
}

/// Whether a session could be one of a role.
fn is_session_of(session: &str, role: &str) -> bool {
    let name = |arn: &str, kind| {
        let (_, name) = arn.split_once(kind)?;
        Some(name.to_owned())
    };
    let Some(session_role) = name(session, ":assumed-role/") else {
        return false;
    };
    let Some(role_name) = name(role, ":role/") else {
        return false;
    };
    account_of(session) == account_of(role)
        && session_role.split('/').next() == role_name.rsplit('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "arn:aws:iam::111122223333:role/team/worker";
    const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/worker/one";

    fn arn(text: &str) -> Principal {
        Principal::Arn(text.into())
    }

    #[test]
    fn a_role_may_be_any_of_its_sessions() {
        let named = (arn(ROLE), arn(SESSION));
        let role = Subject::named(&named.0).expect("a role");
        let account = Principal::Account {
            id: "111122223333".into(),
            text: "111122223333".into(),
        };
        assert_eq!(role.is(&arn(ROLE)), Certainty::Sure);
        assert_eq!(role.is(&account), Certainty::Sure);
        assert_eq!(role.is(&arn(SESSION)), Certainty::Possible);
        assert_eq!(
            role.meets(&Choice::Not(vec![arn(SESSION)])),
            Certainty::Possible
        );
        assert_eq!(
            role.is(&arn("arn:aws:sts::111122223333:assumed-role/other/one")),
            Certainty::Never
        );
        assert_eq!(
            role.meets(&Choice::Not(vec![arn("arn:aws:iam::111122223333:user/a")])),
            Certainty::Sure
        );
        assert_eq!(
            Subject::Anyone.meets(&Choice::Not(vec![account])),
            Certainty::Possible
        );
        let session = Subject::named(&named.1).expect("a session");
        assert_eq!(session.is(&arn(ROLE)), Certainty::Sure);
    }
}
