//! The XML of answers, as clients of AWS read it.

use super::*;
use crate::session::TokenFault;
use crate::sigv4;

const ID: &str = "c6104cbe-af31-11e0-8154-cbc7ccf896c7";

#[test]
fn a_session_of_a_role_is_answered() {
    let setting = Setting {
        trust: trust(&json!({"AWS": ALICE})),
        ..Setting::default()
    };
    let plain = assume(&setting, ALICE, wish(), |_| ()).expect("it is allowed");
    let answer = plain.answer("to<ken", ID);
    let expected = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
        <AccessKeyId>ASIAAAAAAAAAAAAAAAAA</AccessKeyId>\
        <SecretAccessKey>AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA</SecretAccessKey>\
        <SessionToken>to&lt;ken</SessionToken><Expiration>2023-11-14T23:13:20Z</Expiration></Credentials>\
        <AssumedRoleUser><AssumedRoleId>AROAWORKER:one</AssumedRoleId>\
        <Arn>arn:aws:sts::111122223333:assumed-role/worker/one</Arn></AssumedRoleUser></AssumeRoleResult>\
        <ResponseMetadata><RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId></ResponseMetadata></AssumeRoleResponse>";
    assert_eq!((answer.status, &*answer.body), (200, expected));
    let full = AssumeRole {
        tags: vec![tag("team", "sales", Reach::Own)],
        source_identity: Some("alice".into()),
        ..wish()
    };
    let full = assume(&setting, ALICE, full, |_| ()).expect("it is allowed");
    let body = full.answer("token", ID).body;
    let end = "</AssumedRoleUser><PackedPolicySize>1</PackedPolicySize><SourceIdentity>alice</SourceIdentity></AssumeRoleResult>";
    assert!(body.contains(end), "{body}");
}

fn of(call: &Call, asker: Asker<'_>) -> Result<Outcome, Fault> {
    let judge = judge(&Setting {
        trust: trust(&json!("*")),
        // It cannot be denied who one is, nor a session token.
        identity: Some(json!([{"Effect": "Deny", "Action": "*", "Resource": "*"}])),
        ..Setting::default()
    });
    decide(&judge, call, asker, &Context::default(), now(), LOTS)
}

#[test]
fn callers_and_session_tokens_are_answered() {
    let alice = Caller::from_arn(ALICE).expect("a caller");
    let user = Asker::User {
        access_key_id: "AKIAALICE",
        caller: &alice,
    };
    let outcome = of(&Call::GetCallerIdentity, user).expect("it is allowed");
    let body = outcome.answer("", ID).body;
    let expected = "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
        <Arn>arn:aws:iam::111122223333:user/alice</Arn><UserId>AIDA";
    assert!(body.starts_with(expected), "{body}");
    let end = "</UserId><Account>111122223333</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>\
        c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId></ResponseMetadata></GetCallerIdentityResponse>";
    assert!(body.ends_with(end), "{body}");

    let call = Call::GetSessionToken { seconds: 900 };
    let outcome = of(&call, user).expect("it is allowed");
    let session = outcome.session().expect("a session").clone();
    assert_eq!(session.caller, alice);
    assert_eq!(session.parent.as_deref(), Some("AKIAALICE"));
    assert_eq!(session.expires.as_second() - now().as_second(), 900);
    let body = outcome.answer("token", ID).body;
    assert!(
        body.contains("<GetSessionTokenResult><Credentials><AccessKeyId>ASIA"),
        "{body}"
    );
    let by_session = Asker::Session(&session);
    assert!(of(&Call::GetCallerIdentity, by_session).is_ok());
    let fault = of(&call, by_session).expect_err("it is asked by a session");
    assert_eq!(fault.code(), (403, "AccessDenied"));
}

#[test]
fn errors_are_escaped() {
    let fault = Fault::AccessDenied {
        caller: ALICE.into(),
        action: Action::AssumeRole,
        role: "<&>\"'\u{1}\u{ffff}\r".into(),
        reason: None,
    };
    let answer = fault.answer(ID);
    let expected = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
        <Code>AccessDenied</Code><Message>User: arn:aws:iam::111122223333:user/alice is not authorized to perform: \
        sts:AssumeRole on resource: &lt;&amp;&gt;&quot;&apos;\u{fffd}\u{fffd}&#13;</Message></Error>\
        <RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId></ErrorResponse>";
    assert_eq!((answer.status, &*answer.body), (403, expected));
}

/// What is wrong with a session token, an access key or a signature, and what services of this protocol call it.
#[test]
fn who_is_not_let_in_is_told_in_the_words_of_sts() {
    let text = String::new;
    let cases = [
        (
            Fault::UnknownCaller,
            403,
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
        ),
        (
            Fault::Expired,
            403,
            "ExpiredToken",
            "The security token included in the request is expired",
        ),
        (
            TokenFault::Altered.into(),
            403,
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
        ),
        (
            TokenFault::AnotherKey.into(),
            403,
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
        ),
        (
            sigv4::Fault::Missing.into(),
            403,
            "MissingAuthenticationToken",
            "Request is missing Authentication Token",
        ),
        (
            sigv4::Fault::Mismatch.into(),
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match",
        ),
        (
            sigv4::Fault::Region {
                region: "eu".into(),
            }
            .into(),
            403,
            "SignatureDoesNotMatch",
            "valid region, not 'eu'",
        ),
        (
            sigv4::Fault::UnsignedHost.into(),
            403,
            "SignatureDoesNotMatch",
            "must be a 'SignedHeader'",
        ),
        (
            sigv4::Fault::Algorithm { algorithm: text() }.into(),
            400,
            "IncompleteSignature",
            "Unsupported AWS 'algorithm'",
        ),
        (
            sigv4::Fault::Scope { credential: text() }.into(),
            400,
            "IncompleteSignature",
            "exactly 5 slash-delimited elements",
        ),
    ];
    for (fault, status, code, words) in cases {
        assert_eq!(fault.code(), (status, code), "{fault}");
        let body = fault.answer(ID).body.replace("&apos;", "'");
        assert!(body.contains(words), "{body}");
    }
}

#[test]
fn answers_are_not_printed() {
    let answer = Fault::Expired.answer(ID);
    assert_eq!(format!("{answer:?}"), "Answer { status: 403, .. }");
}
