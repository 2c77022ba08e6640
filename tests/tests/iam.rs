//! Decisions of swf-filter against those of an evaluator that was written from docs/iam.md alone.

use std::num::NonZeroUsize;
use std::thread;

use anyhow::{Result, ensure};
use fastrand::Rng;
use swf_filter_tests::iam::{ask, case, evaluate};

use self::decide::Documents;

#[path = "support/decide.rs"]
mod decide;

/// How many sets of documents are tried, and how many requests with each: a million pairs.
const SETS: usize = 62_500;
const REQUESTS: usize = 16;

#[test]
fn a_second_evaluator_decides_alike() -> Result<()> {
    let seed = std::env::var("SWF_FILTER_SEED").ok();
    let seed = seed.map_or(Ok(0x5eed), |seed| seed.parse::<u64>())?;
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let work = |number: usize| {
        let mut random = Rng::with_seed(seed.wrapping_add(number as u64));
        for _ in 0..SETS.div_ceil(threads) {
            let mut case = case(&mut random);
            let documents = Documents::read(&case)?;
            for _ in 0..REQUESTS {
                ask(&mut case, &mut random);
                let (expected, decided) = (evaluate(&case), documents.decide(&case)?);
                ensure!(
                    expected == decided,
                    "seed {seed}: {decided:?} instead of {expected:?} in {case:#?}"
                );
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("no panic"))
    })
}
