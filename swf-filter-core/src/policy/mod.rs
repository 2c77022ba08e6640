//! The policy model: what an operator wrote, checked and linked.
//!
//! Text goes in, a [`Policy`] or a list of [`Problem`]s comes out; nothing is half-accepted. This module reads no files:
//! the caller hands in the text of each policy file, and a function that fetches set files by name.

pub mod claim;
pub mod fault;
pub mod limits;
pub mod lint;
pub mod parse;
pub mod problem;
pub mod source;

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

pub use self::claim::Claim;
pub use self::fault::{Fault, LED_ASTRAY, NOT_READABLE};
pub use self::lint::{Lint, lint};
pub use self::parse::{Followed, followed, parse, parse_always_allow};
pub use self::problem::{Kind, Problem, Problems, Severity};
pub use self::source::{Place, SourceFile, SourceIndex};
use crate::credentials::{Prefix, unique_id};
use crate::iam;
use crate::iam::principal::role_name;
use crate::prefix::PrefixList;
use crate::prefix::table::Numbered;
use crate::swf::Action;

/// Where something stands in a policy file. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The file, as it was named to the parser.
    pub file: Arc<str>,
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// `policy.d/a.toml:3:14`
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A whole policy: every file merged, every reference resolved.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Protected hosts, in the order of files and blocks.
    pub hosts: Vec<Host>,
    /// VPCs, in the order of files and blocks.
    pub vpcs: Vec<Vpc>,
    /// Sets, in the order of files and blocks.
    pub sets: Vec<Set>,
    /// Accounts, users and roles, in the order of files and blocks.
    pub principals: Principals,
    /// What is expected of it, in the order of files and blocks.
    pub expectations: Vec<Expectation>,
    /// Sources that no policy can lock out; from config.toml, not from policy files.
    pub always_allow: Vec<Entry>,
}

/// A protected host: a set of destination addresses and ports, and who may reach it.
#[derive(Clone, Debug)]
pub struct Host {
    /// How it is called in reports.
    pub name: Arc<str>,
    /// Where the block stands.
    pub origin: Origin,
    /// Protected destination addresses, each as a /32 or /128, ranges and prefixes written out.
    pub addresses: PrefixList,
    /// Protected ports.
    pub ports: Ports,
    /// What happens to a source that nothing matches.
    pub default: Effect,
    /// Whether drops are carried out.
    pub mode: Mode,
    /// Sources that pass.
    pub allow: Vec<Entry>,
    /// Sources that would drop, if they were in `deny`; they are reported and pass.
    pub audit: Vec<Entry>,
    /// Sources that drop.
    pub deny: Vec<Entry>,
    /// The policy documents that judge its requests, if any do.
    pub documents: Option<HostDocuments>,
    /// Sources that speak for others: they always pass, and requests are judged by whom they speak for.
    pub trusted_proxies: Vec<Entry>,
    /// What its lists say of VPCs and of single addresses, once that is asked for.
    pub(crate) lists: crate::admission::Lists,
}

/// What makes a host's requests subject to policy documents.
#[derive(Clone, Debug)]
pub struct HostDocuments {
    /// The account that its SWF domains belong to; unknown if there is no account at all.
    pub account: Option<Arc<str>>,
    /// The region that its SWF domains are in, for their ARNs.
    pub region: Option<Arc<str>>,
    /// Documents attached to it.
    pub policies: Vec<Arc<iam::Document>>,
    /// The only domains that `policies` are about; all if empty.
    pub domains: Vec<Arc<str>>,
    /// Where the field stands that attaches documents.
    pub origin: Origin,
    /// What they come to at the packet, once that is worked out.
    pub(crate) judged: crate::compile::documents::Judged,
}

impl HostDocuments {
    /// The region in the ARNs of its domains.
    #[must_use]
    pub fn region(&self) -> &str {
        self.region.as_deref().unwrap_or(DEFAULT_REGION)
    }

    /// Whether its domains belong to `account`, or may do so.
    #[must_use]
    pub fn is_of_account(&self, account: &str) -> bool {
        self.account.as_deref().is_none_or(|own| own == account)
    }
}

/// The region of hosts that name none.
const DEFAULT_REGION: &str = "us-east-1";

/// Who can sign requests.
#[derive(Clone, Debug, Default)]
pub struct Principals {
    /// Accounts.
    pub accounts: Vec<Account>,
    /// Users.
    pub users: Vec<Identity>,
    /// Roles.
    pub roles: Vec<Identity>,
}

/// An account.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its twelve digits.
    pub id: Arc<str>,
    /// Where the block stands.
    pub origin: Origin,
    /// The organization that it is a member of.
    pub organization: Option<Arc<str>>,
}

/// A user or a role.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its name.
    pub name: Arc<str>,
    /// Where the block stands.
    pub origin: Origin,
    /// Its account.
    pub account: Arc<str>,
    /// Its ARN.
    pub arn: Arc<str>,
    /// Its unique id: the one that is stated, or else one that is made from its ARN.
    pub id: Arc<str>,
    /// Its tags.
    pub tags: Vec<(Arc<str>, Arc<str>)>,
    /// Its policies.
    pub policies: Vec<Arc<iam::Document>>,
    /// Its permission boundary.
    pub boundary: Option<Arc<iam::Document>>,
    /// Who may assume it, if it is a role.
    pub trust: Option<Arc<iam::Document>>,
    /// Seconds that sessions of it last at most, if it is a role.
    pub max_session_duration: i64,
}

impl Identity {
    /// Its unique id, if that is stated.
    #[must_use]
    pub fn stated_id(&self) -> Option<&Arc<str>> {
        let prefix = match role_name(&self.arn) {
            Some(_) => Prefix::Role,
            None => Prefix::User,
        };
        Some(&self.id).filter(|id| ***id != *unique_id(prefix, &self.arn))
    }
}

/// A packet to a host, perhaps with a request, and what has to become of both.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Where the block stands.
    pub origin: Origin,
    /// The host, as an index into [`Policy::hosts`].
    pub host: usize,
    /// The packet's source address.
    pub from: IpAddr,
    /// The VPC that it comes from, as an index into [`Policy::vpcs`]; otherwise it comes in where no VPC claims anything.
    pub vpc: Option<usize>,
    /// The VPC endpoint that it comes through.
    pub endpoint: Option<Arc<str>>,
    /// What has to become of the packet.
    pub packet: Option<Expected<Effect>>,
    /// The request, and what has to become of it.
    pub request: Option<(ExpectedRequest, Expected<iam::Effect>)>,
}

/// What has to come out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected<T> {
    /// The verdict.
    pub verdict: T,
    /// Where it stands.
    pub origin: Origin,
}

/// A request that an operator made up.
#[derive(Clone, Debug)]
pub struct ExpectedRequest {
    /// The ARN of who makes it.
    pub principal: Arc<str>,
    /// What it is for.
    pub action: Action,
    /// The domain that it is about, by name or ARN.
    pub resource: Option<Arc<str>>,
    /// What it sends: JSON.
    pub body: Option<Arc<str>>,
    /// Condition keys and their values.
    pub context: Vec<(String, String)>,
}

/// A VPC: where its packets come in, and its source ranges.
#[derive(Clone, Debug)]
pub struct Vpc {
    /// Its id.
    pub id: Arc<str>,
    /// Where the block stands.
    pub origin: Origin,
    /// Source ranges.
    pub cidrs: PrefixList,
    /// Interfaces that its packets come in on.
    pub interfaces: Vec<Arc<str>>,
    /// VLANs that its packets carry.
    pub vlans: Vec<u16>,
    /// Endpoint ids, for the listener.
    pub endpoints: Vec<Arc<str>>,
}

/// A named list of prefixes.
#[derive(Clone, Debug)]
pub struct Set {
    /// Its name.
    pub name: Arc<str>,
    /// Where the block stands.
    pub origin: Origin,
    /// All its prefixes: those written inline first, then those of the file in its order.
    pub prefixes: PrefixList,
    /// The file's name as the policy wrote it, if there is one.
    pub file: Option<Arc<str>>,
    /// When a change of the file comes into force.
    pub upkeep: Upkeep,
    /// Its prefixes, once an address is looked up in them.
    pub(crate) table: OnceLock<Numbered>,
}

impl Set {
    /// Whether an address lies in one of its prefixes. The first call sorts them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let table = self
            .table
            .get_or_init(|| Numbered::of([(0, &self.prefixes)].into_iter()));
        table.first(address).is_some()
    }
}

/// When a change of a set file comes into force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upkeep {
    /// As soon as it is there.
    Follow,
    /// With a reload.
    #[default]
    Reload,
}

/// One entry of an allow or deny list: one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// As it was written, for reports.
    pub text: Arc<str>,
    /// Where it stands.
    pub origin: Origin,
    /// What it matches.
    pub source: Source,
}

/// What an entry matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// An address, a prefix, or a range split into prefixes.
    Prefixes(PrefixList),
    /// A set, as an index into [`Policy::sets`].
    Set(usize),
    /// A VPC, as an index into [`Policy::vpcs`].
    Vpc(usize),
}

/// Pass or drop, as a policy says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Let through.
    Pass,
    /// Discard.
    Drop,
}

/// Whether drops are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Count and report what would be dropped, and pass it.
    Audit,
    /// Drop.
    Enforce,
}

/// Protected ports of a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ports {
    /// Every port and every IP protocol.
    All,
    /// These ranges of TCP and UDP ports, both ends included, ascending, neither overlapping nor adjacent.
    Ranges(Vec<(u16, u16)>),
}
