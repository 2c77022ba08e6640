//! Interim.
use std::{path::Path, process::Command};

use crate::{process::run, world::Counts};
use anyhow::Result;
use serde_json::Value;

const NAMES: [(u64, &str); 17] = [
    (1, "not-ip"),
    (2, "other-destination"),
    (3, "other-protocol"),
    (4, "other-port"),
    (5, "neighbor-discovery"),
    (6, "always-allow"),
    (7, "allow"),
    (8, "default-pass"),
    (9, "audit-deny"),
    (10, "audit-default"),
    (11, "audit-unreadable"),
    (12, "no-generation"),
    (16, "deny"),
    (17, "default-drop"),
    (18, "truncated"),
    (19, "too-many-tags"),
    (20, "bad-version"),
];

pub(crate) fn reasons(pins: &Path) -> Result<Counts> {
    let text = run(Command::new("bpftool")
        .args(["-j", "map", "dump", "pinned"])
        .arg(pins.join("v1/REASONS")))?;
    let json: Value = serde_json::from_str(&text)?;
    let number = |v: &Value, n: usize| -> u64 {
        v.as_array()
            .unwrap()
            .iter()
            .take(n)
            .enumerate()
            .map(|(i, b)| {
                u64::from_str_radix(b.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
                    << (8 * i)
            })
            .sum()
    };
    let mut counts = Counts::new();
    for entry in json.as_array().unwrap() {
        let key = number(&entry["key"], 4);
        let packets = entry["values"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| number(&v["value"], 8))
            .sum();
        if let Some((_, name)) = NAMES.iter().find(|(n, _)| *n == key) {
            counts.insert((*name).to_owned(), packets);
        }
    }
    Ok(counts)
}
