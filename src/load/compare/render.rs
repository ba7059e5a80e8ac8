//! A comparison as people read it: on a terminal, and as a page.

#![expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]

use std::fmt::Write;

use quick_xml::escape::escape;

use super::comparison::{Comparison, Difference, Significance};
use crate::load::report::Report;
use crate::load::report::charts::{self, Axis, Line};
use crate::load::report::html::by_second;
use crate::load::report::page::{figure, page, stacked};

const HEADING: [&str; 6] = ["", "A", "B", "B - A", "95% interval", "so"];

/// What the samples are, in a sentence.
fn basis(comparison: &Comparison) -> &'static str {
    if comparison.within_run {
        "The interval is within-run only: a side has one run, so the samples are its seconds. They say nothing about \
         how much runs differ from each other; give several runs a side for that."
    } else {
        "The samples are whole runs."
    }
}

/// How the intervals came about.
const METHOD: &str = "Intervals are Welch's for two means of unequal variance, at 95% each, in percent of A's mean. Of \
                      twenty measures without any difference, one is expected to show one.";

impl Difference {
    /// A value in percent of A's mean; there is none of nothing.
    fn percent(&self, value: f64) -> Option<f64> {
        (self.a != 0.0).then(|| 100.0 * value / self.a)
    }

    /// A difference as people read it: in percent of A's mean, or else in its own unit.
    fn show(&self, value: f64) -> String {
        match self.percent(value) {
            Some(percent) => format!("{percent:+.1}%"),
            None if value < 0.0 => format!("-{}", self.axis.show(-value)),
            None => format!("+{}", self.axis.show(value)),
        }
    }

    /// Name, A, B, difference in percent with its interval, and what it means.
    fn cells(&self) -> Vec<String> {
        let interval = match self.interval {
            Some((low, high)) => format!("{} .. {}", self.show(low), self.show(high)),
            None => "unknown".to_owned(),
        };
        let [a, b] = [self.a, self.b].map(|value| self.axis.show(value));
        vec![self.name.to_owned(), a, b, self.show(self.b - self.a), interval, self.judgement.name().to_owned()]
    }

    /// Its row of the chart of intervals; none without an interval.
    fn bar(&self) -> Option<(&str, f64, f64, f64, usize)> {
        let (low, high) = self.interval?;
        let colour = match self.judgement {
            Significance::Better => BETTER,
            Significance::Worse => WORSE,
            Significance::NotShown | Significance::TooFew | Significance::AllAlike => NOT_SHOWN,
        };
        Some((self.name, self.percent(low)?, self.percent(self.b - self.a)?, self.percent(high)?, colour))
    }
}

// Places in the list of colours.
const BETTER: usize = 2;
const WORSE: usize = 3;
const NOT_SHOWN: usize = 5;
/// The colours of side A and side B.
const SIDES: [usize; 2] = [0, 1];

/// The comparison as people read it on a terminal.
#[must_use]
pub fn render_table(comparison: &Comparison) -> String {
    let mut text = String::new();
    let mut rows = vec![HEADING.map(str::to_owned).to_vec()];
    rows.extend(comparison.differences.iter().map(Difference::cells));
    let width = |column: usize, least: usize| {
        let widths = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        widths.max().unwrap_or(0).max(least)
    };
    let widths = [width(0, 16), width(1, 9), width(2, 9), width(3, 9), width(4, 20), 0];
    for row in &rows {
        for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
            let _ = match index {
                0 => write!(text, "{cell:width$}"),
                5 => write!(text, "   {cell}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
    let _ = writeln!(text, "\n{}\n{METHOD}", basis(comparison));
    for warning in &comparison.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

/// The comparison as a page.
#[must_use]
pub fn render_page(comparison: &Comparison, a: &[Report], b: &[Report]) -> String {
    let mut body = String::from("<h1>Load runs, compared</h1>\n");
    for (name, runs) in [("A", a), ("B", b)] {
        let Some(first) = runs.first() else { continue };
        let _ = writeln!(
            body,
            "<p>{name}: {} of {} {}, {}</p>",
            if runs.len() == 1 { "one run".to_owned() } else { format!("{} runs", runs.len()) },
            escape(&first.protocol),
            escape(&first.target),
            escape(&first.tool)
        );
    }
    for warning in &comparison.warnings {
        let _ = writeln!(body, "<p class=\"bad\">{}</p>", escape(warning.as_str()));
    }
    let _ = writeln!(body, "<p>{}</p>", basis(comparison));
    body.push_str("<section><h2>Differences</h2>\n");
    stacked(&HEADING, comparison.differences.iter().map(Difference::cells), &mut body);
    body.push_str("</section>\n<div class=\"grid\">\n");
    differences(comparison, &mut body);
    courses(a, b, &mut body);
    let _ = writeln!(body, "</div>\n<p class=\"quiet\">{METHOD}</p>");
    page("Load runs, compared", &body)
}

/// The chart of intervals.
fn differences(comparison: &Comparison, body: &mut String) {
    let bars: Vec<_> = comparison.differences.iter().filter_map(Difference::bar).collect();
    let meanings = [(BETTER, Significance::Better), (WORSE, Significance::Worse), (NOT_SHOWN, Significance::NotShown)];
    let legend: Vec<_> = meanings
        .into_iter()
        .filter(|(colour, _)| bars.iter().any(|bar| bar.4 == *colour))
        .map(|(colour, judgement)| Line::new(judgement.name(), colour, vec![(0.0, 0.0)]))
        .collect();
    let about = "Difference B - A in percent of A: the dot is what was measured, the bar its 95% interval. A bar that \
                 crosses zero shows no difference.";
    figure("B beside A", about, &legend, charts::intervals(&bars), body);
}

/// Every run of both sides.
fn courses(a: &[Report], b: &[Report], body: &mut String) {
    let sides = |new: fn(&str, usize, Vec<(f64, f64)>) -> Line, of: &dyn Fn(&Report) -> Vec<(f64, f64)>| {
        let runs = [("A", a), ("B", b)].into_iter().zip(SIDES);
        let lines = runs.flat_map(|((name, runs), colour)| runs.iter().map(move |run| new(name, colour, of(run))));
        lines.collect::<Vec<_>>()
    };
    let seconds = |run: &Report| run.shown_seconds().len();
    let span = a.iter().chain(b).map(seconds).max().unwrap_or(0) as f64;
    let lines = sides(Line::course, &|run| by_second(run.shown_seconds(), |row| Some(row.answered as f64)));
    let svg = charts::over_time(&lines, Axis::Amount, span);
    figure("Throughput over time", "Answers a second, each run a line.", &lines, svg, body);
    let lines = sides(Line::course, &|run| {
        by_second(run.shown_seconds(), |row| (row.latency_us.max > 0.0).then_some(row.latency_us.p99))
    });
    let about = "The 99th percentile from when requests were due, by the second of the answer.";
    figure("Latency p99 over time", about, &lines, charts::over_time(&lines, Axis::Time, span), body);
    let lines = sides(Line::new, &|run| run.latency_curve.clone());
    let about = "From when a request was due to its answer.";
    figure("Latency by percentile", about, &lines, charts::over_quantiles(&lines), body);
    let lines = sides(Line::new, &|run| run.service_curve.clone());
    let about = "From when a request was sent to its answer.";
    figure("Service time by percentile", about, &lines, charts::over_quantiles(&lines), body);
}
