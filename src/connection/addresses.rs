//! The number of connections of each address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::Limits;

/// The counts of all loops. It is locked when a connection begins and ends, and when its handshake ends, if addresses
/// are counted at all.
#[derive(Clone, Debug, Default)]
pub struct SharedAddresses(Arc<Mutex<Addresses>>);

impl SharedAddresses {
    fn lock(&self) -> MutexGuard<'_, Addresses> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a new connection of an operator or client, and its handshake if there will be one.
    pub(super) fn enter(&self, place: Place, handshaking: bool, limits: &Limits) -> AddressVerdict {
        if limits.connections_per_address.is_none() && limits.handshakes_per_address.is_none() {
            return AddressVerdict::Uncounted;
        }
        self.lock().enter(place, handshaking, limits)
    }

    /// Its handshake is done.
    pub(super) fn handshake_done(&self, counted: &mut Counted) {
        self.lock().handshake_done(counted);
    }

    /// The connection is closed.
    pub(super) fn leave(&self, counted: Counted) {
        self.lock().leave(counted);
    }

    /// Handshakes under way, if they are counted.
    #[must_use]
    pub fn handshakes(&self) -> usize {
        self.lock().counts.values().map(|count| count.handshakes).sum()
    }

    /// Addresses that have connections, if they are counted.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.lock().counts.len()
    }
}

/// Counts connections and handshakes by address, if there is a limit on either.
///
/// One IPv6 host has a whole /64, so a /64 counts as one address.
#[derive(Debug, Default)]
struct Addresses {
    counts: BTreeMap<Place, Count>,
}

/// Whether the connection is an operator's, and its address: operators and clients are counted separately.
type Place = (bool, IpAddr);

#[derive(Debug, Default)]
struct Count {
    connections: usize,
    handshakes: usize,
}

/// The exceeded limit, for the log.
pub(super) const TOO_MANY_CONNECTIONS: &str = "too many connections from this address";
const TOO_MANY_HANDSHAKES: &str = "too many handshakes under way with this address";

/// What one connection is counted as.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    address: Place,
    handshaking: bool,
}

/// The decision on a connection by its address.
#[derive(Debug)]
pub(super) enum AddressVerdict {
    /// There is no limit on addresses.
    Uncounted,
    /// It may be served.
    Accepted(Counted),
    /// It exceeds the limit, but may read the refusal.
    Refused(Counted),
    /// It exceeds the limit on refusals too; the text names the exceeded limit.
    Dropped(&'static str),
}

impl Addresses {
    /// Counts a new connection of an operator or client, and its handshake if there will be one.
    fn enter(&mut self, (is_operator, address): Place, handshaking: bool, limits: &Limits) -> AddressVerdict {
        let address = (is_operator, site(address));
        let count = self.counts.entry(address).or_default();
        let most = limits.connections_per_address.unwrap_or(usize::MAX);
        let too_many_handshakes =
            handshaking && limits.handshakes_per_address.is_some_and(|most| count.handshakes >= most);
        if too_many_handshakes || count.connections >= most.saturating_add(limits.refusals) {
            if count.connections == 0 {
                self.counts.remove(&address);
            }
            return AddressVerdict::Dropped(if too_many_handshakes {
                TOO_MANY_HANDSHAKES
            } else {
                TOO_MANY_CONNECTIONS
            });
        }
        let counted = Counted { address, handshaking };
        let reception =
            if count.connections < most { AddressVerdict::Accepted(counted) } else { AddressVerdict::Refused(counted) };
        count.connections += 1;
        count.handshakes += usize::from(handshaking);
        reception
    }

    /// Its handshake is done.
    fn handshake_done(&mut self, counted: &mut Counted) {
        if std::mem::take(&mut counted.handshaking)
            && let Some(count) = self.counts.get_mut(&counted.address)
        {
            count.handshakes -= 1;
        }
    }

    /// The connection is closed.
    fn leave(&mut self, mut counted: Counted) {
        self.handshake_done(&mut counted);
        if let Some(count) = self.counts.get_mut(&counted.address) {
            count.connections -= 1;
            if count.connections == 0 {
                self.counts.remove(&counted.address);
            }
        }
    }
}

/// The address that is counted: for IPv6, its /64.
#[must_use]
pub fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connections: Option<usize>, handshakes: Option<usize>) -> Limits {
        Limits {
            connections_per_address: connections,
            handshakes_per_address: handshakes,
            refusals: 1,
            ..Limits::default()
        }
    }

    fn address(text: &str) -> Place {
        (false, text.parse().expect(text))
    }

    #[test]
    fn one_connection_beyond_the_limit_is_refused_and_the_next_is_dropped() {
        let (mut addresses, limits) = (Addresses::default(), limits(Some(2), None));
        let mut enter = |text: &str| addresses.enter(address(text), false, &limits);
        assert!(matches!(enter("192.0.2.1"), AddressVerdict::Accepted(_)));
        let second = enter("::ffff:192.0.2.1");
        assert!(matches!(enter("192.0.2.1"), AddressVerdict::Refused(_)));
        assert!(matches!(enter("192.0.2.1"), AddressVerdict::Dropped(TOO_MANY_CONNECTIONS)));
        assert!(matches!(enter("192.0.2.2"), AddressVerdict::Accepted(_)), "another address has its own limit");
        assert!(matches!(enter("2001:db8::1"), AddressVerdict::Accepted(_)));
        assert!(matches!(enter("2001:db8::2"), AddressVerdict::Accepted(_)));
        assert!(matches!(enter("2001:db8::ffff:0:3"), AddressVerdict::Refused(_)), "the same /64");
        assert!(matches!(enter("2001:db8:0:1::1"), AddressVerdict::Accepted(_)), "another /64");
        let mut operate = || addresses.enter((true, "192.0.2.1".parse().expect("an address")), false, &limits);
        assert!(
            matches!([operate(), operate()], [AddressVerdict::Accepted(_), AddressVerdict::Accepted(_)]),
            "counted apart"
        );
        assert!(matches!(operate(), AddressVerdict::Refused(_)), "and counted");
        let AddressVerdict::Accepted(second) = second else { panic!("an IPv4-mapped IPv6 address") };
        addresses.leave(second);
        assert!(matches!(addresses.enter(address("192.0.2.1"), false, &limits), AddressVerdict::Refused(_)));
    }

    #[test]
    fn handshakes_count_until_they_are_done_and_every_count_returns_to_zero() {
        let (mut addresses, limits) = (Addresses::default(), limits(None, Some(1)));
        let AddressVerdict::Accepted(mut first) = addresses.enter(address("::1"), true, &limits) else {
            panic!("welcome")
        };
        assert!(matches!(addresses.enter(address("::1"), true, &limits), AddressVerdict::Dropped(TOO_MANY_HANDSHAKES)));
        assert!(matches!(addresses.enter(address("::1"), false, &limits), AddressVerdict::Accepted(_)), "no handshake");
        addresses.handshake_done(&mut first);
        addresses.handshake_done(&mut first);
        let AddressVerdict::Accepted(second) = addresses.enter(address("::1"), true, &limits) else {
            panic!("welcome")
        };
        for counted in [second, first, Counted { address: address("::"), handshaking: false }] {
            addresses.leave(counted);
        }
        assert!(addresses.counts.is_empty());
        assert!(matches!(
            addresses.enter(address("::1"), true, &self::limits(None, Some(0))),
            AddressVerdict::Dropped(_)
        ));
        assert!(addresses.counts.is_empty());
    }
}
