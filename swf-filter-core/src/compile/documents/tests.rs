//! Soundness and precision of compiled documents, on random policies.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::compile::{Class, Generation, Tables, compile};
use crate::iam::Context;
use crate::judge::{Judge, Network, Shown, network};
use crate::policy::{self, Policy, SourceFile, Vpc};
use crate::swf::Action;
use swf_filter_common::verdict::Sources;

const ACCOUNT: &str = "111122223333";
const FOREIGN: &str = "444455556666";
const USERS: [&str; 5] = [
    "arn:aws:iam::111122223333:user/alice",
    "arn:aws:iam::444455556666:user/mallory",
    "arn:aws:sts::111122223333:assumed-role/worker/one",
    "arn:aws:sts::111122223333:assumed-role/worker/two",
    "arn:aws:iam::111122223333:user/bob",
];
/// One of each kind that the patterns below tell apart.
const DOMAINS: [&str; 5] = ["orders", "orders-eu", "orders-old", "stock", "other"];
/// One of each kind that the patterns below tell apart.
const ACTIONS: [Action; 5] = [
    Action::CountOpenWorkflowExecutions,
    Action::ListDomains,
    Action::PollForDecisionTask,
    Action::RespondDecisionTaskCompleted,
    Action::StartWorkflowExecution,
];

/// Documents with what they are attached to.
#[derive(Clone, Debug)]
struct World {
    resource: Value,
    alice: Value,
    mallory: Value,
    worker: Value,
    boundary: Option<Value>,
    roster: bool,
    domains: bool,
    endpoints: bool,
}

fn one_of(choices: Vec<Value>) -> impl Strategy<Value = Value> {
    prop::sample::select(choices)
}

fn network_condition() -> impl Strategy<Value = (String, String, Value)> {
    let addresses = || {
        one_of(vec![
            json!("10.0.0.0/29"),
            json!("10.0.0.4/30"),
            json!(["10.0.0.1", "10.0.0.6/31"]),
            json!("0.0.0.0/0"),
            json!("::/0"),
        ])
    };
    let operator = |names: Vec<&'static str>| prop::sample::select(names).prop_map(str::to_owned);
    prop_oneof![
        (
            operator(vec![
                "IpAddress",
                "NotIpAddress",
                "IpAddressIfExists",
                "NotIpAddressIfExists",
                "ForAnyValue:IpAddress",
                "ForAllValues:IpAddress",
                "ForAllValues:NotIpAddress",
                "ForAnyValue:NotIpAddressIfExists"
            ]),
            operator(vec!["aws:SourceIp", "AWS:VpcSourceIp"]),
            addresses(),
        ),
        (
            operator(vec![
                "StringEquals",
                "StringNotEquals",
                "StringLike",
                "StringNotLikeIfExists",
                "StringEqualsIgnoreCase",
                "ForAnyValue:StringNotEquals",
                "ForAllValues:StringLike"
            ]),
            operator(vec!["aws:SourceVpc", "aws:sourceVpce"]),
            one_of(vec![
                json!("vpc-1"),
                json!("vpce-*"),
                json!(["vpce-1", "vpc-2"]),
                json!("10.0.0.1"),
                json!("*")
            ]),
        ),
        (
            operator(vec![
                "StringEquals",
                "StringNotEqualsIfExists",
                "StringEqualsIgnoreCase",
                "ForAllValues:StringNotLike"
            ]),
            Just("aws:SourceIp".to_owned()),
            one_of(vec![
                json!("10.0.0.1"),
                json!(["10.0.0.2", "vpc-1", "010.0.0.3"]),
                json!("")
            ]),
        ),
        (
            Just("Null".to_owned()),
            operator(vec![
                "aws:SourceIp",
                "aws:SourceVpc",
                "aws:SourceVpce",
                "aws:VpcSourceIp"
            ]),
            one_of(vec![json!("true"), json!(false), json!([true, false])]),
        ),
        (
            Just("Bool".to_owned()),
            operator(vec!["aws:ViaAWSService", "aws:SecureTransport"]),
            one_of(vec![json!("false"), json!("true")])
        ),
        (
            operator(vec!["StringEquals", "StringNotEqualsIfExists"]),
            Just("aws:RequestedRegion".to_owned()),
            one_of(vec![json!("us-east-1"), json!(["eu-west-1", "eu-west-2"])])
        ),
    ]
}

fn other_condition() -> impl Strategy<Value = (String, String, Value)> {
    prop_oneof![
        Just((
            "StringEquals".to_owned(),
            "aws:username".to_owned(),
            json!("alice")
        )),
        Just((
            "StringNotEquals".to_owned(),
            "swf:taskList.name".to_owned(),
            json!("one")
        )),
        (
            prop::sample::select(vec!["StringLike", "StringNotEqualsIfExists", "Null"]),
            prop::sample::select(vec![
                "aws:PrincipalTag/domain",
                "aws:PrincipalTag/other",
                "aws:PrincipalType",
                "aws:userid",
                "aws:username",
            ]),
            one_of(vec![
                json!("AIDA*"),
                json!("orders"),
                json!("User"),
                json!("true"),
                json!("*e*")
            ]),
        )
            .prop_map(|(operator, key, value)| {
                let value = if operator == "Null" {
                    json!("true")
                } else {
                    value
                };
                (operator.to_owned(), key.to_owned(), value)
            }),
        (
            prop::sample::select(vec!["ArnLike", "ArnNotLikeIfExists"]),
            one_of(vec![
                json!("arn:aws:iam::111122223333:*"),
                json!("arn:aws:iam::*:role/team/*"),
            ]),
        )
            .prop_map(|(operator, value)| (
                operator.to_owned(),
                "aws:PrincipalArn".to_owned(),
                value
            )),
        Just((
            "StringLike".to_owned(),
            "aws:SourceVpce".to_owned(),
            json!("${aws:userid, 'vpce-1'}")
        )),
        Just((
            "NumericLessThanIfExists".to_owned(),
            "aws:MultiFactorAuthAge".to_owned(),
            json!(60)
        )),
    ]
}

fn statement(pure: bool, principal: bool) -> impl Strategy<Value = Value> {
    let condition = if pure {
        network_condition().boxed()
    } else {
        prop_oneof![3 => network_condition(), 1 => other_condition()].boxed()
    };
    let principals = one_of(vec![
        json!("*"),
        json!({"AWS": ACCOUNT}),
        json!({"AWS": [ACCOUNT, FOREIGN]}),
        json!({"AWS": USERS[0]}),
        json!({"AWS": "arn:aws:iam::111122223333:role/team/worker"}),
        json!({"AWS": USERS[1]}),
        json!({"Service": "swf.amazonaws.com"}),
        json!({"AWS": USERS[2]}),
    ]);
    let actions = one_of(vec![
        json!("*"),
        json!("swf:*"),
        json!("swf:Start*"),
        json!(["swf:PollForDecisionTask", "SWF:listdomains"]),
        json!("swf:StartTimer"),
        json!("s3:GetObject"),
        json!("swf:Respond*"),
    ]);
    let mut resources = vec![
        json!("*"),
        json!("arn:aws:swf:*:*:/domain/*"),
        json!("arn:aws:swf::111122223333:/domain/orders"),
        json!("arn:aws:swf:*:111122223333:/domain/orders*"),
        json!("arn:aws:swf:us-east-1:111122223333:/domain/*"),
        json!("arn:aws:swf:eu-west-1:111122223333:/domain/*"),
        json!([
            "arn:aws:swf:*:*:/domain/stock",
            "arn:aws:swf:*:*:/domain/orders-?u"
        ]),
    ];
    if !pure {
        resources.push(json!("arn:aws:swf:*:*:/domain/${aws:PrincipalTag/domain}"));
    }
    let resources = one_of(resources);
    (
        prop::bool::weighted(0.6),
        principals,
        actions,
        resources,
        prop::collection::vec(condition, 0..3),
        prop::sample::select(vec!["", "", "", "Not"]),
        prop::sample::select(vec!["", "", "", "", "Not"]),
        prop::sample::select(vec!["", "", "", "Not"]),
    )
        .prop_map(
            move |(
                allow,
                whom,
                actions,
                resources,
                conditions,
                not_action,
                not_principal,
                not_resource,
            )| {
                let mut statement = json!({"Effect": if allow { "Allow" } else { "Deny" }});
                statement[format!("{not_action}Action")] = actions;
                statement[format!("{not_resource}Resource")] = resources;
                if principal {
                    statement[format!("{not_principal}Principal")] = whom;
                }
                for (operator, key, values) in conditions {
                    statement["Condition"][operator] = json!({key: values});
                }
                statement
            },
        )
}

fn document(pure: bool, principal: bool) -> impl Strategy<Value = Value> {
    prop::collection::vec(statement(pure, principal), 1..5)
        .prop_map(|statements| json!({"Version": "2012-10-17", "Statement": statements}))
}

fn world(pure: bool) -> impl Strategy<Value = World> {
    (
        document(pure, true),
        document(pure, false),
        document(pure, false),
        document(pure, false),
        prop::option::weighted(0.3, document(pure, false)),
        any::<bool>(),
        prop::bool::weighted(0.2),
        // What is not known of the network is no pure network condition.
        any::<bool>().prop_map(move |endpoints| endpoints || pure),
    )
        .prop_map(
            |(resource, alice, mallory, worker, boundary, roster, domains, endpoints)| World {
                resource,
                alice,
                mallory,
                worker,
                boundary,
                roster,
                domains,
                endpoints,
            },
        )
}

fn load(world: &World) -> Policy {
    let mut text = format!(
        "version = 1\n[[host]]\nname = 'h'\naddresses = ['198.51.100.1']\nresource_policies = ['resource.json']\n\
         {}{}[[vpc]]\nid = 'vpc-1'\ncidrs = ['10.0.0.0/29']\ninterfaces = ['eth1']\n{}\
         [[vpc]]\nid = 'vpc-2'\ncidrs = ['10.0.0.8/29']\n{}",
        if world.roster || world.endpoints {
            "account = '111122223333'\n"
        } else {
            ""
        },
        if world.domains {
            "domains = ['orders', 'stock']\n"
        } else {
            ""
        },
        if world.endpoints {
            "endpoints = ['vpce-1', 'vpce-2']\n"
        } else {
            ""
        },
        if world.endpoints {
            "endpoints = ['vpce-3']\n"
        } else {
            ""
        },
    );
    if world.roster {
        let boundary = if world.boundary.is_some() {
            "boundary = 'boundary.json'\n"
        } else {
            ""
        };
        let _ = write!(
            text,
            "[[account]]\nid = '{ACCOUNT}'\n[[account]]\nid = '{FOREIGN}'\n\
             [[user]]\nname = 'alice'\naccount = '{ACCOUNT}'\npolicies = ['alice.json']\ntags = {{ domain = 'orders' }}\n{boundary}\
             [[user]]\nname = 'mallory'\naccount = '{FOREIGN}'\npolicies = ['mallory.json']\n\
             [[role]]\nname = 'worker'\npath = '/team/'\naccount = '{ACCOUNT}'\npolicies = ['worker.json']\n{boundary}"
        );
    }
    let file = SourceFile {
        name: "a.toml".into(),
        bytes: text.into_bytes().into(),
    };
    let mut read = |path: &Path| {
        let document = match path.to_str() {
            Some("resource.json") => &world.resource,
            Some("alice.json") => &world.alice,
            Some("mallory.json") => &world.mallory,
            Some("worker.json") => &world.worker,
            _ => world.boundary.as_ref().unwrap_or(&Value::Null),
        };
        Ok(Arc::from(document.to_string().into_bytes()))
    };
    policy::parse(&[file], &mut read).expect("a right policy")
}

/// Whether some way to ask is allowed.
fn is_allowed(judge: &Judge, at: Network<'_>) -> bool {
    for arn in USERS {
        let mut caller = judge.caller(arn).expect("a caller");
        if caller.role().is_some() {
            caller = caller.with_role("arn:aws:iam::111122223333:role/team/worker".into());
        }
        for domain in DOMAINS {
            let resource = judge
                .domain(0, &caller, domain)
                .expect("a host with documents");
            for action in ACTIONS {
                for list in [None, Some("one")] {
                    let mut context: Context = judge.context(0, &caller, at, Shown::default());
                    if let Some(list) = list {
                        context.set("swf:taskList.name", list);
                    }
                    let decision = judge.decide(0, &caller, action, &resource, &context, None);
                    if decision.is_ok_and(|decision| decision.is_allowed()) {
                        return true;
                    }
                }
            }
        }
    }
    false
}

fn passes(generation: &Generation, zone: usize, address: Ipv4Addr) -> bool {
    let table = generation.hosts[0].tables[zone];
    let leaf = Tables(generation).leaf_v4(0, table, address.to_bits());
    leaf.is_some_and(|leaf| leaf.class() != Class::Deny)
}

fn places(
    policy: &Policy,
    generation: &Generation,
) -> Vec<(usize, Ipv4Addr, Vec<Network<'static>>)> {
    let mut places = Vec::new();
    for (number, zone) in generation.zones.iter().enumerate() {
        let members: Vec<&Vpc> = policy
            .vpcs
            .iter()
            .filter(|vpc| zone.vpcs.contains(&vpc.id))
            .collect();
        for last in 0..20u8 {
            let address = Ipv4Addr::new(10, 0, 0, last);
            let networks: Vec<_> = [None, Some("vpce-1"), Some("vpce-2")]
                .into_iter()
                .filter_map(|endpoint| {
                    network(&members, zone.public, IpAddr::V4(address), endpoint)
                })
                .map(owned)
                .collect();
            places.push((number, address, networks));
        }
    }
    places
}

/// The ids of the test's VPCs are known, so that networks need not borrow from the policy.
fn owned(network: Network<'_>) -> Network<'static> {
    match network {
        Network::Public(address) => Network::Public(address),
        Network::Vpc {
            id,
            endpoint,
            address,
        } => Network::Vpc {
            id: if id == "vpc-1" { "vpc-1" } else { "vpc-2" },
            endpoint: endpoint.map(|endpoint| {
                let known = ["vpce-1", "vpce-2", "vpce-3"].into_iter();
                known
                    .clone()
                    .find(|known| *known == endpoint)
                    .expect("an endpoint of the test")
            }),
            address,
        },
    }
}

/// What nothing tells the VPC of is judged by none, so no statement lets it in.
#[test]
fn an_address_that_several_vpcs_may_have_needs_an_endpoint() {
    let text = "version = 1\n[[host]]\nname = 'h'\naddresses = ['198.51.100.1']\nresource_policies = ['h.json']\n\
                [[vpc]]\nid = 'vpc-1'\ncidrs = ['10.0.0.0/29']\ninterfaces = ['eth1']\nendpoints = ['vpce-1', 'vpce-2']\n\
                [[vpc]]\nid = 'vpc-2'\ncidrs = ['10.0.0.8/29']\ninterfaces = ['eth1']\nendpoints = ['vpce-3', 'vpce-4']\n";
    let file = SourceFile {
        name: "a.toml".into(),
        bytes: text.as_bytes().into(),
    };
    for (missing, outside) in [("true", false), ("false", true)] {
        let document = json!({"Statement": {
            "Effect": "Allow", "Principal": "*", "Action": "swf:*", "Resource": "*",
            "Condition": {"Null": {"aws:SourceVpce": missing}}}});
        let mut read = |_: &Path| Ok(Arc::from(document.to_string().into_bytes()));
        let policy = policy::parse(std::slice::from_ref(&file), &mut read).expect("a right policy");
        let generation = compile(&policy).expect("it fits");
        let zone = generation.zones.iter().position(|zone| !zone.public);
        let zone = zone.expect("a zone of VPCs");
        assert!(passes(&generation, zone, Ipv4Addr::new(10, 0, 0, 1)));
        assert!(passes(&generation, zone, Ipv4Addr::new(10, 0, 0, 9)));
        assert_eq!(
            passes(&generation, zone, Ipv4Addr::new(10, 0, 0, 20)),
            outside
        );
    }
}

/// With too many kinds of domains, what is denied on some of them only is not looked at for each: that lets more in, never less.
#[test]
fn more_kinds_than_fit_let_in_more_and_the_same_each_time() {
    let count = 1_500_u16;
    let address = |net: u8, number: u16| {
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(10, net, high, low)
    };
    let statement = |effect: &str, number: u16, net: u8, resource: &str| {
        json!({"Effect": effect, "Principal": "*", "Action": "swf:*", "Resource": resource,
               "Condition": {"IpAddress": {"aws:SourceIp": address(net, number).to_string()}}})
    };
    let (anywhere, somewhere) = (1, 2);
    let mut statements = vec![
        json!({"Effect": "Allow", "Principal": "*", "Action": "swf:*",
        "Resource": "arn:aws:swf:*:*:/domain/open", "Condition": {"IpAddress": {"aws:SourceIp": "10.1.0.0/16"}}}),
    ];
    for number in 0..count {
        let domain = format!("arn:aws:swf:*:*:/domain/d{number}");
        statements.push(statement("Deny", number, anywhere, "*"));
        statements.push(statement("Deny", number, somewhere, &domain));
        statements.push(statement("Allow", number, somewhere, &domain));
    }
    let document = json!({"Statement": statements});
    let file = SourceFile {
        name: "a.toml".into(),
        bytes: (*b"version = 1\n[[host]]\nname = 'h'\naddresses = ['198.51.100.1']\nresource_policies = ['h.json']\n").into(),
    };
    let mut read = |_: &Path| Ok(Arc::from(document.to_string().into_bytes()));
    let policy = policy::parse(&[file], &mut read).expect("a right policy");
    let generation = compile(&policy).expect("it fits");
    let passing = |generation: &Generation, net| -> Vec<u16> {
        (0..=count)
            .filter(|number| passes(generation, 0, address(net, *number)))
            .collect()
    };
    assert_eq!(passing(&generation, anywhere), [count]);
    let wider = passing(&generation, somewhere);
    assert!(
        (1..usize::from(count)).contains(&wider.len()),
        "some kinds are within the limit, and some are not: {}",
        wider.len()
    );
    assert!(!wider.contains(&count));
    let again = compile(&policy).expect("it fits");
    assert_eq!(passing(&again, somewhere), wider);
}

/// Each user is spared by one statement only, so that no two are granted the same.
#[test]
fn more_callers_than_can_be_looked_into_are_let_in_no_less() {
    let count = 600_u16;
    let address = |number: u16| {
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(10, 1, high, low)
    };
    let mut text = format!(
        "version = 1\n[[account]]\nid = '{ACCOUNT}'\n[[host]]\nname = 'h'\naddresses = ['198.51.100.1']\n\
         account = '{ACCOUNT}'\nresource_policies = ['h.json']\n"
    );
    let mut statements = vec![
        json!({"Effect": "Allow", "Principal": "*", "Action": "swf:*", "Resource": "*",
        "Condition": {"IpAddress": {"aws:SourceIp": "10.1.0.0/16"}}}),
    ];
    for number in 0..count {
        let _ = write!(text, "[[user]]\nname = 'u{number}'\n");
        statements.push(
            json!({"Effect": "Deny", "NotPrincipal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:user/u{number}")},
            "Action": "swf:*", "Resource": format!("arn:aws:swf:*:*:/domain/d{number}"),
            "Condition": {"IpAddress": {"aws:SourceIp": address(number).to_string()}}}),
        );
    }
    let document = json!({"Statement": statements});
    let file = SourceFile {
        name: "a.toml".into(),
        bytes: text.into_bytes().into(),
    };
    let mut read = |_: &Path| Ok(Arc::from(document.to_string().into_bytes()));
    let policy = policy::parse(&[file], &mut read).expect("a right policy");
    let generation = compile(&policy).expect("it fits");
    assert!((0..count).all(|number| passes(&generation, 0, address(number))));
    assert!(!passes(&generation, 0, Ipv4Addr::new(10, 2, 0, 0)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn whoever_is_allowed_gets_through(world in world(false)) {
        let policy = load(&world);
        let generation = compile(&policy).expect("it fits");
        let judge = Judge::new(&policy);
        for (zone, address, networks) in places(&policy, &generation) {
            if passes(&generation, zone, address) {
                continue;
            }
            for network in networks {
                prop_assert!(!is_allowed(&judge, network), "zone {zone}, {address}, {network:?}");
            }
        }
    }

    #[test]
    fn whoever_gets_through_may_be_allowed(world in world(true)) {
        let policy = load(&world);
        let generation = compile(&policy).expect("it fits");
        let judge = Judge::new(&policy);
        for (zone, address, networks) in places(&policy, &generation) {
            if passes(&generation, zone, address) && !networks.is_empty() {
                let allowed = networks.iter().any(|network| is_allowed(&judge, *network));
                prop_assert!(allowed, "zone {zone}, {address}, {networks:?}");
            }
        }
    }
}
