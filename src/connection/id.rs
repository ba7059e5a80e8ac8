//! Ids of connections that cannot be confused.

/// A slab key together with a generation.
///
/// It is used in poll tokens, timers and late replies, all of which may outlive the connection. The id of a reused slot
/// has an old generation, so the comparison fails and it is ignored: no reply and no event can reach the wrong client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId {
    /// Index in the slab.
    pub key: u32,
    /// How many connections were opened before this one, modulo 2^32.
    pub generation: u32,
}

impl PeerId {
    /// Both halves in one word, for a poll token.
    #[must_use]
    pub fn token(self) -> usize {
        const { assert!(usize::BITS == 64, "poll tokens hold a key and a generation of 32 bits each") };
        ((self.generation as usize) << 32) | self.key as usize
    }

    /// The inverse of [`token`](Self::token).
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of a 64-bit word")]
    pub fn from_token(token: usize) -> Self {
        Self { key: token as u32, generation: (token >> 32) as u32 }
    }
}

impl std::fmt::Display for PeerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.key, self.generation)
    }
}
