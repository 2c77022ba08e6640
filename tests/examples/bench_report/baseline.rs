//! Ratios of an earlier run, which later ones are held against.
//!
//! Only ratios are compared: what a machine costs is in both sides of each. How far one may move is kept beside it, and is larger
//! where rounds were further apart.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use swf_filter_tests::figure::{Better, Figure};

/// Parts whose ratios hold from run to run.
const PARTS: [&str; 3] = ["packet", "live", "listener"];
/// Sizes that are held against the baseline, with the least slack. Larger ones depend on what else is in the caches.
const SIZES: [(Option<usize>, f64); 3] = [(None, 0.3), (Some(10_000), 0.3), (Some(100_000), 0.5)];
/// How many times the spread of its rounds a ratio may move.
const SPREADS: f64 = 2.0;

/// How many times cheaper one engine is than another, at the least, with so many prefixes.
const CHEAPER: (&str, &str, usize, f64) = ("compiled", "lpm-trie", 100_000, 5.0);

/// What a ratio was.
#[derive(Clone, Copy, Deserialize, Serialize)]
struct Known {
    ratio: f64,
    /// How far it may move, as a part of itself.
    slack: f64,
}

/// Writes a baseline from these figures.
pub(crate) fn renew(path: &Path, figures: &[Figure]) -> Result<()> {
    let known: BTreeMap<String, Known> = figures
        .iter()
        .filter_map(|figure| {
            let ratio = figure.ratio.filter(|_| figure.baseline != figure.series)?;
            let (_, least) = SIZES.iter().find(|(size, _)| *size == figure.size)?;
            let slack = least.max(SPREADS * figure.spread());
            let round = |value: f64| (value * 1e3).round() / 1e3;
            let known = Known {
                ratio: round(ratio),
                slack: round(slack),
            };
            PARTS
                .contains(&figure.part.as_str())
                .then(|| (figure.key(), known))
        })
        .collect();
    ensure!(
        !known.is_empty(),
        "nothing of this run can be held against others"
    );
    let text = serde_json::to_string_pretty(&known)? + "\n";
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
    println!(
        "\nbaseline: {} ratios are in `{}`",
        known.len(),
        path.display()
    );
    Ok(())
}

/// Fails if a figure has become clearly worse.
pub(crate) fn check(path: &Path, figures: &[Figure]) -> Result<()> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let known: BTreeMap<String, Known> = serde_json::from_str(&text)?;
    let compared: Vec<(&Figure, Known)> = figures
        .iter()
        .filter_map(|figure| Some((figure, *known.get(&figure.key())?)))
        .collect();
    ensure!(
        !compared.is_empty(),
        "nothing of this run is in `{}`",
        path.display()
    );
    let mut worse: Vec<String> = compared
        .iter()
        .filter_map(|(figure, known)| known.regression(figure))
        .collect();
    worse.extend(too_near(figures));
    println!(
        "\ncheck: {} of {} ratios compared",
        compared.len(),
        known.len()
    );
    ensure!(
        worse.is_empty(),
        "slower than the baseline:\n  {}",
        worse.join("\n  ")
    );
    Ok(())
}

impl Known {
    fn regression(self, figure: &Figure) -> Option<String> {
        let ratio = figure.ratio?;
        let limit = match figure.better {
            Better::Less => self.ratio * (1.0 + self.slack),
            Better::More => self.ratio / (1.0 + self.slack),
        };
        let is_worse = match figure.better {
            Better::Less => ratio > limit,
            Better::More => ratio < limit,
        };
        is_worse.then(|| {
            format!(
                "{}: {ratio:.2}, was {:.2}, limit {limit:.2}",
                figure.key(),
                self.ratio
            )
        })
    }
}

/// Figures where an engine is not as much cheaper as it has to be.
fn too_near(figures: &[Figure]) -> impl Iterator<Item = String> + '_ {
    let (cheap, plain, size, times) = CHEAPER;
    let at_size = move |series: &'static str| {
        figures.iter().filter(move |figure| {
            figure.part == "packet" && figure.series == series && figure.size == Some(size)
        })
    };
    at_size(cheap).filter_map(move |own| {
        let other = at_size(plain).find(|other| other.case == own.case)?;
        let times_cheaper = other.best / own.best;
        (times_cheaper < times).then(|| {
            format!(
                "{}: {times_cheaper:.1} times cheaper than {plain}, not {times}",
                own.key()
            )
        })
    })
}
