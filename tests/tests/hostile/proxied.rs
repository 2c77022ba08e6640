//! Headers of the PROXY protocol, right and wrong, from those who may send them and those who may not.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
};

use anyhow::{Result, ensure};
use serde_json::Value;
use swf_filter_tests::{
    client::{Client, Signed, connect},
    netns::Namespace,
    stage::PROXIED,
};

use crate::stage::Scene;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// A connection of a client at 10.20.0.x that comes through an endpoint.
pub(crate) fn from_endpoint(scene: &Scene, endpoint: &str, last: u8) -> Result<Client> {
    let mut header = header(PROXY, Some(endpoint), 0);
    header[19] = last;
    let sum = header.len() - 4;
    header[sum..].fill(0);
    let right = crc32c(&header).to_be_bytes();
    header[sum..].copy_from_slice(&right);
    through(scene, &header)
}

/// A header of version 2 for a client at 10.20.0.9, with its checksum turned over by `flip`.
fn header(command: u8, endpoint: Option<&str>, flip: u32) -> Vec<u8> {
    let mut fields = Vec::new();
    if let Some(endpoint) = endpoint {
        // PP2_TYPE_AWS, PP2_SUBTYPE_AWS_VPCE_ID.
        let length = u16::try_from(endpoint.len() + 1).expect("a short name");
        fields.push(0xea);
        fields.extend(length.to_be_bytes());
        fields.push(1);
        fields.extend(endpoint.as_bytes());
    }
    let addresses = [10, 20, 0, 9, 10, 20, 0, 1, 0x12, 0x34, 0x24, 0xe3];
    let length = addresses.len() + fields.len() + 7;
    let mut header = SIGNATURE.to_vec();
    header.extend([command, 0x11]);
    header.extend(u16::try_from(length).expect("short").to_be_bytes());
    header.extend(addresses);
    header.extend(fields);
    header.extend([3, 0, 4]);
    let summed = [&header[..], &[0; 4]].concat();
    header.extend((crc32c(&summed) ^ flip).to_be_bytes());
    header
}

/// RFC 3720, appendix B.4.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

fn connected(from: &Namespace, header: &[u8]) -> Result<TcpStream> {
    let mut stream = connect(from, PROXIED)?;
    stream.write_all(header)?;
    Ok(stream)
}

fn through(scene: &Scene, header: &[u8]) -> Result<Client> {
    let stream = connected(&scene.stage.world.one, header)?;
    scene.trust.client(stream)
}

/// Whether the listener ends a connection without a word.
fn ends(mut stream: TcpStream) -> bool {
    let mut byte = [0];
    match stream.read(&mut byte) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn an_endpoint_in_a_header_decides_what_a_client_may_do() -> Result<()> {
    let Some(scene) = Scene::new("endpoint", "")? else {
        return Ok(());
    };
    let register = r#"{"name": "a", "workflowExecutionRetentionPeriodInDays": "1"}"#;
    let register = scene.call("RegisterDomain", register)?;

    let mut client = through(&scene, &header(PROXY, Some("vpce-0aaa"), 0))?;
    let answer = client.ask(register.bytes())?;
    ensure!(answer.status == 200, "{answer:?}");
    let told = scene.backend.received();
    let told = told.last().expect("it came");
    let field = |name| told.field(name).map(str::to_owned);
    ensure!(
        field("x-swf-filter-source-vpce").as_deref() == Some("vpce-0aaa"),
        "{told:?}"
    );
    ensure!(
        field("x-swf-filter-source-vpc").as_deref() == Some("vpc-one"),
        "{told:?}"
    );
    ensure!(
        field("x-swf-filter-source-ip").as_deref() == Some("10.20.0.9"),
        "{told:?}"
    );

    let mut client = through(&scene, &header(PROXY, Some("vpce-0bbb"), 0))?;
    let answer = client.ask(register.bytes())?;
    ensure!(
        answer.exception().as_deref() == Some("AccessDeniedException"),
        "{answer:?}"
    );
    let answer = client.ask(scene.describe("x")?)?;
    ensure!(answer.status == 200, "{answer:?}");

    let of = |audit: &[Value], endpoint: &str| -> Vec<_> {
        let own = audit.iter().filter(|record| record["endpoint"] == endpoint);
        own.map(|record| {
            let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
            ["vpc", "source", "action", "verdict", "reason"]
                .map(text)
                .join(" ")
        })
        .collect()
    };
    scene.stage.audit(|audit| {
        of(audit, "vpce-0aaa") == ["vpc-one 10.20.0.9 swf:RegisterDomain allowed allowed"]
            && of(audit, "vpce-0bbb")
                == [
                    "vpc-two 10.20.0.9 swf:RegisterDomain denied explicit-deny",
                    "vpc-two 10.20.0.9 swf:DescribeDomain allowed allowed",
                ]
    })?;
    Ok(())
}

#[test]
fn wrong_headers_and_wrong_senders_end_before_tls() -> Result<()> {
    let Some(scene) = Scene::new("headers", "")? else {
        return Ok(());
    };
    let world = &scene.stage.world;
    world.two.ip("route add 10.20.0.0/24 via 10.30.0.1")?;
    let right = header(PROXY, Some("vpce-0aaa"), 0);
    let flipped = |place: usize| {
        let mut header = right.clone();
        header[place] ^= 1;
        header
    };
    let twice = [&right[..], &right[..]].concat();
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hello, hello, hello";
    let table: [(&str, &Namespace, Vec<u8>, &str); 9] = [
        (
            "unknown endpoint",
            &world.one,
            header(PROXY, Some("vpce-0ccc"), 0),
            "source-not-allowed",
        ),
        (
            "no endpoint",
            &world.one,
            header(PROXY, Some("vpce-xyz"), 0),
            "bad-proxy-header",
        ),
        (
            "without endpoint",
            &world.one,
            header(PROXY, None, 0),
            "source-not-allowed",
        ),
        (
            "checksum",
            &world.one,
            header(PROXY, Some("vpce-0aaa"), 1),
            "bad-proxy-header",
        ),
        ("address", &world.one, flipped(16), "bad-proxy-header"),
        ("plain TLS", &world.one, hello.to_vec(), "bad-proxy-header"),
        (
            "HTTP",
            &world.one,
            b"POST / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
            "bad-proxy-header",
        ),
        ("two headers", &world.one, twice, "not-tls"),
        (
            "another sender",
            &world.two,
            right.clone(),
            "untrusted-proxy",
        ),
    ];
    let mut expected = BTreeMap::new();
    for (name, from, header, reason) in &table {
        let mut stream = connected(from, header)?;
        if *reason == "not-tls" {
            // It is told so by an alert.
            let mut alert = [0; 7];
            stream.read_exact(&mut alert)?;
            ensure!(alert[0] == 0x15, "{name}: {alert:?}");
        }
        ensure!(ends(stream), "{name} does not end");
        *expected.entry((*reason).to_owned()).or_insert(0) += 1;
        let refusals = scene.stage.refusals("proxied")?;
        ensure!(
            refusals == expected,
            "{name}: {refusals:?}, not {expected:?}"
        );
    }
    let is_told = |audit: &[Value], reason: &str| {
        let is = |record: &Value| record["reason"] == reason && record["verdict"] == "refused";
        audit.iter().any(is)
    };
    let from_unknown =
        |record: &Value| record["endpoint"] == "vpce-0ccc" && record["source"] == "10.20.0.9";
    scene.stage.audit(|audit| {
        let mut reasons = table.iter().map(|(_, _, _, reason)| reason);
        reasons.all(|reason| is_told(audit, reason)) && audit.iter().any(from_unknown)
    })?;
    // A balancer asks whether somebody is there. It is no refusal, and no request.
    ensure!(
        ends(connected(&world.one, &header(LOCAL, None, 0))?),
        "a health check"
    );
    ensure!(scene.stage.refusals("proxied")? == expected);
    ensure!(
        scene.backend.received().is_empty(),
        "nothing reaches the upstream"
    );
    // The twin, which differs from some of them by one bit.
    let answer = through(&scene, &right)?.ask(scene.describe("x")?)?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(())
}

/// The header says who the client is, so the client must not.
#[test]
fn what_a_client_says_of_itself_is_not_believed() -> Result<()> {
    let Some(scene) = Scene::new("identity", "")? else {
        return Ok(());
    };
    let body = r#"{"name": "x"}"#;
    let request: Signed = scene
        .call("DescribeDomain", body)?
        .with("x-swf-filter-principal", "arn:aws:iam::111122223333:root")
        .with("x-swf-filter-source-vpc", "vpc-two")
        .with("x-swf-filter-source-ip", "192.0.2.1")
        .with("x-swf-filter-account", "999999999999")
        .with("x-forwarded-for", "192.0.2.1")
        .with("forwarded", "for=192.0.2.1")
        .with("cookie", "a=b");
    let answer = scene.one()?.ask(request.bytes())?;
    ensure!(answer.status == 200, "{answer:?}");
    let received = scene.backend.received();
    let head = &received.last().expect("it came").head;
    for wrong in ["root", "192.0.2.1", "vpc-two", "999999999999", "a=b"] {
        ensure!(!head.contains(wrong), "`{wrong}` in {head}");
    }
    for right in [
        "arn:aws:iam::111122223333:user/alice",
        "10.20.0.2",
        "vpc-one",
    ] {
        ensure!(head.contains(right), "no `{right}` in {head}");
    }
    Ok(())
}
