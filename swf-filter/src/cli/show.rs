//! Answers as text for people.

use std::fmt::Write;

use swf_filter_core::compile::{HostDifference, Side};

use crate::control::api::{
    AttachMode, CheckReport, DiffReport, EventReport, Explanation, GenerationInfo, InterfaceInfo,
    InterfaceReport, ListenerCheckReport, ReloadReport, RequestExplanation, RuleCount, Status,
    Version,
};
use crate::explain::{SignatureExplanation, SignatureVerdict};
use crate::report::{Report, counted, visible};

/// Characters that a column of a table is made wider for, at most.
const WIDEST_COLUMN: usize = 48;

/// Something that people read.
pub(super) trait Show {
    /// It as lines of text.
    fn show(&self) -> String;

    /// What is doubtful about it, for standard error.
    fn doubts(&self) -> Report {
        Report::default()
    }
}

impl Show for Version {
    fn show(&self) -> String {
        format!("swf-filter {}\n", self.version)
    }
}

impl Show for CheckReport {
    fn show(&self) -> String {
        let size = size([self.hosts, self.zones, self.rules, self.prefixes]);
        match self.expectations {
            0 => format!("ok: {size}\n"),
            met => {
                let met = counted(met, "expectation", "expectations");
                format!("ok: {size}; {met} met\n")
            }
        }
    }

    fn doubts(&self) -> Report {
        self.report.clone()
    }
}

impl Show for ListenerCheckReport {
    fn show(&self) -> String {
        let parts = [
            counted(self.listeners, "listener", "listeners"),
            counted(self.upstreams, "upstream", "upstreams"),
            counted(self.access_keys, "access key", "access keys"),
        ];
        format!("ok: {}\n", parts.join(", "))
    }
}

impl Show for SignatureExplanation {
    fn show(&self) -> String {
        let line = |text: &mut String, line: &str| {
            text.push_str(line);
            text.push('\n');
        };
        let mut text = match (self.verdict, &self.words) {
            (SignatureVerdict::Verified, _) => "verified: the signature is right\n".to_owned(),
            (SignatureVerdict::Untried, _) => {
                "untried: nothing is wrong but perhaps the signature itself, which takes --secret-file to try\n".to_owned()
            }
            (SignatureVerdict::Refused, words) => {
                let words = words.as_deref().unwrap_or("it is not signed");
                format!("refused: {}\n", visible(words))
            }
        };
        let parts = [
            ("answer", self.code.map(str::to_owned)),
            ("message", self.message.clone()),
            ("form", self.form.map(str::to_owned)),
            ("access key id", self.access_key_id.clone()),
            ("scope", self.scope.clone()),
        ];
        for (name, value) in parts {
            if let Some(value) = value {
                line(&mut text, &format!("  {name}: {}", visible(&value)));
            }
        }
        let texts = [
            ("canonical request", &self.canonical_request),
            ("string to sign", &self.string_to_sign),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                line(&mut text, &format!("\n{name}:"));
                for part in value.split('\n') {
                    line(&mut text, &format!("  {}", visible(part)));
                }
            }
        }
        text
    }
}

/// How large a generation is: hosts, zones, rules, prefixes.
fn size([hosts, zones, rules, prefixes]: [usize; 4]) -> String {
    [
        counted(hosts, "host", "hosts"),
        counted(zones, "zone", "zones"),
        counted(rules, "rule", "rules"),
        counted(prefixes, "prefix", "prefixes"),
    ]
    .join(", ")
}

fn size_of(generation: &GenerationInfo) -> String {
    size([
        generation.hosts,
        generation.zones,
        generation.rules,
        generation.prefixes,
    ])
}

/// A time in the two largest units that it fills.
pub(super) fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    if days > 0 {
        format!("{days} d {} h", hours % 24)
    } else if hours > 0 {
        format!("{hours} h {} min", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes} min {} s", seconds % 60)
    } else {
        format!("{seconds} s")
    }
}

/// Writes to a string, which never fails.
macro_rules! line {
    ($text:expr, $($arguments:tt)*) => {{
        let _never_fails = writeln!($text, $($arguments)*);
    }};
}
pub(super) use line;

impl Show for Status {
    fn show(&self) -> String {
        let mut text = String::new();
        let generation = &self.generation;
        line!(
            text,
            "swf-filter {}, pid {}, up {}",
            self.version,
            self.pid,
            duration(self.uptime_seconds)
        );
        line!(
            text,
            "generation {} since {}, hash {:.16}: {}",
            generation.number,
            generation.since,
            generation.hash,
            size_of(generation)
        );
        if !generation.engine.is_empty() {
            line!(
                text,
                "engine {}: {} KiB of tables in the kernel",
                generation.engine,
                generation.table_bytes.div_ceil(1024)
            );
        }
        for warning in &self.warnings {
            text.push_str(&warned(warning));
        }
        text.push('\n');
        interfaces(&mut text, &self.interfaces);
        line!(text, "\n{:>14} {:>18}  REASON", "PACKETS", "BYTES");
        for reason in self.reasons.iter().filter(|reason| reason.packets > 0) {
            line!(
                text,
                "{:>14} {:>18}  {}{}",
                reason.packets,
                reason.bytes,
                reason.reason,
                if reason.drops { " (drop)" } else { "" }
            );
        }
        line!(
            text,
            "\nevents: {} sent, {} lost (drops that were counted, but not sent one by one)",
            self.events.received,
            self.events.lost
        );
        text
    }
}

impl Show for InterfaceReport {
    fn show(&self) -> String {
        let mut text = String::new();
        interfaces(&mut text, &self.interfaces);
        text
    }
}

fn interfaces(text: &mut String, interfaces: &[InterfaceInfo]) {
    if interfaces.is_empty() {
        line!(text, "no interface has the filter");
        return;
    }
    line!(text, "{:<16} MODE", "INTERFACE");
    for interface in interfaces {
        let mode = match interface.mode {
            Some(AttachMode::Driver) => "driver",
            Some(AttachMode::Generic) => "generic",
            None => "not attached",
        };
        match &interface.note {
            Some(note) => line!(text, "{:<16} {mode}: {}", interface.name, visible(note)),
            None => line!(text, "{:<16} {mode}", interface.name),
        }
    }
}

impl Show for Vec<RuleCount> {
    fn show(&self) -> String {
        let widest = |cell: fn(&RuleCount) -> &str, title: &str| {
            let widths = self.iter().map(|rule| visible(cell(rule)).chars().count());
            widths.fold(title.len(), usize::max).min(WIDEST_COLUMN)
        };
        let host = widest(|rule| &rule.host, "HOST");
        let list = widest(|rule| rule.list.name(), "LIST");
        let text = widest(|rule| &rule.rule, "RULE");
        let mut table = format!(
            "{:>14} {:>18}  {:<host$}  {:<list$}  {:<text$}  AT\n",
            "PACKETS", "BYTES", "HOST", "LIST", "RULE"
        );
        for rule in self {
            line!(
                table,
                "{:>14} {:>18}  {:<host$}  {:<list$}  {:<text$}  {}",
                rule.packets,
                rule.bytes,
                visible(&rule.host),
                rule.list.name(),
                visible(&rule.rule),
                visible(&rule.origin.to_string())
            );
        }
        table
    }
}

/// A warning, of which lines after the first are indented.
pub(super) fn warned(warning: &str) -> String {
    let lines: Vec<String> = warning.lines().map(visible).collect();
    format!("warning: {}\n", lines.join("\n  "))
}

impl Show for ReloadReport {
    fn show(&self) -> String {
        let generation = &self.generation;
        let times = self.milliseconds;
        let trial = self.trial.as_ref().map(|trial| {
            format!(
                "on trial until {}: generation {} comes back then, unless `swf-filter confirm` keeps this one\n",
                trial.ends, trial.before
            )
        });
        let text = format!(
            "generation {} {}: {} (read {} ms, parse {} ms, compile {} ms, build {} ms, fill {} ms, flip {} ms)\n",
            generation.number,
            if self.changed {
                "is in force"
            } else {
                "stays in force, the policy means what it meant before"
            },
            size_of(generation),
            times.read,
            times.parse,
            times.compile,
            times.build,
            times.fill,
            times.flip
        );
        let warnings = self.warnings.iter().map(|warning| warned(warning));
        text + &trial.unwrap_or_default() + &warnings.collect::<String>()
    }

    fn doubts(&self) -> Report {
        self.doubts.clone()
    }
}

impl Show for EventReport {
    fn show(&self) -> String {
        let endpoint = |address: Option<std::net::IpAddr>, port: Option<u16>| match (address, port)
        {
            (Some(address), Some(port)) => std::net::SocketAddr::new(address, port).to_string(),
            (Some(address), None) => address.to_string(),
            (None, _) => "?".to_owned(),
        };
        let mut text = format!(
            "{} {} {}: {} -> {} in on {}",
            self.time,
            if self.dropped { "drop" } else { "would drop" },
            visible(self.words.as_ref().unwrap_or(&self.reason)),
            endpoint(self.source, self.source_port),
            endpoint(self.destination, self.destination_port),
            self.interface,
        );
        if let Some(vlan) = self.vlan {
            let _never_fails = write!(text, " vlan {vlan}");
        }
        if let Some(host) = &self.host {
            let _never_fails = write!(text, ", host {}", visible(host));
        }
        if let Some(zone) = &self.zone {
            let _never_fails = write!(text, ", zone {}", visible(zone));
        }
        if let (Some(rule), Some(origin)) = (&self.rule, &self.origin) {
            let _never_fails = write!(
                text,
                ", rule {} at {}",
                visible(rule),
                visible(&origin.to_string())
            );
        }
        text.push('\n');
        text
    }
}

impl Show for Explanation {
    fn show(&self) -> String {
        let mut text = String::new();
        line!(text, "{}", verdict(self));
        match &self.interface {
            Some(interface) => line!(text, "  in on   {}", visible(interface)),
            None => line!(text, "  in on   an interface that no VPC names"),
        }
        if let Some(host) = &self.host {
            line!(text, "  host    {}", visible(host));
        }
        if let Some(zone) = &self.zone {
            line!(text, "  zone    {}", visible(zone));
        }
        if let (Some(rule), Some(list)) = (&self.rule, self.list) {
            line!(text, "  rule    {} in {}", visible(rule), list.name());
        }
        if let Some(origin) = &self.origin {
            line!(text, "  at      {}", visible(&origin.to_string()));
        }
        if let Some(prefix) = &self.prefix {
            match &self.set_line {
                Some(line) => line!(
                    text,
                    "  prefix  {prefix} at {}:{}",
                    visible(&line.file),
                    line.line
                ),
                None => line!(text, "  prefix  {prefix}"),
            }
        }
        if let Some(request) = &self.request {
            text += &request.show();
        }
        if let Some(trial) = &self.trial {
            line!(
                text,
                "  trial   generation {} is in force until {}, and the files may say something else",
                trial.generation,
                visible(&trial.ends)
            );
        }
        if let Some(how) = self.held {
            line!(
                text,
                "  held    what is in force came by {}, and the files may say something else",
                how.name()
            );
        }
        text
    }
}

impl Show for RequestExplanation {
    fn show(&self) -> String {
        let mut text = String::new();
        let verdict = if self.allowed { "allow" } else { "deny" };
        line!(text, "request {verdict}: {}", visible(&self.words));
        line!(text, "  who     {}", visible(&self.principal));
        line!(
            text,
            "  what    {} on {}",
            self.action,
            visible(&self.resource)
        );
        for statement in &self.statements {
            let name = statement.sid.as_deref().unwrap_or("statement");
            line!(
                text,
                "  {:<7} {} ({}) at {}",
                statement.effect,
                visible(name),
                statement.side,
                visible(&statement.origin.to_string())
            );
        }
        for decision in &self.decisions {
            let verdict = if decision.allowed { "allow" } else { "deny" };
            line!(
                text,
                "  inside  decisions[{}] {} {verdict}: {}",
                decision.position,
                decision.action,
                decision.words
            );
        }
        text
    }
}

/// A verdict in a few words.
pub(super) fn verdict(explanation: &Explanation) -> String {
    format!(
        "{}: {}",
        if explanation.dropped { "drop" } else { "pass" },
        visible(explanation.why())
    )
}

impl Show for DiffReport {
    fn show(&self) -> String {
        let mut text = String::new();
        if self.difference.hosts.is_empty() {
            return "a reload would change no verdict\n".to_owned();
        }
        for host in &self.difference.hosts {
            show_host(&mut text, host);
        }
        if self.cut {
            line!(text, "... and more prefixes");
        }
        text
    }
}

fn show_host(text: &mut String, host: &HostDifference) {
    match host {
        HostDifference::Added { host } => line!(text, "+ host {}", visible(host)),
        HostDifference::Removed { host } => {
            line!(text, "- host {}, protected no more", visible(host));
        }
        HostDifference::Changed {
            host,
            settings,
            prefixes,
        } => {
            line!(text, "~ host {}", visible(host));
            for setting in settings {
                line!(text, "  ~ {}", visible(setting));
            }
            let side = |side: &Option<Side>| {
                side.as_ref().map_or_else(
                    || "nothing".to_owned(),
                    |side| format!("{} {}", side.list.name(), visible(&side.rule)),
                )
            };
            for row in prefixes {
                let sign = match (&row.before, &row.after) {
                    (None, _) => '+',
                    (_, None) => '-',
                    _ => '~',
                };
                line!(
                    text,
                    "  {sign} {} in zone {}: {} -> {}",
                    row.prefix,
                    visible(&row.zone),
                    side(&row.before),
                    side(&row.after)
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_in_their_two_largest_units() {
        let cases = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3_600 + 59, "1 h 0 min"),
            (2 * 86_400 + 3 * 3_600, "2 d 3 h"),
        ];
        for (seconds, shown) in cases {
            assert_eq!(duration(seconds), shown);
        }
    }
}
