//! What daemon and listener say of themselves: in the journal with fields, as lines of JSON, or as text.
//!
//! In the journal where systemd connects standard error to it, unless [`FORMAT`] says otherwise. A generation, an interface or a user
//! is a field in each form, so that it can be searched for.

use std::io::{self, IsTerminal};

use anyhow::{Context, Result, bail};
use tracing::Subscriber;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, fmt, registry};

/// The variable that says what is to be told, as `tracing-subscriber` has it: a level such as `debug`, or `swf_filter::listener=trace`.
const FILTER: &str = "SWF_FILTER_LOG";
/// The variable that says in which form.
const FORMAT: &str = "SWF_FILTER_LOG_FORMAT";
/// Device and inode of the journal's stream, if standard output or error goes there (systemd.exec(5)).
const STREAM: &str = "JOURNAL_STREAM";

/// What administrators should know of. What libraries say of clients' doings is not for them to act on.
const USUAL: &str = "info,h2=error";

/// How it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Journal,
    Json,
    Text,
}

/// Begins to write what happens, as `name`: what administrators should know of, unless [`FILTER`] says otherwise.
pub(crate) fn start(name: &str) -> Result<()> {
    let filter = std::env::var(FILTER).unwrap_or_else(|_| USUAL.to_owned());
    let filter = EnvFilter::try_new(&filter).with_context(|| {
        format!("{FILTER}=`{filter}` cannot be understood: `debug` is one that can")
    })?;
    let format = std::env::var(FORMAT).ok();
    let layer = match format_of(format.as_deref(), is_stderr_journal())? {
        // What systemd connected still takes text, and to be heard matters more than in which form.
        Format::Journal if format.is_none() => journal(name).unwrap_or_else(|_| text()),
        Format::Journal => journal(name)?,
        Format::Json => json(),
        Format::Text => text(),
    };
    registry().with(filter).with(layer).init();
    Ok(())
}

/// Whether standard error goes to the journal.
pub(crate) fn is_stderr_journal() -> bool {
    let Ok(stream) = std::env::var(STREAM) else {
        return false;
    };
    rustix::fs::fstat(io::stderr())
        .is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

fn format_of(wanted: Option<&str>, is_journal: bool) -> Result<Format> {
    let usual = if is_journal { "journal" } else { "text" };
    Ok(match wanted.unwrap_or(usual) {
        "journal" => Format::Journal,
        "json" => Format::Json,
        "text" => Format::Text,
        other => {
            bail!("{FORMAT}=`{other}` is none of `journal`, `json` and `text`")
        }
    })
}

type Boxed<S> = Box<dyn Layer<S> + Send + Sync>;

fn journal<S: Subscriber + for<'a> LookupSpan<'a>>(name: &str) -> Result<Boxed<S>> {
    let layer = tracing_journald::layer().context("the journal cannot be reached")?;
    Ok(layer
        .with_field_prefix(Some("SWF".to_owned()))
        .with_syslog_identifier(name.to_owned())
        .with_priority_mappings(PriorityMappings {
            error: Priority::Error,
            warn: Priority::Warning,
            info: Priority::Informational,
            debug: Priority::Debug,
            trace: Priority::Debug,
        })
        .boxed())
}

fn json<S: Subscriber + for<'a> LookupSpan<'a>>() -> Boxed<S> {
    let layer = fmt::layer().json().flatten_event(true);
    layer.with_writer(io::stderr).boxed()
}

fn text<S: Subscriber + for<'a> LookupSpan<'a>>() -> Boxed<S> {
    let colors = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let layer = fmt::layer().with_ansi(colors).with_target(false);
    layer.with_writer(io::stderr).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_wins_over_where_standard_error_goes() {
        for (wanted, is_journal, format) in [
            (None, false, Format::Text),
            (None, true, Format::Journal),
            (Some("json"), true, Format::Json),
            (Some("text"), true, Format::Text),
            (Some("journal"), false, Format::Journal),
        ] {
            assert_eq!(format_of(wanted, is_journal).unwrap(), format, "{wanted:?}");
        }
        let error = format_of(Some("JSON"), false).unwrap_err();
        assert!(error.to_string().contains("`JSON`"), "{error}");
    }
}
