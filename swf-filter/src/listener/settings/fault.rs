//! What makes listener.toml wrong, and no other file.

use std::fmt;

use swf_filter_core::prefix::text::excerpt;
use thiserror::Error;

use super::{MAX_CONNECTIONS, Socket};
use crate::toml_reader::{Explain, Section};

/// What makes listener.toml wrong, and no other file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Fault {
    /// An address of an upstream is there twice.
    #[error("`{found}` is an address of this upstream twice", found = excerpt(.found))]
    AddressTwice {
        /// The address as written the second time.
        found: String,
    },
    /// What is signed with credentials would be sent without TLS.
    #[error("what is signed with AWS credentials would go to `{found}` without TLS", found = excerpt(.found))]
    Clear {
        /// The address as written.
        found: String,
    },
    /// A number of connections that is 0, or too high.
    #[error("`{found}` is not a number of connections", found = excerpt(.found))]
    Connections {
        /// The number as written.
        found: String,
    },
    /// A field is missing that another one needs.
    #[error("{needed_by} without `{field}`")]
    Lacking {
        /// The field.
        field: &'static str,
        /// What needs it, in words.
        needed_by: &'static str,
    },
    /// A required field of a block is not there.
    #[error("{title} without `{field}`", title = section.title)]
    MissingField {
        /// The kind of block.
        section: &'static Section,
        /// The field.
        field: &'static str,
    },
    /// A name is given to two blocks of a kind.
    #[error("{title} `{name}` is defined twice", title = section.title)]
    NameTwice {
        /// The kind of block.
        section: &'static Section,
        /// The name.
        name: String,
    },
    /// A text is not an address of an upstream.
    #[error("`{found}` is not the address of an upstream: {problem}", found = excerpt(.found))]
    NotServer {
        /// The address as written.
        found: String,
        /// What is wrong with it.
        problem: ServerProblem,
    },
    /// No interface can have a name.
    #[error("no interface can be called `{found}`", found = excerpt(.found))]
    Device {
        /// The name.
        found: String,
    },
    /// A text is not a socket.
    #[error("`{found}` cannot be listened on", found = excerpt(.found))]
    NotSocket {
        /// The text.
        found: String,
        /// The socket that was most likely meant.
        meant: Option<String>,
    },
    /// A port is 0, which stands for any.
    #[error("`{found}` has port 0", found = excerpt(.found))]
    PortZero {
        /// The address as written.
        found: String,
    },
    /// A text is not a region.
    #[error("`{found}` is not a region", found = excerpt(.found))]
    Region {
        /// The text.
        found: String,
    },
    /// An address and the one that stands for all of them, with the same port.
    #[error("`{socket}` and `{other}` cannot both be listened on")]
    SocketsOverlap {
        /// The later one.
        socket: Socket,
        /// The earlier one.
        other: Socket,
    },
    /// A socket is there twice.
    #[error("`{socket}` is listened on twice")]
    SocketTwice {
        /// The socket.
        socket: Socket,
    },
    /// A field that would do nothing.
    #[error("`{field}` without {needs}")]
    Superfluous {
        /// The field.
        field: &'static str,
        /// What it belongs to, in words.
        needs: &'static str,
    },
    /// A name that no socket of systemd can have.
    #[error("systemd gives no socket the name `{found}`", found = excerpt(.found))]
    SystemdName {
        /// The name as written.
        found: String,
    },
    /// A listener names an upstream that is nowhere.
    #[error("there is no upstream `{name}`", name = excerpt(.name))]
    UnknownUpstream {
        /// The name.
        name: String,
        /// A name that looks like it.
        nearest: Option<String>,
    },
}

/// What is wrong with an address of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerProblem {
    /// Its host is neither a name nor an address.
    Host,
    /// A path.
    Path,
    /// Its port is no number, or too high.
    Port,
    /// A query or a fragment.
    Query,
    /// Neither `http://` nor `https://`.
    Scheme,
    /// It does not read as a URI.
    Uri,
    /// A user, perhaps with a password.
    User,
}

impl fmt::Display for ServerProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "its host is neither a name nor an IP address",
            Self::Path => "it has a path",
            Self::Port => "its port is not a number from 1 to 65535",
            Self::Query => "it has a query or a fragment",
            Self::Scheme => "it does not begin with `https://` or `http://`",
            Self::Uri => "it is not a URI",
            Self::User => "it names a user",
        })
    }
}

impl Explain for Fault {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::AddressTwice { .. } => "take one of them away".into(),
            Self::Clear { .. } => {
                "write `https://`; `http://` is for this machine only, named by its address, such as `http://127.0.0.1:8080`".into()
            }
            Self::Connections { .. } => format!("write a number from 1 to {MAX_CONNECTIONS}"),
            Self::Lacking { field, .. } | Self::MissingField { field, .. } => {
                format!("add `{field} = ...`")
            }
            Self::NameTwice { .. } => "rename one of them".into(),
            Self::NotServer { .. } => {
                "write `https://` or `http://`, a host, and `:` and a port if it is not the usual one, and nothing more"
                    .into()
            }
            Self::Device { .. } => "write the name of an interface after `%`, as in `0.0.0.0:443%eth1`".into(),
            Self::NotSocket {
                meant: Some(meant), ..
            } => format!("write `{meant}`"),
            Self::NotSocket { meant: None, .. } => {
                "write an IP address and a port, such as `0.0.0.0:443` or `[::]:443`, or `systemd:NAME` for a socket \
                 that systemd hands over"
                    .into()
            }
            Self::PortZero { .. } => "write a port from 1 to 65535".into(),
            Self::Region { .. } => "write it as AWS does, such as `us-east-1`".into(),
            Self::SocketsOverlap { .. } => {
                "the kernel refuses an address beside the one that stands for all; list each address, or only that one"
                    .into()
            }
            Self::SocketTwice { .. } => "take it away in one place; a socket belongs to one listener".into(),
            Self::Superfluous { field, .. } => format!("add that, or take `{field}` away"),
            Self::SystemdName { .. } => {
                "write what `FileDescriptorName=` of the socket unit says: 1 to 255 characters of ASCII without `:`".into()
            }
            Self::UnknownUpstream {
                nearest: Some(nearest),
                ..
            } => format!("did you mean `{nearest}`?"),
            Self::UnknownUpstream { nearest: None, .. } => "define it with `[[upstream]]`".into(),
        })
    }

    fn label(&self) -> &'static str {
        match self {
            Self::AddressTwice { .. } | Self::NameTwice { .. } | Self::SocketTwice { .. } => {
                "again here"
            }
            Self::MissingField { .. } => "in this block",
            _ => "here",
        }
    }

    fn other_label(&self) -> &'static str {
        match self {
            Self::NameTwice { .. } => "first defined here",
            Self::SocketsOverlap { .. } => "the other is here",
            _ => "first written here",
        }
    }
}
