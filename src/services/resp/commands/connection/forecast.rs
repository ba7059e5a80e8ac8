//! The cost of commands on connections in a transaction.

use crate::protocol::resp::Request;
use crate::services::resp::call::budget::{Budget, UNIT_KEYS};

/// The longest line of a client in `CLIENT LIST`, without its names.
const CLIENT_BYTES: usize = 2 << 10;

/// All clients are visited.
pub(crate) fn client_kill(budget: &mut Budget<'_>, _: Request<'_>) {
    budget.work(budget.clients / UNIT_KEYS);
}

/// All clients are described.
pub(crate) fn client_list(budget: &mut Budget<'_>, _: Request<'_>) {
    budget.work(budget.clients.saturating_mul(2));
    budget.replies(budget.clients.saturating_mul(CLIENT_BYTES));
}

/// One client is described.
pub(crate) fn client_info(budget: &mut Budget<'_>, _: Request<'_>) {
    budget.work(2);
    budget.replies(CLIENT_BYTES);
}
