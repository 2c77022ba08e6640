//! Records in the journal, as fields that `journalctl SWF_PRINCIPAL=...` finds.
//!
//! This is a datagram a record, in the native protocol of systemd's journal, made here: tracing-journald takes log events, whose fields
//! would have to be made where requests are served, and it does not tell when the journal took none.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::record::{Entry, Verdict};
use crate::log::is_stderr_journal;

/// The journal's socket.
const SOCKET: &str = "/run/systemd/journal/socket";

/// Whether records go to the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Journal {
    /// They do if standard error does.
    #[default]
    Auto,
    /// They do not.
    Off,
    /// They do.
    On,
}

impl Journal {
    /// The journal's socket, if records go there.
    pub(super) fn socket(self) -> io::Result<Option<JournalSocket>> {
        let is_on = match self {
            Self::Auto => is_stderr_journal() && Path::new(SOCKET).exists(),
            Self::Off => false,
            Self::On => true,
        };
        is_on
            .then(|| JournalSocket::open(Path::new(SOCKET)))
            .transpose()
    }
}

/// A socket that sends to the journal.
#[derive(Debug)]
pub(super) struct JournalSocket {
    socket: UnixDatagram,
    path: PathBuf,
}

impl JournalSocket {
    /// An error if nobody listens at `path`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // A journal that is behind must not hold up the file.
        socket.set_nonblocking(true)?;
        UnixDatagram::unbound()?.connect(path)?;
        Ok(Self {
            socket,
            path: path.to_owned(),
        })
    }

    /// Sends an entry. `line` is the same as JSON.
    pub(super) fn send(&self, entry: &Entry, line: &[u8]) -> io::Result<()> {
        // The journal may have been started again since, so the socket is not a connected one.
        self.socket
            .send_to(&datagram(entry, line), &self.path)
            .map(|_| ())
    }
}

/// An entry in the journal's form.
fn datagram(entry: &Entry, line: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2 * line.len() + 512);
    let mut field = |name: &str, value: &[u8]| {
        // The form that may hold any byte. The other ends at a line's end, and a client's text could then add fields.
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        bytes.extend_from_slice(value);
        bytes.push(b'\n');
    };
    field("MESSAGE", entry.to_string().as_bytes());
    field("PRIORITY", priority(entry));
    field("SYSLOG_IDENTIFIER", b"swf-filter-listener");
    field("SWF_RECORD", line.trim_ascii_end());
    if let Entry::Request(record) = entry {
        let status = record.status.map(|status| status.to_string());
        let fields = [
            ("SWF_VERDICT", Some(record.verdict.name())),
            ("SWF_REASON", Some(&*record.reason)),
            ("SWF_LISTENER", Some(&*record.listener)),
            ("SWF_HOST", Some(&*record.host)),
            ("SWF_SOURCE", Some(&*record.source.to_string())),
            ("SWF_VPC", record.vpc.as_deref()),
            ("SWF_ENDPOINT", record.endpoint.as_deref()),
            ("SWF_ACCESS_KEY_ID", record.access_key_id.as_deref()),
            ("SWF_PRINCIPAL", record.principal.as_deref()),
            ("SWF_ACTION", record.action.as_deref()),
            ("SWF_RESOURCE", record.resource.as_deref()),
            ("SWF_STATUS", status.as_deref()),
            ("SWF_REQUEST_ID", record.request_id.as_deref()),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                field(name, value.as_bytes());
            }
        }
    }
    bytes
}

/// How urgent an entry is (RFC 5424, section 6.2.1).
fn priority(entry: &Entry) -> &'static [u8] {
    match entry {
        Entry::Lost(_) => b"4",
        Entry::Request(record) => match record.verdict {
            Verdict::Allowed => b"6",
            Verdict::Denied | Verdict::Refused => b"5",
            Verdict::Failed => b"4",
        },
    }
}
