//! How many connections the process's descriptors allow.

use super::Failure;
use crate::limits::Limits;

/// Descriptors that are not connections: standard streams, poller, listeners, files.
const OWN_DESCRIPTORS: u64 = 32;

/// How many clients may be connected when each takes `each` descriptors: as many as were asked for, or as many as the
/// descriptor limit allows, which is raised as far as it goes.
pub(super) fn connections(wanted: Option<u32>, each: usize) -> Result<usize, Failure> {
    let descriptors = rlimit::increase_nofile_limit(u64::MAX)
        .map_err(|error| Failure::Other(format!("the descriptor limit cannot be read: {error}")))?;
    let defaults = Limits::default();
    let spare = usize::try_from(descriptors.saturating_sub(OWN_DESCRIPTORS)).unwrap_or(usize::MAX);
    let possible = (spare.saturating_sub(defaults.refusals) / each).max(1);
    match wanted {
        None => Ok(possible.min(defaults.connections)),
        Some(wanted) if wanted as usize <= possible => Ok(wanted as usize),
        Some(wanted) => Err(Failure::usage(
            "--max-connections",
            format!("{wanted} need more descriptors than the {descriptors} this process may have: raise `ulimit -n`"),
        )),
    }
}
