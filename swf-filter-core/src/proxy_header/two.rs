//! Version 2: bytes (section 2.2), with fields after the addresses (2.2.1 to 2.2.8).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Fault, Header, MAX, proxied};

/// How a header begins.
pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Reads the header that the bytes begin with. The signature has been looked at.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
    let fixed = bytes.get(SIGNATURE.len()..).unwrap_or_default();
    let Some(&byte) = fixed.first() else {
        return Ok(None);
    };
    let command = command(byte)?;
    let Some(&byte) = fixed.get(1) else {
        return Ok(None);
    };
    let family = family(byte, command)?;
    let Some(&length) = fixed.get(2..).and_then(<[u8]>::first_chunk) else {
        return Ok(None);
    };
    let length = u16::from_be_bytes(length);
    let total = FIXED + usize::from(length);
    if total > MAX {
        return Err(Fault::TooLong {
            length: total,
            most: MAX,
        });
    }
    if usize::from(length) < family.length() {
        return Err(Fault::Short { length });
    }
    let Some(header) = bytes.get(..total) else {
        return Ok(None);
    };
    let block = header.get(FIXED..).unwrap_or_default();
    let (addresses, fields) = block
        .split_at_checked(family.length())
        .ok_or(Fault::Short { length })?;
    let endpoint = endpoint(header, fields)?;
    let said = match command {
        Command::Local => None,
        Command::Proxy => family.read(addresses),
    };
    let header = match said {
        None => Header::Local,
        Some((source, destination)) => proxied(source, destination, endpoint),
    };
    Ok(Some((header, total)))
}

#[derive(Clone, Copy)]
enum Command {
    Local,
    Proxy,
}

#[derive(Clone, Copy)]
enum Family {
    /// TCP over IPv4.
    Four,
    /// One whose addresses are skipped.
    Other { length: usize },
    /// TCP over IPv6.
    Six,
    /// None, and no addresses.
    Unspecified,
}

type Sockets = ((IpAddr, u16), (IpAddr, u16));

impl Family {
    /// Bytes that its addresses have.
    fn length(self) -> usize {
        match self {
            Self::Four => FOUR,
            Self::Other { length } => length,
            Self::Six => SIX,
            Self::Unspecified => 0,
        }
    }

    /// Source and destination, if it is a family of clients.
    fn read(self, addresses: &[u8]) -> Option<Sockets> {
        match self {
            Self::Four => sockets(addresses, |bytes: [u8; 4]| Ipv4Addr::from(bytes).into()),
            Self::Six => sockets(addresses, |bytes: [u8; 16]| Ipv6Addr::from(bytes).into()),
            Self::Other { .. } | Self::Unspecified => None,
        }
    }
}

/// Both addresses, then both ports, in network order.
fn sockets<const N: usize>(bytes: &[u8], address: fn([u8; N]) -> IpAddr) -> Option<Sockets> {
    let (source, rest) = bytes.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk()?;
    let (destination_port, _) = rest.split_first_chunk()?;
    Some((
        (address(*source), u16::from_be_bytes(*source_port)),
        (address(*destination), u16::from_be_bytes(*destination_port)),
    ))
}

fn command(byte: u8) -> Result<Command, Fault> {
    match (byte >> 4, byte & 0xf) {
        (2, 0) => Ok(Command::Local),
        (2, 1) => Ok(Command::Proxy),
        (2, command) => Err(Fault::Command { command }),
        (version, _) => Err(Fault::Version { version }),
    }
}

/// Takes the families of 2.2, and of these with PROXY only those that clients of TCP have.
fn family(byte: u8, command: Command) -> Result<Family, Fault> {
    let family = match byte {
        0x00 => Family::Unspecified,
        0x11 => Family::Four,
        0x12 => Family::Other { length: FOUR },
        0x21 => Family::Six,
        0x22 => Family::Other { length: SIX },
        0x31 | 0x32 => Family::Other { length: UNIX },
        _ => return Err(Fault::Family { family: byte }),
    };
    match (command, family) {
        (Command::Proxy, Family::Other { .. }) => Err(Fault::Family { family: byte }),
        _ => Ok(family),
    }
}

/// Walks along the fields that the header ends with, and gives the endpoint that one of them names.
///
/// The endpoint may be there once, and so may the checksum. Other fields of AWS are passed over like all that are not known.
fn endpoint(header: &[u8], fields: &[u8]) -> Result<Option<Box<str>>, Fault> {
    let mut endpoint = None;
    let mut checksum = None;
    let mut rest = fields;
    while let Some((&kind, after)) = rest.split_first() {
        let (value, after) = after
            .split_first_chunk()
            .and_then(|(length, after)| {
                after.split_at_checked(usize::from(u16::from_be_bytes(*length)))
            })
            .ok_or(Fault::Field { kind })?;
        rest = after;
        let twice = match kind {
            CRC32C => {
                let said = value.try_into().map_err(|_| Fault::Field { kind })?;
                checksum.replace((said, rest.len())).is_some()
            }
            AWS => match value.split_first() {
                None => return Err(Fault::Field { kind }),
                Some((&AWS_ENDPOINT, id)) => endpoint.replace(id).is_some(),
                Some(_) => false,
            },
            _ => false,
        };
        if twice {
            return Err(Fault::Duplicate { kind });
        }
    }
    if let Some((said, after)) = checksum {
        verify(header, said, after)?;
    }
    endpoint.map(id).transpose()
}

/// Holds the checksum against the header in which its four bytes are zero (2.2.3). `after` bytes come after it.
fn verify(header: &[u8], said: [u8; 4], after: usize) -> Result<(), Fault> {
    let said = u32::from_be_bytes(said);
    let end = header.len().saturating_sub(after);
    let start = end.saturating_sub(4);
    let (before, _) = header.split_at_checked(start).unwrap_or_default();
    let (_, after) = header.split_at_checked(end).unwrap_or_default();
    let found = crc32c::crc32c(before);
    let found = crc32c::crc32c_append(found, &[0; 4]);
    let found = crc32c::crc32c_append(found, after);
    if said == found {
        Ok(())
    } else {
        Err(Fault::Checksum { said, found })
    }
}

/// `^vpce-[0-9a-f]+$`
fn id(bytes: &[u8]) -> Result<Box<str>, Fault> {
    str::from_utf8(bytes)
        .ok()
        .filter(|id| {
            id.strip_prefix("vpce-").is_some_and(|digits| {
                !digits.is_empty()
                    && digits
                        .bytes()
                        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            })
        })
        .map(Into::into)
        .ok_or(Fault::Endpoint)
}

/// Bytes before the addresses.
const FIXED: usize = SIGNATURE.len() + 4;
/// Bytes of the addresses of each family (2.2).
const FOUR: usize = 12;
const SIX: usize = 36;
const UNIX: usize = 216;
/// `PP2_TYPE_CRC32C` (2.2.3).
const CRC32C: u8 = 0x03;
/// `PP2_TYPE_AWS`, from the range for custom types (2.2.8), and its only subtype, `PP2_SUBTYPE_AWS_VPCE_ID`
/// (Elastic Load Balancing, "Proxy protocol" of Network Load Balancers).
const AWS: u8 = 0xea;
const AWS_ENDPOINT: u8 = 0x01;
