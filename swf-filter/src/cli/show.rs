//! Answers as text for people.

use std::fmt::Write;

use swf_filter_core::compile::{HostDifference, Side};

use crate::control::api::{
    AttachMode, DiffReport, EventReport, Explanation, InterfaceInfo, InterfaceReport, ReloadReport,
    RuleCount, Status,
};
use crate::report::visible;

/// Something that people read.
pub(super) trait Show {
    /// It as lines of text.
    fn show(&self) -> String;
}

/// Writes to a string, which never fails.
macro_rules! line {
    ($text:expr, $($arguments:tt)*) => {{
        let _never_fails = writeln!($text, $($arguments)*);
    }};
}

impl Show for Status {
    fn show(&self) -> String {
        let mut text = String::new();
        let generation = &self.generation;
        line!(
            text,
            "swf-filter {}, pid {}, up {} s",
            self.version,
            self.pid,
            self.uptime_seconds
        );
        line!(
            text,
            "generation {} since {}, {:.16}: {} hosts, {} zones, {} rules, {} prefixes",
            generation.number,
            generation.since,
            generation.hash,
            generation.hosts,
            generation.zones,
            generation.rules,
            generation.prefixes
        );
        for warning in &self.warnings {
            line!(text, "warning: {}", visible(warning));
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
            "\nevents: {} reported, {} only counted",
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
        let mut text = String::new();
        line!(
            text,
            "{:>14} {:>18}  {:<20} {:<12} RULE",
            "PACKETS",
            "BYTES",
            "HOST",
            "LIST"
        );
        for rule in self {
            line!(
                text,
                "{:>14} {:>18}  {:<20} {:<12} {}  {}",
                rule.packets,
                rule.bytes,
                visible(&rule.host),
                rule.list.name(),
                visible(&rule.rule),
                visible(&rule.origin.to_string())
            );
        }
        text
    }
}

impl Show for ReloadReport {
    fn show(&self) -> String {
        let generation = &self.generation;
        let times = self.milliseconds;
        let mut text = self.doubts.to_string();
        line!(
            text,
            "generation {} {}: {} hosts, {} zones, {} rules, {} prefixes (parse {} ms, compile {} ms, fill {} ms, flip {} ms)",
            generation.number,
            if self.changed {
                "is in force"
            } else {
                "stays in force, the policy means what it meant before"
            },
            generation.hosts,
            generation.zones,
            generation.rules,
            generation.prefixes,
            times.parse,
            times.compile,
            times.fill,
            times.flip
        );
        text
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
            self.reason,
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
        text
    }
}

/// A verdict in a few words.
pub(super) fn verdict(explanation: &Explanation) -> String {
    format!(
        "{}: {}",
        if explanation.dropped { "drop" } else { "pass" },
        explanation.reason
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
