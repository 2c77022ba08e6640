//! A client of the listener that can be as rude as it likes: bytes over TLS, signed where they have to be by AWS's own signer.

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail, ensure};
use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    client::Resumption,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use crate::{
    netns::Namespace,
    stage::{AccessKey, NAME},
};

/// For a client to connect, and for anything to come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Speaks TLS, and trusts the authority of a stage.
#[derive(Clone, Debug)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Trusts who is in a file.
    pub fn read(file: &Path) -> Result<Self> {
        Self::showing(file, None)
    }

    /// The same, with a certificate to show.
    pub fn showing(file: &Path, identity: Option<&Identity>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&fs::read(file)?)?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match identity {
            Some(Identity { chain, key, .. }) => {
                config.with_client_auth_cert(vec![chain.clone()], key.clone_key())?
            }
            None => config.with_no_client_auth(),
        };
        // Who goes on with an old session looks at no certificate.
        config.resumption = Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }

    /// Shakes hands over a connection.
    pub fn client(&self, mut stream: TcpStream) -> Result<Client> {
        let mut tls = ClientConnection::new(Arc::clone(&self.0), ServerName::try_from(NAME)?)?;
        while tls.is_handshaking() {
            let (read, written) = tls.complete_io(&mut stream)?;
            ensure!(read + written > 0, "it ended within the handshake");
        }
        Ok(Client {
            stream: StreamOwned::new(tls, stream),
            bytes: Vec::new(),
        })
    }

    /// Connects from a namespace and shakes hands.
    pub fn connect(&self, from: &Namespace, to: &str) -> Result<Client> {
        self.client(connect(from, to)?)
    }
}

/// A certificate for a client, and the authority that signed it.
#[derive(Debug)]
pub struct Identity {
    /// The authority's certificate, as PEM.
    pub authority: String,
    chain: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// One of an authority of its own.
    pub fn new() -> Result<Self> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let names = vec!["worker".to_owned()];
        let chain = CertificateParams::new(names)?.signed_by(&key, &authority)?;
        Ok(Self {
            authority: authority.pem(),
            chain: chain.der().clone(),
            key: PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())?,
        })
    }
}

/// A connection without TLS.
pub fn connect(from: &Namespace, to: &str) -> Result<TcpStream> {
    let to: SocketAddr = to.parse()?;
    let stream = from.run(|| TcpStream::connect_timeout(&to, PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection with TLS.
#[derive(Debug)]
pub struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    /// Read, and not taken yet.
    bytes: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The status line and the fields.
    pub head: String,
    /// Its body, as long as Content-Length or chunks say.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (its, value) = line.split_once(':')?;
            its.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The exception that it is.
    #[must_use]
    pub fn exception(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        let kind = body["__type"].as_str()?;
        Some(kind.rsplit('#').next()?.to_owned())
    }
}

/// What comes of a request.
#[derive(Clone, Debug)]
pub enum Came {
    /// An answer.
    Answer(Answer),
    /// The end of the connection, before or within an answer.
    End,
    /// Nothing, for as long as it was waited for.
    Nothing,
}

impl Client {
    /// Sends bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    /// Sends a request, and takes its answer.
    pub fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Result<Answer> {
        self.send(bytes)?;
        self.answer()
    }

    /// Says that nothing more comes, as TLS does and not TCP.
    pub fn end(&mut self) -> io::Result<()> {
        self.stream.conn.send_close_notify();
        self.stream.flush()
    }

    /// The answer.
    pub fn answer(&mut self) -> Result<Answer> {
        match self.come(PATIENCE)? {
            Came::Answer(answer) => Ok(answer),
            Came::End => bail!("it ended without an answer"),
            Came::Nothing => bail!("there was no answer"),
        }
    }

    /// Whatever comes within a time.
    pub fn come(&mut self, patience: Duration) -> Result<Came> {
        self.stream.sock.set_read_timeout(Some(patience))?;
        loop {
            if let Some(answer) = self.take()? {
                return Ok(Came::Answer(answer));
            }
            match self.read() {
                Ok(0) => return Ok(Came::End),
                Ok(_) => {}
                Err(error) if is_patience(&error) => return Ok(Came::Nothing),
                Err(error) if is_end(&error) => return Ok(Came::End),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads what is there; how many bytes those were.
    pub fn read(&mut self) -> io::Result<usize> {
        let mut piece = vec![0; 1 << 16];
        let read = self.stream.read(&mut piece)?;
        self.bytes.extend_from_slice(&piece[..read]);
        Ok(read)
    }

    /// The connection below TLS.
    pub fn socket(&mut self) -> &mut TcpStream {
        &mut self.stream.sock
    }

    /// The certificate that was shown.
    pub fn certificate(&self) -> Result<Vec<u8>> {
        let shown = self.stream.conn.peer_certificates().and_then(<[_]>::first);
        Ok(shown.context("no certificate")?.to_vec())
    }

    fn take(&mut self) -> Result<Option<Answer>> {
        let Some(end) = find(&self.bytes, b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = String::from_utf8(self.bytes[..end].to_vec())?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        let mut answer = Answer {
            status,
            head,
            body: Vec::new(),
        };
        let from = end + 4;
        let to = if status < 200 {
            from
        } else if answer.field("transfer-encoding").is_some() {
            let Some(to) = chunks(&self.bytes, from, &mut answer.body)? else {
                return Ok(None);
            };
            to
        } else {
            let length = answer.field("content-length").context("no length")?;
            let to = from + length.parse::<usize>()?;
            let Some(body) = self.bytes.get(from..to) else {
                return Ok(None);
            };
            answer.body = body.to_vec();
            to
        };
        self.bytes.drain(..to);
        Ok(Some(answer))
    }
}

/// Takes chunks into `body` and says where they end; none if more are to come.
fn chunks(bytes: &[u8], mut from: usize, body: &mut Vec<u8>) -> Result<Option<usize>> {
    loop {
        let Some(line) = find(&bytes[from..], b"\r\n") else {
            return Ok(None);
        };
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[from..from + line])?, 16)?;
        let to = from + line + 2 + length;
        if bytes.len() < to + 2 {
            return Ok(None);
        }
        ensure!(bytes[to..].starts_with(b"\r\n"), "a chunk does not end");
        if length == 0 {
            return Ok(Some(to + 2));
        }
        body.extend_from_slice(&bytes[to - length..to]);
        from = to + 2;
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn is_patience(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}

fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof
    )
}

/// A request that is signed.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Fields, with those of the signature, but for Content-Length.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Signed {
    /// A call of SWF with JSON.
    pub fn swf(key: &AccessKey, operation: &str, body: &str) -> Result<Self> {
        let target = format!("SimpleWorkflowService.{operation}");
        let kind = "application/x-amz-json-1.0";
        let fields = [("content-type", kind), ("x-amz-target", &target)];
        Self::of(key, "swf", &fields, body.as_bytes())
    }

    /// A call of STS with a form.
    pub fn sts(key: &AccessKey, form: &str) -> Result<Self> {
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        Self::of(key, "sts", &[("content-type", kind)], form.as_bytes())
    }

    /// Signs a body with fields, for a service.
    pub fn of(
        key: &AccessKey,
        service: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Self> {
        let identity = Credentials::new(&key.id, &key.secret, None, None, "test").into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name(service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let host = ("host", NAME);
        let fields = || std::iter::once(host).chain(fields.iter().copied());
        let body_to_sign = SignableBody::Bytes(body);
        let request =
            SignableRequest::new("POST", format!("https://{NAME}/"), fields(), body_to_sign)?;
        let (instructions, _) = sign(request, &parameters)?.into_parts();
        let own = fields().chain(instructions.headers());
        Ok(Self {
            fields: own
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body: body.to_vec(),
        })
    }

    /// The same with one more field, which is not signed.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head(self.body.len()).into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// The bytes of its head, with a length that may be wrong.
    #[must_use]
    pub fn head(&self, length: usize) -> String {
        let mut head = "POST / HTTP/1.1\r\n".to_owned();
        for (name, value) in &self.fields {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head + &format!("content-length: {length}\r\n\r\n")
    }
}
