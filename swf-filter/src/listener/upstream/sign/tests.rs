//! Signatures hold for another verifier, and credentials are asked for when they have to be.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future;
use hyper::header::HeaderValue;
use swf_filter_core::sigv4::{BodyHash, Claim, Fault, Head, Rules, Secret};
use swf_filter_core::swf::Action;

use super::super::tests::{Act, Server, authorized};
use super::super::{Upstream, head};
use super::*;
use crate::listener::settings::{self, UpstreamIdentity};

const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// Gives credentials that hold for a time, or fails.
#[derive(Debug)]
struct Made {
    asked: Arc<AtomicUsize>,
    lasts: Option<Duration>,
}

impl ProvideCredentials for Made {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let expiry = |lasts| SystemTime::now() + lasts;
        let answer = match self.lasts {
            Some(Duration::ZERO) => Err(CredentialsError::not_loaded("nothing here")),
            lasts => Ok(Credentials::new(
                KEY_ID,
                SECRET,
                Some("token/+=".into()),
                lasts.map(expiry),
                "test",
            )),
        };
        future::ProvideCredentials::ready(answer)
    }
}

async fn signer(lasts: Option<Duration>) -> (Arc<Signer>, Arc<AtomicUsize>) {
    let asked = Arc::default();
    let provider = SharedCredentialsProvider::new(Made {
        asked: Arc::clone(&asked),
        lasts,
    });
    (Signer::new("eu-west-1", provider).await, asked)
}

fn message() -> Message {
    let authority = HeaderValue::from_static("swf.eu-west-1.amazonaws.com");
    head::plain(&authority, &authorized(Action::ListDomains, "{}"))
}

fn verify(fields: &[(&str, &[u8])], body: &[u8], region: &str) -> Result<(), Fault> {
    let head = Head {
        method: "POST",
        path: "/",
        query: "",
        headers: fields.to_vec(),
    };
    let rules = Rules::of(region, "swf");
    let checked = Claim::read(&head, rules.query)?.check(&rules, jiff::Timestamp::now())?;
    assert_eq!(checked.access_key_id(), KEY_ID);
    checked.verify(
        &checked.derive(&Secret::new(SECRET.into())),
        BodyHash::of(body),
    )
}

fn fields(message: &Message) -> Vec<(&str, &[u8])> {
    let headers = message.headers().iter();
    headers
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect()
}

#[tokio::test]
async fn what_is_signed_verifies_and_changed_it_does_not() {
    let (signer, _) = signer(None).await;
    let mut message = message();
    signer.sign(&mut message, b"{}").await.unwrap();
    let own = fields(&message);
    assert_eq!(verify(&own, b"{}", "eu-west-1"), Ok(()));
    assert_eq!(verify(&own, b"{ }", "eu-west-1"), Err(Fault::Mismatch));
    let region = "eu-west-2";
    assert!(matches!(
        verify(&own, b"{}", region),
        Err(Fault::Region { .. })
    ));
    for name in [
        "host",
        "content-type",
        "x-amz-date",
        "x-amz-security-token",
        "x-amz-target",
    ] {
        let changed: Vec<_> = own
            .iter()
            .map(|&(own, value)| (own, if own == name { &value[1..] } else { value }))
            .collect();
        assert!(verify(&changed, b"{}", "eu-west-1").is_err(), "{name}");
    }
    // What is not signed, such as `user-agent`, may change on the way.
    let without: Vec<_> = own
        .iter()
        .copied()
        .filter(|(name, _)| *name != "user-agent")
        .collect();
    assert_eq!(verify(&without, b"{}", "eu-west-1"), Ok(()));
}

#[tokio::test]
async fn credentials_are_asked_for_once_as_long_as_they_hold() {
    for lasts in [None, Some(Duration::from_hours(1))] {
        let (signer, asked) = signer(lasts).await;
        for _ in 0..10 {
            signer.sign(&mut message(), b"{}").await.unwrap();
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{lasts:?}");
    }
}

#[tokio::test]
async fn credentials_are_asked_for_again_before_they_expire() {
    let (signer, asked) = signer(Some(Duration::from_mins(3))).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while asked.load(Ordering::SeqCst) < 2 {
        assert!(Instant::now() < deadline, "never asked again");
        signer.sign(&mut message(), b"{}").await.unwrap();
        tokio::task::yield_now().await;
    }
}

#[test]
fn there_is_time_left_when_credentials_are_asked_for_again() {
    let now = SystemTime::now();
    let after = |seconds| {
        let expiry = now + Duration::from_secs(seconds);
        before_expiry(&Credentials::new("a", "b", None, Some(expiry), "test"), now).as_secs()
    };
    assert_eq!(
        [after(3600), after(241), after(200), after(1)],
        [3360, 1, 1, 1]
    );
    assert_eq!(after(0), 0);
}

#[tokio::test]
async fn without_credentials_there_is_a_fault_and_no_storm_of_questions() {
    let (signer, asked) = signer(Some(Duration::ZERO)).await;
    for _ in 0..10 {
        let fault = signer.sign(&mut message(), b"{}").await.unwrap_err();
        assert!(fault.to_string().contains("nothing here"), "{fault}");
        assert_eq!(
            fault.answer(),
            (hyper::StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")
        );
    }
    assert!(asked.load(Ordering::SeqCst) <= 3);
}

/// Runs [`send_from_here`] in a process with such an environment, and gives what its upstream saw.
async fn sent_with(environment: &[(&str, &str)]) -> Vec<String> {
    let server =
        Server::new(|_| Act::Last("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into())).await;
    let mut command = Command::new(std::env::current_exe().unwrap());
    let folder = tempfile::tempdir().unwrap();
    command
        .args([
            "--ignored",
            "--exact",
            "listener::upstream::sign::tests::send_from_here",
        ])
        .env_clear()
        .env("HOME", folder.path())
        .env(ADDRESS, format!("http://{}", server.address))
        .envs(environment.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
    server.seen()
}

const ADDRESS: &str = "SWF_FILTER_TEST_ADDRESS";

#[tokio::test]
#[ignore = "other tests run it, in an environment of its own"]
async fn send_from_here() {
    let address = std::env::var(ADDRESS).unwrap();
    let settings = settings::Upstream {
        name: "aws".into(),
        addresses: vec![address.parse().unwrap()],
        authorities: None,
        identity: UpstreamIdentity::Aws {
            region: "eu-west-1".into(),
        },
    };
    let upstream = Upstream::new(&settings).await.unwrap();
    let request = authorized(Action::ListDomains, "{}");
    let answer = upstream.send(&request).await.unwrap();
    assert_eq!(answer.status, hyper::StatusCode::OK);
}

fn verify_seen(seen: &[String]) -> Result<(), Fault> {
    let [seen] = seen else {
        panic!("one request: {seen:?}");
    };
    assert!(!seen.contains("x-swf-filter"), "{seen}");
    let (head, body) = seen.split_once("\r\n\r\n").unwrap();
    let lines = head.lines().skip(1);
    let fields: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name, value.as_bytes()))
        .collect();
    verify(&fields, body.as_bytes(), "eu-west-1")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_gives_credentials() {
    let own = [
        ("AWS_ACCESS_KEY_ID", KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
    ];
    assert_eq!(verify_seen(&sent_with(&own).await), Ok(()));
    let other = [own[0], ("AWS_SECRET_ACCESS_KEY", "another")];
    assert_eq!(verify_seen(&sent_with(&other).await), Err(Fault::Mismatch));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_of_an_instance_gives_credentials() {
    let metadata = metadata().await;
    let endpoint = format!("http://{metadata}");
    let seen = sent_with(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint)]).await;
    assert!(seen[0].contains("x-amz-security-token: from-metadata\r\n"));
    assert_eq!(verify_seen(&seen), Ok(()));
}

/// The metadata service of an instance with a role, as the Amazon EC2 User Guide shows it.
async fn metadata() -> std::net::SocketAddr {
    use http_body_util::Full;
    use hyper::body::{Bytes, Incoming};
    use hyper::{Request, Response};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = |request: Request<Incoming>| {
        let expiry = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(6);
        let body = match request.uri().path().trim_end_matches('/') {
            "/latest/api/token" => "a-token".to_owned(),
            _ if request.headers().get("x-aws-ec2-metadata-token").is_none() => String::new(),
            path if path.ends_with("/iam/info")
                || path.ends_with("security-credentials-extended")
                || path.ends_with("security-credentials") =>
            {
                "a-role".to_owned()
            }
            path if path.ends_with("/a-role") => format!(
                r#"{{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"{KEY_ID}","SecretAccessKey":"{SECRET}",
                    "Token":"from-metadata","LastUpdated":"2026-01-01T00:00:00Z","Expiration":"{}"}}"#,
                expiry.strftime("%Y-%m-%dT%H:%M:%SZ")
            ),
            _ => String::new(),
        };
        let response = Response::builder()
            .status(if body.is_empty() { 404 } else { 200 })
            .header("x-aws-ec2-metadata-token-ttl-seconds", "21600");
        response.body(Full::new(Bytes::from(body)))
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service =
                hyper::service::service_fn(move |request| std::future::ready(answer(request)));
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    address
}
