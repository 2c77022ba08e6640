use std::fs;
use std::path::PathBuf;

use http_body_util::{BodyExt, Full};
use hyper::http::request::Builder;
use swf_filter_core::credentials::{Prefix, unique_id};
use swf_filter_core::judge::Judge;
use swf_filter_core::session::Ring;
use swf_filter_core::sigv4::{Secret, SigningKey};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::keys::{self, Keys, NewKey, Places, Store};
use crate::listener::audit::{Audit, Entry, Journal, Targets, Writing};
use crate::listener::policy::tests::{enforced, enforced_with};
use crate::listener::settings::{Http, Settings};
use crate::listener::shared::ListenerCounters;
use crate::listener::upstream::Upstream;
use crate::listener::{tls::Tls as Terminator, ways};

const ALICE: &str = "arn:aws:iam::111122223333:user/alice";
const TARGET: &str = "SimpleWorkflowService.DescribeDomain";
const ORDERS: &str = r#"{"name":"orders"}"#;

struct Stage {
    folder: TempDir,
    connection: Arc<Connection>,
    key: NewKey,
    store: Store,
    writing: Writing,
    /// A message for each request that comes to the upstream.
    arrived: mpsc::UnboundedReceiver<()>,
    policy: watch::Sender<Option<Arc<Enforced>>>,
}

/// What the upstream does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behind {
    Answers,
    Hangs,
}

async fn stage(behind: Behind) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let own = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    fs::write(path("a.pem"), own.cert.pem()).unwrap();
    fs::write(path("a.key"), own.signing_key.serialize_pem()).unwrap();
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let text = format!(
        r#"
        version = 1
        [[listener]]
        name = "one"
        listen = ["127.0.0.1:443"]
        host = "swf"
        certificates = [{{ chain = "{0}/a.pem", key = "{0}/a.key" }}]
        upstream = "swf"
        [[upstream]]
        name = "swf"
        addresses = ["http://{1}"]
        identity = "headers"
        [paths]
        state = "{0}/state"
        keys = "{0}/keys"
        "#,
        folder.path().display(),
        upstream.local_addr().unwrap()
    );
    fs::write(path("listener.toml"), text).unwrap();
    let settings = Settings::load(&path("listener.toml")).unwrap();
    let places = Places::with_credentials(&settings.paths, None);
    let store = Store::new(places.clone());
    let key = store.create(ALICE, None, Timestamp::now()).unwrap();
    keys::rotate(&places, 2).unwrap();
    let (audit, writing) = Audit::start(&Targets {
        file: Some(path("audit.jsonl")),
        journal: Journal::Off,
    })
    .unwrap();
    let (policy, current) = watch::channel(Some(Arc::new(enforced(7))));
    let of = settings.listeners[0].clone();
    let listener = Fronting {
        tls: Terminator::new(&of.certificates, &of.clients, of.http).unwrap(),
        upstream: Upstream::new(&settings.upstreams[0]).await.unwrap(),
        upstream_name: "swf".into(),
        counters: ListenerCounters::default(),
        settings: of,
    };
    let ring = Ring::new(keys::session_keys(&places).unwrap()).unwrap();
    let keys = Keys::load(&places).unwrap();
    let shared = Shared::new(settings, current, audit, keys, ring).unwrap();
    let connection = Arc::new(Connection {
        shared: Arc::new(shared),
        listener: Arc::new(listener),
        arrival: direct("203.0.113.7:4000"),
        tls: tls::Session {
            version: "TLSv1.3",
            suite: "TLS_AES_128_GCM_SHA256",
            group: None,
            server_name: None,
            client_certificate: None,
            http: Http::One,
        },
        slot: None,
        pace: Arc::new(Pace::new(None)),
    });
    Stage {
        folder,
        connection,
        key,
        store,
        writing,
        arrived: backend(upstream, behind),
        policy,
    }
}

fn backend(socket: TcpListener, behind: Behind) -> mpsc::UnboundedReceiver<()> {
    let (sender, arrived) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = socket.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            let _ = sender.send(());
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
            match behind {
                Behind::Answers => stream.write_all(answer).await.unwrap(),
                Behind::Hangs => std::future::pending().await,
            }
        }
    });
    arrived
}

fn direct(peer: &str) -> Arrival {
    Arrival::direct(peer.parse().unwrap(), Arc::new(ways::unknown()))
}

fn unsigned(target: &str) -> Builder {
    Request::post("/")
        .header("host", "a.example")
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", target)
}

/// A request that is signed with a key, and with a session token unless that is empty.
fn signed(
    target: &str,
    body: &str,
    id: &str,
    secret: &Secret,
    token: &str,
) -> Request<Full<Bytes>> {
    let now = Timestamp::now();
    let (time, day) = (now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d"));
    let scope = format!("{day}/us-east-1/swf/aws4_request");
    let mut fields = vec![
        ("host", "a.example".to_owned()),
        ("x-amz-date", time.to_string()),
        ("x-amz-security-token", token.to_owned()),
        ("x-amz-target", target.to_owned()),
    ];
    fields.retain(|(_, value)| !value.is_empty());
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines = fields
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"));
    let canonical = format!(
        "POST\n/\n\n{}\n{names}\n{}",
        lines.collect::<String>(),
        BodyHash::of(body.as_bytes())
    );
    let hash = BodyHash::of(canonical.as_bytes());
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
    let key = SigningKey::derive(secret, &day.to_string(), "us-east-1", "swf");
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={}",
        key.sign(&text)
    );
    let mut request = unsigned(target).header("authorization", authorization);
    for (name, value) in fields
        .iter()
        .filter(|(name, _)| matches!(*name, "x-amz-date" | "x-amz-security-token"))
    {
        request = request.header(*name, value);
    }
    request.body(body.to_owned().into()).unwrap()
}

impl Stage {
    fn signed(&self, target: &str, body: &str) -> Request<Full<Bytes>> {
        let secret = Secret::new(self.key.secret_access_key.to_string());
        let id = &self.key.info.access_key_id;
        signed(target, body, id, &secret, "")
    }

    fn come_from(&mut self, peer: &str) {
        let connection = Arc::get_mut(&mut self.connection);
        connection.expect("nothing is under way").arrival = direct(peer);
    }

    fn respond(
        &self,
        request: Request<Full<Bytes>>,
    ) -> impl Future<Output = Result<Response<Recorded<Body>>, Infallible>> + use<> {
        Arc::clone(&self.connection).respond(request)
    }

    /// The status of an answer, and what kind of exception it is.
    async fn ask(&self, request: Request<Full<Bytes>>) -> (u16, String) {
        let response = self.respond(request).await.unwrap();
        assert!(response.headers().contains_key("x-amzn-requestid"));
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let kind = json["__type"].as_str().unwrap_or_default();
        (status, kind.rsplit('#').next().unwrap().to_owned())
    }

    /// The verdict, reason and principal of each request.
    fn records(self) -> Vec<Record> {
        self.writing.finish();
        let path: PathBuf = self.folder.path().join("audit.jsonl");
        let text = fs::read_to_string(path).unwrap();
        let entries = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let records = entries.map(|entry| match entry {
            Entry::Request(record) => *record,
            Entry::Lost(lost) => panic!("{lost:?}"),
        });
        records.collect()
    }
}

#[tokio::test]
async fn checks_come_in_the_order_of_aws_and_each_has_its_answer() {
    let mut stage = stage(Behind::Answers).await;
    let bad = |code: &str| (400, code.to_owned());
    let plain = |target, body: &'static str| unsigned(target).body(body.into()).unwrap();
    // What is wrong with the body and the operation comes before the signature, and all else after it.
    assert_eq!(
        stage.ask(plain(TARGET, "{")).await,
        bad("SerializationException")
    );
    assert_eq!(
        stage.ask(plain("X.Y", "{")).await,
        bad("SerializationException")
    );
    assert_eq!(
        stage.ask(plain("X.Y", "{}")).await,
        bad("UnknownOperationException")
    );
    let missing = bad("MissingAuthenticationTokenException");
    assert_eq!(stage.ask(plain(TARGET, ORDERS)).await, missing);
    assert_eq!(stage.ask(plain(TARGET, "{}")).await, missing);
    let mut altered = stage.signed(TARGET, ORDERS);
    *altered.body_mut() = r#"{"name":"Orders"}"#.into();
    assert_eq!(stage.ask(altered).await, bad("InvalidSignatureException"));
    let incomplete = stage.signed(TARGET, "{}");
    assert_eq!(stage.ask(incomplete).await, bad("ValidationException"));
    let other = stage.signed(TARGET, r#"{"name":"other"}"#);
    assert_eq!(stage.ask(other).await, bad("AccessDeniedException"));
    assert!(
        stage.arrived.try_recv().is_err(),
        "nothing of this is sent on"
    );

    let fine = stage.signed(TARGET, ORDERS);
    assert_eq!(stage.ask(fine).await, (200, String::new()));
    stage.arrived.recv().await.unwrap();
    let elsewhere = Request::get("/x").body(Full::default()).unwrap();
    assert_eq!(stage.ask(elsewhere).await.0, 404);

    let records = stage.records();
    let reasons: Vec<&str> = records.iter().map(|record| &*record.reason).collect();
    let (signature, call) = ("bad-signature", "bad-call");
    assert_eq!(
        reasons[..5],
        [call, call, "unknown-operation", signature, signature]
    );
    assert_eq!(reasons[5..7], [signature, call]);
    assert_eq!(reasons[9], "bad-target");
    // Nobody is named who has not signed.
    let named = records.iter().map(|record| record.principal.is_some());
    let named: Vec<bool> = named.collect();
    assert_eq!(named[..6], [false; 6]);
    assert_eq!(named[6..], [true, true, true, false]);
    let verdicts = [&records[7], &records[8]].map(|record| record.verdict);
    assert_eq!(verdicts, [Verdict::Denied, Verdict::Allowed]);
    assert!(records.iter().all(|record| record.generation == 7));
}

#[tokio::test]
async fn keys_that_are_disabled_and_sources_that_are_denied_get_nothing() {
    let mut stage = stage(Behind::Answers).await;
    let request = stage.signed(TARGET, ORDERS);
    stage.come_from("203.0.113.66:4000");
    assert_eq!(stage.ask(request).await.0, 403);
    stage.come_from("203.0.113.7:4000");

    let request = stage.signed(TARGET, ORDERS);
    assert_eq!(stage.ask(request).await.0, 200);
    let id = stage.key.info.access_key_id.clone();
    stage.store.set_status(&id, keys::Status::Inactive).unwrap();
    let places = Places::with_credentials(&stage.connection.shared.settings.paths, None);
    let keys = stage.connection.shared.keys.load().reload(&places).unwrap();
    stage.connection.shared.replace_keys(keys);
    let request = stage.signed(TARGET, ORDERS);
    let unknown = (400, "UnrecognizedClientException".to_owned());
    assert_eq!(stage.ask(request).await, unknown);

    stage.policy.send_replace(None);
    let request = stage.signed(TARGET, ORDERS);
    assert_eq!(stage.ask(request).await.0, 503);
    let reasons: Vec<_> = stage.records().into_iter().map(|one| one.reason).collect();
    assert_eq!(reasons[0], "source-not-allowed");
    assert_eq!(reasons[2..], ["unknown-access-key", "no-policy"]);
}

const WORKER: &str = "[[role]]\nname = \"worker\"\n";

fn worker(judge: &Judge) -> Session {
    let caller = "arn:aws:sts::111122223333:assumed-role/worker/one";
    let caller = judge.caller(caller).unwrap();
    let now = Timestamp::now();
    Session {
        access_key_id: "ASIAAAAAAAAAAAAAAAAA".into(),
        secret: Secret::new("right".to_owned()),
        unique_id: Box::from(&*judge.identity(&caller).unwrap().id),
        caller,
        parent: None,
        issued: now,
        expires: now + jiff::SignedDuration::from_secs(60),
        policy: None,
        source_identity: Some("alice".into()),
        tags: Vec::new(),
    }
}

#[tokio::test]
async fn whatever_a_request_shows_can_be_denied() {
    let stage = stage(Behind::Answers).await;
    let deny = |condition: &str| {
        let document = format!(
            r#"{{"Version": "2012-10-17", "Statement": [
            {{"Effect": "Allow", "Action": "swf:*", "Principal": "*", "Resource": "*"}},
            {{"Effect": "Deny", "Action": "swf:*", "Principal": "*", "Resource": "*", "Condition": {condition}}}]}}"#
        );
        let policy = enforced_with(8, WORKER, &document);
        stage.policy.send_replace(Some(Arc::new(policy)));
    };
    let by_alice = |referers: &[&str]| {
        let mut request = stage.signed(TARGET, ORDERS);
        let headers = request.headers_mut();
        headers.insert("user-agent", "curl/8".parse().unwrap());
        for referer in referers {
            headers.append("referer", referer.parse().unwrap());
        }
        stage.ask(request)
    };
    let by_worker = || {
        let session = worker(&stage.policy.borrow().as_deref().unwrap().judge);
        let token = stage.connection.shared.seal(&session).unwrap();
        let id = &session.access_key_id;
        stage.ask(signed(TARGET, ORDERS, id, &session.secret, &token))
    };
    let denied = (400, "AccessDeniedException".to_owned());
    let allowed = (200, String::new());

    let good = "https://good.example/";
    let own = "https://bad.example/";
    deny(r#"{"StringEquals": {"aws:Referer": "https://bad.example/"}}"#);
    assert_eq!(by_alice(&[good]).await, allowed);
    assert_eq!(by_alice(&[]).await, allowed);
    assert_eq!(by_alice(&[own]).await, denied);
    assert_eq!(by_alice(&[good, own]).await, denied);
    deny(r#"{"StringLike": {"aws:userid": "AROA*:one"}}"#);
    assert_eq!(by_worker().await, denied);
    assert_eq!(by_alice(&[]).await, allowed);
    deny(r#"{"StringLike": {"aws:userid": "AROA*:two"}}"#);
    assert_eq!(by_worker().await, allowed);

    let of_all = [
        "aws:CurrentTime",
        "aws:EpochTime",
        "aws:userid",
        "swf-filter:TlsCipherSuite",
        "swf-filter:TlsVersion",
    ];
    let of_alice = ["aws:Referer", "aws:UserAgent", "aws:username"];
    let of_worker = [
        "aws:MultiFactorAuthPresent",
        "aws:SourceIdentity",
        "aws:TokenIssueTime",
    ];
    for key in [&of_all[..], &of_alice, &of_worker].concat() {
        deny(&format!(r#"{{"Null": {{"{key}": "false"}}}}"#));
        let is_denied = [
            by_alice(&[good]).await == denied,
            by_worker().await == denied,
        ];
        let expected = [!of_worker.contains(&key), !of_alice.contains(&key)];
        assert_eq!(is_denied, expected, "{key}");
    }
}

#[tokio::test]
async fn credentials_do_not_come_alive_for_another_of_the_name() {
    let stage = stage(Behind::Answers).await;
    let document = r#"{"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "swf:*", "Principal": "*", "Resource": "*"}}"#;
    let enforce = |more: &str| {
        let policy = Arc::new(enforced_with(8, more, document));
        stage.policy.send_replace(Some(Arc::clone(&policy)));
        policy
    };
    let denied = (400, "AccessDeniedException".to_owned());
    let allowed = (200, String::new());
    // A role without an id, and then one with an id, another id, and none again.
    let ids = ["", "id = \"AROAONE\"", "id = \"AROATWO\""];
    let roles = ids.map(|id| format!("{WORKER}{id}\n"));
    for made in &roles {
        let session = worker(&enforce(made).judge);
        let token = stage.connection.shared.seal(&session).unwrap();
        let ask = || {
            let id = &session.access_key_id;
            stage.ask(signed(TARGET, ORDERS, id, &session.secret, &token))
        };
        for role in &roles {
            enforce(role);
            let expected = if role == made { &allowed } else { &denied };
            assert_eq!(ask().await, *expected, "made for {made}, asked with {role}");
        }
        enforce("");
        assert_eq!(ask().await, denied);
    }
    // A user's keys, of which one was made when no id was stated: it is the name's, whatever the id.
    let user = |id: &str| format!("[[user]]\nname = \"carol\"\n{id}\n");
    let carol = "arn:aws:iam::111122223333:user/carol";
    let now = Timestamp::now();
    let [bound, loose] =
        [Some("AIDAONE"), None].map(|id| stage.store.create(carol, id, now).unwrap());
    let shared = &stage.connection.shared;
    let places = Places::with_credentials(&shared.settings.paths, None);
    shared.replace_keys(shared.keys.load().reload(&places).unwrap());
    for (id, of_bound) in [
        ("id = \"AIDAONE\"", &allowed),
        ("id = \"AIDATWO\"", &denied),
        ("", &denied),
    ] {
        enforce(&user(id));
        for (key, expected) in [(&bound, of_bound), (&loose, &allowed)] {
            let secret = Secret::new(key.secret_access_key.to_string());
            let request = signed(TARGET, ORDERS, &key.info.access_key_id, &secret, "");
            assert_eq!(stage.ask(request).await, *expected, "{:?} {id}", key.info);
        }
    }
    let records = stage.records();
    let reasons = records.iter().filter(|record| record.status == Some(400));
    assert!(reasons.clone().count() > 0);
    for record in reasons {
        assert_eq!(&*record.reason, "unknown-caller");
        assert!(record.principal.is_some());
    }
}

#[tokio::test]
async fn names_that_swf_would_not_take_are_told_to_who_signed_them() {
    let stage = stage(Behind::Answers).await;
    let long = format!(r#"{{"name":"{}"}}"#, "o".repeat(257));
    let unsigned = unsigned(TARGET).body(long.clone().into()).unwrap();
    let missing = "MissingAuthenticationTokenException".to_owned();
    assert_eq!(stage.ask(unsigned).await, (400, missing));
    let response = stage.respond(stage.signed(TARGET, &long)).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        json["message"],
        "1 validation error detected: Value at 'name' failed to satisfy constraint: Member must have length less \
         than or equal to 256"
    );
}

#[tokio::test]
async fn small_requests_do_not_wait_for_large_ones() {
    let stage = stage(Behind::Answers).await;
    // All threads for large requests are held, each by a client of its own.
    let threads = std::thread::available_parallelism().unwrap().get();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = Arc::new(std::sync::Mutex::new(wait));
    for number in 0..threads {
        let (shared, wait) = (Arc::clone(&stage.connection.shared), Arc::clone(&wait));
        let client = Client::Endpoint(format!("vpce-{number}").into());
        let (start, started) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let hold = move |()| {
                let _gone = start.send(());
                let _released = wait.lock().unwrap().recv();
            };
            shared.heavy.run(client, (), hold).await
        });
        if number == 0 {
            started.await.unwrap();
        }
    }
    let padding = "x".repeat(limits::LIGHT_BODY);
    let large = format!(r#"{{"name":"orders","padding":"{padding}"}}"#);
    let mut waiting = Box::pin(stage.ask(stage.signed(TARGET, &large)));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    let small = stage.ask(stage.signed(TARGET, ORDERS)).await;
    assert_eq!(small, (200, String::new()));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(release);
    assert_eq!(waiting.await, (200, String::new()));
    let records = stage.records();
    let verdicts: Vec<Verdict> = records.iter().map(|record| record.verdict).collect();
    assert_eq!(verdicts, [Verdict::Allowed; 2]);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_its_record() {
    let mut stage = stage(Behind::Hangs).await;
    let request = stage.signed(TARGET, ORDERS);
    tokio::select! {
        _ = stage.respond(request) => unreachable!("the upstream hangs"),
        came = stage.arrived.recv() => came.unwrap(),
    }
    let records = stage.records();
    let [record] = &*records else {
        panic!("{records:?}")
    };
    assert_eq!((record.verdict, &*record.reason), (Verdict::Failed, GONE));
    assert_eq!(record.principal.as_deref(), Some(ALICE));
    assert_eq!(record.action.as_deref(), Some("swf:DescribeDomain"));
    assert_eq!(record.status, None);
}

#[tokio::test]
async fn sts_answers_everything_in_xml() {
    let stage = stage(Behind::Answers).await;
    stage.policy.send_replace(None);
    let request = Request::post("/")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::from("Action=GetCallerIdentity"))
        .unwrap();
    let response = stage.respond(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(
        text.contains("<Type>Receiver</Type><Code>ServiceUnavailable</Code>"),
        "{text}"
    );
}

#[tokio::test]
async fn bodies_that_find_no_room_are_refused_until_others_are_gone() {
    let stage = stage(Behind::Answers).await;
    let client = Client::of(&stage.connection.arrival);
    let bodies = &stage.connection.shared.bodies;
    let almost = bodies.take(client, limits::BODIES_OF_ONE - 1);
    assert!(almost.is_some());
    let large = format!(r#"{{"padding":"{}"}}"#, "x".repeat(limits::LIGHT_BODY));
    let call = || stage.signed("SimpleWorkflowService.ListDomains", &large);
    let refused = (503, "ServiceUnavailableException".to_owned());
    assert_eq!(stage.ask(call()).await, refused);
    // Small ones have room of their own.
    let small = stage.signed("SimpleWorkflowService.ListDomains", "{}");
    assert_ne!(stage.ask(small).await, refused);
    drop(almost);
    let answer = stage.ask(call()).await;
    assert_ne!(answer, refused);
    // What that one took is given back.
    let client = Client::of(&stage.connection.arrival);
    let bodies = &stage.connection.shared.bodies;
    assert!(bodies.take(client, limits::BODIES_OF_ONE).is_some());
}

#[tokio::test]
async fn heads_have_so_many_fields_where_no_guard_counts_them_too() {
    let stage = stage(Behind::Answers).await;
    let mut request = stage.signed("SimpleWorkflowService.ListDomains", "{}");
    for number in 0..limits::FIELDS {
        let name = format!("x-{number}");
        let name = hyper::header::HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, "a".parse().unwrap());
    }
    assert_eq!(stage.ask(request).await.0, 431);
}

#[tokio::test]
async fn that_a_session_is_over_is_told_to_whoever_has_its_secret_only() {
    let stage = stage(Behind::Answers).await;
    let shared = &stage.connection.shared;
    let session = |expires: Timestamp| Session {
        access_key_id: "ASIAAAAAAAAAAAAAAAAA".into(),
        secret: Secret::new("right".to_owned()),
        caller: Caller::from_arn(ALICE).unwrap(),
        unique_id: unique_id(Prefix::User, ALICE).into(),
        parent: None,
        issued: expires - jiff::SignedDuration::from_secs(900),
        expires,
        policy: None,
        source_identity: None,
        tags: Vec::new(),
    };
    let ask = |session: &Session, secret: &str| {
        let token = shared.seal(session).unwrap();
        let secret = Secret::new(secret.to_owned());
        stage.ask(signed(
            TARGET,
            ORDERS,
            &session.access_key_id,
            &secret,
            &token,
        ))
    };
    let now = Timestamp::now();
    let over = session(now - jiff::SignedDuration::from_secs(1));
    let told = |code: &str| (400, code.to_owned());
    assert_eq!(ask(&over, "right").await, told("ExpiredTokenException"));
    assert_eq!(ask(&over, "wrong").await, told("InvalidSignatureException"));
    let lasting = session(now + jiff::SignedDuration::from_secs(60));
    assert_eq!(ask(&lasting, "right").await.0, 200);
}
