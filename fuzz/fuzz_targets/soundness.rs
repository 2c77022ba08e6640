//! Whoever is allowed gets through: two documents of any content, the one of a host and the other of a user.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use swf_filter_common::abi::Class;
use swf_filter_common::verdict::Sources;
use swf_filter_core::compile::{Tables, compile};
use swf_filter_core::judge::{Judge, Shown, network};
use swf_filter_core::policy::{Policy, SourceFile, Vpc, parse};
use swf_filter_core::swf::Action;

const POLICY: &str = r#"version = 1
[[host]]
name = "h"
addresses = ["198.51.100.1"]
account = "111122223333"
resource_policies = ["host.json"]
[[vpc]]
id = "vpc-1"
cidrs = ["10.0.0.0/29"]
interfaces = ["eth1"]
endpoints = ["vpce-1", "vpce-2"]
[[vpc]]
id = "vpc-2"
cidrs = ["10.0.0.8/29"]
endpoints = ["vpce-3"]
[[account]]
id = "111122223333"
[[account]]
id = "444455556666"
[[user]]
name = "alice"
account = "111122223333"
policies = ["user.json"]
tags = { team = "orders" }
[[user]]
name = "mallory"
account = "444455556666"
policies = ["user.json"]
[[role]]
name = "worker"
account = "111122223333"
policies = ["user.json"]
boundary = "user.json"
"#;
const CALLERS: [&str; 3] = [
    "arn:aws:iam::111122223333:user/alice",
    "arn:aws:iam::444455556666:user/mallory",
    "arn:aws:sts::111122223333:assumed-role/worker/one",
];
const ACTIONS: [Action; 3] = [
    Action::ListDomains,
    Action::RespondDecisionTaskCompleted,
    Action::StartWorkflowExecution,
];

fn load(host: &[u8], user: &[u8]) -> Option<Policy> {
    let file = SourceFile {
        name: "policy.toml".into(),
        bytes: POLICY.as_bytes().into(),
    };
    let mut read = |path: &Path| {
        Ok(Arc::from(match path.to_str() {
            Some("host.json") => host,
            _ => user,
        }))
    };
    parse(&[file], &mut read).ok()
}

// Two documents with a zero byte between, which none of them can hold.
fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let (Some(host), Some(user)) = (parts.next(), parts.next()) else {
        return;
    };
    let Some(policy) = load(host, user) else {
        return;
    };
    let Ok(generation) = compile(&policy) else {
        return;
    };
    let judge = Judge::new(&policy);
    for (number, zone) in generation.zones.iter().enumerate() {
        let members = policy.vpcs.iter().filter(|vpc| zone.vpcs.contains(&vpc.id));
        let members: Vec<&Vpc> = members.collect();
        for address in [[10, 0, 0, 1], [10, 0, 0, 9], [192, 0, 2, 7]].map(Ipv4Addr::from) {
            let table = generation.hosts[0].tables[number];
            let leaf = Tables(&generation).leaf_v4(0, table, address.to_bits());
            if leaf.is_some_and(|leaf| leaf.class() != Class::Deny) {
                continue;
            }
            for endpoint in [None, Some("vpce-1"), Some("vpce-3")] {
                let Some(at) = network(&members, zone.public, IpAddr::V4(address), endpoint) else {
                    continue;
                };
                for (arn, action) in CALLERS
                    .iter()
                    .flat_map(|arn| ACTIONS.map(|action| (arn, action)))
                {
                    let caller = judge.caller(arn).expect("a caller");
                    let context = judge.context(0, &caller, at, Shown::default());
                    for name in ["orders", "*"] {
                        let resource = judge
                            .domain(0, &caller, name)
                            .expect("a host with documents");
                        let decision = judge.decide(0, &caller, action, &resource, &context, None);
                        let allowed = decision.is_ok_and(|decision| decision.is_allowed());
                        assert!(
                            !allowed,
                            "{arn} may {action} on {name} from {address}, {endpoint:?}"
                        );
                    }
                }
            }
        }
    }
});
