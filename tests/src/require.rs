//! What a test needs of the machine, and how it says that the machine does not have it.
//!
//! Where `CI=true` a missing thing fails the test, so that nothing is skipped unseen where it counts.

use std::{
    env,
    io::{self, Write},
};

/// Whether the test runs as root; says so if not.
///
/// # Panics
///
/// If it does not, where `CI=true`.
#[must_use]
pub fn root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skip("needs root");
    }
    is_root
}

/// Says loudly that the test is skipped, past the capture of the test runner.
///
/// # Panics
///
/// Where `CI=true`.
pub fn skip(reason: &str) {
    let in_ci = env::var("CI").is_ok_and(|value| value == "true");
    assert!(!in_ci, "skipped: {reason}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let _printed_or_nobody_listens = writeln!(io::stderr(), "{test}: skipped: {reason}");
}
