//! Doubts about policy documents.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::super::limits::ALL_PREFIXES;
use super::super::{self as policy, Entry, Host, Mode, Policy, Source};
use super::kind::{Shut, Without};
use super::{Findings, Lint, Lists, lists, prefixes, weight};
use crate::compile::Zone;
use crate::compile::documents::summary;
use crate::iam::addresses::{AddressSet, Ranges};
use crate::iam::context::is_withheld;
use crate::iam::key::{Presence, is_of_roles};
use crate::iam::{Context, Document, Effect, Kind, Statement};
use crate::swf::Action;

pub(super) fn lint(policy: &Policy, findings: &mut Findings<'_>) {
    let mut known: HashSet<*const Document> = HashSet::new();
    for document in documents(policy) {
        // One file may be attached to many.
        if known.insert(Arc::as_ptr(document)) {
            for statement in &document.statements {
                lint_statement(document.kind, statement, findings);
            }
        }
    }
    let mut lists = Passing::new(policy);
    for host in &policy.hosts {
        let (Some(documents), Some(summary)) = (&host.documents, summary(policy, host)) else {
            continue;
        };
        let name = || Arc::clone(&host.name);
        if let Some(why) = lists.shut(host, &summary.let_in) {
            let lint = Lint::Shut {
                host: name(),
                why,
                fate: fate(policy, host),
            };
            findings.add(lint, &documents.origin, None);
            continue;
        }
        match (summary.open, summary.restricted) {
            // With a list of its own, the packet gate does not rest on documents alone.
            _ if !host.allow.is_empty() => {}
            (Some(open), Some(restricted)) => {
                let lint = Lint::OpenAtPacket {
                    host: name(),
                    statement: match &open.sid {
                        Some(sid) => format!("`{sid}`"),
                        None => "a statement".to_owned(),
                    },
                };
                findings.add(lint, &open.origin, Some(&restricted.origin));
            }
            _ => {}
        }
    }
}

/// What becomes of sources of a host that its documents let nobody reach.
fn fate(policy: &Policy, host: &Host) -> String {
    let spared = [
        ("`always_allow`", &policy.always_allow),
        ("`trusted_proxies`", &host.trusted_proxies),
    ];
    let spared: Vec<&str> = spared
        .into_iter()
        .filter(|(_, entries)| !entries.is_empty())
        .map(|(name, _)| name)
        .collect();
    let but = match &*spared {
        [] => String::new(),
        spared => format!(" but those of {}", spared.join(" and ")),
    };
    match host.mode {
        Mode::Audit => format!("every source{but} would be dropped"),
        Mode::Enforce => format!("every source{but} is dropped"),
    }
}

/// The sources that lists of hosts let through, whatever documents say.
struct Passing<'a> {
    policy: &'a Policy,
    known: HashMap<(policy::Effect, Lists<'a>), Arc<Everywhere>>,
    /// Prefixes that may still be looked at. A policy with more is refused when it is compiled.
    left: usize,
}

/// What entries of a host come to that hold in every zone: all but those that name VPCs.
struct Everywhere {
    /// Sources that they let through.
    passed: AddressSet,
    /// Sources that they do not deny.
    spared: AddressSet,
}

impl<'a> Passing<'a> {
    fn new(policy: &'a Policy) -> Self {
        Self {
            policy,
            known: HashMap::new(),
            left: ALL_PREFIXES,
        }
    }

    /// Why nobody gets through to a host whose lists alone would let somebody through.
    fn shut(&mut self, host: &'a Host, let_in: &[(Zone, AddressSet)]) -> Option<Shut> {
        let everywhere = self.everywhere(host)?;
        let passes = |zone, set| self.passes(host, &everywhere, zone, set);
        if let_in.iter().any(|(zone, set)| passes(zone, set)) {
            return None;
        }
        let all = AddressSet::all();
        if !let_in.iter().any(|(zone, _)| passes(zone, &all)) {
            return None;
        }
        let documents = host.documents.as_ref()?;
        let principals = &self.policy.principals;
        let has_callers = !principals.users.is_empty() || !principals.roles.is_empty();
        Some(if documents.policies.is_empty() && !has_callers {
            let is_listed = host.default == policy::Effect::Drop && !host.allow.is_empty();
            Shut::NoCaller(if is_listed {
                Without::Listed
            } else {
                Without::Unlisted
            })
        } else if let_in.iter().all(|(_, set)| set.is_empty()) {
            Shut::Nobody
        } else {
            Shut::Apart
        })
    }

    fn everywhere(&mut self, host: &'a Host) -> Option<Arc<Everywhere>> {
        let key = (host.default, lists(host));
        if let Some(known) = self.known.get(&key) {
            return Some(Arc::clone(known));
        }
        self.left = self.left.checked_sub(weight(self.policy, host))?;
        let is_everywhere = |source: &Source| !matches!(source, Source::Vpc(_));
        let spared = self.sources(&host.deny, is_everywhere).complement();
        let passed = if host.default == policy::Effect::Pass || host.allow.is_empty() {
            spared.clone()
        } else {
            self.sources(&host.allow, is_everywhere)
                .intersection(&spared)
        };
        let known = Arc::new(Everywhere { passed, spared });
        self.known.insert(key, Arc::clone(&known));
        Some(known)
    }

    /// Whether lists let one of these sources of a zone through to a host.
    fn passes(&self, host: &Host, everywhere: &Everywhere, zone: &Zone, set: &AddressSet) -> bool {
        let is_of_zone = |source: &Source| match source {
            Source::Vpc(vpc) => {
                let vpc = self.policy.vpcs.get(*vpc);
                vpc.is_some_and(|vpc| zone.vpcs.contains(&vpc.id))
            }
            Source::Prefixes(_) | Source::Set(_) => false,
        };
        let mut reaching = set.clone();
        if host.addresses.v4.is_empty() {
            reaching.v4 = Ranges::default();
        }
        if host.addresses.v6.is_empty() {
            reaching.v6 = Ranges::default();
        }
        let left = reaching.difference(&self.sources(&host.deny, is_of_zone));
        left.meets(&everywhere.passed)
            || left
                .intersection(&self.sources(&host.allow, is_of_zone))
                .meets(&everywhere.spared)
    }

    /// The sources of entries, of those whose kind is asked for.
    fn sources(&self, entries: &[Entry], is_asked: impl Fn(&Source) -> bool) -> AddressSet {
        let sources = entries.iter().map(|entry| &entry.source);
        let asked = sources.filter(|source| is_asked(source));
        let sets = asked.filter_map(|source| prefixes(self.policy, source));
        let sets: Vec<AddressSet> = sets.map(AddressSet::of).collect();
        AddressSet::union(&sets)
    }
}

fn documents(policy: &Policy) -> impl Iterator<Item = &Arc<Document>> {
    let principals = &policy.principals;
    let identities = principals.users.iter().chain(&principals.roles);
    let own = identities.flat_map(|identity| {
        let attached = identity.policies.iter().chain(&identity.boundary);
        attached.chain(&identity.trust)
    });
    let hosts = policy
        .hosts
        .iter()
        .filter_map(|host| host.documents.as_ref());
    hosts.flat_map(|documents| &documents.policies).chain(own)
}

fn lint_statement(kind: Kind, statement: &Statement, findings: &mut Findings<'_>) {
    let actions = &statement.actions;
    // Roles are assumed by what those who ask and the roles have, never by the documents of a host.
    let is_of_roles_too = kind != Kind::Resource && !actions.sts.is_empty();
    let is_of_swf = kind != Kind::Trust && !actions.set.is_empty();
    if !is_of_swf && !is_of_roles_too {
        findings.add(Lint::OtherServices, &statement.origin, None);
        return;
    }
    let decides = is_of_swf && actions.set.iter().any(Action::is_decision);
    for condition in &statement.conditions {
        let key = condition.key.name();
        let holds = condition.holds_for(std::iter::empty(), &Context::default());
        if is_of_roles_too && is_of_roles(key) {
            continue;
        }
        if condition.key.presence() == Presence::Never {
            let key = Arc::clone(condition.key.text());
            let lint = Lint::NeverPresent { key, holds };
            findings.add(lint, &statement.origin, None);
        } else if is_withheld(key) && decides && !holds && statement.effect == Effect::Allow {
            let key = Arc::clone(condition.key.text());
            findings.add(Lint::Withheld { key }, &statement.origin, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use proptest::prelude::*;

    use super::super::super::{SourceFile, parse, parse_always_allow};
    use super::super::lint;
    use crate::compile::{Tables, compile};
    use swf_filter_common::abi::Class;
    use swf_filter_common::verdict::Sources as _;

    const USERS: &str = "[[account]]\nid = \"111122223333\"\n[[user]]\nname = \"alice\"\npolicies = [\"alice.json\"]\n";
    const ACCOUNT: &str = "account = \"111122223333\"\n";
    const ALLOW: &str = "allow = [\"203.0.113.0/24\"]\n";

    fn host(lists: &str) -> String {
        format!("[[host]]\nname = \"h\"\naddresses = [\"198.51.100.10\"]\n{lists}")
    }

    /// What alice may do from `sources`, or whatever she may.
    fn alice(effect: &str, sources: &str) -> String {
        let condition = match sources {
            "" => String::new(),
            sources => format!(r#", "Condition": {{"IpAddress": {{"aws:SourceIp": {sources}}}}}"#),
        };
        format!(
            r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "{effect}", "Action": "swf:*", "Resource": "*"{condition}}}}}"#
        )
    }

    fn read(text: &str, document: &str) -> (SourceFile, super::Policy) {
        let file = SourceFile {
            name: "a.toml".into(),
            bytes: format!("version = 1\n{text}").as_bytes().into(),
        };
        let mut named = |path: &Path| match path.to_str() {
            Some("alice.json") => Ok(document.as_bytes().into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let policy = parse(std::slice::from_ref(&file), &mut named).unwrap();
        (file, policy)
    }

    /// Warnings about hosts that nobody reaches, each with its line.
    fn shut(text: &str, document: &str, always_allow: &[&str]) -> Vec<String> {
        let (file, mut policy) = read(text, document);
        let config = SourceFile {
            name: "config.toml".into(),
            bytes: [].into(),
        };
        let spanned = |text: &&str| toml::Spanned::new(0..0, (*text).to_owned());
        let always: Vec<_> = always_allow.iter().map(spanned).collect();
        policy.always_allow = parse_always_allow(&config, &always).unwrap();
        let problems = lint(&policy, &[file]).list.into_iter();
        let found = problems.filter(|problem| {
            let words = problem.kind.to_string();
            words.contains("every source") || words.contains("nothing can reach")
        });
        found
            .map(|problem| format!("{}: {}", problem.at.origin.line, problem.kind))
            .collect()
    }

    #[test]
    fn an_account_without_principals_shuts_its_host_whatever_else_may_reach_it() {
        let text = host(&format!("{ALLOW}{ACCOUNT}"));
        let words = "6: host `h` has an account, and no principal may call it: every source";
        assert_eq!(shut(&text, "", &[]), [format!("{words} is dropped")]);
        let administrators = shut(&text, "", &["192.0.2.1"]);
        assert_eq!(
            administrators,
            [format!("{words} but those of `always_allow` is dropped")]
        );
        let rest = "trusted_proxies = [\"203.0.113.9\"]\nmode = \"audit\"\n";
        assert_eq!(
            shut(&format!("{text}{rest}"), "", &["192.0.2.1"]),
            [format!(
                "{words} but those of `always_allow` and `trusted_proxies` would be dropped"
            )]
        );
        // Each host is told of, and no other.
        let other = "[[host]]\nname = \"other\"\naddresses = [\"198.51.100.11\"]\nallow = [\"203.0.113.0/24\"]\n";
        assert_eq!(shut(&format!("{text}{other}"), "", &[]).len(), 1);
        assert_eq!(shut(&host(ALLOW), "", &[]), [""; 0]);
        assert_eq!(
            shut(&format!("{text}{USERS}"), &alice("Allow", ""), &[]),
            [""; 0]
        );
    }

    #[test]
    fn the_way_out_of_a_shut_host_opens_no_more_than_its_lists() {
        let help = |lists: &str| {
            let (file, policy) = read(&host(&format!("{lists}{ACCOUNT}")), "");
            lint(&policy, &[file]).list[0].help().unwrap()
        };
        assert!(help(ALLOW).contains("leave `account` out"));
        for lists in [
            "",
            "default = \"pass\"\n",
            "deny = [\"192.0.2.0/24\"]\ndefault = \"pass\"\n",
        ] {
            assert!(!help(lists).contains("leave"), "{lists}");
        }
    }

    #[test]
    fn documents_that_allow_nobody_shut_a_host() {
        let nobody = "no policy document allows any request to host `h`: every source is dropped";
        for lists in ["", ALLOW, "default = \"pass\"\n"] {
            let text = host(&format!("{ACCOUNT}{lists}{USERS}"));
            let denied = shut(&text, &alice("Deny", ""), &[]);
            assert_eq!(denied, [format!("5: {nobody}")], "{lists}");
            assert_eq!(shut(&text, &alice("Allow", ""), &[]), [""; 0], "{lists}");
        }
    }

    #[test]
    fn lists_that_documents_narrow_to_nothing_shut_a_host() {
        let apart = "5: the policy documents of host `h` allow no request from a source that its lists let through: every source is dropped";
        let from = alice("Allow", "[\"192.0.2.0/24\", \"2001:db8::/32\"]");
        for (lists, found) in [
            ("", &[][..]),
            (ALLOW, &[apart]),
            ("allow = [\"203.0.113.0/24\", \"192.0.2.64/26\"]\n", &[]),
            ("allow = [\"set:offices\"]\n", &[apart]),
            (
                "allow = [\"2001:db8:1::/48\", \"203.0.113.0/24\"]\n",
                &[apart],
            ),
            ("deny = [\"192.0.2.0/24\"]\n", &[apart]),
            ("deny = [\"192.0.2.0/25\", \"192.0.2.128/25\"]\n", &[apart]),
            ("deny = [\"192.0.2.0/25\"]\n", &[]),
            ("default = \"pass\"\nallow = [\"203.0.113.0/24\"]\n", &[]),
            ("allow = [\"vpc:v\"]\n", &[apart]),
        ] {
            let rest = "[[set]]\nname = \"offices\"\ncidrs = [\"203.0.113.0/24\"]\n\
                [[vpc]]\nid = \"v\"\ncidrs = [\"192.0.2.0/24\"]\ninterfaces = [\"eth1\"]\nendpoints = [\"vpce-1\"]\n";
            let text = host(&format!("{ACCOUNT}{lists}{USERS}{rest}"));
            assert_eq!(shut(&text, &from, &[]), found, "{lists}");
        }
        // From a VPC, its key is another.
        let from = from.replace("aws:SourceIp", "aws:VpcSourceIp");
        let vpc = "[[vpc]]\nid = \"v\"\ncidrs = [\"192.0.2.0/24\"]\ninterfaces = [\"eth1\"]\n";
        let text = |lists: &str| host(&format!("{ACCOUNT}{lists}{USERS}{vpc}"));
        assert_eq!(shut(&text("allow = [\"vpc:v\"]\n"), &from, &[]), [""; 0]);
        assert_eq!(
            shut(
                &text("allow = [\"vpc:v\"]\ndeny = [\"vpc:v\"]\n"),
                &from,
                &[]
            )
            .len(),
            1
        );
        assert_eq!(shut(&text(ALLOW), &from, &[]), [apart]);
    }

    #[test]
    fn lists_that_shut_a_host_by_themselves_are_not_blamed_on_documents() {
        let text = host(&format!(
            "{ACCOUNT}allow = [\"203.0.113.7\"]\ndeny = [\"203.0.113.0/24\"]\n{USERS}"
        ));
        assert_eq!(
            shut(&text, &alice("Deny", ""), &[]),
            ["2: nothing can reach host `h`"]
        );
    }

    /// Lists of prefixes within a /28.
    fn list() -> impl Strategy<Value = Vec<String>> {
        let prefix = (28u8..=32, 0u32..16).prop_map(|(length, low)| {
            let prefix = crate::prefix::Prefix::containing(0xc000_0200 | low, length);
            format!("\"{prefix}\"")
        });
        proptest::collection::vec(prefix, 0..3)
    }

    proptest! {
        /// A host that is told to be shut is one to which tables let nobody, and the other way round.
        #[test]
        fn a_host_is_shut_where_its_tables_let_nobody_through(
            allow in list(), deny in list(), from in list(), pass: bool,
        ) {
            let field = |name: &str, list: &[String]| match list {
                [] => String::new(),
                list => format!("{name} = [{}]\n", list.join(", ")),
            };
            let default = if pass { "default = \"pass\"\n" } else { "" };
            let lists = [field("allow", &allow), field("deny", &deny), default.to_owned()].concat();
            // All else is nobody's, so that a few addresses stand for all.
            let from = if from.is_empty() { vec!["\"192.0.2.3\"".to_owned()] } else { from };
            let document = alice("Allow", &format!("[{}]", from.join(", ")));
            let text = host(&format!("{ACCOUNT}{lists}{USERS}"));
            let told = shut(&text, &document, &[]);
            let (_, policy) = read(&text, &document);
            let generation = compile(&policy).unwrap();
            let compiled = &generation.hosts[0];
            let passes = |low: u32| {
                let leaf = Tables(&generation).leaf_v4(0, compiled.tables[0], 0xc000_0200 | low);
                leaf.is_none_or(|leaf| leaf.class() != Class::Deny) && (leaf.is_some() || pass)
            };
            prop_assert_eq!((0..16).any(passes), told.is_empty(), "{} {:?}", lists, told);
        }
    }
}
