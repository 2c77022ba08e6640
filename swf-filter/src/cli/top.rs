//! `swf-filter top`.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use jiff::SignedDuration;

use super::show::{Show, line, warned};
use super::{Answered, Arguments, Output, runtime};
use crate::control::socket;
use crate::report::visible;
use crate::top::{self, Rates, Sockets};

/// What to watch, and how.
#[derive(Args)]
pub(super) struct Top {
    /// The time between two readings, such as `1s` or `500ms`.
    #[arg(long, default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Print the rates of one interval, and end.
    #[arg(long)]
    once: bool,
}

impl Arguments {
    pub(super) fn top(&self, asked: &Top) -> Result<()> {
        let sockets = Sockets {
            daemon: self.socket()?,
            listener: socket(&super::listener_paths(self)?.listener_run),
        };
        if !asked.once {
            ensure!(
                self.output == Output::Text,
                "`top` draws on a terminal; `--output json` wants `--once`"
            );
            return runtime()?.block_on(top::watch(sockets, asked.interval));
        }
        let rates = runtime()?.block_on(top::once(sockets, asked.interval));
        self.print(&rates)?;
        if rates.gate.is_some() {
            Ok(())
        } else {
            Err(Answered::NoDaemon.into())
        }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    const SHORTEST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_hours(1);
    let parsed: Option<SignedDuration> = text.parse().ok();
    let interval = parsed.and_then(|interval| Duration::try_from(interval).ok());
    interval
        .filter(|interval| (SHORTEST..=LONGEST).contains(interval))
        .ok_or_else(|| "write a time from 100ms to 1h".to_owned())
}

impl Show for Rates {
    fn show(&self) -> String {
        let mut text = String::new();
        let rate = |rate: top::Rate| match rate.per_second {
            Some(rate) => format!("{rate:.1}"),
            None => "-".to_owned(),
        };
        for warning in &self.warnings {
            text.push_str(&warned(warning));
        }
        if let Some(gate) = &self.gate {
            line!(
                text,
                "generation {}, over {:.1} s: {} packets/s, {} dropped/s",
                gate.generation,
                gate.seconds,
                rate(gate.packets),
                rate(gate.dropped)
            );
            let busy = |one: &&top::ReasonRate| one.packets.counted != Some(0);
            for reason in gate.reasons.iter().filter(busy) {
                line!(
                    text,
                    "{:>12}  reason {}",
                    rate(reason.packets),
                    reason.reason
                );
            }
            if let Some(busiest) = &gate.busiest {
                for rule in &busiest.rules {
                    line!(
                        text,
                        "{:>12.1}  rule {} {} {} at {}",
                        top::in_a_second(busiest, rule.packets).unwrap_or_default(),
                        visible(&rule.host),
                        rule.list.name(),
                        visible(&rule.rule),
                        visible(&rule.origin.to_string())
                    );
                }
            }
            for source in &gate.sources.busiest {
                line!(
                    text,
                    "{:>12.1}  source {}, estimated from {} events",
                    source.estimated_per_second.unwrap_or_default(),
                    source.source,
                    source.events
                );
            }
        } else {
            line!(text, "no daemon answers; the filter is as it left it");
        }
        if let Some(listener) = &self.listener {
            for one in &listener.requests {
                line!(
                    text,
                    "{:>12}  requests {}",
                    rate(one.rate),
                    visible(&one.name)
                );
            }
            for one in &listener.listeners {
                line!(
                    text,
                    "{:>12}  connections of listener {}",
                    rate(one.accepted),
                    visible(&one.name)
                );
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_neither_too_short_nor_too_long() {
        assert_eq!(interval("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(interval("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "1", "99ms", "-1s", "2h", "1s x"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }
}
