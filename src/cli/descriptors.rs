//! How many connections the process's descriptors allow.

use super::Failure;
use crate::limits::Limits;

/// Descriptors that are not connections: standard streams, poller, listeners, files.
const OWN_DESCRIPTORS: u64 = 32;

/// At most one in so many connections is there to be refused.
const REFUSALS_SHARE: usize = 8;

/// Descriptors that are left for a data directory: its journals and its snapshot, read by a compaction and by a backup at
/// the same time. Where there are very few, half of them.
const DATA_DESCRIPTORS: u64 = 64;

/// What takes descriptors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    /// Those of one client.
    pub(super) client: usize,
    /// Whether there is a data directory.
    pub(super) data: bool,
}

/// `limits`, with the number of clients fitted to the descriptors: as many as were asked for, or as many as the descriptor
/// limit allows, which is raised as far as it goes.
pub(super) fn fit(limits: &Limits, wanted: Option<u32>, used: Use) -> Result<Limits, Failure> {
    let descriptors = rlimit::increase_nofile_limit(u64::MAX)
        .map_err(|error| Failure::Other(format!("the descriptor limit cannot be read: {error}")))?;
    let spare = descriptors.saturating_sub(OWN_DESCRIPTORS);
    let data = if used.data { DATA_DESCRIPTORS.min(spare / 2) } else { 0 };
    let spare = usize::try_from(spare - data).unwrap_or(usize::MAX);
    let refusals = limits.refusals.min(spare / REFUSALS_SHARE);
    let possible = ((spare - refusals) / used.client).max(1);
    let connections = match wanted {
        None => possible.min(limits.connections),
        Some(wanted) if wanted as usize <= possible => wanted as usize,
        Some(wanted) => {
            return Err(Failure::usage(
                "--max-connections",
                format!(
                    "{wanted} need more descriptors than the {descriptors} this process may have: raise `ulimit -n`"
                ),
            ));
        }
    };
    Ok(Limits { connections, refusals, ..limits.clone() })
}
