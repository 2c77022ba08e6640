//! `[observe]` of config.toml and of listener.toml.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use swf_filter_core::prefix::text::excerpt;
use thiserror::Error;
use toml::Spanned;

use crate::toml_reader::{self, Explain, Reader, Section, Value};

/// Rules that have series of their own, if the file does not say how many.
pub const RULES: u32 = 100;
/// Rules that may have series of their own: each is two series in every scrape.
pub const MAX_RULES: u32 = 10_000;

/// Where metrics are served, and whether a page is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observe {
    /// Where.
    pub listen: Listen,
    /// Whether the page is served.
    pub dashboard: Dashboard,
    /// How many rules have series of their own, the first of the policy. The rest is counted together.
    pub rules: u32,
    /// The listener's own socket, for the page.
    pub listener: Option<PathBuf>,
}

/// Where metrics are served: nowhere that another machine can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A loopback address.
    Address(SocketAddr),
    /// A unix socket.
    Socket(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Socket(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// Whether the page is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dashboard {
    /// It is not.
    #[default]
    Off,
    /// It is.
    On,
}

/// The fields in config.toml.
pub(crate) const OF_DAEMON: Section = Section {
    title: "`[observe]`",
    fields: &["listen", "dashboard", "rules", "listener"],
};

/// The fields in listener.toml: it has no page.
pub(crate) const OF_LISTENER: Section = Section {
    title: "`[observe]`",
    fields: &["listen"],
};

/// Before the path of a unix socket.
const UNIX: &str = "unix:";

/// Reads the table, whose fields are those of `section`; none if it is not there.
pub(crate) fn read(
    reader: &mut Reader<'_>,
    section: &'static Section,
    table: Option<&Value<'_>>,
) -> Option<Observe> {
    let fields = reader.table("observe", "a table, headed by `[observe]`", section, table)?;
    let Some(value) = fields.get("listen") else {
        let (field, help) = ("observe.listen", "write `listen = \"127.0.0.1:9464\"`");
        let span = table.map(Spanned::span).unwrap_or_default();
        reader.report(&toml_reader::Fault::Missing { field, help }, span);
        return None;
    };
    let text = reader.text("observe.listen", value);
    let listen = text.and_then(|text| match listen(text.get_ref()) {
        Ok(listen) => Some(listen),
        Err(fault) => {
            reader.report(&fault, text.span());
            None
        }
    });
    let dashboard = match reader.switch("observe.dashboard", fields.get("dashboard")) {
        Some(true) => Dashboard::On,
        _ => Dashboard::Off,
    };
    let fault = |found| Fault::Rules { found };
    let rules = reader.number("observe.rules", fields.get("rules"), 0..=MAX_RULES, fault);
    let listener = fields.get("listener");
    let listener = listener.and_then(|value| reader.path("observe.listener", value));
    Some(Observe {
        listen: listen?,
        dashboard,
        rules: rules.unwrap_or(RULES),
        listener,
    })
}

fn listen(text: &str) -> Result<Listen, Fault> {
    let found = text.to_owned();
    if let Some(path) = text.strip_prefix(UNIX) {
        let path = PathBuf::from(path);
        return if path.is_absolute() && !text.contains('\0') {
            Ok(Listen::Socket(path))
        } else {
            Err(Fault::NotListen { found })
        };
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => Err(Fault::NotListen { found }),
        Ok(address) if address.ip().is_loopback() => Ok(Listen::Address(address)),
        Ok(_) => Err(Fault::NotLoopback { found }),
        Err(_) => Err(Fault::NotListen { found }),
    }
}

/// What is wrong with `[observe]`, and with nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
enum Fault {
    /// It is neither an address with a port nor a unix socket.
    #[error("`{found}` is neither a loopback address with a port nor a unix socket", found = excerpt(.found))]
    NotListen {
        /// As written.
        found: String,
    },
    /// Other machines could reach it.
    #[error("`{found}` is no loopback address", found = excerpt(.found))]
    NotLoopback {
        /// As written.
        found: String,
    },
    /// A number of rules that is negative, or too high.
    #[error("`{found}` is not a number of rules", found = excerpt(.found))]
    Rules {
        /// As written.
        found: String,
    },
}

impl Explain for Fault {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::NotListen { .. } => {
                "write `127.0.0.1:9464`, `[::1]:9464` or `unix:/run/swf-filter/observe.sock`".into()
            }
            Self::NotLoopback { .. } => "what is served has the policy's hosts, rules and sources in it, and asks for no password: \
                 write `127.0.0.1:9464` or a unix socket, and put what knows its clients before it"
                .into(),
            Self::Rules { .. } => format!("write a number from 0 to {MAX_RULES}"),
        })
    }
}
