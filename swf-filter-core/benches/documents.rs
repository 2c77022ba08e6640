//! What decisions cost with few and with many statements attached, and what compiling them costs.
//!
//! `cargo bench -p swf-filter-core` shows it. Numbers of one run compare with each other only.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use swf_filter_core::compile::compile;
use swf_filter_core::judge::{Judge, Network, Shown};
use swf_filter_core::policy::{Policy, SourceFile, parse};
use swf_filter_core::swf::Action;

const ALICE: &str = "arn:aws:iam::111122223333:user/alice";
/// Statements that apply to each request, whatever the number attached.
const APPLYING: usize = 5;

/// A policy with one host, and one document attached to it.
fn policy(document: &str) -> Policy {
    let text = "version = 1\n[[host]]\nname = \"swf\"\naddresses = [\"198.51.100.1\"]\naccount = \"111122223333\"\n\
                resource_policies = [\"host.json\"]\n[[account]]\nid = \"111122223333\"\n[[user]]\nname = \"alice\"\n";
    let file = SourceFile {
        name: "policy.toml".into(),
        bytes: text.as_bytes().into(),
    };
    parse(&[file], &mut |_: &Path| Ok(Arc::from(document.as_bytes()))).expect("a right policy")
}

/// A document of so many statements, of which only the first ones are about what `request` asks for.
///
/// Each of the others differs in one of action, principal and domain, in turn.
fn document(statements: usize) -> String {
    let list: Vec<String> = (0..statements)
        .map(|number| {
            let mut action = "DescribeDomain".to_owned();
            let mut user = "alice".to_owned();
            let mut domain = "payments".to_owned();
            match number {
                0..APPLYING => {}
                _ if number % 3 == 0 => "PollFor*".clone_into(&mut action),
                _ if number % 3 == 1 => user = format!("user-{number}"),
                _ => domain = format!("domain-{number}"),
            }
            format!(
                "{{\"Effect\":\"Allow\",\"Action\":\"swf:{action}\",\
                 \"Principal\":{{\"AWS\":\"arn:aws:iam::111122223333:user/{user}\"}},\
                 \"Resource\":\"arn:aws:swf:us-east-1:111122223333:/domain/{domain}\",\
                 \"Condition\":{{\"IpAddress\":{{\"aws:SourceIp\":[\"192.0.2.0/24\",\"203.0.113.0/24\"]}}}}}}"
            )
        })
        .collect();
    format!(
        "{{\"Version\":\"2012-10-17\",\"Statement\":[{}]}}",
        list.join(",")
    )
}

/// One member of a statement, with its value.
type Member = (&'static str, Value);
/// Its name, and what the statement of a number has.
type Way = (&'static str, fn(usize) -> Member);

/// Ways in which statements can differ, so that all but the first ones are not about the request. Each is given the
/// number of a statement.
const WAYS: &[Way] = &[
    ("account", |number| {
        let account = 200_000_000_000 + number;
        (
            "Resource",
            json!(format!("arn:aws:swf:*:{account}:/domain/*")),
        )
    }),
    ("address", |number| {
        let net = format!("10.{}.{}.0/24", number / 256, number % 256);
        ("Condition", json!({"IpAddress": {"aws:SourceIp": net}}))
    }),
    ("address-but", |_| {
        (
            "Condition",
            json!({"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}),
        )
    }),
    ("domain-end", |number| {
        ("Resource", domain(&format!("*-{number}-team")))
    }),
    ("domain-start", |number| {
        ("Resource", domain(&format!("team-{number}-*")))
    }),
    ("endpoint", |number| {
        let endpoint = format!("vpce-{number}");
        (
            "Condition",
            json!({"StringEquals": {"aws:SourceVpce": endpoint}}),
        )
    }),
    ("principal-but", |_| ("NotPrincipal", json!({"AWS": ALICE}))),
    ("role", |number| {
        let role = format!("arn:aws:iam::111122223333:role/role-{number}");
        ("Principal", json!({"AWS": role}))
    }),
    ("user-arn", |number| {
        let user = format!("arn:aws:iam::*:user/user-{number}");
        ("Condition", json!({"ArnLike": {"aws:PrincipalArn": user}}))
    }),
];

fn domain(name: &str) -> Value {
    json!(format!("arn:aws:swf:us-east-1:111122223333:/domain/{name}"))
}

/// A document of statements of which all but the first ones differ from the request in one way. Those deny.
fn differing(statements: usize, member: fn(usize) -> Member) -> String {
    let list: Vec<Value> = (0..statements)
        .map(|number| {
            let mut statement =
                json!({"Effect": "Allow", "Principal": "*", "Action": "swf:*", "Resource": "*"});
            if number >= APPLYING {
                let (name, value) = member(number);
                statement["Effect"] = json!("Deny");
                statement[name] = value;
                if name == "NotPrincipal"
                    && let Some(members) = statement.as_object_mut()
                {
                    members.remove("Principal");
                }
            }
            statement
        })
        .collect();
    json!({"Version": "2012-10-17", "Statement": list}).to_string()
}

fn decide(criterion: &mut Criterion) {
    let sizes = [10, 1_000, 10_000];
    measure(criterion, "decide", &sizes, document);
    for (way, member) in WAYS {
        let document = |statements| differing(statements, *member);
        measure(criterion, &format!("decide/{way}"), &[10, 10_000], document);
    }
}

fn measure(
    criterion: &mut Criterion,
    name: &str,
    sizes: &[usize],
    document: impl Fn(usize) -> String,
) {
    let mut group = criterion.benchmark_group(name);
    for statements in sizes {
        let judge = Judge::new(&policy(&document(*statements)));
        let caller = judge.caller(ALICE).expect("a caller");
        let network = Network::Public("192.0.2.7".parse().expect("an address"));
        let context = judge.context(0, &caller, network, Shown::default());
        let resource = judge.domain(0, &caller, "payments").expect("documents");
        let action = Action::DescribeDomain;
        let ask = || judge.decide(0, &caller, action, &resource, &context, None);
        let decision = ask().expect("it is judged");
        assert!(decision.is_allowed() && decision.statements.len() == APPLYING);
        group.bench_function(BenchmarkId::from_parameter(statements), |bencher| {
            bencher.iter(|| black_box(ask()));
        });
    }
    group.finish();
}

/// Statements of so many disjoint CIDRs each.
fn scattered(statements: usize, cidrs: usize) -> String {
    let mut text = String::from("{\"Version\":\"2012-10-17\",\"Statement\":[");
    for statement in 0..statements {
        let addresses: Vec<String> = (0..cidrs)
            .map(|number| {
                let net = statement * cidrs + number;
                format!(
                    "\"{}.{}.{}.0/25\"",
                    11 + net / 65_536,
                    net / 256 % 256,
                    net % 256
                )
            })
            .collect();
        let separator = if statement == 0 { "" } else { "," };
        let addresses = addresses.join(",");
        let written = write!(
            text,
            "{separator}{{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"swf:*\",\"Resource\":\"*\",\
             \"Condition\":{{\"IpAddress\":{{\"aws:SourceIp\":[{addresses}]}}}}}}"
        );
        written.expect("a string takes all text");
    }
    text + "]}"
}

fn compile_documents(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10);
    let text = scattered(1_000, 100);
    group.bench_function("read 1000 statements of 100 CIDRs", |bencher| {
        bencher.iter_batched(|| (), |()| policy(&text), BatchSize::PerIteration);
    });
    let policy = policy(&text);
    assert!(compile(&policy).expect("it fits").prefixes() >= 100_000);
    group.bench_function("compile 1000 statements of 100 CIDRs", |bencher| {
        bencher.iter_batched(|| (), |()| compile(&policy), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, decide, compile_documents);
criterion_main!(benches);
