//! Policy text to verdict, the whole way through the product's code, against the oracle that was written from the page alone.

mod support;

use std::sync::Arc;

use anyhow::Result;
use support::{product_engine, read, texts};
use swf_filter_common::image::Image;
use swf_filter_common::verdict::{self, Verdict};
use swf_filter_core::compile::image::{Placement, write};
use swf_filter_core::compile::{Forest, Generation, List, Tables, compile};
use swf_filter_tests::for_each_engine;
use swf_filter_tests::generate::{self, CLAIMABLE, INTERFACES};
use swf_filter_tests::model::Model;
use swf_filter_tests::oracle::{self, Expected, Ingress};
use swf_filter_tests::world::Engine;

/// Policies, and frames for each: more than 100,000 pairs.
const POLICIES: u64 = 600;
const FRAMES: usize = 250;

for_each_engine!(every_verdict_is_the_one_that_the_page_demands);

#[expect(clippy::unnecessary_wraps, reason = "as tests of engines are")]
fn every_verdict_is_the_one_that_the_page_demands(engine: Engine) -> Result<()> {
    for seed in 0..POLICIES {
        let mut rng = fastrand::Rng::with_seed(seed);
        let model = generate::policy(&mut rng);
        let subject = Subject::new(&model, engine);
        for _ in 0..FRAMES {
            let case = generate::case(&mut rng, &model);
            let expected = oracle::judge(&model, &case.ingress, &case.frame);
            let verdict = subject.judge(&case.ingress, &case.frame);
            subject
                .compare(&verdict, &expected)
                .unwrap_or_else(|difference| {
                    panic!("seed {seed}, {case}\n{difference}\n{}", texts(&model));
                });
        }
    }
    Ok(())
}

/// A policy that went through parser and compiler.
struct Subject {
    generation: Generation,
    image: Vec<u64>,
    /// If the compiled engine is tried.
    forest: Option<Forest>,
}

impl Subject {
    fn new(model: &Model, engine: Engine) -> Self {
        let generation = compile(&read(model)).expect("a generated policy fits");
        let placement = Placement {
            number: 1,
            hash: generation.hash(),
            slot: 0,
            engine: product_engine(engine),
            cpus: 1,
            interfaces: interfaces(),
        };
        let image = write(&generation, &placement).expect("an image can be laid out");
        let forest = Forest::build(&generation).expect("a small forest");
        Self {
            forest: (engine == Engine::Compiled).then_some(forest),
            generation,
            image,
        }
    }

    fn judge(&self, ingress: &Ingress, frame: &[u8]) -> Verdict {
        let image = Image::new(self.image.as_slice());
        let interface = number_of(&ingress.interface);
        match &self.forest {
            Some(forest) => verdict::judge(frame, || interface, &image, forest),
            None => verdict::judge(frame, || interface, &image, &Tables(&self.generation)),
        }
    }

    fn compare(&self, verdict: &Verdict, expected: &Expected) -> Result<(), String> {
        let rule = self.generation.rule(verdict.rule);
        let host = self
            .generation
            .hosts
            .get(usize::from(verdict.host))
            .map(|host| host.name.to_string());
        let ours = (
            verdict.reason.number(),
            verdict.reason.drops(),
            host,
            rule.map(|rule| {
                (
                    list(rule.list),
                    rule.origin.file.to_string(),
                    rule.origin.line,
                )
            }),
        );
        let theirs = (
            expected.reason.number(),
            !expected.passes(),
            expected.host.clone(),
            expected
                .rule
                .as_ref()
                .map(|rule| (rule.list, rule.place.file.clone(), rule.place.line)),
        );
        let same_rule = match (&ours.3, &theirs.3) {
            // Entries of config.toml have no line of their own in the model, so their texts are compared.
            (Some((oracle::List::AlwaysAllow, ..)), Some((oracle::List::AlwaysAllow, ..))) => {
                rule.map(|rule| &*rule.text)
                    == expected.rule.as_ref().map(|rule| rule.text.as_str())
            }
            (ours, theirs) => ours == theirs,
        };
        if (ours.0, ours.1, &ours.2) == (theirs.0, theirs.1, &theirs.2) && same_rule {
            return Ok(());
        }
        Err(format!(
            "expected {expected}\ngot      {verdict:?}, {rule:?}"
        ))
    }
}

fn list(list: List) -> oracle::List {
    match list {
        List::Allow => oracle::List::Allow,
        List::AlwaysAllow => oracle::List::AlwaysAllow,
        List::Audit => oracle::List::Audit,
        List::Default => oracle::List::Default,
        List::Deny => oracle::List::Deny,
        List::Statement | List::TrustedProxies | List::Unmatched => {
            unreachable!("these policies have no documents")
        }
    }
}

/// Numbers for the interfaces of the universe; a bond's claims are its members', after their own.
fn interfaces() -> Vec<(Arc<str>, u32)> {
    let own = INTERFACES
        .iter()
        .map(|(name, _)| (Arc::from(*name), number_of(name)));
    let bonds = INTERFACES
        .iter()
        .filter_map(|(name, bond)| Some((Arc::from((*bond)?), number_of(name))));
    own.chain(bonds).collect()
}

fn number_of(interface: &str) -> u32 {
    let position = CLAIMABLE
        .iter()
        .position(|name| *name == interface)
        .expect("an interface of the universe");
    u32::try_from(position).expect("there are few") + 1
}
