//! Requests that are malformed, or try to be two things at once, over TLS to the running listener.

use std::{
    io::{Read, Write},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use swf_filter_tests::{
    client::{Came, Client, Signed, connect},
    stage::{NAME, ONE},
};

use crate::stage::Scene;

/// What a client is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// A status and an exception, and then the end of the connection.
    Last(u16, &'static str),
    /// A status and an exception, and the connection stays.
    Stays(u16, &'static str),
}

use Seen::{Last, Stays};

const MALFORMED: &str = "SerializationException";
const MISSING: &str = "MissingAuthenticationTokenException";
const UNKNOWN: &str = "UnknownOperationException";

fn line(line: &str) -> Vec<u8> {
    format!("{line}\r\nhost: {NAME}\r\n\r\n").into_bytes()
}

/// A head with fields more.
fn field(field: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nhost: {NAME}\r\n{field}\r\n\r\n").into_bytes()
}

/// A head with one field, and a body.
fn post(field: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST / HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: {length}\r\n{field}\r\n\r\n{body}")
        .into_bytes()
}

fn list(body: &str) -> Vec<u8> {
    post("x-amz-target: SimpleWorkflowService.ListDomains", body)
}

fn many(fields: usize) -> Vec<u8> {
    field("x: y\r\n".repeat(fields - 1).trim_end())
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn hostile() -> Vec<(&'static str, Vec<u8>, Seen)> {
    let bad = Last(400, MALFORMED);
    let smuggled = format!("0\r\n\r\nPOST / HTTP/1.1\r\nhost: {NAME}\r\n\r\n");
    let both = format!("content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n{smuggled}");
    let deep = "[".repeat(100_000);
    vec![
        // Two readers, two requests.
        ("CL and TE", field(&both), Last(501, MALFORMED)),
        (
            "TE alone",
            field("transfer-encoding: chunked\r\n\r\n0"),
            Last(501, MALFORMED),
        ),
        (
            "TE of another case",
            field("Transfer-ENCODING: Chunked"),
            Last(501, MALFORMED),
        ),
        (
            "TE that is none",
            field("transfer-encoding: xchunked"),
            Last(501, MALFORMED),
        ),
        (
            "TE with a space before the colon",
            field("transfer-encoding : chunked"),
            bad,
        ),
        (
            "TE after a tab",
            field("x: y\r\n\ttransfer-encoding: chunked"),
            bad,
        ),
        (
            "TE after a bare CR",
            field("x: y\rtransfer-encoding: chunked"),
            bad,
        ),
        (
            "CL twice alike",
            field("content-length: 0\r\ncontent-length: 0"),
            bad,
        ),
        (
            "CL twice",
            field("content-length: 0\r\ncontent-length: 5"),
            bad,
        ),
        ("CL in a list", field("content-length: 0, 0"), bad),
        ("CL with a sign", field("content-length: +0"), bad),
        ("CL with a zero", field("content-length: 00"), bad),
        ("CL in hexadecimal", field("content-length: 0x0"), bad),
        (
            "CL beyond numbers",
            field("content-length: 18446744073709551616"),
            Last(413, MALFORMED),
        ),
        ("CL below zero", field("content-length: -1"), bad),
        // Lines.
        (
            "bare LF",
            format!("POST / HTTP/1.1\nhost: {NAME}\n\n").into(),
            bad,
        ),
        (
            "bare LF after a field",
            format!("POST / HTTP/1.1\r\nhost: {NAME}\n\r\n").into(),
            bad,
        ),
        (
            "an empty line first",
            [b"\r\n".to_vec(), line("POST / HTTP/1.1")].concat(),
            bad,
        ),
        ("a folded field", field("x: a\r\n b"), bad),
        ("a field without colon", field("x"), bad),
        ("a field without name", field(": x"), bad),
        ("NUL in a field", field("x: a\0b"), bad),
        ("NUL in a name", field("x\0: a"), bad),
        ("a byte above 127", field("x: \u{e9}"), bad),
        // Hosts.
        ("two hosts", field("host: other.test"), bad),
        ("the same host twice", field(&format!("host: {NAME}")), bad),
        ("no host", b"POST / HTTP/1.1\r\n\r\n".to_vec(), bad),
        (
            "a host with a path",
            b"POST / HTTP/1.1\r\nhost: a/b\r\n\r\n".to_vec(),
            bad,
        ),
        (
            "a host with a user",
            b"POST / HTTP/1.1\r\nhost: a@b\r\n\r\n".to_vec(),
            bad,
        ),
        (
            "an empty host",
            b"POST / HTTP/1.1\r\nhost:\r\n\r\n".to_vec(),
            bad,
        ),
        // Request lines.
        (
            "absolute form",
            line(&format!("POST https://{NAME}/ HTTP/1.1")),
            bad,
        ),
        (
            "absolute form of another",
            line("POST http://169.254.169.254/ HTTP/1.1"),
            bad,
        ),
        ("CONNECT", line("CONNECT 169.254.169.254:80 HTTP/1.1"), bad),
        ("asterisk form", line("OPTIONS * HTTP/1.1"), bad),
        ("HTTP/1.0", line("POST / HTTP/1.0"), Last(505, MALFORMED)),
        ("HTTP/0.9", b"GET /\r\n\r\n".to_vec(), bad),
        (
            "HTTP/2 without being asked",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            Last(505, MALFORMED),
        ),
        ("two spaces", line("POST  / HTTP/1.1"), bad),
        ("a fragment", line("POST /#a HTTP/1.1"), bad),
        ("a backslash", line("POST /\\..\\a HTTP/1.1"), bad),
        ("a method with a bracket", line("PO(ST / HTTP/1.1"), bad),
        // Other protocols.
        ("Upgrade", field("connection: upgrade\r\nupgrade: h2c"), bad),
        (
            "a field that Connection names",
            field("connection: authorization"),
            bad,
        ),
        ("TE", field("te: trailers"), bad),
        (
            "another expectation",
            field("expect: 200-ok"),
            Last(417, MALFORMED),
        ),
        (
            "bytes that are no HTTP",
            b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n".to_vec(),
            bad,
        ),
        // Sizes.
        ("65 fields", many(65), Last(431, MALFORMED)),
        (
            "a long head",
            field(&format!("x: {}", "y".repeat(16 << 10))),
            Last(431, MALFORMED),
        ),
        (
            "a long target",
            line(&format!("POST /{} HTTP/1.1", "y".repeat(16 << 10))),
            Last(414, MALFORMED),
        ),
        (
            "a body of 1 MiB and 1",
            field("content-length: 1048577"),
            Last(413, MALFORMED),
        ),
        // What is well formed, and is nothing that SWF has.
        ("GET", line("GET / HTTP/1.1"), Stays(404, UNKNOWN)),
        (
            "HEAD of a file",
            line("OPTIONS /a HTTP/1.1"),
            Stays(404, UNKNOWN),
        ),
        (
            "another path",
            line("POST /latest/meta-data/ HTTP/1.1"),
            Stays(404, UNKNOWN),
        ),
        (
            "a path with dots",
            line("POST /a/.. HTTP/1.1"),
            Stays(404, UNKNOWN),
        ),
        (
            "a path that is encoded",
            line("POST /%2e HTTP/1.1"),
            Stays(404, UNKNOWN),
        ),
        ("two slashes", line("POST // HTTP/1.1"), Stays(404, UNKNOWN)),
        ("PUT", line("PUT / HTTP/1.1"), Stays(404, UNKNOWN)),
        ("64 fields", many(64), Stays(400, MALFORMED)),
        (
            "no body",
            field("x-amz-target: SimpleWorkflowService.ListDomains"),
            Stays(400, MALFORMED),
        ),
        ("no target", post("x: y", "{}"), Stays(400, UNKNOWN)),
        (
            "a target of another",
            post("x-amz-target: DynamoDB_20120810.ListTables", "{}"),
            Stays(400, UNKNOWN),
        ),
        ("no JSON", list("a"), Stays(400, MALFORMED)),
        (
            "half of JSON",
            list(r#"{"registrationStatus": "#),
            Stays(400, MALFORMED),
        ),
        ("JSON and more", list("{}{}"), Stays(400, MALFORMED)),
        ("a list", list("[]"), Stays(400, MISSING)),
        (
            "the same field twice",
            list(r#"{"registrationStatus": "A", "registrationStatus": "B"}"#),
            Stays(400, MALFORMED),
        ),
        (
            "a field twice, written otherwise",
            list(r#"{"registrationStatus": "A", "\u0072egistrationStatus": "B"}"#),
            Stays(400, MALFORMED),
        ),
        ("deep JSON", list(&deep[..10_000]), Stays(400, MALFORMED)),
        // Of a large body the signature comes first.
        ("deep and large JSON", list(&deep), Stays(400, MISSING)),
        ("NUL for JSON", list("\0"), Stays(400, MALFORMED)),
        (
            "a mark of byte order",
            list("\u{feff}{}"),
            Stays(400, MALFORMED),
        ),
        (
            "nobody",
            list(r#"{"registrationStatus": "REGISTERED"}"#),
            Stays(400, MISSING),
        ),
        (
            "nobody, with a length of 0",
            post("content-type: application/x-amz-json-1.0", ""),
            Stays(400, MALFORMED),
        ),
    ]
}

#[test]
fn each_hostile_request_is_answered_for_what_it_is_and_none_is_sent_on() -> Result<()> {
    let Some(scene) = Scene::new("requests", "")? else {
        return Ok(());
    };
    let table = hostile();
    ensure!(table.len() >= 60);
    let mut wrong = Vec::new();
    for (name, bytes, seen) in &table {
        let found = try_one(&scene, bytes, *seen);
        if let Err(error) = found {
            wrong.push(format!("{name}: {error:#}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(
        scene.backend.received().is_empty(),
        "{:?}",
        scene.backend.received()
    );
    let refused = table.iter().filter(|(_, _, seen)| matches!(seen, Last(..)));
    let refused = refused.count();
    let heads = |audit: &[Value]| {
        let heads = audit.iter().filter(|record| record["reason"] == "bad-head");
        heads.count()
    };
    // Each refused head is there once.
    scene.stage.audit(|audit| heads(audit) >= refused)?;
    ensure!(heads(&scene.stage.audit(|_| true)?) == refused);
    Ok(())
}

fn try_one(scene: &Scene, bytes: &[u8], seen: Seen) -> Result<()> {
    let mut client = scene.one()?;
    // The client may be cut off before it has sent everything, and the answer is there all the same.
    let _may_be_cut = client.send(bytes);
    let answer = client.answer()?;
    let (Last(status, exception) | Stays(status, exception)) = seen;
    ensure!(answer.status == status, "{answer:?}");
    ensure!(
        answer.exception().as_deref() == Some(exception),
        "{answer:?}"
    );
    ensure!(answer.field("x-amzn-requestid").is_some(), "{answer:?}");
    if seen == Last(status, exception) {
        ensure!(
            matches!(client.come(Duration::from_secs(10))?, Came::End),
            "it goes on"
        );
        return Ok(());
    }
    let next = client.ask(scene.describe("x-after")?);
    // It is taken up to the next answer, so that what came before was no half of this one.
    let next = next.context("the next request")?;
    ensure!(next.status == 200, "{next:?}");
    ensure!(
        scene.backend.received().len() == 1,
        "one request, and not two"
    );
    scene.backend.forget();
    Ok(())
}

#[test]
fn a_service_answers_for_its_own_requests_only() -> Result<()> {
    let Some(scene) = Scene::new("services", "")? else {
        return Ok(());
    };
    let mut client = scene.one()?;
    let mut exception = |request: Signed| -> Result<(u16, String)> {
        let answer = client.ask(request.bytes())?;
        Ok((answer.status, String::from_utf8(answer.body)?))
    };
    let identity = "Action=GetCallerIdentity&Version=2011-06-15";
    let (status, body) = exception(Signed::sts(&scene.alice, identity)?)?;
    ensure!(status == 200 && body.contains(":user/alice"), "{body}");

    // A form of STS that is signed for SWF, and the reverse.
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let wrong = Signed::of(&scene.alice, "swf", &form, identity.as_bytes())?;
    let (status, body) = exception(wrong)?;
    ensure!(
        status == 403 && body.contains("<Code>SignatureDoesNotMatch<"),
        "{status} {body}"
    );
    let json = [
        ("content-type", "application/x-amz-json-1.0"),
        ("x-amz-target", "SimpleWorkflowService.ListDomains"),
    ];
    let listing = br#"{"registrationStatus": "REGISTERED"}"#;
    let (status, body) = exception(Signed::of(&scene.alice, "sts", &json, listing)?)?;
    ensure!(
        status == 400 && body.contains("InvalidSignatureException"),
        "{status} {body}"
    );

    // A form with a target of SWF is STS's, and is no form.
    let form = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("x-amz-target", "SimpleWorkflowService.RegisterDomain"),
    ];
    let (status, body) = exception(Signed::of(&scene.alice, "sts", &form, listing)?)?;
    ensure!(
        (400..404).contains(&status) && body.contains("<ErrorResponse"),
        "{status} {body}"
    );
    // STS's form as JSON of SWF is no JSON.
    let (status, body) = exception(Signed::of(&scene.alice, "swf", &json, identity.as_bytes())?)?;
    ensure!(
        status == 400 && body.contains("SerializationException"),
        "{status} {body}"
    );

    // Other content types are SWF's as long as they are signed so, and are sent on as JSON.
    for kind in [
        "text/plain",
        "application/json",
        "multipart/form-data",
        "application/x-amz-json-1.1",
    ] {
        let fields = [("content-type", kind), json[1]];
        let (status, body) = exception(Signed::of(&scene.alice, "swf", &fields, listing)?)?;
        ensure!(status == 200, "{kind}: {status} {body}");
        let received = scene.backend.received();
        let sent = received.last().context("it came")?;
        ensure!(
            sent.field("content-type") == Some("application/x-amz-json-1.0"),
            "{sent:?}"
        );
    }
    Ok(())
}

#[test]
fn a_signature_holds_for_one_request_as_it_was_signed() -> Result<()> {
    let Some(scene) = Scene::new("signed", "")? else {
        return Ok(());
    };
    let request = scene.call("DescribeDomain", r#"{"name": "x"}"#)?;
    let mut client = scene.one()?;
    ensure!(client.ask(request.bytes())?.status == 200);
    let text = String::from_utf8(request.bytes())?;
    let table = [
        ("DescribeDomain", "DeprecateDomain"),
        ("\"x\"", "\"y\""),
        (&format!("host: {NAME}")[..], "host: other.test"),
        ("POST / ", "POST /? "),
        ("x-amz-json-1.0", "x-amz-json-1.1"),
        (
            "x-amz-target: Simple",
            "x-amz-target: SimpleWorkflowService.RegisterDomain\r\nx-amz-target: Simple",
        ),
        ("content-length", "x-amz-content: 1\r\ncontent-length"),
    ];
    let before = scene.backend.received().len();
    for (from, to) in table {
        let changed = text.replacen(from, to, 1);
        ensure!(changed != text, "{from} is not there");
        let answer = client.ask(changed)?;
        // A query without parameters is the same as none: it is the only change that changes nothing.
        let expected = if to == "POST /? " { 200 } else { 400 };
        ensure!(answer.status == expected, "{to}: {answer:?}");
        if expected == 400 {
            let exception = answer.exception().unwrap_or_default();
            ensure!(
                [
                    "InvalidSignatureException",
                    "UnknownOperationException",
                    "ValidationException"
                ]
                .contains(&&*exception),
                "{to}: {answer:?}"
            );
        }
    }
    ensure!(
        scene.backend.received().len() == before + 1,
        "nothing else came"
    );
    Ok(())
}

#[test]
fn requests_in_a_row_are_answered_in_their_order_until_a_wrong_one() -> Result<()> {
    let Some(scene) = Scene::new("row", "")? else {
        return Ok(());
    };
    let mut client = scene.one()?;
    let row = [
        scene.describe("chunked")?,
        line("GET / HTTP/1.1"),
        scene.describe("x")?,
    ];
    let wrong = field("transfer-encoding: chunked");
    client.send([&row.concat()[..], &wrong, &scene.describe("never")?].concat())?;
    let mut statuses = Vec::new();
    while let Came::Answer(answer) = client.come(Duration::from_secs(10))? {
        statuses.push(answer.status);
    }
    ensure!(statuses == [200, 404, 200, 501], "{statuses:?}");
    let received = scene.backend.received();
    ensure!(received.len() == 2, "{received:?}");
    Ok(())
}

#[test]
fn bodies_are_waited_for_and_never_guessed() -> Result<()> {
    let Some(scene) = Scene::new("bodies", "")? else {
        return Ok(());
    };
    let request = scene.call("DescribeDomain", r#"{"name": "x"}"#)?;
    let length = request.body.len();

    // A client that waits to be told to go on.
    let mut client = scene.one()?;
    let head = request.clone().with("expect", "100-continue").head(length);
    let told = client.ask(head)?;
    ensure!(told.status == 100, "{told:?}");
    let answer = client.ask(&request.body)?;
    ensure!(answer.status == 200, "{answer:?}");

    // A body in single bytes.
    client.send(request.head(length))?;
    for byte in &request.body {
        client.send([*byte])?;
    }
    ensure!(client.answer()?.status == 200);

    // A body that is shorter than told, with and without TLS's own end.
    let before = scene.backend.received().len();
    client.send(request.head(length + 1))?;
    client.send(&request.body)?;
    ensure!(matches!(
        client.come(Duration::from_millis(300))?,
        Came::Nothing
    ));
    client.end()?;
    ensure!(!is_success(&mut client)?, "a body without its end");
    let mut client = scene.one()?;
    client.send(request.head(length + 1))?;
    client.send(&request.body)?;
    drop(client);

    // A body that is longer than told: what is left over is no request.
    let mut client = scene.one()?;
    client.send(
        [
            request.head(length).as_bytes(),
            &request.body,
            b"}}}\r\n\r\n",
        ]
        .concat(),
    )?;
    ensure!(client.answer()?.status == 200);
    let left_over = client.answer()?;
    ensure!(left_over.status == 400, "{left_over:?}");
    ensure!(
        scene.backend.received().len() == before + 1,
        "and no other came"
    );
    Ok(())
}

fn is_success(client: &mut Client) -> Result<bool> {
    let came = client.come(Duration::from_secs(10))?;
    Ok(matches!(came, Came::Answer(answer) if answer.status == 200))
}

#[test]
fn a_body_of_a_mebibyte_is_taken_and_one_byte_more_is_not() -> Result<()> {
    let Some(scene) = Scene::new("mebibyte", "")? else {
        return Ok(());
    };
    let begin = r#"{"domain": "d", "workflowId": "w", "signalName": "s", "input": ""#;
    let body = |length: usize| format!("{begin}{}\"}}", "y".repeat(length - begin.len() - 2));
    let largest = scene.call("SignalWorkflowExecution", &body(1 << 20))?;
    let mut client = scene.one()?;
    let answer = client.ask(largest.bytes())?;
    // The input of a signal is 32,768 characters at most in SWF, which says so itself.
    ensure!(answer.status == 200, "{answer:?}");
    let received = scene.backend.received();
    ensure!(
        received.last().map(|request| &request.body) == Some(&largest.body),
        "it came as it was"
    );
    let larger = scene.call("SignalWorkflowExecution", &body((1 << 20) + 1))?;
    let _may_be_cut = client.send(larger.bytes());
    ensure!(client.answer()?.status == 413);
    // Ten mebibytes of a head are not waited for.
    let mut client = scene.one()?;
    let endless = format!("POST / HTTP/1.1\r\nx: {}", "y".repeat(10 << 20));
    let _is_cut = client.send(endless);
    let came = client.come(Duration::from_secs(10))?;
    ensure!(!matches!(came, Came::Nothing), "it is ended");
    Ok(())
}

#[test]
fn what_is_no_tls_of_today_gets_no_further() -> Result<()> {
    let Some(scene) = Scene::new("no-tls", "")? else {
        return Ok(());
    };
    let before = scene.stage.refusals("direct")?;
    let table: [(&str, Vec<u8>, &str, Option<u8>); 5] = [
        (
            "HTTP",
            b"POST / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
            "not-tls",
            None,
        ),
        ("TLS 1.1", hello([3, 2]), "too-old", Some(70)),
        ("TLS 1.0", hello([3, 1]), "too-old", Some(70)),
        ("SSL 3", hello([3, 0]), "too-old", Some(70)),
        (
            "without signatures",
            hello([3, 3]),
            "no-common-signature",
            Some(40),
        ),
    ];
    for (name, bytes, reason, alert) in table {
        let mut stream = connect(&scene.stage.world.one, ONE)?;
        stream.write_all(&bytes)?;
        let mut said = Vec::new();
        let _reset_or_end = stream.read_to_end(&mut said);
        if let Some(alert) = alert {
            ensure!(
                said.first() == Some(&0x15) && said.get(6) == Some(&alert),
                "{name}: {said:?}"
            );
        }
        let count = scene.stage.refusals("direct")?.get(reason).copied();
        let earlier = before.get(reason).copied().unwrap_or(0);
        ensure!(
            count.unwrap_or(0) > earlier,
            "{name}: {:?}",
            scene.stage.refusals("direct")?
        );
    }
    // Bytes of no record amid a session.
    let mut client = scene.one()?;
    ensure!(client.ask(scene.describe("x")?)?.status == 200);
    client.socket().write_all(&[0; 100])?;
    ensure!(matches!(
        client.come(Duration::from_secs(10)),
        Ok(Came::End) | Err(_)
    ));
    ensure!(scene.one()?.ask(scene.describe("x")?)?.status == 200);
    Ok(())
}

/// A `ClientHello` of a version that offers `TLS_RSA_WITH_AES_128_CBC_SHA` alone.
fn hello(version: [u8; 2]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    let mut hello = vec![
        0x16,
        3,
        1,
        0,
        u8::try_from(body.len() + 4).expect("short"),
        1,
        0,
        0,
    ];
    hello.push(u8::try_from(body.len()).expect("short"));
    hello.extend(body);
    hello
}
