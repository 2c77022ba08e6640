use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::seal::SealingKey;

const WORKER: &str = "arn:aws:iam::111122223333:role/team/worker";

fn session() -> Session {
    let caller = Caller::from_arn("arn:aws:sts::111122223333:assumed-role/worker/one").unwrap();
    Session {
        access_key_id: "ASIAAAAAAAAAAAAAAAAA".into(),
        secret: Secret::new("a secret of forty characters, of no use.".into()),
        caller: caller.with_role(WORKER.into()),
        unique_id: "AROAWORKER".into(),
        parent: None,
        issued: Timestamp::from_second(1_700_000_000).unwrap(),
        expires: Timestamp::from_second(1_700_003_600).unwrap(),
        policy: None,
        source_identity: None,
        tags: Vec::new(),
    }
}

fn ring(keys: &[(KeyId, u8)]) -> Ring {
    let keys = keys.iter();
    Ring::new(
        keys.map(|(id, byte)| (*id, SealingKey::new([*byte; 32])))
            .collect(),
    )
    .unwrap()
}

const ID: &str = "ASIAAAAAAAAAAAAAAAAA";
const NONCE: [u8; 24] = [3; 24];

/// All of a session, its secret too.
fn all(session: &Session) -> String {
    format!("{session:?} {}", session.secret.expose())
}

fn any_session() -> impl Strategy<Value = Session> {
    let tag = ("[a-z]{1,9}", ".{0,20}", any::<bool>()).prop_map(|(key, value, lasts)| Tag {
        key: key.into(),
        value: value.into(),
        reach: if lasts { Reach::Transitive } else { Reach::Own },
    });
    let texts = (
        "ASIA[A-Z2-7]{16}",
        "[A-Za-z0-9+/]{40}",
        option::of("AKIA[A-Z2-7]{16}"),
        option::of(".{1,200}"),
        option::of("[a-z]{2,64}"),
        "[A-Z0-9]{4,21}",
    );
    let times = (any::<i32>(), any::<i32>());
    (texts, times, vec(tag, 0..5), any::<bool>()).prop_map(|(texts, times, tags, is_user)| {
        let (access_key_id, secret, parent, policy, source_identity, unique_id) = texts;
        let text = |text: Option<String>| text.map(Box::from);
        let user = Caller::from_arn("arn:aws:iam::111122223333:user/a/b").unwrap();
        Session {
            access_key_id: access_key_id.into(),
            secret: Secret::new(secret),
            caller: if is_user { user } else { session().caller },
            unique_id: unique_id.into(),
            parent: text(parent),
            issued: Timestamp::from_second(times.0.into()).unwrap(),
            expires: Timestamp::from_second(times.1.into()).unwrap(),
            policy: text(policy),
            source_identity: text(source_identity),
            tags,
        }
    })
}

proptest! {
    #[test]
    fn what_is_sealed_opens_as_it_was(session in any_session(), nonce in any::<[u8; 24]>()) {
        let ring = ring(&[(1, 1)]);
        let token = ring.seal(&session, nonce);
        let opened = ring.open(&token, &session.access_key_id).unwrap();
        prop_assert_eq!(all(&opened), all(&session));
    }

    #[test]
    fn garbage_does_not_open(token in vec(any::<u8>(), 0..200)) {
        use base64::Engine as _;
        let ring = ring(&[(1, 1)]);
        let mut token = token;
        prop_assert!(ring.open(&String::from_utf8_lossy(&token), ID).is_err());
        token.splice(0..0, [2, 0, 0, 0, 1]);
        let token = base64::engine::general_purpose::STANDARD.encode(token);
        prop_assert_eq!(ring.open(&token, ID).unwrap_err(), TokenFault::Altered);
    }
}

#[test]
fn an_altered_or_cut_token_does_not_open() {
    let ring = ring(&[(1, 1), (0, 1)]);
    let token = ring.seal(&session(), NONCE);
    assert!(ring.open(&token, ID).is_ok());
    for index in 0..token.len() {
        for flip in [1, 2, 32] {
            let mut altered = token.clone().into_bytes();
            altered[index] ^= flip;
            let Ok(altered) = String::from_utf8(altered) else {
                continue;
            };
            assert!(ring.open(&altered, ID).is_err(), "byte {index}, {flip}");
        }
        assert!(ring.open(&token[..index], ID).is_err(), "{index} bytes");
    }
    assert!(ring.open(&format!("{token}AAAA"), ID).is_err());
    assert!(ring.open(&format!("{token} "), ID).is_err());
}

/// The id is bound, too: a key that is there twice does not open what says it was sealed with the other.
#[test]
fn the_id_of_the_key_is_bound() {
    let token = ring(&[(1, 1)]).seal(&session(), NONCE);
    let other = ring(&[(2, 1)]).seal(&session(), NONCE);
    let both = ring(&[(1, 1), (2, 1)]);
    assert!(both.open(&token, ID).is_ok());
    assert!(both.open(&other, ID).is_ok());
    let mixed = format!("{}{}", &other[..8], &token[8..]);
    assert_eq!(both.open(&mixed, ID).unwrap_err(), TokenFault::Altered);
}

#[test]
fn keys_rotate() {
    let old = ring(&[(1, 1)]);
    let new = ring(&[(2, 2), (1, 1)]);
    let after = ring(&[(2, 2)]);
    let token = old.seal(&session(), NONCE);
    assert!(new.open(&token, ID).is_ok());
    let unknown = TokenFault::UnknownKey { id: 1 };
    assert_eq!(after.open(&token, ID).unwrap_err(), unknown);
    let token = new.seal(&session(), NONCE);
    assert!(after.open(&token, ID).is_ok());
    let unknown = TokenFault::UnknownKey { id: 2 };
    assert_eq!(old.open(&token, ID).unwrap_err(), unknown);
    let impostor = ring(&[(2, 3)]);
    assert_eq!(impostor.open(&token, ID).unwrap_err(), TokenFault::Altered);
}

#[test]
fn a_token_is_of_one_access_key() {
    let ring = ring(&[(1, 1)]);
    let token = ring.seal(&session(), NONCE);
    for another in ["ASIAAAAAAAAAAAAAAAAB", "AKIAAAAAAAAAAAAAAAAA", "ASIA", ""] {
        let fault = ring.open(&token, another).unwrap_err();
        assert_eq!(fault, TokenFault::AnotherKey, "{another}");
    }
}

#[test]
fn what_is_too_long_is_not_looked_at() {
    let token = "A".repeat(LONGEST_TOKEN + 1);
    let length = token.len();
    let fault = ring(&[(1, 1)]).open(&token, ID).unwrap_err();
    assert_eq!(fault, TokenFault::Long { length });
}

#[test]
fn a_ring_has_keys_of_different_ids() {
    assert_eq!(Ring::new(Vec::new()).unwrap_err(), RingFault::Empty);
    let key = || SealingKey::new([1; 32]);
    let keys = vec![(7, key()), (8, key()), (7, key())];
    assert_eq!(Ring::new(keys).unwrap_err(), RingFault::Repeated { id: 7 });
}

#[test]
fn a_session_ends_to_the_second() {
    let session = session();
    let last = Timestamp::from_second(1_700_003_599).unwrap();
    assert!(!session.is_expired(last));
    assert!(session.is_expired(session.expires));
}

#[test]
fn secrets_are_not_printed() {
    let printed = format!("{:?} {:?}", session(), ring(&[(1, 1)]));
    assert!(!printed.contains("forty"), "{printed}");
}

#[test]
fn a_document_that_cannot_be_read_denies() {
    use crate::iam::authorize::{Policies, Reason, Request, authorize};
    use crate::swf::Action;

    let allow = |action: &str| {
        format!(r#"{{"Statement": {{"Effect": "Allow", "Action": "{action}", "Resource": "*"}}}}"#)
    };
    let decide = |policy: &str| {
        let session = Session {
            policy: Some(policy.into()),
            ..session()
        };
        let host = format!(
            r#"{{"Statement": {{"Effect": "Allow", "Action": "*", "Resource": "*", "Principal": {{"AWS": "{}"}}}}}}"#,
            session.caller
        );
        let file = SourceFile {
            name: "host".into(),
            bytes: host.as_bytes().into(),
        };
        let host = parse(&file, Kind::Resource, &mut Problems::default()).unwrap();
        let host = Index::new(vec![Arc::new(host)]);
        let limit = session.index();
        let policies = Policies {
            session: limit.as_ref(),
            resource: Some(&host),
            ..Policies::default()
        };
        let request = Request {
            caller: &session.caller,
            action: Action::ListDomains.into(),
            resource: "arn:aws:swf:us-east-1:111122223333:/domain/*",
            context: &crate::iam::Context::default(),
        };
        authorize(&policies, request).reason
    };
    assert_eq!(decide(&allow("*")), Reason::Allowed);
    // What the host allows to the session by name is not held back by a document that only fails to allow it.
    assert_eq!(decide(&allow("swf:TagResource")), Reason::Allowed);
    for policy in ["", "{", &allow("swf:Nothing"), "{\"Statement\": []}"] {
        assert_eq!(decide(policy), Reason::ExplicitDeny, "{policy}");
    }
    assert!(session().index().is_none());
}
