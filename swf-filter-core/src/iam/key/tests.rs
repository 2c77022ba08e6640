//! Each key that documents may name is one that some request has, or one of which it is known why none has it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::iam::authorize::Reason;
use crate::judge::{Judge, Network, Shown};
use crate::policy::{SourceFile, parse};
use crate::session::{Reach, Session, Tag};
use crate::sts::{Asker, AssumeRole, Lots};
use crate::swf::{Action, read_call};

/// Keys that no request has, and why.
const NEVER: [(&str, &str); 22] = [
    ("aws:AssumedRoot", "there is no call that assumes a root"),
    ("aws:CalledVia", CALLED),
    ("aws:CalledViaFirst", CALLED),
    ("aws:CalledViaLast", CALLED),
    ("aws:ChatbotSourceArn", CALLED),
    ("aws:FederatedProvider", "there is no federation"),
    ("aws:MultiFactorAuthAge", "there is no MFA"),
    ("aws:PrincipalServiceName", CALLED),
    ("aws:PrincipalServiceNamesList", CALLED),
    ("aws:SourceAccount", CALLED),
    ("aws:SourceArn", CALLED),
    ("aws:SourceOrgID", CALLED),
    ("aws:SourceOrgPaths", CALLED),
    ("dynamodb:LeadingKeys", "another service's"),
    ("iam:PermissionsBoundary", "another service's"),
    ("sts:AWSServiceName", OTHER_CALL),
    ("sts:DurationSeconds", OTHER_CALL),
    ("sts:IdentityTokenAudience", OTHER_CALL),
    ("sts:RequestContext/", OTHER_CALL),
    ("sts:RequestContextProviders", OTHER_CALL),
    ("sts:SigningAlgorithm", OTHER_CALL),
    ("sts:TaskPolicyArn", OTHER_CALL),
];
const CALLED: &str = "no service of AWS calls for somebody else";
const OTHER_CALL: &str = "STS has it for calls that are refused here";

const POLICY: &str = r#"
    version = 1
    [[host]]
    name = "swf"
    addresses = ["198.51.100.10"]
    resource_policies = ["host.json"]
    [[account]]
    id = "111122223333"
    organization = "o-a1b2c3d4e5"
    [[user]]
    name = "alice"
    policies = ["own.json"]
    tags = { any = "one" }
    [[role]]
    name = "worker"
    policies = ["own.json"]
    trust = "trust.json"
    tags = { any = "one" }
"#;
const ALICE: &str = "arn:aws:iam::111122223333:user/alice";
const WORKER: &str = "arn:aws:iam::111122223333:role/worker";
const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/worker/one";

/// Bodies that have all of SWF's keys between them.
const CALLS: [(Action, &str); 7] = [
    (
        Action::CountClosedWorkflowExecutions,
        r#"{"domain": "orders", "tagFilter": {"tag": "a"}, "typeFilter": {"name": "a", "version": "1"}}"#,
    ),
    (
        Action::DeprecateActivityType,
        r#"{"domain": "orders", "activityType": {"name": "a", "version": "1"}}"#,
    ),
    (
        Action::RegisterActivityType,
        r#"{"domain": "orders", "name": "a", "version": "1", "defaultTaskList": {"name": "a"}}"#,
    ),
    (
        Action::RegisterDomain,
        r#"{"name": "orders", "tags": [{"key": "any", "value": "one"}]}"#,
    ),
    (
        Action::RespondDecisionTaskCompleted,
        r#"{"taskToken": "t", "decisions": [{"decisionType": "ContinueAsNewWorkflowExecution",
            "continueAsNewWorkflowExecutionDecisionAttributes": {"workflowTypeVersion": "1"}}]}"#,
    ),
    (
        Action::StartWorkflowExecution,
        r#"{"domain": "orders", "workflowType": {"name": "a", "version": "1"}, "taskList": {"name": "a"},
            "tagList": ["a", "b", "c", "d", "e"]}"#,
    ),
    (Action::ListDomains, "{}"),
];

/// A judge for whom nobody may do anything with a key in their request.
fn denying(key: &str) -> Judge {
    let document = |principal: &str, resource: &str| {
        format!(
            r#"{{"Version": "2012-10-17", "Statement": [
            {{"Effect": "Allow", "Action": "*" {principal} {resource}}},
            {{"Effect": "Deny", "Action": "*" {principal} {resource}, "Condition": {{"Null": {{"{key}": "false"}}}}}}]}}"#
        )
    };
    let file = SourceFile {
        name: "a.toml".into(),
        bytes: POLICY.as_bytes().into(),
    };
    let mut read = |path: &Path| -> io::Result<Arc<[u8]>> {
        let (principal, resource) = (r#", "Principal": "*""#, r#", "Resource": "*""#);
        let document = match path.to_str() {
            Some("host.json") => document(principal, resource),
            Some("trust.json") => document(principal, ""),
            _ => document("", resource),
        };
        Ok(document.into_bytes().into())
    };
    Judge::new(&parse(&[file], &mut read).unwrap_or_else(|problems| panic!("{key}: {problems}")))
}

/// Whether some request has a key: to SWF, and for a role.
fn is_filled(key: &str) -> [bool; 2] {
    let judge = denying(key);
    let at = Timestamp::from_second(1_700_000_000).expect("a time");
    let [alice, worker] = [ALICE, SESSION].map(|arn| judge.caller(arn).expect("a caller"));
    let session = Session {
        access_key_id: "ASIAAAAAAAAAAAAAAAAA".into(),
        secret: crate::credentials::secret([1; 30]),
        caller: worker.clone(),
        unique_id: Box::from(&*judge.identity(&worker).expect("a role").id),
        parent: None,
        issued: at,
        expires: at + jiff::SignedDuration::from_hours(1),
        policy: None,
        source_identity: Some("alice".into()),
        tags: Vec::new(),
    };
    let shown = |session| Shown {
        at: Some(at),
        referers: vec!["https://one.example/".into()],
        session,
        tls: Some(["TLSv1.3", "TLS_AES_128_GCM_SHA256"]),
        user_agents: vec!["one".into()],
    };
    let vpc = Network::Vpc {
        id: "vpc-1",
        endpoint: Some("vpce-1"),
        address: Some([10, 0, 0, 1].into()),
    };
    let public = Network::Public([192, 0, 2, 7].into());
    let contexts = [
        (&alice, judge.context(0, &alice, public, shown(None))),
        (
            &worker,
            judge.context(0, &worker, vpc, shown(Some(&session))),
        ),
    ];
    let mut swf = false;
    for (caller, context) in &contexts {
        for (action, body) in CALLS {
            let call = read_call(action, body.as_bytes()).expect("a right body");
            let domain = |_: &str| Some("orders".to_owned());
            let ruling = judge.call(0, caller, &call, domain, context, None);
            let ruling = ruling.expect("it is judged");
            match ruling.refused() {
                Some((_, decision)) => {
                    assert_eq!(decision.reason, Reason::ExplicitDeny, "{key} {action}");
                    swf = true;
                }
                None => assert!(ruling.is_allowed()),
            }
        }
    }
    let tag = Tag {
        key: "any".into(),
        value: "one".into(),
        reach: Reach::Transitive,
    };
    let wish = AssumeRole {
        role: WORKER.into(),
        session_name: "one".into(),
        seconds: 900,
        policy: None,
        tags: vec![tag],
        external_id: Some("one".into()),
        source_identity: Some("alice".into()),
    };
    let lots = Lots {
        id: [0; 10],
        secret: [0; 30],
    };
    let asker = Asker::User {
        access_key_id: "AKIAAAAAAAAAAAAAAAAA",
        caller: &alice,
    };
    let [(_, context), _] = &contexts;
    let call = sts::Call::AssumeRole(Box::new(wish));
    let role = match sts::decide(&judge, &call, asker, context, at, lots) {
        Ok(_) => false,
        Err(sts::Fault::AccessDenied { reason, .. }) => {
            assert_eq!(reason, Some(Reason::ExplicitDeny), "{key}");
            true
        }
        Err(fault) => panic!("{key}: {fault}"),
    };
    [swf, role]
}

/// A name for a key of the list: what stands after a slash may be anything.
fn named(known: &str) -> String {
    match known.strip_suffix('*').unwrap_or(known) {
        stem if stem.ends_with('/') => format!("{stem}any"),
        name => name.to_owned(),
    }
}

#[test]
fn each_key_is_one_that_some_request_has_or_it_is_known_why_none_has() {
    let possible = |presence: Global| matches!(presence, Global::Possible);
    let of_swf = GLOBAL
        .iter()
        .filter(|(.., presence)| possible(*presence))
        .map(|(known, ..)| *known)
        .chain(swf::condition_key_names());
    for key in of_swf.map(named) {
        let [swf, _] = is_filled(&key);
        assert!(
            swf,
            "a Deny on `{key}` never denies: fill it, or refuse documents that name it"
        );
    }
    for key in sts::KEYS.into_iter().chain(["iam:ResourceTag/"]).map(named) {
        let [swf, role] = is_filled(&key);
        assert!(
            role && !swf && is_of_roles(&key.to_ascii_lowercase()),
            "{key}"
        );
    }
    let never = GLOBAL
        .iter()
        .filter(|(.., presence)| matches!(presence, Global::Never))
        .map(|(known, ..)| *known)
        .chain(sts::OTHER_KEYS);
    for key in never {
        let reason = NEVER.iter().find(|(known, _)| *known == key);
        assert!(reason.is_some(), "why does no request have `{key}`?");
    }
}

#[test]
fn what_no_request_has_is_read_as_such() {
    for (key, reason) in NEVER {
        let key = named(key);
        let read = Key::new(&key).unwrap_or_else(|fault| panic!("{key}: {fault:?}"));
        assert_eq!(read.presence(), Presence::Never, "{key}");
        assert!(!reason.is_empty());
        assert_eq!(is_filled(&key), [false, false], "{key}");
    }
}
