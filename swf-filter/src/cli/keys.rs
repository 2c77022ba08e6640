//! `swf-filter keys`: access keys of users, and the keys of session tokens.

use std::io::{self, Write};

use anyhow::{Context, Result, anyhow, bail};
use clap::Subcommand;
use jiff::Timestamp;
use serde::Serialize;
use swf_filter_core::policy::{Identity, Policy};

use super::show::Show;
use super::{Arguments, listener_paths};
use crate::config::Config;
use crate::files;
use crate::keys::{KEEP, KeyInfo, NewKey, Places, Status, Store, rotate};
use crate::report::visible;

#[derive(Subcommand)]
pub(super) enum Keys {
    /// Make an access key. Its secret is printed this once.
    Create {
        /// The ARN of a user, or the name of one that the policy has.
        user: String,
    },
    /// All access keys, without their secrets.
    List {
        /// Only those of one user, by ARN or name.
        #[arg(long)]
        user: Option<String>,
    },
    /// Let an access key be used no more, until it is enabled again.
    Disable {
        /// Its id.
        id: String,
    },
    /// Let an access key be used again.
    Enable {
        /// Its id.
        id: String,
    },
    /// Delete an access key.
    Delete {
        /// Its id.
        id: String,
    },
    /// Seal the access keys with a new key, in place of that in `store.key`.
    Rekey,
    /// Seal session tokens with a new key from now on.
    Rotate {
        /// How many of the keys before still open tokens; none ends all sessions.
        #[arg(long, default_value_t = KEEP)]
        keep: usize,
    },
}

/// What `keys create` prints.
#[derive(Serialize)]
struct Created {
    #[serde(flatten)]
    key: NewKey,
    /// What is doubtful about it.
    warnings: Vec<String>,
}

/// What `keys delete` prints.
#[derive(Serialize)]
struct Deleted {
    deleted: KeyInfo,
}

/// What `keys rekey` prints.
#[derive(Serialize)]
struct Rekeyed {
    /// How many access keys are in the store.
    access_keys: usize,
}

/// What `keys rotate` prints.
#[derive(Serialize)]
struct Rotated {
    /// The number of the key that seals.
    seals: u32,
    /// Those of all keys that open.
    opens: Vec<u32>,
}

impl Show for Created {
    fn show(&self) -> String {
        let NewKey {
            info,
            secret_access_key,
        } = &self.key;
        format!(
            "user               {}\naccess key id      {}\nsecret access key  {}\n",
            visible(&info.user),
            info.access_key_id,
            **secret_access_key
        )
    }
}

impl Show for KeyInfo {
    fn show(&self) -> String {
        format!(
            "{} of {} is {}\n",
            self.access_key_id,
            visible(&self.user),
            status(self.status)
        )
    }
}

impl Show for Deleted {
    fn show(&self) -> String {
        let KeyInfo {
            access_key_id,
            user,
            ..
        } = &self.deleted;
        format!("{access_key_id} of {} is deleted\n", visible(user))
    }
}

impl Show for Vec<KeyInfo> {
    fn show(&self) -> String {
        if self.is_empty() {
            return "there are no access keys\n".to_owned();
        }
        let lines = self.iter().map(|key| {
            let id = key.user_id.iter().map(|id| format!(" ({})", visible(id)));
            format!(
                "{:<20}  {:<8}  {:<20}  {}{}\n",
                key.access_key_id,
                status(key.status),
                key.created,
                visible(&key.user),
                id.collect::<String>()
            )
        });
        let title = format!(
            "{:<20}  {:<8}  {:<20}  USER\n",
            "ACCESS KEY ID", "STATUS", "CREATED"
        );
        std::iter::once(title).chain(lines).collect()
    }
}

impl Show for Rekeyed {
    fn show(&self) -> String {
        let count = self.access_keys;
        format!(
            "a new key seals the store, which has {count} access keys; the key before opens nothing any more\n"
        )
    }
}

impl Show for Rotated {
    fn show(&self) -> String {
        let opens: Vec<String> = self.opens.iter().map(u32::to_string).collect();
        format!(
            "key {} seals session tokens; keys {} open them\n",
            self.seals,
            opens.join(", ")
        )
    }
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Active => "active",
        Status::Inactive => "inactive",
    }
}

impl Arguments {
    pub(super) fn keys(&self, command: &Keys) -> Result<()> {
        let places = Places::new(&listener_paths(self)?);
        let store = Store::new(places.clone());
        match command {
            Keys::Create { user } => self.create(&store, user),
            Keys::List { user } => {
                let mut keys = store.list()?;
                if let Some(user) = user {
                    keys.retain(|key| is_of(&key.user, user));
                }
                self.print(&keys)
            }
            Keys::Disable { id } => self.print(&store.set_status(id, Status::Inactive)?),
            Keys::Enable { id } => self.print(&store.set_status(id, Status::Active)?),
            Keys::Delete { id } => self.print(&Deleted {
                deleted: store.delete(id)?,
            }),
            Keys::Rekey => self.print(&Rekeyed {
                access_keys: store.rekey()?,
            }),
            Keys::Rotate { keep } => {
                let opens = rotate(&places, *keep)?;
                self.print(&Rotated {
                    seals: opens.first().copied().unwrap_or_default(),
                    opens,
                })
            }
        }
    }

    fn create(&self, store: &Store, user: &str) -> Result<()> {
        let policy = self.policy();
        let Resolved { arn, id, warnings } = resolve(policy, user)?;
        let created = Created {
            key: store.create(&arn, id.as_deref(), Timestamp::now())?,
            warnings,
        };
        if let Err(error) = self.print(&created) {
            // Nobody knows the secret, and it would take one of the user's two places.
            store.delete(&created.key.info.access_key_id)?;
            bail!("the access key is deleted again, because it cannot be printed: {error:#}");
        }
        for warning in &created.warnings {
            writeln!(io::stderr(), "warning: {}", visible(warning))?;
        }
        let note = "note: the secret is not shown again; the listener takes the key once it has read the store again";
        Ok(writeln!(io::stderr(), "{note}")?)
    }

    fn policy(&self) -> Result<Policy> {
        let config = Config::load(&self.config)?;
        Ok(files::load(&config.paths.policy, &config.always_allow)?.policy)
    }
}

/// Whether a user is meant, by ARN or by name.
fn is_of(arn: &str, user: &str) -> bool {
    arn == user || arn.rsplit_once('/').is_some_and(|(_, name)| name == user)
}

/// Whom an access key is for.
#[derive(Debug)]
struct Resolved {
    /// The ARN of a user.
    arn: String,
    /// The unique id that the policy states.
    id: Option<String>,
    /// What is doubtful about it.
    warnings: Vec<String>,
}

impl Resolved {
    fn known(user: &Identity) -> Self {
        Self {
            arn: user.arn.to_string(),
            id: user.stated_id().map(ToString::to_string),
            warnings: Vec::new(),
        }
    }
}

fn resolve(policy: Result<Policy>, user: &str) -> Result<Resolved> {
    if !user.starts_with("arn:") {
        let policy = policy.with_context(|| {
            format!("cannot tell the ARN of `{user}` without a policy; give the ARN")
        })?;
        let users = policy.principals.users.iter();
        let found: Vec<&Identity> = users.filter(|known| *known.name == *user).collect();
        return match *found {
            [known] => Ok(Resolved::known(known)),
            [] => Err(anyhow!("the policy has no user `{user}`")),
            _ => Err(anyhow!(
                "the policy has several users `{user}`: {}; give the ARN",
                found
                    .iter()
                    .map(|known| &*known.arn)
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
        };
    }
    let warnings = match policy {
        Err(error) => vec![format!(
            "whether the policy has this user is not known: {error:#}"
        )],
        Ok(policy) => {
            let principals = &policy.principals;
            if let Some(known) = principals.users.iter().find(|known| *known.arn == *user) {
                return Ok(Resolved::known(known));
            }
            // Without accounts there are no users in the policy, and documents tell by ARN alone.
            if principals.accounts.is_empty() {
                Vec::new()
            } else {
                vec![format!(
                    "the policy has no user `{user}`: all requests with this key will be denied"
                )]
            }
        }
    };
    Ok(Resolved {
        arn: user.to_owned(),
        id: None,
        warnings,
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use swf_filter_core::policy::{SourceFile, parse};

    use super::*;

    fn policy(text: &str) -> Policy {
        let file = SourceFile {
            name: "a.toml".into(),
            bytes: format!("version = 1\n{text}").as_bytes().into(),
        };
        let read = parse(&[file], &mut |_| Err(io::ErrorKind::NotFound.into()));
        read.expect("a policy")
    }

    const ACCOUNTS: &str =
        "[[account]]\nid = \"111122223333\"\n[[account]]\nid = \"444455556666\"\n";
    const USERS: &str = "[[user]]\nname = \"alice\"\naccount = \"111122223333\"\npath = \"/team/\"\n\
        [[user]]\nname = \"bob\"\naccount = \"111122223333\"\n[[user]]\nname = \"bob\"\naccount = \"444455556666\"\n";
    const ALICE: &str = "arn:aws:iam::111122223333:user/team/alice";

    #[test]
    fn a_name_stands_for_the_only_user_who_has_it() {
        let resolve = |user| resolve(Ok(policy(&format!("{ACCOUNTS}{USERS}"))), user);
        let alice = resolve("alice").unwrap();
        assert_eq!((&*alice.arn, alice.id), (ALICE, None));
        assert!(alice.warnings.is_empty());
        let error = resolve("bob").unwrap_err().to_string();
        assert!(error.contains("111122223333:user/bob, arn:aws:iam::444455556666:user/bob"));
        assert!(resolve("carol").is_err());
    }

    #[test]
    fn a_name_needs_a_policy_and_an_arn_does_not() {
        let unreadable = || Err(anyhow!("no such file"));
        assert!(resolve(unreadable(), "alice").is_err());
        let alice = resolve(unreadable(), ALICE).unwrap();
        assert_eq!((&*alice.arn, alice.id), (ALICE, None));
        assert!(alice.warnings[0].contains("no such file"));
    }

    #[test]
    fn a_key_is_bound_to_the_id_that_the_policy_states() {
        let users = "[[user]]\nname = \"alice\"\naccount = \"111122223333\"\npath = \"/team/\"\nid = \"AIDAONE\"\n";
        for user in ["alice", ALICE] {
            let resolved = resolve(Ok(policy(&format!("{ACCOUNTS}{users}"))), user).unwrap();
            assert_eq!(resolved.id.as_deref(), Some("AIDAONE"), "{user}");
        }
    }

    #[test]
    fn a_user_whom_the_policy_does_not_have_is_warned_of() {
        let users = format!("{ACCOUNTS}{USERS}");
        let warnings = |text: &str, user| {
            let resolved = resolve(Ok(policy(text)), user).unwrap();
            resolved.warnings.len()
        };
        assert_eq!(warnings(&users, ALICE), 0);
        assert_eq!(warnings(&users, "arn:aws:iam::111122223333:user/alice"), 1);
        assert_eq!(warnings("", "arn:aws:iam::111122223333:user/alice"), 0);
    }

    #[test]
    fn keys_are_listed_by_arn_or_name() {
        assert!(is_of(ALICE, ALICE) && is_of(ALICE, "alice"));
        assert!(!is_of(ALICE, "lice") && !is_of(ALICE, "team/alice"));
    }
}
