//! Sockets that are listened on: opened here, or handed over by systemd.
//!
//! Sockets from systemd need no privilege for ports below 1024, and hold connections while the listener restarts. What is
//! handed over is taken by its name, and refused unless it is a TCP socket that listens.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockRef, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

use super::limits::ANSWER_TIME;
use super::settings::{Listener, Socket};

/// Why a socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// An address cannot be listened on.
    #[error(
        "listener `{listener}` cannot listen on {address}: {error}{}",
        way_out(error)
    )]
    Address {
        /// The listener.
        listener: Arc<str>,
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// A socket that systemd handed over is of no use.
    #[error(
        "listener `{listener}`: systemd's socket `{name}` cannot be used: {error}; its unit needs `ListenStream=` with an address and a port, and `Accept=no`"
    )]
    Inherited {
        /// The listener.
        listener: Arc<str>,
        /// The socket.
        name: Box<str>,
        /// Why.
        error: io::Error,
    },
    /// systemd handed over no such socket, or another listener took it.
    #[error(
        "listener `{listener}`: systemd handed over no socket `{name}` that is not taken yet{}; give a .socket unit `FileDescriptorName={name}` and `Service=` with this service, and start that unit",
        list(left)
    )]
    Missing {
        /// The listener.
        listener: Arc<str>,
        /// The socket.
        name: Box<str>,
        /// Those that are there.
        left: Vec<Box<str>>,
    },
}

/// Sockets that systemd handed over (`sd_listen_fds(3)`).
pub struct Inherited {
    sockets: ListenFd,
    /// None once it is taken.
    names: Vec<Option<Box<str>>>,
}

impl Inherited {
    /// Takes those of this process, and forgets them in the environment: call it before there are threads.
    #[must_use]
    pub fn from_environment() -> Self {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self::named(ListenFd::from_env(), &names)
    }

    /// No sockets.
    #[must_use]
    pub fn none() -> Self {
        Self::named(ListenFd::empty(), "")
    }

    /// Names of sockets that no listener took. Clients that connect to them wait in vain.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        self.names.iter().flatten().map(|name| &**name)
    }

    fn named(sockets: ListenFd, names: &str) -> Self {
        let names = names.split(':').chain(std::iter::repeat("unknown"));
        let names = names.take(sockets.len()).map(|name| Some(name.into()));
        Self {
            names: names.collect(),
            sockets,
        }
    }

    /// All sockets of a name: a unit with several `ListenStream=` gives them one.
    fn take(&mut self, name: &str) -> io::Result<Vec<TcpListener>> {
        let mut taken = Vec::new();
        for (index, its) in self.names.iter_mut().enumerate() {
            if its.as_deref() == Some(name)
                && let Some(socket) = self.sockets.take_tcp_listener(index)?
            {
                *its = None;
                taken.push(checked(socket)?);
            }
        }
        Ok(taken)
    }
}

/// Opens all sockets of a listener.
///
/// # Panics
///
/// Outside of a runtime of tokio.
pub fn open(
    listener: &Listener,
    inherited: &mut Inherited,
) -> Result<Vec<TcpListener>, SocketError> {
    let mut open = Vec::new();
    for socket in &listener.sockets {
        match socket {
            Socket::Address(address) => open.push(bind(listener, *address, None)?),
            Socket::Device { address, device } => {
                open.push(bind(listener, *address, Some(device))?);
            }
            Socket::Inherited(name) => {
                let sockets = inherited
                    .take(name)
                    .map_err(|error| SocketError::Inherited {
                        listener: Arc::clone(&listener.name),
                        name: name.clone(),
                        error,
                    })?;
                if sockets.is_empty() {
                    return Err(SocketError::Missing {
                        listener: Arc::clone(&listener.name),
                        name: name.clone(),
                        left: inherited.left().map(Into::into).collect(),
                    });
                }
                open.extend(sockets);
            }
        }
    }
    Ok(open)
}

/// Prepares a connection that was accepted: answers go out at once, and a peer that is gone without a word, or does not take its
/// answer, is noticed.
pub fn prepare(connection: &TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let socket = SockRef::from(connection);
    // Also ends connections whose peer keeps its window shut (tcp(7), TCP_USER_TIMEOUT).
    socket.set_tcp_user_timeout(Some(ANSWER_TIME))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE))
}

fn bind(
    listener: &Listener,
    address: SocketAddr,
    device: Option<&str>,
) -> Result<TcpListener, SocketError> {
    listening(address, device).map_err(|error| SocketError::Address {
        listener: Arc::clone(&listener.name),
        address,
        error,
    })
}

fn listening(address: SocketAddr, device: Option<&str>) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart need not wait for connections of the old process to time out.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` is IPv6 alone whatever sysctl says, so that `0.0.0.0` can stand beside it.
        socket.set_only_v6(true)?;
    }
    if let Some(device) = device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn checked(socket: std::net::TcpListener) -> io::Result<TcpListener> {
    let invalid = |words| io::Error::new(io::ErrorKind::InvalidInput, words);
    let options = SockRef::from(&socket);
    if options.protocol()? != Some(Protocol::TCP) {
        return Err(invalid("it is not a TCP socket"));
    }
    if !options.is_listener()? {
        return Err(invalid("it does not listen"));
    }
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; `ss -ltnp` shows who does",
        io::ErrorKind::AddrNotAvailable => {
            "; no interface has this address: `ip address` shows those that there are"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE, or a .socket unit that hands the socket over"
        }
        _ => "",
    }
}

fn list(names: &[Box<str>]) -> String {
    if names.is_empty() {
        return String::new();
    }
    format!(" (there are: `{}`)", names.join("`, `"))
}

/// Connections that wait to be accepted. The kernel takes `net.core.somaxconn` if that is less, which is 4096 too.
const BACKLOG: i32 = 4096;

/// Without a byte, before the peer is asked whether it is still there. Polls are silent for 60 s.
const KEEP_ALIVE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests;
