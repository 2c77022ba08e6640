//! Upstreams that behave, and those that do not, on loopback.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use http_body_util::BodyExt;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use swf_filter_core::iam::authorize::{Decision, Reason};
use swf_filter_core::iam::principal::Caller;
use swf_filter_core::judge::Ruling;
use swf_filter_core::swf::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::link::Stream;
use super::*;
use crate::listener::request::{self, RequestId};

const FINE: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: 2\r\n\r\n{}";

pub(super) fn authorized(action: Action, body: &'static str) -> AuthorizedRequest {
    let ruling = Ruling {
        resource: "arn:aws:swf:eu-west-1:111122223333:/domain/orders".into(),
        operation: Decision {
            reason: Reason::Allowed,
            statements: Vec::new(),
        },
        decisions: Vec::new(),
    };
    let identity = request::Identity {
        caller: Caller::from_arn("arn:aws:iam::111122223333:user/worker").unwrap(),
        access_key_id: "AKIDEXAMPLE".into(),
        scope: "20150830/eu-west-1/swf/aws4_request".into(),
        source: "203.0.113.7".parse().unwrap(),
        vpc: Some("vpc-1a2b3c4d".into()),
        endpoint: Some("vpce-0a1b2c3d".into()),
    };
    AuthorizedRequest::authorize(&ruling, RequestId(7), action, body.into(), identity).unwrap()
}

fn poll() -> AuthorizedRequest {
    authorized(Action::PollForDecisionTask, r#"{"domain":"orders"}"#)
}

/// What a server does with a request.
#[derive(Clone)]
pub(super) enum Act {
    /// Writes it and closes.
    Last(String),
    /// Writes nothing, and waits for the client to close.
    Nothing,
    /// Writes it, and reads on.
    Reply(String),
    /// Writes a head, and so many bytes.
    Zeros(usize),
}

/// A server that does as a function of the number of the request says.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(super) async fn new(act: impl Fn(usize) -> Act + Send + Sync + 'static) -> Self {
        Self::start("127.0.0.1:0".parse().unwrap(), None, act).await
    }

    async fn start(
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
        act: impl Fn(usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, connections, ended) =
            <(Arc<Mutex<Vec<String>>>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let act = Arc::new(act);
        let task = tokio::spawn({
            let (seen, connections, ended) = (seen.clone(), connections.clone(), ended.clone());
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::SeqCst);
                    let (seen, act, ended) = (seen.clone(), act.clone(), ended.clone());
                    let tls = tls.clone();
                    tokio::spawn(async move {
                        serve(stream, tls, &seen, &*act).await;
                        ended.fetch_add(1, Ordering::SeqCst);
                    });
                }
            }
        });
        Self {
            address,
            seen,
            connections,
            ended,
            task,
        }
    }

    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    async fn upstream(&self, bounds: Bounds) -> Arc<Upstream> {
        upstream(&[&format!("http://{}", self.address)], bounds).await
    }
}

async fn serve(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    seen: &Mutex<Vec<String>>,
    act: &(dyn Fn(usize) -> Act + Send + Sync),
) {
    let mut stream: Box<dyn Stream> = match tls {
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => Box::new(stream),
            Err(_) => return,
        },
        None => Box::new(stream),
    };
    let mut bytes = Vec::new();
    loop {
        if let Some((message, length)) = whole(&bytes) {
            bytes.drain(..length);
            let number = {
                let mut seen = seen.lock().unwrap();
                seen.push(message);
                seen.len()
            };
            match act(number) {
                Act::Last(text) => {
                    let _ = stream.write_all(text.as_bytes()).await;
                    let _ = stream.shutdown().await;
                    return;
                }
                Act::Nothing => {}
                Act::Reply(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                Act::Zeros(count) => {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n");
                    stream.write_all(head.as_bytes()).await.unwrap();
                    let piece = vec![0; 1 << 16];
                    for start in (0..count).step_by(piece.len()) {
                        let piece = &piece[..piece.len().min(count - start)];
                        if stream.write_all(piece).await.is_err() {
                            return;
                        }
                    }
                }
            }
        }
        if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
            return;
        }
    }
}

/// A message at the beginning of what was read, if it is whole.
fn whole(bytes: &[u8]) -> Option<(String, usize)> {
    let text = std::str::from_utf8(bytes).unwrap();
    let head = text.find("\r\n\r\n")? + 4;
    let (_, length) = text[..head].split_once("content-length: ").unwrap();
    let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
    (bytes.len() >= head + length).then(|| (text[..head + length].to_owned(), head + length))
}

fn settings(addresses: &[&str]) -> settings::Upstream {
    settings::Upstream {
        name: "test".into(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        authorities: None,
        identity: UpstreamIdentity::Headers,
    }
}

async fn upstream(addresses: &[&str], bounds: Bounds) -> Arc<Upstream> {
    Upstream::with_bounds(&settings(addresses), bounds)
        .await
        .unwrap()
}

async fn whole_answer(upstream: &Upstream) -> Result<Bytes, UpstreamFault> {
    let answer = upstream.send(&poll()).await?;
    assert_eq!(answer.status, StatusCode::OK);
    Ok(answer.body.collect().await.unwrap().to_bytes())
}

/// Waits for a condition.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn only(upstream: &Upstream) -> AddressStatus {
    let [status] = &upstream.status()[..] else {
        panic!("one address");
    };
    status.clone()
}

#[tokio::test]
async fn one_connection_serves_requests_one_after_another() {
    let server = Server::new(|_| Act::Reply(FINE.into())).await;
    let upstream = server.upstream(Bounds::default()).await;
    for _ in 0..20 {
        assert_eq!(whole_answer(&upstream).await.unwrap(), "{}");
    }
    assert_eq!(server.connections(), 1);
    let status = only(&upstream);
    assert_eq!((status.open, status.idle), (1, 1));
    assert_eq!((status.requests, status.failures), (20, 0));
    assert_eq!((status.health, status.last_error), (Health::Up, None));
}

#[tokio::test]
async fn what_is_sent_is_made_from_what_is_known_and_nothing_else() {
    let server = Server::new(|_| Act::Reply(FINE.into())).await;
    let upstream = server.upstream(Bounds::default()).await;
    whole_answer(&upstream).await.unwrap();
    let expected = format!(
        "POST / HTTP/1.1\r\n\
         host: {}\r\n\
         user-agent: swf-filter/{}\r\n\
         content-type: application/x-amz-json-1.0\r\n\
         content-length: 19\r\n\
         x-amz-target: SimpleWorkflowService.PollForDecisionTask\r\n\
         x-swf-filter-access-key-id: AKIDEXAMPLE\r\n\
         x-swf-filter-account: 111122223333\r\n\
         x-swf-filter-principal: arn:aws:iam::111122223333:user/worker\r\n\
         x-swf-filter-request-id: 00000000-0000-0000-0000-000000000007\r\n\
         x-swf-filter-source-ip: 203.0.113.7\r\n\
         x-swf-filter-source-vpc: vpc-1a2b3c4d\r\n\
         x-swf-filter-source-vpce: vpce-0a1b2c3d\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/eu-west-1/swf/aws4_request, SignedHeaders=host, \
         Signature={}\r\n\r\n{{\"domain\":\"orders\"}}",
        server.address,
        env!("CARGO_PKG_VERSION"),
        "0".repeat(64),
    );
    let [seen] = &server.seen()[..] else {
        panic!("one request");
    };
    assert_eq!(*seen, expected);
}

#[tokio::test]
async fn every_action_has_its_target() {
    let server = Server::new(|_| Act::Reply(FINE.into())).await;
    let upstream = server.upstream(Bounds::default()).await;
    for action in Action::ALL {
        upstream.send(&authorized(action, "{}")).await.unwrap();
        let target = format!("x-amz-target: SimpleWorkflowService.{}\r\n", action.name());
        assert!(server.seen().last().unwrap().contains(&target));
    }
}

#[tokio::test]
async fn of_an_answer_only_named_fields_are_handed_on() {
    let server = Server::new(|_| {
        Act::Reply(
            "HTTP/1.1 400 Bad Request\r\nContent-Type: application/x-amz-json-1.0\r\nx-amz-crc32: 17\r\n\
             x-amzn-RequestId: abc\r\nSet-Cookie: a=b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
                .into(),
        )
    })
    .await;
    let upstream = server.upstream(Bounds::default()).await;
    for _ in 0..2 {
        let answer = upstream.send(&poll()).await.unwrap();
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.content_type.unwrap(), "application/x-amz-json-1.0");
        assert_eq!(answer.crc32.unwrap(), "17");
        assert_eq!(answer.request_id.unwrap(), "abc");
        assert_eq!(
            answer.address.authority().unwrap().as_str(),
            server.address.to_string()
        );
        assert_eq!(answer.body.collect().await.unwrap().to_bytes(), "abcde");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced_and_the_request_is_sent_once() {
    let server = Server::new(|number| match number {
        1 => Act::Last(FINE.into()),
        _ => Act::Reply(FINE.into()),
    })
    .await;
    let upstream = server.upstream(Bounds::default()).await;
    whole_answer(&upstream).await.unwrap();
    until("the server closes", || server.ended() == 1).await;
    whole_answer(&upstream).await.unwrap();
    assert_eq!((server.seen().len(), server.connections()), (2, 2));
    assert_eq!(only(&upstream).failures, 0);
}

#[tokio::test]
async fn a_request_that_a_kept_connection_took_is_not_sent_again() {
    let server = Server::new(|number| match number {
        2 => Act::Last(String::new()),
        _ => Act::Reply(FINE.into()),
    })
    .await;
    let upstream = server.upstream(Bounds::default()).await;
    whole_answer(&upstream).await.unwrap();
    let fault = whole_answer(&upstream).await.unwrap_err();
    assert!(matches!(fault, UpstreamFault::Broken { .. }), "{fault}");
    assert_eq!(fault.answer().0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!((server.seen().len(), server.connections()), (2, 1));
    // The address is no worse for it.
    assert_eq!(only(&upstream).health, Health::Up);
    whole_answer(&upstream).await.unwrap();
    assert_eq!(only(&upstream).failures, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_that_races_with_requests_never_doubles_one() {
    // Closes after most answers without saying so, and takes some requests without answering.
    let server = Server::new(|number| match number % 3 {
        0 => Act::Reply(FINE.into()),
        1 => Act::Last(FINE.into()),
        _ => Act::Last(String::new()),
    })
    .await;
    let upstream = server.upstream(Bounds::default()).await;
    let (mut answered, mut broken) = (0, 0);
    for _ in 0..300 {
        match whole_answer(&upstream).await {
            Ok(_) => answered += 1,
            Err(UpstreamFault::Broken { .. }) => broken += 1,
            Err(other) => panic!("{other}"),
        }
    }
    let seen = server.seen().len();
    assert!(
        (answered..=300).contains(&seen),
        "{seen} of {answered} and {broken}"
    );
    assert!(answered > 100 && broken >= 90, "{answered} and {broken}");
}

#[tokio::test]
async fn a_connection_that_is_announced_to_end_is_not_kept() {
    let text = FINE.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let server = Server::new(move |_| Act::Reply(text.clone())).await;
    let upstream = server.upstream(Bounds::default()).await;
    for _ in 0..3 {
        whole_answer(&upstream).await.unwrap();
        assert_eq!(only(&upstream).open, 0);
    }
    assert_eq!((server.seen().len(), server.connections()), (3, 3));
}

#[tokio::test]
async fn what_is_no_answer_is_a_fault_and_is_asked_for_once() {
    for text in [
        "",
        "HTTP/1.1 200",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        let server = Server::new(|_| Act::Last(text.into())).await;
        let upstream = server.upstream(Bounds::default()).await;
        let fault = upstream.send(&poll()).await.unwrap_err();
        assert!(
            matches!(fault, UpstreamFault::Broken { .. }),
            "{text}: {fault}"
        );
        assert_eq!(server.seen().len(), 1, "{text}");
        let status = only(&upstream);
        assert_eq!((status.open, status.failures), (0, 1), "{text}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_of_its_body() {
    for (head, text) in [
        ("Content-Length: 10", "12345"),
        ("Transfer-Encoding: chunked", "5\r\n12345\r\n"),
        ("Transfer-Encoding: chunked", "5\r\n12345\r\nzz\r\n"),
    ] {
        let text = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{text}");
        let server = Server::new(move |_| Act::Last(text.clone())).await;
        let upstream = server.upstream(Bounds::default()).await;
        let mut body = upstream.send(&poll()).await.unwrap().body;
        let first = body.frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "12345");
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(matches!(error, BodyFault::Broken { .. }), "{error}");
        let status = only(&upstream);
        assert_eq!((status.open, status.idle, status.failures), (0, 0, 1));
    }
}

#[tokio::test]
async fn large_answers_are_not_gathered() {
    const SIZE: usize = 100 << 20;
    let server = Server::new(|_| Act::Zeros(SIZE)).await;
    let upstream = server.upstream(Bounds::default()).await;
    let mut body = upstream.send(&poll()).await.unwrap().body;
    let (mut size, mut largest) = (0, 0);
    while let Some(frame) = body.frame().await {
        let length = frame.unwrap().into_data().unwrap().len();
        size += length;
        largest = largest.max(length);
    }
    assert_eq!(size, SIZE);
    assert!(largest < 1 << 20, "{largest}");
    assert_eq!(only(&upstream).idle, 1);
}

#[tokio::test]
async fn an_answer_that_does_not_begin_in_time_is_a_fault() {
    let server = Server::new(|_| Act::Nothing).await;
    let bounds = Bounds {
        answer: Duration::from_millis(30),
        ..Bounds::default()
    };
    let upstream = server.upstream(bounds).await;
    let fault = upstream.send(&poll()).await.unwrap_err();
    assert!(matches!(fault, UpstreamFault::TimedOut { .. }), "{fault}");
    assert_eq!(fault.answer().0, StatusCode::GATEWAY_TIMEOUT);
    until("the connection is closed", || server.ended() == 1).await;
    assert_eq!(server.seen().len(), 1);
    assert_eq!(only(&upstream).open, 0);
}

#[tokio::test]
async fn an_answer_that_stops_is_an_error_of_its_body() {
    let server =
        Server::new(|_| Act::Reply("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345".into()))
            .await;
    let bounds = Bounds {
        pause: Duration::from_millis(30),
        ..Bounds::default()
    };
    let upstream = server.upstream(bounds).await;
    let mut body = upstream.send(&poll()).await.unwrap().body;
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "12345"
    );
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(matches!(error, BodyFault::TimedOut { .. }), "{error}");
    until("the connection is closed", || server.ended() == 1).await;
}

#[tokio::test]
async fn a_client_that_is_gone_ends_its_poll() {
    let server = Server::new(|_| Act::Nothing).await;
    let upstream = server.upstream(Bounds::default()).await;
    let task = tokio::spawn({
        let upstream = Arc::clone(&upstream);
        async move { upstream.send(&poll()).await.map(drop) }
    });
    until("the poll arrives", || server.seen().len() == 1).await;
    assert_eq!(server.ended(), 0);
    task.abort();
    until("the connection is closed", || server.ended() == 1).await;
    assert_eq!(only(&upstream).open, 0);
}

#[tokio::test]
async fn a_body_that_is_dropped_closes_its_connection() {
    let server = Server::new(|_| Act::Zeros(100 << 20)).await;
    let upstream = server.upstream(Bounds::default()).await;
    let mut body = upstream.send(&poll()).await.unwrap().body;
    body.frame().await.unwrap().unwrap();
    drop(body);
    until("the connection is closed", || server.ended() == 1).await;
    assert_eq!(only(&upstream).open, 0);
}

#[tokio::test]
async fn an_address_that_is_dead_costs_no_request() {
    let server = Server::new(|_| Act::Reply(FINE.into())).await;
    let dead = format!("http://{}", unused().await);
    let upstream = upstream(
        &[&dead, &format!("http://{}", server.address)],
        Bounds::default(),
    )
    .await;
    for _ in 0..10 {
        whole_answer(&upstream).await.unwrap();
    }
    assert_eq!(server.seen().len(), 10);
    let [dead, fine] = &upstream.status()[..] else {
        panic!("two addresses");
    };
    assert_eq!((dead.health, fine.health), (Health::Down, Health::Up));
    assert!(dead.last_error.as_ref().unwrap().contains("refused"));
    assert_eq!((dead.requests, dead.open), (0, 0));
    // It is not tried by each request.
    assert!(dead.failures < 5, "{}", dead.failures);
}

#[tokio::test]
async fn addresses_take_turns() {
    let (one, two) = (
        Server::new(|_| Act::Reply(FINE.into())).await,
        Server::new(|_| Act::Reply(FINE.into())).await,
    );
    let addresses = [
        format!("http://{}", one.address),
        format!("http://{}", two.address),
    ];
    let upstream = upstream(&[&addresses[0], &addresses[1]], Bounds::default()).await;
    for _ in 0..10 {
        whole_answer(&upstream).await.unwrap();
    }
    assert_eq!((one.seen().len(), two.seen().len()), (5, 5));
}

#[tokio::test]
async fn addresses_that_are_back_are_found() {
    let address = unused().await;
    let bounds = Bounds {
        back_off: Duration::from_millis(200),
        back_off_most: Duration::from_millis(200),
        ..Bounds::default()
    };
    let upstream = upstream(&[&format!("http://{address}")], bounds).await;
    let fault = upstream.send(&poll()).await.unwrap_err();
    assert!(matches!(fault, UpstreamFault::Connect { .. }), "{fault}");
    assert_eq!(
        fault.answer(),
        (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")
    );
    let fault = upstream.send(&poll()).await.unwrap_err();
    assert!(matches!(fault, UpstreamFault::NoHealthyAddress), "{fault}");
    assert_eq!(
        fault.answer(),
        (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")
    );
    let server = Server::start(address, None, |_| Act::Reply(FINE.into())).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(fault) = whole_answer(&upstream).await {
        assert!(Instant::now() < deadline, "{fault}");
        tokio::task::yield_now().await;
    }
    assert_eq!(server.seen().len(), 1);
    assert_eq!(only(&upstream).health, Health::Up);
}

#[test]
fn a_trial_that_fails_doubles_the_pause_and_others_do_not() {
    let bounds = Bounds {
        back_off: Duration::from_secs(1),
        back_off_most: Duration::from_secs(3),
        ..Bounds::default()
    };
    let uri = "http://127.0.0.1:1".parse().unwrap();
    let address = Address::new(&uri, None, &Arc::default(), bounds).unwrap();
    let soon = |seconds: u64| Instant::now() + Duration::from_millis(seconds * 1000 - 500);
    assert!(matches!(
        address.way(Instant::now()),
        Some(pool::Way::Clear)
    ));
    // Many find out at once.
    for _ in 0..5 {
        address.mark_down(pool::Way::Clear, String::new());
    }
    for pause in [1, 2, 3, 3] {
        assert!(address.way(soon(pause)).is_none(), "{pause}");
        let after = soon(pause + 1);
        assert!(
            matches!(address.way(after), Some(pool::Way::Trial)),
            "{pause}"
        );
        // One at a time.
        assert!(address.way(after).is_none(), "{pause}");
        address.mark_down(pool::Way::Trial, String::new());
    }
}

#[tokio::test]
async fn connections_are_bounded_and_come_free() {
    let server = Server::new(|_| Act::Nothing).await;
    let bounds = Bounds {
        connections: 2,
        ..Bounds::default()
    };
    let upstream = server.upstream(bounds).await;
    let tasks = [(); 2].map(|()| {
        let upstream = Arc::clone(&upstream);
        tokio::spawn(async move { upstream.send(&poll()).await.map(drop) })
    });
    until("two polls arrive", || server.seen().len() == 2).await;
    let fault = upstream.send(&poll()).await.unwrap_err();
    assert!(
        matches!(fault, UpstreamFault::Full { connections: 2 }),
        "{fault}"
    );
    assert_eq!(only(&upstream).health, Health::Up);
    tasks.iter().for_each(JoinHandle::abort);
    until("they are closed", || only(&upstream).open == 0).await;
    let again = tokio::spawn(async move { upstream.send(&poll()).await.map(drop) });
    until("a third arrives", || server.seen().len() == 3).await;
    again.abort();
}

#[tokio::test]
async fn connections_that_nobody_uses_are_few_and_closed_in_time() {
    let server = Server::new(|_| Act::Reply(FINE.into())).await;
    let bounds = Bounds {
        kept: 1,
        keep: Duration::from_hours(1),
        ..Bounds::default()
    };
    let upstream = server.upstream(bounds).await;
    let (one, two) = (upstream.send(&poll()).await, upstream.send(&poll()).await);
    for answer in [one, two] {
        answer.unwrap().body.collect().await.unwrap();
    }
    let status = only(&upstream);
    assert_eq!((status.open, status.idle, server.connections()), (1, 1, 2));
    let address = &upstream.addresses[0];
    address.sweep(Instant::now());
    assert_eq!(only(&upstream).open, 1);
    address.sweep(Instant::now() + Duration::from_secs(3601));
    assert_eq!(only(&upstream).open, 0);
    until("they are closed", || server.ended() == 2).await;
}

#[tokio::test]
async fn an_upstream_that_is_dropped_closes_its_connections() {
    let server = Server::new(|_| Act::Reply(FINE.into())).await;
    let upstream = server.upstream(Bounds::default()).await;
    whole_answer(&upstream).await.unwrap();
    assert_eq!(server.ended(), 0);
    drop(upstream);
    until("it is closed", || server.ended() == 1).await;
}

#[tokio::test]
async fn certificates_are_of_the_authority_and_of_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let (own, other) = (authority(), authority());
    let files = [("own", &own), ("other", &other)].map(|(name, (pem, _))| {
        let file = folder.path().join(name);
        std::fs::write(&file, pem).unwrap();
        file
    });
    let server = |name: &str| {
        let tls = acceptor(&own.1, name);
        Server::start("127.0.0.1:0".parse().unwrap(), Some(tls), |_| {
            Act::Reply(FINE.into())
        })
    };
    let (right, wrong) = (server("localhost").await, server("swf.invalid").await);
    for (server, file, is_fine) in [
        (&right, &files[0], true),
        (&right, &files[1], false),
        (&wrong, &files[0], false),
    ] {
        let address = format!("https://localhost:{}", server.address.port());
        let settings = settings::Upstream {
            authorities: Some(file.clone()),
            ..settings(&[&address])
        };
        let upstream = Upstream::new(&settings).await.unwrap();
        for _ in 0..2 {
            let answer = whole_answer(&upstream).await;
            assert_eq!(answer.is_ok(), is_fine, "{answer:?}");
        }
        let status = only(&upstream);
        assert_eq!(status.idle, usize::from(is_fine));
        let error = status.last_error.unwrap_or_default();
        assert_eq!(error.contains("certificate"), !is_fine, "{error}");
    }
    assert_eq!((right.seen().len(), wrong.seen().len()), (2, 0));
    assert_eq!(right.connections(), 2);
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    for address in [
        "ftp://localhost",
        "localhost:80",
        "/",
        "http://a:b@localhost",
        "https://-",
    ] {
        let error = Upstream::new(&settings(&[address])).await.unwrap_err();
        assert!(
            matches!(error, UpstreamError::Address { .. }),
            "{address}: {error}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "no certificate").unwrap();
    for file in [empty, folder.path().join("missing")] {
        let settings = settings::Upstream {
            authorities: Some(file.clone()),
            ..settings(&["https://localhost"])
        };
        let error = Upstream::new(&settings).await.unwrap_err();
        assert!(
            matches!(&error, UpstreamError::Authorities { path, .. } if *path == file),
            "{error}"
        );
    }
}

#[cfg(not(feature = "aws"))]
#[tokio::test]
async fn without_the_feature_nothing_is_signed_and_that_is_said() {
    let settings = settings::Upstream {
        identity: UpstreamIdentity::Aws {
            region: "eu-west-1".into(),
        },
        ..settings(&["http://localhost"])
    };
    let error = Upstream::new(&settings).await.unwrap_err();
    assert!(matches!(error, UpstreamError::NoAws), "{error}");
}

#[tokio::test]
async fn ports_and_addresses_of_ipv6_are_understood() {
    let listener = TcpListener::bind("[::1]:0").await;
    let Ok(listener) = listener else {
        // A machine without IPv6 cannot say more.
        return;
    };
    let address = listener.local_addr().unwrap();
    drop(listener);
    let server = Server::start(address, None, |_| Act::Reply(FINE.into())).await;
    let upstream = server.upstream(Bounds::default()).await;
    whole_answer(&upstream).await.unwrap();
    assert!(server.seen()[0].contains(&format!("host: {address}\r\n")));
}

/// An address of loopback where nobody listens.
async fn unused() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// An authority: its certificate, and what signs with it.
fn authority() -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

fn acceptor(authority: &Issuer<'static, KeyPair>, name: &str) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
