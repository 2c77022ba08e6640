//! The doubts themselves: their words, and how doubtful each is.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::super::Severity;

/// A doubt about a policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Lint {
    /// A set that holds nothing.
    #[error("set `{name}` is empty")]
    EmptySet {
        /// The set.
        name: Arc<str>,
    },
    /// A deny entry that `always_allow` takes the effect from.
    #[error("deny entry `{entry}` drops nobody: it is covered by {by} in `always_allow`")]
    Exempt {
        /// The entry.
        entry: Arc<str>,
        /// What covers it.
        by: Cover,
    },
    /// An audit entry of a host that drops by default, and that allows nothing there.
    #[error("audit entry `{entry}` reports nobody: host `{host}` drops by default what it matches")]
    IdleAudit {
        /// The entry.
        entry: Arc<str>,
        /// The host.
        host: Arc<str>,
    },
    /// The allow list of a host that passes by default.
    #[error("`allow` of host `{host}` changes nothing: its default is to pass")]
    IdleAllow {
        /// The host.
        host: Arc<str>,
    },
    /// A deny entry of a host that drops by default, and that allows nothing there.
    #[error("deny entry `{entry}` drops only what the default of host `{host}` drops anyway")]
    IdleDeny {
        /// The entry.
        entry: Arc<str>,
        /// The host.
        host: Arc<str>,
    },
    /// A VPC tied to VLANs and one tied to interfaces, with ranges that overlap.
    #[error(
        "where a VLAN of vpc `{vlan}` comes in on an interface of vpc `{interface}`, it belongs to `{interface}`, and both have {cidr}"
    )]
    InterfaceFirst {
        /// The VPC that claims VLANs on every interface.
        vlan: Arc<str>,
        /// The VPC that claims interfaces whatever the VLAN.
        interface: Arc<str>,
        /// A range that both have.
        cidr: ipnetwork::IpNetwork,
    },
    /// An audit entry that `deny` takes the effect from.
    #[error("audit entry `{entry}` reports nobody: it is covered by {by} in `deny`")]
    Muted {
        /// The entry.
        entry: Arc<str>,
        /// What covers it.
        by: Cover,
    },
    /// A condition on a key that no request has.
    #[error("no request to an SWF host has `{key}`: the condition {} holds", if *.holds { "always" } else { "never" })]
    NeverPresent {
        /// The key.
        key: Arc<str>,
        /// Whether the condition holds without it.
        holds: bool,
    },
    /// Documents that restrict sources, and let in all of them all the same.
    #[error(
        "network conditions of host `{host}` are not enforced at the packet: {statement} allows some request from anywhere"
    )]
    OpenAtPacket {
        /// The host.
        host: Arc<str>,
        /// The statement that lets all sources in.
        statement: String,
    },
    /// A statement about other services only.
    #[error("the statement is about no action of SWF, nor about roles")]
    OtherServices,
    /// An entry of a family of which the host has no address.
    #[error("{list} entry `{entry}` matches nothing: host `{host}` has no {family} address")]
    OtherFamily {
        /// The list it stands in.
        list: List,
        /// The entry.
        entry: Arc<str>,
        /// The host.
        host: Arc<str>,
        /// The family that all of the entry is of.
        family: Family,
    },
    /// An allow entry of which a deny entry takes a part away.
    #[error("allow entry `{allow}` and deny entry `{deny}` overlap")]
    Overlap {
        /// The allow entry.
        allow: Arc<str>,
        /// The deny entry.
        deny: Arc<str>,
    },
    /// An entry inside others of its list.
    #[error("{list} entry `{entry}` changes nothing: it is covered by {by}")]
    Redundant {
        /// The list.
        list: List,
        /// The entry.
        entry: Arc<str>,
        /// What covers it.
        by: Cover,
    },
    /// An entry whose prefixes all stand in its list before.
    #[error("{list} entry `{entry}` repeats {by}")]
    Repeated {
        /// The list.
        list: List,
        /// The entry.
        entry: Arc<str>,
        /// What it repeats.
        by: Cover,
    },
    /// An allow entry that `deny` takes the effect from.
    #[error("allow entry `{entry}` passes nobody: it is covered by {by} in `deny`")]
    Shadowed {
        /// The entry.
        entry: Arc<str>,
        /// What covers it.
        by: Cover,
    },
    /// A host that documents let nobody reach.
    #[error("{}: {fate}", why.words(host))]
    Shut {
        /// The host.
        host: Arc<str>,
        /// What lets nobody in.
        why: Shut,
        /// What becomes of sources.
        fate: String,
    },
    /// A host that drops everything.
    #[error("nothing can reach host `{name}`")]
    Unreachable {
        /// The host.
        name: Arc<str>,
    },
    /// A VPC without claims that an allow entry names.
    #[error("nothing but the source address tells packets of vpc `{id}` from others")]
    UntiedVpc {
        /// The VPC.
        id: Arc<str>,
    },
    /// A set that no entry names.
    #[error("set `{name}` is not used")]
    UnusedSet {
        /// The set.
        name: Arc<str>,
    },
    /// An Allow of decisions, on a condition that SWF judges no decision by.
    #[error("decisions are judged without `{key}`, so that this statement allows none of them")]
    Withheld {
        /// The key.
        key: Arc<str>,
    },
    /// A VPC that no entry names, and that has no endpoints either.
    #[error("vpc `{id}` is not used")]
    UnusedVpc {
        /// The VPC.
        id: Arc<str>,
    },
}

/// A list that an entry stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum List {
    /// The host's allow list.
    Allow,
    /// The administrator's list in config.toml.
    AlwaysAllow,
    /// The host's audit list.
    Audit,
    /// The host's deny list.
    Deny,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::AlwaysAllow => "always_allow",
            Self::Audit => "audit",
            Self::Deny => "deny",
        })
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// What covers an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cover {
    /// The entry that covers all of it, or the first of those that do so together.
    pub first: Arc<str>,
    /// Whether it takes more than that one.
    pub extent: Extent,
}

/// How many entries a [`Cover`] consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// One entry.
    One,
    /// More than one.
    Several,
}

/// Why documents let nobody reach a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shut {
    /// They allow requests, but from none of the sources that the host's lists let through.
    Apart,
    /// The host has an account only, and there is neither user nor role.
    NoCaller(Without),
    /// They allow no request at all.
    Nobody,
}

/// What lets sources in without documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Without {
    /// The host's `allow`, and nothing else.
    Listed,
    /// More than an `allow`, or nothing.
    Unlisted,
}

impl Shut {
    fn words(self, host: &str) -> String {
        match self {
            Self::Apart => format!(
                "the policy documents of host `{host}` allow no request from a source that its lists let through"
            ),
            Self::NoCaller(_) => {
                format!("host `{host}` has an account, and no principal may call it")
            }
            Self::Nobody => format!("no policy document allows any request to host `{host}`"),
        }
    }

    fn help(self) -> &'static str {
        match self {
            Self::Apart => {
                "a source must get through both: see that `allow` and the conditions of the documents name the same sources, and that `deny` does not hold them all"
            }
            Self::NoCaller(Without::Listed) => {
                "add users or roles in principals.d, or leave `account` out while requests are not judged: `allow` alone then decides"
            }
            Self::NoCaller(Without::Unlisted) => {
                "add users or roles in principals.d, with documents that allow what they are to do"
            }
            Self::Nobody => {
                "allow what users or roles are to do, in documents of theirs or in `resource_policies`; `swf-filter explain --principal ARN --action ACTION` says what a request lacks"
            }
        }
    }
}

impl fmt::Display for Cover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.first)?;
        match self.extent {
            Extent::One => Ok(()),
            Extent::Several => f.write_str(" and others"),
        }
    }
}

impl Lint {
    /// How doubtful.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::EmptySet { .. }
            | Self::Exempt { .. }
            | Self::IdleAudit { .. }
            | Self::Muted { .. }
            | Self::OpenAtPacket { .. }
            | Self::OtherFamily { .. }
            | Self::Repeated { .. }
            | Self::Shadowed { .. }
            | Self::Shut { .. }
            | Self::Unreachable { .. }
            | Self::UnusedSet { .. } => Severity::Warning,
            Self::IdleAllow { .. }
            | Self::IdleDeny { .. }
            | Self::InterfaceFirst { .. }
            | Self::NeverPresent { .. }
            | Self::OtherServices
            | Self::Overlap { .. }
            | Self::Redundant { .. }
            | Self::UntiedVpc { .. }
            | Self::UnusedVpc { .. }
            | Self::Withheld { .. } => Severity::Advice,
        }
    }

    /// What to set beside the caret.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::EmptySet { .. }
            | Self::InterfaceFirst { .. }
            | Self::Unreachable { .. }
            | Self::UnusedSet { .. }
            | Self::UnusedVpc { .. } => "this block",
            Self::NeverPresent { .. }
            | Self::OpenAtPacket { .. }
            | Self::OtherServices
            | Self::Withheld { .. } => "this statement",
            Self::Shut { .. } => "this field",
            Self::IdleAllow { .. } => "the first of these entries",
            Self::Exempt { .. }
            | Self::IdleAudit { .. }
            | Self::IdleDeny { .. }
            | Self::Muted { .. }
            | Self::OtherFamily { .. }
            | Self::Overlap { .. }
            | Self::Redundant { .. }
            | Self::Repeated { .. }
            | Self::Shadowed { .. }
            | Self::UntiedVpc { .. } => "this entry",
        }
    }

    /// What stands at the second place.
    #[must_use]
    pub fn other_label(&self) -> &'static str {
        match self {
            Self::OpenAtPacket { .. } => "restricted here",
            Self::Overlap { .. } => "denied",
            Self::Muted { .. } | Self::Redundant { .. } | Self::Shadowed { .. } => "covered",
            Self::Repeated { .. } => "first written",
            Self::UntiedVpc { .. } => "the vpc",
            _ => "see here",
        }
    }

    /// The way out.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::EmptySet { name } => {
                format!("an entry `set:{name}` matches nothing; is the file the right one?")
            }
            Self::Exempt { .. } => {
                "no policy can lock `always_allow` of config.toml out; remove the one or the other".into()
            }
            Self::IdleAllow { .. } => {
                "write `default = \"drop\"` if only these may reach it, or remove `allow`".into()
            }
            Self::IdleAudit { .. } => {
                "`audit` is about sources that pass without it; remove the entry, or allow what it should try".into()
            }
            Self::IdleDeny { .. } => {
                "`deny` makes holes in `allow`; remove it unless it is there to be counted".into()
            }
            Self::InterfaceFirst { vlan, interface, .. } => {
                format!("give `{vlan}` its `interfaces`, or `{interface}` its `vlans`, if they share a cable")
            }
            Self::Muted { .. } => {
                "it is denied already; remove the entry, or the one in `deny` if it is only to be tried".into()
            }
            Self::NeverPresent { .. } => {
                "AWS sets it on calls between its services, for another service, or for MFA and federation, which there are not here; \
                 take the condition out if this is not what you want".into()
            }
            Self::OpenAtPacket { .. } => {
                "give the statement a condition on the network too; until then every source passes the packet gate, and requests are judged one by one".into()
            }
            Self::OtherServices => "it changes nothing here; leave it if the document is shared with another service".into(),
            Self::Withheld { .. } => {
                "allow the permissions of decisions, such as `swf:StartTimer`, in a statement without this condition, if deciders are meant to work".into()
            }
            Self::OtherFamily { family, .. } => {
                format!("remove it, or add the host's {family} address to `addresses`")
            }
            Self::Overlap { .. } => {
                "sources in both are dropped, because deny wins; nothing to do if that is what you want".into()
            }
            Self::Redundant { .. } => "remove it, unless it is there to be counted by itself".into(),
            Self::Repeated { .. } => "remove it: the first one is counted and named for both".into(),
            Self::Shadowed { by, .. } => {
                format!("deny wins, even over a longer prefix; remove the entry, or narrow {by}")
            }
            Self::Shut { why, .. } => why.help().into(),
            Self::Unreachable { .. } => {
                "add the sources that may reach it to `allow`, and keep `deny` off them".into()
            }
            Self::UntiedVpc { .. } => {
                "add the `interfaces` or `vlans` that its packets come in on, so that others cannot send as it".into()
            }
            Self::UnusedSet { name } => {
                format!("name it as `set:{name}` in a host's `allow`, `audit` or `deny`, or remove it")
            }
            Self::UnusedVpc { id } => {
                format!("name it as `vpc:{id}` in a host's `allow`, `audit` or `deny`, or remove it")
            }
        })
    }
}
