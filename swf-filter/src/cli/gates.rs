//! `swf-filter listener`, and its part of `swf-filter status`.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use anyhow::{Result, bail};
use hyper::Method;
use serde::Serialize;
use tokio::time::timeout;

use super::show::{Show, duration, line, warned};
use super::{Answered, Arguments, runtime};
use crate::control::api::Status;
use crate::control::client::{self, AskError};
use crate::control::socket;
use crate::listener::status::{ListenerInfo, ListenerStatus, UpstreamInfo};
use crate::report::visible;

/// Both gates, side by side.
#[derive(Serialize)]
struct Gates {
    /// The packet gate; none if no daemon answers.
    #[serde(flatten)]
    daemon: Option<Status>,
    /// The request gate; none if no listener answers.
    listener: Option<ListenerStatus>,
}

impl Arguments {
    pub(super) fn status(&self) -> Result<()> {
        let daemon = self.fetch::<Status>(Method::GET, "/v1/status", &());
        let mut gates = Gates {
            listener: self.listener_status(),
            daemon: None,
        };
        match daemon {
            Ok(status) => gates.daemon = Some(status),
            Err(error) if gates.listener.is_none() => return Err(error),
            Err(error) => {
                self.print(&gates)?;
                return Err(match error.downcast::<AskError>() {
                    Ok(error) if error.is_absence() => Answered::NoDaemon.into(),
                    Ok(error) => error.into(),
                    Err(error) => error,
                });
            }
        }
        if let (Some(daemon), Some(listener)) = (&gates.daemon, &mut gates.listener) {
            compare(daemon, listener);
        }
        self.print(&gates)
    }

    /// None if there is no listener, or none that this user may ask. What is no answer is told, and keeps nothing else from being shown.
    fn listener_status(&self) -> Option<ListenerStatus> {
        let paths = super::listener_paths(self).ok()?;
        let socket = socket(&paths.listener_run);
        let asked = async {
            let asked = client::ask(&socket, Method::GET, "/v1/status", &());
            match timeout(client::PATIENCE_FOR_LISTENERS, asked).await {
                Ok(Ok(bytes)) => Ok(Some(serde_json::from_slice(&bytes)?)),
                Ok(Err(AskError::NoDaemon { .. } | AskError::Denied { .. })) => Ok(None),
                Ok(Err(error)) => Err(error.into()),
                Err(_) => bail!("it takes too long"),
            }
        };
        runtime().ok()?.block_on(asked).unwrap_or_else(|error| {
            let words = format!(
                "no listener answers as one does on {}: {error:#}",
                socket.display()
            );
            // Nobody is left to be told if standard error cannot be written to.
            let _unwritable = write!(io::stderr(), "{}", warned(&words));
            None
        })
    }
}

/// Warns where the gates enforce different policies. They do for a moment after each reload.
fn compare(daemon: &Status, listener: &mut ListenerStatus) {
    let enforced = listener.policy.as_ref();
    if enforced.map(|info| &info.policy) == daemon.policy.as_ref() {
        return;
    }
    let words = match enforced {
        Some(info) => format!(
            "the listener enforces another policy, that of generation {}, than the daemon, that of generation {}",
            info.generation, daemon.generation.number
        ),
        None => format!(
            "the listener has no policy, and the daemon enforces generation {}",
            daemon.generation.number
        ),
    };
    listener.warnings.push(words);
}

impl Show for Gates {
    fn show(&self) -> String {
        let mut text = match &self.daemon {
            Some(daemon) => daemon.show(),
            None => "no daemon answers; the filter is as it left it\n".to_owned(),
        };
        if let Some(listener) = &self.listener {
            text.push('\n');
            text.push_str(&listener.show());
        }
        text
    }
}

impl Show for ListenerStatus {
    fn show(&self) -> String {
        let mut text = String::new();
        line!(
            text,
            "listener {}, pid {}, up {}",
            visible(&self.version),
            self.pid,
            duration(self.uptime_seconds)
        );
        match &self.policy {
            Some(policy) => line!(
                text,
                "policy of generation {}, hash {:.16}",
                policy.generation,
                visible(&policy.hash)
            ),
            None => line!(text, "no policy"),
        }
        for warning in &self.warnings {
            text.push_str(&warned(warning));
        }
        for listener in &self.listeners {
            text.push_str(&listener.show());
        }
        for upstream in &self.upstreams {
            text.push_str(&upstream.show());
        }
        let requests: Vec<String> = self
            .requests
            .iter()
            .map(|(verdict, count)| format!("{count} {}", visible(verdict)))
            .collect();
        line!(text, "requests: {}", requests.join(", "));
        if self.audit_lost > 0 {
            line!(text, "audit: {} records lost", self.audit_lost);
        }
        text
    }
}

impl Show for ListenerInfo {
    fn show(&self) -> String {
        let mut text = String::new();
        line!(
            text,
            "listener `{}` for host `{}` on {}: {} connections open, {} accepted",
            visible(&self.name),
            visible(&self.host),
            visible(&self.sockets.join(", ")),
            self.open,
            self.accepted
        );
        let refused = [
            ("turned away", &self.turned_away),
            ("handshakes refused", &self.handshakes_refused),
        ];
        for (what, reasons) in refused {
            for (reason, count) in reasons {
                line!(text, "  {what}: {count} {}", visible(reason));
            }
        }
        for certificate in &self.certificates {
            line!(
                text,
                "  certificate for {} until {}",
                visible(&certificate.names.join(", ")),
                visible(&certificate.expires)
            );
        }
        text
    }
}

impl Show for UpstreamInfo {
    fn show(&self) -> String {
        let mut text = String::new();
        let health = if self.healthy { "up" } else { "down" };
        line!(
            text,
            "upstream `{}` at {} is {health}: {} requests, {} failures",
            visible(&self.name),
            visible(&self.address),
            self.requests,
            self.failures
        );
        if let Some(error) = &self.last_error {
            line!(text, "  last error: {}", visible(error));
        }
        text
    }
}
