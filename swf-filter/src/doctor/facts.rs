//! What was seen of a machine, without any judgement of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::config::XdpMode;
use crate::control::api::{InterfaceInfo, Status};
use crate::dataplane::interfaces::Program;
use crate::listener::status::ListenerStatus;

/// What was seen, or why it could not be looked at.
pub(super) type Seen<T> = Result<T, String>;

/// All that was seen.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) now: Timestamp,
    pub(super) machine: Machine,
    pub(super) config: Read<Settings>,
    pub(super) policy: Option<Read<Policy>>,
    /// None where config.toml tells of none.
    pub(super) interfaces: Option<Seen<Interfaces>>,
    pub(super) daemon: Option<Asked<Status>>,
    /// What a reload would change, where the files are others than those in force.
    pub(super) difference: Option<Seen<usize>>,
    pub(super) directories: Vec<Directory>,
    /// None where there is no listener.toml.
    pub(super) listener: Option<Read<Listener>>,
    pub(super) units: Seen<Vec<Unit>>,
}

/// Files that were read.
#[derive(Clone, Debug)]
pub(super) enum Read<T> {
    /// They are right.
    Right(T),
    /// They are wrong: what is said of them.
    Wrong(Vec<String>),
    /// This user may not read them, which says nothing of them.
    Unseen(String),
}

/// What became of a question over a socket.
#[derive(Clone, Debug)]
pub(super) enum Asked<T> {
    /// There is an answer.
    Answered(Box<T>),
    /// Nobody answers.
    Nobody(String),
    /// This user may not ask.
    Unseen(String),
}

/// Kernel and clock.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) release: String,
    pub(super) btf: bool,
    /// Effective capabilities of this process, by number.
    pub(super) capabilities: Seen<u64>,
    /// Bytes that this process may lock; none if there is no limit.
    pub(super) locked: Option<u64>,
    /// `kernel.unprivileged_bpf_disabled`.
    pub(super) unprivileged: Seen<String>,
    /// `net.core.bpf_jit_enable`.
    pub(super) jit: Seen<String>,
    /// Whether something keeps the clock right.
    pub(super) synchronised: Seen<bool>,
}

/// What config.toml says, as far as anything here depends on it.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) pins: PathBuf,
    /// Whether these are in a bpf file system.
    pub(super) bpf: Seen<bool>,
    /// Why others could change them, if they could.
    pub(super) open: Seen<Option<String>>,
    pub(super) mode: XdpMode,
}

/// What the policy says, likewise.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) doubts: usize,
    /// The hash of its text.
    pub(super) hash: String,
    pub(super) vlans: bool,
}

/// Interfaces that config.toml names.
#[derive(Clone, Debug, Default)]
pub(super) struct Interfaces {
    /// Those that are there.
    pub(super) present: Vec<Interface>,
    /// Names that none has.
    pub(super) absent: Vec<String>,
    /// Globs that none fits.
    pub(super) unmatched: Vec<String>,
}

/// An interface.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) mtu: u32,
    /// None for those that are no hardware, or whose driver cannot be told.
    pub(super) driver: Option<String>,
    /// The XDP program on it, whosever it is.
    pub(super) program: Option<Program>,
    /// Whether that program is swf-filter's.
    pub(super) ours: Seen<bool>,
    /// What the daemon says of it.
    pub(super) told: Option<InterfaceInfo>,
    /// Whether the driver says that it runs XDP programs.
    pub(super) native: Seen<bool>,
    /// Offloads that are on.
    pub(super) offloads: Seen<BTreeSet<String>>,
    /// None where there are no such things.
    pub(super) channels: Option<Channels>,
}

/// Queues of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Channels {
    pub(super) combined: u32,
    pub(super) most: u32,
}

/// A directory that is written to.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    /// What it is for.
    pub(super) what: &'static str,
    pub(super) path: PathBuf,
    pub(super) room: Seen<Room>,
}

/// Whether something can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Whether this user may write there.
    pub(super) writable: bool,
    /// Whether this user is root, whose not being able to write means that nobody is.
    pub(super) root: bool,
    /// Whether the file system is read-only.
    pub(super) read_only: bool,
    /// Bytes that are free for whoever is not root.
    pub(super) bytes: u64,
    /// Files that may still be made; none where that is not counted.
    pub(super) files: Option<u64>,
}

/// The listener, from its files and from itself.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    pub(super) certificates: Vec<Certificates>,
    /// Access keys, and keys of session tokens.
    pub(super) keys: Read<()>,
    pub(super) doors: Vec<Door>,
    pub(super) status: Asked<ListenerStatus>,
}

/// Certificates of a `[[listener]]`.
#[derive(Clone, Debug)]
pub(super) struct Certificates {
    pub(super) listener: String,
    pub(super) loaded: Read<Loaded>,
}

/// What their files hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Loaded {
    /// The file, and when its first certificate runs out.
    pub(super) ends: Vec<(PathBuf, Timestamp)>,
    /// What the listener itself finds doubtful, but for what has run out.
    pub(super) doubts: Vec<String>,
}

/// A socket of a `[[listener]]`.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) listener: String,
    pub(super) socket: String,
    pub(super) knock: Knock,
}

/// What came of connecting to it.
#[derive(Clone, Debug)]
pub(super) enum Knock {
    /// TLS, with one of the certificates in the files.
    Opened,
    /// TLS, with a certificate that is in no file.
    OtherCertificate,
    /// The connection was made, and then closed or not answered.
    Closed(String),
    /// Somebody listens. More was not tried, and why.
    Listening(String),
    /// Nobody listens.
    Refused(SocketAddr, String),
    /// It was not tried.
    Untried(String),
}

/// A unit of systemd.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) name: &'static str,
    /// Whether there is a file of it.
    pub(super) installed: bool,
    /// Whether a start of the machine starts it.
    pub(super) enabled: bool,
}
