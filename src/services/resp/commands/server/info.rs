//! `INFO`: the state of the server in Redis's words, of which monitoring tools read the well-known ones.

use std::fmt::Write as _;

use super::info_text::InfoText;
use super::persistence;
use crate::disconnect::Disconnect;
use crate::services::resp::call::{Call, CommandError};
use crate::services::resp::state::{Calls, REDIS_VERSION};

/// A section: its heading, whether plain `INFO` shows it, and its content.
struct Section {
    name: &'static str,
    by_default: bool,
    write: fn(&Call<'_, '_>, &mut InfoText),
}

const SECTIONS: [Section; 10] = [
    Section { name: "Server", by_default: true, write: server },
    Section { name: "Clients", by_default: true, write: clients },
    Section { name: "Memory", by_default: true, write: memory },
    Section { name: "Persistence", by_default: true, write: persistence::report },
    Section { name: "Stats", by_default: true, write: statistics },
    Section { name: "Replication", by_default: true, write: replication },
    Section { name: "CPU", by_default: true, write: processor },
    Section { name: "Commandstats", by_default: false, write: commands },
    Section { name: "Disconnects", by_default: false, write: disconnects },
    Section { name: "Keyspace", by_default: true, write: keyspace },
];

pub(crate) fn info(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let is_asked = |name: &str| call.request.from(1).any(|asked| asked.eq_ignore_ascii_case(name.as_bytes()));
    let (all, default) = (is_asked("all") || is_asked("everything"), is_asked("default") || call.request.len() == 1);
    let mut report = InfoText::default();
    for section in SECTIONS {
        if all || (default && section.by_default) || is_asked(section.name) {
            if !report.0.is_empty() {
                report.0.push_str("\r\n");
            }
            let _ = write!(report.0, "# {}\r\n", section.name);
            (section.write)(call, &mut report);
        }
    }
    let start = call.reply().position();
    call.reply().verbatim(report.0.as_bytes());
    call.spend_report(start);
    Ok(())
}

fn server(call: &Call<'_, '_>, report: &mut InfoText) {
    let up = call.now().unix_ms.saturating_sub(call.core.started.unix_ms) / 1000;
    report.field("redis_version", REDIS_VERSION);
    report.field("server_name", "latchkey");
    report.field("latchkey_version", env!("CARGO_PKG_VERSION"));
    report.field("redis_mode", "standalone");
    report.field("os", std::env::consts::OS);
    report.field("arch_bits", usize::BITS);
    report.field("process_id", std::process::id());
    report.field("server_time_usec", call.now().unix_ms.saturating_mul(1000));
    report.field("uptime_in_seconds", up);
    report.field("uptime_in_days", up / 86_400);
}

fn clients(call: &Call<'_, '_>, report: &mut InfoText) {
    report.field("connected_clients", call.core.clients.len());
    report.field("maxclients", call.exchange.env.limits.connections);
    report.field("blocked_clients", 0);
}

fn memory(call: &Call<'_, '_>, report: &mut InfoText) {
    let used = call.store.memory();
    report.field("used_memory", used);
    report.field("used_memory_human", human(used as u64));
    report.field("used_memory_dataset", used);
    report.field("mem_clients_normal", call.store.client_memory());
    report.field("maxmemory", call.core.options.max_memory);
    report.field("maxmemory_human", human(call.core.options.max_memory));
    report.field("maxmemory_policy", call.core.options.max_memory_policy);
}

/// An amount of memory with two decimals in the largest unit that fits.
#[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
fn human(bytes: u64) -> String {
    let units = [(1_u64 << 40, 'T'), (1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K')];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, letter)) => format!("{:.2}{letter}", bytes as f64 / unit as f64),
        None => format!("{bytes}B"),
    }
}

fn statistics(call: &Call<'_, '_>, report: &mut InfoText) {
    let (metrics, store, base) = (&call.exchange.env.metrics, call.store.stats(), &call.core.baseline);
    let since = |now: u64, then: u64| now.saturating_sub(then);
    report.field("total_connections_received", since(metrics.accepted, base.metrics.accepted));
    report.field("total_commands_processed", call.core.calls.iter().map(|calls| calls.total).sum::<u64>());
    report.field("total_net_input_bytes", since(metrics.bytes_received, base.metrics.bytes_received));
    report.field("total_net_output_bytes", since(metrics.bytes_sent, base.metrics.bytes_sent));
    report.field("rejected_connections", since(metrics.refused, base.metrics.refused));
    report.field("expired_keys", since(store.expired, base.store.expired));
    report.field("evicted_keys", since(store.evicted, base.store.evicted));
    report.field("keyspace_hits", since(store.hits, base.store.hits));
    report.field("keyspace_misses", since(store.misses, base.store.misses));
    let failed: u64 = call.core.calls.iter().map(|calls| calls.failed).sum();
    report.field("total_error_replies", failed + call.core.rejected);
    report.field("rejected_calls", call.core.rejected);
    report.field("malformed_xmlrpc_calls", since(metrics.malformed_calls, base.metrics.malformed_calls));
    report.field("acl_access_denied_cmd", since(metrics.denials, base.metrics.denials));
}

fn replication(_: &Call<'_, '_>, report: &mut InfoText) {
    report.field("role", "master");
    report.field("connected_slaves", 0);
}

/// As Redis writes it: seconds with six decimals. No child is ever started.
fn processor(call: &Call<'_, '_>, report: &mut InfoText) {
    let Some(time) = call.core.options.processor_time.and_then(|time| time()) else { return };
    for (name, time) in [("sys", time.system), ("user", time.user)] {
        report.field(&format!("used_cpu_{name}"), format_args!("{:.6}", time.as_secs_f64()));
    }
    for name in ["sys", "user"] {
        report.field(&format!("used_cpu_{name}_children"), "0.000000");
    }
}

#[expect(clippy::cast_precision_loss, reason = "an average of two decimals")]
fn commands(call: &Call<'_, '_>, report: &mut InfoText) {
    for (command, calls) in
        call.table.commands().zip(&call.core.calls).filter(|(_, calls)| calls.total + calls.rejected > 0)
    {
        let Calls { total, failed, rejected, .. } = calls;
        let (each, name) = (calls.microseconds(), command.name);
        let all = each * (*total as f64);
        let _ = write!(
            report.0,
            "cmdstat_{name}:calls={total},usec={all:.0},usec_per_call={each:.2},rejected_calls={rejected},\
             failed_calls={failed}\r\n"
        );
    }
}

/// Why connections have ended, in the words of the log. Redis has no such section.
fn disconnects(call: &Call<'_, '_>, report: &mut InfoText) {
    for reason in Disconnect::ALL {
        let before = call.core.baseline.metrics.disconnects(reason);
        report.field(reason.name(), call.exchange.env.metrics.disconnects(reason).saturating_sub(before));
    }
}

fn keyspace(call: &Call<'_, '_>, report: &mut InfoText) {
    if !call.store.is_empty() {
        let (keys, timed) = (call.store.len(), call.store.timed_len());
        report.field("db0", format_args!("keys={keys},expires={timed},avg_ttl=0"));
    }
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn amounts_are_readable() {
        assert_eq!([human(0), human(1023), human(1536), human(3 << 30)], ["0B", "1023B", "1.50K", "3.00G"]);
    }
}
