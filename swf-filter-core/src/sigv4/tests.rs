//! Signatures by AWS's examples, by another signer, and wrong in every way.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};
use proptest::prelude::*;

use super::time::{basic, written};
use super::*;

const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// When the year 0 begins, in seconds of Unix time.
const YEAR_0: i64 = -62_167_219_200;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn secret() -> Secret {
    Secret::new(SECRET.to_owned())
}

fn verify(head: &Head<'_>, rules: &Rules, now: Timestamp, body: &[u8]) -> Result<(), Fault> {
    let checked = Claim::read(head, rules.query)?.check(rules, now)?;
    assert_eq!(checked.access_key_id(), KEY_ID);
    checked.verify(&checked.derive(&secret()), BodyHash::of(body))
}

/// The examples that AWS published with Signature Version 4 are all of this time, region and service.
fn example(head: &Head<'_>, body: &[u8]) -> Result<(), Fault> {
    verify(
        head,
        &Rules::of("us-east-1", "service"),
        at("2015-08-30T12:36:00Z"),
        body,
    )
}

/// A `POST` of `/` with these header fields.
fn post<'a>(headers: Vec<(&'a str, &'a [u8])>) -> Head<'a> {
    Head {
        method: "POST",
        path: "/",
        query: "",
        headers,
    }
}

fn authorization(signed: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={KEY_ID}/20150830/us-east-1/service/aws4_request, SignedHeaders={signed}, Signature={signature}"
    )
}

#[test]
fn a_key_is_derived_as_the_user_guide_shows() {
    let key = SigningKey::derive(&secret(), "20150830", "us-east-1", "iam");
    let text = "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n\
                f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59";
    let signature = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
    assert_eq!(key.sign(text), signature);
    assert!(key.is_signature(text, signature));
    assert!(!key.is_signature(text, &signature.to_uppercase()));
    assert!(!key.is_signature(text, &signature[1..]));
    assert_eq!(
        format!("{:?}{:?}", secret(), key),
        "Secret(..)SigningKey(..)"
    );
}

#[test]
fn published_examples_verify() {
    let cases = [
        (
            "GET",
            "/",
            "",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "POST",
            "/",
            "",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            "GET",
            "/",
            "Param2=value2&Param1=value1",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "GET",
            "/example/..",
            "",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
    ];
    for (method, path, query, signature) in cases {
        let authorization = authorization("host;x-amz-date", signature);
        let head = Head {
            method,
            path,
            query,
            headers: vec![
                ("Host", b"example.amazonaws.com"),
                ("X-Amz-Date", b"20150830T123600Z"),
                ("Authorization", authorization.as_bytes()),
            ],
        };
        assert_eq!(example(&head, b""), Ok(()), "{method} {path}?{query}");
        assert_eq!(example(&head, b" "), Err(Fault::Mismatch));
        let other = Head {
            path: "/other",
            ..head
        };
        assert_eq!(example(&other, b""), Err(Fault::Mismatch));
    }
}

/// The answer to a request with these header fields besides its host and date.
fn answer(own: &[(&str, &str)]) -> (&'static str, String) {
    let always = [
        ("host", "example.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
    ];
    let fields = always.iter().chain(own);
    let fields = fields.map(|(name, value)| (*name, value.as_bytes()));
    let head = post(fields.collect());
    let Answer { code, message } = example(&head, b"").expect_err("it is wrong").answer();
    (code, message)
}

#[test]
fn a_wrong_authorization_is_answered_as_aws_does() {
    let fine = authorization("host;x-amz-date", &"0".repeat(64));
    let cases = [
        (
            "AWS4-HMAC-SHA256 Credential=a".to_owned(),
            INCOMPLETE,
            "Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' \
             parameter. Authorization=AWS4-HMAC-SHA256 Credential=a",
        ),
        (
            fine.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
            INCOMPLETE,
            "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256'.",
        ),
        (
            fine.replace("/us-east-1", ""),
            INCOMPLETE,
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got \
             'AKIDEXAMPLE/20150830/service/aws4_request'",
        ),
        (
            fine.replace("us-east-1", "eu-west-1"),
            INVALID,
            "Credential should be scoped to a valid region, not 'eu-west-1'. ",
        ),
        (
            fine.replace("/service", "/s3"),
            INVALID,
            "Credential should be scoped to correct service: 'service'. ",
        ),
        (
            fine.replace("20150830", "20150831"),
            INVALID,
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
             '20150831' != '20150830', from '20150830T123600Z'.",
        ),
        (
            fine.replace("aws4_request", "aws5_request"),
            INVALID,
            "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'. ",
        ),
        (
            fine.replace("host;x-amz-date", "x-amz-date;host;user-agent")
                .replace("us-east-1", "eu-west-1"),
            INVALID,
            "Credential should be scoped to a valid region, not 'eu-west-1'. ",
        ),
        (fine.replace("host;", ""), INVALID, UNSIGNED_HOST),
        (fine.replace("host;", "host;user-agent;"), INVALID, MISMATCH),
        (fine.replace("host;", "Host;"), INVALID, MISMATCH),
        (fine.replace("host;", "host;host;"), INVALID, MISMATCH),
        (fine.replace("host;", ";host;"), INVALID, MISMATCH),
        (fine.replace("host;", "host; "), INVALID, UNSIGNED_DATE),
        (
            fine.replace("host;x-amz-date", "x-amz-date;host"),
            INVALID,
            MISMATCH,
        ),
        (fine, INVALID, MISMATCH),
    ];
    for (authorization, code, message) in cases {
        let found = answer(&[("Authorization", &authorization)]);
        assert_eq!(found, (code, message.to_owned()), "{authorization}");
    }
}

#[test]
fn other_wrong_header_fields_are_answered_as_aws_does() {
    let authorization = authorization("host;x-amz-date", &"0".repeat(64));
    let fine = ("authorization", &*authorization);
    let cases = [
        (
            vec![],
            "MissingAuthenticationTokenException",
            "Request is missing Authentication Token",
        ),
        (
            vec![fine, ("X-Amz-Target", "SimpleWorkflowService.ListDomains")],
            INVALID,
            "'x-amz-target' must be a 'SignedHeader' in the AWS Authorization.",
        ),
        (
            vec![fine, fine],
            INCOMPLETE,
            "'authorization' must not be repeated.",
        ),
        (
            vec![fine, ("x-amz-date", "20150830T123600Z")],
            INCOMPLETE,
            "'x-amz-date' must not be repeated.",
        ),
        (
            vec![fine, ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")],
            INVALID,
            MISMATCH,
        ),
    ];
    for (own, code, message) in cases {
        assert_eq!(answer(&own), (code, message.to_owned()), "{own:?}");
    }
}

const INCOMPLETE: &str = "IncompleteSignatureException";
const INVALID: &str = "InvalidSignatureException";
const UNSIGNED_HOST: &str =
    "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.";
const UNSIGNED_DATE: &str = "'x-amz-date' must be a 'SignedHeader' in the AWS Authorization.";
const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS \
                        Secret Access Key and signing method. Consult the service documentation for details.";

#[test]
fn names_that_are_signed_are_found_however_many_there_are() {
    let names: Vec<String> = (0..2_000).map(|number| format!("a{number:04}")).collect();
    let many = names.join(";");
    let header = |signed: &str| authorization(signed, &"0".repeat(64));
    let fault = |signed: &str| {
        let header = header(signed);
        let head = post(vec![
            ("host", b"example.amazonaws.com"),
            ("a0000", b""),
            ("X-Amz-Date", b"20150830T123600Z"),
            ("authorization", header.as_bytes()),
        ]);
        example(&head, b"").expect_err("no signature is right")
    };
    let name = "a0001".to_owned();
    let signed = format!("{many};host;x-amz-date");
    assert_eq!(fault(&signed), Fault::AbsentHeader { name });
    let names = format!("x-amz-date;host;{many}");
    assert_eq!(fault(&names), Fault::SignedHeaders { names });
    let names = format!("host;{many};X-Amz-Date");
    assert_eq!(fault(&names), Fault::SignedHeaders { names });
    let name = "x-amz-date".to_owned();
    assert_eq!(
        fault(&format!("{many};host")),
        Fault::UnsignedHeader { name }
    );
    assert_eq!(fault(&many), Fault::UnsignedHost);
    assert_eq!(fault("host;x-amz-date"), Fault::Mismatch);
}

#[test]
fn clocks_may_be_off_by_the_skew_and_no_second_more() {
    let authorization = authorization("host;x-amz-date", &"0".repeat(64));
    let head = post(vec![
        ("host", b"example.amazonaws.com"),
        ("x-amz-date", b"20150830T123600Z"),
        ("authorization", authorization.as_bytes()),
    ]);
    let rules = Rules::of("us-east-1", "service");
    let message = |now: &str| match verify(&head, &rules, at(now), b"") {
        Err(Fault::Mismatch) => None,
        other => Some(other.expect_err("no such signature").answer().message),
    };
    assert_eq!(message("2015-08-30T12:51:00Z"), None);
    assert_eq!(message("2015-08-30T12:21:00Z"), None);
    assert_eq!(
        message("2015-08-30T12:51:01Z").as_deref(),
        Some(
            "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T125101Z - 15 min.)"
        )
    );
    assert_eq!(
        message("2015-08-30T12:20:59Z").as_deref(),
        Some(
            "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T122059Z + 15 min.)"
        )
    );
}

#[test]
fn a_date_field_tells_the_time_where_there_is_no_other() {
    let authorization = authorization("date;host", &"0".repeat(64));
    let time = |field: &str| {
        let head = post(vec![
            ("host", b"example.amazonaws.com"),
            ("date", field.as_bytes()),
            ("authorization", authorization.as_bytes()),
        ]);
        example(&head, b"").expect_err("no such signature")
    };
    for right in [
        "Sun, 30 Aug 2015 12:36:00 GMT",
        "Sun, 30 Aug 2015 14:36:00 +0200",
        "20150830T123600Z",
    ] {
        assert_eq!(time(right), Fault::Mismatch, "{right}");
    }
    for wrong in [
        "2015-08-30T12:36:00Z",
        "\u{a0}20150830T123600Z",
        "20150830T123600",
        "20150230T123600Z",
        // A sign in place of a digit, as of the year 1 before 0.
        "-0010830T123600Z",
        "+0150830T123600Z",
        "",
    ] {
        let text = wrong.to_owned();
        assert_eq!(time(wrong), Fault::Date { text });
    }
}

#[test]
fn a_parameter_named_as_a_signature_is_signed_beside_one_in_the_header() {
    let mut request = a_get();
    sign_by_another(
        &mut request,
        None,
        1_440_938_160,
        SigningSettings::default(),
    );
    let rules = Rules::of("us-east-1", "swf");
    let verified = |query: &str| {
        let head = Head {
            query,
            ..request.head()
        };
        verify(&head, &rules, at("2015-08-30T12:36:00Z"), b"")
    };
    assert_eq!(verified("a=1"), Ok(()));
    assert_eq!(verified("a=1&X-Amz-Signature=b"), Err(Fault::Mismatch));
    // Whether or not a signature in the query would count.
    let both = verified("a=1&X-Amz-Algorithm=AWS4-HMAC-SHA256");
    assert_eq!(both, Err(Fault::BothForms));
}

#[test]
fn a_presigned_request_without_its_parts_is_told_which() {
    let head = Head {
        method: "GET",
        path: "/",
        query: "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20150830T123600Z&X-Amz-Expires=1&X-Amz-Signature=",
        headers: vec![("host", b"swf.example")],
    };
    let fault = Claim::read(&head, QueryForm::Accept).expect_err("parts are missing");
    assert_eq!(
        fault.answer().message,
        "AWS query-string parameters must include 'X-Amz-Credential'. AWS query-string parameters must include \
         'X-Amz-Signature'. AWS query-string parameters must include 'X-Amz-SignedHeaders'. Re-examine the query-string \
         parameters."
    );
}

#[test]
fn a_presigned_request_holds_for_no_longer_than_another_where_the_query_counts() {
    let mut request = a_get();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(Duration::from_hours(1));
    sign_by_another(
        &mut request,
        Some("token+/=".to_owned()),
        1_440_938_160,
        settings,
    );
    let head = request.head();
    let rules = Rules::of("us-east-1", "swf");
    // Fifteen minutes, though it says an hour.
    let (start, end) = (at("2015-08-30T12:36:00Z"), at("2015-08-30T12:51:00Z"));
    assert_eq!(verify(&head, &rules, start, b""), Err(Fault::Missing));
    let rules = Rules {
        query: QueryForm::Accept,
        ..rules
    };
    let claim = Claim::read(&head, rules.query).expect("a signature");
    let checked = claim.check(&rules, start).expect("in time");
    assert_eq!(checked.token(), Some("token+/="));
    assert_eq!(verify(&head, &rules, start, b""), Ok(()));
    assert_eq!(verify(&head, &rules, end, b""), Ok(()));
    assert_eq!(verify(&head, &rules, start, b" "), Err(Fault::Mismatch));
    let later = end + jiff::SignedDuration::from_secs(1);
    let expired = verify(&head, &rules, later, b"");
    assert!(matches!(expired, Err(Fault::Expired { .. })), "{expired:?}");
    for (from, to) in [
        ("a=1", "a=2"),
        ("Expires=3600", "Expires=3601"),
        ("%2B", "%2C"),
    ] {
        let query = request.query.replace(from, to);
        assert_ne!(query, request.query);
        let head = Head {
            query: &query,
            ..request.head()
        };
        assert_eq!(
            verify(&head, &rules, start, b""),
            Err(Fault::Mismatch),
            "{query}"
        );
    }
    for expires in ["0", "604801", "+60", "-1", "x"] {
        let query = request
            .query
            .replace("Expires=3600", &format!("Expires={expires}"));
        let head = Head {
            query: &query,
            ..request.head()
        };
        let found = verify(&head, &rules, start, b"");
        assert!(matches!(found, Err(Fault::Expires { .. })), "{found:?}");
    }
    let mut both = request.clone();
    both.headers
        .push(("Authorization".to_owned(), b"x".to_vec()));
    assert_eq!(
        verify(&both.head(), &rules, start, b""),
        Err(Fault::BothForms)
    );
}

#[test]
fn a_cache_forgets_its_oldest_key() {
    let mut cache = KeyCache::new(2);
    let derived = |cache: &mut KeyCache, id: &str| {
        let mut derived = false;
        cache.key(id, || {
            derived = true;
            SigningKey::derive(&secret(), "20150830", "us-east-1", id)
        });
        derived
    };
    let ids = ["a", "b", "a", "c", "b", "a"];
    let known = ids.map(|id| derived(&mut cache, id));
    assert_eq!(known, [true, true, false, true, false, true]);
    cache.clear();
    assert!(derived(&mut cache, "a"));
}

/// What a signed request is made of, owned.
#[derive(Clone, Debug)]
struct Signed {
    method: &'static str,
    path: String,
    query: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Signed {
    fn head(&self) -> Head<'_> {
        Head {
            method: self.method,
            path: &self.path,
            query: &self.query,
            headers: self
                .headers
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .collect(),
        }
    }
}

/// A request of which the query is `a=1`, not yet signed.
fn a_get() -> Signed {
    Signed {
        method: "GET",
        path: "/".to_owned(),
        query: "a=1".to_owned(),
        headers: vec![("host".to_owned(), b"swf.example".to_vec())],
        body: Vec::new(),
    }
}

fn request() -> impl Strategy<Value = (Signed, Option<String>)> {
    (
        prop::sample::select(vec!["GET", "POST", "PUT"]),
        "(/[a-zA-Z0-9._~ %+:@-]{0,6}){1,4}",
        prop::collection::vec(("[a-zA-Z0-9._~-]{1,4}", "[a-zA-Z0-9._~/*-]{0,6}"), 0..4),
        prop::collection::btree_map("x-[a-l]{1,5}", "[ -~]{0,12}", 0..4),
        prop::collection::vec(any::<u8>(), 0..40),
        prop::option::of("[A-Za-z0-9+/=]{1,30}"),
    )
        .prop_map(|(method, path, query, headers, body, token)| {
            let query: Vec<String> = query
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let mut headers: Vec<(String, Vec<u8>)> = headers
                .into_iter()
                .map(|(name, value)| (name, value.trim().as_bytes().to_vec()))
                .collect();
            headers.push(("host".to_owned(), b"swf.example".to_vec()));
            let signed = Signed {
                method,
                path: path.replace(['%', ' '], "_"),
                query: query.join("&"),
                headers,
                body,
            };
            (signed, token)
        })
}

/// Signs with the signer of AWS's own SDK.
fn sign_by_another(
    request: &mut Signed,
    token: Option<String>,
    seconds: u64,
    settings: SigningSettings,
) {
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    let identity = Credentials::new(KEY_ID, SECRET, token, None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("swf")
        .time(time)
        .settings(settings)
        .build()
        .expect("all is there")
        .into();
    let uri = format!("https://swf.example{}?{}", request.path, request.query);
    let headers = request
        .headers
        .iter()
        .map(|(name, value)| (&**name, std::str::from_utf8(value).expect("a text")));
    let signable = SignableRequest::new(
        request.method,
        uri,
        headers,
        SignableBody::Bytes(&request.body),
    );
    let signed = sign(signable.expect("a request"), &params).expect("it can be signed");
    let (instructions, _) = signed.into_parts();
    let added: Vec<(String, Vec<u8>)> = instructions
        .headers()
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
        .collect();
    request.headers.extend(added);
    for (name, value) in instructions.params() {
        let value = percent_encoded(value);
        request.query = format!("{}&{name}={value}", request.query);
    }
}

proptest! {
    #[test]
    fn what_another_signs_verifies_until_a_byte_of_it_changes(
        (mut request, token) in request(),
        hash: bool,
        seconds in 1_000_000_000u64..4_000_000_000,
        place: prop::sample::Index,
        flip in 1u8..128,
    ) {
        let mut settings = SigningSettings::default();
        if hash {
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        sign_by_another(&mut request, token.clone(), seconds, settings);
        let rules = Rules::of("us-east-1", "swf");
        let now = Timestamp::from_second(i64::try_from(seconds).expect("small")).expect("in range");
        let result = verify(&request.head(), &rules, now, &request.body);
        prop_assert_eq!(result, Ok(()), "{:?}", request);
        let head = request.head();
        let claim = Claim::read(&head, QueryForm::Ignore).expect("it was read before");
        let checked = claim.check(&rules, now).expect("it was right before");
        prop_assert_eq!(checked.token(), token.as_deref());

        let mut parts: Vec<&mut Vec<u8>> = request
            .headers
            .iter_mut()
            .map(|(_, value)| value)
            .chain([&mut request.body])
            .filter(|part| !part.is_empty())
            .collect();
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        let mut place = place.index(lengths.iter().sum());
        let part = lengths.iter().position(|length| {
            let inside = place < *length;
            if !inside {
                place -= length;
            }
            inside
        });
        let part = &mut *parts[part.expect("it is in one of them")];
        let before = part[place];
        part[place] ^= flip;
        // A space more or less, or another kind of it, is the same header field.
        let same = [before, part[place]].iter().all(u8::is_ascii_whitespace);
        if !same {
            let result = verify_any(&request.head(), &rules, now, &request.body);
            prop_assert!(result.is_err(), "{:?}", request);
        }
    }

    #[test]
    fn times_are_those_of_another_reader(
        seconds in prop_oneof![
            3 => YEAR_0..=Timestamp::MAX.as_second(),
            1 => Timestamp::MIN.as_second()..YEAR_0,
        ],
        wrong in proptest::option::of((0..16_usize, "[0-9TZ+ -]")),
    ) {
        let mut sent = written(Timestamp::from_second(seconds).unwrap());
        if let Some((at, byte)) = wrong {
            sent.replace_range(at..=at, &byte);
        }
        let read = civil::DateTime::strptime("%Y%m%dT%H%M%SZ", &sent);
        // Years before 0 have a sign, and there is none in the basic form.
        let read = read.ok().filter(|read| read.year() >= 0);
        let read = read.and_then(|read| read.to_zoned(TimeZone::UTC).ok());
        // That one also takes signs and spaces in place of zeros, and a leap second.
        let read = read.map(|read| read.timestamp()).filter(|read| written(*read) == sent);
        prop_assert_eq!(basic(&sent), read, "{}", sent);
    }

    #[test]
    fn nothing_panics(
        method in ".{0,5}", path in ".{0,20}", query in ".{0,40}",
        headers in prop::collection::vec(
            ("(?i)authorization|x-amz-date|date|host|.{0,6}", prop::collection::vec(any::<u8>(), 0..60)), 0..5),
    ) {
        let headers = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let head = Head { method: &method, path: &path, query: &query, headers };
        let rules = Rules { query: QueryForm::Accept, ..Rules::of("us-east-1", "swf") };
        let _ = verify_any(&head, &rules, Timestamp::UNIX_EPOCH, b"");
    }
}

/// Enough of a text encoded for a query.
fn percent_encoded(value: &str) -> String {
    let codes = [("+", "%2B"), ("/", "%2F"), (";", "%3B"), ("=", "%3D")];
    codes
        .into_iter()
        .fold(value.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// As [`verify`], whoever is said to have signed.
fn verify_any(head: &Head<'_>, rules: &Rules, now: Timestamp, body: &[u8]) -> Result<(), Fault> {
    let checked = Claim::read(head, rules.query)?.check(rules, now)?;
    if checked.access_key_id() != KEY_ID {
        return Err(Fault::Mismatch);
    }
    checked.verify(&checked.derive(&secret()), BodyHash::of(body))
}
