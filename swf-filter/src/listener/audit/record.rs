//! What is recorded. The names of fields are stable; fields may be added.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::control::api::{DecisionExplanation, StatementInfo};
use crate::report::{visible, write_json};

/// Statements of a record, at most.
const STATEMENTS: usize = 16;
/// Decisions of a record, at most, and statements of each.
const DECISIONS: usize = 8;
const DECISION_STATEMENTS: usize = 4;

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Entry {
    /// That records are missing here.
    Lost(Lost),
    /// What became of a request, or of a connection that did not get as far.
    Request(Box<Record>),
}

/// That records are missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// When it was written: they were lost before, and after the line before.
    #[serde(with = "milliseconds")]
    pub time: Timestamp,
    /// How many.
    pub lost: u64,
}

/// What became of a request, or of a connection that did not get as far. What is not known is left out of the line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When it was decided, RFC 3339 with milliseconds.
    #[serde(with = "milliseconds")]
    pub time: Timestamp,
    /// The generation of the policy that was asked.
    pub generation: u64,
    /// The `[[listener]]`.
    pub listener: Arc<str>,
    /// The `[[host]]` that it fronts.
    pub host: Arc<str>,
    /// The id that was answered in `x-amzn-RequestId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Box<str>>,
    /// The other end of the connection, which may be a proxy.
    pub peer: SocketAddr,
    /// The address that counts for the policy: the peer's, or that for which a trusted proxy speaks.
    pub source: IpAddr,
    /// The VPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc: Option<Box<str>>,
    /// The VPC endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Capped>,
    /// What the handshake agreed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// `User-Agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Capped>,
    /// The access key id as it was sent, whether or not there is such a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<Capped>,
    /// The ARN of who signed, once the signature is verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Arc<str>>,
    /// `swf` or `sts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Cow<'static, str>>,
    /// What was called, such as `swf:StartWorkflowExecution`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Capped>,
    /// The ARN that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Capped<1024>>,
    /// What became of it.
    pub verdict: Verdict,
    /// Why: a stable name in lower case with hyphens.
    pub reason: Cow<'static, str>,
    /// Why, in words that may change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<Capped<1024>>,
    /// The statements that decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<StatementInfo>,
    /// The decisions in its body that made the call refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<DecisionExplanation>,
    /// How many statements and decisions were left out, to keep the line short.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u32,
    /// The status that the client was answered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The `[[upstream]]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Arc<str>>,
    /// The status that the upstream answered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_status: Option<u16>,
    /// From the request's head to the end of its answer, in microseconds.
    pub microseconds: u64,
    /// Of these, those until the upstream's answer began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_microseconds: Option<u64>,
}

/// What became of a request or connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It was forwarded, and answered.
    Allowed,
    /// The policy's documents do not allow it.
    Denied,
    /// It was allowed, and the upstream gave no answer.
    Failed,
    /// It did not get as far as the documents: its handshake, its form or its signature is not right.
    Refused,
}

impl Verdict {
    /// Its name, as in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// What a handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// Such as `TLSv1_3`.
    pub version: Cow<'static, str>,
    /// Such as `TLS13_AES_256_GCM_SHA384`.
    pub suite: Cow<'static, str>,
}

impl Record {
    /// A record that says no more than what every record does. The source is that of the peer.
    #[must_use]
    pub fn new(
        time: Timestamp,
        generation: u64,
        [listener, host]: [impl Into<Arc<str>>; 2],
        peer: SocketAddr,
        verdict: Verdict,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            time,
            generation,
            listener: listener.into(),
            host: host.into(),
            request_id: None,
            peer,
            source: peer.ip(),
            vpc: None,
            endpoint: None,
            tls: None,
            user_agent: None,
            access_key_id: None,
            principal: None,
            service: None,
            action: None,
            resource: None,
            verdict,
            reason: reason.into(),
            words: None,
            statements: Vec::new(),
            decisions: Vec::new(),
            left_out: 0,
            status: None,
            upstream: None,
            upstream_status: None,
            microseconds: 0,
            upstream_microseconds: None,
        }
    }

    /// Takes the statements that decided. What is too many is counted and never made, so that what waits to be written has
    /// a bound.
    pub(in crate::listener) fn set_statements(
        &mut self,
        statements: impl ExactSizeIterator<Item = StatementInfo>,
    ) {
        let all = statements.len();
        self.statements = statements.take(STATEMENTS).collect();
        self.leave_out(all.saturating_sub(STATEMENTS));
    }

    /// Takes decisions of the call's body, likewise.
    pub(in crate::listener) fn set_decisions(
        &mut self,
        decisions: impl Iterator<Item = DecisionExplanation>,
    ) {
        let mut decisions = decisions.fuse();
        self.decisions = decisions.by_ref().take(DECISIONS).collect();
        let mut left_out = decisions.count();
        for decision in &mut self.decisions {
            let statements = &mut decision.statements;
            left_out += statements.len().saturating_sub(DECISION_STATEMENTS);
            statements.truncate(DECISION_STATEMENTS);
            statements.shrink_to_fit();
        }
        self.leave_out(left_out);
    }

    fn leave_out(&mut self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.left_out = self.left_out.saturating_add(count);
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Entry {
    /// When it was written.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        match self {
            Self::Lost(lost) => lost.time,
            Self::Request(record) => record.time,
        }
    }

    /// Adds it as a line of JSON, with its end. Nothing in it moves the cursor of a terminal that shows the file.
    pub(super) fn write(&self, lines: &mut Vec<u8>) {
        let start = lines.len();
        if write_json(&mut *lines, self).is_err() {
            // INVARIANT: a vector takes everything, and all keys are strings.
            lines.truncate(start);
        }
        lines.push(b'\n');
    }
}

/// It in one line, for people. Nothing in it moves a terminal's cursor.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = match self {
            Self::Lost(lost) => {
                return write!(f, "{} records were lost", lost.lost);
            }
            Self::Request(record) => record,
        };
        let known = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), visible);
        let status = record.status.map(|status| status.to_string());
        write!(
            f,
            "{:<7} {:>3} {:<36} {:<15} {} {} {} {:.1} ms {}",
            record.verdict.name(),
            status.as_deref().unwrap_or("-"),
            known(record.action.as_deref()),
            record.source.to_string(),
            known(
                record
                    .principal
                    .as_deref()
                    .or(record.access_key_id.as_deref())
            ),
            known(record.resource.as_deref().or(Some(&record.host))),
            visible(&record.reason),
            milliseconds(record.microseconds),
            known(record.request_id.as_deref()),
        )
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nobody reads the sixteenth digit"
)]
fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1_000.0
}

/// A text that may be a client's: no longer than so many characters, whatever was sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Capped<const MOST: usize = 256>(Box<str>);

impl<const MOST: usize> From<&str> for Capped<MOST> {
    fn from(text: &str) -> Self {
        if text.char_indices().nth(MOST).is_none() {
            return Self(text.into());
        }
        let kept = text.chars().take(MOST.saturating_sub(1));
        Self(kept.chain(['…']).collect::<String>().into())
    }
}

impl<const MOST: usize> From<String> for Capped<MOST> {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl<const MOST: usize> std::ops::Deref for Capped<MOST> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Times as RFC 3339 with milliseconds, so that they are all of one length.
mod milliseconds {
    use jiff::Timestamp;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{time:.3}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}
