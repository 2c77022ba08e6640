//! Signed requests over TLS, as many and as fast as asked for.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use jiff::Timestamp;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use swf_filter_core::sigv4::{BodyHash, Secret, SigningKey};
use swf_filter_tests::netns::Door;
use swf_filter_tests::world::World;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::peers::Setting;

const NAME: &str = "swf.test";

/// Where requests go.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
}

/// A client.
pub(crate) struct Load {
    door: Door,
    tls: Arc<ClientConfig>,
    request: Arc<[u8]>,
    /// Requests that take as much work as any that are let in.
    hostile: Arc<[Vec<u8>]>,
}

impl Load {
    pub(crate) fn new(world: &World, setting: &Setting) -> Result<Self> {
        Ok(Self {
            door: world.host.door(),
            tls: client(&setting.authority)?,
            request: signed(setting, "ListDomains", LIST).into(),
            hostile: hostile(setting).into(),
        })
    }

    /// Asks once, until there is an answer: what is measured may still be starting.
    pub(crate) fn warm_up(&self, target: Target) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = self.connections(target, 1) {
            ensure!(Instant::now() < deadline, "{error:#}");
        }
        Ok(())
    }

    /// So many requests, over so many connections.
    pub(crate) fn requests(&self, target: Target, count: usize, connections: usize) -> Result<()> {
        self.run(async |client| {
            let mut tasks = JoinSet::new();
            for _ in 0..connections {
                let client = client.clone();
                tasks.spawn(async move {
                    let mut stream = client.connect(target).await?;
                    for _ in 0..count / connections {
                        client.ask(&mut stream).await?;
                    }
                    anyhow::Ok(())
                });
            }
            all(tasks).await
        })
    }

    /// So many connections, some at a time, with a request each.
    pub(crate) fn connections(&self, target: Target, count: usize) -> Result<()> {
        const AT_A_TIME: usize = 8;
        self.run(async |client| {
            let mut tasks = JoinSet::new();
            for first in 0..AT_A_TIME.min(count) {
                let client = client.clone();
                tasks.spawn(async move {
                    for _ in (first..count).step_by(AT_A_TIME) {
                        let mut stream = client.connect(target).await?;
                        client.ask(&mut stream).await?;
                        stream.shutdown().await?;
                    }
                    anyhow::Ok(())
                });
            }
            all(tasks).await
        })
    }

    /// The median and the 99th percentile of latencies, in microseconds, at so many requests a second. What waits for its
    /// turn counts as latency.
    pub(crate) fn latencies(
        &self,
        target: Target,
        rate: usize,
        time: Duration,
    ) -> Result<(f64, f64)> {
        const LANES: usize = 32;
        let mut latencies = self.run(async |client| {
            let mut tasks = JoinSet::new();
            let start = Instant::now() + Duration::from_millis(100);
            let step = Duration::from_secs(LANES as u64) / u32::try_from(rate)?;
            for lane in 0..LANES {
                let client = client.clone();
                let mut due = start + step * u32::try_from(lane)? / u32::try_from(LANES)?;
                tasks.spawn(async move {
                    let mut stream = client.connect(target).await?;
                    let mut latencies = Vec::new();
                    while due < start + time {
                        sleep_until(due.into()).await;
                        client.ask(&mut stream).await?;
                        latencies.push(due.elapsed().as_secs_f64() * 1e6);
                        due += step;
                    }
                    anyhow::Ok(latencies)
                });
            }
            let mut latencies = Vec::new();
            while let Some(own) = tasks.join_next().await {
                latencies.extend(own??);
            }
            Ok(latencies)
        })?;
        latencies.sort_by(f64::total_cmp);
        let at = |part: usize| latencies.get(latencies.len() * part / 100).copied();
        at(50).zip(at(99)).context("nothing was asked")
    }

    /// The same, while so many clients send requests that take as much work as any, each as soon as it has its answer.
    pub(crate) fn latencies_beside(
        &self,
        target: Target,
        (rate, time): (usize, Duration),
        attackers: usize,
    ) -> Result<(f64, f64)> {
        let over = Arc::new(AtomicBool::new(false));
        thread::scope(|scope| {
            let attack = scope.spawn(|| {
                self.run(async |client| {
                    let mut tasks = JoinSet::new();
                    let until = Instant::now() + 2 * time;
                    for number in 0..attackers {
                        let client = client.clone();
                        let over = Arc::clone(&over);
                        let hostile = Arc::clone(&self.hostile);
                        tasks.spawn(async move {
                            let mut stream = client.connect(target).await?;
                            while Instant::now() < until && !over.load(Ordering::Relaxed) {
                                client
                                    .send(&mut stream, &hostile[number % hostile.len()])
                                    .await?;
                            }
                            anyhow::Ok(())
                        });
                    }
                    all(tasks).await
                })
            });
            let latencies = self.latencies(target, rate, time);
            over.store(true, Ordering::Relaxed);
            attack
                .join()
                .map_err(|_| anyhow!("the attack ended early"))??;
            latencies
        })
    }

    fn run<T: Send>(&self, work: impl AsyncFnOnce(Client) -> Result<T> + Send) -> Result<T> {
        self.door.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(work(Client {
                tls: Arc::clone(&self.tls),
                request: Arc::clone(&self.request),
            }))
        })
    }
}

async fn all(mut tasks: JoinSet<Result<()>>) -> Result<()> {
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

#[derive(Clone)]
struct Client {
    tls: Arc<ClientConfig>,
    request: Arc<[u8]>,
}

impl Client {
    async fn connect(&self, target: Target) -> Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(NAME)?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        Ok(connector.connect(name, stream).await?)
    }

    /// Sends the request, and reads the answer to its end.
    async fn ask(&self, stream: &mut TlsStream<TcpStream>) -> Result<()> {
        let status = self.send(stream, &self.request).await?;
        ensure!(status == "200", "answered with {status}");
        Ok(())
    }

    /// Sends a request, reads the answer to its end, and gives its status.
    async fn send(&self, stream: &mut TlsStream<TcpStream>, request: &[u8]) -> Result<String> {
        stream.write_all(request).await?;
        stream.flush().await?;
        let mut answer = Vec::with_capacity(1024);
        loop {
            ensure!(
                stream.read_buf(&mut answer).await? > 0,
                io::Error::from(io::ErrorKind::UnexpectedEof)
            );
            let text = String::from_utf8_lossy(&answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let length = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            let (_, length) = length.context("an answer without its length")?;
            if body.len() == length.parse::<usize>()? {
                return Ok(status);
            }
        }
    }
}

/// TLS 1.3 with one curve, without resumption: each connection is a whole handshake.
fn client(authority: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let provider = CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384],
        ..aws_lc_rs::default_provider()
    };
    let mut config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

const LIST: &str = r#"{"registrationStatus":"REGISTERED"}"#;

/// What takes the most work of all that is let in, in a body of a mebibyte: lists in lists, which are read before anybody asks
/// who sent them; decisions, each of which is judged; and a text that is sent on.
fn hostile(setting: &Setting) -> Vec<Vec<u8>> {
    const MOST: usize = 1 << 20;
    let lists = "[[[[0]]]],".repeat(MOST / 10 - 10);
    let decisions = r#"{"decisionType":"StartTimer"},"#.repeat(MOST / 30 - 10);
    let input = "x".repeat(MOST - 100);
    [
        ("ListDomains", format!(r#"{{"a":[{lists}0]}}"#)),
        (
            "RespondDecisionTaskCompleted",
            format!(
                r#"{{"taskToken":"t","decisions":[{}]}}"#,
                decisions.trim_end_matches(',')
            ),
        ),
        (
            "StartWorkflowExecution",
            format!(r#"{{"domain":"payments","input":"{input}"}}"#),
        ),
    ]
    .map(|(operation, body)| signed(setting, operation, &body))
    .into()
}

/// A call, signed now. It holds for fifteen minutes.
fn signed(setting: &Setting, operation: &str, body: &str) -> Vec<u8> {
    const SIGNED: &str = "content-type;host;x-amz-date;x-amz-target";
    let Setting { key_id, secret, .. } = setting;
    let target = format!("SimpleWorkflowService.{operation}");
    let now = Timestamp::now();
    let (day, time) = (now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ"));
    let fields = format!(
        "content-type:application/x-amz-json-1.0\nhost:{NAME}\nx-amz-date:{time}\nx-amz-target:{target}\n"
    );
    let hash = BodyHash::of(body.as_bytes());
    let canonical = format!("POST\n/\n\n{fields}\n{SIGNED}\n{hash}");
    let scope = format!("{day}/us-east-1/swf/aws4_request");
    let canonical = BodyHash::of(canonical.as_bytes());
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{canonical}");
    let key = SigningKey::derive(
        &Secret::new(secret.clone()),
        &day.to_string(),
        "us-east-1",
        "swf",
    );
    let signature = key.sign(&text);
    format!(
        "POST / HTTP/1.1\r\nhost: {NAME}\r\ncontent-type: application/x-amz-json-1.0\r\nx-amz-date: {time}\r\n\
         x-amz-target: {target}\r\nuser-agent: a bench\r\n\
         authorization: AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={SIGNED}, Signature={signature}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
