//! What rules counted before the generation in force.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use swf_filter_common::abi::Count;
use swf_filter_core::compile::{Generation, List};

/// Rules that have gone from the policy and whose counts are kept, in case they come back.
const MOST_GONE: usize = 100_000;

/// What makes a rule the same rule in another generation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RuleKey {
    /// The host's name.
    pub host: Arc<str>,
    /// The list that it stands in.
    pub list: List,
    /// As it was written.
    pub text: Arc<str>,
    /// Which of those that are equal in all else.
    pub nth: u32,
}

/// Totals of rules over generations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Which kernel maps these counts go with. Those of reasons begin anew with them, and so do these.
    life: String,
    /// The generation whose counters are not in here, being the kernel's.
    before: u64,
    totals: HashMap<RuleKey, (u64, u64)>,
}

impl Ledger {
    /// An empty one.
    #[must_use]
    pub fn new(life: &str, before: u64) -> Self {
        Self {
            life: life.to_owned(),
            before,
            totals: HashMap::new(),
        }
    }

    /// Whether it goes with these kernel maps.
    #[must_use]
    pub fn is_of(&self, life: &str) -> bool {
        self.life == life
    }

    /// The first generation whose counts are not in here.
    #[must_use]
    pub fn before(&self) -> u64 {
        self.before
    }

    /// What a rule counted.
    #[must_use]
    pub fn get(&self, rule: &RuleKey) -> Count {
        let (packets, bytes) = self.totals.get(rule).copied().unwrap_or_default();
        Count { packets, bytes }
    }

    /// Takes in what a generation counted, now that `next` has replaced it.
    pub fn fold(
        &mut self,
        counts: impl IntoIterator<Item = (RuleKey, Count)>,
        next: u64,
        generation: &Generation,
    ) {
        for (rule, count) in counts {
            if count != Count::default() {
                let total = self.totals.entry(rule).or_default();
                total.0 = total.0.saturating_add(count.packets);
                total.1 = total.1.saturating_add(count.bytes);
            }
        }
        self.before = next;
        if self.totals.len() > MOST_GONE {
            let there: HashSet<RuleKey> = keys(generation).into_iter().collect();
            self.totals.retain(|rule, _| there.contains(rule));
        }
    }
}

/// The keys of a generation's rules, in their order.
#[must_use]
pub fn keys(generation: &Generation) -> Vec<RuleKey> {
    first_keys(generation, usize::MAX)
}

/// The keys of the first rules of a generation.
#[must_use]
pub fn first_keys(generation: &Generation, most: usize) -> Vec<RuleKey> {
    let mut seen: HashMap<(u16, List, &str), u32> = HashMap::new();
    generation
        .rules
        .iter()
        .take(most)
        .map(|rule| {
            let times = seen.entry((rule.host, rule.list, &rule.text)).or_default();
            let nth = *times;
            *times += 1;
            RuleKey {
                host: generation
                    .host_of(rule)
                    .map_or_else(|| "".into(), |host| Arc::clone(&host.name)),
                list: rule.list,
                text: Arc::clone(&rule.text),
                nth,
            }
        })
        .collect()
}
