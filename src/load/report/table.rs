//! The report as people read it on a terminal.

use std::fmt::Write;

use super::{Report, amount, time};
use crate::load::histogram::Percentiles;
use crate::load::outcome::Verdict;

/// The whole table, ending in the verdict.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut text = format!("{} {} for {:.1} s\n\n", report.protocol, report.target, report.duration_s);
    totals(report, &mut text);
    if report.requests > 0 {
        times(&[("latency, from due", report.latency_us), ("service, from sent", report.service_us)], &mut text);
    }
    handshakes(report, &mut text);
    if let Some(idle) = report.idle {
        let _ = writeln!(text, "idle: {} connections open, {} of them answered", idle.open, idle.alive);
        if let Some(bytes) = idle.server_rss_per_connection_bytes {
            let _ = writeln!(text, "idle: {:.2} KiB of the server's resident memory each", bytes / 1024.0);
        }
        text.push('\n');
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
        let _ = writeln!(text, "{} reads found no value", report.misses);
    }
    for (reason, count) in &report.errors {
        let _ = writeln!(text, "{count} failed: {reason}");
    }
    let _ = writeln!(
        text,
        "client: {:.0}% busy, {:.2} s of processor time\n",
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

fn verdict(report: &Report, text: &mut String) {
    for slo in &report.slo {
        let _ = writeln!(text, "{} {}: {}", if slo.met { "met   " } else { "missed" }, slo.objective, slo.measured);
    }
    for problem in &report.problems {
        let _ = writeln!(text, "warning: {}", problem.explanation());
    }
    let _ = writeln!(
        text,
        "{}",
        match report.verdict {
            Verdict::Pass => "pass",
            Verdict::NotAsAsked => "FAIL: this run is not what was asked for",
            Verdict::SloMissed => "FAIL: an objective was missed",
        }
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::json::tests::sample;

    #[test]
    fn the_table_says_what_matters() {
        let text = render(&sample().0);
        for part in [
            "9998 answered: 1000/s, 1000/s sent of 1000/s asked",
            "2 failed: reset",
            "latency, from due",
            "40 full, 10 resumed",
            "missed p99<5ms",
            "met    errors<1%",
            "requests or connections failed",
            "FAIL: this run is not what was asked for",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(text.lines().all(|line| line.len() <= 110), "{text}");
    }
}
