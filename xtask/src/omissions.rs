//! What a command could not do on this machine.
//!
//! A command that quietly does less looks like one that passed. What is left out is listed last, and loudly, and is a
//! failure where `CI=true` promises a full run.

use std::env;

use anyhow::{Result, ensure};

/// The list of what was left out, and why.
#[derive(Debug, Default)]
pub(crate) struct Omissions(Vec<String>);

impl Omissions {
    pub(crate) fn add(&mut self, what: impl Into<String>) {
        self.0.push(what.into());
    }

    /// Prints the list, then gives back the outcome; with an empty list nothing is printed.
    pub(crate) fn finish(self, outcome: Result<()>) -> Result<()> {
        let count = self.0.len();
        if count > 0 {
            eprintln!("\n################ LEFT OUT: {count} ################");
            for what in &self.0 {
                eprintln!("# {what}");
            }
            eprintln!("##############################################\n");
        }
        outcome?;
        ensure!(
            count == 0 || !ci(),
            "left out: {count}; with CI=true nothing may be"
        );
        Ok(())
    }
}

fn ci() -> bool {
    env::var("CI").is_ok_and(|value| value == "true")
}
