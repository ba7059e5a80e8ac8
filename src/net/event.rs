//! Readiness as data.

/// What changed for the owner of `token`. Hints: each may be spurious.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, as the poller tells them")]
pub struct Event {
    /// The token given at registration.
    pub token: usize,
    /// Bytes, a connection, an end of stream or an error can be read.
    pub readable: bool,
    /// Bytes can be written, or a write would tell an error.
    pub writable: bool,
    /// The peer's FIN or a reset is behind the bytes, if any, that can be read. It may share its event with data, and
    /// then no further event follows: reading must go on to the end of the stream.
    pub read_closed: bool,
    /// Urgent data (RFC 9293, 3.8.5) lies among the bytes that can be read. A read ends before it, so a short one does not
    /// mean that the socket is empty: reading must go on to `WouldBlock`.
    pub urgent: bool,
}
