//! What each rule of a generation does to packets, and drops by policy documents in words.
//!
//! A rule does not say it of itself: the list it stands in does, with the mode and the default of its host, and of statements of documents only
//! the leaves of tables. The kernel knows one reason for all that line 2 of "Who wins" drops, which is `deny`; the rule tells what does it.

use std::collections::HashSet;
use std::sync::Arc;

use swf_filter_common::abi::Class;
use swf_filter_common::reason::Reason;
use swf_filter_core::compile::{Generation, List, Row, Rule};
use swf_filter_core::policy::{Effect, Mode};

use crate::control::api::RuleVerdict;

/// What each rule does to packets, in the order of rules.
pub(crate) fn verdicts(generation: &Generation) -> Arc<[RuleVerdict]> {
    let denying = denying_statements(generation);
    let verdict = |number: u32, rule: &Rule| {
        let host = generation.hosts.get(usize::from(rule.host));
        let drops = match rule.list {
            // They pass whatever the host's mode is, and are reported.
            List::Audit => return RuleVerdict::WouldDrop,
            List::Deny | List::Unmatched => true,
            List::Default => host.is_some_and(|host| host.default == Effect::Drop),
            List::Statement => denying.contains(&number),
            List::Allow | List::AlwaysAllow | List::TrustedProxies => false,
        };
        match host.map(|host| host.mode) {
            _ if !drops => RuleVerdict::Pass,
            Some(Mode::Audit) => RuleVerdict::WouldDrop,
            _ => RuleVerdict::Drop,
        }
    };
    let rules = (0..).zip(&generation.rules);
    rules.map(|(number, rule)| verdict(number, rule)).collect()
}

/// A drop, or a would-be drop, by policy documents in words: none if a list decides, or something else.
pub(crate) fn by_documents(reason: Reason, generation: &Generation, rule: &Rule) -> Option<String> {
    if !matches!(reason, Reason::AuditDeny | Reason::Deny) {
        return None;
    }
    let host = &generation.host_of(rule)?.name;
    match rule.list {
        List::Statement => Some(format!(
            "policy documents deny every request to host `{host}` from there"
        )),
        List::Unmatched => Some(format!(
            "no policy document allows any request to host `{host}` from there"
        )),
        List::Allow
        | List::AlwaysAllow
        | List::Audit
        | List::Default
        | List::Deny
        | List::TrustedProxies => None,
    }
}

/// The numbers of statements that deny. Rules do not say it, but leaves of tables do.
fn denying_statements(generation: &Generation) -> HashSet<u32> {
    if !generation
        .rules
        .iter()
        .any(|rule| rule.list == List::Statement)
    {
        return HashSet::new();
    }
    let mut denying = HashSet::new();
    for host in &generation.hosts {
        let tables = host.tables.iter();
        let tables: HashSet<u16> = tables.copied().collect();
        for table in tables
            .iter()
            .filter_map(|table| generation.tables.get(usize::from(*table)))
        {
            let v4 = table.v4.iter().map(Row::leaf);
            let v6 = table.v6.iter().map(Row::leaf);
            let denied = v4.chain(v6).filter(|leaf| leaf.class() == Class::Deny);
            denying.extend(denied.map(|leaf| host.first_rule + leaf.ordinal()));
        }
    }
    denying
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files;

    const POLICY: &str = r#"
version = 1

[[host]]
name = "swf"
addresses = ["198.51.100.10"]
account = "111122223333"
resource_policies = ["swf.json"]
"#;
    const SWF: &str = r#"{"Version": "2012-10-17", "Statement": {"Sid": "NotThere", "Effect": "Deny", "Principal": "*",
        "Action": "swf:*", "Resource": "*", "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.66/32"}}}}"#;
    const PRINCIPALS: &str = r#"
version = 1

[[account]]
id = "111122223333"

[[user]]
name = "alice"
policies = ["alice.json"]
"#;
    const ALICE: &str = r#"{"Version": "2012-10-17", "Statement": {"Sid": "Alice", "Effect": "Allow",
        "Action": "swf:*", "Resource": "*", "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}}}"#;

    /// The verdict of each rule that a policy comes to, by its text.
    fn judged(policy: &str) -> Vec<(String, RuleVerdict)> {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, text) in [
            ("policy.d/10.toml", policy),
            ("policy.d/swf.json", SWF),
            ("principals.d/people.toml", PRINCIPALS),
            ("principals.d/alice.json", ALICE),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        let loaded = files::load(&folder.path().join("policy.d"), &[]).expect("a policy");
        let generation = loaded.compile().expect("a generation");
        let verdicts = verdicts(&generation);
        let rules = generation.rules.iter().zip(&*verdicts);
        rules
            .map(|(rule, verdict)| (rule.text.to_string(), *verdict))
            .collect()
    }

    fn find(rules: &[(String, RuleVerdict)], text: &str) -> Option<RuleVerdict> {
        let mut rules = rules.iter();
        rules.find(|(found, _)| found == text).map(|one| one.1)
    }

    #[test]
    fn entries_of_audit_pass_and_are_reported_whatever_the_mode() {
        const LISTS: &str = r#"
version = 1

[[host]]
name = "swf"
addresses = ["198.51.100.10"]
allow = ["192.0.2.0/24"]
audit = ["192.0.2.1"]
deny = ["192.0.2.2"]
"#;
        for (mode, denied) in [
            ("enforce", RuleVerdict::Drop),
            ("audit", RuleVerdict::WouldDrop),
        ] {
            let rules = judged(&format!("{LISTS}mode = \"{mode}\"\n"));
            let verdicts =
                ["192.0.2.0/24", "192.0.2.1", "192.0.2.2"].map(|text| find(&rules, text));
            let expected = [RuleVerdict::Pass, RuleVerdict::WouldDrop, denied].map(Some);
            assert_eq!(verdicts, expected, "{mode}");
        }
    }

    #[test]
    fn statements_drop_what_they_deny_and_pass_what_they_allow() {
        let enforced = judged(POLICY);
        assert_eq!(find(&enforced, "NotThere"), Some(RuleVerdict::Drop));
        assert_eq!(find(&enforced, "Alice"), Some(RuleVerdict::Pass));
        let unmatched = "no document allows a request from there";
        assert_eq!(find(&enforced, unmatched), Some(RuleVerdict::Drop));
        let audited = judged(&format!("{POLICY}mode = \"audit\"\n"));
        assert_eq!(find(&audited, "NotThere"), Some(RuleVerdict::WouldDrop));
        assert_eq!(find(&audited, "Alice"), Some(RuleVerdict::Pass));
    }
}
