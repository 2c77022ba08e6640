//! What the packet gate costs: `packet` by test run, `live` beside other filters, `reload` to bring a policy into force.
//!
//! `cargo xtask bench` runs this, which needs root. The first argument says what is measured, the second is `quick` or `full`. What is
//! measured is on core 1 and all else on core 0. All traffic stays in namespaces of its own. The outcome is JSON on standard output.

mod gates;
mod kernel;
mod lists;
mod live;
mod peers;
mod reload;
mod runs;

use std::env;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result, bail};
use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, sched_setaffinity};

use kernel::Kernel;

/// How much is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Effort {
    Full,
    Quick,
}

impl Effort {
    fn sizes(self) -> &'static [usize] {
        match self {
            Self::Full => &[10, 1_000, 10_000, 100_000, 1_000_000],
            Self::Quick => &[10, 10_000, 100_000],
        }
    }

    /// Packets of a round by test run.
    fn packets(self) -> u32 {
        match self {
            Self::Full => 1 << 20,
            Self::Quick => 1 << 18,
        }
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (what, effort) = match arguments.as_slice() {
        [what, "full"] => (*what, Effort::Full),
        [what, "quick"] => (*what, Effort::Quick),
        _ => bail!("say `packet`, `live` or `reload`, and then `full` or `quick`"),
    };
    let object = env::var_os("SWF_FILTER_BENCH_OBJECT").map(PathBuf::from);
    let object = object.context("needs SWF_FILTER_BENCH_OBJECT: run `cargo xtask bench`")?;
    let mut kernel = Kernel::load(&object)?;
    // Daemons are started from here: what a pinned thread starts would be on its core.
    let (gates, notes) = gates::start(what)?;
    let mut part = match what {
        "packet" => pinned(|| runs::measure(&mut kernel, &gates, effort))?,
        "live" => live::measure(&mut kernel, &gates, effort)?,
        "reload" => reload::measure(&gates, effort)?,
        _ => bail!("nothing is called `{what}`"),
    };
    part.notes.extend(notes);
    println!("{}", serde_json::to_string_pretty(&part)?);
    Ok(())
}

/// Runs work on a thread of its own, which is on the core of what is measured; what other threads start is not.
fn pinned<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            be_measured()?;
            work()
        });
        thread.join().expect("it does not panic")
    })
}

/// Puts this thread on the core of what is measured, before all else that is there: a busy machine would show as a slow filter.
fn be_measured() -> Result<()> {
    let mut core = CpuSet::new();
    core.set(1);
    sched_setaffinity(None, &core)?;
    // Linux means the thread by this, and not all of the process (setpriority(2)).
    setpriority_process(None, -20)?;
    Ok(())
}
