//! The header that a load balancer puts before a client's bytes, to say whose they are: the PROXY protocol, versions 1 and 2.
//!
//! Section numbers are those of `HAProxy`'s proxy-protocol.txt. What that text leaves to the receiver is decided here:
//!
//! * A header is read from bytes that a balancer is trusted to write. That it has to be there, and from whom it is taken, is the
//!   caller's to know; this module never says "this is none, go on without" (section 5 warns of that).
//! * `PROXY UNKNOWN` (2.1) and PROXY with the family UNSPEC (2.2) say nothing of a client, and are [`Header::Local`], as is LOCAL:
//!   balancers write all three for their health checks. An endpoint in such a header is not taken.
//! * Families that no client of TCP can have, UNIX and datagrams, are refused with PROXY. After LOCAL they are skipped, as 2.2 says.
//! * Also after LOCAL, what follows the addresses has to be well formed and its checksum right. 2.2 would discard it unread; senders
//!   write it well, and a flipped bit cannot turn PROXY into LOCAL where there is a checksum.
//! * IPv4 addresses mapped into IPv6 (RFC 4291, 2.5.5.2) are given as the IPv4 addresses that they are. A proxy that listens on both families writes them, and
//!   the IPv4 sources of a policy have to match them.
//! * Only the first header counts. A second one is part of what the client sent, and no TLS stream begins like it.

mod one;
mod two;

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

/// Bytes of a header of version 2 at most. Those of balancers have about a hundred; 64 KiB would be possible.
pub const MAX: usize = 4096;
/// Bytes of a header of version 1 at most (2.1, "worst case").
pub const MAX_ONE: usize = 107;

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// The balancer speaks for itself, as in health checks, or does not know for whom.
    Local,
    /// It speaks for a client.
    Proxied {
        /// Where the client's connection comes from. IPv4 is never mapped into IPv6.
        source: SocketAddr,
        /// Where it went to. IPv4 is never mapped into IPv6.
        destination: SocketAddr,
        /// The VPC endpoint of AWS that it came through, such as `vpce-08d2bf15fac5001c9`.
        endpoint: Option<Box<str>>,
    },
}

/// Why bytes are no header that is taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// An address of version 1 is none of its family.
    #[error("there is no address where one has to be")]
    Address,
    /// The checksum is not that of the header.
    #[error("the checksum is {said:08x}, but that of the header is {found:08x}")]
    Checksum {
        /// In the header.
        said: u32,
        /// Of the header.
        found: u32,
    },
    /// The command is neither LOCAL nor PROXY.
    #[error("there is no command {command:#x}")]
    Command {
        /// Lower four bits of the thirteenth byte.
        command: u8,
    },
    /// There are two of what may be there once.
    #[error("field {kind:#04x} is there twice")]
    Duplicate {
        /// Its type.
        kind: u8,
    },
    /// What is said to be the id of a VPC endpoint is none.
    #[error("the VPC endpoint is not `vpce-` with hexadecimal digits")]
    Endpoint,
    /// The family is not known, or not one of clients of TCP.
    #[error("the family and protocol are {family:#04x}, not TCP over IPv4 or IPv6")]
    Family {
        /// The fourteenth byte.
        family: u8,
    },
    /// A field after the addresses has the wrong length, or goes beyond the header.
    #[error("field {kind:#04x} does not have its length")]
    Field {
        /// Its type.
        kind: u8,
    },
    /// A line of version 1 does not have its parts, each after one space, and CRLF.
    #[error("the line of version 1 is not as it has to be")]
    Line,
    /// A port of version 1 is no number from 0 to 65535.
    #[error("there is no port where one has to be")]
    Port,
    /// The header is too short for addresses of its family.
    #[error("{length} bytes are too few for the addresses")]
    Short {
        /// As the header says.
        length: u16,
    },
    /// The bytes begin like no header.
    #[error("it does not begin like a PROXY header")]
    Signature,
    /// The header is longer than it may be.
    #[error("it has {length} bytes or more, and {most} are the most")]
    TooLong {
        /// Its length, as far as it is known.
        length: usize,
        /// The most.
        most: usize,
    },
    /// The version is not 2, after the signature of 2.
    #[error("there is no version {version}")]
    Version {
        /// Upper four bits of the thirteenth byte.
        version: u8,
    },
}

/// Reads the header that `bytes` begin with, and says how many of them it has. All others are the client's.
///
/// There is none as long as the bytes are the beginning of one: then, and only then, the header has more. Each byte is refused
/// as soon as a header could not have it, but for a line of version 1, which is read when it is whole.
pub fn read(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
    if begins(bytes, &two::SIGNATURE) {
        two::read(bytes)
    } else if begins(bytes, one::SIGNATURE) {
        one::read(bytes)
    } else {
        Err(Fault::Signature)
    }
}

/// Whether the bytes begin with a signature, or could when more of them are there.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes
        .iter()
        .zip(signature)
        .all(|(byte, expected)| byte == expected)
}

fn proxied(
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
    endpoint: Option<Box<str>>,
) -> Header {
    let socket = |(address, port): (IpAddr, u16)| SocketAddr::new(address.to_canonical(), port);
    Header::Proxied {
        source: socket(source),
        destination: socket(destination),
        endpoint,
    }
}

#[cfg(test)]
mod tests;
