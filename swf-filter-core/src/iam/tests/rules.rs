//! The rules by which statements come to one decision, each with the page of AWS's IAM User Guide that says so.

use serde_json::{Value, json};

use super::{Reason, index};
use crate::iam::authorize::{Policies, Request, authorize};
use crate::iam::principal::Caller;
use crate::iam::{Context, Kind};
use crate::swf::Action;

const ACCOUNT: &str = "111122223333";
const ALICE: &str = "arn:aws:iam::111122223333:user/alice";
const MALLORY: &str = "arn:aws:iam::444455556666:user/mallory";
const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/worker/one";
const ROLE: &str = "arn:aws:iam::111122223333:role/worker";

/// What is attached, as statements, and the decision about a start of a workflow execution.
struct Rule {
    /// Below `docs.aws.amazon.com/IAM/latest/UserGuide/`.
    page: &'static str,
    says: &'static str,
    caller: &'static str,
    identity: Option<Value>,
    boundary: Option<Value>,
    session: Option<Value>,
    resource: Option<Value>,
    reason: Reason,
}

fn allow() -> Value {
    json!([{"Effect": "Allow", "Action": "swf:*", "Resource": "*"}])
}

fn allow_another() -> Value {
    json!([{"Effect": "Allow", "Action": "swf:ListDomains", "Resource": "*"}])
}

fn deny() -> Value {
    json!([
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "swf:Start*", "Resource": "*"},
    ])
}

fn allow_to(principal: &Value) -> Value {
    json!([{"Effect": "Allow", "Principal": principal, "Action": "swf:*", "Resource": "*"}])
}

fn deny_all_but(principal: &str) -> Value {
    json!([
        {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "NotPrincipal": {"AWS": principal}, "Action": "*", "Resource": "*"},
    ])
}

const LOGIC: &str = "reference_policies_evaluation-logic.html";
const DENY_ALLOW: &str = "reference_policies_evaluation-logic_policy-eval-denyallow.html";
const ONE_ACCOUNT: &str =
    "reference_policies_evaluation-logic_policy-eval-basics-single-account.html";
const CROSS_ACCOUNT: &str = "reference_policies_evaluation-logic-cross-account.html";
const BOUNDARIES: &str = "access_policies_boundaries.html";
const SESSIONS: &str = "access_policies.html#policies_session";
const PRINCIPAL: &str = "reference_policies_elements_principal.html";
const NOT_PRINCIPAL: &str = "reference_policies_elements_notprincipal.html";

macro_rules! rules {
    ($($page:ident $says:literal: $caller:ident { $($field:ident: $value:expr),* } => $reason:ident;)*) => {
        vec![$({
            #[allow(unused_mut, reason = "a rule may be about nobody who has documents")]
            let mut rule = Rule {
                page: $page,
                says: $says,
                caller: $caller,
                identity: None,
                boundary: None,
                session: None,
                resource: None,
                reason: Reason::$reason,
            };
            $(rule.$field = Some($value);)*
            rule
        }),*]
    };
}

fn rules() -> Vec<Rule> {
    let everybody = json!("*");
    let account = json!({"AWS": ACCOUNT});
    let alice = json!({"AWS": ALICE});
    let mallory = json!({"AWS": MALLORY});
    let role = json!({"AWS": ROLE});
    let session = json!({"AWS": SESSION});
    rules! {
        LOGIC "by default, all requests are denied":
            ALICE {} => NoAllow;
        LOGIC "what allows something else allows nothing":
            ALICE { identity: allow_another() } => NoAllow;
        LOGIC "an explicit allow overrides the default":
            ALICE { identity: allow() } => Allowed;
        LOGIC "an explicit deny overrides any allow, here of the same document":
            ALICE { identity: deny() } => ExplicitDeny;
        DENY_ALLOW "a deny of the caller's overrides an allow of the resource's":
            ALICE { identity: deny(), resource: allow_to(&alice) } => ExplicitDeny;
        DENY_ALLOW "a deny in a boundary is explicit":
            ALICE { identity: allow(), boundary: deny() } => ExplicitDeny;
        DENY_ALLOW "a deny in a session policy is explicit":
            SESSION { identity: allow(), session: deny() } => ExplicitDeny;
        ONE_ACCOUNT "within an account, an allow of the caller's is enough":
            ALICE { identity: allow(), resource: allow_to(&mallory) } => Allowed;
        ONE_ACCOUNT "within an account, an allow of the resource's is enough":
            ALICE { identity: allow_another(), resource: allow_to(&alice) } => Allowed;
        ONE_ACCOUNT "everybody is allowed by name, too":
            ALICE { resource: allow_to(&everybody) } => Allowed;
        PRINCIPAL "an account as principal hands its permission on by its own documents":
            ALICE { identity: allow_another(), resource: allow_to(&account) } => NoIdentityAllow;
        PRINCIPAL "a role as principal means its sessions":
            SESSION { identity: allow_another(), resource: allow_to(&role) } => Allowed;
        PRINCIPAL "a session as principal means itself":
            SESSION { identity: allow_another(), resource: allow_to(&session) } => Allowed;
        PRINCIPAL "another principal means nobody else":
            ALICE { resource: allow_to(&role) } => NoAllow;
        CROSS_ACCOUNT "across accounts, an allow of the caller's is not enough":
            MALLORY { identity: allow() } => NoResourceAllow;
        CROSS_ACCOUNT "across accounts, an allow of the resource's is not enough":
            MALLORY { resource: allow_to(&mallory) } => NoIdentityAllow;
        CROSS_ACCOUNT "across accounts, both have to allow":
            MALLORY { identity: allow(), resource: allow_to(&mallory) } => Allowed;
        CROSS_ACCOUNT "across accounts, a deny of either counts":
            MALLORY { identity: deny(), resource: allow_to(&mallory) } => ExplicitDeny;
        BOUNDARIES "a boundary grants nothing":
            ALICE { boundary: allow() } => NoAllow;
        BOUNDARIES "a boundary limits what the caller's documents allow":
            ALICE { identity: allow(), boundary: allow_another() } => NoBoundaryAllow;
        BOUNDARIES "what both allow is allowed":
            ALICE { identity: allow(), boundary: allow() } => Allowed;
        BOUNDARIES "a boundary does not limit what is allowed to a user by name":
            ALICE { boundary: allow_another(), resource: allow_to(&alice) } => Allowed;
        BOUNDARIES "a boundary limits what is allowed to a role":
            SESSION { boundary: allow_another(), resource: allow_to(&role) } => NoBoundaryAllow;
        BOUNDARIES "a boundary does not limit what is allowed to a session by name":
            SESSION { boundary: allow_another(), resource: allow_to(&session) } => Allowed;
        SESSIONS "a session policy grants nothing":
            SESSION { session: allow() } => NoAllow;
        SESSIONS "a session policy limits what the role's documents allow":
            SESSION { identity: allow(), session: allow_another() } => NoSessionAllow;
        SESSIONS "a session policy limits what is allowed to the role":
            SESSION { session: allow_another(), resource: allow_to(&role) } => NoSessionAllow;
        SESSIONS "a session policy does not limit what is allowed to the session by name":
            SESSION { session: allow_another(), resource: allow_to(&session) } => Allowed;
        SESSIONS "boundary and session policy have to allow both":
            SESSION { identity: allow(), boundary: allow_another(), session: allow() } => NoBoundaryAllow;
        NOT_PRINCIPAL "a deny spares whom it names":
            ALICE { resource: deny_all_but(ALICE) } => Allowed;
        NOT_PRINCIPAL "and nobody else":
            SESSION { identity: allow(), resource: deny_all_but(ALICE) } => ExplicitDeny;
        NOT_PRINCIPAL "whoever has a boundary is denied, even if named":
            ALICE { identity: allow(), boundary: allow(), resource: deny_all_but(ALICE) } => ExplicitDeny;
    }
}

#[test]
fn statements_come_to_what_the_user_guide_says() {
    for rule in rules() {
        let of = |statements: Option<Value>, kind| {
            statements.map(|statements| {
                index(
                    kind,
                    &json!({"Version": "2012-10-17", "Statement": statements}),
                )
            })
        };
        let boundary = of(rule.boundary, Kind::Identity);
        let session = of(rule.session, Kind::Identity);
        let resource = of(rule.resource, Kind::Resource);
        // That the caller's documents are known, and are none, differs from not knowing them.
        let identity = of(rule.identity, Kind::Identity).unwrap_or_default();
        let policies = Policies {
            identity: Some(&identity),
            boundary: boundary.as_ref(),
            session: session.as_ref(),
            resource: resource.as_ref(),
            account: Some(ACCOUNT),
        };
        let request = Request {
            caller: &Caller::from_arn(rule.caller).expect("a caller"),
            action: Action::StartWorkflowExecution.into(),
            resource: "arn:aws:swf:us-east-1:111122223333:/domain/orders",
            context: &Context::default(),
        };
        let reason = authorize(&policies, request).reason;
        assert_eq!(reason, rule.reason, "{} ({})", rule.says, rule.page);
    }
}
