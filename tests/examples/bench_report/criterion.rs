//! Reads what criterion has measured.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use swf_filter_tests::figure::{Better, Figure, Part};

/// `benchmark.json`.
#[derive(Deserialize)]
struct Benchmark {
    group_id: String,
    full_id: String,
}

/// `sample.json`: how often it was done in each sample, and in how many nanoseconds.
#[derive(Deserialize)]
struct Sample {
    iters: Vec<f64>,
    times: Vec<f64>,
}

/// What others of a group are compared with: the smallest.
const BASELINES: [(&str, &str); 2] = [
    ("compile", "compile/read 1000 statements of 100 CIDRs"),
    ("decide", "decide/10"),
];

/// All benches below a folder.
pub(crate) fn read(folder: &Path, part: &str) -> Result<Part> {
    let mut figures = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
        let paths: Vec<PathBuf> = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        folders.extend(paths.into_iter().filter(|path| path.is_dir()));
        if folder.ends_with("new") {
            figures.push(figure(&folder, part)?);
        }
    }
    ensure!(!figures.is_empty(), "criterion has left nothing");
    figures.sort_by(|(_, one), (_, other)| one.case.cmp(&other.case));
    let best = |id: &str| {
        figures
            .iter()
            .find(|(_, figure)| figure.case == id)
            .map(|(_, figure)| figure.best)
    };
    let figures = figures
        .iter()
        .map(|(group, figure)| {
            let figure = figure.clone();
            let baseline = BASELINES
                .iter()
                .find(|(of, _)| group.split('/').next() == Some(of));
            match baseline.and_then(|(_, id)| Some((id, best(id)?))) {
                Some((id, best)) => figure.beside(id, best),
                None => figure,
            }
        })
        .collect();
    Ok(Part {
        figures,
        ..Part::default()
    })
}

fn figure(folder: &Path, part: &str) -> Result<(String, Figure)> {
    let text = |name| fs::read_to_string(folder.join(name));
    let benchmark: Benchmark = serde_json::from_str(&text("benchmark.json")?)?;
    let sample: Sample = serde_json::from_str(&text("sample.json")?)?;
    let times = sample.times.iter().zip(&sample.iters);
    let times: Vec<f64> = times.map(|(time, times)| time / times / 1e3).collect();
    ensure!(!times.is_empty(), "`{}` has no samples", benchmark.full_id);
    let words = ["policy engine", &benchmark.full_id, "\u{b5}s"];
    Ok((
        benchmark.group_id,
        Figure::new(part, words, Better::Less, &times),
    ))
}
