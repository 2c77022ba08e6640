//! Looks at the listener: its files as it would read them, its sockets as a client would, and what it says itself.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::AddressAttribute;
use swf_filter_core::session::Ring;

use super::facts::{Asked, Certificates, Directory, Door, Knock, Listener, Loaded, Read, Seen};
use super::knock::{connect, knock};
use super::look::{ask, is_denied, read};
use super::machine::directory;
use crate::control::socket;
use crate::keys::{self, Keys, KeysError, Places};
use crate::listener::settings::{self, Proxy, Settings, Socket};
use crate::listener::status::ListenerStatus;
use crate::listener::tls::{Certificate, Doubt, Tls, TlsError};

/// Everything about the listener. Directories that it writes to are added to `directories`.
pub(super) async fn listener(path: &Path, directories: &mut Vec<Directory>) -> Read<Listener> {
    let settings = match read(Settings::load(path)) {
        Read::Right(settings) => settings,
        Read::Unseen(why) => return Read::Unseen(why),
        Read::Wrong(lines) => return Read::Wrong(lines),
    };
    let paths = &settings.paths;
    directories.push(directory("the listener's state", &paths.state));
    if let Some(folder) = paths.audit.as_deref().and_then(Path::parent) {
        directories.push(directory("the audit log's directory", folder));
    }
    let status = ask(&socket(&paths.listener_run), "/v1/status").await;
    let own = own_addresses().await.map_err(|error| format!("{error:#}"));
    let mut certificates = Vec::new();
    let mut doors = Vec::new();
    for listener in &settings.listeners {
        let tls = Tls::new(&listener.certificates, &listener.clients, listener.http);
        let shown = tls.as_ref().map(|tls| tls.loaded().certificates().to_vec());
        let shown = shown.unwrap_or_default();
        for socket in &listener.sockets {
            doors.push(Door {
                listener: listener.name.to_string(),
                socket: socket.to_string(),
                knock: door(listener, socket, &shown, &own, &status).await,
            });
        }
        certificates.push(Certificates {
            listener: listener.name.to_string(),
            loaded: loaded(tls),
        });
    }
    Read::Right(Listener {
        certificates,
        keys: keys(&Places::new(paths)),
        doors,
        status,
    })
}

fn loaded(tls: Result<Tls, TlsError>) -> Read<Loaded> {
    let loaded = match tls {
        Ok(tls) => tls.loaded(),
        Err(TlsError::Unreadable { error, path }) if is_denied(&error) => {
            return Read::Unseen(format!("cannot read `{}`: {error}", path.display()));
        }
        Err(error) => return Read::Wrong(vec![error.to_string()]),
    };
    // The first of each file is judged by its end.
    let is_first = |doubt: &&Doubt| !matches!(doubt, Doubt::Expired { position: 1, .. });
    let doubts = loaded.doubts().iter().filter(is_first);
    let ends = loaded.certificates().iter();
    Read::Right(Loaded {
        ends: ends
            .map(|certificate| (certificate.chain.clone(), certificate.not_after))
            .collect(),
        doubts: doubts.map(ToString::to_string).collect(),
    })
}

fn keys(places: &Places) -> Read<()> {
    let session = || -> Result<()> {
        Ring::new(keys::session_keys(places)?)?;
        Ok(())
    };
    let read = Keys::load(places).map_err(Into::into);
    let Err(error) = read.and_then(|_| session()) else {
        return Read::Right(());
    };
    let words = format!("{error:#}");
    match error.downcast_ref() {
        Some(KeysError::Unreadable { error, .. }) if is_denied(error) => Read::Unseen(words),
        _ => Read::Wrong(vec![words]),
    }
}

async fn door(
    listener: &settings::Listener,
    socket: &Socket,
    shown: &[Certificate],
    own: &Seen<BTreeSet<IpAddr>>,
    status: &Asked<ListenerStatus>,
) -> Knock {
    let address = match socket {
        Socket::Address(address) => *address,
        Socket::Device { .. } | Socket::Inherited(_) => {
            return told(listener, socket, status);
        }
    };
    let address = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => {
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port())
        }
        IpAddr::V6(ip) if ip.is_unspecified() => {
            SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port())
        }
        _ => address,
    };
    match own {
        Ok(own) if address.ip().is_loopback() || own.contains(&address.ip()) => {}
        Ok(_) => {
            return Knock::Refused(address, "this machine does not have the address".to_owned());
        }
        Err(why) => return Knock::Untried(why.clone()),
    }
    if listener.proxy == Proxy::Required {
        return match connect(address).await {
            Ok(_) => Knock::Listening(
                "TLS was not tried, since a PROXY header has to come first".to_owned(),
            ),
            Err(knock) => knock,
        };
    }
    let name = shown.first().and_then(|first| first.names.first());
    // Any label will do for the one that a wildcard stands for.
    let name = name.map(|name| name.replacen('*', "doctor", 1));
    let known: Vec<String> = shown.iter().map(|one| one.sha256.to_string()).collect();
    knock(address, name.as_deref(), &known).await
}

/// Sockets that connections from this machine do not come to, or whose address systemd knows.
fn told(listener: &settings::Listener, socket: &Socket, status: &Asked<ListenerStatus>) -> Knock {
    let Asked::Answered(status) = status else {
        return Knock::Untried("only a running listener can tell".to_owned());
    };
    let socket = socket.to_string();
    let mut listeners = status.listeners.iter();
    let has = listeners.any(|one| *one.name == *listener.name && one.sockets.contains(&socket));
    if has {
        Knock::Listening("the listener says so, and nothing else can tell from here".to_owned())
    } else {
        Knock::Untried(
            "the running listener does not know it: restart it for changes of listener.toml"
                .to_owned(),
        )
    }
}

/// The addresses of this machine. Nothing is ever sent to another.
async fn own_addresses() -> Result<BTreeSet<IpAddr>> {
    let (connection, handle, _) =
        rtnetlink::new_connection().context("cannot open a netlink socket")?;
    tokio::spawn(connection);
    let messages: Vec<_> = handle
        .address()
        .get()
        .execute()
        .try_collect()
        .await
        .context("cannot list addresses")?;
    let own = messages.into_iter().filter_map(|message| {
        let (mut local, mut address) = (None, None);
        for attribute in message.attributes {
            match attribute {
                AddressAttribute::Local(value) => local = Some(value),
                AddressAttribute::Address(value) => address = Some(value),
                _ => {}
            }
        }
        // Where both are told, the other one is the peer's.
        local.or(address)
    });
    Ok(own.collect())
}
