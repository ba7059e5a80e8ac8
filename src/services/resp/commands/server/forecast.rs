//! The cost of commands on the server as a whole in a transaction.

use crate::protocol::resp::Request;
use crate::services::resp::call::budget::{Budget, UNIT_TEXT};

/// The longest reply of `INFO`.
const INFO_BYTES: usize = 24 << 10;

/// A report of the server.
pub(crate) fn info(budget: &mut Budget<'_>, _: Request<'_>) {
    budget.work(INFO_BYTES / UNIT_TEXT);
    budget.replies(INFO_BYTES);
}

/// `CONFIG GET`: a pattern becomes a table of states.
pub(crate) fn config_get(budget: &mut Budget<'_>, request: Request<'_>) {
    let bytes: usize = request.from(2).map(|pattern| pattern.len().min(256)).sum();
    budget.work(4 * request.len() + bytes / 4);
    budget.replies(4 << 10);
}

/// The table of commands, or as much of it as so many names may request.
pub(crate) fn describe_commands(budget: &mut Budget<'_>, request: Request<'_>) {
    /// All of it, and the most that one name requests: a container with its subcommands.
    const ALL: usize = 64 << 10;
    const ONE: usize = 8 << 10;
    let bytes = if request.len() <= 2 { ALL } else { request.len() * ONE };
    budget.work(bytes / UNIT_TEXT);
    budget.replies(bytes);
}

/// All keys are removed.
pub(crate) fn flush(budget: &mut Budget<'_>, _: Request<'_>) {
    budget.work(4);
    budget.remove_all();
}
