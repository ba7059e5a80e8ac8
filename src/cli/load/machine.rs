//! Processes and their limits, from the operating system.

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use crate::cli::Failure;

/// Descriptors that are not connections: standard streams, output files, and a poller and a waker for each thread.
const OWN_DESCRIPTORS: u64 = 16;

/// Makes sure that `connections` can be open at once.
pub(super) fn reserve_descriptors(connections: u64, threads: u32) -> Result<(), Failure> {
    let needed = connections + OWN_DESCRIPTORS + 4 * u64::from(threads);
    let allowed = rlimit::increase_nofile_limit(needed.max(1024))
        .map_err(|error| Failure::Other(format!("the descriptor limit cannot be read: {error}")))?;
    if allowed >= needed {
        return Ok(());
    }
    Err(Failure::usage(
        "--connections",
        format!(
            "{connections} need {needed} descriptors and this process may have {allowed}: raise the hard limit (as root \
             `ulimit -Hn {needed}`, or `nofile` in /etc/security/limits.conf, or `LimitNOFILE` of a systemd service) or \
             use several hosts and `load merge`"
        ),
    ))
}

/// Makes sure that connections can be made from `address`.
pub(super) fn check_local(address: IpAddr) -> Result<(), Failure> {
    let refuse = |error| Failure::usage("--bind", format!("{address} is not an address of this machine: {error}"));
    UdpSocket::bind((address, 0)).map(drop).map_err(refuse)
}

/// The processor time that the calling thread has used, where the system counts it.
pub(super) fn thread_cpu() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// The resident memory of a process, in bytes.
pub(super) fn resident_bytes(pid: u32) -> Option<u64> {
    status(pid, "VmRSS:")
}

/// The most resident memory that a process has ever had, in bytes.
pub(super) fn peak_bytes(pid: u32) -> Option<u64> {
    status(pid, "VmHWM:")
}

fn status(pid: u32, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_a_thread_that_runs() {
        assert!(resident_bytes(std::process::id()).is_some_and(|bytes| bytes > 1 << 20));
        assert!(peak_bytes(std::process::id()) >= resident_bytes(std::process::id()).map(|bytes| bytes / 2));
        assert!(thread_cpu().is_some());
    }

    #[test]
    fn too_many_connections_are_refused_with_the_number_and_the_cure() {
        let message = reserve_descriptors(u64::MAX / 2, 1).expect_err("too many").to_string();
        assert!(message.contains("--connections") && message.contains("ulimit -Hn"), "{message}");
    }
}
