//! Reads one address, prefix or range, strictly: whatever could be meant in two ways is refused, with what to write
//! instead.
//!
//! Nothing is allocated unless something is wrong, because set files have millions of lines. `ipnetwork`'s own parser
//! was not chosen for reading: it accepts host bits and netmasks.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use thiserror::Error;

use super::{Address, Prefix, PrefixList, cover};

/// Why a text is not an address, prefix or range. [`TextError::help`] says what to write.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TextError {
    /// What stands before or after the text proper is white space.
    #[error("`{text}` has blanks around it", text = excerpt(.text))]
    Blanks {
        /// All of it.
        text: String,
    },
    /// Nothing is there.
    #[error("the address is empty")]
    Empty,
    /// Bits past the length are set.
    #[error("`{text}` has host bits set", text = excerpt(.text))]
    HostBits {
        /// All of it.
        text: String,
        /// The prefix that the address lies in.
        canonical: IpNetwork,
    },
    /// An IPv4 octet starts with a zero, which some programs read as octal.
    #[error("`{text}` has an octet with a leading zero", text = excerpt(.text))]
    LeadingZero {
        /// The address.
        text: String,
        /// The same address read as decimal.
        decimal: Ipv4Addr,
    },
    /// The length has more bits than the family.
    #[error("length `{length}` is above {bits}", length = excerpt(.length))]
    LengthTooLong {
        /// The length as written.
        length: String,
        /// Bits in an address of the family.
        bits: u8,
    },
    /// An IPv4 address in IPv6 clothes.
    #[error("`{text}` is an IPv4-mapped IPv6 address", text = excerpt(.text))]
    Mapped {
        /// The address or prefix as written.
        text: String,
        /// The IPv4 address, or the IPv4 prefix if the text had a length.
        instead: String,
    },
    /// One end of the range is IPv4 and the other IPv6.
    #[error("the range `{text}` mixes IPv4 and IPv6", text = excerpt(.text))]
    MixedFamilies {
        /// All of it.
        text: String,
    },
    /// A netmask, or its inverse, stands where the length belongs.
    #[error("`{mask}` is a netmask, not a length")]
    Netmask {
        /// The address before the slash.
        address: IpAddr,
        /// The mask.
        mask: IpAddr,
        /// The length that it amounts to, if its bits are contiguous.
        length: Option<u8>,
    },
    /// It does not read as an address at all.
    #[error("`{text}` is not an address", text = excerpt(.text))]
    NotAddress {
        /// What was read as an address.
        text: String,
    },
    /// What follows the slash is not a number.
    #[error("`{length}` is not a prefix length", length = excerpt(.length))]
    NotLength {
        /// What was read as a length.
        length: String,
        /// Bits in an address of the family.
        bits: u8,
    },
    /// An end of a range is a prefix.
    #[error("the range end `{text}` is a prefix", text = excerpt(.text))]
    PrefixInRange {
        /// The end as written.
        text: String,
    },
    /// The range's first address is above its last.
    #[error("the ends of the range `{first}-{last}` are swapped")]
    SwappedEnds {
        /// The first address as written.
        first: IpAddr,
        /// The last address as written.
        last: IpAddr,
    },
    /// An IPv6 address with a zone index, which means nothing on the wire.
    #[error("`{text}` has a zone index", text = excerpt(.text))]
    ZoneIndex {
        /// All of it.
        text: String,
        /// All of it but the zone index.
        instead: String,
    },
}

impl TextError {
    /// What to write instead.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Blanks { text } => format!("write `{}`", excerpt(text.trim())),
            Self::Empty => "write an address, a prefix or a range, such as `192.0.2.0/24`".into(),
            Self::HostBits { text, canonical } => {
                let address = text.split('/').next().unwrap_or_default();
                format!("write `{canonical}` for the whole prefix, or `{address}` for the one address")
            }
            Self::LeadingZero { decimal, .. } => format!("write `{decimal}` if it is decimal"),
            Self::LengthTooLong { bits, .. } | Self::NotLength { bits, .. } => {
                format!("write a number from 0 to {bits} after the slash")
            }
            Self::Mapped { instead, .. } => format!("write `{instead}`, which is how its packets look on the wire"),
            Self::MixedFamilies { .. } => "write one range for each family".into(),
            Self::Netmask { address, length: Some(length), .. } => format!("write `{}`", network(*address, *length)),
            Self::Netmask { length: None, .. } => {
                "write a length; a mask with holes has none, and takes several prefixes".into()
            }
            Self::NotAddress { .. } => {
                "write an address (`192.0.2.1`), a prefix (`192.0.2.0/24`) or a range (`192.0.2.1-192.0.2.9`); \
                 names are not resolved"
                    .into()
            }
            Self::PrefixInRange { .. } => "write both ends as addresses, or the prefixes one by one".into(),
            Self::SwappedEnds { first, last } => format!("write `{last}-{first}`"),
            Self::ZoneIndex { instead, .. } => format!("write `{}`", excerpt(instead)),
        }
    }
}

/// Reads an address, a prefix `address/length` or a range `first-last`, and appends its prefixes to `into`.
///
/// Blanks may stand around the `-`. Nothing is appended if the text is refused.
pub fn parse(text: &str, into: &mut PrefixList) -> Result<(), TextError> {
    if let Some((first, last)) = text.split_once('-') {
        parse_range(text, first.trim_end(), last.trim_start(), into)
    } else if let Some((address, length)) = text.split_once('/') {
        parse_prefix(text, address, length, into)
    } else {
        push(parse_address(text)?, u8::MAX, into);
        Ok(())
    }
}

/// `text` as it is safe to show: cut after 64 characters, with everything escaped that does not show as itself: control
/// characters, writing direction, blanks of no width.
#[must_use]
pub fn excerpt(text: &str) -> String {
    const LONGEST: usize = 64;
    let mut shown = String::new();
    for character in text.chars().take(LONGEST) {
        match character {
            '"' | '\'' | '\\' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        let _ = write!(shown, "...");
    }
    shown
}

fn parse_range(
    text: &str,
    first: &str,
    last: &str,
    into: &mut PrefixList,
) -> Result<(), TextError> {
    match (parse_end(first)?, parse_end(last)?) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            cover(first.to_bits(), last.to_bits(), |prefix| {
                into.v4.push(prefix);
            });
            Ok(())
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            cover(first.to_bits(), last.to_bits(), |prefix| {
                into.v6.push(prefix);
            });
            Ok(())
        }
        (first, last) if first.is_ipv4() == last.is_ipv4() => {
            Err(TextError::SwappedEnds { first, last })
        }
        _ => Err(TextError::MixedFamilies { text: text.into() }),
    }
}

fn parse_end(text: &str) -> Result<IpAddr, TextError> {
    match text.split_once('/') {
        Some(_) => Err(TextError::PrefixInRange { text: text.into() }),
        None => parse_address(text),
    }
}

fn parse_prefix(
    text: &str,
    address: &str,
    length: &str,
    into: &mut PrefixList,
) -> Result<(), TextError> {
    let ip = parse_any_address(address).ok_or_else(|| refusal(address, text))?;
    let length = parse_length(ip, length)?;
    if let Some(mapped) = mapped(ip).filter(|_| length >= MAPPED_BITS) {
        let instead = network(mapped, length.saturating_sub(MAPPED_BITS)).to_string();
        return Err(TextError::Mapped {
            text: text.into(),
            instead,
        });
    }
    let canonical = network(ip, length);
    if canonical.ip() != ip {
        return Err(TextError::HostBits {
            text: text.into(),
            canonical,
        });
    }
    push(ip, length, into);
    Ok(())
}

fn parse_address(text: &str) -> Result<IpAddr, TextError> {
    let ip = parse_any_address(text).ok_or_else(|| refusal(text, text))?;
    match mapped(ip) {
        Some(instead) => Err(TextError::Mapped {
            text: text.into(),
            instead: instead.to_string(),
        }),
        None => Ok(ip),
    }
}

fn parse_any_address(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

fn parse_length(ip: IpAddr, text: &str) -> Result<u8, TextError> {
    let bits = if ip.is_ipv4() {
        <u32 as Address>::BITS
    } else {
        <u128 as Address>::BITS
    };
    if let Ok(mask) = text.parse() {
        return Err(TextError::Netmask {
            address: ip,
            mask,
            length: mask_length(mask),
        });
    }
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty();
    if !plain || (text.len() > 1 && text.starts_with('0')) {
        return Err(TextError::NotLength {
            length: text.into(),
            bits,
        });
    }
    match text.parse() {
        Ok(length) if length <= bits => Ok(length),
        _ => Err(TextError::LengthTooLong {
            length: text.into(),
            bits,
        }),
    }
}

fn push(ip: IpAddr, length: u8, into: &mut PrefixList) {
    match ip {
        IpAddr::V4(ip) => into.v4.push(Prefix::containing(ip.to_bits(), length)),
        IpAddr::V6(ip) => into.v6.push(Prefix::containing(ip.to_bits(), length)),
    }
}

/// The prefix of `length` bits that `ip` lies in.
fn network(ip: IpAddr, length: u8) -> IpNetwork {
    match ip {
        IpAddr::V4(ip) => Prefix::containing(ip.to_bits(), length).into(),
        IpAddr::V6(ip) => Prefix::containing(ip.to_bits(), length).into(),
    }
}

/// The IPv4 address that `ip` maps, if it is an IPv4-mapped one (RFC 4291, 2.5.5.2).
fn mapped(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map(IpAddr::V4),
    }
}

/// The length that a netmask, or an inverse one such as `0.0.0.255`, amounts to.
fn mask_length(mask: IpAddr) -> Option<u8> {
    match mask {
        IpAddr::V4(mask) => length_of(mask.to_bits()).or_else(|| length_of(!mask.to_bits())),
        IpAddr::V6(mask) => length_of(mask.to_bits()).or_else(|| length_of(!mask.to_bits())),
    }
}

fn length_of<A: Address>(mask: A) -> Option<u8> {
    (0..=A::BITS).find(|length| A::mask(*length) == mask)
}

/// Why `address`, a part of `text`, is not an address.
fn refusal(address: &str, text: &str) -> TextError {
    if address.is_empty() {
        TextError::Empty
    } else if parse_any_address(text.split('/').next().unwrap_or_default().trim()).is_some() {
        TextError::Blanks { text: text.into() }
    } else if let Some(instead) = without_zone_index(text) {
        TextError::ZoneIndex {
            text: text.into(),
            instead,
        }
    } else if let Some(decimal) = without_leading_zeros(address) {
        TextError::LeadingZero {
            text: address.into(),
            decimal,
        }
    } else {
        TextError::NotAddress {
            text: address.into(),
        }
    }
}

fn without_zone_index(text: &str) -> Option<String> {
    let (address, rest) = text.split_once('%')?;
    address.parse::<Ipv6Addr>().ok()?;
    let length = rest
        .find('/')
        .and_then(|slash| rest.get(slash..))
        .unwrap_or_default();
    Some(format!("{address}{length}"))
}

fn without_leading_zeros(text: &str) -> Option<Ipv4Addr> {
    let octets: Vec<u8> = text
        .split('.')
        .map_while(|octet| octet.parse().ok())
        .collect();
    let octets: [u8; 4] = octets.try_into().ok()?;
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    (plain && text.split('.').count() == octets.len()).then_some(Ipv4Addr::from(octets))
}

/// Bits before the IPv4 address in an IPv4-mapped one.
const MAPPED_BITS: u8 = 96;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Vec<String>, TextError> {
        let mut list = PrefixList::default();
        parse(text, &mut list)?;
        let v4 = list.v4.iter().map(ToString::to_string);
        Ok(v4.chain(list.v6.iter().map(ToString::to_string)).collect())
    }

    #[test]
    fn addresses_prefixes_and_ranges_are_read() {
        assert_eq!(read("192.0.2.1").unwrap(), ["192.0.2.1/32"]);
        assert_eq!(read("10.0.0.0/8").unwrap(), ["10.0.0.0/8"]);
        assert_eq!(read("::/0").unwrap(), ["::/0"]);
        assert_eq!(
            read("192.0.2.6-192.0.2.8").unwrap(),
            ["192.0.2.6/31", "192.0.2.8/32"]
        );
    }

    #[test]
    fn excerpts_show_what_would_be_obeyed_or_hidden_and_are_cut() {
        let hostile = "\x1b[2J\u{202e}a\u{200b}\"é\\";
        assert_eq!(excerpt(hostile), "\\u{1b}[2J\\u{202e}a\\u{200b}\"é\\");
        assert_eq!(excerpt(&"x".repeat(65)), "x".repeat(64) + "...");
    }

    #[test]
    fn what_is_doubtful_is_refused() {
        for text in [
            "",
            "x",
            "10.0.0.0/33",
            "::/129",
            "10.1.2.3/8",
            "::ffff:192.0.2.1",
            "010.0.0.1",
            "fe80::1%eth0",
            "10.0.0.0/255.0.0.0",
            "192.0.2.2-192.0.2.1",
            "192.0.2.1-::1",
            "10.0.0.0/",
            "10.0.0.0/+8",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(address: u128, length in 0u8..=128) {
            let prefix = crate::prefix::Prefix::containing(address, length);
            prop_assume!(address >> 32 != 0xffff);
            prop_assert_eq!(read(&prefix.to_string()).unwrap_or_default(), [prefix.to_string()]);
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _any_answer = read(&text);
        }
    }
}
