//! Version 1: a line of text (section 2.1). It names neither endpoint nor checksum.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Fault, Header, MAX_ONE, proxied};

/// How a line begins, with the space that has to follow.
pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// Reads the line that the bytes begin with.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
    let Some(end) = bytes.iter().take(MAX_ONE).position(|&byte| byte == b'\n') else {
        return if bytes.len() < MAX_ONE {
            Ok(None)
        } else {
            Err(Fault::TooLong {
                length: bytes.len(),
                most: MAX_ONE,
            })
        };
    };
    let line = bytes
        .get(..end)
        .and_then(|line| line.strip_suffix(b"\r"))
        .and_then(|line| line.strip_prefix(SIGNATURE))
        .filter(|line| line.iter().all(|byte| matches!(byte, b' '..=b'~')))
        .and_then(|line| str::from_utf8(line).ok())
        .ok_or(Fault::Line)?;
    Ok(Some((header(line)?, end + 1)))
}

fn header(line: &str) -> Result<Header, Fault> {
    let mut parts = line.split(' ');
    let address = match parts.next() {
        Some("TCP4") => four,
        Some("TCP6") => six,
        // What follows is to be ignored, up to CRLF.
        Some("UNKNOWN") => return Ok(Header::Local),
        _ => return Err(Fault::Line),
    };
    let mut part = || parts.next().ok_or(Fault::Line);
    let (source, destination) = (address(part()?)?, address(part()?)?);
    let (source_port, destination_port) = (port(part()?)?, port(part()?)?);
    if parts.next().is_some() {
        return Err(Fault::Line);
    }
    Ok(proxied(
        (source, source_port),
        (destination, destination_port),
        None,
    ))
}

fn four(text: &str) -> Result<IpAddr, Fault> {
    let address: Ipv4Addr = text.parse().map_err(|_| Fault::Address)?;
    Ok(address.into())
}

/// Hexadecimal digits and colons only: `::ffff:192.0.2.1` is not in the grammar of 2.1.
fn six(text: &str) -> Result<IpAddr, Fault> {
    if text.contains('.') {
        return Err(Fault::Address);
    }
    let address: Ipv6Addr = text.parse().map_err(|_| Fault::Address)?;
    Ok(address.into())
}

/// Digits only; "heading zeroes are not permitted".
fn port(text: &str) -> Result<u16, Fault> {
    let port: u16 = text.parse().map_err(|_| Fault::Port)?;
    if text.starts_with('+') || (text.starts_with('0') && text != "0") {
        return Err(Fault::Port);
    }
    Ok(port)
}
