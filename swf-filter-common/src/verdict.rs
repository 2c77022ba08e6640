//! Judges a frame: the whole decision of the packet gate, step by step as `docs/policy.md` has it.
//!
//! Nothing here decides by itself what a policy means; that is compiled into the [image](crate::image) and the source
//! tables. This is the only code that reads them for a verdict.

use crate::abi::{Class, Leaf, NONE_U16, NONE_U32};
use crate::frame::{self, Frame, Link, Network, Transport, TransportKind, V6};
use crate::image::{Image, Options, Record, Words};
use crate::reason::Reason;

/// Source tables: from table number and address to the rule of the longest matching prefix.
///
/// One engine is the kernel's LPM trie; others can stand beside it.
pub trait Sources {
    /// The leaf of the longest prefix in `table` that `source` lies in.
    fn leaf_v4(&self, slot: u8, table: u16, source: u32) -> Option<Leaf>;
    /// The same for IPv6.
    fn leaf_v6(&self, slot: u8, table: u16, source: V6) -> Option<Leaf>;
}

/// Why a frame passes or drops.
///
/// What else an observer wants to know of the frame, such as its addresses and its zone, it works out itself, with [`frame`]: carrying
/// that along would cost every packet what few are asked for, and verifiers before that of 6.12 look at each combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The reason, which says whether it drops.
    pub reason: Reason,
    /// The protected host that it is for, or [`NONE_U16`]; an `Option` would be an uninitialised register to the verifier.
    pub host: u16,
    /// The number of the deciding rule's counter, or [`NONE_U32`].
    pub rule: u32,
    /// Where the packet ends in the frame by its own account; 0 if it gives none. It decides nothing.
    pub end: u32,
}

impl Verdict {
    /// A verdict with nothing known but its reason.
    #[inline(always)]
    #[must_use]
    pub const fn bare(reason: Reason) -> Self {
        Self {
            reason,
            host: NONE_U16,
            rule: NONE_U32,
            end: 0,
        }
    }
}

/// Judges a frame that came in on `interface`, which is asked for only where zones are told by it.
#[inline(always)]
pub fn judge<F, I, W, S>(frame: &F, interface: I, image: &Image<W>, sources: &S) -> Verdict
where
    F: Frame + ?Sized,
    I: Fn() -> u32,
    W: Words,
    S: Sources,
{
    let gate = Gate {
        image,
        sources,
        interface,
    };
    match frame::link(frame) {
        Ok(link) => match link.network {
            Network::V4 => gate.judge_v4(frame, link),
            Network::V6 => gate.judge_v6(frame, link),
            Network::Other => Verdict::bare(Reason::NotIp),
        },
        Err(reason) => gate.unreadable(reason),
    }
}

struct Gate<'a, I, W, S> {
    image: &'a Image<W>,
    sources: &'a S,
    interface: I,
}

impl<I: Fn() -> u32, W: Words, S: Sources> Gate<'_, I, W, S> {
    /// Read where it is asked for: all options kept together would be packed and unpacked bit by bit.
    #[inline(always)]
    fn options(&self) -> Options {
        self.image.options()
    }

    #[inline(always)]
    fn judge_v4<F: Frame + ?Sized>(&self, frame: &F, link: Link) -> Verdict {
        let header = match frame::header_v4(frame, link) {
            Ok(header) => header,
            Err(reason) => return self.unreadable(reason),
        };
        let mut verdict = Verdict::bare(Reason::OtherDestination);
        verdict.end = header.end;
        let Some(host) = self.image.host_v4(self.options(), header.destination) else {
            return verdict;
        };
        let record = self.image.host(host);
        verdict.host = host;
        let judged = match header.port.seen() {
            Some(port) => self.judged_by_port(host, record, port),
            None => self.judged(host, record, frame::transport_v4(frame)),
        };
        if let Err(reason) = judged {
            verdict.reason = reason;
            return verdict;
        }
        let table = self.image.table(host, record, || self.zone(link));
        let leaf = self
            .sources
            .leaf_v4(self.options().slot, table, header.source);
        verdict.decided(record, leaf)
    }

    #[inline(always)]
    fn judge_v6<F: Frame + ?Sized>(&self, frame: &F, link: Link) -> Verdict {
        let header = match frame::header_v6(frame, link) {
            Ok(header) => header,
            Err(reason) => return self.unreadable(reason),
        };
        let mut verdict = Verdict::bare(Reason::OtherDestination);
        verdict.end = header.end;
        let Some(host) = self.image.host_v6(self.options(), header.destination) else {
            return verdict;
        };
        let record = self.image.host(host);
        verdict.host = host;
        let judged = match header.port.seen() {
            Some(port) => self.judged_by_port(host, record, port),
            None => self.judged(host, record, frame::transport_v6(frame)),
        };
        if let Err(reason) = judged {
            verdict.reason = reason;
            return verdict;
        }
        let table = self.image.table(host, record, || self.zone(link));
        let leaf = self
            .sources
            .leaf_v6(self.options().slot, table, header.source);
        verdict.decided(record, leaf)
    }

    #[inline(always)]
    fn zone(&self, link: Link) -> u16 {
        self.image
            .zone(self.options().claims, &self.interface, link.vlan)
    }

    /// The reason why a frame for a protected address passes without a look at its source, if there is one.
    #[inline(always)]
    fn judged(&self, host: u16, record: Record, transport: Transport) -> Result<(), Reason> {
        match transport.kind {
            TransportKind::NeighborDiscovery if record.all_ports() => {
                Err(Reason::NeighborDiscovery)
            }
            TransportKind::Other if record.all_ports() => Ok(()),
            TransportKind::NeighborDiscovery | TransportKind::Other => Err(Reason::OtherProtocol),
            TransportKind::NoPorts | TransportKind::Unknown => Ok(()),
            TransportKind::Ports => self.judged_by_port(host, record, transport.destination_port),
        }
    }

    /// The same for a frame whose port is known.
    #[inline(always)]
    fn judged_by_port(&self, host: u16, record: Record, port: u16) -> Result<(), Reason> {
        if record.all_ports() || self.image.protects_port(host, record, port) {
            Ok(())
        } else {
            Err(Reason::OtherPort)
        }
    }

    /// A frame whose destination cannot be read: it might be for any host.
    #[inline(always)]
    fn unreadable(&self, reason: Reason) -> Verdict {
        Verdict::bare(if self.options().hosts == 0 {
            Reason::OtherDestination
        } else if self.options().audit_unreadable {
            Reason::AuditUnreadable
        } else {
            reason
        })
    }
}

impl Verdict {
    #[inline(always)]
    fn decided(mut self, host: Record, leaf: Option<Leaf>) -> Self {
        let ordinal = leaf.map_or(host.default_ordinal(), Leaf::ordinal);
        self.rule = host.first_rule().wrapping_add(ordinal);
        self.reason = match (leaf.map(Leaf::class), host.audit()) {
            (Some(Class::AlwaysAllow), _) => Reason::AlwaysAllow,
            (Some(Class::Allow), _) => Reason::Allow,
            (Some(Class::Deny), false) => Reason::Deny,
            (Some(Class::Audit), _) | (Some(Class::Deny), true) => Reason::AuditDeny,
            (None, _) if host.default_passes() => Reason::DefaultPass,
            (None, false) => Reason::DefaultDrop,
            (None, true) => Reason::AuditDefault,
        };
        self
    }
}
