//! What clients may cost, for every server of this program; and what the machine has.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::{Failure, units};
use crate::limits::Limits;

/// Bounds on what clients may cost, whatever is served to them.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct GuardArgs {
    /// What all clients together may hold, in bytes; past it, who holds most is closed, and newcomers are turned away
    /// [default: a quarter of the memory of the machine or of the control group, but no more than an eighth of a limit on
    /// keys and clients together]
    #[arg(long, value_name = "BYTES", value_parser = units::bytes)]
    max_client_memory: Option<usize>,
    /// Open connections from one address (IPv6: from one /64), or 'off'
    #[arg(long, value_name = "N", default_value = "off", value_parser = units::count_or_off)]
    max_connections_per_address: units::CountOrOff,
    /// TLS handshakes under way with one address (IPv6: with one /64), or 'off'
    #[arg(long, value_name = "N", default_value = "off", value_parser = units::count_or_off)]
    max_handshakes_per_address: units::CountOrOff,
    /// One message of a peer's handshake, in bytes: its certificates, above all
    #[arg(long, value_name = "BYTES", default_value = "64k", value_parser = units::bytes)]
    max_handshake: usize,
    /// Bytes a second that a client must take, on average over --write-timeout, while more wait for it
    #[arg(long, value_name = "BYTES", default_value = "1k", value_parser = units::bytes)]
    min_write_rate: usize,
    /// Ask by TCP whether a client that is silent for so long is still there, or 'off'
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = units::time_or_off)]
    tcp_keepalive: units::TimeOrOff,
}

/// Less than this serves nobody.
const LEAST_CLIENT_MEMORY: usize = 1 << 20;

/// What clients may hold of the memory that they share with keys, unless it is said: one part in so many.
const SHARE_OF_CLIENTS: usize = 8;

/// A PROXY protocol header and a ClientHello fit in this.
const LEAST_HANDSHAKE: usize = 8 << 10;

impl GuardArgs {
    /// What all clients together may hold, where they and the keys may take `shared` bytes.
    pub(super) fn client_memory(&self, shared: Option<usize>) -> Result<usize, Failure> {
        let share = shared.map_or(usize::MAX, |bytes| bytes / SHARE_OF_CLIENTS);
        let usual = || (memory() / 4).min(share).max(LEAST_CLIENT_MEMORY);
        let client_memory = self.max_client_memory.unwrap_or_else(usual);
        if client_memory < LEAST_CLIENT_MEMORY {
            return Err(Failure::usage("--max-client-memory", "at least 1m is needed to serve anybody"));
        }
        if shared.is_some_and(|bytes| bytes <= client_memory) {
            let (flag, problem) = match self.max_client_memory {
                Some(_) => ("--max-client-memory", "must be less than --max-memory, which is for keys too"),
                None => ("--max-memory", "must be more than 1m, which clients need to be served at all"),
            };
            return Err(Failure::usage(flag, problem));
        }
        Ok(client_memory)
    }

    /// `limits`, and these.
    pub(super) fn complete(&self, limits: &Limits, client_memory: usize) -> Result<Limits, Failure> {
        if self.max_handshake < LEAST_HANDSHAKE {
            return Err(Failure::usage("--max-handshake", "at least 8k is needed for a usual handshake"));
        }
        if self.max_handshake > Limits::LONGEST_HANDSHAKE + 1 {
            return Err(Failure::usage("--max-handshake", "at most 64k: the TLS library takes no longer message"));
        }
        if self.tcp_keepalive.0.is_some_and(|silence| silence < Duration::from_secs(1)) {
            return Err(Failure::usage("--tcp-keepalive", "TCP counts in whole seconds: at least 1s, or 'off'"));
        }
        Ok(Limits {
            client_memory,
            connections_per_address: self.max_connections_per_address.0,
            handshakes_per_address: self.max_handshakes_per_address.0,
            handshake_bytes: self.max_handshake.min(Limits::LONGEST_HANDSHAKE),
            write_rate: self.min_write_rate,
            keepalive: self.tcp_keepalive.0,
            ..limits.clone()
        })
    }
}

/// The memory that this process may use, in bytes: the machine's, or what its control groups leave it.
fn memory() -> usize {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| machine_memory(&text));
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().flat_map(group_files).filter_map(|path| read(Path::new(&path))?.trim().parse().ok());
    // Where nothing tells, what the smallest servers have.
    limits.chain(machine).min().unwrap_or(1 << 30)
}

/// `MemTotal` of `/proc/meminfo`.
fn machine_memory(text: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

/// Where the memory limits stand of one line of `/proc/self/cgroup`, `ID:CONTROLLERS:PATH`: of the group itself and of all
/// above it, in version 2 (no controllers) and version 1.
fn group_files(line: &str) -> Vec<String> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (root, name) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|controller| controller == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    Path::new(path)
        .ancestors()
        .map(|group| format!("{root}/{}/{name}", group.display().to_string().trim_matches('/')))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_tells_its_memory_in_kibibytes() {
        assert_eq!(machine_memory("MemTotal:       24689764 kB\nMemFree: 1 kB\n"), Some(24_689_764 << 10));
        assert_eq!(machine_memory("MemFree: 1 kB\n"), None);
        assert!(memory() >= LEAST_CLIENT_MEMORY);
    }

    #[test]
    fn limits_of_control_groups_are_looked_for_up_to_the_root() {
        assert_eq!(
            group_files("0::/system.slice/latchkey.service"),
            [
                "/sys/fs/cgroup/system.slice/latchkey.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup//memory.max",
            ]
        );
        assert_eq!(group_files("4:cpu,memory:/docker")[0], "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes");
        assert!(group_files("3:cpu:/docker").is_empty() && group_files("nonsense").is_empty());
    }
}
