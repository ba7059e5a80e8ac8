//! The report as one static page: no script, nothing fetched from elsewhere.

use std::fmt::Write;

use quick_xml::escape::escape;

use super::charts::{self, Axis, COLOURS, Line};
use super::json::{Phase, SecondRow};
use super::{Report, amount, time};
use crate::load::histogram::Percentiles;
use crate::load::outcome::Verdict;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1f2328; --quiet: #59636e; --paper: #ffffff; --rule: #d1d9e0; --good: #1a7f37;
  --bad: #c62828; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --quiet: #9198a1; --paper: #0d1117; --rule: #3d444d;
  --good: #3fb950; --bad: #ff7b72; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; margin: 0; }
h2 { font-size: 1.05rem; margin: 0 0 .25rem; }
p { margin: .25rem 0; }
.quiet { color: var(--quiet); font-size: .9rem; }
.good { color: var(--good); } .bad { color: var(--bad); }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1.5rem; margin: 1.5rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; width: 100%; }
th, td { text-align: right; padding: .25rem .5rem; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; padding-left: 0; }
figure { margin: 0; min-width: 0; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--ink); }
svg [stroke='#000000'] { stroke: var(--ink); }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1rem; font-size: .85rem; }
@media (max-width: 30rem) { table { font-size: .75rem; } th, td { padding: .25rem .2rem; } }
.key { display: inline-block; width: 1rem; height: .2rem; vertical-align: middle; margin-right: .35rem; }
";

/// The whole page.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut body = String::new();
    heading(report, &mut body);
    body.push_str("<div class=\"grid\">\n");
    times_section(report, &mut body);
    counts_section(report, &mut body);
    figures(report, &mut body);
    body.push_str("</div>\n");
    let names = report.settings.iter().map(|(name, value)| format!("--{name} {value}")).collect::<Vec<_>>().join(" ");
    let _ = writeln!(body, "<p class=\"quiet\">{} {}</p>", escape(&report.tool), escape(&names));
    page(&format!("{} {}", report.protocol, report.target), &body)
}

/// A page around `body`, which is XHTML.
pub(in crate::load) fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"/>\n<title>{}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n{body}</body>\n</html>\n",
        escape(title)
    )
}

fn heading(report: &Report, body: &mut String) {
    let _ = writeln!(body, "<h1>{} {}</h1>", escape(&report.protocol), escape(&report.target));
    let (class, verdict) = match report.verdict {
        Verdict::Pass => ("good", "Pass"),
        Verdict::NotAsAsked => ("bad", "Fail: this run is not what was asked for"),
        Verdict::SloMissed => ("bad", "Fail: an objective was missed"),
    };
    let asked = report.asked_per_s.map_or(String::new(), |asked| format!(" of {}/s asked", amount(asked)));
    let _ = writeln!(
        body,
        "<p><strong class=\"{class}\">{verdict}</strong></p>\n<p>{} answered in {:.1} s: {}/s, {}/s sent{asked}</p>",
        report.requests,
        report.duration_s,
        amount(report.answered_per_s),
        amount(report.sent_per_s)
    );
    for problem in &report.problems {
        let _ = writeln!(body, "<p class=\"bad\">{}</p>", escape(problem.explanation()));
    }
}

fn times_section(report: &Report, body: &mut String) {
    body.push_str("<section><h2>Times</h2>\n");
    let made = &report.handshakes;
    let mut rows = vec![("latency, from due", report.latency_us), ("service, from sent", report.service_us)];
    let phases = [("TCP connect", &made.tcp), ("TLS handshake", &made.tls), ("first byte", &made.first_byte)];
    rows.extend(phases.into_iter().filter(|(_, phase)| phase.count > 0).map(|(name, phase)| (name, phase.us)));
    let rows = rows.into_iter().map(|(name, Percentiles { p50, p90, p99, p99_9, max, .. })| {
        let mut cells = vec![name.to_owned()];
        cells.extend([p50, p90, p99, p99_9, max].map(time));
        cells
    });
    table(&["", "p50", "p90", "p99", "p99.9", "max"], rows, body);
    if report.asked_per_s.is_none() {
        body.push_str(
            "<p class=\"quiet\">A closed loop asks less of a slow server, so its latency is that of the requests it \
             made, not of users who arrive on their own. Use --rate for those.</p>\n",
        );
    }
    body.push_str("</section>\n");
}

fn counts_section(report: &Report, body: &mut String) {
    let made = &report.handshakes;
    let mut rows = vec![
        ("client busy".to_owned(), format!("{:.0}%", report.client_busy * 100.0)),
        ("client processor time".to_owned(), format!("{:.2} s", report.client_cpu_s)),
        ("handshakes, full".to_owned(), made.full.to_string()),
        ("handshakes, resumed".to_owned(), made.resumed.to_string()),
        ("handshakes, retried".to_owned(), made.hrr.to_string()),
    ];
    rows.extend(made.groups.iter().chain(&made.suites).map(|(name, count)| (name.clone(), count.to_string())));
    rows.extend(report.errors.iter().map(|(reason, count)| (format!("failed: {reason}"), count.to_string())));
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

pub(in crate::load) fn table(heading: &[&str], rows: impl Iterator<Item = Vec<String>>, body: &mut String) {
    body.push_str("<div class=\"scroll\"><table>\n");
    if heading.iter().any(|name| !name.is_empty()) {
        body.push_str("<tr>");
        for name in heading {
            let _ = write!(body, "<th scope=\"col\">{}</th>", escape(*name));
        }
        body.push_str("</tr>\n");
    }
    for row in rows {
        body.push_str("<tr>");
        for cell in row {
            let _ = write!(body, "<td>{}</td>", escape(&cell));
        }
        body.push_str("</tr>\n");
    }
    body.push_str("</table></div>\n");
}

fn figures(report: &Report, body: &mut String) {
    let series =
        |name: &str, of: &dyn Fn(&SecondRow) -> f64| Line { name: name.to_owned(), points: by_second(report, of) };
    #[expect(clippy::cast_precision_loss, reason = "counts of one second")]
    let throughput = [series("answers a second", &|row| row.answered as f64)];
    figure("Throughput over time", &throughput, charts::over_time(&throughput, Axis::Amount), body);
    let latency = [
        series("p50", &|row| row.latency_us.p50),
        series("p90", &|row| row.latency_us.p90),
        series("p99", &|row| row.latency_us.p99),
        series("max", &|row| row.latency_us.max),
        series("service p99", &|row| row.service_us.p99),
    ];
    figure("Latency over time", &latency, charts::over_time(&latency, Axis::Time), body);
    let curve = |name: &str, points: &[(f64, f64)]| Line { name: name.to_owned(), points: points.to_vec() };
    let curves = [curve("latency", &report.latency_curve), curve("service time", &report.service_curve)];
    figure("Latency by percentile", &curves, charts::over_quantiles(&curves), body);
    let made = &report.handshakes;
    let phase = |name: &str, phase: &Phase| curve(name, &phase.curve);
    let phases = [phase("TCP", &made.tcp), phase("TLS", &made.tls), phase("first byte", &made.first_byte)];
    figure("Connecting by percentile", &phases, charts::over_quantiles(&phases), body);
    if report.seconds.iter().any(|row| row.errors > 0) {
        #[expect(clippy::cast_precision_loss, reason = "counts of one second")]
        let errors = [series("failures a second", &|row| row.errors as f64)];
        figure("Failures over time", &errors, charts::over_time(&errors, Axis::Amount), body);
    }
}

pub(in crate::load) fn by_second(report: &Report, of: &dyn Fn(&SecondRow) -> f64) -> Vec<(f64, f64)> {
    #[expect(clippy::cast_precision_loss, reason = "seconds of a run")]
    report.whole_seconds().iter().map(|row| (row.second as f64, of(row))).collect()
}

/// A chart with its legend; nothing where there is nothing to draw.
pub(in crate::load) fn figure(title: &str, lines: &[Line], svg: Option<String>, body: &mut String) {
    let Some(svg) = svg else { return };
    let _ = write!(body, "<figure><h2>{}</h2>\n{svg}<figcaption class=\"legend\">", escape(title));
    for (line, (red, green, blue)) in lines.iter().zip(COLOURS.iter().cycle()) {
        let _ = write!(
            body,
            "<span><span class=\"key\" style=\"background: rgb({red}, {green}, {blue})\"></span>{}</span>",
            escape(&line.name)
        );
    }
    body.push_str("</figcaption></figure>\n");
}

#[cfg(test)]
pub(in crate::load) mod tests {
    use super::*;
    use crate::load::report::json::tests::sample;

    /// Every tag closes, and every address in an attribute is a name space, never something to fetch.
    pub(in crate::load) fn check_page(page: &str) {
        let mut reader = quick_xml::Reader::from_str(page);
        let mut elements = 0;
        loop {
            match reader.read_event().expect("well-formed") {
                quick_xml::events::Event::Eof => break,
                quick_xml::events::Event::Start(tag) | quick_xml::events::Event::Empty(tag) => {
                    elements += 1;
                    assert!(!["script", "link", "img", "iframe"].contains(&tag.name().as_ref()));
                    for attribute in tag.attributes() {
                        let attribute = attribute.expect("well-formed");
                        let fetched = !attribute.key.as_ref().starts_with("xmlns");
                        assert!(!(fetched && attribute.value.contains("//")), "{attribute:?}");
                    }
                }
                _ => {}
            }
        }
        assert!(elements > 50);
        assert!(!page.contains("@import") && !page.contains("url("));
    }

    #[test]
    fn the_page_is_well_formed_and_stands_alone() {
        let page = render(&sample().0);
        check_page(&page);
        assert_eq!(page.matches("<figure>").count(), 5);
        assert!(page.contains("tls://&lt;localhost&gt;:20000") && !page.contains("<localhost>"));
    }
}
