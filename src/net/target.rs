//! A server's addresses, looked up away from the loop.

use std::io;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

use super::Address;

/// The addresses of one server, for whoever dials it.
///
/// A name is resolved before the first connection and again when no address answers. Looking up may block for many
/// seconds, so the loop only asks for it; the other end, [`Lookup`], does it on a thread of its own.
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
    /// A server with these addresses, the preferred one first.
    #[must_use]
    pub fn new(addresses: Vec<Address>) -> (Self, Lookup) {
        let addresses = Arc::new(Mutex::new(addresses));
        // One wish is enough, however many ask.
        let (sender, wishes) = mpsc::sync_channel(1);
        (Self { addresses: Arc::clone(&addresses), wishes: sender }, Lookup { addresses, wishes })
    }

    /// The addresses known now.
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for fresh addresses, for the connections to come.
    pub fn refresh(&self) {
        // Full means that somebody has asked already; closed, that these addresses never change.
        let _ = self.wishes.try_send(());
    }
}

impl Lookup {
    /// Looks addresses up whenever asked, until nobody can ask any more. When that fails the old ones stay.
    pub fn run(self, mut resolve: impl FnMut() -> io::Result<Vec<Address>>) {
        while self.wishes.recv().is_ok() {
            match resolve() {
                Ok(fresh) if fresh.is_empty() => tracing::warn!("a name has no address any more; keeping the old ones"),
                Ok(fresh) => *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = fresh,
                Err(error) => tracing::warn!(%error, "a name cannot be resolved; keeping the old addresses"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_looked_up_once_for_many_wishes_and_kept_on_failure() {
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
            // Nobody can ask any more after the fourth time.
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
