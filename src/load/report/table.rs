//! The report as people read it on a terminal.

use std::fmt::Write;

use super::json::Idle;
use super::json::Report;
use crate::load::histogram::Percentiles;
use crate::load::outcome::RequestFailure;
use crate::load::readable::{amount, time};

/// The whole table, ending in the verdict.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut text = format!("{} {} for {:.1} s\n\n", report.protocol, report.target, report.duration_s);
    totals(report, &mut text);
    let rows = [("latency, from due", report.latency_us), ("service, from sent", report.service_us)];
    let rows: Vec<_> = rows.into_iter().filter(|(_, us)| us.max > 0.0).collect();
    if !rows.is_empty() {
        times(&rows, &mut text);
    }
    handshakes(report, &mut text);
    if let Some(idle) = &report.idle {
        memory(idle, &mut text);
    }
    verdict(report, &mut text);
    text
}

fn totals(report: &Report, text: &mut String) {
    let asked = report.asked_per_s.map_or(String::new(), |asked| format!(" of {}/s asked", amount(asked)));
    let _ = writeln!(
        text,
        "{} answered: {}/s, {}/s sent{asked}",
        report.requests,
        amount(report.answered_per_s),
        amount(report.sent_per_s)
    );
    if report.misses > 0 {
        let _ = writeln!(
            text,
            "{} reads of missing keys: not written yet (--ratio 1:0 --distribution sequential writes all), or lost",
            report.misses
        );
    }
    if let Some(prefix) = &report.key_prefix {
        let keys = report.settings.get("keys").map_or(String::new(), |keys| format!(", at most {keys} of them"));
        let _ = writeln!(text, "{} writes have left keys on the server: {prefix}...{keys}", report.writes);
    }
    for (reason, count) in &report.errors {
        let remedy = RequestFailure::from_name(reason).map_or("", RequestFailure::remedy);
        let _ = writeln!(text, "{count} failed: {reason}: {remedy}");
        if reason == RequestFailure::ErrorReply.name() {
            report.error_replies.iter().for_each(|reply| _ = writeln!(text, "  {} times: {}", reply.count, reply.text));
        }
    }
    if report.reconnections > 0 {
        let _ = writeln!(text, "{} connections replaced an earlier one", report.reconnections);
    }
    let waits = match report.client_starved * 100.0 {
        percent if percent >= 1.0 => format!(", {percent:.0}% waiting for a processor"),
        _ => String::new(),
    };
    let _ = writeln!(
        text,
        "client: {:.0}% busy{waits}, {:.2} s of processor time\n",
        report.client_busy * 100.0,
        report.client_cpu_s
    );
}

/// Rows of percentiles under their heading.
#[must_use]
pub fn render_times(rows: &[(&str, Percentiles)]) -> String {
    let mut text = String::new();
    times(rows, &mut text);
    text
}

fn times(rows: &[(&str, Percentiles)], text: &mut String) {
    let heading = ["p50", "p90", "p99", "p99.9", "max", "mean"];
    let _ = write!(text, "{:18}", "");
    for name in heading {
        let _ = write!(text, "{name:>10}");
    }
    text.push('\n');
    for (name, Percentiles { p50, p90, p99, p99_9, max, mean }) in rows {
        let _ = write!(text, "{name:18}");
        for us in [p50, p90, p99, p99_9, max, mean] {
            let _ = write!(text, "{:>10}", time(*us));
        }
        text.push('\n');
    }
    text.push('\n');
}

fn handshakes(report: &Report, text: &mut String) {
    let made = &report.handshakes;
    if made.full + made.resumed + made.hrr > 0 {
        let _ = writeln!(text, "handshakes: {} full, {} resumed, {} retried", made.full, made.resumed, made.hrr);
        for (name, count) in made.groups.iter().chain(&made.suites) {
            let _ = writeln!(text, "  {name}: {count}");
        }
    }
    let phases = [("TCP connect", &made.tcp), ("TLS handshake", &made.tls), ("first byte", &made.first_byte)];
    let measured: Vec<_> =
        phases.into_iter().filter(|(_, phase)| phase.count > 0).map(|(name, phase)| (name, phase.us)).collect();
    if !measured.is_empty() {
        times(&measured, text);
    }
}

fn memory(idle: &Idle, text: &mut String) {
    let _ = writeln!(text, "idle: {} connections open, {} of them answered", idle.open, idle.alive);
    if let Some(((before, with), each)) =
        idle.server_rss_before_bytes.zip(idle.server_rss_bytes).zip(idle.server_rss_per_connection_bytes)
    {
        let [before, with, grown] = [before, with, with.saturating_sub(before)].map(mib);
        let _ = writeln!(
            text,
            "idle: the server's resident memory was {before} MiB before, {with} MiB with all of them open: {grown} MiB more"
        );
        let each = each / 1024.0;
        match idle.server_rss_per_connection_at_most_bytes {
            None => {
                let _ = writeln!(text, "idle: {each:.2} KiB each");
            }
            Some(most) => {
                let _ = writeln!(
                    text,
                    "idle: between {each:.2} and {:.2} KiB each: the server has been as large before, and what it had kept \
                     was used\nagain; to know better, measure one that was just started",
                    most / 1024.0
                );
            }
        }
    }
    text.push('\n');
}

#[expect(clippy::cast_precision_loss, reason = "memory sizes stay far below 2^53")]
fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

fn verdict(report: &Report, text: &mut String) {
    for slo in &report.slo {
        let _ = writeln!(text, "{} {}: {}", if slo.met { "met   " } else { "missed" }, slo.objective, slo.measured);
    }
    for warning in report.warnings() {
        let _ = writeln!(text, "warning: {warning}");
    }
    let _ = writeln!(text, "{}", report.outcome);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::json::tests::sample;

    #[test]
    fn the_table_ends_in_the_verdict() {
        let text = render(&sample().0);
        for part in [
            "9998 answered: 1000/s, 1000/s sent of 1000/s asked",
            "7 writes have left keys on the server: lk:12345678:",
            "2 failed: reset: the server reset connections",
            "latency, from due",
            "40 full, 10 resumed",
            "missed p99<5ms",
            "met    errors<1%",
            "FAIL: errors (--allow errors accepts that)",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        let table = text.lines().take_while(|line| !line.starts_with("missed"));
        assert!(table.filter(|line| !line.contains("failed:")).all(|line| line.len() <= 110), "{text}");
    }

    #[test]
    fn idle_memory_is_shown_with_its_uncertainty() {
        let mib = 1 << 20;
        let idle = Idle {
            open: 1024,
            alive: 1024,
            server_rss_before_bytes: Some(20 * mib),
            server_rss_bytes: Some(24 * mib),
            server_rss_per_connection_bytes: Some(4096.0),
            server_rss_per_connection_at_most_bytes: None,
        };
        let mut fresh = String::new();
        memory(&idle, &mut fresh);
        assert!(fresh.contains("20.0 MiB before, 24.0 MiB with all of them open: 4.0 MiB more"), "{fresh}");
        assert!(fresh.contains("4.00 KiB each"), "{fresh}");
        let mut used = String::new();
        memory(&Idle { server_rss_per_connection_at_most_bytes: Some(24_576.0), ..idle }, &mut used);
        assert!(used.contains("between 4.00 and 24.00 KiB each"), "{used}");
    }
}
