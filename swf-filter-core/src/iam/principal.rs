//! Principals as policies name them, and callers as requests have them.

use std::fmt;
use std::sync::Arc;

/// Whom a statement of a resource or trust policy is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    /// `"*"` or `{"AWS": "*"}`.
    Anyone,
    /// All of an account, by its id or its root's ARN.
    Account {
        /// The twelve digits.
        id: Arc<str>,
        /// As written.
        text: Arc<str>,
    },
    /// One user, role or session, by its ARN.
    Arn(Arc<str>),
    /// `Service`, `Federated` or `CanonicalUser`: never who calls an SWF host.
    Other {
        /// The member of the `Principal` object.
        kind: Arc<str>,
        /// Its value.
        text: Arc<str>,
    },
}

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    kind: CallerKind,
    account: Arc<str>,
    arn: Arc<str>,
    /// The role's ARN, for a session.
    role: Option<Arc<str>>,
}

/// What kind of caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallerKind {
    /// The root user of an account.
    Root,
    /// A session of a role.
    Session,
    /// An IAM user.
    User,
}

impl CallerKind {
    /// The value of `aws:PrincipalType`.
    #[must_use]
    pub const fn principal_type(self) -> &'static str {
        match self {
            Self::Root => "Account",
            Self::Session => "AssumedRole",
            Self::User => "User",
        }
    }
}

/// Why a text does not name a caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the ARN of a user, an account's root, or a session of a role")]
pub struct NotCaller {
    /// The text.
    pub text: String,
}

impl Caller {
    /// Reads the ARN of a user (`arn:aws:iam::ID:user/PATH/NAME`), of a session
    /// (`arn:aws:sts::ID:assumed-role/ROLE/SESSION`) or of an account's root.
    ///
    /// The ARN of a session leaves its role's path out. [`Caller::with_role`] tells it.
    pub fn from_arn(arn: &str) -> Result<Self, NotCaller> {
        Self::read(arn).ok_or_else(|| NotCaller { text: arn.into() })
    }

    fn read(arn: &str) -> Option<Self> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", partition, service, "", account, name] = *parts else {
            return None;
        };
        if partition.is_empty() || !is_account(account) {
            return None;
        }
        let (kind, role) = match (service, name.split_once('/')) {
            ("iam", None) if name == "root" => (CallerKind::Root, None),
            ("iam", Some(("user", name))) if is_path(name) => (CallerKind::User, None),
            ("sts", Some(("assumed-role", name))) => {
                let (role, session) = name.split_once('/')?;
                if role.is_empty() || session.is_empty() || session.contains('/') {
                    return None;
                }
                let role = format!("arn:{partition}:iam::{account}:role/{role}");
                (CallerKind::Session, Some(role.into()))
            }
            _ => return None,
        };
        Some(Self {
            kind,
            account: account.into(),
            arn: arn.into(),
            role,
        })
    }

    /// A user of an account that no policy can name.
    #[must_use]
    pub(crate) fn some_user(account: &str) -> Self {
        Self {
            kind: CallerKind::User,
            account: account.into(),
            arn: format!("arn:aws:iam::{account}:user/").into(),
            role: None,
        }
    }

    /// A session of a role that no policy can name.
    #[must_use]
    pub(crate) fn some_session(role: &Arc<str>) -> Self {
        let account = account_of(role).unwrap_or_default();
        let name = role_name(role).unwrap_or_default();
        Self {
            kind: CallerKind::Session,
            account: account.into(),
            arn: format!("arn:aws:sts::{account}:assumed-role/{name}/").into(),
            role: Some(Arc::clone(role)),
        }
    }

    /// The same session, with its role's full ARN.
    #[must_use]
    pub fn with_role(self, role: Arc<str>) -> Self {
        Self {
            role: Some(role),
            ..self
        }
    }

    /// What kind of caller it is.
    #[must_use]
    pub fn kind(&self) -> CallerKind {
        self.kind
    }

    /// Its account.
    #[must_use]
    pub fn account(&self) -> &Arc<str> {
        &self.account
    }

    /// Its ARN.
    #[must_use]
    pub fn arn(&self) -> &Arc<str> {
        &self.arn
    }

    /// Its role's ARN, if it is a session.
    #[must_use]
    pub fn role(&self) -> Option<&Arc<str>> {
        self.role.as_ref()
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arn)
    }
}

impl Principal {
    /// The ARN, if it names one user, role or session.
    #[must_use]
    pub(crate) fn arn(&self) -> Option<&Arc<str>> {
        match self {
            Self::Arn(arn) => Some(arn),
            _ => None,
        }
    }
}

/// The name in the ARN of a role, without its path. Names of roles are unique in an account, whatever their paths.
#[must_use]
pub fn role_name(arn: &str) -> Option<&str> {
    // The path of a user may hold anything, `:role/` too.
    let path = arn.splitn(6, ':').nth(5)?.strip_prefix("role/")?;
    path.rsplit('/').next()
}

/// The account in an ARN.
#[must_use]
pub(crate) fn account_of(arn: &str) -> Option<&str> {
    arn.split(':').nth(4)
}

/// Whether a text is an account id.
#[must_use]
pub fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a text is a name with an optional path before it, without wildcards.
#[must_use]
pub fn is_path(text: &str) -> bool {
    !text.is_empty()
        && !text.ends_with('/')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'?' | b'$'))
}
