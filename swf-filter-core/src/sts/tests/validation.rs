//! Each thing that a call can have wrong, with the name of its error.

use proptest::prelude::*;

use super::*;

fn form(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(parameters);
    form.finish().into_bytes()
}

const RIGHT: [(&str, &str); 4] = [
    ("Action", "AssumeRole"),
    ("Version", "2011-06-15"),
    ("RoleArn", WORKER),
    ("RoleSessionName", "one"),
];

/// The right call with parameters instead of its own, or besides.
fn with(parameters: &[(&str, &str)]) -> Result<Call, Fault> {
    let is_own = |name: &str| parameters.iter().all(|(other, _)| *other != name);
    let mut all: Vec<_> = RIGHT.into_iter().filter(|(name, _)| is_own(name)).collect();
    all.extend(parameters);
    Call::read(&form(&all))
}

fn without(name: &str) -> Result<Call, Fault> {
    let all: Vec<_> = RIGHT.into_iter().filter(|(own, _)| *own != name).collect();
    Call::read(&form(&all))
}

const POLICY: &str = r#"{"Statement": {"Effect": "Allow", "Action": "swf:*", "Resource": "*"}}"#;

#[test]
fn what_is_right_is_read() {
    let Ok(Call::AssumeRole(plain)) = with(&[]) else {
        panic!("it is right");
    };
    assert_eq!(*plain, wish());
    let Ok(Call::AssumeRole(full)) = with(&[
        ("DurationSeconds", "43200"),
        ("Policy", POLICY),
        ("Tags.member.2.Value", "é 1"),
        ("Tags.member.2.Key", "Team"),
        ("Tags.member.10.Key", "desk"),
        ("Tags.member.10.Value", ""),
        ("TransitiveTagKeys.member.1", "team"),
        ("ExternalId", "a:/b"),
        ("SourceIdentity", "alice@example.com"),
        ("PolicyArns", ""),
    ]) else {
        panic!("it is right");
    };
    let expected = AssumeRole {
        seconds: 43_200,
        policy: Some(POLICY.into()),
        tags: vec![
            tag("Team", "é 1", Reach::Transitive),
            tag("desk", "", Reach::Own),
        ],
        external_id: Some("a:/b".into()),
        source_identity: Some("alice@example.com".into()),
        ..wish()
    };
    assert_eq!(*full, expected);
    let read = |action: &str, rest: &[(&str, &str)]| {
        let all = [&[("Action", action), ("Version", "2011-06-15")], rest].concat();
        Call::read(&form(&all))
    };
    assert_eq!(read("GetCallerIdentity", &[]), Ok(Call::GetCallerIdentity));
    let seconds = 43_200;
    assert_eq!(
        read("GetSessionToken", &[]),
        Ok(Call::GetSessionToken { seconds })
    );
    let seconds = 129_600;
    let most = [("DurationSeconds", "129600")];
    assert_eq!(
        read("GetSessionToken", &most),
        Ok(Call::GetSessionToken { seconds })
    );
    for (rest, expected) in [
        (("DurationSeconds", "129601"), "ValidationError"),
        (("DurationSeconds", "899"), "ValidationError"),
        (("TokenCode", "123456"), "AccessDenied"),
        (
            ("SerialNumber", "arn:aws:iam::111122223333:mfa/alice"),
            "AccessDenied",
        ),
        (("RoleArn", WORKER), "InvalidQueryParameter"),
    ] {
        let code = read("GetSessionToken", &[rest]).map_err(|fault| fault.code().1);
        assert_eq!(code, Err(expected), "{rest:?}");
    }
}

#[test]
fn what_is_wrong_has_the_error_of_sts() {
    let long = |count| "a".repeat(count);
    let (name, id, identity) = (long(65), long(1_225), long(65));
    let (key, value) = (long(129), long(257));
    let role = format!("arn:aws:iam::111122223333:role/{}", long(2_048));
    let policy = format!("{POLICY}{}", " ".repeat(2_048 - POLICY.len()));
    assert!(with(&[("Policy", &policy)]).is_ok());
    let policy = policy + " ";
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("Version", "2011-06-14")], "InvalidAction"),
        (&[("Action", "AssumeRoles")], "InvalidAction"),
        (&[("Action", "GetFederationToken")], "InvalidAction"),
        (&[("RoleArn", "worker")], "ValidationError"),
        (
            &[("RoleArn", "arn:aws:iam::111122223333:user/alice")],
            "ValidationError",
        ),
        (
            &[("RoleArn", "arn:aws:iam::11112222333:role/worker")],
            "ValidationError",
        ),
        (
            &[("RoleArn", "arn:aws:iam::111122223333:role/*")],
            "ValidationError",
        ),
        (&[("RoleArn", &role)], "ValidationError"),
        (&[("RoleSessionName", "")], "ValidationError"),
        (&[("RoleSessionName", "a")], "ValidationError"),
        (&[("RoleSessionName", "a b")], "ValidationError"),
        (&[("RoleSessionName", "a/b")], "ValidationError"),
        (&[("RoleSessionName", "\u{e9}\u{e9}")], "ValidationError"),
        (&[("RoleSessionName", &name)], "ValidationError"),
        (&[("DurationSeconds", "899")], "ValidationError"),
        (&[("DurationSeconds", "43201")], "ValidationError"),
        (&[("DurationSeconds", "")], "ValidationError"),
        (&[("DurationSeconds", "+900")], "ValidationError"),
        (&[("DurationSeconds", "3600.0")], "ValidationError"),
        (
            &[("DurationSeconds", "99999999999999999999")],
            "ValidationError",
        ),
        (&[("Policy", "")], "ValidationError"),
        (&[("Policy", &policy)], "ValidationError"),
        (&[("Policy", "{\"a\": \"\u{100}\"}")], "ValidationError"),
        (&[("Policy", "{")], "MalformedPolicyDocument"),
        (
            &[("Policy", "{\"Statement\": []}")],
            "MalformedPolicyDocument",
        ),
        (
            &[(
                "Policy",
                r#"{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}}"#,
            )],
            "MalformedPolicyDocument",
        ),
        (
            &[(
                "Policy",
                r#"{"Statement": {"Effect": "Allow", "Action": "swf:Begin", "Resource": "*"}}"#,
            )],
            "MalformedPolicyDocument",
        ),
        (
            &[(
                "PolicyArns.member.1.arn",
                "arn:aws:iam::aws:policy/ReadOnlyAccess",
            )],
            "ValidationError",
        ),
        (
            &[(
                "ProvidedContexts.member.1.ProviderArn",
                "arn:aws:iam::aws:contextProvider/a",
            )],
            "ValidationError",
        ),
        (&[("ExternalId", "a")], "ValidationError"),
        (&[("ExternalId", "a b")], "ValidationError"),
        (&[("ExternalId", &id)], "ValidationError"),
        (&[("SourceIdentity", "a")], "ValidationError"),
        (&[("SourceIdentity", &identity)], "ValidationError"),
        (&[("SourceIdentity", "alice:1")], "ValidationError"),
        (
            &[("SerialNumber", "arn:aws:iam::111122223333:mfa/alice")],
            "AccessDenied",
        ),
        (&[("TokenCode", "123456")], "AccessDenied"),
        (&[("Tags.member.1.Key", "a")], "ValidationError"),
        (&[("Tags.member.1.Value", "a")], "ValidationError"),
        (
            &[("Tags.member.1.Key", ""), ("Tags.member.1.Value", "a")],
            "ValidationError",
        ),
        (
            &[("Tags.member.1.Key", &key), ("Tags.member.1.Value", "a")],
            "ValidationError",
        ),
        (
            &[("Tags.member.1.Key", "a"), ("Tags.member.1.Value", &value)],
            "ValidationError",
        ),
        (
            &[("Tags.member.1.Key", "a*"), ("Tags.member.1.Value", "a")],
            "ValidationError",
        ),
        (
            &[("Tags.member.1.Key", "AWS:a"), ("Tags.member.1.Value", "a")],
            "InvalidParameterValue",
        ),
        (
            &[
                ("Tags.member.1.Key", "team"),
                ("Tags.member.1.Value", "a"),
                ("Tags.member.2.Key", "Team"),
                ("Tags.member.2.Value", "a"),
            ],
            "InvalidParameterValue",
        ),
        (
            &[("TransitiveTagKeys.member.1", "team")],
            "InvalidParameterValue",
        ),
        (&[("Tags.member.01.Key", "a")], "InvalidQueryParameter"),
        (&[("Tags.member.1.Key.x", "a")], "InvalidQueryParameter"),
        (&[("Tags.member.-1.Key", "a")], "InvalidQueryParameter"),
        (&[("Tags", "a")], "InvalidQueryParameter"),
        (
            &[("TransitiveTagKeys.member.1.x", "a")],
            "InvalidQueryParameter",
        ),
        (
            &[("RoleArn", WORKER), ("RoleArn", WORKER)],
            "InvalidQueryParameter",
        ),
        (
            &[("Action", "AssumeRole"), ("Action", "GetCallerIdentity")],
            "InvalidQueryParameter",
        ),
        (&[("policy", POLICY)], "InvalidQueryParameter"),
        (&[("Polic\u{79}2", POLICY)], "InvalidQueryParameter"),
    ];
    for (parameters, code) in cases {
        let found = with(parameters).map_err(|fault| fault.code().1);
        assert_eq!(found, Err(*code), "{parameters:?}");
    }
    for (name, code) in [
        ("Action", "MissingAction"),
        ("Version", "InvalidAction"),
        ("RoleArn", "ValidationError"),
        ("RoleSessionName", "ValidationError"),
    ] {
        let found = without(name).map_err(|fault| fault.code().1);
        assert_eq!(found, Err(code), "{name}");
    }
    let huge = [b'a'].repeat(MAX_BODY + 1);
    assert_eq!(
        Call::read(&huge).map_err(|fault| fault.code().1),
        Err("InvalidQueryParameter")
    );
}

#[test]
fn there_are_fifty_tags_at_most() {
    let read = |count: usize| {
        let names: Vec<_> = (1..=count)
            .map(|number| {
                (
                    format!("Tags.member.{number}.Key"),
                    format!("Tags.member.{number}.Value"),
                    format!("k{number}"),
                )
            })
            .collect();
        let own = names.iter();
        let own = own.flat_map(|(key, value, name)| [(&**key, &**name), (&**value, "v")]);
        with(&own.collect::<Vec<_>>())
    };
    assert!(read(50).is_ok());
    assert_eq!(
        read(51).map_err(|fault| fault.code()),
        Err((400, "ValidationError"))
    );
}

#[test]
fn what_is_not_utf_8_is_no_name_and_no_policy() {
    for parameter in [
        &b"&RoleSessionName=%ff%ff"[..],
        b"&RoleSessionName=one&Policy=%ff",
    ] {
        let start = b"Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fteam%2Fworker";
        let fault = Call::read(&[start, parameter].concat()).unwrap_err();
        assert_eq!(fault.code().1, "ValidationError");
    }
}

proptest! {
    #[test]
    fn any_body_is_read_or_refused(body in ".{0,200}", rest in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = Call::read(body.as_bytes());
        let start = form(&RIGHT);
        // What is added to a right form is refused, or there.
        let read = Call::read(&[&*start, b"&", &*rest].concat());
        if let Ok(Call::AssumeRole(read)) = read {
            let known = [b"Policy=".as_slice(), b"Tags", b"ExternalId=", b"SourceIdentity=", b"DurationSeconds="];
            let is_told = known.iter().any(|known| rest.windows(known.len()).any(|own| own == *known));
            prop_assert!(is_told || *read == wish());
        }
    }
}
