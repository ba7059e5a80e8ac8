//! How many connections the descriptor limit allows.

use super::Failure;
use super::threads::Threads;
use crate::limits::Limits;

/// Descriptors that are not connections: standard streams, poller, listeners, files.
const OWN_DESCRIPTORS: u64 = 32;

/// Descriptors of each further loop: its poller, what wakes it, and a reserve.
const LOOP_DESCRIPTORS: u64 = 3;

/// At most one connection in this many is kept open only to report that it is refused.
const REFUSALS_SHARE: usize = 8;

/// Where descriptors are few, --admin connections and their handshakes get one in this many, unless --admin-connections
/// asks for more.
const OPERATORS_SHARE: usize = 4;

/// Descriptors reserved for a data directory: journals and snapshot, read by a compaction and a backup at the same
/// time. Where very few are left, half of them.
const DATA_DESCRIPTORS: u64 = 64;

/// Below this a low limit is a warning.
const FEW: usize = 1000;

/// From this on the limit is not logged.
const PLENTY: usize = 10_000;

/// What needs descriptors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    /// Descriptors per client.
    pub(super) client: usize,
    /// The loops.
    pub(super) threads: Threads,
    /// Whether there is a data directory.
    pub(super) data: bool,
    /// Connections of `--admin` listeners.
    pub(super) operators: Operators,
}

/// How many connections `--admin` listeners have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operators {
    /// There is no `--admin` listener.
    None,
    /// The default number.
    Usual,
    /// The number of `--admin-connections`.
    Wanted(u32),
}

/// `limits` with the number of clients fitted to the descriptor limit, which is raised to its hard limit: `wanted`, or
/// as many as fit.
pub(super) fn fit(limits: &Limits, wanted: Option<u32>, used: Use) -> Result<(Limits, Option<Shortage>), Failure> {
    let descriptors = rlimit::increase_nofile_limit(u64::MAX)
        .map_err(|error| Failure::Other(format!("cannot read the descriptor limit: {error}")))?;
    let limits = fit_to(descriptors, limits, wanted, used)?;
    let is_short = wanted.is_none() && limits.connections < Limits::default().connections;
    let shortage = is_short.then_some(Shortage { descriptors, places: limits.connections });
    Ok((limits, shortage))
}

/// The descriptor limit determines how many clients fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shortage {
    descriptors: u64,
    places: usize,
}

impl Shortage {
    /// Logs it, once the server starts.
    pub(super) fn say(self) {
        let Self { descriptors, places } = self;
        let cure = "for more, raise `ulimit -n` (systemd: LimitNOFILE=)";
        if places < FEW {
            tracing::warn!("fd limit {descriptors} allows {places} clients: {cure}");
        } else if places < PLENTY {
            tracing::info!("fd limit {descriptors} allows {places} clients: {cure}");
        }
    }
}

fn fit_to(descriptors: u64, limits: &Limits, wanted: Option<u32>, used: Use) -> Result<Limits, Failure> {
    let further_loops = used.threads.count().saturating_sub(1) as u64;
    let spare = descriptors.saturating_sub(OWN_DESCRIPTORS + LOOP_DESCRIPTORS * further_loops);
    let data = if used.data { DATA_DESCRIPTORS.min(spare / 2) } else { 0 };
    let spare = usize::try_from(spare - data).unwrap_or(usize::MAX);
    let too_few = |flag: &str, wanted: u32| {
        let need = "needs more descriptors than the limit of";
        Failure::usage(flag, format!("{wanted} {need} {descriptors}: raise `ulimit -n`"))
    };
    let admin_connections = match used.operators {
        Operators::None => 0,
        Operators::Usual => limits.admin_connections.min(spare / OPERATORS_SHARE / 2).max(1),
        Operators::Wanted(wanted) if (wanted as usize).saturating_mul(2) < spare => wanted as usize,
        Operators::Wanted(wanted) => return Err(too_few("--admin-connections", wanted)),
    };
    // As many again may be in their handshake.
    let spare = spare.saturating_sub(admin_connections.saturating_mul(2));
    let refusals = limits.refusals.min(spare / REFUSALS_SHARE);
    let possible = ((spare - refusals) / used.client).max(1);
    let connections = match wanted {
        None => possible.min(limits.connections),
        Some(wanted) if wanted as usize <= possible => wanted as usize,
        Some(wanted) => return Err(too_few("--max-connections", wanted)),
    };
    Ok(Limits { connections, admin_connections, refusals, ..limits.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(descriptors: u64, wanted: Option<u32>, data: bool, operators: Operators) -> Option<[usize; 3]> {
        let fitted = fit_to(
            descriptors,
            &Limits::default(),
            wanted,
            Use { client: 1, threads: Threads::default(), data, operators },
        );
        fitted.ok().map(|limits| [limits.connections, limits.admin_connections, limits.refusals])
    }

    #[test]
    fn admin_connections_get_descriptors_before_clients() {
        assert_eq!(places(64, None, false, Operators::None), Some([28, 0, 4]));
        assert_eq!(places(64, None, false, Operators::Usual), Some([21, 4, 3]));
        assert_eq!(places(64, None, true, Operators::Usual), Some([11, 2, 1]));
        assert_eq!(places(64, None, false, Operators::Wanted(10)), Some([11, 10, 1]));
        assert_eq!(places(64, None, false, Operators::Wanted(16)), None, "nothing is left for clients");
        assert_eq!(places(64, Some(22), false, Operators::Usual), None);
        assert_eq!(places(4096, None, false, Operators::Usual), Some([4096 - 32 - 2 * 16 - 64, 16, 64]));
    }
}
