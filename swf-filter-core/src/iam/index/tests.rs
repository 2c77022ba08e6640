//! That the index finds what looking at every statement finds.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::iam::principal::Caller;
use crate::iam::{Context, Kind, parse};
use crate::policy::{Problems, SourceFile};

const CALLERS: [&str; 6] = [
    "arn:aws:iam::111122223333:user/alice",
    "arn:aws:iam::111122223333:user/x:role/worker",
    "arn:aws:sts::111122223333:assumed-role/worker/one",
    "arn:aws:sts::444455556666:assumed-role/worker/one",
    "arn:aws:sts::444455556666:assumed-role/111122223333/one",
    "arn:aws:iam::444455556666:user/mallory",
];

fn index(statements: &Value) -> Index {
    let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    let file = SourceFile {
        name: "host.json".into(),
        bytes: text.into_bytes().into(),
    };
    let document = parse(&file, Kind::Resource, &mut Problems::default());
    let document = Arc::new(document.unwrap_or_else(|| panic!("{statements}")));
    // The same again, so that places have two parts.
    Index::new(vec![Arc::clone(&document), document])
}

/// Where those statements stand that apply, of those that the index offers and of all.
fn both(index: &Index, request: Request<'_>, bounded: bool) -> [Vec<*const Statement>; 2] {
    let all = index.documents().iter().flat_map(|own| &own.statements);
    let applies = |statement: &&Statement| statement.applies(request, bounded);
    [
        index
            .candidates(request, bounded)
            .filter(applies)
            .map(std::ptr::from_ref)
            .collect(),
        all.filter(applies).map(std::ptr::from_ref).collect(),
    ]
}

fn list(words: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop::collection::vec(prop::sample::select(words), 1..4).prop_map(|list| json!(list))
}

fn statement() -> impl Strategy<Value = Value> {
    let principals = prop_oneof![
        Just(json!("*")),
        Just(json!({"Service": "swf.amazonaws.com"})),
        list(&[
            "111122223333",
            "444455556666",
            "arn:aws:iam::111122223333:user/alice",
            "arn:aws:iam::111122223333:user/x:role/worker",
            "arn:aws:iam::111122223333:role/team/worker",
            "arn:aws:sts::111122223333:assumed-role/worker/one",
        ])
        .prop_map(|list| json!({"AWS": list})),
    ];
    let resources = list(&[
        "*",
        "arn:aws:swf:*:*:/domain/a*",
        "arn:aws:swf:*:*:/domain/ab*",
        "arn:aws:swf:*:*:/domain/abc",
        "arn:aws:swf:*:111122223333:/domain/*",
        "arn:aws:swf:*:4444*:/domain/*c",
        "arn:aws:swf:*:*:/domain/*bc",
        "arn:aws:swf:*:*:/dom*",
        "arn:aws:swf:*:*:/domain/a${*}c*",
        "arn:aws:swf:*:*:/domain/b${aws:username}",
        "arn:aws:swf:*:*:/domain/?b?",
    ]);
    let actions = list(&[
        "swf:*",
        "swf:List*",
        "swf:StartTimer",
        "swf:Poll*",
        "s3:GetObject",
    ]);
    let addresses = (
        prop::sample::select(vec!["", "Not"]),
        list(&[
            "10.0.0.0/8",
            "10.0.0.1",
            "10.1.0.0/16",
            "2001:db8::/32",
            "0.0.0.0/0",
        ]),
    )
        .prop_map(|(not, list)| (format!("{not}IpAddress"), "aws:SourceIp", list));
    let texts = (
        prop::sample::select(vec![
            "Equals",
            "NotEquals",
            "Like",
            "NotLike",
            "EqualsIgnoreCase",
        ]),
        prop::sample::select(vec!["aws:username", "aws:TagKeys"]),
        list(&["a", "ab", "a*", "*b", "A", "${aws:userid, 'ab'}", "*"]),
    )
        .prop_map(|(name, key, list)| (format!("String{name}"), key, list));
    let arns = (
        prop::sample::select(vec!["Equals", "NotEquals", "Like", "NotLike"]),
        list(&[
            "arn:aws:iam::111122223333:user/alice",
            "arn:aws:iam::*:user/alice",
            "arn:aws:iam::*:role/w*",
            "*",
            "arn:aws:iam::111122223333:user/${aws:username}",
        ]),
    )
        .prop_map(|(name, list)| (format!("Arn{name}"), "aws:PrincipalArn", list));
    let condition = (
        prop::sample::select(vec!["", "", "ForAllValues:", "ForAnyValue:"]),
        prop_oneof![addresses, texts, arns],
        prop::sample::select(vec!["", "", "IfExists"]),
    )
        .prop_map(|(before, (name, key, list), after)| {
            (format!("{before}{name}{after}"), key, list)
        });
    (
        prop::sample::select(vec!["Allow", "Deny"]),
        (prop::sample::select(vec!["", "", "Not"]), principals),
        (prop::sample::select(vec!["", "", "Not"]), actions),
        (prop::sample::select(vec!["", "", "Not"]), resources),
        prop::collection::vec(condition, 0..3),
    )
        .prop_map(|(effect, principal, action, resource, conditions)| {
            let mut statement = json!({"Effect": effect});
            statement[format!("{}Principal", principal.0)] = principal.1;
            statement[format!("{}Action", action.0)] = action.1;
            statement[format!("{}Resource", resource.0)] = resource.1;
            for (operator, key, list) in conditions {
                statement["Condition"][operator][key] = list;
            }
            statement
        })
}

fn context() -> impl Strategy<Value = Context<'static>> {
    let some =
        |words: &'static [&'static str]| prop::collection::vec(prop::sample::select(words), 0..3);
    (
        some(&[
            "10.0.0.1",
            "10.2.0.1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "none",
        ]),
        some(&["a", "ab", "bab", "A"]),
        some(&["a", "ab", "c"]),
        some(&[
            "arn:aws:iam::111122223333:user/alice",
            "arn:aws:iam::444455556666:role/worker",
            "worker",
        ]),
    )
        .prop_map(|(addresses, names, tags, arns)| {
            let mut context = Context::default();
            for (key, values) in [
                ("aws:SourceIp", addresses),
                ("aws:username", names),
                ("aws:TagKeys", tags),
                ("aws:PrincipalArn", arns),
            ] {
                for value in values {
                    context.add(key, value);
                }
            }
            context
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_applies_is_found(
        statements in prop::collection::vec(statement(), 1..80),
        context in context(),
        bounded: bool,
    ) {
        let index = index(&json!(statements));
        for arn in CALLERS {
            let caller = Caller::from_arn(arn).expect("a caller");
            for action in [Action::ListDomains, Action::StartTimer, Action::PollForDecisionTask] {
                for name in ["a", "abc", "abx", "xbc", "b", "bab", "*"] {
                    let account = caller.account();
                    let resource = format!("arn:aws:swf:us-east-1:{account}:/domain/{name}");
                    let request = Request { caller: &caller, action: action.into(), resource: &resource, context: &context };
                    let [found, all] = both(&index, request, bounded);
                    prop_assert_eq!(found, all, "{} {:?} {}", arn, action, name);
                }
            }
        }
    }
}

#[test]
fn what_cannot_apply_is_not_looked_at() {
    let plain = json!({"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"});
    let with = |change: &dyn Fn(&mut Value, usize)| -> usize {
        let statements: Vec<Value> = (0..500)
            .map(|number| {
                let mut statement = plain.clone();
                change(&mut statement, number);
                statement
            })
            .collect();
        let caller = Caller::from_arn(CALLERS[0]).expect("a caller");
        let mut context = Context::default();
        context.set("aws:SourceIp", "10.0.7.1");
        context.set("aws:SourceVpce", "vpce-7");
        context.set("aws:PrincipalArn", CALLERS[0]);
        let request = Request {
            caller: &caller,
            action: Action::ListDomains.into(),
            resource: "arn:aws:swf:us-east-1:111122223333:/domain/team-7-x",
            context: &context,
        };
        index(&json!(statements)).candidates(request, false).count()
    };
    let domain = |name: String| json!(format!("arn:aws:swf:*:*:/domain/{name}"));
    let user = |name: &str| json!({"AWS": format!("arn:aws:iam::111122223333:user/{name}")});
    // Two documents are attached, so each counts twice.
    assert_eq!(with(&|_, _| {}), 1000);
    assert_eq!(
        with(&|own, number| own["Resource"] = domain(format!("team-{number}-*"))),
        2
    );
    assert_eq!(
        with(&|own, number| own["Resource"] = domain(format!("*-{number}-x"))),
        2
    );
    assert_eq!(
        with(&|own, number| own["Principal"] = user(&format!("user-{number}"))),
        0
    );
    let ip = |number| json!(format!("10.{}.{}.0/24", number / 256, number % 256));
    assert_eq!(
        with(&|own, number| own["Condition"]["IpAddress"]["aws:SourceIp"] = ip(number)),
        2
    );
    let endpoint = |number| json!(format!("vpce-{number}"));
    assert_eq!(
        with(&|own, number| own["Condition"]["StringEquals"]["aws:SourceVpce"] = endpoint(number)),
        2
    );
    assert_eq!(
        with(&|own, number| {
            let arn = format!("arn:aws:iam::*:user/user-{number}");
            own["Condition"]["ArnLike"]["aws:PrincipalArn"] = json!(arn);
        }),
        0
    );
    assert_eq!(
        with(&|own, _| own["Condition"]["NotIpAddress"]["aws:SourceIp"] = json!("10.0.0.0/8")),
        0
    );
    assert_eq!(
        with(&|own, _| {
            own["NotPrincipal"] = user("alice");
            own.as_object_mut().expect("an object").remove("Principal");
        }),
        0
    );
}

#[test]
fn a_request_is_looked_up_by_its_keys_where_statements_ask_for_more() {
    let work = |keys: usize| {
        let statements: Vec<Value> = (0..keys)
            .map(|number| {
                let tag = format!("aws:PrincipalTag/T{number}");
                let (operator, effect) = if number % 2 == 0 {
                    ("StringEquals", "Allow")
                } else {
                    ("StringNotEquals", "Deny")
                };
                json!({"Effect": effect, "Principal": "*", "Action": "*", "Resource": "*",
                       "Condition": {operator: {tag: "yes"}}})
            })
            .collect();
        let index = index(&json!(statements));
        let caller = Caller::from_arn(CALLERS[0]).expect("a caller");
        let meter = crate::iam::Meter::new(u64::MAX);
        let mut context = Context::default().metered(&meter);
        context.add("AWS:PrincipalTag/t6", "yes");
        context.add("aws:principaltag/T8", "no");
        for number in (1..keys).step_by(2) {
            context.add(format!("aws:PrincipalTag/T{number}"), "yes");
        }
        // What is looked up are the few keys of this one.
        let few = {
            let mut few = Context::default().metered(&meter);
            few.add("AWS:PrincipalTag/t6", "yes");
            few.add("aws:principaltag/T8", "no");
            few.add("aws:PrincipalTag/T9", "yes");
            few
        };
        let request = |context| Request {
            caller: &caller,
            action: Action::ListDomains.into(),
            resource: "arn:aws:swf:us-east-1:111122223333:/domain/a",
            context,
        };
        for context in [&context, &few] {
            let [found, all] = both(&index, request(context), false);
            assert_eq!(found, all);
        }
        let before = meter.spent();
        drop(index.candidates(request(&few), false));
        meter.spent() - before
    };
    let (short, long) = (work(100), work(10_000));
    // But for the words of a set of twice as many statements, some for each key.
    assert!(long < short + 8 * 2 * 10_000 / 64, "{short}, {long}");
}
