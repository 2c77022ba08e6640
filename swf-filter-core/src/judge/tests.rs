use std::io;
use std::path::Path;

use super::*;
use crate::policy::{SourceFile, parse};
use crate::session::{Reach, Tag};
use crate::sts::{Asker, Call as StsCall, Lots, Outcome, decide};

const POLICY: &str = r#"
    version = 1
    [[host]]
    name = "swf"
    addresses = ["198.51.100.10"]
    resource_policies = ["host.json"]
    [[account]]
    id = "111122223333"
    [[user]]
    name = "alice"
    [[user]]
    name = "bob"
    id = "AIDABOB"
    [[role]]
    name = "worker"
    path = "/team/"
    tags = { team = "of the role", desk = "of the role" }
    [[role]]
    name = "other"
    id = "AROAOTHER"
"#;
const ALICE: &str = "arn:aws:iam::111122223333:user/alice";
const WORKER: &str = "arn:aws:sts::111122223333:assumed-role/worker/one";

fn judge(policy: &str, document: &str) -> Judge {
    let file = SourceFile {
        name: "a.toml".into(),
        bytes: policy.as_bytes().into(),
    };
    let mut read = |_: &Path| -> io::Result<Arc<[u8]>> { Ok(document.as_bytes().into()) };
    Judge::new(&parse(&[file], &mut read).expect("a right policy"))
}

const NOTHING: &str =
    r#"{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*", "Principal": "*"}}"#;

fn public<'a>() -> Network<'a> {
    Network::Public([192, 0, 2, 7].into())
}

fn session(judge: &Judge, caller: &Caller) -> Session {
    Session {
        access_key_id: "ASIAAAAAAAAAAAAAAAAA".into(),
        secret: crate::credentials::secret([1; 30]),
        caller: caller.clone(),
        unique_id: Box::from(&*judge.identity(caller).expect("a user or role").id),
        parent: None,
        issued: Timestamp::from_second(1_700_000_000).expect("a time"),
        expires: Timestamp::from_second(1_700_003_600).expect("a time"),
        policy: None,
        source_identity: None,
        tags: Vec::new(),
    }
}

/// What `GetCallerIdentity` answers a caller.
fn told(judge: &Judge, caller: &Caller) -> String {
    let session = session(judge, caller);
    let asker = match caller.kind() {
        CallerKind::Session => Asker::Session(&session),
        _ => Asker::User {
            access_key_id: "AKIAAAAAAAAAAAAAAAAA",
            caller,
        },
    };
    let lots = Lots {
        id: [0; 10],
        secret: [0; 30],
    };
    let call = StsCall::GetCallerIdentity;
    let context = Context::default();
    match decide(judge, &call, asker, &context, session.issued, lots) {
        Ok(Outcome::GetCallerIdentity { user_id, .. }) => user_id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_user_id_is_what_a_caller_is_told_that_it_is() {
    let judge = judge(POLICY, NOTHING);
    for (arn, expected) in [
        (ALICE, "AIDA"),
        ("arn:aws:iam::111122223333:user/bob", "AIDABOB"),
        (WORKER, "AROA"),
        (
            "arn:aws:sts::111122223333:assumed-role/other/one",
            "AROAOTHER:one",
        ),
    ] {
        let caller = judge.caller(arn).expect("a caller");
        let context = judge.context(0, &caller, public(), Shown::default());
        let id = context.single("aws:userid").expect("a value");
        assert_eq!(id, told(&judge, &caller), "{arn}");
        assert!(id.starts_with(expected), "{id}");
        assert_eq!(id.ends_with(":one"), caller.role().is_some(), "{id}");
    }
}

#[test]
fn a_session_that_is_denied_by_its_user_id_is_denied() {
    let document = |name: &str| {
        format!(
            r#"{{"Statement": [{{"Effect": "Allow", "Action": "*", "Resource": "*", "Principal": "*"}},
            {{"Effect": "Deny", "Action": "*", "Resource": "*", "Principal": "*",
              "Condition": {{"StringLike": {{"aws:userid": "*:{name}"}}}}}}]}}"#
        )
    };
    // Whether or not there is a list of principals.
    let open = "version = 1\n[[host]]\nname = \"swf\"\naddresses = [\"198.51.100.10\"]\nresource_policies = [\"host.json\"]\n";
    for policy in [POLICY, open] {
        let is_allowed = |name: &str| {
            let judge = judge(policy, &document(name));
            let caller = judge.caller(WORKER).expect("a caller");
            let context = judge.context(0, &caller, public(), Shown::default());
            let arn = judge.domain(0, &caller, "orders").expect("documents");
            let action = Action::DescribeDomain;
            let decision = judge.decide(0, &caller, action, &arn, &context, None);
            decision.expect("it is judged").is_allowed()
        };
        assert!(!is_allowed("one") && is_allowed("two"), "{policy}");
    }
}

#[test]
fn a_session_tells_of_itself() {
    let judge = judge(POLICY, NOTHING);
    let caller = judge.caller(WORKER).expect("a caller");
    let session = Session {
        tags: vec![Tag {
            key: "Team".into(),
            value: "of the session".into(),
            reach: Reach::Own,
        }],
        source_identity: Some("alice".into()),
        ..session(&judge, &caller)
    };
    let shown = Shown {
        session: Some(&session),
        ..Shown::default()
    };
    let context = judge.context(0, &caller, public(), shown);
    for (key, value) in [
        ("aws:principaltag/team", "of the session"),
        ("aws:principaltag/desk", "of the role"),
        ("aws:tokenissuetime", "2023-11-14T22:13:20Z"),
        ("aws:multifactorauthpresent", "false"),
        ("aws:sourceidentity", "alice"),
    ] {
        assert_eq!(context.single(key), Some(value), "{key}");
    }
}

#[test]
fn a_session_of_which_no_more_is_known_is_a_new_one() {
    let judge = judge(POLICY, NOTHING);
    let at = session(&judge, &judge.caller(WORKER).expect("a caller")).issued;
    let context = |arn: &str, at| {
        let caller = judge.caller(arn).expect("a caller");
        let shown = Shown {
            at,
            ..Shown::default()
        };
        let context = judge.context(0, &caller, public(), shown);
        let keys = [
            "aws:CurrentTime",
            "aws:TokenIssueTime",
            "aws:MultiFactorAuthPresent",
        ];
        keys.map(|key| context.single(key).map(str::to_owned))
    };
    let time = Some("2023-11-14T22:13:20Z".to_owned());
    let no = Some("false".to_owned());
    assert_eq!(
        context(WORKER, Some(at)),
        [time.clone(), time.clone(), no.clone()]
    );
    assert_eq!(context(WORKER, None), [None, None, no]);
    assert_eq!(context(ALICE, Some(at)), [time, None, None]);
}

#[test]
fn a_field_that_is_there_twice_has_both_values() {
    let judge = judge(POLICY, NOTHING);
    let caller = judge.caller(WORKER).expect("a caller");
    let shown = Shown {
        referers: vec!["https://one.example/".into(), "https://two.example/".into()],
        user_agents: vec!["one".into(), "two".into()],
        ..Shown::default()
    };
    let context = judge.context(0, &caller, public(), shown);
    for (key, values) in [
        (
            "aws:Referer",
            ["https://one.example/", "https://two.example/"],
        ),
        ("aws:UserAgent", ["one", "two"]),
    ] {
        assert_eq!(context.values(key).collect::<Vec<_>>(), values);
    }
}

#[test]
fn credentials_are_those_of_one_id_and_not_of_a_name() {
    let is_taken = |policy: &str, arn: &str, id: &str| {
        let judge = judge(policy, NOTHING);
        let caller = judge.caller(arn).expect("a caller");
        judge.check_id(&caller, id)
    };
    let ids = |policy: &str| {
        let judge = judge(policy, NOTHING);
        [ALICE, WORKER].map(|arn| {
            let caller = judge.caller(arn).expect("a caller");
            judge.identity(&caller).expect("it is there").id.to_string()
        })
    };
    let made = ids(POLICY);
    for (arn, id) in [ALICE, WORKER].into_iter().zip(&made) {
        assert_eq!(is_taken(POLICY, arn, id), Ok(()));
        // The same name, another user or role: by an id that is stated, or by its path.
        let name = if arn == ALICE { "alice" } else { "worker" };
        let stated = POLICY.replace(
            &format!("name = \"{name}\""),
            &format!("name = \"{name}\"\n id = \"ANOTHER\""),
        );
        let refused = is_taken(&stated, arn, id).expect_err("it is another");
        assert!(
            matches!(refused, Refused::AnotherCaller { .. }),
            "{refused}"
        );
        assert_eq!(is_taken(&stated, arn, "ANOTHER"), Ok(()));
        assert!(
            is_taken(POLICY, arn, "ANOTHER").is_err(),
            "it was taken back"
        );
        let gone = POLICY.replace(&format!("name = \"{name}\""), "name = \"somebody\"");
        let refused = is_taken(&gone, arn, id).expect_err("it is gone");
        assert!(
            matches!(refused, Refused::UnknownCaller { .. }),
            "{refused}"
        );
    }
    let moved = POLICY.replace("/team/", "/other/");
    assert!(is_taken(&moved, WORKER, &made[1]).is_err());
}

#[test]
fn only_an_id_that_was_written_is_stated() {
    let judge = judge(POLICY, NOTHING);
    for (arn, stated) in [
        (ALICE, None),
        ("arn:aws:iam::111122223333:user/bob", Some("AIDABOB")),
        (WORKER, None),
        (
            "arn:aws:sts::111122223333:assumed-role/other/one",
            Some("AROAOTHER"),
        ),
    ] {
        let caller = judge.caller(arn).expect("a caller");
        let identity = judge.identity(&caller).expect("it is there");
        assert_eq!(identity.stated_id().map(|id| &**id), stated, "{arn}");
    }
}
