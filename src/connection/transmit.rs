//! Owed replies on their way to the socket.

use std::io::{self, Write};

use super::connection::Connection;
use super::context::Context;
use super::lifecycle::{Phase, Transmitted, WriteShutdown};
use super::scratch::READ_BYTES;
use super::service::Service;
use super::write_progress::WriteProgress;
use crate::disconnect::Disconnect;
use crate::tls::Outgoing;

/// At least this many unsent bytes are written directly. Fewer are copied, to be sent in one write with what follows.
const DIRECT_BYTES: usize = 16 << 10;

impl<S: Service> Connection<S> {
    /// Encrypts and writes owed replies, as far as the socket and this turn's share allow.
    pub fn transmit(&mut self, socket: &mut impl Write, context: &mut Context<S>) -> Transmitted {
        let mut sent = 0;
        while self.readiness.writable && self.has_output() && sent < context.env.limits.transmit_bytes_per_turn {
            sent += if self.unsent.len() >= DIRECT_BYTES {
                self.send_unsent(socket, context)
            } else if self.unsent.is_empty() && !self.channel.session().is_tls() {
                self.send_plain(socket, context)
            } else {
                self.send_encrypted(socket, context)
            };
        }
        self.end_if_worn(context);
        if !self.has_output() {
            self.write_progress = None;
        }
        let is_sending = matches!(self.phase, Phase::Open | Phase::Draining);
        let nothing_to_say =
            self.write_shutdown >= WriteShutdown::CloseNotifySent || self.channel.session().has_failed();
        let all_said = is_sending && nothing_to_say && !self.has_output();
        if all_said && self.phase == Phase::Draining {
            self.finish(context);
        }
        // Closing the socket sends FIN too.
        if all_said
            && self.phase != Phase::Closed
            && self.write_shutdown != WriteShutdown::FinSent
            && !self.must_reset()
        {
            self.write_shutdown = WriteShutdown::FinSent;
            return Transmitted::ShutdownWrite;
        }
        Transmitted::Done
    }

    /// Ends a connection whose keys are nearly used up, between two requests. If there is no such moment before, the
    /// keys are used up in the middle of a reply. So they are on a linked connection, whose requests are unknown.
    fn end_if_worn(&mut self, context: &mut Context<S>) {
        let is_between = !self.is_mid_request() && self.framing.info.link.is_none() && !self.has_output();
        if self.channel.session().is_worn()
            && self.phase == Phase::Open
            && is_between
            && self.framing.output.replies.is_empty()
        {
            self.end(Disconnect::KeyLimit, context.env.now.instant, &mut context.env.scratch);
        }
    }

    /// Writes unsent bytes from the buffer that holds them.
    fn send_unsent(&mut self, socket: &mut impl Write, context: &mut Context<S>) -> usize {
        let mut unsent = std::mem::take(&mut self.unsent);
        let count = self.write(socket, &unsent, context);
        if count == unsent.len() || self.phase == Phase::Closed {
            context.env.scratch.give(unsent);
        } else {
            unsent.drain(..count);
            self.unsent = unsent;
        }
        count
    }

    /// Writes replies that need no encryption from the buffer that holds them.
    fn send_plain(&mut self, socket: &mut impl Write, context: &mut Context<S>) -> usize {
        let mut replies = std::mem::take(&mut self.framing.output.replies);
        let ready = replies.unsent();
        let piece = ready.get(..context.env.limits.transmit_bytes_per_turn).unwrap_or(ready);
        let count = self.write(socket, piece, context);
        if count > 0
            && let Some(spare) = replies.consume(count)
        {
            context.env.scratch.give(spare);
        }
        self.framing.output.replies = replies;
        if self.is_close_notify_due() {
            self.write_shutdown = WriteShutdown::CloseNotifySent;
        }
        count
    }

    /// Encrypts the next piece of the replies and writes it after the unsent bytes.
    fn send_encrypted(&mut self, socket: &mut impl Write, context: &mut Context<S>) -> usize {
        let mut output = std::mem::take(&mut context.env.scratch.output);
        output.append(&self.unsent);
        context.env.scratch.give(std::mem::take(&mut self.unsent));
        self.encrypt(&mut output, context);
        let count = self.write(socket, output.filled(), context);
        let rest = output.filled().get(count..).unwrap_or_default();
        if !rest.is_empty() && self.phase != Phase::Closed {
            self.unsent = context.env.scratch.take();
            self.unsent.extend_from_slice(rest);
        }
        output.clear();
        output.shrink(4 * READ_BYTES);
        context.env.scratch.output = output;
        count
    }

    /// Appends the next piece of the replies, encrypted, and close_notify after the last one.
    fn encrypt(&mut self, output: &mut Outgoing, context: &mut Context<S>) {
        let replies = &mut self.framing.output.replies;
        if output.filled().len() >= READ_BYTES
            || self.channel.session().is_handshaking()
            || self.channel.session().has_failed()
        {
            return;
        }
        let ready = replies.unsent();
        let piece = ready.get(..READ_BYTES).unwrap_or(ready);
        let size = piece.len();
        let mut result = Ok(());
        if size > 0 {
            result = self.channel.send(piece, output);
            if let Some(spare) = replies.consume(size) {
                context.env.scratch.give(spare);
            }
        }
        if result.is_ok() && self.is_close_notify_due() {
            result = self.channel.send_close_notify(output);
            self.write_shutdown = WriteShutdown::CloseNotifySent;
        }
        if let Err(error) = result {
            self.framing.output.detail = Some(error.to_string().into());
            let reason = if self.channel.session().is_worn() { Disconnect::KeyLimit } else { Disconnect::Tls };
            self.close(reason, &mut context.env.scratch);
        }
    }

    fn write(&mut self, socket: &mut impl Write, bytes: &[u8], context: &mut Context<S>) -> usize {
        if bytes.is_empty() {
            return 0;
        }
        match socket.write(bytes) {
            Ok(count) => {
                context.env.metrics.bytes_sent += count as u64;
                self.readiness.writable = count == bytes.len();
                if let Some(progress) = self.write_progress.as_mut() {
                    progress.take(count);
                } else if count < bytes.len() {
                    self.write_progress = Some(Box::new(WriteProgress::begin(context.env.now.instant)));
                }
                if matches!(self.phase, Phase::Open | Phase::Draining) {
                    self.since = context.env.now.instant;
                }
                count
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readiness.writable = false;
                self.write_progress.get_or_insert_with(|| Box::new(WriteProgress::begin(context.env.now.instant)));
                0
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => {
                self.socket_failed(&error, &mut context.env.scratch);
                0
            }
        }
    }

    pub(super) fn has_output(&self) -> bool {
        if matches!(self.phase, Phase::Connecting | Phase::Closed) {
            return false;
        }
        let replies = &self.framing.output.replies;
        let can_encrypt = !self.channel.session().is_handshaking() && !self.channel.session().has_failed();
        !self.unsent.is_empty() || can_encrypt && (!replies.unsent().is_empty() || self.is_close_notify_due())
    }

    fn is_close_notify_due(&self) -> bool {
        let is_last = self.phase == Phase::Draining || self.write_shutdown == WriteShutdown::Pending;
        is_last && self.write_shutdown < WriteShutdown::CloseNotifySent && self.framing.output.replies.is_empty()
    }

    /// Everything owed has been sent.
    fn finish(&mut self, context: &Context<S>) {
        if self.readiness.input_ended && !self.must_reset() {
            self.phase = Phase::Closed;
        } else {
            self.enter(Phase::Lingering, context.env.now.instant);
        }
    }
}
