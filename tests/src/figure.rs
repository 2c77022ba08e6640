//! What benches measured, in one form for all of them.
//!
//! A figure holds the rounds of one thing, and its ratio to something that was measured in the same run. Only the ratio can be
//! compared with that of another run or machine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What one bench has to say.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Part {
    /// Figures.
    pub figures: Vec<Figure>,
    /// What was left out, and other words for the reader.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Versions of what it was measured beside.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
}

/// Something that was measured.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Figure {
    /// Which bench.
    pub part: String,
    /// Whose figure it is.
    pub series: String,
    /// What was done.
    pub case: String,
    /// The number of prefixes, where there are any.
    pub size: Option<usize>,
    /// What it is counted in.
    pub unit: String,
    /// Which way is better.
    pub better: Better,
    /// The best round, which is what counts: whatever else the machine did made others worse.
    pub best: f64,
    /// The median of the rounds.
    pub median: f64,
    /// The worst round.
    pub worst: f64,
    /// How many rounds there were.
    pub rounds: usize,
    /// What the ratio is to.
    pub baseline: String,
    /// The best round over that of the baseline.
    pub ratio: Option<f64>,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Time and memory.
    Less,
    /// Rates.
    More,
}

impl Figure {
    /// A figure of some rounds: whose, doing what, in which unit.
    ///
    /// # Panics
    ///
    /// If there are no rounds.
    #[must_use]
    pub fn new(
        part: &str,
        [series, case, unit]: [&str; 3],
        better: Better,
        rounds: &[f64],
    ) -> Self {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        if better == Better::More {
            sorted.reverse();
        }
        assert!(!sorted.is_empty(), "a figure of nothing");
        Self {
            part: part.to_owned(),
            series: series.to_owned(),
            case: case.to_owned(),
            size: None,
            unit: unit.to_owned(),
            better,
            best: sorted[0],
            median: sorted[sorted.len() / 2],
            worst: sorted[sorted.len() - 1],
            rounds: sorted.len(),
            baseline: String::new(),
            ratio: None,
        }
    }

    /// With so many prefixes.
    #[must_use]
    pub fn at(mut self, size: usize) -> Self {
        self.size = Some(size);
        self
    }

    /// With its ratio to the best round of a baseline.
    #[must_use]
    pub fn beside(mut self, baseline: &str, best: f64) -> Self {
        baseline.clone_into(&mut self.baseline);
        self.ratio = Some(self.best / best);
        self
    }

    /// Tells this figure from all others of a run.
    #[must_use]
    pub fn key(&self) -> String {
        let size = self.size.map(|size| format!(", {size} prefixes"));
        let size = size.unwrap_or_default();
        format!("{}: {}: {}{size}", self.part, self.series, self.case)
    }

    /// From the best round to the median, as a part of the best.
    #[must_use]
    pub fn spread(&self) -> f64 {
        (self.median - self.best).abs() / self.best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_round_is_the_least_time_and_the_highest_rate() {
        let rounds = [3.0, 1.0, 2.0];
        let time = Figure::new("part", ["who", "what", "ns"], Better::Less, &rounds);
        let rate = Figure::new("part", ["who", "what", "Mpps"], Better::More, &rounds);
        assert!((time.best, time.median, time.worst) == (1.0, 2.0, 3.0));
        assert!((rate.best, rate.median, rate.worst) == (3.0, 2.0, 1.0));
        assert!(rate.beside("bare", 2.0).ratio == Some(1.5));
    }
}
