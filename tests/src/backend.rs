//! An SWF that does what it is asked for: it holds polls, breaks off, and remembers what it was sent.
//!
//! The name of a domain says how `DescribeDomain` is answered: see [`answer`]. Everything else is answered with `{}`.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::Result;

use crate::{
    netns::{Door, Namespace},
    wait::wait_until,
    world::DEADLINE,
};

/// An upstream in a namespace, which ends with this guard.
#[derive(Debug)]
pub struct Backend {
    shared: Arc<Shared>,
    address: SocketAddr,
    door: Door,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    received: Mutex<Vec<Received>>,
    polls: Mutex<Polls>,
    changed: Condvar,
    is_over: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

/// Polls that are held, and which of them may be answered.
#[derive(Debug, Default)]
struct Polls {
    held: usize,
    released: usize,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// The request line and the fields.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Received {
    /// The value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (its, value) = line.split_once(':')?;
            its.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// The size of the body of `large`.
pub const LARGE: usize = 20 << 20;

impl Backend {
    /// Starts one.
    pub fn start(namespace: &Namespace, address: &str) -> Result<Self> {
        let address: SocketAddr = address.parse()?;
        let listener = namespace.run(|| TcpListener::bind(address))?;
        let shared = Arc::<Shared>::default();
        let own = Arc::clone(&shared);
        let accepting = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if own.is_over.load(Ordering::Acquire) {
                    return;
                }
                lock(&own.streams).extend(stream.try_clone());
                let own = Arc::clone(&own);
                // It ends with its connection, which the guard shuts down.
                thread::spawn(move || drop(own.serve(stream)));
            }
        });
        Ok(Self {
            shared,
            address,
            door: namespace.door(),
            accepting: Some(accepting),
        })
    }

    /// What came so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// Forgets what came so far.
    pub fn forget(&self) {
        lock(&self.shared.received).clear();
    }

    /// Waits until so many polls have come that were not answered.
    ///
    /// # Panics
    ///
    /// If they do not come in time.
    pub fn wait_for_polls(&self, count: usize) {
        wait_until(DEADLINE, "polls that are held", || {
            let polls = lock(&self.shared.polls);
            polls.held - polls.released == count
        });
    }

    /// Answers all polls that are held.
    pub fn release(&self) {
        let mut polls = lock(&self.shared.polls);
        polls.released = polls.held;
        self.shared.changed.notify_all();
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        self.release();
        let address = self.address;
        let _woken = self.door.run(|| TcpStream::connect(address));
        if let Some(accepting) = self.accepting.take() {
            let _ended = accepting.join();
        }
        for stream in lock(&self.shared.streams).drain(..) {
            let _may_be_closed = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        while let Some(received) = receive(&mut stream)? {
            let target = received
                .field("x-amz-target")
                .unwrap_or_default()
                .to_owned();
            let name = domain(&received.body);
            lock(&self.received).push(received);
            if target.contains(".PollFor") {
                self.hold();
                if self.is_over.load(Ordering::Acquire) {
                    return Ok(());
                }
            }
            if answer(&mut stream, &name)? == Then::Close {
                return stream.shutdown(Shutdown::Both);
            }
        }
        Ok(())
    }

    fn hold(&self) {
        let mut polls = lock(&self.polls);
        polls.held += 1;
        let own = polls.held;
        while polls.released < own {
            polls = (self.changed.wait(polls)).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Close,
    Goes,
}

/// How a domain is described.
fn answer(stream: &mut TcpStream, name: &str) -> io::Result<Then> {
    const KIND: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\n";
    let mut close = Then::Close;
    match name {
        // The connection ends within the body.
        "cut" => write!(stream, "{KIND}Content-Length: 100\r\n\r\n{{\"a\":")?,
        "cut-chunk" => write!(
            stream,
            "{KIND}Transfer-Encoding: chunked\r\n\r\n20\r\n{{\"a\":"
        )?,
        "garbage" => write!(stream, "hello\r\n\r\n")?,
        // An end without an answer.
        "silent" => {}
        // A body that ends with the connection.
        "until-end" => write!(
            stream,
            "{KIND}Connection: close\r\n\r\n{{\"until\":\"end\"}}"
        )?,
        "chunked" => {
            write!(stream, "{KIND}Transfer-Encoding: chunked\r\n\r\n")?;
            for piece in ["{\"in\":", "\"", "pieces", "\"}"] {
                write!(stream, "{:x};x=y\r\n{piece}\r\n", piece.len())?;
                stream.flush()?;
            }
            write!(stream, "0\r\nx-trailer: y\r\n\r\n")?;
            close = Then::Goes;
        }
        "continued" => {
            write!(
                stream,
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
            )?;
            write!(stream, "{KIND}Content-Length: 2\r\n\r\n{{}}")?;
            close = Then::Goes;
        }
        "large" => {
            write!(stream, "{KIND}Content-Length: {LARGE}\r\n\r\n")?;
            let piece = vec![b'x'; 1 << 16];
            for _ in 0..LARGE / piece.len() {
                stream.write_all(&piece)?;
            }
            close = Then::Goes;
        }
        // Fields that a client is not to see.
        "talking" => {
            write!(
                stream,
                "{KIND}Set-Cookie: a=b\r\nServer: secret\r\nAlt-Svc: h3\r\nX-Internal: 10.0.0.1\r\nx-amz-crc32: 7\r\n"
            )?;
            write!(
                stream,
                "x-amzn-RequestId: of-the-upstream\r\nContent-Length: 2\r\n\r\n{{}}"
            )?;
            close = Then::Goes;
        }
        _ => {
            write!(stream, "{KIND}Content-Length: 2\r\n\r\n{{}}")?;
            close = Then::Goes;
        }
    }
    stream.flush()?;
    Ok(close)
}

fn receive(stream: &mut TcpStream) -> io::Result<Option<Received>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.extend(byte);
    }
    let mut received = Received {
        head: String::from_utf8_lossy(&head).into_owned(),
        body: Vec::new(),
    };
    let length = received
        .field("content-length")
        .and_then(|length| length.parse().ok());
    received.body.resize(length.unwrap_or(0), 0);
    stream.read_exact(&mut received.body)?;
    Ok(Some(received))
}

fn domain(body: &[u8]) -> String {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    body["name"].as_str().unwrap_or_default().to_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
