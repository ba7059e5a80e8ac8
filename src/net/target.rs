//! A server's addresses, looked up away from the loop.

use std::io;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

use super::Address;

/// The addresses of one backend, for dialing.
///
/// A name is resolved before the first connection and again when no address answers. A lookup may block for many
/// seconds, so the loop only requests it; the other end, [`Lookup`], does it on its own thread.
#[derive(Clone, Debug)]
pub struct Target {
    addresses: Arc<Mutex<Vec<Address>>>,
    wishes: SyncSender<()>,
}

/// The end of a [`Target`] that looks addresses up.
#[derive(Debug)]
pub struct Lookup {
    addresses: Arc<Mutex<Vec<Address>>>,
    wishes: Receiver<()>,
}

impl Target {
    /// A backend with these addresses, the preferred one first.
    #[must_use]
    pub fn new(addresses: Vec<Address>) -> (Self, Lookup) {
        let addresses = Arc::new(Mutex::new(addresses));
        // One pending request is enough, however many callers want one.
        let (sender, wishes) = mpsc::sync_channel(1);
        (Self { addresses: Arc::clone(&addresses), wishes: sender }, Lookup { addresses, wishes })
    }

    /// The addresses known now.
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Requests a new lookup, for later connections.
    pub fn refresh(&self) {
        // Full means that a request is pending already; closed, that these addresses never change.
        let _ = self.wishes.try_send(());
    }
}

impl Lookup {
    /// Looks addresses up on request, until all [`Target`]s are gone. If a lookup fails the old addresses stay.
    pub fn run(self, mut resolve: impl FnMut() -> io::Result<Vec<Address>>) {
        while self.wishes.recv().is_ok() {
            match resolve() {
                Ok(fresh) if fresh.is_empty() => {
                    tracing::warn!("the name has no address any more; keeping the old addresses");
                }
                Ok(fresh) => *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = fresh,
                Err(error) => tracing::warn!(%error, "name resolution failed; keeping the old addresses"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_requests_cause_one_lookup_and_a_failed_one_keeps_the_addresses() {
        let (old, new) = (Address::Unix("/old".into()), Address::Unix("/new".into()));
        let (target, lookup) = Target::new(vec![old.clone()]);
        target.refresh();
        target.refresh();
        let mut calls = 0;
        let mut asker = Some(target);
        lookup.run(|| {
            calls += 1;
            let known = asker.as_ref().map(Target::addresses).unwrap_or_default();
            assert_eq!(known, [if calls < 4 { old.clone() } else { new.clone() }]);
            // No request can come after the fourth call.
            asker = asker.take().filter(|_| calls < 4);
            asker.iter().for_each(Target::refresh);
            match calls {
                1 => Err(io::ErrorKind::TimedOut.into()),
                2 => Ok(Vec::new()),
                _ => Ok(vec![new.clone()]),
            }
        });
        assert_eq!(calls, 4);
    }
}
