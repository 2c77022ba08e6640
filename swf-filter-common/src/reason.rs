//! Why a frame passed or dropped: each frame ends in exactly one [`Reason`].

/// How a frame was decided. The numbers are stable: they index counters and appear in events and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// Neither IPv4 nor IPv6.
    NotIp = 1,
    /// The destination is not a protected address.
    OtherDestination = 2,
    /// Neither TCP nor UDP, and the host protects ports.
    OtherProtocol = 3,
    /// The destination port is not protected.
    OtherPort = 4,
    /// IPv6 neighbour discovery, which a host cannot live without.
    NeighborDiscovery = 5,
    /// An administrator's source, which no policy can lock out.
    AlwaysAllow = 6,
    /// An entry of the host's allow list.
    Allow = 7,
    /// Nothing matched, and the host passes by default.
    DefaultPass = 8,
    /// An entry of the deny list in audit mode, or of the audit list.
    AuditDeny = 9,
    /// Nothing matched and the host drops by default, in audit mode.
    AuditDefault = 10,
    /// An unreadable frame, and every host is in audit mode.
    AuditUnreadable = 11,
    /// The program runs without a generation.
    NoGeneration = 12,
    /// An entry of the host's deny list.
    Deny = 16,
    /// Nothing matched, and the host drops by default.
    DefaultDrop = 17,
    /// The frame ends within a header that must be read.
    Truncated = 18,
    /// More than two VLAN tags.
    TooManyTags = 19,
    /// The IP version field does not fit the Ethernet type.
    BadVersion = 20,
}

/// Slots in the counter map of reasons: room for what later versions add.
pub const REASON_SLOTS: u32 = 64;

/// The first number of the reasons that drop.
const FIRST_DROP: u8 = 16;

impl Reason {
    /// Every reason, by number.
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

    /// The stable number.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The reason with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|reason| reason.number() == number)
    }

    /// The stable name, as reports and JSON have it.
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

    /// Whether the frame is discarded.
    #[inline(always)]
    #[must_use]
    pub const fn drops(self) -> bool {
        self.number() >= FIRST_DROP
    }

    /// Whether the frame passed only because of audit mode.
    #[inline(always)]
    #[must_use]
    pub const fn would_drop(self) -> bool {
        matches!(
            self,
            Self::AuditDeny | Self::AuditDefault | Self::AuditUnreadable
        )
    }

    /// Whether the frame is worth an event: it was dropped, or would have been.
    #[inline(always)]
    #[must_use]
    pub const fn reported(self) -> bool {
        self.drops() || self.would_drop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_fit_the_counter_map() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert!(u32::from(reason.number()) < REASON_SLOTS);
            assert_eq!(Reason::from_number(reason.number()), Some(*reason));
            assert!(
                Reason::ALL
                    .iter()
                    .skip(index + 1)
                    .all(|other| other.name() != reason.name())
            );
        }
        assert_eq!(Reason::from_number(0), None);
    }

    #[test]
    fn what_drops_is_not_a_would_drop() {
        assert!(
            Reason::ALL
                .iter()
                .all(|reason| !(reason.drops() && reason.would_drop()))
        );
        assert!(!Reason::AuditDefault.drops());
        assert!(Reason::Truncated.drops());
    }
}
