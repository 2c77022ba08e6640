//! Heads that are refused and taken, how they are handed on, and what hyper then answers.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::limits::{BODY, FIELDS};
use super::*;

/// For anything that has to happen.
const DEADLINE: Duration = Duration::from_secs(20);

fn line(line: &str) -> Vec<u8> {
    format!("{line}\r\nhost: a\r\n\r\n").into_bytes()
}

fn field(field: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\n").into_bytes()
}

fn host(value: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nhost:{value}\r\n\r\n").into_bytes()
}

fn bytes(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

/// A head of so many bytes.
fn long(length: usize) -> Vec<u8> {
    let mut head = field("x: ");
    let more = length - head.len();
    let end = head.split_off(head.len() - 4);
    head.extend(vec![b'x'; more]);
    head.extend(end);
    head
}

fn many(fields: usize) -> Vec<u8> {
    field("x: y\r\n".repeat(fields - 1).trim_end())
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn hostile() -> Vec<(Vec<u8>, HeadFault)> {
    use HeadFault::*;
    vec![
        // Request line.
        (line("POST  / HTTP/1.1"), RequestLine),
        (line("POST /  HTTP/1.1"), RequestLine),
        (line("POST / HTTP/1.1 "), RequestLine),
        (line(" POST / HTTP/1.1"), RequestLine),
        (line("POST\t/\tHTTP/1.1"), RequestLine),
        (line("POST /"), RequestLine),
        (line("POST HTTP/1.1"), RequestLine),
        (line("POST / http/1.1"), RequestLine),
        (line("POST / HTTP/1.1.1"), RequestLine),
        (line("POST / HTTP/11"), RequestLine),
        (line("POST / HTTP/1.1\0"), RequestLine),
        (line("POST / a HTTP/1.1"), RequestLine),
        (line("\u{16}\u{3}\u{1}"), RequestLine),
        (line("POST / HTTP/1.0"), Version),
        (line("POST / HTTP/1.2"), Version),
        (line("POST / HTTP/0.9"), Version),
        (bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Version),
        (line("PO(ST / HTTP/1.1"), Method),
        (line("PO\0ST / HTTP/1.1"), Method),
        (line("PÖST / HTTP/1.1"), Method),
        (line("\tPOST / HTTP/1.1"), Method),
        (line("CONNECT a:443 HTTP/1.1"), Connect),
        (line("CONNECT / HTTP/1.1"), Connect),
        (line("POST http://a/ HTTP/1.1"), AbsoluteTarget),
        (line("POST HTTPS://a HTTP/1.1"), AbsoluteTarget),
        (line("POST a:443 HTTP/1.1"), AuthorityTarget),
        (line("POST a HTTP/1.1"), AuthorityTarget),
        (line("POST ?a HTTP/1.1"), AuthorityTarget),
        (line("POST \\ HTTP/1.1"), AuthorityTarget),
        (line("OPTIONS * HTTP/1.1"), AsteriskTarget),
        (line("POST /é HTTP/1.1"), TargetByte),
        (line("POST /\0 HTTP/1.1"), TargetByte),
        (line("POST /\t HTTP/1.1"), TargetByte),
        (line("POST /\u{7f} HTTP/1.1"), TargetByte),
        (line("POST /#a HTTP/1.1"), TargetByte),
        (line("POST /a\\b HTTP/1.1"), TargetByte),
        (line("POST /\"a HTTP/1.1"), TargetByte),
        (line("POST /<a> HTTP/1.1"), TargetByte),
        (line("POST /{a} HTTP/1.1"), TargetByte),
        (line("POST /% HTTP/1.1"), TargetByte),
        (line("POST /%4 HTTP/1.1"), TargetByte),
        (line("POST /%4g HTTP/1.1"), TargetByte),
        (line("POST /?%%41 HTTP/1.1"), TargetByte),
        (
            line(&format!("POST /{} HTTP/1.1", "a".repeat(HEAD))),
            TargetTooLong,
        ),
        // Ends of lines.
        (bytes(b"\r\nPOST / HTTP/1.1\r\nhost: a\r\n\r\n"), EmptyLine),
        (bytes(b"\nPOST / HTTP/1.1\r\nhost: a\r\n\r\n"), BareFeed),
        (bytes(b"POST / HTTP/1.1\nhost: a\r\n\r\n"), BareFeed),
        (bytes(b"POST / HTTP/1.1\r\nhost: a\n\r\n"), BareFeed),
        (bytes(b"POST / HTTP/1.1\r\nhost: a\r\n\n"), BareFeed),
        (bytes(b"POST / HTTP/1.1\r\nhost: a\r\n\n\r\n"), BareFeed),
        (bytes(b"POST / HTTP/1.1\n\n"), BareFeed),
        (bytes(b"POST / HTTP/1.1\r\r\nhost: a\r\n\r\n"), BareReturn),
        (bytes(b"POST / HTTP/1.1\rhost: a\r\n\r\n"), BareReturn),
        (bytes(b"POST / HTTP/1.1\r\nhost: a\r\r\n\r\n"), BareReturn),
        (bytes(b"POST / HTTP/1.1\r\nhost: a\r\n\r\r\n"), BareReturn),
        (field("x: a\rcontent-length: 5"), BareReturn),
        // Fields.
        (field("x: a\r\n b"), Fold),
        (field("x: a\r\n\tb"), Fold),
        (field("x: a\r\n \r\ny: b"), Fold),
        (bytes(b"POST / HTTP/1.1\r\n host: a\r\n\r\n"), Fold),
        (field("x"), NoColon),
        (field("content-length 5"), NoColon),
        (field("x : a"), SpaceBeforeColon),
        (field("content-length : 5"), SpaceBeforeColon),
        (field("transfer-encoding\t: chunked"), SpaceBeforeColon),
        (field(": a"), FieldName),
        (field("a b: c"), FieldName),
        (field("content-length\0: 5"), FieldName),
        (field("transfer\u{b}encoding: chunked"), FieldName),
        (field("x\"y: a"), FieldName),
        (field("é: a"), FieldName),
        (field("x@y: a"), FieldName),
        (field("x: a\0b"), ControlByte),
        (field("x: a\u{b}"), ControlByte),
        (field("x: \u{c}a"), ControlByte),
        (field("x: \u{7f}"), ControlByte),
        (field("x: \u{1b}[2J"), ControlByte),
        (field("x: é"), NonAscii),
        (
            bytes(b"POST / HTTP/1.1\r\nhost: a\r\nx: \xff\r\n\r\n"),
            NonAscii,
        ),
        (many(FIELDS + 1), TooManyFields),
        (long(HEAD + 1), HeadTooLong),
        (long(2 * HEAD), HeadTooLong),
        // Host.
        (bytes(b"POST / HTTP/1.1\r\n\r\n"), HostAbsent),
        (bytes(b"POST / HTTP/1.1\r\nx-host: a\r\n\r\n"), HostAbsent),
        (field("host: a"), HostTwice),
        (field("HOST: b"), HostTwice),
        (host(""), Host),
        (host(" a b"), Host),
        (host(" a, b"), Host),
        (host(" a/"), Host),
        (host(" a@b"), Host),
        (host(" http://a"), Host),
        (host(" a:"), Host),
        (host(" a:b"), Host),
        (host(" a:+1"), Host),
        (host(" a:65536"), Host),
        (host(" a:1:2"), Host),
        (host(" :443"), Host),
        (host(" a%2e"), Host),
        (host(" ::1"), Host),
        (host(" [::1"), Host),
        (host(" [::1]443"), Host),
        (host(" [::1%1]"), Host),
        (host(" [1.2.3.4]"), Host),
        (host(" []"), Host),
        // Where a request ends.
        (
            field("content-length: 5\r\ncontent-length: 5"),
            ContentLengthTwice,
        ),
        (
            field("content-length: 5\r\nContent-Length: 6"),
            ContentLengthTwice,
        ),
        (field("content-length: 5, 5"), ContentLength),
        (field("content-length: +5"), ContentLength),
        (field("content-length: -5"), ContentLength),
        (field("content-length: 05"), ContentLength),
        (field("content-length: 0x5"), ContentLength),
        (field("content-length: 5 5"), ContentLength),
        (field("content-length: 5;"), ContentLength),
        (field("content-length: 5.0"), ContentLength),
        (field("content-length: \"5\""), ContentLength),
        (field("content-length:"), ContentLength),
        (
            field(&format!("content-length: {}", BODY + 1)),
            BodyTooLarge,
        ),
        (field("content-length: 18446744073709551621"), BodyTooLarge),
        (
            field(&format!("content-length: {}", "9".repeat(400))),
            BodyTooLarge,
        ),
        (field("transfer-encoding: chunked"), TransferEncoding),
        (field("Transfer-Encoding: identity"), TransferEncoding),
        (field("TRANSFER-ENCODING:"), TransferEncoding),
        (field("transfer-encoding: xchunked"), TransferEncoding),
        (
            field("content-length: 5\r\ntransfer-encoding: chunked"),
            TransferEncoding,
        ),
        // What the connection is for.
        (field("te: trailers"), Te),
        (field("upgrade: h2c"), Upgrade),
        (field("connection: upgrade"), ConnectionOption),
        (field("connection: close, authorization"), ConnectionOption),
        (field("connection: x-amz-date"), ConnectionOption),
        (field("connection: keep-alive,"), ConnectionOption),
        (field("connection:"), ConnectionOption),
        (field("expect: 100-continue, x"), Expect),
        (field("expect: 200-ok"), Expect),
        (field("expect:"), Expect),
        (
            field("expect: 100-continue\r\nexpect: 100-continue"),
            Expect,
        ),
    ]
}

/// Heads as clients of AWS write them.
const CLIENTS: [&str; 6] = [
    "POST / HTTP/1.1\r\nHost: swf.eu-west-1.amazonaws.com\r\nAccept-Encoding: identity\r\n\
     X-Amz-Target: SimpleWorkflowService.ListDomains\r\nContent-Type: application/x-amz-json-1.0\r\n\
     User-Agent: Boto3/1.40.1 md/Botocore#1.40.1 ua/2.1 os/linux#6.1.0 md/arch#x86_64 lang/python#3.11.2 md/pyimpl#CPython m/Z,b \
     cfg/retry-mode#legacy\r\nX-Amz-Date: 20150830T123600Z\r\n\
     Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/eu-west-1/swf/aws4_request, \
     SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7\r\n\
     amz-sdk-invocation-id: 7f1e8a52-7f55-4b6c-9d2a-2f9a0e6d1c11\r\namz-sdk-request: attempt=1\r\nContent-Length: 39\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\nAccept-Encoding: identity\r\n\
     Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n\
     User-Agent: aws-cli/2.17.1 md/awscrt#0.20.11 ua/2.0 os/linux#6.1 md/command#sts.get-caller-identity\r\n\
     X-Amz-Security-Token: FwoGZXIvYXdzEBYaD+/abc=\r\nContent-Length: 43\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost:8443\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
    "POST /a/../%20?X-Amz-Algorithm=AWS4-HMAC-SHA256&a=%2F:@!$'()*,;~ HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: curl/7.88.1\r\n\
     Content-Length: 1048576\r\nExpect: 100-continue\r\n\r\n",
    "POST / HTTP/1.1\r\namz-sdk-request: attempt=1; max=4\r\nContent-Length: 2\r\nContent-Type: application/x-amz-json-1.0\r\n\
     Host: swf-front_1.example.\r\nUser-Agent: aws-sdk-java/2.25.1 Linux/6.1 (x/y; \"z\")\r\nConnection: Keep-Alive\r\n\r\n",
    "POST / HTTP/1.1\r\nhost:a\r\nconnection: close \t\r\ncontent-length:\t0\r\nx-empty:\r\n\r\n",
];

#[test]
fn each_hostile_head_is_refused_for_what_it_is() {
    let hostile = hostile();
    assert!(hostile.len() >= 60);
    for (bytes, fault) in hostile {
        let text = bytes.escape_ascii();
        assert_eq!(head(&bytes), Err(fault), "{text}");
        // More bytes change nothing.
        assert_eq!(
            head(&[&bytes[..], b"\r\n\r\n"].concat()),
            Err(fault),
            "{text}"
        );
    }
}

#[test]
fn the_parser_of_hyper_alone_would_take_many_of_them() {
    let taken = |(bytes, _): &(Vec<u8>, HeadFault)| {
        let mut fields = [httparse::EMPTY_HEADER; 2 * FIELDS];
        httparse::Request::new(&mut fields).parse(bytes).is_ok()
    };
    let hostile = hostile();
    let count = hostile.iter().filter(|head| taken(head)).count();
    assert!(count > hostile.len() / 3, "{count} of {}", hostile.len());
}

#[test]
fn heads_of_clients_are_taken() {
    for text in CLIENTS {
        let body = match text.split_once("Content-Length: ") {
            None => 0,
            Some((_, rest)) => rest.split_once("\r\n").unwrap().0.parse().unwrap(),
        };
        let length = text.len();
        let taken = Ok(Some(Head { length, body }));
        assert_eq!(head(text.as_bytes()), taken, "{text}");
        assert_eq!(head(format!("{text}\r\n\0").as_bytes()), taken);
        for end in 0..length {
            assert_eq!(head(&text.as_bytes()[..end]), Ok(None), "{end} of {text}");
        }
    }
}

#[test]
fn limits_are_what_is_still_taken() {
    let taken = |bytes: &[u8], body| {
        let length = bytes.len();
        assert_eq!(head(bytes), Ok(Some(Head { length, body })));
    };
    taken(&long(HEAD), 0);
    taken(&many(FIELDS), 0);
    taken(&field(&format!("content-length: {BODY}")), BODY);
    for value in [
        " a:0",
        " a:65535",
        " [::]",
        " [::ffff:1.2.3.4]:1",
        "\ta_b~.",
        " 1.2.3.4:443",
    ] {
        taken(&host(value), 0);
    }
}

#[test]
fn every_fault_ends_in_an_error_of_the_client_or_of_what_is_not_taken() {
    for (_, fault) in hostile() {
        let status = fault.status();
        assert!(
            status.is_client_error() || matches!(status.as_u16(), 501 | 505),
            "{fault:?}"
        );
        assert!(fault.to_string().len() < 80);
    }
}

/// Gives one piece for each read, then an end; takes what is written.
#[derive(Debug, Default)]
struct Pieces(VecDeque<Vec<u8>>);

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let rest = piece.split_off(piece.len().min(out.remaining()));
            out.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// How the handing on came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Ended,
    Waits,
}

/// One read, of at most so many bytes.
fn read<IO: AsyncRead + AsyncWrite + Unpin>(guard: &mut Guard<IO>, most: usize) -> (Vec<u8>, End) {
    let mut bytes = vec![0; most];
    let mut out = ReadBuf::new(&mut bytes);
    match Pin::new(guard).poll_read(&mut Context::from_waker(Waker::noop()), &mut out) {
        Poll::Pending => (Vec::new(), End::Waits),
        Poll::Ready(result) => {
            result.unwrap();
            (out.filled().to_vec(), End::Ended)
        }
    }
}

fn handed(pieces: &[&[u8]], most: usize) -> (Vec<u8>, End, Arc<Slot>) {
    let slot = Arc::new(Slot::default());
    let pieces = Pieces(pieces.iter().map(|piece| piece.to_vec()).collect());
    let mut guard = Guard::new(pieces, Arc::clone(&slot));
    let mut all = Vec::new();
    loop {
        let (bytes, end) = read(&mut guard, most);
        if bytes.is_empty() {
            return (all, end, slot);
        }
        all.extend(bytes);
    }
}

#[test]
fn whatever_the_pieces_the_same_is_handed_on() {
    // The body looks like the end of a head, and the beginning of another.
    let first = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n\r\n\r\nGET /";
    let second = b"GET /b HTTP/1.1\r\nhost: a\r\n\r\n";
    let good = [&first[..], second].concat();
    // One byte more than the body has.
    let bad = [&first[..], b" ", second].concat();
    let refused = [&first[..], MADE_UP].concat();
    for split in 1..good.len() {
        for most in [1, 7, 8192] {
            let (before, after) = good.split_at(split);
            let (all, end, slot) = handed(&[before, after], most);
            assert_eq!((&all, end), (&good, End::Ended), "{split}");
            assert_eq!(slot.refused(), None);
            let (before, after) = bad.split_at(split);
            let (all, end, slot) = handed(&[before, after], most);
            assert_eq!((&all, end), (&refused, End::Waits), "{split}");
            assert_eq!(slot.refused(), Some(HeadFault::RequestLine));
        }
    }
    let bytes: Vec<&[u8]> = good.chunks(1).collect();
    assert_eq!(handed(&bytes, 8192).0, good);
}

#[test]
fn nothing_of_a_head_is_handed_on_before_it_is_whole() {
    let whole = b"POST / HTTP/1.1\r\nhost: a\r\n\r\n";
    for length in 0..whole.len() {
        let (all, end, slot) = handed(&[&whole[..length]], 8192);
        assert_eq!((all.len(), end), (0, End::Ended));
        assert_eq!(*slot.reading().borrow(), Reading::Over);
    }
    assert_eq!(handed(&[whole], 8192).0, whole);
}

#[test]
fn nothing_of_a_refused_head_or_after_it_is_handed_on() {
    for (bytes, fault) in hostile() {
        let (all, end, slot) = handed(&[&bytes, CLIENTS[2].as_bytes()], 8192);
        assert_eq!((all.as_slice(), end), (MADE_UP, End::Waits));
        assert_eq!(slot.refused(), Some(fault));
    }
    // What is made up is itself a head that passes.
    let length = MADE_UP.len();
    assert_eq!(head(MADE_UP), Ok(Some(Head { length, body: 0 })));
}

#[tokio::test]
async fn what_is_read_can_be_watched() {
    let slot = Arc::new(Slot::default());
    let (mut client, server) = duplex(1 << 16);
    let mut guard = Guard::new(server, Arc::clone(&slot));
    let mut step = async |bytes: &[u8], reading, arrived| {
        client.write_all(bytes).await.unwrap();
        while read(&mut guard, 8192).1 == End::Ended {}
        assert_eq!(
            (*slot.reading().borrow(), slot.arrived()),
            (reading, arrived)
        );
    };
    step(b"", Reading::Idle, 0).await;
    step(b"P", Reading::Head, 1).await;
    step(b"OST / HTTP/1.1\r\nhost: a\r\n", Reading::Head, 26).await;
    step(b"content-length: 2\r\n\r\n", Reading::Body, 47).await;
    step(b"a", Reading::Body, 47).await;
    step(b"b", Reading::Idle, 47).await;
    step(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGE", Reading::Head, 2).await;
    step(b"T / HTTP/1.1\r\nhost: a\r\n\r\n", Reading::Idle, 27).await;
    step(b"GET\r\n", Reading::Over, 5).await;
}

#[test]
fn more_requests_than_heads_are_not_admitted() {
    let slot = Slot::default();
    assert_eq!(slot.admit(Request::new(())).unwrap_err(), HeadFault::Unseen);
    let slot = Slot::default();
    slot.hand();
    slot.hand();
    slot.refuse(HeadFault::Fold);
    assert!(slot.admit(Request::new(())).is_ok());
    assert!(slot.admit(Request::new(())).is_ok());
    assert_eq!(slot.admit(Request::new(())).unwrap_err(), HeadFault::Fold);
    assert_eq!(slot.admit(Request::new(())).unwrap_err(), HeadFault::Unseen);
}

/// A server on one end of a pipe, and what is known of it.
struct Server {
    client: DuplexStream,
    slot: Arc<Slot>,
    /// Requests that came to the service, refused or not.
    calls: Arc<AtomicUsize>,
    /// Requests wait until this is so.
    open: watch::Sender<bool>,
    task: JoinHandle<hyper::Result<()>>,
}

impl Server {
    fn start(linger: Duration) -> Self {
        let (client, server) = duplex(1 << 16);
        let slot = Arc::new(Slot::default());
        let calls = Arc::new(AtomicUsize::new(0));
        let open = watch::Sender::new(true);
        let mut guard = Guard::new(server, Arc::clone(&slot));
        guard.linger = linger;
        let (admits, counts, opens) = (Arc::clone(&slot), Arc::clone(&calls), open.subscribe());
        let service = service_fn(move |request: Request<Incoming>| {
            counts.fetch_add(1, Ordering::SeqCst);
            let admitted = admits.admit(request);
            let mut opens = opens.clone();
            async move {
                let text = match admitted {
                    Err(fault) => {
                        let mut answer = Response::new(Full::new(Bytes::from(fault.to_string())));
                        *answer.status_mut() = fault.status();
                        return Ok::<_, Infallible>(answer);
                    }
                    Ok(request) => {
                        let path = request.uri().path().to_owned();
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        opens.wait_for(|open| *open).await.unwrap();
                        format!("<{path} {}>", body.len())
                    }
                };
                Ok(Response::new(Full::new(Bytes::from(text))))
            }
        });
        let task = tokio::spawn(async move {
            http1::Builder::new()
                .serve_connection(TokioIo::new(guard), service)
                .await
        });
        Self {
            client,
            slot,
            calls,
            open,
            task,
        }
    }

    /// Reads until the server has nothing more to say, then ends.
    async fn finish(mut self) -> String {
        let mut answers = Vec::new();
        let read = self.client.read_to_end(&mut answers);
        timeout(DEADLINE, read).await.unwrap().unwrap();
        drop(self.client);
        timeout(DEADLINE, self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        String::from_utf8(answers).unwrap()
    }
}

/// The status lines of answers, with what the service said.
fn statuses(answers: &str) -> Vec<u16> {
    answers
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| answer[..3].parse().unwrap())
        .collect()
}

const POST: &[u8] = b"POST /post HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nGET /";
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn each_hostile_head_is_answered_with_its_status_and_the_end() {
    for (bytes, fault) in hostile() {
        let mut server = Server::start(LINGER);
        server.client.write_all(POST).await.unwrap();
        server.client.write_all(&bytes).await.unwrap();
        server.client.write_all(POST).await.unwrap();
        let calls = Arc::clone(&server.calls);
        let answers = server.finish().await;
        let text = bytes.escape_ascii();
        assert_eq!(statuses(&answers), [200, fault.status().as_u16()], "{text}");
        assert!(answers.contains("</post 5>") && answers.ends_with(&fault.to_string()));
        assert!(answers.contains("connection: close\r\n"), "{answers}");
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn requests_in_one_piece_and_in_any_two_are_answered_alike() {
    let all = [POST, POST, CLIENTS[2].as_bytes(), LAST].concat();
    for split in 0..all.len() {
        let mut server = Server::start(LINGER);
        server.client.write_all(&all[..split]).await.unwrap();
        tokio::task::yield_now().await;
        server.client.write_all(&all[split..]).await.unwrap();
        let answers = server.finish().await;
        assert_eq!(statuses(&answers), [200; 4], "{split}");
        assert_eq!(answers.matches("</post 5>").count(), 2);
        assert!(answers.ends_with("</last 0>"));
    }
}

#[tokio::test]
async fn fault_of_a_head_that_was_read_ahead_is_not_taken_for_an_earlier_one() {
    let mut server = Server::start(LINGER);
    server.open.send_replace(false);
    server.client.write_all(POST).await.unwrap();
    server
        .client
        .write_all(&field("te: trailers"))
        .await
        .unwrap();
    let mut reading = server.slot.reading();
    let over = reading.wait_for(|reading| *reading == Reading::Over);
    timeout(DEADLINE, over).await.unwrap().unwrap();
    assert_eq!(server.slot.refused(), Some(HeadFault::Te));
    // The first one is still under way.
    assert_eq!(server.calls.load(Ordering::SeqCst), 1);
    server.open.send_replace(true);
    assert_eq!(statuses(&server.finish().await), [200, 400]);
}

#[tokio::test]
async fn what_stands_for_a_refused_head_cannot_be_forged() {
    let mut server = Server::start(LINGER);
    server.client.write_all(POST).await.unwrap();
    server.client.write_all(MADE_UP).await.unwrap();
    let slot = Arc::clone(&server.slot);
    let answers = server.finish().await;
    assert_eq!(statuses(&answers), [200, 200]);
    assert_eq!(slot.refused(), None);
}

#[tokio::test]
async fn client_that_expects_it_is_told_to_go_on() {
    let mut server = Server::start(LINGER);
    let head = b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-Continue\r\nconnection: close\r\ncontent-length: 3\r\n\r\n";
    server.client.write_all(head).await.unwrap();
    let mut told = [0; 25];
    let read = server.client.read_exact(&mut told);
    timeout(DEADLINE, read).await.unwrap().unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    server.client.write_all(b"abc").await.unwrap();
    let answers = server.finish().await;
    assert_eq!(statuses(&answers), [200]);
    assert!(answers.ends_with("</ 3>"));
}

#[tokio::test]
async fn largest_body_comes_through() {
    let mut server = Server::start(LINGER);
    let head = format!("POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: {BODY}\r\n\r\n");
    let all = [head.as_bytes(), &vec![b'\n'; BODY], LAST].concat();
    timeout(DEADLINE, server.client.write_all(&all))
        .await
        .unwrap()
        .unwrap();
    let answers = server.finish().await;
    assert_eq!(statuses(&answers), [200, 200]);
    assert!(answers.contains(&format!("</b {BODY}>")));
}

#[tokio::test]
async fn client_that_goes_on_sending_still_reads_its_answer() {
    let mut server = Server::start(DEADLINE);
    let head = field(&format!("content-length: {}", BODY + 1));
    server.client.write_all(&head).await.unwrap();
    // More than the pipe holds: it has to be read, or this waits for ever.
    let body = vec![b'x'; BODY + 1];
    timeout(DEADLINE, server.client.write_all(&body))
        .await
        .unwrap()
        .unwrap();
    assert!(!server.task.is_finished());
    assert_eq!(statuses(&server.finish().await), [413]);
}

#[tokio::test]
async fn client_that_does_not_end_is_left() {
    let mut server = Server::start(Duration::from_millis(20));
    server.client.write_all(b"GET\r\n").await.unwrap();
    // The client neither ends nor reads.
    timeout(DEADLINE, server.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let mut answer = Vec::new();
    server.client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(statuses(str::from_utf8(&answer).unwrap()), [400]);
}

#[tokio::test]
async fn client_that_ends_after_a_refused_head_is_still_answered() {
    let mut server = Server::start(LINGER);
    server.client.write_all(b"GET\r\n").await.unwrap();
    server.client.shutdown().await.unwrap();
    assert_eq!(statuses(&server.finish().await), [400]);
}

#[tokio::test]
async fn client_that_ends_between_requests_or_in_one_gets_nothing() {
    for bytes in [
        &b""[..],
        b"POST / HTTP/1.1\r\nhost",
        &field("content-length: 5"),
    ] {
        let mut server = Server::start(LINGER);
        server.client.write_all(bytes).await.unwrap();
        server.client.shutdown().await.unwrap();
        let mut answers = Vec::new();
        let read = server.client.read_to_end(&mut answers);
        timeout(DEADLINE, read).await.unwrap().unwrap();
        assert!(answers.is_empty());
    }
}

fn heads() -> impl Strategy<Value = Vec<u8>> {
    let request = prop_oneof![
        4 => Just("POST / HTTP/1.1".to_owned()),
        1 => "[A-Z!#$%&'*+.^_`|~-]{1,5} /[!-~]{0,12} HTTP/1\\.1",
        1 => "[ -~]{0,20}",
    ];
    let name = "(host|Host|content-length|transfer-encoding|connection|expect|upgrade|te|x)[ \t]?";
    let value = "( |\t|)(a|5|0|1.2.3.4|[:]{2}1|chunked|close|keep-alive|100-continue|[ -~]{0,9}|.{0,3})[ \t]?";
    let field = (name, value).prop_map(|(name, value)| format!("{name}:{value}"));
    let end = prop_oneof![20 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("\r\n ")];
    let lines = prop::collection::vec((field, end), 0..5);
    (request, any::<bool>(), lines, any::<[u8; 3]>()).prop_map(|(request, host, lines, after)| {
        let mut head = request;
        head.push_str("\r\n");
        if host {
            head.push_str("host: a\r\n");
        }
        for (field, end) in lines {
            head.push_str(&field);
            head.push_str(end);
        }
        head.push_str("\r\n");
        [head.as_bytes(), &after].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn what_passes_is_read_alike_by_the_parser_of_hyper(bytes in heads()) {
        let Ok(Some(found)) = head(&bytes) else { return Ok(()) };
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        prop_assert_eq!(request.parse(&bytes), Ok(httparse::Status::Complete(found.length)));
        prop_assert!(request.path.unwrap().parse::<hyper::Uri>().is_ok());
        let values = |name: &str| -> Vec<&[u8]> {
            let named = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
            named.map(|field| field.value).collect()
        };
        prop_assert_eq!(values("host").len(), 1);
        prop_assert!(values("transfer-encoding").is_empty() && values("upgrade").is_empty());
        let lengths = values("content-length");
        prop_assert!(lengths.len() <= 1);
        let body = lengths.first().map_or(Ok(0), |value| str::from_utf8(value).unwrap().parse());
        prop_assert_eq!(body, Ok(found.body));
    }

    #[test]
    fn a_head_is_not_judged_anew_with_more_bytes(bytes in heads()) {
        let whole = head(&bytes);
        let mut scan = Scan::default();
        let mut known = Ok(None);
        for end in 0..=bytes.len() {
            let fresh = head(&bytes[..end]);
            if known == Ok(None) {
                known = scan.advance(&bytes[..end]);
            }
            prop_assert_eq!(fresh, known);
            prop_assert!(fresh == Ok(None) || fresh == whole);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = head(&bytes);
    }
}
