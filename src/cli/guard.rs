//! Limits on clients that all servers of this program share, and the machine's memory.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::{Failure, units};
use crate::limits::Limits;

/// Limits on what clients may use, for every protocol.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct GuardArgs {
    /// Memory for all clients together in bytes; above it, the client that uses most is closed and new ones are refused
    /// [default: a quarter of the memory of the machine or of the control group, but at most an eighth of --max-memory]
    #[arg(long, value_name = "BYTES", value_parser = units::bytes)]
    max_client_memory: Option<usize>,
    /// Maximum number of connections from one address (IPv6: one /64), or 'off'
    #[arg(long, value_name = "N", default_value = "off", value_parser = units::count_or_off)]
    max_connections_per_address: units::CountOrOff,
    /// Maximum number of unfinished TLS handshakes with one address (IPv6: one /64), or 'off'
    #[arg(long, value_name = "N", default_value = "off", value_parser = units::count_or_off)]
    max_handshakes_per_address: units::CountOrOff,
    /// Maximum size of one TLS handshake message in bytes; certificates are the largest
    #[arg(long, value_name = "BYTES", default_value = "64k", value_parser = units::bytes)]
    max_handshake: usize,
    /// Minimum rate in bytes per second at which a client must read waiting bytes, averaged over --write-timeout
    #[arg(long, value_name = "BYTES", default_value = "1k", value_parser = units::bytes)]
    min_write_rate: usize,
    /// Send TCP keepalive probes to a client that has been silent for this time, or 'off'
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = units::time_or_off)]
    tcp_keepalive: units::TimeOrOff,
}

/// Too little to serve a client below this.
const LEAST_CLIENT_MEMORY: usize = 1 << 20;

/// The clients' default share of the memory they share with keys: one part in this many.
const SHARE_OF_CLIENTS: usize = 8;

/// Enough for a PROXY protocol header and a ClientHello.
const LEAST_HANDSHAKE: usize = 8 << 10;

impl GuardArgs {
    /// Memory for all clients, where they and the keys together may use `shared` bytes.
    pub(super) fn client_memory(&self, shared: Option<usize>) -> Result<usize, Failure> {
        let share = shared.map_or(usize::MAX, |bytes| bytes / SHARE_OF_CLIENTS);
        let usual = || (memory() / 4).min(share).max(LEAST_CLIENT_MEMORY);
        let client_memory = self.max_client_memory.unwrap_or_else(usual);
        if client_memory < LEAST_CLIENT_MEMORY {
            return Err(Failure::usage("--max-client-memory", "must be at least 1m"));
        }
        if shared.is_some_and(|bytes| bytes <= client_memory) {
            let (flag, problem) = match self.max_client_memory {
                Some(_) => ("--max-client-memory", "must be less than --max-memory, which includes it"),
                None => ("--max-memory", "must be more than 1m, which is reserved for clients"),
            };
            return Err(Failure::usage(flag, problem));
        }
        Ok(client_memory)
    }

    /// Refuses flags without effect. `is_tls` says whether any listener uses TLS.
    pub(super) fn check_use(&self, is_tls: bool) -> Result<(), Failure> {
        if self.max_handshakes_per_address.0.is_some() && !is_tls {
            let problem = "no listener uses TLS, so there are no handshakes: remove this flag";
            return Err(Failure::usage("--max-handshakes-per-address", problem));
        }
        Ok(())
    }

    /// `limits` with these flags applied.
    pub(super) fn complete(&self, limits: &Limits, client_memory: usize) -> Result<Limits, Failure> {
        if self.max_handshake < LEAST_HANDSHAKE {
            return Err(Failure::usage("--max-handshake", "must be at least 8k, the size of a usual handshake"));
        }
        if self.max_handshake > Limits::LONGEST_HANDSHAKE + 1 {
            return Err(Failure::usage("--max-handshake", "must be at most 64k, the limit of the TLS library"));
        }
        if self.tcp_keepalive.0.is_some_and(|silence| silence < Duration::from_secs(1)) {
            return Err(Failure::usage(
                "--tcp-keepalive",
                "must be at least 1s, or 'off': TCP counts in whole seconds",
            ));
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

/// Memory available to this process in bytes: the machine's, or the lowest limit of its control groups.
fn memory() -> usize {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| machine_memory(&text));
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().flat_map(group_files).filter_map(|path| read(Path::new(&path))?.trim().parse().ok());
    // The memory of the smallest servers, where neither can be read.
    limits.chain(machine).min().unwrap_or(1 << 30)
}

/// `MemTotal` of `/proc/meminfo`.
fn machine_memory(text: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

/// The files with the memory limits for one line of `/proc/self/cgroup`, `ID:CONTROLLERS:PATH`: of the group and its
/// ancestors, in cgroup version 2 (no controllers) and version 1.
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
    fn the_memory_of_the_machine_is_parsed_from_kibibytes() {
        assert_eq!(machine_memory("MemTotal:       24689764 kB\nMemFree: 1 kB\n"), Some(24_689_764 << 10));
        assert_eq!(machine_memory("MemFree: 1 kB\n"), None);
        assert!(memory() >= LEAST_CLIENT_MEMORY);
    }

    #[test]
    fn memory_limits_of_control_groups_are_read_up_to_the_root() {
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
