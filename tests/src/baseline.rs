//! Ratios of an earlier run, which later ones are held against.
//!
//! Only ratios are compared: what a machine costs is in both sides of each. How far one may move is kept beside it, and is larger
//! where rounds were further apart.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::figure::{Better, Figure};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// Whose ratios are held against the baseline, in which parts; those of others are not ours to mend.
const OWN: [(&str, &str); 6] = [
    ("listener", "swf-filter listener"),
    ("live", "compiled"),
    ("live", "lpm-trie"),
    ("packet", "auto"),
    ("packet", "compiled"),
    ("packet", "lpm-trie"),
];
/// What a busy machine changes most.
const LATENCY: &str = "latency";
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
pub fn renew(path: &Path, figures: &[Figure]) -> Result<()> {
    let known: BTreeMap<String, Known> = figures
        .iter()
        .filter(|figure| OWN.contains(&(&figure.part, &figure.series)))
        .filter(|figure| !figure.case.contains(LATENCY))
        .filter_map(|figure| {
            let (_, least) = SIZES.iter().find(|(size, _)| *size == figure.size)?;
            let known = Known {
                ratio: rounded(figure.ratio?),
                slack: rounded(least.max(SPREADS * figure.spread())),
            };
            Some((figure.key(), known))
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
pub fn check(path: &Path, figures: &[Figure]) -> Result<()> {
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

fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
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

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(part: &str, series: &str, better: Better, size: usize, best: f64) -> Figure {
        let figure = Figure::new(part, [series, "case", "unit"], better, &[best]);
        figure.at(size).beside("bare XDP_DROP", 10.0)
    }

    fn run(time: f64, rate: f64) -> Vec<Figure> {
        vec![
            figure("packet", "lpm-trie", Better::Less, 10_000, time),
            figure("live", "lpm-trie", Better::More, 10_000, rate),
        ]
    }

    #[test]
    fn what_is_worse_by_more_than_its_slack_fails() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("baseline.json");
        renew(&path, &run(100.0, 50.0))?;
        check(&path, &run(100.0, 50.0))?;
        check(&path, &run(129.0, 39.0))?;
        check(&path, &run(10.0, 500.0))?;
        assert!(check(&path, &run(131.0, 50.0)).is_err());
        assert!(check(&path, &run(100.0, 38.0)).is_err());
        Ok(())
    }

    #[test]
    fn run_that_has_nothing_to_compare_fails() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("baseline.json");
        renew(&path, &run(100.0, 50.0))?;
        let other = [figure("packet", "lpm-trie", Better::Less, 10, 100.0)];
        assert!(check(&path, &other).is_err());
        assert!(renew(&path, &other).is_err());
        Ok(())
    }

    #[test]
    fn compiled_engine_must_be_much_cheaper() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("baseline.json");
        let both = |compiled| {
            vec![
                figure("packet", "lpm-trie", Better::Less, 100_000, 100.0),
                figure("packet", "compiled", Better::Less, 100_000, compiled),
            ]
        };
        renew(&path, &both(19.0))?;
        check(&path, &both(19.9))?;
        assert!(check(&path, &both(20.1)).is_err());
        Ok(())
    }
}
