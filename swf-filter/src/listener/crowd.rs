//! How much of something each of many has, so that nobody has too much of it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use super::arrival::Arrival;

/// Who is counted. What comes through an endpoint has the address of a balancer, which all its clients share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Client {
    /// An IPv4 address, or the network of an IPv6 address.
    Address(IpAddr),
    Endpoint(Box<str>),
}

/// Bits of an IPv6 address that are a host's own (RFC 4291, 2.5.4). It has as many addresses in there as it likes (RFC 7934), so
/// that counting each would count nothing.
const OWN_BITS: u32 = 64;

impl Client {
    pub(super) fn of(arrival: &Arrival) -> Self {
        match arrival.endpoint() {
            Some(endpoint) => Self::Endpoint(endpoint.into()),
            None => Self::Address(network(arrival.source())),
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let network = address.to_bits() >> OWN_BITS << OWN_BITS;
            Ipv6Addr::from_bits(network).into()
        }
    }
}

/// How much each has, and all together.
pub(super) struct Crowd {
    most_of_one: usize,
    most_of_all: usize,
    taken: Mutex<Taken>,
}

struct Taken {
    each: HashMap<Client, usize>,
    all: usize,
}

impl Crowd {
    pub(super) fn new(most_of_one: usize, most_of_all: usize) -> Arc<Self> {
        Arc::new(Self {
            most_of_one,
            most_of_all,
            taken: Mutex::new(Taken {
                each: HashMap::new(),
                all: 0,
            }),
        })
    }

    /// Takes so much until what is given back is dropped. None if that is too much.
    pub(super) fn take(self: &Arc<Self>, client: Client, amount: usize) -> Option<Share> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all = taken.all.saturating_add(amount);
        let own = taken.each.get(&client).copied().unwrap_or_default();
        let own = own.saturating_add(amount);
        if own > self.most_of_one || all > self.most_of_all {
            return None;
        }
        taken.all = all;
        taken.each.insert(client.clone(), own);
        Some(Share {
            crowd: Arc::clone(self),
            client,
            amount,
        })
    }
}

/// What one has taken.
pub(super) struct Share {
    crowd: Arc<Crowd>,
    client: Client,
    amount: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        let taken = self.crowd.taken.lock();
        let mut taken = taken.unwrap_or_else(PoisonError::into_inner);
        taken.all -= self.amount;
        if let Some(own) = taken.each.get_mut(&self.client) {
            *own -= self.amount;
            if *own == 0 {
                taken.each.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::listener::ways;

    #[test]
    fn a_network_of_ipv6_is_one_client_and_each_address_of_ipv4_is_another() {
        let client = |address: &str| {
            let ways = Arc::new(ways::unknown());
            let peer = SocketAddr::new(address.parse().unwrap(), 4000);
            Client::of(&Arrival::direct(peer, ways))
        };
        assert_eq!(client("2001:db8:1:2::3"), client("2001:db8:1:2:ffff::4"));
        assert_ne!(client("2001:db8:1:2::3"), client("2001:db8:1:3::3"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
        assert_eq!(client("192.0.2.1"), client("192.0.2.1"));
    }

    #[test]
    fn those_who_leave_make_room() {
        let client = |endpoint: &str| Client::Endpoint(endpoint.into());
        let crowd = Crowd::new(2, 3);
        let shares = [
            crowd.take(client("a"), 1),
            crowd.take(client("a"), 1),
            crowd.take(client("b"), 1),
        ];
        assert!(shares.iter().all(Option::is_some));
        assert!(crowd.take(client("a"), 1).is_none());
        assert!(
            crowd.take(client("b"), 1).is_none(),
            "there are three in all"
        );
        drop(shares);
        assert!(crowd.taken.lock().unwrap().each.is_empty());
        assert!(crowd.take(client("a"), 3).is_none());
        assert!(crowd.take(client("a"), 2).is_some());
        assert!(crowd.take(client("a"), usize::MAX).is_none());
    }
}
