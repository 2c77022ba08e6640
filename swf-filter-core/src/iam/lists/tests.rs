use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::iam::arn::ResourcePattern;
use crate::iam::authorize::{Index, Policies, Reason, Request, authorize};
use crate::iam::limits::VALUES;
use crate::iam::pattern::{Variables, Wildcards};
use crate::iam::{Kind, Meter, parse};
use crate::policy::{Problems, SourceFile};
use crate::swf::Action;

/// The definition, for one principal.
fn is_meant(principal: &Principal, caller: &Caller) -> bool {
    match principal {
        Principal::Account { id, .. } => id == caller.account(),
        Principal::Anyone => true,
        Principal::Arn(arn) => {
            let is_own = |role: &Arc<str>| {
                role_name(arn).is_some()
                    && role_name(arn) == role_name(role)
                    && account_of(arn) == account_of(role)
            };
            arn == caller.arn() || caller.role().is_some_and(is_own)
        }
        Principal::Other { .. } => false,
    }
}

fn principal(text: &str) -> Principal {
    match text {
        "*" => Principal::Anyone,
        "swf" => Principal::Other {
            kind: "Service".into(),
            text: text.into(),
        },
        _ if text.starts_with("arn:") => Principal::Arn(text.into()),
        _ => Principal::Account {
            id: text.into(),
            text: text.into(),
        },
    }
}

const PRINCIPALS: &[&str] = &[
    "*",
    "swf",
    "111122223333",
    "444455556666",
    "arn:aws:iam::111122223333:user/alice",
    "arn:aws:iam::111122223333:user/x:role/worker",
    "arn:aws:iam::111122223333:role/worker",
    "arn:aws:iam::111122223333:role/team/worker",
    "arn:aws:iam::444455556666:role/worker",
    "arn:aws:sts::111122223333:assumed-role/worker/one",
];

const CALLERS: &[&str] = &[
    "arn:aws:iam::111122223333:root",
    "arn:aws:iam::111122223333:user/alice",
    "arn:aws:iam::111122223333:user/x:role/worker",
    "arn:aws:sts::111122223333:assumed-role/worker/one",
    "arn:aws:sts::111122223333:assumed-role/worker/two",
    "arn:aws:sts::444455556666:assumed-role/worker/one",
    "arn:aws:sts::777788889999:assumed-role/worker/one",
];

proptest! {
    #[test]
    fn whom_a_list_means_one_of_its_principals_does(
        texts in prop::collection::vec(prop::sample::select(PRINCIPALS), 0..4),
        caller in prop::sample::select(CALLERS),
        with_path in any::<bool>(),
    ) {
        let mut caller = Caller::from_arn(caller).unwrap();
        if let Some(role) = caller.role().filter(|_| with_path).cloned() {
            caller = caller.with_role(role.replace("role/", "role/path/").into());
        }
        let all: Vec<Principal> = texts.iter().map(|text| principal(text)).collect();
        let list = Principals::new(all.clone());
        let is_account = |one: &&Principal| matches!(one, Principal::Account { .. });
        let mut others = all.iter().filter(|one| !is_account(one));
        prop_assert_eq!(list.match_caller(&caller), all.iter().any(|one| is_meant(one, &caller)));
        prop_assert_eq!(list.grant(&caller), others.any(|one| is_meant(one, &caller)));
        let is_named = |one: &Principal| matches!(one, Principal::Arn(arn) if arn == caller.arn());
        prop_assert_eq!(list.name(&caller), all.iter().any(is_named));
    }

    #[test]
    fn a_text_matches_a_list_if_it_matches_a_pattern(
        texts in prop::collection::vec("(a|B|\u{c9}|\\*|\\?|\\$\\{\\*\\}|\\$\\{swf:name\\}){0,4}", 0..5),
        subject in "(a|b|A|B|\u{e9}|\u{c9}|\\*){0,4}",
        like in prop::sample::select(vec![Wildcards::Literal, Wildcards::Match]),
        case in prop::sample::select(vec![Case::Fold, Case::Keep]),
    ) {
        let patterns = texts.iter().map(|text| Pattern::new(text, like, Variables::Expand, case));
        let patterns: Vec<Pattern> = patterns.map(Result::unwrap).collect();
        let mut context = Context::default();
        context.add("swf:name", "aB");
        let matches = patterns.iter().any(|pattern| pattern.matches(&subject, &context));
        prop_assert_eq!(Patterns::new(patterns, case).matches(&subject, &context), matches);
    }

    #[test]
    fn an_arn_matches_a_list_if_it_matches_a_pattern(
        texts in prop::collection::vec("\\*|arn:(aws|\\*):swf:(r|\\*|):(1|\\*|\\$\\{\\*\\}):/domain/(a|b|\\*|a:b|\\$\\{swf:name\\})", 0..5),
        arn in "(arn|):aws:swf:(r|q):(1|\\*):/domain/(a|b|c|a:b)|arn:aws:swf|",
    ) {
        let patterns = texts.iter().map(|text| ArnPattern::new(text, Variables::Expand).unwrap());
        let patterns: Vec<ArnPattern> = patterns.collect();
        let mut context = Context::default();
        context.add("swf:name", "c");
        let matches = patterns.iter().any(|pattern| pattern.matches(&arn, &context));
        prop_assert_eq!(Arns::new(patterns).matches(&arn, &context), matches);
        let resources = texts.iter().filter_map(|text| ResourcePattern::new(text, Variables::Expand).ok());
        let resources: Vec<ResourcePattern> = resources.collect();
        let matches = resources.iter().any(|pattern| pattern.matches(&arn, &context));
        prop_assert_eq!(Arns::new(resources).matches(&arn, &context), matches);
    }
}

/// A document of one statement, in which `member` has a list of `count` texts that end with their number.
fn document(kind: Kind, before: &str, text: &str, after: &str, count: usize) -> Index {
    let mut whole = format!(r#"{{"Version": "2012-10-17", "Statement": {before}["#);
    for number in 0..count {
        let comma = if number == 0 { "" } else { "," };
        write!(whole, r#"{comma}"{text}{number}""#).unwrap();
    }
    write!(whole, "]{after}}}").unwrap();
    let file = SourceFile {
        name: "a.json".into(),
        bytes: whole.into_bytes().into(),
    };
    let mut problems = Problems::default();
    let document = parse(&file, kind, &mut problems);
    Index::new(vec![
        document.unwrap_or_else(|| panic!("{problems}")).into(),
    ])
}

/// What it costs to judge a request that no member of a list is about, and one that the last one is about.
fn work(kind: Kind, before: &str, text: &str, after: &str, count: usize) -> u64 {
    let index = document(kind, before, text, after, count);
    let judge = |number: usize| {
        let arn = format!("arn:aws:sts::111122223333:assumed-role/r{number}/one");
        let caller = Caller::from_arn(&arn).unwrap();
        let resource = format!("arn:aws:swf:eu-west-1:111122223333:/domain/d{number}");
        let meter = Meter::new(u64::MAX);
        let mut context = Context::default().metered(&meter);
        for tag in 0..50 {
            context.add("aws:TagKeys", format!("K{number}{}", "x".repeat(tag)));
        }
        context.add(
            "aws:PrincipalArn",
            format!("arn:aws:iam::111122223333:role/r{number}"),
        );
        let policies = match kind {
            Kind::Identity => Policies {
                identity: Some(&index),
                ..Policies::default()
            },
            Kind::Resource | Kind::Trust => Policies {
                resource: Some(&index),
                ..Policies::default()
            },
        };
        let request = Request {
            caller: &caller,
            action: Action::DescribeDomain.into(),
            resource: &resource,
            context: &context,
        };
        (authorize(&policies, request).reason, meter.spent())
    };
    let (last, found) = judge(count - 1);
    let (other, missed) = judge(count);
    // Lists that are meant the other way round differ in the other direction.
    assert_ne!(
        last == Reason::Allowed,
        other == Reason::Allowed,
        "{before}"
    );
    found.max(missed)
}

#[test]
fn a_request_pays_no_more_for_the_longest_list_than_for_a_short_one() {
    let identity = r#"{"Effect": "Allow", "Action": "swf:*", "#;
    let condition = |operator: &str, key: &str| {
        let rest = format!(r#""Resource": "*", "Condition": {{"{operator}": {{"{key}": "#);
        (Kind::Identity, format!("{identity}{rest}"), "}}}")
    };
    let any = |operator: &str| condition(&format!("ForAnyValue:{operator}"), "aws:TagKeys");
    let all = |operator: &str| condition(&format!("ForAllValues:{operator}"), "aws:TagKeys");
    let resource = |element: &str| (Kind::Identity, format!(r#"{identity}"{element}": "#), "}");
    let principal = |element: &str| {
        let rest = format!(r#""Resource": "*", "{element}": {{"AWS": "#);
        (Kind::Resource, format!("{identity}{rest}"), "}}")
    };
    let lists = [
        (any("StringEquals"), "K"),
        (any("StringLike"), "K"),
        (any("StringEqualsIgnoreCase"), "k"),
        (all("StringNotEquals"), "K"),
        (all("StringNotEqualsIgnoreCase"), "k"),
        (
            condition("ArnEquals", "aws:PrincipalArn"),
            "arn:aws:iam::111122223333:role/r",
        ),
        (
            resource("Resource"),
            "arn:aws:swf:eu-west-1:111122223333:/domain/d",
        ),
        (resource("Resource"), "arn:aws:swf:*:111122223333:/domain/d"),
        (resource("NotResource"), "arn:aws:swf::*:/domain/d"),
        (principal("Principal"), "arn:aws:iam::111122223333:role/r"),
        (
            principal("NotPrincipal"),
            "arn:aws:iam::111122223333:role/path/r",
        ),
    ];
    for ((kind, before, after), text) in &lists {
        let work = |count| work(*kind, before, text, after, count);
        let (short, long) = (work(10), work(VALUES));
        assert!(long < short * 2 + 1_000, "{before}: {short}, {long}");
    }
}
