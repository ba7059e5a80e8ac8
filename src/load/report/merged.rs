//! The sum of the HDR logs of several hosts, as one static page.

#![expect(clippy::cast_precision_loss, reason = "counts and seconds stay far below 2^53")]

use std::collections::BTreeMap;
use std::fmt::Write;

use hdrhistogram::Histogram;
use quick_xml::escape::escape;

use super::charts::{self, Axis, Line};
use super::hdr::{Intervals, length, total};
use super::html::{ABOUT_CURVES, by_second, latency_lines, times_table};
use super::json::{SecondRow, curve};
use super::page::{figure, page, table, tiles};
use crate::load::histogram::Percentiles;
use crate::load::outcome::Problem;
use crate::load::readable::{amount, time};

/// One of the logs.
#[derive(Debug)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Requests that were answered in it; its latencies have those that failed, too.
    pub answered: u64,
    /// Requests that failed or were not answered; 0 in a log without service times, where it is not known.
    pub failed: u64,
    /// Problems of its run.
    pub problems: Vec<Problem>,
    /// Its latencies.
    pub latency: Histogram<u64>,
}

/// The whole page.
#[must_use]
pub fn render(intervals: &Intervals, parts: &[Part]) -> String {
    let [latency, service] = ["", "service"].map(|tag| total(intervals, tag));
    let us = Percentiles::of(&latency);
    let mut body = String::from("<h1>Load runs, merged</h1>\n");
    let _ = writeln!(body, "<p>{}.</p>", summary(parts));
    for warning in warnings(parts) {
        let _ = writeln!(body, "<p class=\"quiet\">Warning: {}</p>", escape(&warning));
    }
    let rows = seconds(intervals);
    // A log may be of less than a second, or, from another program, of longer intervals.
    let lengths = rows.iter().filter_map(|row| {
        let tags = ["", "service"].map(|tag| intervals.get(&(row.second, tag.to_owned())));
        tags.into_iter().flatten().map(|interval| interval.length).max()
    });
    let span: f64 = lengths.map(|length| length.as_secs_f64()).sum();
    let rate = rows.iter().map(|row| row.answered).sum::<u64>() as f64 / span.max(1e-3);
    let about = [
        ("answers a second", amount(rate)),
        ("latency p50", time(us.p50)),
        ("latency p99", time(us.p99)),
        ("latency p99.9", time(us.p99_9)),
        ("latency max", time(us.max)),
        ("logs", parts.len().to_string()),
    ];
    tiles(&about, &mut body);
    body.push_str("<div class=\"grid\">\n");
    figures(&rows, length(intervals).as_secs_f64(), [&latency, &service], &mut body);
    body.push_str("<section><h2>Times</h2>\n");
    let times = [("latency, from due", &latency), ("service, from sent", &service)];
    let times: Vec<_> =
        times.into_iter().filter(|(_, all)| !all.is_empty()).map(|(name, all)| (name, Percentiles::of(all))).collect();
    times_table(&times, &mut body);
    body.push_str("</section>\n<section><h2>Logs</h2>\n");
    let each = parts.iter().map(|Part { name, answered, failed, latency, .. }| {
        let Percentiles { p50, p99, max, .. } = Percentiles::of(latency);
        vec![name.clone(), answered.to_string(), failed.to_string(), time(p50), time(p99), time(max)]
    });
    table(&["", "answered", "failed", "p50", "p99", "max"], each, &mut body);
    body.push_str("</section>\n</div>\n");
    let _ = writeln!(
        body,
        "<p class=\"quiet\">{} Seconds count from the start of each log; histograms add up, so these are percentiles \
         of all answers, not means of percentiles.</p>",
        escape(concat!("latchkey ", env!("CARGO_PKG_VERSION"), "."))
    );
    page("Load runs, merged", &body)
}

/// How much was answered in all logs together, and how much was not.
#[must_use]
pub fn summary(parts: &[Part]) -> String {
    let answered: u64 = parts.iter().map(|part| part.answered).sum();
    let failed: u64 = parts.iter().map(|part| part.failed).sum();
    let failed = if failed > 0 { format!(", {failed} failed or without an answer") } else { String::new() };
    let logs = if parts.len() == 1 { "log" } else { "logs" };
    format!("{answered} answered{failed}, from {} {logs}", parts.len())
}

/// Names logs of runs with problems, and the problems.
#[must_use]
pub fn warnings(parts: &[Part]) -> Vec<String> {
    let spoiled = parts.iter().filter(|part| !part.problems.is_empty());
    spoiled
        .map(|Part { name, problems, .. }| {
            let problems: Vec<_> = problems.iter().map(|problem| problem.name()).collect();
            format!("{name}: its run failed: {}", problems.join(", "))
        })
        .collect()
}

/// Charts of rows that are `length` seconds each.
fn figures(rows: &[SecondRow], length: f64, [latency, service]: [&Histogram<u64>; 2], body: &mut String) {
    let span = rows.iter().map(|row| row.second).max().map_or(0.0, |last| last as f64 + length);
    // Points are in the middle of what they are of.
    let of_interval = |line: Line| Line {
        points: line.points.iter().map(|(at, value)| (at + (length - 1.0) / 2.0, *value)).collect(),
        step: length,
        ..line
    };
    let throughput = Line::course("answered", 0, by_second(rows, |row| Some(row.answered as f64 / length)));
    let throughput = [of_interval(throughput)];
    let svg = charts::over_time(&throughput, Axis::Amount, span);
    let each = if length > 1.5 { format!(" Each point is of {length:.0} seconds.") } else { String::new() };
    let about = format!("Answers a second of all logs together.{each}");
    figure("Throughput over time", &about, &throughput, svg, body);
    let lines = latency_lines(rows).map(of_interval);
    let about = "By the second of the answer: latency from when a request was due, service time from when it was sent.";
    figure("Latency over time", about, &lines, charts::over_time(&lines, Axis::Time, span), body);
    let curves = [Line::new("latency", 0, curve(latency)).wide(), Line::new("service time", 1, curve(service))];
    figure("Latency by percentile", ABOUT_CURVES, &curves, charts::over_quantiles(&curves), body);
}

/// The seconds that were measured wholly or, where there is none, all.
fn seconds(intervals: &Intervals) -> Vec<SecondRow> {
    let (mut rows, length) = (BTreeMap::new(), length(intervals));
    for ((second, tag), interval) in intervals {
        let (row, is_whole): &mut (SecondRow, bool) =
            rows.entry(*second).or_insert((SecondRow { second: *second, ..SecondRow::default() }, false));
        *is_whole |= interval.is_whole(length);
        row.answered += interval.answered;
        let us = Percentiles::of(&interval.histogram);
        match tag.as_str() {
            "" => row.latency_us = us,
            "service" => row.service_us = us,
            _ => {}
        }
    }
    let any_whole = rows.values().any(|(_, is_whole)| *is_whole);
    rows.into_values().filter(|(_, is_whole)| *is_whole || !any_whole).map(|(row, _)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::super::hdr;
    use super::super::page::tests::check_page;
    use super::*;
    use crate::load::report::json::tests::sample;

    #[test]
    fn the_page_of_two_logs_shows_their_sum() {
        let (report, tally) = sample();
        let mut intervals = Intervals::new();
        let log = hdr::render(&report, tally.recorder.seconds());
        for _ in 0..2 {
            hdr::read_into(&log, &mut intervals).expect("readable");
        }
        let latency = tally.recorder.latency();
        let parts = ["a.hdr", "b<.hdr"].map(|name| Part {
            name: name.to_owned(),
            answered: 9998,
            failed: 2,
            problems: vec![Problem::Errors],
            latency: latency.clone(),
        });
        let page = render(&intervals, &parts);
        check_page(&page);
        assert_eq!(page.matches("<figure>").count(), 3);
        for part in
            ["19996 answered, 4 failed or without an answer, from 2 logs", "Warning: b&lt;.hdr: its run failed: errors"]
        {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
    }

    #[test]
    fn intervals_of_five_seconds_are_rates_and_one_line() {
        let mut intervals = Intervals::new();
        for number in 0..4 {
            let mut histogram = crate::load::histogram::histogram();
            histogram.record_n(1000, 100).expect("recorded");
            let length = std::time::Duration::from_secs(5);
            intervals.insert((number * 5, String::new()), hdr::Interval { length, histogram, answered: 100 });
        }
        let (name, latency) = ("foreign".to_owned(), total(&intervals, ""));
        let part = Part { name, answered: 400, failed: 0, problems: Vec::new(), latency };
        let page = render(&intervals, &[part]);
        check_page(&page);
        assert!(page.contains("400 answered, from 1 log.") && page.contains("<b>20</b>"), "{page}");
        let figure = page.split("<figure>").nth(1).expect("a figure");
        assert!(figure.contains("Each point is of 5 seconds") && figure.contains("\n20 s\n"), "{figure}");
        let lines = figure.lines().filter(|line| line.starts_with("<polyline") && line.contains("#3B82F6"));
        assert_eq!(lines.count(), 1, "{figure}");
    }

    #[test]
    fn a_second_that_was_measured_in_part_is_left_out_unless_there_is_no_other() {
        let (mut report, tally) = sample();
        let shown = |report: &crate::load::report::Report, count| {
            let mut intervals = Intervals::new();
            let seconds = tally.recorder.seconds().take(count);
            hdr::read_into(&hdr::render(report, seconds), &mut intervals).expect("readable");
            super::seconds(&intervals).len()
        };
        report.duration_s = 9.25;
        assert_eq!(shown(&report, 10), 9);
        report.duration_s = 0.25;
        assert_eq!(shown(&report, 1), 1);
    }
}
