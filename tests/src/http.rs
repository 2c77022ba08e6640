//! Requests of HTTP/1.1 by hand, as odd as a test wants them, to an address inside a namespace.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Context, Result};

use crate::{netns::Namespace, world::DEADLINE};

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head, in lower case.
    pub head: String,
    /// Its body.
    pub body: String,
}

/// Sends `head`, its lines separated by line feeds, and `body`, and reads the answer.
pub fn exchange(
    namespace: &Namespace,
    address: SocketAddr,
    head: &str,
    body: &str,
) -> Result<Answer> {
    let mut stream = namespace
        .run(|| TcpStream::connect(address))
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let head = head.trim_end().replace('\n', "\r\n");
    let length = body.len();
    let request = format!("{head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut part = [0; 16 << 10];
    // Not every server closes when it is asked to.
    while !is_whole(&answer) {
        match stream.read(&mut part)? {
            0 => break,
            length => answer.extend(&part[..length]),
        }
    }
    let answer = String::from_utf8(answer)?;
    let (head, body) = answer.split_once(END_OF_HEAD).context("no answer")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok(Answer {
        status,
        head: head.to_lowercase(),
        body: body.to_owned(),
    })
}

/// Whether an answer is there to the end, if it says how long it is.
fn is_whole(answer: &[u8]) -> bool {
    let end = answer
        .windows(END_OF_HEAD.len())
        .position(|part| part == END_OF_HEAD.as_bytes());
    let Some(end) = end else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let length = head.lines().find_map(|line| {
        let length = line.strip_prefix("content-length:")?;
        length.trim().parse::<usize>().ok()
    });
    length.is_some_and(|length| answer.len() >= end + END_OF_HEAD.len() + length)
}

const END_OF_HEAD: &str = "\r\n\r\n";

/// Asks for a path as a well-behaved client of this machine does.
pub fn get(namespace: &Namespace, address: SocketAddr, path: &str) -> Result<Answer> {
    let head = format!("GET {path} HTTP/1.1\nHost: {address}");
    exchange(namespace, address, &head, "")
}
