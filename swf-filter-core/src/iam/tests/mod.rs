mod roles;
mod rules;
mod wrong;

use serde_json::json;

use super::authorize::{Decision, Index, Policies, Reason, Request, authorize};
use super::principal::Caller;
use super::*;
use crate::policy::{Problems, SourceFile};

fn read(text: &str, kind: Kind) -> Result<Document, Problems> {
    let file = SourceFile {
        name: "policy.json".into(),
        bytes: text.as_bytes().into(),
    };
    let mut problems = Problems::default();
    parse(&file, kind, &mut problems).ok_or(problems)
}

fn index(kind: Kind, document: &serde_json::Value) -> Index {
    let document = read(&document.to_string(), kind);
    Index::new(vec![Arc::new(document.expect("a right document"))])
}

const ALICE: &str = "arn:aws:iam::111122223333:user/alice";
const ORDERS: &str = "arn:aws:swf:us-east-1:111122223333:/domain/orders";

fn decide(policies: &Policies<'_>, caller: &str, context: &Context<'_>) -> Decision {
    let caller = Caller::from_arn(caller).expect("a caller");
    let request = Request {
        caller: &caller,
        action: Action::StartWorkflowExecution.into(),
        resource: ORDERS,
        context,
    };
    authorize(policies, request)
}

#[test]
fn a_negated_deny_fires_when_its_key_is_missing() {
    let identity = index(
        Kind::Identity,
        &json!({"Statement": [
            {"Effect": "Allow", "Action": "*", "Resource": "*"},
            {"Sid": "Office", "Effect": "Deny", "Action": "*", "Resource": "*",
             "Condition": {"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}},
        ]}),
    );
    let policies = Policies {
        identity: Some(&identity),
        ..Policies::default()
    };
    let mut context = Context::default();
    let decision = decide(&policies, ALICE, &context);
    assert_eq!(decision.reason, Reason::ExplicitDeny);
    assert_eq!(
        decision
            .statements
            .first()
            .and_then(|decider| decider.sid.as_deref()),
        Some("Office")
    );
    context.set("AWS:SourceIP", "192.0.2.7");
    assert!(decide(&policies, ALICE, &context).is_allowed());
    context.set("aws:sourceip", "192.0.3.7");
    assert!(!decide(&policies, ALICE, &context).is_allowed());
}

#[test]
fn patterns_without_region_match_and_variables_are_literal() {
    let mut context = Context::default();
    context.set("aws:username", "*");
    for (resource, matches) in [
        ("arn:aws:swf::111122223333:/domain/orders", true),
        ("arn:aws:swf:*:*:/domain/ord?rs", true),
        ("arn:aws:swf:eu-west-1:111122223333:/domain/orders", false),
        ("arn:aws:swf:us-east-1:*:/domain/${aws:username}", false),
        (
            "arn:aws:swf:us-east-1:*:/domain/${aws:userid, 'orders'}",
            true,
        ),
        ("arn:aws:swf:us-east-1:*:/domain/${aws:userid}", false),
    ] {
        let statement = json!({"Effect": "Allow", "Action": "swf:*", "Resource": resource});
        let identity = index(
            Kind::Identity,
            &json!({"Version": "2012-10-17", "Statement": statement}),
        );
        let policies = Policies {
            identity: Some(&identity),
            ..Policies::default()
        };
        assert_eq!(
            decide(&policies, ALICE, &context).is_allowed(),
            matches,
            "{resource}"
        );
    }
}

#[test]
fn variables_of_the_old_version_are_no_reason_to_refuse() {
    let statement = json!({"Effect": "Allow", "Action": "*",
        "Resource": "arn:aws:swf:*:*:/domain/${aws:PrincipalTag/domain}"});
    for version in ["2008-10-17", "2012-10-17"] {
        let document = json!({"Version": version, "Statement": statement});
        assert!(
            read(&document.to_string(), Kind::Identity).is_ok(),
            "{version}"
        );
    }
}

#[test]
fn a_path_that_looks_like_a_role_is_none() {
    // Paths of users may hold any printing character, so that this is a right ARN.
    let user = "arn:aws:iam::111122223333:user/x:role/worker";
    let session = "arn:aws:sts::111122223333:assumed-role/worker/one";
    let resource = index(
        Kind::Resource,
        &json!({"Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"},
            {"Effect": "Deny", "Principal": {"AWS": user}, "Action": "*", "Resource": "*"},
        ]}),
    );
    let policies = Policies {
        resource: Some(&resource),
        ..Policies::default()
    };
    for (caller, reason) in [
        (user, Reason::ExplicitDeny),
        (session, Reason::Allowed),
        (ALICE, Reason::Allowed),
    ] {
        assert_eq!(
            decide(&policies, caller, &Context::default()).reason,
            reason
        );
    }
}

#[test]
fn a_document_reads_back_as_it_was_printed() {
    let document = json!({"Version": "2012-10-17", "Id": "orders", "Statement": [
        {"Sid": "a b", "Effect": "Allow", "NotPrincipal": {"AWS": ["*", ALICE], "Service": ["swf.amazonaws.com"]},
         "NotAction": ["swf:ListDomains", "s3:*"], "NotResource": ["*", ORDERS],
         "Condition": {"ForAnyValue:StringNotLikeIfExists": {"aws:TagKeys": ["a*", "${aws:username, 'x'}"]},
                       "NumericLessThan": {"aws:MultiFactorAuthAge": ["300"]}, "Null": {"aws:userid": ["false"]}}}]});
    let read = read(&document.to_string(), Kind::Resource).expect("a right document");
    assert_eq!(read.to_json(), document);
}

#[test]
fn problems_have_their_lines() {
    let text = "{\n \"Statement\": {\n  \"Effect\": \"Alow\",\n  \"Action\": \"swf:StratTimer\",\n  \"Resource\": \"*\",\n  \"Condition\": {\"StringEqual\": {\"aws:SourceVpcEndpoint\": \"vpce-1\"}}\n }\n}";
    let problems = read(text, Kind::Identity).expect_err("four faults");
    let lines: Vec<u32> = problems
        .list
        .iter()
        .map(|problem| problem.at.origin.line)
        .collect();
    assert_eq!(lines, [3, 4, 6, 6]);
    let help: Vec<_> = problems
        .list
        .iter()
        .filter_map(crate::policy::Problem::help)
        .collect();
    assert!(
        help.iter().any(|help| help.contains("`StringEquals`")),
        "{help:?}"
    );
    assert!(
        help.iter().any(|help| help.contains("`swf:StartTimer`")),
        "{help:?}"
    );
}
