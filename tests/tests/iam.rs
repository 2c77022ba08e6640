//! Decisions of swf-filter against those of an evaluator that was written from docs/iam.md alone.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use anyhow::{Result, ensure};
use fastrand::Rng;
use serde_json::Value;
use swf_filter_core::iam::authorize::{Index, Policies, Reason, Request, authorize};
use swf_filter_core::iam::principal::Caller;
use swf_filter_core::iam::{Context, Document, Kind, parse};
use swf_filter_core::policy::{Problems, SourceFile};
use swf_filter_core::swf::Action;
use swf_filter_tests::iam::{Case, Outcome, ask, case, evaluate};

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

struct Documents {
    identity: Index,
    boundary: Option<Index>,
    session: Option<Index>,
    resource: Index,
}

impl Documents {
    fn read(case: &Case) -> Result<Self> {
        let some = |documents: Option<&[Value]>| {
            documents
                .map(|documents| index(documents, Kind::Identity))
                .transpose()
        };
        Ok(Self {
            identity: index(&case.identity, Kind::Identity)?,
            boundary: some(case.boundary.as_ref().map(std::slice::from_ref))?,
            session: some(case.session.as_deref())?,
            resource: index(&case.resource, Kind::Resource)?,
        })
    }

    fn decide(&self, case: &Case) -> Result<Outcome> {
        let mut context = Context::default();
        for (key, values) in &case.context {
            for value in values {
                context.add(key, value.as_str());
            }
        }
        let policies = Policies {
            identity: Some(&self.identity),
            boundary: self.boundary.as_ref(),
            session: self.session.as_ref(),
            resource: Some(&self.resource),
            account: Some(&case.account),
        };
        let name = case.action.trim_start_matches("swf:");
        let request = Request {
            caller: &Caller::from_arn(&case.caller)?,
            action: Action::from_name(name).expect("an action of SWF"),
            resource: &case.arn,
            context: &context,
        };
        Ok(match authorize(&policies, request).reason {
            Reason::Allowed => Outcome::Allowed,
            Reason::ExplicitDeny => Outcome::Denied,
            _ => Outcome::NotAllowed,
        })
    }
}

/// Reads documents, prints them, reads them again, and indexes what comes out.
fn index(documents: &[Value], kind: Kind) -> Result<Index> {
    let read = documents
        .iter()
        .map(|document| Ok(Arc::new(read(&read(document, kind)?.to_json(), kind)?)));
    Ok(Index::new(read.collect::<Result<_>>()?))
}

fn read(document: &Value, kind: Kind) -> Result<Document> {
    let file = SourceFile {
        name: "generated.json".into(),
        bytes: document.to_string().into_bytes().into(),
    };
    let mut problems = Problems::default();
    let read = parse(&file, kind, &mut problems);
    read.ok_or_else(|| anyhow::anyhow!("{problems} in {document:#}"))
}
