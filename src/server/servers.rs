//! Several loops that serve together, each on a thread of its own.

use std::io;
use std::net::SocketAddr;
use std::panic;
use std::sync::mpsc;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use super::loop_set::{LoopMember, LoopSet};
use super::{BindError, Bound, Handle, ListenerConfig, Server, security_of};
use crate::connection::Service;
use crate::limits::Limits;
use crate::net::Net;

/// A turn that takes longer is reported. Its work is bounded to milliseconds, so something is wrong.
const STALLED: Duration = Duration::from_secs(1);

/// Serves one [`Service`] on any number of listeners, with several loops: one for each poller that is given.
///
/// Each loop has a service value of its own, so the service must not have state that all connections share. The limits
/// hold for all loops together. Clients are spread over the loops by their number.
///
/// ```no_run
/// # use latchkey::{Disconnect, Exchange, Limits, ListenerConfig, MioNet, Security, Served, Servers, Service};
/// # struct Echo;
/// # impl Service for Echo {
/// #     type Session = ();
/// #     fn open(&mut self, _: &mut Exchange<'_>) {}
/// #     fn serve(&mut self, (): &mut (), input: &[u8], exchange: &mut Exchange<'_>) -> Served {
/// #         exchange.reply().extend_from_slice(input);
/// #         Served::Used(input.len())
/// #     }
/// # }
/// let listener = ListenerConfig::new(([127, 0, 0, 1], 0).into(), Security::Plain);
/// let others = (1..4).map(|_| MioNet::new()).collect::<Result<Vec<_>, _>>()?;
/// let mut servers = Servers::new(MioNet::new()?, others, |_| Echo, vec![listener], Limits::default())?;
/// servers.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Servers<N: Net, S: Service> {
    /// It accepts, and has the connections of operators.
    first: Server<N, S>,
    others: Vec<Server<N, S>>,
}

impl<N: Net, S: Service> Servers<N, S> {
    /// Binds the listeners, and makes a loop with each poller. `service` makes the service of the loop with the given
    /// index.
    ///
    /// # Errors
    ///
    /// The first listener whose address cannot be bound.
    pub fn new(
        mut first: N,
        others: Vec<N>,
        service: impl FnMut(usize) -> S,
        listeners: Vec<ListenerConfig>,
        limits: Limits,
    ) -> Result<Self, BindError> {
        let sockets = Bound::new(&mut first, &limits, listeners.iter().map(|listener| listener.address))?;
        Ok(Self::on(sockets, first, others, service, listeners, limits))
    }

    /// The same on sockets that `first` has bound.
    pub(crate) fn on(
        sockets: Bound<N>,
        first: N,
        others: Vec<N>,
        mut service: impl FnMut(usize) -> S,
        mut listeners: Vec<ListenerConfig>,
        limits: Limits,
    ) -> Self {
        // Loops without the sockets know the addresses too.
        listeners.iter_mut().zip(sockets.addresses()).for_each(|(listener, bound)| listener.address = bound);
        let wakes = others.iter().map(Net::waker).collect();
        let (member, members) = LoopSet::of_loops(first.waker(), wakes, &security_of(&listeners), first.now().instant);
        let mut make = move |membership: LoopMember<N::Socket>, sockets, net| {
            let service = service(membership.index());
            Server::in_set(membership, sockets, net, service, listeners.clone(), limits.clone())
        };
        let first = make(member, Some(sockets), first);
        Self { first, others: members.into_iter().zip(others).map(|(member, net)| make(member, None, net)).collect() }
    }

    /// The bound addresses, in the order of the listeners.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.first.listeners.addresses()
    }

    /// A handle to stop all loops, or to replace their policies, from any thread.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.first.handle()
    }

    /// The first loop: it accepts, and has the connections of operators.
    pub fn first_mut(&mut self) -> &mut Server<N, S> {
        &mut self.first
    }

    /// All loops, the first one first, to be driven by the caller.
    #[doc(hidden)]
    pub fn into_loops(self) -> Vec<Server<N, S>> {
        std::iter::once(self.first).chain(self.others).collect()
    }
}

impl<N, S> Servers<N, S>
where
    N: Net + Send,
    N::Socket: Send,
    N::Listener: Send,
    S: Service + Send,
    S::Session: Send,
{
    /// Serves until [`Handle::stop`] has been called and all connections are closed. A single loop runs on the calling
    /// thread.
    ///
    /// # Errors
    ///
    /// A poller's, which no client can cause, or a thread cannot be made. All loops end then.
    ///
    /// # Panics
    ///
    /// If a loop panics: the others are stopped first.
    pub fn run(&mut self) -> io::Result<()> {
        if self.others.is_empty() {
            return self.first.run();
        }
        let set = self.first.membership.set().clone();
        run_all(std::iter::once(&mut self.first).chain(&mut self.others), &set)
    }
}

fn run_all<'a, N, S>(loops: impl Iterator<Item = &'a mut Server<N, S>>, set: &LoopSet) -> io::Result<()>
where
    N: Net + Send,
    N::Socket: Send,
    N::Listener: Send,
    N: 'a,
    S: Service + Send + 'a,
    S::Session: Send,
{
    thread::scope(|scope| {
        let (ended, ends) = mpsc::channel();
        let mut threads: Vec<ScopedJoinHandle<'_, io::Result<()>>> = Vec::new();
        let mut failed = Ok(());
        for (index, server) in loops.enumerate() {
            let end = End { ended: ended.clone(), set, is_done: false };
            let body = move || {
                let mut end = end;
                let result = server.run();
                end.is_done = result.is_ok();
                result
            };
            match thread::Builder::new().name(format!("loop-{index}")).spawn_scoped(scope, body) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    failed = Err(error);
                    set.abandon();
                    break;
                }
            }
        }
        drop(ended);
        report_stalls(&ends, set);
        for thread in threads {
            match thread.join() {
                Ok(result) => failed = failed.and(result),
                Err(payload) => panic::resume_unwind(payload),
            }
        }
        failed
    })
}

/// A loop's thread ends when this is dropped.
struct End<'a> {
    ended: mpsc::Sender<()>,
    set: &'a LoopSet,
    is_done: bool,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.set.abandon();
        }
        // It fails only if nobody waits.
        let _ = self.ended.send(());
    }
}

/// Until all loops have ended, reports those whose turn does not end.
fn report_stalls(ends: &mpsc::Receiver<()>, set: &LoopSet) {
    let mut before = set.turns();
    loop {
        match ends.recv_timeout(STALLED) {
            Ok(()) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let turns = set.turns();
                let pairs = turns.iter().zip(&before).enumerate();
                for (index, _) in pairs.filter(|(_, (now, before))| now == before && *now % 2 == 1) {
                    tracing::error!(thread = index, "a loop has not ended its turn for a second");
                }
                before = turns;
            }
        }
    }
}
