//! The report of a run as one static page.

#![expect(clippy::cast_precision_loss, reason = "counts and seconds stay far below 2^53")]

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use quick_xml::escape::escape;

use super::charts::{self, Axis, Line};
use super::json::Report;
use super::json::{ReportPhase, SecondRow};
use super::page::{figure, page, table, tiles};
use crate::load::histogram::Percentiles;
use crate::load::outcome::Verdict;
use crate::load::readable::{amount, time};

/// The caption of the latency curve's figure.
pub(super) const ABOUT_CURVES: &str = "How long the fastest so many percent took: latency from when a request was due, service time from when it was sent.";

/// The whole page.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut body = String::new();
    heading(report, &mut body);
    summary(report, &mut body);
    body.push_str("<div class=\"grid\">\n");
    over_time(report, &mut body);
    by_percentile(report, &mut body);
    times_section(report, &mut body);
    counts_section(report, &mut body);
    body.push_str("</div>\n<p class=\"quiet flags\">");
    for (name, value) in &report.settings {
        let _ = write!(body, "<span>--{} {}</span> ", escape(name), escape(value));
    }
    body.push_str("</p>\n");
    page(&format!("{} {}", report.protocol, report.target), &body)
}

fn heading(report: &Report, body: &mut String) {
    let _ = writeln!(body, "<h1>{} {}</h1>", escape(&report.protocol), escape(&report.target));
    let began = UNIX_EPOCH + Duration::from_millis(report.started_unix_ms.min(MAX_UNIX_MS));
    let began = humantime::format_rfc3339_seconds(began);
    let _ = writeln!(body, "<p class=\"quiet\">{began}, {}</p>", escape(&report.tool));
    let class = if report.verdict == Verdict::Pass { "good" } else { "bad" };
    let verdict = escape(&report.outcome);
    let asked = report.asked_per_s.map_or(String::new(), |asked| format!(" of {}/s asked", amount(asked)));
    let _ = writeln!(
        body,
        "<p><strong class=\"{class}\">{verdict}</strong></p>\n<p>{} answered in {:.1} s: {}/s, {}/s sent{asked}</p>",
        report.requests,
        report.duration_s,
        amount(report.answered_per_s),
        amount(report.sent_per_s)
    );
    for warning in report.warnings() {
        let _ = writeln!(body, "<p class=\"bad\">{}</p>", escape(&warning));
    }
}

/// The end of the year 9999, the last that a date can show.
const MAX_UNIX_MS: u64 = 253_402_300_799_000;

fn summary(report: &Report, body: &mut String) {
    let Percentiles { p50, p99, p99_9, max, .. } = report.latency_us;
    let mut parts = vec![("answers a second", amount(report.answered_per_s))];
    if report.latency_curve.is_empty() {
        body.push_str("<p class=\"bad\">Nothing was answered, so there is no latency to show.</p>\n");
    } else {
        parts.extend([("latency p50", time(p50)), ("latency p99", time(p99))]);
        parts.extend([("latency p99.9", time(p99_9)), ("latency max", time(max))]);
    }
    parts.push(("failures", report.errors.values().sum::<u64>().to_string()));
    tiles(&parts, body);
}

fn times_section(report: &Report, body: &mut String) {
    let made = &report.handshakes;
    let whole = [
        ("latency, from due", report.latency_us, &report.latency_curve),
        ("service, from sent", report.service_us, &report.service_curve),
    ];
    let phases = [("TCP connect", &made.tcp), ("TLS handshake", &made.tls), ("first byte", &made.first_byte)];
    let phases = phases.map(|(name, phase)| (name, phase.us, &phase.curve));
    let rows = whole.into_iter().chain(phases).filter(|(.., curve)| !curve.is_empty());
    let rows: Vec<_> = rows.map(|(name, us, _)| (name, us)).collect();
    if rows.is_empty() {
        return;
    }
    body.push_str("<section><h2>Times</h2>\n");
    times_table(&rows, body);
    if report.asked_per_s.is_none() && report.requests > 0 {
        body.push_str(
            "<p class=\"quiet\">A closed loop asks less of a slow server, so its latency is that of the requests it \
             made, not of users who arrive on their own. Use --rate for those.</p>\n",
        );
    }
    body.push_str("</section>\n");
}

/// Percentiles under their names.
pub(super) fn times_table(rows: &[(&str, Percentiles)], body: &mut String) {
    let rows = rows.iter().map(|(name, Percentiles { p50, p90, p99, p99_9, max, .. })| {
        let mut cells = vec![(*name).to_owned()];
        cells.extend([p50, p90, p99, p99_9, max].map(|us| time(*us)));
        cells
    });
    table(&["", "p50", "p90", "p99", "p99.9", "max"], rows, body);
}

fn counts_section(report: &Report, body: &mut String) {
    let made = &report.handshakes;
    let mut rows: Vec<_> =
        report.errors.iter().map(|(reason, count)| (format!("failed: {reason}"), count.to_string())).collect();
    rows.extend(report.error_replies.iter().map(|reply| (format!("error: {}", reply.text), reply.count.to_string())));
    rows.extend([
        ("client busy".to_owned(), format!("{:.0}%", report.client_busy * 100.0)),
        ("client processor time".to_owned(), format!("{:.2} s", report.client_cpu_s)),
    ]);
    if made.full + made.resumed + made.hrr > 0 {
        rows.extend([
            ("handshakes, full".to_owned(), made.full.to_string()),
            ("handshakes, resumed".to_owned(), made.resumed.to_string()),
            ("handshakes, retried".to_owned(), made.hrr.to_string()),
        ]);
    }
    rows.extend(made.groups.iter().chain(&made.suites).map(|(name, count)| (name.clone(), count.to_string())));
    if report.misses > 0 {
        rows.push(("reads that found no value".to_owned(), report.misses.to_string()));
    }
    if let Some(idle) = report.idle {
        rows.push(("idle connections, open".to_owned(), idle.open.to_string()));
        rows.push(("idle connections, answering".to_owned(), idle.alive.to_string()));
        if let Some(bytes) = idle.server_rss_per_connection_bytes {
            rows.push(("server memory for each".to_owned(), format!("{:.2} KiB", bytes / 1024.0)));
        }
    }
    let verdict = |met| if met { "met" } else { "missed" };
    let objectives =
        report.slo.iter().map(|slo| (slo.objective.clone(), format!("{}, {}", slo.measured, verdict(slo.met))));
    rows.extend(objectives);
    body.push_str("<section><h2>Counts</h2>\n");
    table(&["", ""], rows.into_iter().map(|(name, value)| vec![name, value]), body);
    body.push_str("</section>\n");
}

fn over_time(report: &Report, body: &mut String) {
    // Idle connections are all woken at once: that has no course.
    if report.idle.is_some() {
        return;
    }
    let rows = report.shown_seconds();
    let seconds = rows.len() as f64;
    let covered = report.duration_s.clamp(f64::MIN_POSITIVE, 1.0);
    let what = if report.protocol == "handshake" { "Handshakes" } else { "Answers" };
    let answered = by_second(rows, |row| Some(row.answered as f64 / covered));
    let mut throughput = vec![Line::course("answered", 0, answered)];
    let asked = by_second(rows, |row| Some(row.asked? / covered));
    if !asked.is_empty() {
        throughput.insert(0, Line::course("asked", 5, asked).wide());
    }
    let svg = charts::over_time(&throughput, Axis::Amount, seconds);
    figure("Throughput over time", &format!("{what} a second, second by second."), &throughput, svg, body);
    let latency = latency_lines(rows);
    let about = "By the second of the answer: latency from when a request was due, service time from when it was sent.";
    figure("Latency over time", about, &latency, charts::over_time(&latency, Axis::Time, seconds), body);
    if let Some(last) = report.seconds.iter().rposition(|row| row.errors > 0) {
        // Those of a last second in part must not be left out.
        let rows = report.seconds.get(..rows.len().max(last + 1)).unwrap_or_default();
        let errors = [Line::course("failed", 3, by_second(rows, |row| Some(row.errors as f64)))];
        let svg = charts::over_time(&errors, Axis::Amount, rows.len() as f64);
        figure("Failures over time", "Failures a second, of requests and connections.", &errors, svg, body);
    }
}

/// The percentiles second by second. A second in which nothing was answered or given up has none.
pub(super) fn latency_lines(rows: &[SecondRow]) -> [Line; 5] {
    let line = |name, colour, of: fn(&SecondRow) -> f64| {
        Line::course(name, colour, by_second(rows, |row| (row.latency_us.max > 0.0).then(|| of(row))))
    };
    [
        line("max", 3, |row| row.latency_us.max),
        line("p99", 2, |row| row.latency_us.p99).wide(),
        line("p90", 1, |row| row.latency_us.p90),
        line("p50", 0, |row| row.latency_us.p50),
        Line::course("service p99", 4, by_second(rows, |row| (row.answered > 0).then_some(row.service_us.p99))),
    ]
}

fn by_percentile(report: &Report, body: &mut String) {
    let curves = [
        Line::new("latency", 0, report.latency_curve.clone()).wide(),
        Line::new("service time", 1, report.service_curve.clone()),
    ];
    figure("Latency by percentile", ABOUT_CURVES, &curves, charts::over_quantiles(&curves), body);
    let made = &report.handshakes;
    let phase = |name: &str, colour, phase: &ReportPhase| Line::new(name, colour, phase.curve.clone());
    let phases = [
        phase("TCP connect", 0, &made.tcp),
        phase("TLS handshake", 1, &made.tls),
        phase("first byte", 2, &made.first_byte),
    ];
    let about = "The parts of connecting: to the connected socket, from there to the end of the handshake, and from the \
                 first request (or the end of the handshake) to the first byte back.";
    figure("Connecting by percentile", about, &phases, charts::over_quantiles(&phases), body);
}

/// Points in the middle of their seconds, where there is something to show.
pub(in crate::load) fn by_second(rows: &[SecondRow], of: impl Fn(&SecondRow) -> Option<f64>) -> Vec<(f64, f64)> {
    rows.iter().filter_map(|row| Some((row.second as f64 + 0.5, of(row)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::page::tests::check_page;
    use super::*;
    use crate::load::report::json::tests::sample;

    #[test]
    fn the_page_is_well_formed_and_stands_alone() {
        let page = render(&sample().0);
        check_page(&page);
        assert_eq!(page.matches("<figure>").count(), 5);
        assert!(page.contains("tls://&lt;localhost&gt;:20000") && !page.contains("<localhost>"));
        assert!(page.contains("error: ERR &lt;b&gt;no&lt;/b&gt;"), "{page}");
        assert!(page.contains("2023-11-14T22:13:20Z"), "when it began");
    }

    #[test]
    fn a_run_shorter_than_a_second_shows_its_rate() {
        let (mut report, _) = sample();
        report.seconds.truncate(1);
        report.duration_s = 0.5;
        assert_eq!(report.shown_seconds().len(), 1);
        let page = render(&report);
        check_page(&page);
        // 1,000 answers in half a second.
        assert!(page.contains("\n2000\n"), "{page}");
    }

    #[test]
    fn a_ramp_is_drawn_as_it_was_asked_for() {
        let (mut report, _) = sample();
        let legend = |page: &str| page.contains("</span>asked</span>");
        assert!(legend(&render(&report)));
        for row in &mut report.seconds {
            row.asked = Some(200.0 * row.second as f64);
        }
        let page = render(&report);
        check_page(&page);
        // From the bottom up: no average over the run, and more than what was answered.
        assert!(legend(&page) && page.contains("\n2000\n"), "{page}");
        report.seconds.iter_mut().for_each(|row| row.asked = None);
        assert!(!legend(&render(&report)), "a closed loop asks for no rate");
    }

    #[test]
    fn a_run_without_an_answer_says_so() {
        let (mut report, _) = sample();
        for row in &mut report.seconds {
            *row = SecondRow { answered: 0, latency_us: Percentiles::default(), service_us: row.latency_us, ..*row };
        }
        report.latency_curve.clear();
        report.service_curve.clear();
        let page = render(&report);
        check_page(&page);
        assert!(page.contains("Nothing was answered") && !page.contains("Latency over time"));
    }
}
