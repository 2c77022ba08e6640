//! Where a connection comes from, as far as that is sure.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::Guard;
use swf_filter_core::admission::Way;

use super::ways::Ways;

/// Where a connection comes from. It does not change while the connection lasts; what it means changes with the policy and
/// with the machine's interfaces.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    peer: SocketAddr,
    view: SourceView,
}

/// Whether the peer of the connection is the client.
#[derive(Clone, Debug)]
enum SourceView {
    /// It is.
    Direct(Arc<Ways>),
    /// It is a trusted proxy, which says for whom it speaks.
    Proxied {
        source: IpAddr,
        endpoint: Option<Box<str>>,
    },
}

impl Arrival {
    /// From a client itself.
    pub(super) fn direct(peer: SocketAddr, ways: Arc<Ways>) -> Self {
        Self {
            peer,
            view: SourceView::Direct(ways),
        }
    }

    /// From a trusted proxy.
    pub(super) fn proxied(peer: SocketAddr, source: IpAddr, endpoint: Option<Box<str>>) -> Self {
        Self {
            peer,
            view: SourceView::Proxied { source, endpoint },
        }
    }

    /// The other end of the connection.
    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether a proxy told it.
    pub(super) fn is_proxied(&self) -> bool {
        matches!(self.view, SourceView::Proxied { .. })
    }

    /// The client's address.
    pub(super) fn source(&self) -> IpAddr {
        match self.view {
            SourceView::Direct(_) => self.peer.ip(),
            SourceView::Proxied { source, .. } => source,
        }
    }

    /// The VPC endpoint that a proxy told.
    pub(super) fn endpoint(&self) -> Option<&str> {
        match &self.view {
            SourceView::Direct(_) => None,
            SourceView::Proxied { endpoint, .. } => endpoint.as_deref(),
        }
    }

    /// How the client's packets may come in; in no way if that cannot be told. Those of a proxy's client do not.
    pub(super) fn ways(&self) -> Option<Guard<Arc<Vec<Way>>>> {
        match &self.view {
            SourceView::Direct(ways) => Some(ways.now()),
            SourceView::Proxied { .. } => None,
        }
    }
}
