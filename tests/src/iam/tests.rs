use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::json;

use super::{Case, Outcome, case, evaluate};

#[test]
fn cases_are_well_spread() {
    let mut random = Rng::with_seed(7);
    let mut counts: BTreeMap<Outcome, usize> = BTreeMap::new();
    for _ in 0..5_000 {
        *counts.entry(evaluate(&case(&mut random))).or_default() += 1;
    }
    assert_eq!(counts.len(), 3, "{counts:?}");
    assert!(counts.values().all(|count| *count > 500), "{counts:?}");
}

#[test]
fn rules_hold_that_are_easy_to_get_wrong() {
    let ask = |condition: serde_json::Value, key: &str, values: &[&str]| {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        evaluate(&Case {
            identity: vec![json!({"Version": "2012-10-17", "Statement": {
                "Effect": "Allow", "Action": "swf:*", "Resource": "*", "Condition": condition}})],
            account: "111122223333".into(),
            caller: "arn:aws:iam::111122223333:user/alice".into(),
            action: "swf:ListDomains".into(),
            arn: "arn:aws:swf:us-east-1:111122223333:/domain/*".into(),
            context: BTreeMap::from([(key.to_owned(), values)]),
            ..Case::default()
        }) == Outcome::Allowed
    };
    let key = "aws:username";
    assert!(
        ask(json!({"StringNotEquals": {key: "a"}}), "other", &["a"]),
        "a missing key"
    );
    assert!(
        !ask(json!({"StringEquals": {key: "a"}}), "other", &["a"]),
        "a missing key"
    );
    assert!(
        ask(json!({"StringEqualsIfExists": {key: "a"}}), "other", &["a"]),
        "a missing key"
    );
    assert!(
        !ask(json!({"StringEquals": {key: "a*"}}), key, &["ab"]),
        "no wildcards"
    );
    assert!(
        ask(json!({"StringLike": {key: "a*"}}), key, &["ab"]),
        "wildcards"
    );
    assert!(
        !ask(json!({"StringLike": {key: "a.c"}}), key, &["abc"]),
        "no regular expressions"
    );
    assert!(
        ask(json!({"NumericGreaterThan": {key: "5"}}), key, &["6"]),
        "greater"
    );
    assert!(
        !ask(json!({"ForAnyValue:StringEquals": {key: "a"}}), key, &[]),
        "any of none"
    );
    assert!(
        ask(json!({"ForAllValues:StringEquals": {key: "a"}}), key, &[]),
        "all of none"
    );
    assert!(
        !ask(
            json!({"ForAllValues:StringEquals": {key: "a"}}),
            key,
            &["a", "b"]
        ),
        "all"
    );
}
