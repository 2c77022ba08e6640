//! Random documents and requests, of few words, so that they often meet.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::{Value, json};

use super::Case;

/// A random case. Its documents are right.
#[must_use]
pub fn case(random: &mut Rng) -> Case {
    let mut case = Case {
        identity: documents(random, false, 3),
        boundary: (random.u8(..6) == 0).then(|| document(random, false)),
        session: (random.u8(..6) == 0).then(|| documents(random, false, 1)),
        resource: documents(random, true, 3),
        account: pick(random, &["111122223333", "111122223333", "444455556666"]).to_owned(),
        ..Case::default()
    };
    ask(&mut case, random);
    case
}

/// Puts another request into a case.
pub fn ask(case: &mut Case, random: &mut Rng) {
    let caller = if case.session.is_some() || random.bool() {
        pick(random, &SESSIONS)
    } else {
        pick(random, &USERS)
    };
    caller.clone_into(&mut case.caller);
    pick(random, &ACTIONS).clone_into(&mut case.action);
    pick(random, &ARNS).clone_into(&mut case.arn);
    case.context = context(random);
}

fn documents(random: &mut Rng, principal: bool, most: usize) -> Vec<Value> {
    (0..random.usize(1..=most))
        .map(|_| document(random, principal))
        .collect()
}

fn document(random: &mut Rng, principal: bool) -> Value {
    let version = pick(
        random,
        &["2012-10-17", "2012-10-17", "2012-10-17", "2008-10-17"],
    );
    let statements: Vec<Value> = (0..random.usize(1..4))
        .map(|_| statement(random, principal))
        .collect();
    let statements = match <[Value; 1]>::try_from(statements) {
        Ok([single]) if random.bool() => single,
        Ok([single]) => json!([single]),
        Err(several) => several.into(),
    };
    if version == "2008-10-17" && random.bool() {
        return json!({"Statement": statements});
    }
    json!({"Version": version, "Id": "generated", "Statement": statements})
}

fn statement(random: &mut Rng, principal: bool) -> Value {
    let mut statement = json!({"Effect": pick(random, &["Allow", "Allow", "Allow", "Deny"])});
    let actions = few(
        random,
        &[
            "*",
            "swf:*",
            "SWF:start*",
            "swf:StartWorkflowExecution",
            "swf:listdomains",
            "s3:GetObject",
            "swf:?oll*",
        ],
    );
    put(&mut statement, random, "Action", actions);
    let resources = few(
        random,
        &[
            "*",
            "arn:aws:swf:*:*:/domain/*",
            "arn:aws:swf::111122223333:/domain/orders",
            "arn:*:swf:us-east-1:*:/domain/o*s",
            "arn:aws:swf:us-east-1:111122223333:/domain/${aws:username}",
            "arn:aws:swf:*:*:/domain/${aws:PrincipalTag/domain, 'stock'}",
            "arn:aws:swf:*:*:/domain/st?ck",
            "arn:aws:swf:*:*:/domain/or${*}ers",
            "arn:aws:swf:eu-west-1:*:/domain/*",
        ],
    );
    put(&mut statement, random, "Resource", resources);
    if principal {
        let principals = [
            json!("*"),
            json!({"AWS": "*"}),
            json!({"AWS": "111122223333"}),
            json!({"AWS": ["arn:aws:iam::111122223333:root", "444455556666"]}),
            json!({"AWS": USERS[0]}),
            json!({"AWS": SESSIONS[0]}),
            json!({"AWS": "arn:aws:iam::111122223333:role/worker"}),
            json!({"Service": "swf.amazonaws.com", "AWS": [USERS[1]]}),
            json!({"Federated": "idp"}),
        ];
        let chosen = principals[random.usize(..principals.len())].clone();
        put(&mut statement, random, "Principal", chosen);
    }
    for _ in 0..pick(random, &[0, 0, 1, 1, 2]) {
        let (operator, key, values) = condition(random);
        let known = &mut statement["Condition"][operator];
        // A key stands once, whatever its case.
        let spelt = known.as_object().and_then(|keys| {
            let mut names = keys.keys();
            names.find(|name| name.eq_ignore_ascii_case(key)).cloned()
        });
        known[spelt.unwrap_or_else(|| cased(random, key))] = values;
    }
    statement
}

fn put(statement: &mut Value, random: &mut Rng, element: &str, value: Value) {
    let not = if random.u8(..6) == 0 { "Not" } else { "" };
    statement[format!("{not}{element}")] = value;
}

fn condition(random: &mut Rng) -> (String, &'static str, Value) {
    let numbers = [
        "Equals",
        "NotEquals",
        "LessThan",
        "LessThanEquals",
        "GreaterThan",
        "GreaterThanEquals",
    ];
    let (names, keys, values): (Vec<String>, &[&str], Value) = match random.u8(..10) {
        0 | 1 => (
            strings(&["IpAddress", "NotIpAddress"]),
            &["aws:SourceIp", "aws:VpcSourceIp", "aws:UserAgent"],
            few(
                random,
                &[
                    "192.0.2.0/24",
                    "192.0.2.9/30",
                    "2001:db8::/32",
                    "10.0.0.1",
                    "0.0.0.0/0",
                ],
            ),
        ),
        2 => (
            numbers
                .iter()
                .map(|name| format!("Numeric{name}"))
                .collect(),
            &[
                "aws:PrincipalTag/level",
                "aws:MultiFactorAuthAge",
                "aws:EpochTime",
            ],
            pick(
                random,
                &[json!(5), json!("5.0"), json!([1, "7.5"]), json!(-3)],
            )
            .clone(),
        ),
        3 => (
            numbers.iter().map(|name| format!("Date{name}")).collect(),
            &[
                "aws:CurrentTime",
                "aws:TokenIssueTime",
                "aws:EpochTime",
                "aws:PrincipalTag/level",
            ],
            few(
                random,
                &[
                    "2026-01-01T00:00:00Z",
                    "2025-12-31T23:00:00-01:00",
                    "1767225600",
                    "2024-02-29T12:30:00Z",
                ],
            ),
        ),
        4 => (
            strings(&["Bool"]),
            &[
                "aws:SecureTransport",
                "aws:MultiFactorAuthPresent",
                "aws:username",
            ],
            pick(
                random,
                &[
                    json!(true),
                    json!("FALSE"),
                    json!(["true", "false"]),
                    json!(false),
                ],
            )
            .clone(),
        ),
        5 => (
            strings(&["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"]),
            &["aws:PrincipalArn", "aws:userid"],
            few(
                random,
                &[
                    "arn:aws:iam::*:user/*",
                    "arn:aws:iam::111122223333:role/w?rker",
                    "arn:*:*:*:*:*",
                    "arn:aws:iam::111122223333:user/${aws:username}",
                ],
            ),
        ),
        6 => (
            strings(&["Null"]),
            &["aws:SourceVpce", "aws:TagKeys", "aws:username"],
            pick(random, &[json!(true), json!("false"), json!([true, false])]).clone(),
        ),
        7 => (
            strings(&["BinaryEquals"]),
            &["aws:username", "aws:userid"],
            pick(random, &[json!("QQ=="), json!(["YWxpY2U=", "QQ=="])]).clone(),
        ),
        _ => (
            strings(&[
                "StringEquals",
                "StringNotEquals",
                "StringEqualsIgnoreCase",
                "StringNotEqualsIgnoreCase",
                "StringLike",
                "StringNotLike",
            ]),
            &[
                "aws:username",
                "aws:TagKeys",
                "swf:workflowType.name",
                "aws:SourceVpce",
                "swf:tagList.member.0",
                "aws:PrincipalTag/domain",
            ],
            few(
                random,
                &[
                    "alice",
                    "Al*",
                    "*",
                    "a?ice",
                    "${aws:username}",
                    "${aws:userid, 'ALICE'}",
                    "vpce-1",
                    "${$}x",
                    "a${?}ice",
                    "ÉTÉ",
                    "x*y",
                ],
            ),
        ),
    };
    let name = &names[random.usize(..names.len())];
    let (before, after) = if name == "Null" {
        ("", "")
    } else {
        (
            pick(random, &["", "", "", "ForAllValues:", "ForAnyValue:"]),
            pick(random, &["", "", "IfExists"]),
        )
    };
    (format!("{before}{name}{after}"), pick(random, keys), values)
}

fn context(random: &mut Rng) -> BTreeMap<String, Vec<String>> {
    let pool: [(&str, &[&str]); 17] = [
        (
            "aws:SourceIp",
            &[
                "192.0.2.7",
                "192.0.2.9",
                "2001:db8::1",
                "::ffff:192.0.2.7",
                "198.51.100.1",
            ],
        ),
        ("aws:VpcSourceIp", &["10.0.0.1", "10.0.0.2"]),
        ("aws:UserAgent", &["192.0.2.1", "curl/8", "10.0.0.0/8"]),
        (
            "aws:PrincipalTag/level",
            &["5", "7.5", "-3", "five", "1767225600"],
        ),
        ("aws:MultiFactorAuthAge", &["5", "3600"]),
        ("aws:EpochTime", &["1767225600", "5"]),
        (
            "aws:CurrentTime",
            &["2026-01-01T00:00:00Z", "2024-02-29T12:30:01Z"],
        ),
        (
            "aws:TokenIssueTime",
            &["2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z"],
        ),
        ("aws:SecureTransport", &["true", "false"]),
        ("aws:MultiFactorAuthPresent", &["TRUE", "false"]),
        (
            "aws:PrincipalArn",
            &[
                "arn:aws:iam::111122223333:user/alice",
                "arn:aws:iam::111122223333:role/worker",
                "worker",
            ],
        ),
        (
            "aws:userid",
            &["alice", "QQ==", "AIDA:one", "arn:aws:iam::1:x:y"],
        ),
        (
            "aws:username",
            &["alice", "Alice", "al*", "true", "été", "$x"],
        ),
        ("swf:workflowType.name", &["alice", "xyy", "x*y", "été"]),
        ("aws:SourceVpce", &["vpce-1", "vpce-2"]),
        ("swf:tagList.member.0", &["a?ice", "aaice", "ALICE"]),
        ("aws:PrincipalTag/domain", &["orders", "stock", "*", ""]),
    ];
    let mut context = BTreeMap::new();
    for (key, values) in pool {
        if random.u8(..3) != 0 {
            context.insert(cased(random, key), vec![pick(random, values).to_owned()]);
        }
    }
    let tags: Vec<String> = ["alice", "Alex", "vpce-1"]
        .into_iter()
        .filter(|_| random.bool())
        .map(str::to_owned)
        .collect();
    if random.bool() {
        context.insert("aws:TagKeys".into(), tags);
    }
    context
}

fn few(random: &mut Rng, words: &[&str]) -> Value {
    let one = pick(random, words);
    match random.u8(..3) {
        0 => json!([one, pick(random, words)]),
        1 => json!([one]),
        _ => json!(one),
    }
}

fn cased(random: &mut Rng, key: &str) -> String {
    match random.u8(..4) {
        0 => key.to_uppercase(),
        1 => key.to_lowercase(),
        _ => key.to_owned(),
    }
}

fn pick<T: Clone>(random: &mut Rng, choices: &[T]) -> T {
    choices[random.usize(..choices.len())].clone()
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

const USERS: [&str; 2] = [
    "arn:aws:iam::111122223333:user/alice",
    "arn:aws:iam::444455556666:user/team/mallory",
];
const SESSIONS: [&str; 2] = [
    "arn:aws:sts::111122223333:assumed-role/worker/one",
    "arn:aws:sts::111122223333:assumed-role/other/alice",
];
const ACTIONS: [&str; 5] = [
    "swf:ListDomains",
    "swf:PollForDecisionTask",
    "swf:StartWorkflowExecution",
    "swf:StartWorkflowExecution",
    "swf:StartTimer",
];
const ARNS: [&str; 5] = [
    "arn:aws:swf:us-east-1:111122223333:/domain/orders",
    "arn:aws:swf:us-east-1:111122223333:/domain/alice",
    "arn:aws:swf:us-east-1:111122223333:/domain/stock",
    "arn:aws:swf:eu-west-1:444455556666:/domain/orders",
    "arn:aws:swf:us-east-1:111122223333:/domain/*",
];
