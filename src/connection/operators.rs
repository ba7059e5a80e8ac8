//! Places for operators.

/// Counts the places that operators have taken. An operator gets a place after the handshake and admission: a socket
/// that sends nothing, or presents no accepted certificate, takes none.
#[derive(Debug, Default)]
pub struct Operators {
    pub(super) placed: usize,
    pub(super) is_client_place_free: bool,
}

impl Operators {
    /// Places taken.
    #[must_use]
    pub fn placed(&self) -> usize {
        self.placed
    }

    /// Sets whether an operator who finds no place may take a client's.
    pub fn set_client_place_free(&mut self, is_free: bool) {
        self.is_client_place_free = is_free;
    }
}
