//! Addresses, prefixes and ranges, all seen as a first and a last address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A run of addresses of one family, both ends included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Range {
    /// Its first address.
    pub first: IpAddr,
    /// Its last address.
    pub last: IpAddr,
}

impl Range {
    /// Reads an address, a prefix or a range.
    ///
    /// # Panics
    ///
    /// If the text is none of them.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let address = |text: &str| -> IpAddr {
            let parsed = text.parse();
            parsed.unwrap_or_else(|_| panic!("`{text}` is not an address"))
        };
        if let Some((first, last)) = text.split_once('-') {
            return Self {
                first: address(first),
                last: address(last),
            };
        }
        if let Some((base, length)) = text.split_once('/') {
            let length = length.parse().expect("a prefix length is a number");
            return Self::prefix(address(base), length);
        }
        Self {
            first: address(text),
            last: address(text),
        }
    }

    /// The prefix of this length that `address` is in.
    #[must_use]
    pub fn prefix(address: IpAddr, length: u8) -> Self {
        match address {
            IpAddr::V4(address) => {
                let host_bits = u32::MAX.checked_shr(length.into()).unwrap_or(0);
                let bits = address.to_bits();
                Self {
                    first: Ipv4Addr::from_bits(bits & !host_bits).into(),
                    last: Ipv4Addr::from_bits(bits | host_bits).into(),
                }
            }
            IpAddr::V6(address) => {
                let host_bits = u128::MAX.checked_shr(length.into()).unwrap_or(0);
                let bits = address.to_bits();
                Self {
                    first: Ipv6Addr::from_bits(bits & !host_bits).into(),
                    last: Ipv6Addr::from_bits(bits | host_bits).into(),
                }
            }
        }
    }

    /// Whether the address is in the range; never if it is of the other family.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && self.first <= address && address <= self.last
    }

    /// Whether the two have an address in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }

    /// Length of the prefix that `address` is in when the range is written out in as few prefixes as possible.
    ///
    /// That is the largest block of addresses around it that stays within the range.
    #[must_use]
    pub fn matching_length(&self, address: IpAddr) -> Option<u8> {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        (0..=longest).find(|length| {
            let block = Self::prefix(address, *length);
            self.contains(block.first) && self.contains(block.last)
        })
    }
}
