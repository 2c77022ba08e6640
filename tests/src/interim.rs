//! The kernel's counters of reasons, read past the daemon with `bpftool`, as long as the daemon cannot be asked for them.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{oracle::Reason, process::run, world::Counts};

/// How many packets have ended in each reason.
pub(crate) fn reasons(pins: &Path) -> Result<Counts> {
    let mut command = Command::new("bpftool");
    let command = command.args(["-j", "map", "dump", "pinned"]);
    let dump =
        run(command.arg(pins.join(format!("v{}/REASONS", swf_filter_common::abi::VERSION))))?;
    let dump: Value = serde_json::from_str(&dump)?;
    let entries = dump.as_array().context("no list of counters")?;
    let mut counts = Counts::new();
    for entry in entries {
        let number = number(&entry["key"], 4)?;
        let of_cpus = entry["values"].as_array().context("no list of CPUs")?;
        let packets = of_cpus.iter().map(|cpu| self::number(&cpu["value"], 8));
        let packets = packets.sum::<Result<u64>>()?;
        let known = Reason::ALL
            .into_iter()
            .find(|reason| u64::from(reason.number()) == number);
        if let Some(reason) = known {
            counts.insert(reason.name().to_owned(), packets);
        }
    }
    Ok(counts)
}

/// A little-endian number at the start of a list of bytes, each written in hexadecimal.
fn number(bytes: &Value, length: usize) -> Result<u64> {
    let bytes = bytes.as_array().context("no list of bytes")?;
    bytes.iter().take(length).rev().try_fold(0, |number, byte| {
        let digits = byte.as_str().unwrap_or_default().trim_start_matches("0x");
        Ok(number << 8 | u64::from_str_radix(digits, 16)?)
    })
}
