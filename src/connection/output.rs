//! What a connection owes its peer.

use super::replies::Replies;

/// The replies owed to a peer, and further results of its requests.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Replies in the order of their requests.
    pub(crate) replies: Replies,
    /// Requests served in this turn, with what the service has [spent](super::Exchange::spend).
    pub(crate) served: usize,
    /// Further details of the reason why the connection ends.
    pub(super) detail: Option<Box<str>>,
}
