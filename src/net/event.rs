//! Readiness as data.

/// A change of readiness for the owner of `token`. Each field is a hint and may be spurious.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, as the poller reports them")]
pub struct Event {
    /// The token given at registration.
    pub token: usize,
    /// Bytes, a connection, an end of stream or an error can be read.
    pub readable: bool,
    /// Bytes can be written, or a write would return an error.
    pub writable: bool,
    /// The peer's FIN or a reset follows the bytes, if any, that can be read. It may share its event with data, and
    /// then no further event follows: the owner must read to the end of the stream.
    pub read_closed: bool,
    /// Urgent data (RFC 9293, 3.8.5) lies among the bytes that can be read. A read ends before it, so a short read does
    /// not mean that the socket is empty: the owner must read to `WouldBlock`.
    pub urgent: bool,
}
