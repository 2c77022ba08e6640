//! What makes a policy wrong.

use std::fmt;
use std::io;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use thiserror::Error;

use super::limits::{Limit, NAME, WIDEST_V4, WIDEST_V6};
use crate::iam::DocumentFault;
use crate::iam::principal::NotCaller;
use crate::prefix::text::{TextError, excerpt};
use crate::swf::{CallFault, ScopeFault};

/// What to do about a file that this user may not read.
pub const NOT_READABLE: &str = "run this as a user who may read it";

/// A table of a policy file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// `[[account]]`
    Account,
    /// `[[expect]]`
    Expect,
    /// The top of the file.
    File,
    /// `[[host]]`
    Host,
    /// `[[role]]`
    Role,
    /// `[[set]]`
    Set,
    /// `[[user]]`
    User,
    /// `[[vpc]]`
    Vpc,
}

impl Block {
    /// The fields that it may have.
    #[must_use]
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Account => &["id", "organization"],
            Self::Expect => &[
                "host",
                "from",
                "vpc",
                "vpce",
                "principal",
                "action",
                "resource",
                "body",
                "context",
                "packet",
                "request",
            ],
            Self::File => &[
                "version", "host", "vpc", "set", "account", "user", "role", "expect",
            ],
            Self::Host => &[
                "name",
                "addresses",
                "ports",
                "default",
                "mode",
                "allow",
                "audit",
                "deny",
                "resource_policies",
                "domains",
                "account",
                "region",
                "trusted_proxies",
            ],
            Self::Role => &[
                "name",
                "account",
                "path",
                "id",
                "policies",
                "boundary",
                "tags",
                "trust",
                "max_session_duration",
            ],
            Self::Set => &[
                "name",
                "cidrs",
                "file",
                "follow",
                "min_prefixes",
                "max_prefixes",
            ],
            Self::User => &[
                "name", "account", "path", "id", "policies", "boundary", "tags",
            ],
            Self::Vpc => &["id", "cidrs", "interfaces", "vlans", "endpoints"],
        }
    }

    /// The field that names it.
    #[must_use]
    pub fn name_field(self) -> &'static str {
        match self {
            Self::Account | Self::Vpc => "id",
            Self::Expect | Self::File | Self::Host | Self::Role | Self::Set | Self::User => "name",
        }
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account => "account",
            Self::Expect => "expect",
            Self::File => "policy file",
            Self::Host => "host",
            Self::Role => "role",
            Self::Set => "set",
            Self::User => "user",
            Self::Vpc => "vpc",
        })
    }
}

/// What makes a policy wrong. Messages are for operators: lower case, no final stop, their own words in backticks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// A text is not an account id.
    #[error("`{found}` is not an account id", found = excerpt(.found))]
    AccountId {
        /// The text.
        found: String,
    },
    /// SWF has no such action.
    #[error("SWF has no action `{found}`", found = excerpt(.found))]
    Action {
        /// What stands there.
        found: String,
        /// The action that was most likely meant.
        nearest: Option<&'static str>,
    },
    /// An address, prefix or range is wrong.
    #[error(transparent)]
    Address(#[from] TextError),
    /// The body of a made-up request is refused.
    #[error("the body is refused: {0}")]
    Body(#[from] CallFault),
    /// A made-up request does not say enough, or says something twice.
    #[error("{0}")]
    CallScope(#[from] ScopeFault),
    /// The most prefixes of a set file are fewer than the fewest.
    #[error("`max_prefixes` is below `min_prefixes`")]
    BoundsSwapped,
    /// A claim is made by two VPCs whose ranges overlap.
    #[error("vpcs `{vpc}` and `{other}` make the same claim ({claim}), and both hold {cidr}")]
    ClaimOverlap {
        /// The later VPC.
        vpc: String,
        /// The earlier VPC.
        other: String,
        /// The claim in words.
        claim: String,
        /// The smaller of two prefixes that overlap.
        cidr: IpNetwork,
    },
    /// A text is not a condition key.
    #[error("`{found}` is not a condition key", found = excerpt(.found))]
    ConditionKey {
        /// The text.
        found: String,
    },
    /// A policy document is wrong.
    #[error(transparent)]
    Document(#[from] DocumentFault),
    /// A policy document cannot be read.
    #[error("policy document `{path}` cannot be read: {}", reason(*.error))]
    DocumentFile {
        /// The path, resolved.
        path: String,
        /// What the system says.
        error: io::ErrorKind,
    },
    /// A name is given to two blocks of a kind.
    #[error("{block} `{name}` is defined twice")]
    Duplicate {
        /// The kind of block.
        block: Block,
        /// The name.
        name: String,
    },
    /// A list that must not be empty is.
    #[error("`{field}` is empty")]
    EmptyList {
        /// The field.
        field: &'static str,
    },
    /// A number of prefixes is none that a set file can have.
    #[error("`{found}` is not a number of prefixes", found = excerpt(.found))]
    Count {
        /// The number as written.
        found: String,
    },
    /// An expectation that no gate can fail.
    #[error("expect without `packet` and `request`")]
    ExpectNothing,
    /// A set file has fewer prefixes than it may.
    #[error("set file `{path}` has {found} prefixes, and `min_prefixes` is {least}")]
    FewPrefixes {
        /// The path, resolved.
        path: String,
        /// How many it has.
        found: usize,
        /// How many it should have.
        least: usize,
    },
    /// A path of a user or role does not read as one.
    #[error("`{found}` is not the path of a user or role", found = excerpt(.found))]
    IdentityPath {
        /// The path as written.
        found: String,
    },
    /// A name could not be that of an interface.
    #[error("`{name}` is not an interface name", name = excerpt(.name))]
    InterfaceName {
        /// The name as written.
        name: String,
    },
    /// A set file has more prefixes than it may.
    #[error("set file `{path}` has {found} prefixes, and `max_prefixes` is {most}")]
    ManyPrefixes {
        /// The path, resolved.
        path: String,
        /// How many it has.
        found: usize,
        /// How many it may have.
        most: usize,
    },
    /// A required field is not there.
    #[error("{block} without `{field}`")]
    MissingField {
        /// The kind of block.
        block: Block,
        /// The field.
        field: &'static str,
    },
    /// A name or id has characters, or a length, that it must not have.
    #[error("`{name}` is not a {what}", name = excerpt(.name))]
    Name {
        /// What it should have named.
        what: &'static str,
        /// The name as written.
        name: String,
    },
    /// A word is none of the few that may stand there.
    #[error("`{found}` is not a value of `{field}`", found = excerpt(.found))]
    NotChoice {
        /// The field.
        field: &'static str,
        /// What stands there.
        found: String,
        /// What may stand there.
        choices: &'static [&'static str],
    },
    /// A text is not one IP address.
    #[error("`{found}` is not an IP address", found = excerpt(.found))]
    NotAddress {
        /// The text.
        found: String,
    },
    /// A text is not the ARN of someone who can call.
    #[error(transparent)]
    NotCaller(#[from] NotCaller),
    /// A file holds bytes that are not text.
    #[error("this is not UTF-8 text")]
    NotUtf8,
    /// A port, or a range of ports, does not read as one.
    #[error("`{text}` is not a port or a range of ports", text = excerpt(.text))]
    Port {
        /// What stands there.
        text: String,
    },
    /// A range of ports begins above its end.
    #[error("the ends of the port range `{first}-{last}` are swapped")]
    PortsSwapped {
        /// The first port as written.
        first: u16,
        /// The last port as written.
        last: u16,
    },
    /// A `set:` or `vpc:` entry stands where only addresses may.
    #[error("`{text}` cannot stand in `{field}`", text = excerpt(.text))]
    ReferenceHere {
        /// The entry.
        text: String,
        /// The field.
        field: &'static str,
    },
    /// The time that sessions of a role may last is not one that they have.
    #[error("sessions of a role cannot last `{found}`", found = excerpt(.found))]
    SessionDuration {
        /// The time as written.
        found: String,
    },
    /// A set has neither `cidrs` nor `file`.
    #[error("set without `cidrs` and `file`")]
    SetWithoutContent,
    /// A set file cannot be read.
    #[error("set file `{path}` cannot be read: {}", reason(*.error))]
    SetFile {
        /// The path, resolved.
        path: String,
        /// What the system says.
        error: io::ErrorKind,
    },
    /// The file is not TOML.
    #[error("not valid TOML: {message}")]
    Syntax {
        /// What the TOML reader says.
        message: String,
    },
    /// A tag is given twice.
    #[error("tag `{found}` is given twice", found = excerpt(.found))]
    TagTwice {
        /// Its key as written.
        found: String,
    },
    /// There is more than a limit allows.
    #[error("more than {} {limit}", limit.value())]
    TooMany {
        /// The limit.
        limit: Limit,
    },
    /// An address belongs to two hosts.
    #[error("address `{address}` belongs to host `{owner}` and to host `{host}`")]
    TwoOwners {
        /// The address.
        address: IpAddr,
        /// The host that has it first.
        owner: String,
        /// The host that has it too.
        host: String,
    },
    /// A followed file has a prefix that no program should open or close a host by.
    #[error("{prefix} is wider than a followed file may have")]
    TooWide {
        /// The prefix.
        prefix: IpNetwork,
    },
    /// An entry names a set or VPC that is nowhere.
    #[error("there is no {block} `{name}`", name = excerpt(.name))]
    Unknown {
        /// What is named.
        block: Block,
        /// The name.
        name: String,
        /// A name that looks like it.
        nearest: Option<String>,
    },
    /// A field is not known.
    #[error("{} {block} has no field `{field}`", article(&block.to_string()), field = excerpt(.field))]
    UnknownField {
        /// Where it stands.
        block: Block,
        /// The field.
        field: String,
    },
    /// The file is written for another version of swf-filter.
    #[error("version `{found}` is not known", found = excerpt(.found))]
    Version {
        /// The version as written.
        found: String,
    },
    /// The file does not say its version.
    #[error("policy file without `version`")]
    VersionMissing,
    /// A number is no VLAN id.
    #[error("`{found}` is not a VLAN id", found = excerpt(.found))]
    Vlan {
        /// The number as written.
        found: String,
    },
    /// A field says something about a set file where there is none.
    #[error("`{field}` without `file`")]
    WithoutFile {
        /// The field.
        field: &'static str,
    },
    /// A field says something about documents where there are none.
    #[error("`{field}` without `resource_policies` or `account`")]
    WithoutDocuments {
        /// The field.
        field: &'static str,
    },
    /// A value has the wrong type.
    #[error("`{field}` takes {expected}, not {} {found}", article(found))]
    WrongType {
        /// The field.
        field: &'static str,
        /// What it takes.
        expected: &'static str,
        /// What stands there.
        found: &'static str,
    },
}

impl From<Limit> for Fault {
    fn from(limit: Limit) -> Self {
        Self::TooMany { limit }
    }
}

impl Fault {
    /// The way out.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::AccountId { .. } => "write its twelve digits, in quotes".into(),
            Self::Action { nearest: Some(nearest), .. } => format!("did you mean `swf:{nearest}`?"),
            Self::Action { .. } => "docs/iam.md names where SWF's actions are listed".into(),
            Self::Address(error) => error.help(),
            Self::BoundsSwapped => "write the fewest that are right as `min_prefixes`, and the most as `max_prefixes`".into(),
            Self::Body(_) => "write the JSON that a client sends".into(),
            Self::CallScope(fault) => fault.help().into(),
            Self::ConditionKey { .. } => "docs/iam.md lists the condition keys".into(),
            Self::Count { .. } => "write a whole number that is not negative".into(),
            Self::FewPrefixes { .. } | Self::ManyPrefixes { .. } => {
                "is the file complete? If so, move the bound".into()
            }
            Self::TooWide { .. } => format!(
                "followed files take IPv4 prefixes from /{WIDEST_V4} on and IPv6 prefixes from /{WIDEST_V6} on; write this one in `cidrs`"
            ),
            Self::WithoutFile { .. } => "it is about a set's `file`; add one, or remove it".into(),
            Self::ExpectNothing => "add `packet = \"pass\"` or `\"drop\"`, `request = \"allow\"` or `\"deny\"`, or both".into(),
            Self::NotAddress { .. } => "write one IPv4 or IPv6 address, without a prefix length".into(),
            Self::NotCaller(_) => "write `arn:aws:iam::ACCOUNT:user/NAME`, or `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`".into(),
            Self::ClaimOverlap { .. } => "give each of them an interface or VLAN of its own, or ranges that do not \
                 overlap"
                .into(),
            Self::Document(fault) => return fault.help(),
            Self::Duplicate { block, .. } => format!("rename one of them; a {block}'s name is unique in all files"),
            Self::EmptyList { field: "ports" } => "leave `ports` out for 443, or write `\"all\"`".into(),
            Self::EmptyList { field } => format!("write at least one of the `{field}`"),
            Self::InterfaceName { .. } => INTERFACE_HELP.into(),
            Self::MissingField { field, .. } => format!("add `{field} = ...`"),
            Self::Name { .. } => "write 1 to 64 characters of `A-Z a-z 0-9 . _ -`".into(),
            Self::NotChoice { found, choices, .. } => did_you_mean(found, choices),
            Self::NotUtf8 => "save the file as UTF-8; is it a text file at all?".into(),
            Self::Port { .. } => {
                "write a number from 0 to 65535, a range such as `\"8000-8010\"`, or `ports = \"all\"`".into()
            }
            Self::PortsSwapped { first, last } => format!("write `\"{last}-{first}\"`"),
            Self::ReferenceHere { field: "always_allow", .. } => {
                "write addresses, prefixes or ranges: `always_allow` must hold even when no policy can be read".into()
            }
            Self::ReferenceHere { .. } => {
                "write addresses, prefixes or ranges; sets and VPCs are named in `allow`, `audit` and `deny` only".into()
            }
            Self::IdentityPath { .. } => "write `/`, or words between slashes, such as `/team/`".into(),
            Self::WithoutDocuments { .. } => "requests to this host are judged by no policy document; attach one".into(),
            Self::DocumentFile { error: io::ErrorKind::PermissionDenied, .. }
            | Self::SetFile { error: io::ErrorKind::PermissionDenied, .. } => NOT_READABLE.into(),
            Self::DocumentFile { error: io::ErrorKind::InvalidData, .. }
            | Self::SetFile { error: io::ErrorKind::InvalidData, .. } => LED_ASTRAY.into(),
            Self::DocumentFile { .. } | Self::SetFile { .. } => "a path is relative to the file that names it".into(),
            Self::SessionDuration { .. } => "write a number of seconds from 3600 to 43200: 1 to 12 hours".into(),
            Self::SetWithoutContent => "add `cidrs = [...]`, `file = \"...\"` or both".into(),
            Self::TagTwice { .. } => "take one of them out: keys of tags compare without case".into(),
            Self::TooMany { limit } => too_many_help(*limit).into(),
            Self::TwoOwners { .. } => "an address belongs to one host only; take it from one of them".into(),
            Self::Unknown { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
            Self::Unknown { block, .. } => format!("define it with `[[{block}]]` in any policy file"),
            Self::UnknownField { block, field } => did_you_mean(field, block.fields()),
            Self::Version { .. } => "this swf-filter reads `version = 1`".into(),
            Self::VersionMissing => "write `version = 1` as the first line".into(),
            Self::Vlan { .. } => "write a number from 1 to 4094".into(),
            Self::Syntax { .. } | Self::WrongType { .. } => return None,
        })
    }

    /// What to set beside the caret.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Document(fault) => fault.label(),
            Self::Duplicate { .. } => "again here",
            Self::ExpectNothing | Self::MissingField { .. } | Self::SetWithoutContent => {
                "in this block"
            }
            Self::DocumentFile { .. }
            | Self::FewPrefixes { .. }
            | Self::ManyPrefixes { .. }
            | Self::SetFile { .. } => "named here",
            Self::TooMany { .. } => "the first too many",
            Self::TwoOwners { .. } => "claimed again here",
            _ => "here",
        }
    }

    /// What stands at the second place.
    #[must_use]
    pub fn other_label(&self) -> &'static str {
        match self {
            Self::ClaimOverlap { .. } => "the other vpc",
            Self::TwoOwners { .. } => "first claimed here",
            _ => "first defined here",
        }
    }
}

#[cfg(test)]
thread_local! {
    /// How many times a word was searched for.
    pub(crate) static SEARCHES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// The word of `words` that `text` was most likely meant to be.
pub fn nearest<'a>(text: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    #[cfg(test)]
    SEARCHES.set(SEARCHES.get() + 1);
    let length = text.chars().take(NAME + 1).count();
    let furthest = (length / 3).max(1);
    words
        .into_iter()
        .filter(|word| length <= NAME && word.len().abs_diff(text.len()) <= furthest)
        .map(|word| (strsim::osa_distance(text, word), word))
        .filter(|(distance, _)| *distance <= furthest)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// The indefinite article of a TOML type's name.
fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i']) {
        "an"
    } else {
        "a"
    }
}

fn did_you_mean(text: &str, words: &[&str]) -> String {
    match nearest(text, words.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("write one of `{}`", words.join("`, `")),
    }
}

fn reason(error: io::ErrorKind) -> String {
    match error {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::InvalidData => {
            "a link or second name that another user may have made leads to it, and not everybody may read it".into()
        }
        io::ErrorKind::InvalidInput => "it is not a regular file".into(),
        other => other.to_string(),
    }
}

fn too_many_help(limit: Limit) -> &'static str {
    match limit {
        Limit::AddressesV4 | Limit::AddressesV6 => {
            "list only the addresses that the hosts really have"
        }
        Limit::AllPrefixes => {
            "give hosts equal lists, so that they share a table, or list fewer sources"
        }
        Limit::Claims | Limit::Zones => {
            "let VPCs that need not be kept apart share interfaces and VLANs"
        }
        Limit::Expectations => "keep those that tell most",
        Limit::Hosts => "join hosts that have the same rules",
        Limit::PolicyFile => "split the file, or move long lists to set files",
        Limit::PortRanges => "join ranges, or write `ports = \"all\"`",
        Limit::Prefixes => "write ranges as whole prefixes, or join prefixes that are neighbours",
        Limit::Rules => "move entries to a set; a `set:` entry counts as one",
        Limit::SetFile => "split the file into several sets",
        Limit::Tags => "take out those that no document asks for; AWS has no more of them either",
    }
}

/// What to do about a file that others may have led to.
pub const LED_ASTRAY: &str =
    "put the file itself there, or let root own the link and its directory";

const INTERFACE_HELP: &str = "write the name of one interface as `ip link` shows it: 1 to 15 bytes without blanks, \
                              `/`, `:` or wildcards; globs stand in config.toml only";
