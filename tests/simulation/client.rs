//! A client that runs its script on a simulated socket.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use latchkey::internals::net::Net;
use latchkey::internals::net::sim::{SimNet, SimRandom, SimSocket};
use latchkey::internals::tls::{Channel, Incoming, Outgoing, Progress, Session};

use crate::protocol_model::ProtocolModel;
use crate::script::{Action, Conduct, Script};

/// Pause of some clients between two reads.
const SIP_PAUSE: Duration = Duration::from_millis(500);

/// A client before, during and after its connection.
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(crate) struct Client {
    pub(crate) script: Script,
    next_action: usize,
    starts: Instant,
    /// Created when it connects.
    pub(crate) channel: Channel,
    socket: Option<SimSocket>,
    pub(crate) port: Option<SocketAddr>,
    unsent: Vec<u8>,
    written: usize,
    /// The request that it is sending byte by byte, and since when.
    trickling: Option<(Instant, usize)>,
    pub(crate) received: Vec<u8>,
    /// Bytes that had arrived at the server when the stop was requested.
    pub(crate) heard_at_stop: usize,
    thinks_until: Instant,
    deaf_until: Instant,
    drips_at: Instant,
    sips_at: Instant,
    fin_wanted: bool,
    pub(crate) end: Option<End>,
    pub(crate) disturbed: bool,
    /// The server died during the connection.
    pub(crate) interrupted: bool,
    /// After how many of its requests the server came back, if it did.
    pub(crate) kept: Option<usize>,
    /// It connects when the disk has space again.
    pub(crate) is_late: bool,
    /// Another client continues in its place.
    pub(crate) has_heir: bool,
    /// Whether it must be accepted, before a reload and after it.
    pub(crate) welcome: (bool, bool),
    /// Whether it resumed a session.
    pub(crate) resumed: bool,
}

/// How the connection ended for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The stream ended after close_notify, or without TLS.
    Proper,
    /// The stream ended without close_notify.
    Cut,
    /// The server rejected its certificate.
    Alerted,
    /// An error of the socket.
    Broken(io::ErrorKind),
    /// The client closed it.
    Left,
}

impl Client {
    pub(crate) fn new(script: Script, welcome: (bool, bool), now: Instant) -> Self {
        let starts = now + script.start;
        Self {
            script,
            next_action: 0,
            starts,
            channel: Channel::new(Session::plain()),
            socket: None,
            port: None,
            unsent: Vec::new(),
            written: 0,
            trickling: None,
            received: Vec::new(),
            heard_at_stop: 0,
            thinks_until: starts,
            deaf_until: starts,
            drips_at: starts,
            sips_at: starts,
            fin_wanted: false,
            end: None,
            disturbed: false,
            interrupted: false,
            kept: None,
            is_late: false,
            has_heir: false,
            welcome,
            resumed: false,
        }
    }

    /// The server is asked to stop now.
    pub(crate) fn note_stop(&mut self) {
        let in_flight = self.socket.as_ref().map_or(0, SimSocket::in_flight);
        self.heard_at_stop = self.written - in_flight;
    }

    /// Whether the server has seen it.
    pub(crate) fn has_arrived(&self) -> bool {
        self.port.is_some() && self.socket.as_ref().is_none_or(SimSocket::has_arrived)
    }

    /// Whether [`step`](Self::step) would do something.
    pub(crate) fn can_move(&self, now: Instant) -> bool {
        match &self.socket {
            None => self.end.is_none() && self.starts <= now,
            Some(socket) => self.can_read(socket, now) || self.can_write(socket, now) || self.can_act(now),
        }
    }

    fn can_read(&self, socket: &SimSocket, now: Instant) -> bool {
        self.deaf_until <= now && self.sips_at <= now && socket.is_readable()
    }

    fn can_write(&self, socket: &SimSocket, now: Instant) -> bool {
        let pending = !self.unsent.is_empty() && self.written < self.script.wire_limit || self.fin_due();
        pending && self.drips_at <= now && socket.is_writable()
    }

    fn fin_due(&self) -> bool {
        self.fin_wanted && self.unsent.is_empty()
    }

    fn can_act(&self, now: Instant) -> bool {
        if self.thinks_until > now || !self.unsent.is_empty() || self.fin_wanted {
            return false;
        }
        match self.script.actions.get(self.next_action) {
            None => false,
            Some(Action::Await(count)) => self.received.len() >= (*count).min(self.script.talk.expected.len()),
            Some(Action::Vanish | Action::Think(_)) => true,
            Some(Action::Raw(_)) if self.script.conduct == Conduct::Noise => true,
            Some(_) => !self.channel.session().is_handshaking(),
        }
    }

    /// When it can move without receiving anything.
    pub(crate) fn next_time(&self, now: Instant) -> Option<Instant> {
        let times: &[Instant] = match (&self.socket, self.end) {
            (None, None) => &[self.starts],
            (Some(_), _) => &[self.thinks_until, self.deaf_until, self.drips_at, self.sips_at],
            (None, Some(_)) => &[],
        };
        times.iter().copied().filter(|time| *time > now).min()
    }

    /// Takes one step.
    pub(crate) fn step(
        &mut self,
        net: &mut SimNet,
        server: SocketAddr,
        now: Instant,
        random: &mut SimRandom,
    ) -> Result<(), String> {
        let Some(mut socket) = self.socket.take() else { return self.connect(net, server) };
        let (reads, writes) = (self.can_read(&socket, now), self.can_write(&socket, now));
        let result = if reads && (!writes || random.chance(0.5)) {
            self.read(&mut socket, now, random)
        } else if writes {
            self.write(&mut socket, now, random)
        } else {
            self.act(now)
        };
        self.disturbed = socket.is_disturbed();
        if self.end.is_none() {
            self.socket = Some(socket);
        }
        result
    }

    fn connect(&mut self, net: &mut SimNet, server: SocketAddr) -> Result<(), String> {
        let from = IpAddr::from([10, 0, 1, self.script.host]);
        let socket = match net.connect(&server.into(), Some(from)) {
            Ok(socket) => socket,
            // It tries again at its next turn.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) => {
                // The client's own machine lacks a resource.
                self.disturbed = true;
                self.end = Some(End::Left);
                return Ok(());
            }
        };
        self.port = Some(socket.local_address());
        self.socket = Some(socket);
        if self.script.conduct != Conduct::Noise {
            self.decrypt(&[])?;
        }
        Ok(())
    }

    fn read(&mut self, socket: &mut SimSocket, now: Instant, random: &mut SimRandom) -> Result<(), String> {
        let mut size = random.one_of([1, 100, 16_384, 100_000]);
        if let Some(sip) = self.script.sip.filter(|_| !self.channel.session().is_handshaking()) {
            size = sip;
        }
        let mut buffer = vec![0; size];
        match socket.read(&mut buffer) {
            Ok(0) => {
                self.end = Some(if self.channel.session().peer_closed() { End::Proper } else { End::Cut });
                Ok(())
            }
            Ok(count) => {
                if self.script.sip.is_some() && !self.channel.session().is_handshaking() {
                    self.sips_at = now + SIP_PAUSE;
                }
                self.decrypt(buffer.get(..count).unwrap_or_default())
            }
            Err(error) => {
                self.note(error.kind());
                Ok(())
            }
        }
    }

    fn note(&mut self, kind: io::ErrorKind) {
        if !matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
            self.end = Some(End::Broken(kind));
        }
    }

    fn decrypt(&mut self, bytes: &[u8]) -> Result<(), String> {
        if self.script.conduct == Conduct::Noise || self.channel.session().has_failed() {
            return Ok(());
        }
        let (mut input, mut output) = (Incoming::default(), Outgoing::default());
        self.channel.prepare(&mut input);
        input.append(bytes);
        loop {
            let received = &mut self.received;
            let mut deliver = |plain: &[u8]| received.extend_from_slice(plain);
            match self.channel.receive(&mut input, &mut output, &mut deliver) {
                Progress::Failed(rustls::Error::AlertReceived(_)) if self.may_be_alerted() => {
                    self.end = Some(End::Alerted);
                    return Ok(());
                }
                Progress::Failed(rustls::Error::InvalidCertificate(_))
                    if self.script.conduct == Conduct::Distrustful =>
                {
                    // Sends the alert, and closes.
                    self.unsent.extend_from_slice(output.filled());
                    self.script.actions = vec![Action::Vanish];
                    self.next_action = 0;
                    return Ok(());
                }
                Progress::Failed(error) => return Err(format!("the server broke TLS: {error}")),
                Progress::Waiting => break,
                Progress::Opened => {}
            }
            let agreement = self.channel.session().agreement();
            // Its hello offers a post-quantum group, in however many records.
            if !self.script.is_old && agreement.is_some_and(|agreement| agreement.is_classical()) {
                return Err("a classical group was agreed on".into());
            }
            self.resumed = agreement.is_some_and(|agreement| agreement.kind == rustls::HandshakeKind::Resumed);
        }
        self.unsent.extend_from_slice(output.filled());
        Ok(())
    }

    fn may_be_alerted(&self) -> bool {
        self.welcome != (true, true) || self.script.conduct == Conduct::Corrupting
    }

    fn write(&mut self, socket: &mut SimSocket, now: Instant, random: &mut SimRandom) -> Result<(), String> {
        if self.fin_due() {
            self.fin_wanted = false;
            return socket.shutdown_write().or_else(|error| {
                self.note(error.kind());
                Ok(())
            });
        }
        let most = match self.script.drip {
            Some((_, from)) if from <= self.written => 1,
            Some((_, from)) => from - self.written,
            None => random.one_of([1, 1_000, usize::MAX]),
        };
        let size = self.unsent.len().min(most).min(self.script.wire_limit - self.written);
        match socket.write(self.unsent.get(..size).unwrap_or_default()) {
            Ok(count) => {
                self.unsent.drain(..count);
                self.written += count;
                self.note_trickle(now);
                let drip = self.script.drip.filter(|(_, from)| *from <= self.written);
                self.drips_at = drip.map_or(now, |(pause, _)| now + pause);
            }
            // A client that cannot write any more may still have something to read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.script.wire_limit = 0,
            Err(error) => self.note(error.kind()),
        }
        Ok(())
    }

    fn note_trickle(&mut self, now: Instant) {
        let is_dripping = self.script.drip.is_some_and(|(_, from)| from < self.written);
        let request = self.script.talk.request_at(self.written).filter(|_| is_dripping);
        // While the server is at earlier requests, it does not wait for this one yet.
        let is_at_it = |request: &usize| self.script.talk.ledger.end_of(*request) <= self.received.len();
        let request = request.filter(is_at_it);
        match (request, self.trickling) {
            (Some(request), Some((_, before))) if request == before => {}
            (request, _) => self.trickling = request.map(|request| (now, request)),
        }
    }

    /// For how long it has been sending its present request byte by byte.
    pub(crate) fn request_age(&self, now: Instant) -> Option<Duration> {
        // Echo has no requests.
        let is_asking = self.script.drip.is_some() && self.script.tongue != ProtocolModel::Echo;
        let is_heard = self.end.is_none() && !self.disturbed && is_asking;
        self.trickling.filter(|_| is_heard).map(|(since, _)| now - since)
    }

    fn act(&mut self, now: Instant) -> Result<(), String> {
        let mut output = Outgoing::default();
        let action = self.script.actions.get(self.next_action).cloned();
        self.next_action += 1;
        let result = match action {
            Some(Action::Send(bytes)) => self.channel.send(&bytes, &mut output),
            Some(Action::Goodbye) => self.channel.send_close_notify(&mut output),
            Some(Action::Raw(bytes)) => {
                // Without TLS, these would be a valid request.
                let is_record = self.script.conduct == Conduct::Noise || self.channel.session().is_tls();
                self.unsent.extend(bytes.into_iter().filter(|_| is_record));
                Ok(())
            }
            Some(Action::Think(time)) => {
                self.thinks_until = now + time;
                Ok(())
            }
            Some(Action::Deaf(time)) => {
                self.deaf_until = now + time;
                Ok(())
            }
            Some(Action::Fin) => {
                self.fin_wanted = true;
                Ok(())
            }
            Some(Action::Vanish) => {
                self.end = Some(End::Left);
                Ok(())
            }
            Some(Action::Await(_)) | None => Ok(()),
        };
        self.unsent.extend_from_slice(output.filled());
        result.map_err(|error| format!("the client cannot send: {error}"))
    }
}
