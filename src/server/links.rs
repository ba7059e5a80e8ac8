//! Effects of connections on others: dialing, and the maintenance of links.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use super::peers::Peer;
use super::{Server, enqueue, queue_transmit};
use crate::connection::{Connection, Dial, Effect, Link, Loss, PeerId, PeerInfo, Phase, Scratch, Service};
use crate::disconnect::Disconnect;
use crate::net::{Address, Net};

/// The address of a peer that has none.
pub(super) const UNSPECIFIED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl<N: Net, S: Service> Server<N, S> {
    /// Sets, before `id` works, how much its linked connection accepts.
    pub(super) fn measure_link_room(&mut self, id: PeerId) {
        let link = self.peers.get_mut(id).and_then(|peer| peer.connection.info().link);
        let Some(partner) = link.and_then(|link| self.peers.get_mut(link.peer())) else { return };
        self.context.env.effects.set_room(partner.connection.room(&self.context.env.limits));
    }

    /// Performs the requested effects, after the connections have finished their work.
    pub(super) fn apply_effects(&mut self) {
        while let Some(effect) = self.context.env.effects.pop() {
            match effect {
                Effect::Dial { dialer, dial } => self.begin_to_dial(dialer, *dial),
                Effect::Forward { to, bytes } => self.alter(to, |connection, now, _| connection.forward(bytes, now)),
                Effect::Finish { peer, proper } => {
                    self.alter(peer, |connection, now, _| connection.finish_output(proper, now));
                }
                Effect::Disconnect { peer, reason } => {
                    self.alter(peer, |connection, now, scratch| connection.end(reason, now, scratch));
                }
            }
        }
    }

    fn alter(&mut self, id: PeerId, change: impl FnOnce(&mut Connection<S>, Instant, &mut Scratch)) {
        if let Some(peer) = self.peers.get_mut(id) {
            change(&mut peer.connection, self.context.env.now.instant, &mut self.context.env.scratch);
            queue_transmit(peer, &mut self.to_transmit);
        }
    }

    fn begin_to_dial(&mut self, dialer: PeerId, dial: Dial) {
        let now = self.context.env.now.instant;
        if self.waiting.has(&dial.address) {
            return self.waiting.push(dialer, dial, now, now);
        }
        self.dial(dialer, dial, now);
    }

    /// Begins a connection for `dialer`, which has wanted it since `begun`.
    pub(super) fn dial(&mut self, dialer: PeerId, dial: Dial, begun: Instant) {
        let Some(peer) = self.peers.get_mut(dialer) else { return };
        let info = peer.connection.info();
        if info.link.is_some() || peer.connection.phase() != Phase::Open {
            return;
        }
        let (listener, now) = (info.listener, self.context.env.now.instant);
        let may_wait = now.saturating_duration_since(begun) < self.context.env.limits.connect_timeout;
        let connected = self.connect(&dial.address);
        if connected.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) && may_wait {
            return self.waiting.push(dialer, dial, begun, now);
        }
        self.context.env.metrics.dialed += 1;
        let (id, socket) = match connected {
            Ok(connected) => connected,
            Err(error) => {
                tracing::warn!(address = %dial.address, %error, "cannot connect");
                let detail = error.to_string().into();
                return self.unreachable(dialer, &Loss { reason: Disconnect::Io, detail });
            }
        };
        let address = match dial.address {
            Address::Tcp(address) => address,
            Address::Unix(_) => UNSPECIFIED,
        };
        let mut info = PeerInfo::new(id, listener, address, UNSPECIFIED);
        info.link = Some(Link::Client(dialer));
        self.add(Peer::new(socket, Connection::dialed(dial.session, info, dial.preface, self.context.env.now.instant)));
        if let Some(peer) = self.peers.get_mut(dialer) {
            peer.connection.link(Link::Upstream(id));
        }
        self.reschedule(id);
    }

    fn connect(&mut self, address: &Address) -> io::Result<(PeerId, N::Socket)> {
        let id = self.peers.next_id();
        let mut socket = self.net.connect(address, None)?;
        self.net.register(&mut socket, id.token())?;
        Ok((id, socket))
    }

    /// The connection that `dialer` dialed failed.
    fn unreachable(&mut self, dialer: PeerId, loss: &Loss) {
        self.context.env.metrics.unreachable += 1;
        let Some(peer) = self.peers.get_mut(dialer) else { return };
        peer.connection.unreachable(loss, &mut self.context);
        queue_transmit(peer, &mut self.to_transmit);
    }

    /// After `id` was written to: if there is room in it again, the connection that waits for the room continues,
    /// because no event will report it. Half of the room must be free, so that two connections do not alternate over
    /// every few bytes. A peer whose forwarded bytes still wait in `id` is not idle.
    pub(super) fn resume_sender(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Some(link) = peer.connection.info().link else { return };
        let has_room = peer.connection.room(&self.context.env.limits) > self.context.env.limits.output_bytes / 2;
        let has_output = peer.connection.output() > 0;
        let Some(partner) = self.peers.get_mut(link.peer()) else { return };
        let has_left = partner.connection.note_carried(has_output, self.context.env.now.instant);
        if has_room && partner.connection.unthrottle() {
            enqueue(partner, &mut self.ready, &mut self.handshake_queue);
        }
        if has_left {
            // Its deadline counts again.
            self.reschedule(link.peer());
        }
    }

    /// A linked connection has ended: the other end must not outlive it.
    pub(super) fn unlink(&mut self, link: Link, was_opened: bool, loss: &Loss) {
        let partner = link.peer();
        let is_server = matches!(link, Link::Client(_));
        if is_server && !was_opened {
            return self.unreachable(partner, loss);
        }
        self.alter(partner, |connection, now, scratch| {
            if is_server {
                connection.explain(loss);
            }
            connection.cut(Disconnect::Upstream, now, scratch);
        });
        if !is_server {
            self.close_if_delivered(partner);
        }
    }

    /// A backend whose client was lost does not linger if it has taken everything that it was sent: a reset could
    /// destroy nothing, and clients that come and go must not leave many such connections behind.
    fn close_if_delivered(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let is_cut = peer.connection.phase() == Phase::Draining && peer.connection.was_cut();
        if is_cut && self.net.delivery(&peer.socket).is_ok_and(|delivery| !delivery.is_pending) {
            peer.connection.close(Disconnect::Upstream, &mut self.context.env.scratch);
            self.reschedule(id);
        }
    }
}
