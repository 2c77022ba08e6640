//! What daemon and listener say of themselves, on standard error.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;

/// The variable that says what is to be told, as `tracing-subscriber` has it: a level such as `debug`, or `swf_filter::listener=trace`.
const FILTER: &str = "SWF_FILTER_LOG";

/// What administrators should know of. What libraries say of clients' doings is not for them to act on.
const USUAL: &str = "info,h2=error";

/// Begins to write what happens: what administrators should know of, unless [`FILTER`] says otherwise.
pub(crate) fn start() -> Result<()> {
    let filter = std::env::var(FILTER).unwrap_or_else(|_| USUAL.to_owned());
    let filter = EnvFilter::try_new(&filter).with_context(|| {
        format!("{FILTER}=`{filter}` cannot be understood: `debug` is one that can")
    })?;
    let colors = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .with_ansi(colors)
        .with_target(false)
        .init();
    Ok(())
}
