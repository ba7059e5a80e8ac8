//! What must be true when nothing will move any more.

use latchkey::internals::disconnect::Disconnect;
use latchkey::internals::net::sim::NetFault;
use latchkey::internals::server::Occupancy;

use crate::client::{Client, End};
use crate::plan::{Outage, Scarcity, Wrap};
use crate::protocol_model::{ProtocolModel, hide_dates};
use crate::script::Conduct;
use crate::trust::Change;
use crate::world::{Loop, World};

impl World {
    /// Nothing will move any more: everything must be complete, and nothing left behind.
    pub(crate) fn check_end(&self) -> Result<(), String> {
        for client in &self.clients {
            let Client { script, port, disturbed, .. } = client;
            let name = |what| {
                format!("{:?} client {port:?} ({:?}), disturbed {disturbed}: {what}", script.conduct, script.tongue)
            };
            self.check_client(client).map_err(name)?;
        }
        for (index, each) in self.loops.iter().enumerate() {
            self.check_loop(index, each).map_err(|what| format!("loop {index}: {what}"))?;
        }
        let (open, ends) = (self.books.borrow().open, self.network.open_ends());
        if open > 0 && !self.died || ends > 0 {
            return Err(format!("{open} sessions were not given back, {ends} sockets not dropped"));
        }
        Ok(())
    }

    fn check_loop(&self, index: usize, each: &Loop) -> Result<(), String> {
        let (residue, metrics) = (each.server.occupancy(), each.server.metrics());
        if residue != Occupancy::default() && !each.stopped || residue.connections > 0 || residue.client_memory > 0 {
            return Err(format!("left behind: {residue:?}"));
        }
        // The first loop of a server accepts for all of them.
        let loops = self.loops_of(index, each);
        let accepted: u64 = loops.iter().map(|each| each.server.metrics().accepted).sum();
        let count =
            |each: &Loop| Disconnect::ALL.map(|reason| each.server.metrics().disconnects(reason)).iter().sum::<u64>();
        let ended: u64 = loops.iter().map(count).sum();
        if accepted != ended {
            return Err(format!("{accepted} connections were accepted, {ended} were counted as ended"));
        }
        if self.is_front(index) && self.plan.drain_at.is_some() && !each.stopped {
            return Err("asked to stop, the server has not".into());
        }
        let has_begun_anew = self.vault.as_ref().is_some_and(|vault| !vault.restarts.is_empty());
        if index == 0 && self.reloaded && self.plan.drain_at.is_none() && !has_begun_anew {
            let change = self.plan.reload.map(|(_, change)| change);
            let wanted = if change == Some(Change::Refused) { (0, 1) } else { (1, 0) };
            if (metrics.reloads, metrics.reload_failures) != wanted {
                return Err("it was not reloaded".into());
            }
        }
        self.check_truncations(index, each)?;
        self.check_timeouts(index, each)
    }

    fn check_client(&self, client: &Client) -> Result<(), String> {
        let Some(end) = client.end else { return Err("was forgotten".into()) };
        let expected = client.script.talk.expected.as_slice();
        let mut received = client.received.clone();
        if client.script.tongue == ProtocolModel::XmlRpc {
            hide_dates(&mut received);
        }
        if !self.is_fair(client, &received) {
            let same = received.iter().zip(expected).take_while(|(one, other)| one == other).count();
            let wrong = received.get(same..(same + 100).min(received.len())).unwrap_or_default();
            let wrong = String::from_utf8_lossy(wrong);
            return Err(format!("a wrong reply at byte {same} of {}: {wrong:?}", received.len()));
        }
        let is_whole = received.len() >= expected.len();
        if end == End::Proper && !is_whole && self.is_told_of_losses(client) && !self.was_turned_away(client, &received)
        {
            return Err(format!("{} of {} bytes of replies look whole", received.len(), expected.len()));
        }
        if self.may_lose(client) || self.was_turned_away(client, &received) {
            return Ok(());
        }
        if self.plan.drain_at.is_some() {
            return self.check_drained(client, received.len(), end);
        }
        if received.len() < expected.len() {
            return Err(format!("{} of {} bytes of replies, then {end:?}", received.len(), expected.len()));
        }
        if end == End::Proper { Ok(()) } else { Err(format!("all replies, but then {end:?}")) }
    }

    /// Whether a client received exactly the replies to its requests, in order from the first on, followed by the
    /// reason why it is closed, if that may happen to it.
    fn is_fair(&self, client: &Client, received: &[u8]) -> bool {
        let talk = &client.script.talk;
        if self.is_fair_by(&talk.expected, client, received) {
            return true;
        }
        // From some request on, nothing was kept, and from a later one on, writes were refused.
        let (told, ledger) = (client.acknowledged(), &talk.ledger);
        let (before, behind) = received.split_at_checked(ledger.end_of(told)).unwrap_or((received, b""));
        let is_owed = |kept, refused| {
            let lost = ledger.without(told, kept, refused, (&talk.expected, behind));
            self.is_fair_by(&[before, &*lost].concat(), client, received)
        };
        self.has_lost()
            && !client.is_late
            && (told..=ledger.len()).any(|refused| (told..=refused).any(|kept| is_owed(kept, refused)))
    }

    fn is_fair_by(&self, expected: &[u8], client: &Client, received: &[u8]) -> bool {
        if expected.starts_with(received) {
            return true;
        }
        let words = self.words.get(client.script.listener).map(Vec::as_slice).unwrap_or_default();
        words.iter().filter(|(reason, _)| self.may_hear(client, *reason)).any(|(reason, words)| {
            let least = if self.is_steady(client) { words.len() } else { 0 };
            (least..=words.len())
                .filter_map(|count| received.strip_suffix(words.get(..count)?))
                .any(|replies| expected.starts_with(replies) && (replies.is_empty() || !turns_away(*reason)))
        })
    }

    /// Whether a client that was answered may be sent `reason` when it is closed.
    fn may_hear(&self, client: &Client, reason: Disconnect) -> bool {
        let (before, after) = client.welcome;
        match reason {
            Disconnect::Refused => self.plan.scarcity == Scarcity::Places,
            Disconnect::AddressLimit => self.plan.scarcity == Scarcity::PlacesPerAddress,
            Disconnect::Memory => self.plan.scarcity == Scarcity::Memory,
            Disconnect::RequestTimeout | Disconnect::HeaderTimeout => !self.is_steady(client),
            Disconnect::Revoked => self.reloaded && before && !after,
            Disconnect::Denied | Disconnect::Certificate => !before || !after,
            _ => false,
        }
    }

    /// Whether the store has reported lost changes.
    fn has_lost(&self) -> bool {
        self.books.borrow().lost
    }

    /// Whether only the server determines what a client receives.
    fn is_steady(&self, client: &Client) -> bool {
        let is_cut = self.plan.drain_at.is_some() || self.has_trouble_behind();
        client.script.conduct.is_honest() && !client.disturbed && !client.interrupted && !self.jumped() && !is_cut
    }

    /// Whether a client may get fewer than all its replies: through its own fault or the network's, or because it is
    /// not admitted, or no longer.
    fn may_lose(&self, client: &Client) -> bool {
        let is_at_odds = !client.script.conduct.is_honest() || client.disturbed || self.jumped();
        let is_at_odds = is_at_odds || client.interrupted || self.has_lost() && !client.is_late;
        let is_unwelcome = client.welcome != (true, true);
        is_at_odds || is_unwelcome || self.has_trouble_behind() || self.plan.scarcity == Scarcity::Memory
    }

    /// Whether a client that gets fewer than all its replies must be able to notice: behind a wrapper, always.
    fn is_told_of_losses(&self, client: &Client) -> bool {
        let is_served = client.script.conduct.is_honest() && client.welcome == (true, true);
        // If the machine of a server without TLS dies, its FIN looks like a proper end.
        let can_tell = |wrap: Wrap| wrap.tls || !matches!(wrap.outage, Outage::Dies(_));
        self.plan.wrap.is_some_and(can_tell) && is_served && self.plan.drain_at.is_none() && !self.jumped()
    }

    /// Whether a client was refused at a limit, as it may be.
    fn was_turned_away(&self, client: &Client, received: &[u8]) -> bool {
        let is_scarce = matches!(self.plan.scarcity, Scarcity::Places | Scarcity::PlacesPerAddress);
        let words = self.words.get(client.script.listener).map(Vec::as_slice).unwrap_or_default();
        let refusals = words.iter().filter(|(reason, _)| turns_away(*reason) && self.may_hear(client, *reason));
        is_scarce && (received.is_empty() || refusals.into_iter().any(|(_, words)| words == received))
    }

    /// Whether there was a fault between a wrapper and the server behind it.
    fn has_trouble_behind(&self) -> bool {
        let Some(wrap) = self.plan.wrap else { return false };
        let injected = self.network.injected();
        let faults = [NetFault::Reset, NetFault::AcceptLost, NetFault::ConnectFailed];
        let is_out = matches!(wrap.outage, Outage::Down | Outage::Silent | Outage::Dies(_));
        is_out || faults.iter().any(|fault| injected.contains_key(fault))
    }

    /// Only faulty clients reach a deadline: a lost event that a timeout makes up for is a fault all the same. A client
    /// that is refused because the disk is full may wait for a reply that never comes.
    fn check_timeouts(&self, index: usize, each: &Loop) -> Result<(), String> {
        use Disconnect::{
            ConnectTimeout, HalfCloseTimeout, HandshakeTimeout, HeaderTimeout, Idle, RequestTimeout, Stalled,
        };
        let count = |reason| each.server.metrics().disconnects(reason);
        // A client that stays after its last reply seems to stay longer to a server whose wrapper, or whose socket,
        // still had a part of it.
        let is_behind = |client: &Client| !self.is_front(index) || client.script.conduct == Conduct::Sipper;
        let stays = |client: &&Client| is_behind(client) && client.script.stays();
        let staying = self.clients.iter().filter(stays).count() as u64;
        let others: u64 =
            [ConnectTimeout, HandshakeTimeout, HeaderTimeout, RequestTimeout, Stalled].map(count).iter().sum();
        let timeouts = others + (count(Idle) + count(HalfCloseTimeout)).saturating_sub(staying);
        let may_wait = |client: &&Client| {
            client.disturbed
                || client.interrupted
                || !client.script.conduct.is_honest()
                || client.welcome != (true, true)
        };
        let excused = self.clients.iter().filter(may_wait).count() as u64;
        if timeouts > excused && !self.jumped() && !self.has_trouble_behind() && !self.has_lost() {
            return Err(format!("{timeouts} connections timed out, {excused} might"));
        }
        Ok(())
    }

    /// An end of stream without close_notify may be an attacker's, and is reported as such.
    fn check_truncations(&self, index: usize, each: &Loop) -> Result<(), String> {
        let has_begun_anew = self.vault.as_ref().is_some_and(|vault| !vault.restarts.is_empty());
        // A wrapper passes it on, if the other side has TLS.
        let sees_it = self.is_front(index) || self.plan.wrap.is_some_and(|wrap| wrap.tls);
        let is_simple = sees_it && self.plan.scarcity == Scarcity::Nothing && !has_begun_anew;
        if self.plan.door.is_none() || !is_simple || self.has_lost() {
            return Ok(());
        }
        let is_cut = |client: &&Client| {
            let is_served = self.is_steady(client) && client.welcome == (true, true);
            is_served && client.script.conduct == Conduct::NoNotify
        };
        let cut = self.clients.iter().filter(is_cut).count() as u64;
        let count = |each: &Loop| each.server.metrics().disconnects(Disconnect::NoCloseNotify);
        let seen: u64 = self.loops_of(index, each).iter().map(count).sum();
        if seen < cut { Err(format!("{cut} clients were cut off, {seen} were taken for it")) } else { Ok(()) }
    }

    /// A stopping server answers what has arrived by then, and all its replies must arrive too.
    fn check_drained(&self, client: &Client, received: usize, end: End) -> Result<(), String> {
        let in_time = self.plan.limits.drain_timeout.as_secs() > 50;
        if !in_time || self.plan.wrap.is_some() {
            return Ok(());
        }
        let owed = client.port.and_then(|port| self.books.borrow().owed.get(&port).copied()).unwrap_or(0);
        let answers = client.script.talk.answers(client.script.tongue, client.heard_at_stop);
        // Bytes that a short read left in the socket do not count as arrived.
        let has_arrived = !self.network.injected().contains_key(&NetFault::ShortRead);
        if self.plan.door.is_none() && has_arrived && received < answers {
            return Err(format!("{received} of {answers} bytes of answers, then {end:?}"));
        }
        if received < owed {
            return Err(format!("{received} of {owed} bytes that were owed at the stop, then {end:?}"));
        }
        Ok(())
    }
}

/// Whether a client that is sent this reason was never served.
fn turns_away(reason: Disconnect) -> bool {
    use Disconnect::{AddressLimit, Certificate, Denied, Memory, Refused};
    matches!(reason, Refused | AddressLimit | Memory | Denied | Certificate)
}
