//! A server that dies and restarts, and the state it must have then.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::disk::{Contents, Death};
use crate::expected_state::Keys;
use crate::protocol_model::{ProtocolModel, hide_dates};
use crate::topology;
use crate::trust::{self, Change};
use crate::world::World;

impl World {
    /// The storage thread takes its next job; the server dies if its time has come.
    pub(crate) fn run_disk(&mut self, now: Instant) -> Result<(), String> {
        let Some(vault) = &mut self.vault else { return Ok(()) };
        vault.look(now, &mut self.random);
        if vault.has_stopped() {
            return self.restart(Death::PowerLost);
        }
        if self.stop_sent.is_some() {
            return Ok(());
        }
        if self.loops.first().is_some_and(|each| each.stopped) {
            return self.restart(Death::GaveUp);
        }
        let age = now - self.begun;
        let due = self.plan.durability.as_mut().and_then(|plan| {
            let is_due = plan.deaths.first().is_some_and(|(at, _)| *at <= age);
            is_due.then(|| plan.deaths.remove(0).1)
        });
        due.map_or(Ok(()), |how| self.restart(how))
    }

    /// When the server dies next.
    pub(crate) fn next_death(&self) -> Option<Duration> {
        let deaths = &self.plan.durability.as_ref().filter(|_| self.stop_sent.is_none())?.deaths;
        deaths.first().map(|(at, _)| *at)
    }

    fn restart(&mut self, how: Death) -> Result<(), String> {
        let now = self.network.now();
        self.note_ends();
        self.loops.clear();
        let Some(vault) = &mut self.vault else { return Ok(()) };
        vault.die(how, now, &mut self.random);
        self.books.borrow_mut().open = 0;
        for client in self.clients.iter_mut().filter(|client| client.has_arrived() && client.end.is_none()) {
            client.interrupted = true;
        }
        let change = self.plan.reload.map(|(_, change)| change);
        let security =
            trust::security(self.plan.door, change.filter(|_| self.reloaded && change != Some(Change::Refused)))?;
        let (each, contents) = topology::alone(&self.plan, &self.network, &self.books, &security, self.vault.as_mut())?;
        if self.stop_sent.is_some() {
            each.server.handle().stop();
        }
        self.loops.push(each);
        self.check_contents(contents)?;
        self.call_back(now);
        Ok(())
    }

    /// Whether the keys on disk are a state of each client's requests at or after the last acknowledged one.
    fn check_contents(&mut self, mut contents: Contents) -> Result<(), String> {
        for client in self.clients.iter_mut().filter(|client| client.kept.is_none() && client.is_keeper()) {
            let name = client.script.talk.name.clone();
            let mine = |key: &str| key.strip_prefix(&name).is_some_and(|rest| rest.starts_with(':'));
            let keys: Keys = contents.extract_if(.., |key, _| mine(key)).collect();
            let told = client.acknowledged();
            let ledger = &client.script.talk.ledger;
            let most = if client.has_arrived() { ledger.len() } else { 0 };
            let kept = ledger.behind_how_many(told, &keys).filter(|kept| *kept <= most || ledger.keys(0) == keys);
            let Some(kept) = kept else {
                let (found, left) = (sizes(&keys), ledger.keys(told));
                let left = sizes(&left);
                return Err(format!(
                    "{told} of {most} requests of {name} were acknowledged, {left:?}, and it finds {found:?}"
                ));
            };
            client.kept = Some(kept);
        }
        if contents.is_empty() { Ok(()) } else { Err(format!("no client has written {:?}", sizes(&contents))) }
    }

    /// Clients that were connected before reconnect.
    fn call_back(&mut self, now: Instant) {
        let mut heirs = Vec::new();
        for client in &mut self.clients {
            let Some(kept) = client.kept.filter(|_| !client.has_heir) else { continue };
            if !client.has_arrived() {
                // It has not connected yet.
                client.kept = None;
                continue;
            }
            client.has_heir = true;
            let keys = client.script.talk.ledger.keys(kept);
            let script = client.script.resume(keys, &mut self.random, self.plan.scale);
            heirs.push(Client::new(script, self.plan.welcome(client.script.badge), now));
        }
        self.clients.extend(heirs);
    }

    /// At the end the server closes its data directory, which may not lose anything either.
    pub(crate) fn check_disk(&mut self) -> Result<(), String> {
        for client in &self.clients {
            if let Some(kept) = client.kept.filter(|kept| *kept < client.acknowledged()) {
                let (name, told) = (&client.script.talk.name, client.acknowledged());
                return Err(format!("{told} requests of {name} were acknowledged, and only {kept} were kept"));
            }
        }
        let (Some(vault), Some(each)) = (&mut self.vault, self.loops.first_mut()) else { return Ok(()) };
        let now = latchkey::internals::net::Net::now(&each.net);
        let Some(builtin) = each.server.service_mut().builtin() else { return Ok(()) };
        let contents = vault.close(builtin, now)?;
        self.check_contents(contents)
    }
}

/// Time limit for a server to notice that the disk has space again.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

impl World {
    /// A full disk has space again when all clients are gone: soon the server accepts writes, and all clients
    /// reconnect.
    pub(crate) fn relieve(&mut self, now: Instant) -> Result<(), String> {
        let is_over = self.plan.drain_at.is_none() && self.next_death().is_none();
        let (Some(vault), true) = (&mut self.vault, is_over) else { return Ok(()) };
        let builtin =
            self.loops.first_mut().filter(|each| !each.stopped).and_then(|each| each.server.service_mut().builtin());
        let Some(builtin) = builtin.filter(|_| !vault.recovered) else { return Ok(()) };
        let lacks_room = vault.lacks_room(builtin)?;
        match vault.relieved {
            None if lacks_room && self.clients.iter().all(|client| client.end.is_some()) => {
                vault.relieve(now);
                vault.calm();
                self.network.calm();
                self.calm_since = Some(now);
                Ok(())
            }
            Some(_) if !lacks_room => {
                vault.recovered = true;
                let contents = vault.contents()?;
                self.check_contents(contents)?;
                let before = self.clients.len();
                self.call_back(now);
                self.clients.iter_mut().skip(before).for_each(|client| client.is_late = true);
                Ok(())
            }
            Some(since) if now - since > SEEN_WITHIN => {
                Err("the disk has space again, and writes are still refused".into())
            }
            _ => Ok(()),
        }
    }
}

/// Keys, with the lengths of their values.
fn sizes(keys: &Keys) -> Vec<(&str, usize)> {
    keys.iter().map(|(key, value)| (key.as_str(), value.len())).collect()
}

impl Client {
    /// Whether it stores keys.
    fn is_keeper(&self) -> bool {
        matches!(self.script.tongue, ProtocolModel::Resp | ProtocolModel::XmlRpc)
    }

    /// The number of requests to which it has received correct replies.
    pub(crate) fn acknowledged(&self) -> usize {
        let mut received = self.received.clone();
        if self.script.tongue == ProtocolModel::XmlRpc {
            hide_dates(&mut received);
        }
        let talk = &self.script.talk;
        let right = received.iter().zip(&talk.expected).take_while(|(one, other)| one == other).count();
        talk.ledger.answered_by(right)
    }
}
