//! Prints random cases with what swf-filter decides, one JSON object a line, to hold against other simulators of IAM.
//!
//! `cargo run -p swf-filter-tests --example corpus -- COUNT SEED`

use std::env;
use std::io::{self, BufWriter, Write};

use anyhow::Result;
use fastrand::Rng;
use serde_json::json;
use swf_filter_tests::iam::case;

use self::decide::Documents;

#[path = "../tests/support/decide.rs"]
mod decide;

fn main() -> Result<()> {
    let mut numbers = env::args().skip(1).map(|text| text.parse());
    let count: u64 = numbers.next().transpose()?.unwrap_or(1_000);
    let mut random = Rng::with_seed(numbers.next().transpose()?.unwrap_or(0));
    let mut out = BufWriter::new(io::stdout().lock());
    for _ in 0..count {
        let mut case = case(&mut random);
        // Simulators take one document of a host and of a session, and resources as AWS's reference prints them.
        case.resource.truncate(1);
        case.session
            .iter_mut()
            .for_each(|session| session.truncate(1));
        let region = case.arn.split(':').nth(3).unwrap_or_default().to_owned();
        case.arn = case.arn.replacen(&region, "", 1);
        let outcome = Documents::read(&case)?.decide(&case)?;
        let line = json!({
            "identity": case.identity,
            "boundary": case.boundary,
            "session": case.session,
            "resource": case.resource,
            "account": case.account,
            "caller": case.caller,
            "action": case.action,
            "arn": case.arn,
            "context": case.context,
            "outcome": format!("{outcome:?}"),
        });
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}
