//! Puts together what benches have measured: `report.json`, `report.md` and `report.svg`; and holds it against a baseline.
//!
//! `cargo xtask bench` runs this: `FOLDER quick|full PART...`, then perhaps `--check FILE` or `--renew FILE`. The folder has a file
//! `PART.json` for each part, or what criterion wrote.

mod criterion;
mod machine;
mod markdown;
mod plot;

use std::env;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use swf_filter_tests::baseline;
use swf_filter_tests::figure::{Figure, Part};

use machine::Machine;

/// All of a run.
#[derive(Serialize)]
struct Report {
    /// `quick` or `full`.
    effort: String,
    machine: Machine,
    figures: Vec<Figure>,
    notes: Vec<String>,
}

/// Where criterion's figures are, whose part has no file of its own.
const CRITERION: &str = "criterion";

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [folder, effort, parts @ ..] = arguments.as_slice() else {
        bail!("say a folder, `quick` or `full`, and parts");
    };
    let (parts, task) = match parts {
        [parts @ .., task @ ("--check" | "--renew"), file] => (parts, Some((*task, *file))),
        parts => (parts, None),
    };
    let folder = Path::new(folder);
    let report = gather(folder, effort, parts)?;
    let json = serde_json::to_string_pretty(&report)?;
    fs::write(folder.join("report.json"), json + "\n")?;
    let text = markdown::write(&report)?;
    fs::write(folder.join("report.md"), &text)?;
    fs::write(folder.join("report.svg"), plot::draw(&report.figures))?;
    print!("{text}");
    match task {
        Some(("--check", file)) => baseline::check(Path::new(file), &report.figures),
        Some((_, file)) => baseline::renew(Path::new(file), &report.figures),
        None => Ok(()),
    }
}

fn gather(folder: &Path, effort: &str, names: &[&str]) -> Result<Report> {
    let mut report = Report {
        effort: effort.to_owned(),
        machine: Machine::this(),
        figures: Vec::new(),
        notes: Vec::new(),
    };
    for name in names {
        let path = folder.join(format!("{name}.json"));
        let part: Part = if path.exists() {
            let text = fs::read_to_string(&path)?;
            serde_json::from_str(&text)
                .with_context(|| format!("cannot read `{}`", path.display()))?
        } else {
            criterion::read(&folder.join(CRITERION), name)?
        };
        report.figures.extend(part.figures);
        report
            .notes
            .extend(part.notes.into_iter().map(|note| format!("{name}: {note}")));
        report.machine.versions.extend(part.versions);
    }
    Ok(report)
}
