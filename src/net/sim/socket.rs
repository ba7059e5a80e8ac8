//! The handles: dropping one closes what it names.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;

use super::NetFault;
use super::end::{Breakage, EndId};
use super::state::{Happening, State};

/// One end of a simulated connection.
pub struct SimSocket {
    pub(super) state: Rc<RefCell<State>>,
    pub(super) id: EndId,
}

impl SimSocket {
    /// Whether a read would return bytes, the end of the stream or an error, for a peer that the test plays itself.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.state.borrow_mut().end(self.id).is_some_and(|end| end.is_readable())
    }

    /// Whether a write would take bytes or return an error.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.state.borrow_mut().is_writable(self.id)
    }

    /// The address of this end.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        self.state.borrow_mut().end(self.id).map_or(unknown, |end| end.local)
    }

    /// Whether a fault of the network, not the peer, has broken this connection.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        self.state.borrow_mut().end(self.id).is_some_and(|end| end.disturbed)
    }

    /// Whether its connection has reached the other end, and was taken or refused there.
    #[must_use]
    pub fn has_arrived(&self) -> bool {
        self.state.borrow_mut().end(self.id).is_none_or(|end| end.connected || end.broken.is_some())
    }

    /// How many of the bytes written here have not arrived at the other end.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let mut state = self.state.borrow_mut();
        let peer = state.end(self.id).and_then(|end| end.peer);
        peer.and_then(|peer| state.end(peer)).map_or(0, |end| end.in_flight.len())
    }

    /// Sends FIN.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.state.borrow_mut().shut_down(self.id)
    }
}

impl Read for SimSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.state.borrow_mut().read(self.id, buffer)
    }
}

impl Write for SimSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.state.borrow_mut().write(self.id, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        self.state.borrow_mut().close(self.id);
    }
}

/// A simulated listening socket. When dropped, it resets the connections that were not accepted.
pub struct SimListener {
    pub(super) state: Rc<RefCell<State>>,
    pub(super) address: SocketAddr,
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let mut state = self.state.borrow_mut();
        let Some(backlog) = state.listeners.remove(&self.address) else { return };
        for (server, _) in backlog.waiting {
            state.abort(server);
        }
    }
}

impl State {
    fn read(&mut self, id: EndId, buffer: &mut [u8]) -> io::Result<usize> {
        self.spend();
        if self.strikes(NetFault::Interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let Some(end) = self.end(id) else { return Err(io::ErrorKind::NotConnected.into()) };
        match end.report_breakage() {
            None => {}
            // After the first report, a broken connection reads as ended.
            Some(io::ErrorKind::BrokenPipe) => return Ok(0),
            Some(kind) => return Err(kind.into()),
        }
        let arrived = buffer.len().min(end.reach());
        if arrived == 0 && !buffer.is_empty() && !end.fin {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let is_short = arrived > 1 && self.strikes(NetFault::ShortRead);
        let most = if is_short { self.random.size(1, arrived - 1) } else { arrived };
        let Some(end) = self.end(id) else { return Err(io::ErrorKind::NotConnected.into()) };
        let count = end.take(buffer.get_mut(..most).unwrap_or_default());
        if is_short {
            self.edge(id);
        }
        self.progress += 1;
        self.trace.note(&[1, id.serial, count as u64]);
        self.make_room(id);
        Ok(count)
    }

    fn write(&mut self, id: EndId, bytes: &[u8]) -> io::Result<usize> {
        self.spend();
        if self.strikes(NetFault::Interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let room = self.room(id);
        let Some(end) = self.end(id) else { return Err(io::ErrorKind::NotConnected.into()) };
        if let Some(kind) = end.report_breakage() {
            return Err(kind.into());
        }
        if end.write_shut {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let peer = end.peer;
        let mut count = bytes.len().min(room);
        if count > 0 && self.strikes(NetFault::ShortWrite) {
            count = self.random.size(0, count - 1);
            // Short memory is free again some time later.
            let at = self.later();
            self.schedule(at, Happening::Edge(id));
        }
        let now = self.now();
        if let Some(end) = self.end(id) {
            let fell_short = count < bytes.len();
            end.starved |= fell_short;
            let since = end.stuck_since.filter(|_| count == 0).unwrap_or(now);
            end.stuck_since = fell_short.then_some(since);
            end.written += count as u64;
        }
        self.trace.note(&[2, id.serial, count as u64]);
        let Some(peer) = peer.filter(|_| count > 0) else { return Err(io::ErrorKind::WouldBlock.into()) };
        self.progress += 1;
        self.send(peer, bytes.get(..count).unwrap_or(bytes));
        Ok(count)
    }

    /// How many bytes a write would take: none before the connection is made.
    fn room(&mut self, id: EndId) -> usize {
        let window = self.faults.window;
        let Some(peer) = self.end(id).filter(|end| end.connected).and_then(|end| end.peer) else { return 0 };
        self.end(peer).map_or(0, |end| window.saturating_sub(end.pending()))
    }

    pub(super) fn is_writable(&mut self, id: EndId) -> bool {
        self.room(id) > 0 || self.end(id).is_some_and(|end| end.broken.is_some())
    }

    pub(super) fn shut_down(&mut self, id: EndId) -> io::Result<()> {
        self.spend();
        let Some(end) = self.end(id).filter(|end| end.connected && end.broken.is_none()) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let peer = end.peer;
        if !std::mem::replace(&mut end.write_shut, true)
            && let Some(peer) = peer
        {
            self.trace.note(&[3, id.serial]);
            self.progress += 1;
            self.dispatch(peer, Happening::Fin);
        }
        Ok(())
    }

    /// Ends a connection that was never accepted.
    pub(super) fn abort(&mut self, server: EndId) {
        if let Some(peer) = self.end(server).and_then(|end| end.peer) {
            if let Some(end) = self.end(peer) {
                end.disturbed = true;
            }
            self.break_off(peer, Breakage::Reset);
        }
        self.break_off(server, Breakage::Reset);
        self.close(server);
    }
}
