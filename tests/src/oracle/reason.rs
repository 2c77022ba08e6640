//! The table of reasons.

use std::fmt;

/// The reasons of the page, by name.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
#[expect(missing_docs, reason = "docs/policy.md has the meaning of each")]
pub enum Reason {
    NotIp = 1,
    OtherDestination = 2,
    OtherProtocol = 3,
    OtherPort = 4,
    NeighborDiscovery = 5,
    AlwaysAllow = 6,
    Allow = 7,
    DefaultPass = 8,
    AuditDeny = 9,
    AuditDefault = 10,
    AuditUnreadable = 11,
    NoGeneration = 12,
    Deny = 16,
    DefaultDrop = 17,
    Truncated = 18,
    TooManyTags = 19,
    BadVersion = 20,
}

impl Reason {
    /// All reasons, in the order of the page.
    pub const ALL: [Self; 17] = [
        Self::NotIp,
        Self::OtherDestination,
        Self::OtherProtocol,
        Self::OtherPort,
        Self::NeighborDiscovery,
        Self::AlwaysAllow,
        Self::Allow,
        Self::DefaultPass,
        Self::AuditDeny,
        Self::AuditDefault,
        Self::AuditUnreadable,
        Self::NoGeneration,
        Self::Deny,
        Self::DefaultDrop,
        Self::Truncated,
        Self::TooManyTags,
        Self::BadVersion,
    ];

    /// The number in the table of the page.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The name in the table of the page.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotIp => "not-ip",
            Self::OtherDestination => "other-destination",
            Self::OtherProtocol => "other-protocol",
            Self::OtherPort => "other-port",
            Self::NeighborDiscovery => "neighbor-discovery",
            Self::AlwaysAllow => "always-allow",
            Self::Allow => "allow",
            Self::DefaultPass => "default-pass",
            Self::AuditDeny => "audit-deny",
            Self::AuditDefault => "audit-default",
            Self::AuditUnreadable => "audit-unreadable",
            Self::NoGeneration => "no-generation",
            Self::Deny => "deny",
            Self::DefaultDrop => "default-drop",
            Self::Truncated => "truncated",
            Self::TooManyTags => "too-many-tags",
            Self::BadVersion => "bad-version",
        }
    }

    /// Whether a frame with this reason passes.
    #[must_use]
    pub const fn passes(self) -> bool {
        match self {
            Self::NotIp
            | Self::OtherDestination
            | Self::OtherProtocol
            | Self::OtherPort
            | Self::NeighborDiscovery
            | Self::AlwaysAllow
            | Self::Allow
            | Self::DefaultPass
            | Self::AuditDeny
            | Self::AuditDefault
            | Self::AuditUnreadable
            | Self::NoGeneration => true,
            Self::Deny
            | Self::DefaultDrop
            | Self::Truncated
            | Self::TooManyTags
            | Self::BadVersion => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
