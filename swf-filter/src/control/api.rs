//! What goes over the control socket: requests and answers, as JSON.
//!
//! Field names are stable within `/v1`; fields may be added. The same types are what `--output json` prints.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use swf_filter_core::compile::{Difference, List, Turn};
use swf_filter_core::policy::Origin;

use crate::report::{Rejected, Report};
use crate::sources::Sources;
use crate::state::{By, How, Record};

/// `GET /v1/status`: what is enforced, where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// The generation that the kernel enforces.
    pub generation: GenerationInfo,
    /// The hash of the policy's text, which tells apart what no table shows; none if no policy is in force.
    #[serde(default)]
    pub policy: Option<String>,
    /// Interfaces that config.toml names, attached or not.
    pub interfaces: Vec<InterfaceInfo>,
    /// Packets by reason, since the filter was first attached.
    pub reasons: Vec<ReasonCount>,
    /// Events sent, and drops that were only counted.
    pub events: EventInfo,
    /// How readings of the policy went.
    #[serde(default)]
    pub reloads: ReloadInfo,
    /// What somebody else took off or removed.
    #[serde(default)]
    pub put_back: PutBack,
    /// What the operator should know, in words.
    pub warnings: Vec<String>,
    /// The trial that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialInfo>,
    /// How the generation came into force, if the policy files may say something else, and are not read by a start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<How>,
}

/// A generation on trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialInfo {
    /// Its number.
    pub generation: u64,
    /// The one that comes back.
    pub before: u64,
    /// When, RFC 3339.
    pub ends: String,
    /// Seconds until then.
    pub seconds_left: u64,
    /// Who tries it.
    pub by: By,
}

/// A generation, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationInfo {
    /// Its number.
    pub number: u64,
    /// Its hash, in hexadecimal.
    pub hash: String,
    /// When it took effect, RFC 3339.
    pub since: String,
    /// Protected hosts.
    pub hosts: usize,
    /// Zones.
    pub zones: usize,
    /// Rules.
    pub rules: usize,
    /// Prefixes in all tables.
    pub prefixes: usize,
    /// What holds the tables in the kernel: `compiled` or `lpm-trie`.
    pub engine: String,
    /// Bytes that the kernel counts for them.
    pub table_bytes: u64,
}

/// `GET /v1/generations`: a stream of these, one JSON object a line: the first at once, and one whenever the policy changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyInfo {
    /// The number of the generation.
    pub generation: u64,
    /// The hash of its tables, in hexadecimal.
    pub hash: String,
    /// The hash of its text, in hexadecimal. It changes with what no table shows, too.
    pub policy: String,
}

/// `GET /v1/policy`: the policy in force, as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyReport {
    /// Which it is.
    pub info: PolicyInfo,
    /// Its text.
    pub sources: Arc<Sources>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceInfo {
    /// Its name.
    pub name: String,
    /// Its number, if it exists.
    pub index: Option<u32>,
    /// How the program is attached, if it is.
    pub mode: Option<AttachMode>,
    /// Why it is not attached, or not as well as it could be.
    pub note: Option<String>,
}

/// How the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachMode {
    /// In the driver, before the kernel makes a socket buffer.
    Driver,
    /// After the socket buffer is made: works everywhere, slower.
    Generic,
}

/// Packets and bytes of one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonCount {
    /// The reason's name.
    pub reason: String,
    /// Whether it drops.
    pub drops: bool,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// How many events were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventInfo {
    /// Events that the daemon received from the kernel since it started.
    pub received: u64,
    /// Drops and would-drops since then that no event was sent for.
    pub lost: u64,
}

/// What somebody else took off or removed and the daemon put back since it started, and what it could not put back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutBack {
    /// Interfaces that had the filter taken off, each time.
    pub filters: u64,
    /// Pins that were removed, or had something else in their place.
    pub pins: u64,
    /// Programs that were replaced in their link.
    pub programs: u64,
    /// Interfaces that have no filter since somebody took it off.
    pub filters_missing: u64,
    /// Pins that are not there now.
    pub pins_missing: u64,
}

/// How readings of the policy went since the daemon started, the first one included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadInfo {
    /// Those that brought a new generation.
    pub changed: u64,
    /// Those that were refused, or failed.
    pub failed: u64,
    /// Those that found what was in force already.
    pub unchanged: u64,
    /// What became of the last one.
    pub last: Option<ReloadOutcome>,
    /// When it ended, RFC 3339.
    pub at: Option<String>,
    /// Where the time of the last one went that did not fail.
    pub milliseconds: Option<Milliseconds>,
}

/// What became of a reading of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReloadOutcome {
    /// A new generation is in force.
    Changed,
    /// What was in force stays.
    Failed,
    /// It means what was in force already.
    Unchanged,
}

impl ReloadOutcome {
    /// As in JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Failed => "failed",
            Self::Unchanged => "unchanged",
        }
    }
}

/// `GET /v1/rules`: one rule and its counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleCount {
    /// Its number in this generation.
    pub number: u32,
    /// The host.
    pub host: Arc<str>,
    /// The list it stands in.
    pub list: List,
    /// As it was written.
    pub rule: Arc<str>,
    /// Where it stands.
    pub origin: Origin,
    /// Packets, over all generations that had this rule.
    pub packets: u64,
    /// Bytes, likewise.
    pub bytes: u64,
}

/// `GET /v1/rules?busiest=50`: what hosts and rules have counted since the last time that somebody asked this, the busiest first.
///
/// Owners share that time, and all others share another: nobody else shortens what an owner's answer is of. Two who ask at the same time get
/// shorter times, or the same answer. The counts are right for the time that they are given with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Busiest {
    /// The generation that counted.
    pub generation: u64,
    /// The time that the counts are of; zero if there is nothing to compare with yet.
    pub milliseconds: u64,
    /// How many hosts there are.
    pub host_count: usize,
    /// How many rules.
    pub rule_count: usize,
    /// The busiest hosts.
    pub hosts: Vec<HostChange>,
    /// The busiest rules, those that have counted at all.
    pub rules: Vec<RuleChange>,
}

/// What a host has counted in a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostChange {
    /// The host.
    pub host: Arc<str>,
    /// Packets to it that passed.
    pub passed: u64,
    /// Packets that were dropped.
    pub dropped: u64,
    /// Packets that passed, and would be dropped if it were not for audit mode.
    pub would_drop: u64,
}

impl HostChange {
    /// A host that has counted nothing.
    #[must_use]
    pub fn new(host: Arc<str>) -> Self {
        Self {
            host,
            ..Self::default()
        }
    }

    /// Counts packets of one of its rules.
    pub fn add(&mut self, verdict: RuleVerdict, packets: u64) {
        *match verdict {
            RuleVerdict::Drop => &mut self.dropped,
            RuleVerdict::Pass => &mut self.passed,
            RuleVerdict::WouldDrop => &mut self.would_drop,
        } += packets;
    }

    /// All packets.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.passed + self.dropped + self.would_drop
    }
}

/// What a rule has counted in a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleChange {
    /// Its number in this generation.
    pub number: u32,
    /// The host.
    pub host: Arc<str>,
    /// The list it stands in.
    pub list: List,
    /// As it was written.
    pub rule: Arc<str>,
    /// Where it stands.
    pub origin: Origin,
    /// What it does to packets.
    pub verdict: RuleVerdict,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What a rule does to packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleVerdict {
    /// It drops them.
    Drop,
    /// It lets them through.
    Pass,
    /// It lets them through because the host is in audit mode, or because it is an entry of `audit`.
    WouldDrop,
}

/// `GET /v1/events`: a stream of these, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventReport {
    /// When the daemon received it, RFC 3339 with milliseconds.
    pub time: String,
    /// Generation that judged.
    pub generation: u64,
    /// The reason's name.
    pub reason: String,
    /// Whether the frame was dropped; if not, audit mode let it through.
    pub dropped: bool,
    /// The host that it was for.
    pub host: Option<Arc<str>>,
    /// The zone that it came from.
    pub zone: Option<String>,
    /// Interface that it came in on.
    pub interface: String,
    /// VLAN.
    pub vlan: Option<u16>,
    /// Source address.
    pub source: Option<IpAddr>,
    /// Source port.
    pub source_port: Option<u16>,
    /// Destination address.
    pub destination: Option<IpAddr>,
    /// Destination port.
    pub destination_port: Option<u16>,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// Bytes in the frame.
    pub length: u32,
    /// The deciding rule, as it was written.
    pub rule: Option<Arc<str>>,
    /// Where the rule stands.
    pub origin: Option<Origin>,
    /// That policy documents drop it, in words, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
}

/// The connection of who asks for a change. One that would drop its packets is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Where it comes from.
    pub from: IpAddr,
    /// The machine's end of it.
    pub to: SocketAddr,
    /// The interface that has that address.
    pub interface: Option<String>,
}

/// `POST /v1/reload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadRequest {
    /// Who must not be cut off.
    #[serde(default)]
    pub operator: Option<Operator>,
}

/// `POST /v1/apply`: a text to be brought into force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyRequest {
    /// The text. What it says of `always_allow` does not count.
    pub sources: Sources,
    /// Who must not be cut off.
    #[serde(default)]
    pub operator: Option<Operator>,
}

/// `POST /v1/try`: a text to be brought into force for some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TryRequest {
    /// The text. What it says of `always_allow` does not count.
    pub sources: Sources,
    /// For how many seconds.
    pub seconds: u64,
    /// Who must not be cut off.
    #[serde(default)]
    pub operator: Option<Operator>,
}

/// `POST /v1/rollback`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackRequest {
    /// To which generation; to the one before if not given.
    #[serde(default)]
    pub generation: Option<u64>,
    /// Who must not be cut off.
    #[serde(default)]
    pub operator: Option<Operator>,
}

/// `POST /v1/confirm`: the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmReport {
    /// The generation that stays in force.
    pub generation: GenerationInfo,
    /// Whether the policy files say the same.
    pub settled: bool,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// `POST /v1/settle`: whether the policy files say what is in force. If they do, a start reads them again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettleReport {
    /// Whether they do.
    pub settled: bool,
    /// The number of the generation in force.
    pub generation: u64,
}

/// `GET /v1/history`: what was in force, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryReport {
    /// Each change.
    pub generations: Vec<HistoryEntry>,
}

/// A change of what is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// What changed, when, and by whom.
    #[serde(flatten)]
    pub record: Record,
    /// Whether `rollback` can go there.
    pub kept: bool,
    /// Whether it is what is in force now.
    pub in_force: bool,
}

/// `POST /v1/reload`, `apply`, `try` and `rollback`: the answer when the policy is right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Whether the policy means something else than before.
    pub changed: bool,
    /// The generation now in force.
    pub generation: GenerationInfo,
    /// Milliseconds to read the files, to parse and check them, to compile, to build tables, to fill and read back the maps,
    /// and to flip.
    pub milliseconds: Milliseconds,
    /// What is doubtful about the policy.
    pub doubts: Report,
    /// The trial that it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialInfo>,
    /// What did not go well with it, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Where the time of a reload went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Milliseconds {
    /// Reading files.
    #[serde(default)]
    pub read: u64,
    /// Parsing and checking them.
    pub parse: u64,
    /// Compiling.
    pub compile: u64,
    /// Building the compiled engine's tables.
    pub build: u64,
    /// Filling maps and reading them back.
    pub fill: u64,
    /// The flip.
    pub flip: u64,
}

/// The answer's body if a request fails, and what `--output json` prints if a command does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What was wrong, in one line.
    pub error: String,
    /// What is wrong with the files, if it is they that are wrong.
    pub report: Option<Report>,
}

impl Failure {
    /// Why something failed. Where it is the files that are wrong, their problems are in the report, and not in the line.
    #[must_use]
    pub fn new(error: &anyhow::Error) -> Self {
        let report = match error.downcast_ref() {
            Some(Rejected::Problems(report)) => Some(report.clone()),
            _ => None,
        };
        let error = if report.is_some() {
            "the files are refused".to_owned()
        } else {
            format!("{error:#}")
        };
        Self { error, report }
    }
}

/// `GET /v1/diff`: what a reload would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffReport {
    /// Host by host.
    #[serde(flatten)]
    pub difference: Difference,
    /// Whether there are more prefixes than are listed.
    pub cut: bool,
}

/// `POST /v1/preview`: a text that might be brought into force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewRequest {
    /// The text; what the policy files say if not given.
    #[serde(default)]
    pub sources: Option<Sources>,
    /// Who must not be cut off.
    #[serde(default)]
    pub operator: Option<Operator>,
}

/// `POST /v1/preview`: what a text would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewReport {
    /// Host by host.
    #[serde(flatten)]
    pub difference: DiffReport,
    /// What it would have meant for the last hour.
    pub traffic: Traffic,
    /// Why it would cut off who asks, if it would.
    pub cuts_off: Option<String>,
    /// What is doubtful about it.
    pub doubts: Report,
}

/// What a change would have meant for the traffic of the last hour, as far as that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// How far back packets are counted, in seconds.
    pub seconds: u64,
    /// Rules of now, sources of which get another verdict.
    pub turns: Vec<TurnCount>,
    /// Packets that passed, and would be dropped; none if packets are not known.
    pub would_drop: Option<Bounds>,
    /// Packets that were dropped, and would pass; none if packets are not known.
    pub would_pass: Option<Bounds>,
    /// Packets that were seen one by one.
    pub sample: Sample,
    /// What this rests on, and what it cannot tell.
    pub notes: Vec<String>,
}

/// A rule, and what it decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnCount {
    /// The rule, and which of its sources get another verdict.
    #[serde(flatten)]
    pub turn: Turn,
    /// Packets that it decided, also those of its other sources; none if that is not known.
    pub packets: Option<u64>,
}

/// Between what a number is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Not less.
    pub at_least: u64,
    /// Not more.
    pub at_most: u64,
}

/// Packets that were seen one by one: some of those that were dropped, or would have been without audit mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// How many.
    pub events: usize,
    /// How many of them were dropped, and would pass.
    pub would_pass: usize,
    /// How many of them passed in audit mode, and would be dropped.
    pub would_drop: usize,
    /// Some sources of these.
    pub sources: Vec<IpAddr>,
}

/// `POST /v1/explain`: a frame to run through the loaded program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainRequest {
    /// The frame's bytes, in hexadecimal.
    pub frame: String,
    /// Name of the interface that it comes in on; the first attached one if not given.
    pub interface: Option<String>,
}

/// What the packet gate does with a frame, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The interface that the packet comes in on; one that no VPC claims, if none was named.
    pub interface: Option<String>,
    /// Whether it is dropped.
    pub dropped: bool,
    /// The reason's name.
    pub reason: String,
    /// That policy documents drop it, in words, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// The protected host.
    pub host: Option<Arc<str>>,
    /// The zone.
    pub zone: Option<String>,
    /// The deciding rule, as it was written.
    pub rule: Option<Arc<str>>,
    /// The list it stands in.
    pub list: Option<List>,
    /// Where the rule stands.
    pub origin: Option<Origin>,
    /// The prefix of the rule that matched.
    pub prefix: Option<IpNetwork>,
    /// If that prefix stands in a set file, file and line.
    pub set_line: Option<Origin>,
    /// What happens to the request, if that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestExplanation>,
    /// The trial that is under way, if a daemon says so: the files may say something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialInfo>,
    /// How what is in force came there, if it is held: the files may say something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<How>,
}

/// What the request gate does with a request, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestExplanation {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The reason's name.
    pub reason: String,
    /// The reason in words.
    pub words: String,
    /// The ARN of who makes it.
    pub principal: String,
    /// The action.
    pub action: String,
    /// The ARN of the domain.
    pub resource: String,
    /// The statements that decide: those that deny, or else those that allow.
    pub statements: Vec<StatementInfo>,
    /// What becomes of each decision in its body that needs a permission of its own.
    pub decisions: Vec<DecisionExplanation>,
}

/// What the request gate does with one decision of a `RespondDecisionTaskCompleted`, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionExplanation {
    /// Its place in the list, from 0.
    pub position: usize,
    /// The permission.
    pub action: String,
    /// Whether it is allowed. One that is not makes the whole call refused.
    pub allowed: bool,
    /// The reason's name.
    pub reason: String,
    /// The reason in words.
    pub words: String,
    /// The statements that decide.
    pub statements: Vec<StatementInfo>,
}

/// A statement of a policy document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementInfo {
    /// What the document is attached to: `boundary`, `identity`, `resource` or `session`.
    pub side: Cow<'static, str>,
    /// `Allow` or `Deny`.
    pub effect: Cow<'static, str>,
    /// Its `Sid`.
    pub sid: Option<Arc<str>>,
    /// Where it stands.
    pub origin: Origin,
}

impl Explanation {
    /// Why, for people.
    #[must_use]
    pub fn why(&self) -> &str {
        self.words.as_deref().unwrap_or(&self.reason)
    }

    /// Whether both say the same, as far as the kernel can tell. Where the rule stands does not count: a new comment above it
    /// changes no verdict.
    #[must_use]
    pub fn is_same_verdict(&self, kernel: &Self) -> bool {
        (
            self.dropped,
            &self.reason,
            &self.host,
            &self.rule,
            self.list,
        ) == (
            kernel.dropped,
            &kernel.reason,
            &kernel.host,
            &kernel.rule,
            kernel.list,
        )
    }
}

/// `POST /v1/attach` and `POST /v1/detach`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceRequest {
    /// One interface; all that config.toml names if not given.
    pub interface: Option<String>,
}

impl InterfaceRequest {
    /// For one interface, or for all.
    #[must_use]
    pub fn of(interface: Option<&str>) -> Self {
        Self {
            interface: interface.map(str::to_owned),
        }
    }
}

/// The answer to attaching and detaching: the interfaces as they are then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceReport {
    /// All interfaces.
    pub interfaces: Vec<InterfaceInfo>,
}

/// What `check` prints: the policy's size if it is right, and what is wrong or doubtful.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Whether the policy is accepted.
    pub accepted: bool,
    /// Protected hosts.
    pub hosts: usize,
    /// Zones.
    pub zones: usize,
    /// Rules.
    pub rules: usize,
    /// Prefixes in all tables.
    pub prefixes: usize,
    /// Expectations, all of them met if the files are accepted.
    pub expectations: usize,
    /// Problems.
    pub report: Report,
}

/// What `listener --check` prints: what would be served, if nothing is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerCheckReport {
    /// Listeners.
    pub listeners: usize,
    /// Upstreams.
    pub upstreams: usize,
    /// Access keys of users, also disabled ones.
    pub access_keys: usize,
}

/// What `version` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Version of the command.
    pub version: String,
}
