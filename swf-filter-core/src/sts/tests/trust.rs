//! Who may assume a role, each rule with the page of AWS's documentation that says so.

use proptest::prelude::*;

use super::*;
use crate::iam::authorize::Reason;

struct Rule {
    /// Below `docs.aws.amazon.com/IAM/latest/UserGuide/`.
    page: &'static str,
    says: &'static str,
    caller: &'static str,
    setting: Setting,
    wish: AssumeRole,
    /// Why not; none if it is allowed.
    reason: Option<Reason>,
}

fn allow(action: &str) -> Value {
    json!([{"Effect": "Allow", "Action": action, "Resource": "*"}])
}

fn deny() -> Value {
    json!([
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "sts:AssumeRole", "Resource": WORKER},
    ])
}

/// A trust policy for everybody of the account by name, on a condition.
fn trust_if(condition: &Value) -> Value {
    json!([{"Effect": "Allow", "Action": "sts:*", "Principal": {"AWS": ALICE}, "Condition": condition}])
}

const LOGIC: &str = "reference_policies_evaluation-logic.html";
const ONE_ACCOUNT: &str =
    "reference_policies_evaluation-logic_policy-eval-basics-single-account.html";
const CROSS_ACCOUNT: &str = "reference_policies_evaluation-logic-cross-account.html";
const BOUNDARIES: &str = "access_policies_boundaries.html";
const SESSIONS: &str = "access_policies.html#policies_session";
const PRINCIPAL: &str = "reference_policies_elements_principal.html";
const TAGS: &str = "id_session-tags.html";
const EXTERNAL_ID: &str = "id_roles_common-scenarios_third-party.html";
const STS_KEYS: &str = "reference_policies_iam-condition-keys.html";
const GLOBAL_KEYS: &str = "reference_policies_condition-keys.html";
const SOURCE_IDENTITY: &str = "id_credentials_temp_control-access_monitor.html";
const ABAC: &str = "tutorial_attribute-based-access-control.html";

macro_rules! rules {
    ($($page:ident $says:literal: $caller:ident { $($field:ident: $value:expr),* } $({ $($asked:ident: $wish:expr),* })? => $($reason:ident)?;)*) => {
        vec![$({
            #[allow(unused_mut, reason = "a rule may be about a plain request")]
            let mut wish = wish();
            $($(wish.$asked = $wish;)*)?
            #[allow(unused_mut, unused_assignments, reason = "a rule may be about a request that is allowed")]
            let mut reason = None;
            $(reason = Some(Reason::$reason);)?
            Rule {
                page: $page,
                says: $says,
                caller: $caller,
                setting: Setting { $($field: $value.into(),)* ..Setting::default() },
                wish,
                reason,
            }
        }),*]
    };
}

#[expect(clippy::too_many_lines, reason = "it is a table")]
fn rules() -> Vec<Rule> {
    let account = json!({"AWS": "111122223333"});
    let alice = json!({"AWS": ALICE});
    let bob = json!({"AWS": BOB});
    let role = json!({"AWS": CALLING});
    let session = json!({"AWS": CALLING_SESSION});
    let other = json!([{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": &bob}]);
    let denied = json!([
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": &alice},
        {"Effect": "Deny", "Action": "sts:AssumeRole", "Principal": "*"},
    ]);
    let only_role = json!([{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": &alice}]);
    let exactly = |resource: &str| json!([{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": resource}]);
    let team = || vec![tag("team", "orders", Reach::Own)];
    rules! {
        LOGIC "what the caller may is not enough: the role has to trust":
            ALICE { identity: allow("*"), trust: other } => NoTrust;
        LOGIC "a deny of the trust policy wins":
            ALICE { identity: allow("*"), trust: denied } => ExplicitDeny;
        LOGIC "a deny of the caller's wins over a trust policy that names it":
            ALICE { identity: deny(), trust: trust(&alice) } => ExplicitDeny;
        ONE_ACCOUNT "in one account, a trust policy that names the user is enough":
            ALICE { trust: trust(&alice) } => ;
        ONE_ACCOUNT "in one account, a trust policy that names the role is enough":
            CALLING_SESSION { trust: trust(&role) } => ;
        PRINCIPAL "a session can be named":
            CALLING_SESSION { trust: trust(&session) } => ;
        PRINCIPAL "another principal means nobody else":
            ALICE { identity: allow("*"), trust: trust(&role) } => NoTrust;
        PRINCIPAL "a service is nobody who calls":
            ALICE { identity: allow("*"), trust: trust(&json!({"Service": "swf.amazonaws.com"})) } => NoTrust;
        PRINCIPAL "an account leaves it to the documents of its users, who have none":
            ALICE { trust: trust(&account) } => NoIdentityAllow;
        PRINCIPAL "an account leaves it to the documents of its users, which allow something else":
            ALICE { identity: allow("swf:*"), trust: trust(&account) } => NoIdentityAllow;
        PRINCIPAL "an account leaves it to the documents of its users, which allow another role":
            ALICE { identity: exactly(CALLING), trust: trust(&account) } => NoIdentityAllow;
        PRINCIPAL "an account leaves it to the documents of its users, which leave the role's path out":
            ALICE { identity: exactly("arn:aws:iam::111122223333:role/worker"), trust: trust(&account) } => NoIdentityAllow;
        PRINCIPAL "an account leaves it to the documents of its users, which allow it":
            ALICE { identity: exactly(WORKER), trust: trust(&account) } => ;
        CROSS_ACCOUNT "across accounts, what the caller may is not enough":
            BOB { identity: allow("*"), trust: trust(&account) } => NoTrust;
        CROSS_ACCOUNT "across accounts, a trust policy that names the user is not enough":
            BOB { trust: trust(&bob) } => NoIdentityAllow;
        CROSS_ACCOUNT "across accounts, both have to allow":
            BOB { identity: exactly(WORKER), trust: trust(&bob) } => ;
        CROSS_ACCOUNT "across accounts, everybody does not mean that nobody is asked":
            BOB { trust: trust(&json!("*")) } => NoIdentityAllow;
        BOUNDARIES "a boundary limits what the caller's documents allow":
            ALICE { identity: allow("*"), boundary: allow("swf:*"), trust: trust(&account) } => NoBoundaryAllow;
        BOUNDARIES "a boundary does not limit what is allowed to a user by name":
            ALICE { boundary: allow("swf:*"), trust: trust(&alice) } => ;
        BOUNDARIES "a boundary limits what is allowed to a role":
            CALLING_SESSION { boundary: allow("swf:*"), trust: trust(&role) } => NoBoundaryAllow;
        SESSIONS "a session policy limits what the role's documents allow":
            CALLING_SESSION { identity: allow("*"), session: allow("swf:*"), trust: trust(&account) } => NoSessionAllow;
        SESSIONS "a session policy limits what is allowed to the role":
            CALLING_SESSION { session: allow("swf:*"), trust: trust(&role) } => NoSessionAllow;
        SESSIONS "a session policy grants nothing":
            CALLING_SESSION { session: allow("*"), trust: trust(&account) } => NoIdentityAllow;
        SESSIONS "a deny in a session policy is explicit":
            CALLING_SESSION { session: deny(), trust: trust(&session) } => ExplicitDeny;
        EXTERNAL_ID "the external id is right":
            ALICE { trust: trust_if(&json!({"StringEquals": {"sts:ExternalId": "id-1"}})) }
            { external_id: Some("id-1".into()) } => ;
        EXTERNAL_ID "the external id is wrong":
            ALICE { trust: trust_if(&json!({"StringEquals": {"sts:ExternalId": "id-1"}})) }
            { external_id: Some("id-2".into()) } => NoTrust;
        EXTERNAL_ID "the external id is missing":
            ALICE { trust: trust_if(&json!({"StringEquals": {"sts:ExternalId": "id-1"}})) } => NoTrust;
        STS_KEYS "the session has to be called as the user":
            ALICE { trust: trust_if(&json!({"StringLike": {"sts:RoleSessionName": "${aws:username}"}})) }
            { session_name: "alice".into() } => ;
        STS_KEYS "the session is called something else":
            ALICE { trust: trust_if(&json!({"StringLike": {"sts:RoleSessionName": "${aws:username}"}})) } => NoTrust;
        GLOBAL_KEYS "the address is right":
            ALICE { trust: trust_if(&json!({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}})) } => ;
        GLOBAL_KEYS "the address is wrong":
            ALICE { trust: trust_if(&json!({"IpAddress": {"aws:SourceIp": "192.0.3.0/24"}})) } => NoTrust;
        GLOBAL_KEYS "the user's tag is right":
            ALICE { trust: trust_if(&json!({"StringEquals": {"aws:PrincipalTag/desk": "3"}})) } => ;
        GLOBAL_KEYS "the user's tag is wrong":
            ALICE { trust: trust_if(&json!({"StringEquals": {"aws:PrincipalTag/desk": "4"}})) } => NoTrust;
        GLOBAL_KEYS "users without session have no time of issue":
            ALICE { trust: trust_if(&json!({"Null": {"aws:TokenIssueTime": "true"}})) } => ;
        GLOBAL_KEYS "there is no MFA":
            ALICE { trust: trust_if(&json!({"Bool": {"aws:MultiFactorAuthPresent": "true"}})) } => NoTrust;
        ABAC "the role's tag is right":
            ALICE { identity: json!([{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*",
                "Condition": {"StringEquals": {"iam:ResourceTag/team": "orders"}}}]), trust: trust(&account) } => ;
        ABAC "the role's tag is wrong":
            ALICE { identity: json!([{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*",
                "Condition": {"StringEquals": {"iam:ResourceTag/team": "${aws:PrincipalTag/desk}"}}}]), trust: trust(&account) }
            => NoIdentityAllow;
        TAGS "tags need a permission of their own":
            ALICE { trust: only_role.clone() } { tags: team() } => NoTrust;
        TAGS "no tags need none":
            ALICE { trust: only_role.clone() } => ;
        TAGS "tags that are asked for are right":
            ALICE { trust: trust_if(&json!({"StringEquals": {"aws:RequestTag/team": "orders"}})) } { tags: team() } => ;
        TAGS "tags that are asked for are wrong":
            ALICE { trust: trust_if(&json!({"StringEquals": {"aws:RequestTag/team": "sales"}})) } { tags: team() } => NoTrust;
        TAGS "a tag that may not be asked for":
            ALICE { trust: trust_if(&json!({"ForAllValues:StringEquals": {"aws:TagKeys": ["desk"]}})) } { tags: team() }
            => NoTrust;
        TAGS "a tag that may be asked for":
            ALICE { trust: trust_if(&json!({"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}})) } { tags: team() } => ;
        TAGS "a tag that may not be transitive":
            ALICE { trust: trust_if(&json!({"Null": {"sts:TransitiveTagKeys": "true"}})) }
            { tags: vec![tag("team", "orders", Reach::Transitive)] } => NoTrust;
        SOURCE_IDENTITY "a source identity needs a permission of its own":
            ALICE { trust: only_role.clone() } { source_identity: Some("alice".into()) } => NoTrust;
        SOURCE_IDENTITY "a source identity is right":
            ALICE { trust: trust_if(&json!({"StringEquals": {"sts:SourceIdentity": "alice"}})) }
            { source_identity: Some("alice".into()) } => ;
        SOURCE_IDENTITY "a source identity is wrong":
            ALICE { trust: trust_if(&json!({"StringEquals": {"sts:SourceIdentity": "alice"}})) }
            { source_identity: Some("mallory".into()) } => NoTrust;
    }
}

#[test]
fn roles_are_assumed_as_the_user_guide_says() {
    for rule in rules() {
        let found = match assume(&rule.setting, rule.caller, rule.wish, |_| ()) {
            Ok(_) => None,
            Err(Fault::AccessDenied { reason, .. }) => reason,
            Err(fault) => panic!("{}: {fault}", rule.says),
        };
        assert_eq!(found, rule.reason, "{} ({})", rule.says, rule.page);
    }
}

fn trusting(principal: &Value) -> Setting {
    Setting {
        trust: trust(principal),
        ..Setting::default()
    }
}

#[test]
fn the_session_is_what_was_asked_for() {
    let wish = AssumeRole {
        seconds: 900,
        policy: Some(document(&allow("swf:*")).into()),
        tags: vec![tag("team", "sales", Reach::Transitive)],
        source_identity: Some("alice".into()),
        ..wish()
    };
    let setting = trusting(&json!({"AWS": ALICE}));
    let outcome = assume(&setting, ALICE, wish.clone(), |_| ()).expect("it is allowed");
    let session = outcome.session().expect("a session");
    assert_eq!(
        &**session.caller.arn(),
        "arn:aws:sts::111122223333:assumed-role/worker/one"
    );
    assert_eq!(session.caller.role().map(|role| &**role), Some(WORKER));
    assert_eq!(session.expires.as_second() - now().as_second(), 900);
    assert_eq!(session.access_key_id.as_ref(), "ASIAAAAAAAAAAAAAAAAA");
    assert_eq!(session.tags, wish.tags);
    assert_eq!(session.policy, wish.policy);
    assert_eq!(session.source_identity, wish.source_identity);
    assert!(session.index().is_some());
    let judge = judge(&setting);
    let network = Network::Public([192, 0, 2, 7].into());
    let context = judge.context(0, &session.caller, network, Shown::default());
    assert_eq!(context.single("aws:principaltag/team"), Some("orders"));
    let shown = Shown {
        session: Some(session),
        ..Shown::default()
    };
    let context = judge.context(0, &session.caller, network, shown);
    for (key, value) in [
        ("aws:principaltag/team", "sales"),
        ("aws:principalarn", WORKER),
        ("aws:userid", "AROAWORKER:one"),
        ("aws:tokenissuetime", "2023-11-14T22:13:20Z"),
    ] {
        assert_eq!(context.single(key), Some(value), "{key}");
    }
}

#[test]
fn a_role_from_a_role_lasts_an_hour() {
    let setting = trusting(&json!({"AWS": [CALLING, ALICE]}));
    let of = |seconds, caller| {
        let wish = AssumeRole { seconds, ..wish() };
        assume(&setting, caller, wish, |_| ()).map_err(|fault| fault.code())
    };
    assert!(of(3_600, CALLING_SESSION).is_ok());
    assert_eq!(
        of(3_601, CALLING_SESSION).err(),
        Some((400, "ValidationError"))
    );
    assert!(of(7_200, ALICE).is_ok());
    // The role's own limit.
    assert_eq!(of(7_201, ALICE).err(), Some((400, "ValidationError")));
}

#[test]
fn transitive_tags_and_the_source_identity_are_handed_on() {
    let setting = trusting(&json!({"AWS": CALLING}));
    let own = [
        tag("team", "sales", Reach::Transitive),
        tag("desk", "4", Reach::Own),
    ];
    let alter = |session: &mut Session| {
        session.tags = own.to_vec();
        session.source_identity = Some("alice".into());
    };
    let outcome = assume(&setting, CALLING_SESSION, wish(), alter).expect("it is allowed");
    let session = outcome.session().expect("a session");
    assert_eq!(session.tags, own[..1]);
    assert_eq!(session.source_identity.as_deref(), Some("alice"));
    let changed = [
        AssumeRole {
            tags: vec![tag("Team", "orders", Reach::Own)],
            ..wish()
        },
        AssumeRole {
            source_identity: Some("mallory".into()),
            ..wish()
        },
    ];
    for wish in changed {
        let fault = assume(&setting, CALLING_SESSION, wish, alter).expect_err("it is changed");
        assert_eq!(fault.code(), (400, "InvalidParameterValue"));
    }
    // What is handed on needs the permission, too.
    let only_role = Setting {
        trust: json!([{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": CALLING}}]),
        ..Setting::default()
    };
    assert!(assume(&only_role, CALLING_SESSION, wish(), |_| ()).is_ok());
    for alter in [
        (|session: &mut Session| session.tags = vec![tag("team", "sales", Reach::Transitive)])
            as fn(&mut Session),
        |session| session.source_identity = Some("alice".into()),
    ] {
        let fault =
            assume(&only_role, CALLING_SESSION, wish(), alter).expect_err("it is handed on");
        assert_eq!(fault.code(), (403, "AccessDenied"));
    }
    // The caller's own tags count, too, and win over those of its role.
    let tagged = Setting {
        trust: json!([{"Effect": "Allow", "Action": "sts:*", "Principal": {"AWS": CALLING},
            "Condition": {"StringEquals": {"aws:PrincipalTag/desk": "4"}}}]),
        ..Setting::default()
    };
    assert!(assume(&tagged, CALLING_SESSION, wish(), alter).is_ok());
    assert!(assume(&tagged, CALLING_SESSION, wish(), |_| ()).is_err());
}

#[test]
fn what_is_void_or_unknown_gets_nothing() {
    let setting = trusting(&json!("*"));
    let code = |caller, wish, alter: fn(&mut Session)| {
        assume(&setting, caller, wish, alter)
            .map_err(|fault| fault.code())
            .err()
    };
    assert_eq!(code(CALLING_SESSION, wish(), |_| ()), None);
    let expired = Some((403, "ExpiredToken"));
    assert_eq!(
        code(CALLING_SESSION, wish(), |session| session.expires = now()),
        expired
    );
    let unreadable = |session: &mut Session| session.policy = Some("{".into());
    assert_eq!(
        code(CALLING_SESSION, wish(), unreadable),
        Some((403, "AccessDenied"))
    );
    let unknown = Some((403, "InvalidClientTokenId"));
    for caller in [
        "arn:aws:iam::111122223333:user/mallory",
        "arn:aws:iam::111122223333:root",
        "arn:aws:sts::111122223333:assumed-role/gone/one",
    ] {
        assert_eq!(code(caller, wish(), |_| ()), unknown, "{caller}");
    }
    for role in [
        "arn:aws:iam::111122223333:role/gone",
        "arn:aws:iam::111122223333:role/worker",
        CALLING,
        ALICE,
    ] {
        let wish = AssumeRole {
            role: role.into(),
            ..wish()
        };
        assert_eq!(
            code(ALICE, wish, |_| ()),
            Some((403, "AccessDenied")),
            "{role}"
        );
    }
}

#[test]
fn policy_and_tags_fit_into_a_token() {
    use crate::seal::SealingKey;
    use crate::session::{LONGEST_TOKEN, Ring};

    let setting = trusting(&json!({"AWS": ALICE}));
    let of = |length: usize, tags: usize| {
        let tags = (0..tags).map(|number| tag(&format!("{number:0>100}"), "", Reach::Own));
        let policy = document(&allow("*"));
        let wish = AssumeRole {
            session_name: "n".repeat(64).into(),
            policy: Some(format!("{policy:length$}").into()),
            source_identity: Some("s".repeat(64).into()),
            tags: tags.collect(),
            ..wish()
        };
        assume(&setting, ALICE, wish, |_| ())
    };
    let outcome = of(2_022, 10).expect("it fits");
    assert!(matches!(
        outcome,
        Outcome::AssumeRole {
            packed: Some(100),
            ..
        }
    ));
    let fault = of(2_023, 10).expect_err("it does not fit");
    assert_eq!(fault.code(), (400, "PackedPolicyTooLarge"));
    let ring = Ring::new(vec![(1, SealingKey::new([1; 32]))]).expect("a ring");
    let mut session = outcome.session().expect("a session").clone();
    // The longest path that a role may have.
    session.caller = session
        .caller
        .with_role(format!("{WORKER}{}", "p".repeat(512)).into());
    let token = ring.seal(&session, [0; 24]);
    assert!(token.len() < LONGEST_TOKEN, "{}", token.len());
    assert!(ring.open(&token, &session.access_key_id).is_ok());
}

fn any_statement(has_principal: bool) -> impl Strategy<Value = Value> {
    let actions = ["sts:AssumeRole", "sts:*", "swf:*", "*"];
    let principals = [
        json!("*"),
        json!({"AWS": ALICE}),
        json!({"AWS": CALLING}),
        json!({"AWS": CALLING_SESSION}),
        json!({"AWS": "111122223333"}),
    ];
    let resources = [WORKER, CALLING, "*"];
    let conditions = [
        json!({}),
        json!({"StringEquals": {"sts:RoleSessionName": "one"}}),
        json!({"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}),
        json!({"Bool": {"aws:MultiFactorAuthPresent": "false"}}),
    ];
    let parts = (0..4usize, 0..5usize, 0..3usize, 0..4usize);
    (parts, any::<[bool; 3]>()).prop_map(
        move |((action, principal, resource, condition), [denies, not_action, not_resource])| {
            let mut statement = json!({"Effect": if denies { "Deny" } else { "Allow" }});
            let action_name = if not_action { "NotAction" } else { "Action" };
            statement[action_name] = json!(actions[action]);
            statement["Condition"] = conditions[condition].clone();
            if has_principal {
                statement["Principal"] = principals[principal].clone();
            } else {
                let name = if not_resource {
                    "NotResource"
                } else {
                    "Resource"
                };
                statement[name] = json!(resources[resource]);
            }
            statement
        },
    )
}

fn any_statements(has_principal: bool) -> impl Strategy<Value = Value> {
    proptest::collection::vec(any_statement(has_principal), 1..4).prop_map(Value::Array)
}

proptest! {
    /// The bug of minio GHSA-jjjj-jwhf-8rgr cannot be: with a session policy nobody is allowed what is denied without.
    #[test]
    fn session_policies_only_narrow(
        identity in any_statements(false),
        boundary in proptest::option::of(any_statements(false)),
        session in any_statements(false),
        trust in any_statements(true),
    ) {
        let limited = Setting { identity: Some(identity), boundary, session: Some(session), trust };
        let free = Setting { session: None, ..limited.clone() };
        if assume(&limited, CALLING_SESSION, wish(), |_| ()).is_ok() {
            prop_assert!(assume(&free, CALLING_SESSION, wish(), |_| ()).is_ok());
        }
    }

    /// The same about SWF, where the host's documents allow besides the role's.
    #[test]
    fn session_policies_only_narrow_calls_of_swf(
        identity in any_statements(false),
        session in any_statements(false),
        host in any_statements(true),
    ) {
        use crate::iam::authorize::{Index, Policies, Request, authorize};
        use crate::iam::{Kind, parse};
        use crate::policy::Problems;
        use crate::swf::Action;

        let index = |statements: &Value, kind| {
            let file = SourceFile { name: "a".into(), bytes: document(statements).as_bytes().into() };
            Index::new(vec![Arc::new(parse(&file, kind, &mut Problems::default()).expect("a right document"))])
        };
        let mut host = host;
        for statement in host.as_array_mut().expect("a list") {
            statement["Resource"] = json!("*");
        }
        let identity = index(&identity, Kind::Identity);
        let host = index(&host, Kind::Resource);
        let limit = Session { policy: Some(document(&session).into()), ..session_of(CALLING_SESSION, &Judge::default()) };
        let caller = &limit.caller;
        let limit = limit.index();
        let allows = |session| {
            let policies = Policies { identity: Some(&identity), resource: Some(&host), session, ..Policies::default() };
            let request = Request {
                caller,
                action: Action::ListDomains.into(),
                resource: "arn:aws:swf:us-east-1:111122223333:/domain/*",
                context: &Context::default(),
            };
            authorize(&policies, request).is_allowed()
        };
        prop_assert!(allows(None) || !allows(limit.as_ref()));
    }
}
