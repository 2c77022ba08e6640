//! What stands behind the listener in the demo: it answers any request as an SWF without domains would.
//!
//! It is no SWF: it understands no call. `--upstream moto` puts one there that does.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

/// The SWF behind the listener.
#[derive(Clone, Debug)]
pub(crate) enum Upstream {
    /// The one of this module.
    Embedded,
    /// moto, run by this Python.
    Moto(PathBuf),
}

/// The word before the address, among the arguments of the process that answers.
pub(crate) const UPSTREAM: &str = "upstream";

impl Upstream {
    /// The command that runs it.
    pub(super) fn line(&self) -> String {
        match self {
            Self::Embedded => format!("xtask demo {UPSTREAM} {HOST}:{PORT}"),
            Self::Moto(python) => {
                format!("{} -m moto.server -H {HOST} -p {PORT}", python.display())
            }
        }
    }
}

/// Answers at an address for ever.
pub(crate) fn answer_at(address: &str) -> Result<()> {
    let listener =
        TcpListener::bind(address).with_context(|| format!("cannot listen on `{address}`"))?;
    loop {
        let (stream, _) = listener.accept().context("cannot accept")?;
        if let Err(reason) = answer(stream) {
            eprintln!("error: {reason:#}");
        }
    }
}

/// Answers one request, and closes the connection.
fn answer(mut stream: TcpStream) -> Result<()> {
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    let mut body = 0;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            bail!("a request ended before its body");
        }
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                body = value.trim().parse()?;
            }
            Some(_) => {}
            None if line.trim_end().is_empty() => break,
            None => println!("{}", line.trim_end()),
        }
    }
    io::copy(&mut reader.take(body), &mut io::sink())?;
    let length = ANSWER.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all((head + ANSWER).as_bytes())?;
    Ok(())
}

const ANSWER: &str = "{\"domainInfos\": []}";
const HOST: &str = "127.0.0.1";
const PORT: u16 = 5000;

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_request_is_answered_when_its_body_is_there() {
        let listener = TcpListener::bind((HOST, 0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let answering = thread::spawn(|| answer(stream));
        client
            .write_all(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
            .unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        answering.join().unwrap().unwrap();
        assert!(
            said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with(ANSWER),
            "{said}"
        );
    }

    #[test]
    fn a_request_that_breaks_off_is_not_answered() {
        let listener = TcpListener::bind((HOST, 0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"POST / HTTP/1.1\r\n").unwrap();
        drop(client);
        let (stream, _) = listener.accept().unwrap();
        assert!(answer(stream).is_err());
    }
}
