//! How much a policy may hold. Reaching a limit is an error that names it; nothing is cut off silently.
//!
//! The numbers are those of `docs/policy.md`; the tables in the kernel are sized by the same constants.

use std::fmt;

/// Hosts.
pub const HOSTS: usize = 256;
/// Addresses of one family of all hosts together, ranges and prefixes written out.
pub const ADDRESSES: usize = 4_096;
/// Port ranges of one host, after ranges that touch are joined.
pub const PORT_RANGES: usize = 16;
/// Zones, the public one included.
pub const ZONES: usize = 256;
/// Expectations.
pub const EXPECTATIONS: usize = 10_000;
/// Pairs of interface and VLAN of all VPCs together.
pub const CLAIMS: usize = 1_024;
/// Prefixes of one family in one table, after ranges are split.
pub const PREFIXES: usize = 4_000_000;
/// Prefixes of both families in all tables together.
pub const ALL_PREFIXES: usize = 8_000_000;
/// Entries of allow and deny lists, and one more for each host.
pub const RULES: usize = 4_000_000;
/// Bytes of one policy file.
pub const POLICY_FILE: usize = 64 << 20;
/// Bytes of one set file.
pub const SET_FILE: usize = 256 << 20;
/// Bits of the shortest IPv4 prefix in a followed set file.
pub const WIDEST_V4: u8 = 8;
/// Bits of the shortest IPv6 prefix in a followed set file.
pub const WIDEST_V6: u8 = 16;
/// Characters of a name or id.
pub const NAME: usize = 64;

/// Tags of one user or role: IAM User Guide, "IAM and AWS STS quotas".
pub const TAGS: usize = 50;

/// A limit that can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`ADDRESSES`], of IPv4.
    AddressesV4,
    /// [`ADDRESSES`], of IPv6.
    AddressesV6,
    /// [`ALL_PREFIXES`].
    AllPrefixes,
    /// [`CLAIMS`].
    Claims,
    /// [`EXPECTATIONS`].
    Expectations,
    /// [`HOSTS`].
    Hosts,
    /// [`POLICY_FILE`].
    PolicyFile,
    /// [`PORT_RANGES`].
    PortRanges,
    /// [`PREFIXES`].
    Prefixes,
    /// [`RULES`].
    Rules,
    /// [`SET_FILE`].
    SetFile,
    /// [`TAGS`].
    Tags,
    /// [`ZONES`].
    Zones,
}

impl Limit {
    /// The highest number that is still fine.
    #[must_use]
    pub fn value(self) -> usize {
        match self {
            Self::AddressesV4 | Self::AddressesV6 => ADDRESSES,
            Self::AllPrefixes => ALL_PREFIXES,
            Self::Claims => CLAIMS,
            Self::Expectations => EXPECTATIONS,
            Self::Hosts => HOSTS,
            Self::PolicyFile => POLICY_FILE,
            Self::PortRanges => PORT_RANGES,
            Self::Prefixes => PREFIXES,
            Self::Rules => RULES,
            Self::SetFile => SET_FILE,
            Self::Tags => TAGS,
            Self::Zones => ZONES,
        }
    }
}

/// What is counted, as in "more than 256 hosts".
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AddressesV4 => "IPv4 addresses of all hosts together",
            Self::AddressesV6 => "IPv6 addresses of all hosts together",
            Self::AllPrefixes => "prefixes in all tables together",
            Self::Claims => "claims of all VPCs together",
            Self::Expectations => "expectations",
            Self::Hosts => "hosts",
            Self::PolicyFile => "bytes in one policy file",
            Self::PortRanges => "port ranges of one host",
            Self::Prefixes => "prefixes in one table",
            Self::Rules => "rules",
            Self::SetFile => "bytes in one set file",
            Self::Tags => "tags of one user or role",
            Self::Zones => "zones",
        })
    }
}
