//! What daemon and listener say of themselves: in the journal with fields, as lines of JSON, or as text.
//!
//! In the journal where systemd connects standard error to it, unless [`FORMAT`] says otherwise. A generation, an interface or a user
//! is a field in each form, so that it can be searched for. Libraries are heard of errors only, since they tell what clients
//! send: whoever may connect could write to the log whatever and as much as they like.

use std::io::{self, IsTerminal};

use anyhow::{Context, Result, bail};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, fmt, registry};

/// The variable that says what is to be told, as `tracing-subscriber` has it, but that a level such as `debug` is for swf-filter alone:
/// `swf_filter::listener=trace` is for a part of it, and `rustls=debug` for a library.
const FILTER: &str = "SWF_FILTER_LOG";
/// The variable that says in which form.
const FORMAT: &str = "SWF_FILTER_LOG_FORMAT";
/// Device and inode of the journal's stream, if standard output or error goes there (systemd.exec(5)).
const STREAM: &str = "JOURNAL_STREAM";

/// What administrators should know of.
const USUAL: &str = "info";
/// What libraries tell.
const LIBRARIES: &str = "error";
/// The targets of this program, and of its part in the kernel, begin with it.
const OWN: &str = "swf_filter";

/// How it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Journal,
    Json,
    Text,
}

/// Begins to write what happens, as `name`: what administrators should know of, unless [`FILTER`] says otherwise.
pub(crate) fn start(name: &str) -> Result<()> {
    let wanted = std::env::var(FILTER).unwrap_or_else(|_| USUAL.to_owned());
    let filter = EnvFilter::try_new(directives(&wanted)).with_context(|| {
        format!("{FILTER}=`{wanted}` cannot be understood: `debug` is one that can")
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

/// What is wanted, with what libraries tell.
fn directives(wanted: &str) -> String {
    let own = wanted.split(',').map(str::trim);
    let own = own.map(|one| match one.parse() {
        Ok(LevelFilter::OFF) | Err(_) => one.to_owned(),
        Ok(level) => format!("{OWN}={level}"),
    });
    let own: Vec<String> = own.collect();
    format!("{LIBRARIES},{}", own.join(","))
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
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is heard, of four that tell something, with what is wanted.
    fn heard(wanted: &str) -> String {
        #[derive(Clone, Default)]
        struct Said(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Said {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let said = Said::default();
        let writer = said.clone();
        let layer = fmt::layer().without_time().with_target(false);
        let layer = layer.with_level(false).with_ansi(false);
        let subscriber = registry()
            .with(EnvFilter::try_new(directives(wanted)).unwrap())
            .with(layer.with_writer(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("own");
            tracing::debug!("detail");
            tracing::info!(target: "swf_filter_ebpf", "kernel");
            tracing::warn!(target: "rustls::msgs::handshake", "client");
            tracing::error!(target: "hyper::proto", "bug");
        });
        let said = said.0.lock().unwrap();
        String::from_utf8_lossy(&said).replace('\n', " ")
    }

    #[test]
    fn libraries_do_not_tell_what_clients_send_unless_they_are_named() {
        assert_eq!(heard(USUAL), "own kernel bug ");
        assert_eq!(heard("debug"), "own detail kernel bug ");
        assert_eq!(heard("warn"), "bug ");
        assert_eq!(heard("off"), "");
        assert_eq!(heard("info, rustls=warn"), "own kernel client bug ");
        assert_eq!(heard("swf_filter::log=debug"), "own detail bug ");
    }

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
