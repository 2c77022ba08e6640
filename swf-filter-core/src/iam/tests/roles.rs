//! Statements about roles: `sts:` actions and keys, read and decided beside those of SWF.

use serde_json::{Value, json};

use super::{Reason, index, read};
use crate::iam::authorize::{Policies, Request, authorize, authorize_role};
use crate::iam::principal::Caller;
use crate::iam::{Context, Kind};
use crate::policy::Problem;
use crate::sts;
use crate::swf::Action;

const ALICE: &str = "arn:aws:iam::111122223333:user/alice";
const WORKER: &str = "arn:aws:iam::111122223333:role/worker";

fn statement(action: &Value, element: &str) -> Value {
    json!({"Statement": {"Effect": "Allow", element: action, "Resource": "*"}})
}

#[test]
fn patterns_name_actions_of_sts() {
    use sts::Action::{AssumeRole, SetSourceIdentity, TagSession};
    let all = [AssumeRole, SetSourceIdentity, TagSession];
    for (element, action, expected) in [
        ("Action", json!("sts:AssumeRole"), &[AssumeRole][..]),
        ("Action", json!("STS:assumerole*"), &[AssumeRole]),
        ("Action", json!(["sts:TagSession", "swf:*"]), &[TagSession]),
        ("Action", json!("sts:*"), &all),
        ("Action", json!("*"), &all),
        ("Action", json!("swf:*"), &[]),
        ("Action", json!("sts:GetCallerIdentity"), &[]),
        ("Action", json!("s3:*"), &[]),
        ("NotAction", json!("swf:*"), &all),
        (
            "NotAction",
            json!("sts:Assume*"),
            &[SetSourceIdentity, TagSession],
        ),
        ("NotAction", json!("sts:*"), &[]),
    ] {
        let document = read(&statement(&action, element).to_string(), Kind::Identity);
        let actions = &document.expect("a right document").statements[0].actions;
        let found: Vec<_> = all
            .into_iter()
            .filter(|action| actions.sts.contains(*action))
            .collect();
        assert_eq!(found, expected, "{element}: {action}");
    }
}

#[test]
fn names_that_sts_does_not_have_are_refused() {
    let words = |action: &str, condition: &Value| {
        let document = json!({"Statement": {"Effect": "Deny", "Action": action, "Principal": "*", "Condition": condition}});
        read(&document.to_string(), Kind::Trust)
            .err()
            .map(|problems| {
                let help = problems.list.first().and_then(Problem::help);
                format!("{problems} {}", help.unwrap_or_default())
            })
    };
    let key = |key: &str| json!({"StringEquals": {key: "x"}});
    let action = "sts:AssumeRole";
    for (action, condition, expected) in [
        (
            "sts:AssumeRoll",
            json!({}),
            "did you mean `sts:AssumeRole`?",
        ),
        ("sts:Begin*", json!({}), "STS has no action `sts:Begin*`"),
        (
            action,
            key("sts:ExternalIdd"),
            "did you mean `sts:ExternalId`?",
        ),
        (
            action,
            key("stss:ExternalId"),
            "did you mean `sts:ExternalId`?",
        ),
        (action, key("sts:RequestContext/"), "no condition key"),
    ] {
        let words = words(action, &condition).unwrap_or_default();
        assert!(words.contains(expected), "{words}");
    }
    for known in [
        "sts:externalid",
        "sts:RequestContext/a",
        "sts:TaskPolicyArn",
        "iam:ResourceTag/team",
    ] {
        assert_eq!(words(action, &key(known)), None, "{known}");
    }
}

/// A statement about one service says nothing of the other's actions, in either direction.
#[test]
fn services_are_apart() {
    let context = Context::default();
    let caller = Caller::from_arn(ALICE).expect("a caller");
    let allows = |action: &Value, asked| {
        let identity = index(Kind::Identity, &statement(action, "Action"));
        let policies = Policies {
            identity: Some(&identity),
            ..Policies::default()
        };
        let request = Request {
            caller: &caller,
            action: asked,
            resource: WORKER,
            context: &context,
        };
        authorize(&policies, request).is_allowed()
    };
    let swf = Action::ListDomains.into();
    let sts = sts::Action::AssumeRole.into();
    for (action, of_swf, of_sts) in [
        (json!("swf:*"), true, false),
        (json!("sts:*"), false, true),
        (json!("*"), true, true),
        (json!("iam:*"), false, false),
    ] {
        assert_eq!(allows(&action, swf), of_swf, "{action}");
        assert_eq!(allows(&action, sts), of_sts, "{action}");
    }
}

/// IAM User Guide, "Policy evaluation logic": who may assume a role is what its trust policy says, in one account too.
#[test]
fn what_the_caller_has_is_not_enough_for_a_role() {
    let identity = index(Kind::Identity, &statement(&json!("*"), "Action"));
    let decide = |trust: &Value| {
        let trust = json!({"Statement": trust});
        let trust = index(Kind::Trust, &trust);
        let policies = Policies {
            identity: Some(&identity),
            resource: Some(&trust),
            account: Some("111122223333"),
            ..Policies::default()
        };
        let request = Request {
            caller: &Caller::from_arn(ALICE).expect("a caller"),
            action: sts::Action::AssumeRole.into(),
            resource: WORKER,
            context: &Context::default(),
        };
        authorize_role(&policies, request).reason
    };
    let allow = |principal: &Value| json!({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal});
    assert_eq!(
        decide(&allow(&json!({"AWS": "111122223333"}))),
        Reason::Allowed
    );
    assert_eq!(
        decide(&allow(&json!({"AWS": "444455556666"}))),
        Reason::NoTrust
    );
    assert_eq!(
        decide(&allow(&json!({"Service": "swf.amazonaws.com"}))),
        Reason::NoTrust
    );
    let deny = json!({"Effect": "Deny", "Action": "sts:*", "Principal": "*"});
    assert_eq!(
        decide(&json!([allow(&json!("*")), deny])),
        Reason::ExplicitDeny
    );
}
