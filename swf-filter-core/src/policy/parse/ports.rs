//! The `ports` of a host.

use toml::Spanned;
use toml::de::DeValue;

use super::super::limits::{Limit, PORT_RANGES};
use super::super::{Fault, Ports, Problems};
use super::document::{Table, integer};

/// Reads `ports`; 443 if it is not there.
pub(super) fn read(table: &Table<'_>, problems: &mut Problems) -> Ports {
    let Some(value) = table.value("ports") else {
        return Ports::Ranges(vec![(443, 443)]);
    };
    match value.get_ref() {
        DeValue::String(word) if word == "all" => return Ports::All,
        DeValue::String(word) => {
            let fault = Fault::NotChoice {
                field: "ports",
                found: word.to_string(),
                choices: &["all"],
            };
            table.report(fault, value.span(), problems);
        }
        DeValue::Array(_) => return ranges(table, value, problems),
        _ => table.wrong_type("ports", "a list in `[ ]`, or `\"all\"`", value, problems),
    }
    Ports::All
}

fn ranges(table: &Table<'_>, value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Ports {
    table.refuse_empty("ports", problems);
    let mut ranges = Vec::new();
    for item in table.list("ports", problems) {
        match range(table, item) {
            Ok(range) => ranges.push(range),
            Err(fault) => table.report(fault, item.span(), problems),
        }
    }
    let ranges = joined(ranges);
    if ranges.len() > PORT_RANGES {
        table.report(Limit::PortRanges, value.span(), problems);
    }
    Ports::Ranges(ranges)
}

fn range(table: &Table<'_>, item: &Spanned<DeValue<'_>>) -> Result<(u16, u16), Fault> {
    let found = match item.get_ref() {
        DeValue::Integer(_) => integer(item.get_ref())
            .and_then(|port| u16::try_from(port).ok())
            .map(|port| (port, port)),
        DeValue::String(text) => text
            .split_once('-')
            .and_then(|(first, last)| Some((port(first.trim())?, port(last.trim())?))),
        _ => None,
    };
    match found {
        Some((first, last)) if first > last => Err(Fault::PortsSwapped { first, last }),
        Some(range) => Ok(range),
        None => Err(Fault::Port {
            text: table.written(item).into(),
        }),
    }
}

fn port(text: &str) -> Option<u16> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// The same ports in as few ranges as possible, ascending.
fn joined(mut ranges: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    ranges.sort_unstable();
    let mut joined: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}
