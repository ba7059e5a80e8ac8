//! Whether two sets of runs differ, and by how much: differences with 95% confidence intervals.

#![expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]

use std::collections::BTreeSet;
use std::fmt::Write;

use super::outcome::Verdict;
use super::report::charts::{self, Axis, Line};
use super::report::html::{by_second, figure, page, table};
use super::report::json::SecondRow;
use super::report::{Report, amount, time};

/// Side A and side B, measure by measure.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// One measure each.
    pub differences: Vec<Difference>,
    /// Whether a side has a single run, so that the samples are seconds and not runs.
    pub within_run: bool,
    /// What a reader must know before believing the figures.
    pub warnings: Vec<String>,
}

/// How one measure differs.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The measure's name.
    pub name: &'static str,
    /// Its unit.
    pub axis: Axis,
    /// Mean of side A's samples.
    pub a: f64,
    /// Mean of side B's samples.
    pub b: f64,
    /// The interval that holds the true difference B - A with 95% confidence (Welch's t); `None` from one sample.
    pub interval: Option<(f64, f64)>,
    /// What that means.
    pub judgement: Judgement,
}

/// What a difference means for side B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// B is better.
    Better,
    /// B is worse.
    Worse,
    /// The interval holds zero: the samples show no difference.
    NotShown,
}

impl Judgement {
    /// As it stands in the outputs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Better => "B is better",
            Self::Worse => "B is worse",
            Self::NotShown => "no difference shown",
        }
    }
}

/// One thing to compare, from a whole run and from one second of it.
struct Measure {
    name: &'static str,
    axis: Axis,
    of_run: fn(&Report) -> f64,
    of_second: fn(&SecondRow) -> f64,
}

const MEASURES: [Measure; 6] = [
    Measure {
        name: "answers a second",
        axis: Axis::Amount,
        of_run: |run| run.answered_per_s,
        of_second: |row| row.answered as f64,
    },
    Measure {
        name: "latency p50",
        axis: Axis::Time,
        of_run: |run| run.latency_us.p50,
        of_second: |row| row.latency_us.p50,
    },
    Measure {
        name: "latency p99",
        axis: Axis::Time,
        of_run: |run| run.latency_us.p99,
        of_second: |row| row.latency_us.p99,
    },
    Measure {
        name: "latency p99.9",
        axis: Axis::Time,
        of_run: |run| run.latency_us.p99_9,
        of_second: |row| row.latency_us.p99_9,
    },
    Measure {
        name: "service p50",
        axis: Axis::Time,
        of_run: |run| run.service_us.p50,
        of_second: |row| row.service_us.p50,
    },
    Measure {
        name: "service p99",
        axis: Axis::Time,
        of_run: |run| run.service_us.p99,
        of_second: |row| row.service_us.p99,
    },
];

/// Compares the runs of two sides, at least one each.
#[must_use]
pub fn compare(a: &[Report], b: &[Report]) -> Comparison {
    let within_run = a.len() < 2 || b.len() < 2;
    let samples = |side: &[Report], measure: &Measure| -> Vec<f64> {
        if within_run {
            side.iter().flat_map(|run| run.whole_seconds().iter().map(measure.of_second)).collect()
        } else {
            side.iter().map(measure.of_run).collect()
        }
    };
    let differences =
        MEASURES.iter().map(|measure| Difference::of(measure, &samples(a, measure), &samples(b, measure)));
    Comparison { differences: differences.collect(), within_run, warnings: warnings(a, b) }
}

fn warnings(a: &[Report], b: &[Report]) -> Vec<String> {
    let runs = || a.iter().chain(b);
    let names: BTreeSet<_> = runs().flat_map(|run| run.settings.keys()).collect();
    let mut warnings: Vec<_> = names
        .into_iter()
        .filter_map(|name| {
            let values: BTreeSet<_> =
                runs().map(|run| run.settings.get(name).map_or("not given", String::as_str)).collect();
            let values: Vec<_> = values.into_iter().collect();
            (values.len() > 1).then(|| format!("the runs differ in --{name}: {}", values.join(", ")))
        })
        .collect();
    let protocols: BTreeSet<_> = runs().map(|run| run.protocol.as_str()).collect();
    if protocols.len() > 1 {
        warnings.push("the runs are of different protocols".to_owned());
    }
    for (side, runs) in [("A", a), ("B", b)] {
        let invalid = runs.iter().filter(|run| run.verdict == Verdict::NotAsAsked).count();
        if invalid > 0 {
            warnings.push(format!("{invalid} of {} runs of side {side} are not what was asked for", runs.len()));
        }
    }
    warnings
}

impl Difference {
    fn of(measure: &Measure, a: &[f64], b: &[f64]) -> Self {
        let interval = welch(a, b);
        let judgement = match interval {
            Some((low, _)) if low > 0.0 => better_if(measure.axis == Axis::Amount),
            Some((_, high)) if high < 0.0 => better_if(measure.axis == Axis::Time),
            _ => Judgement::NotShown,
        };
        Self { name: measure.name, axis: measure.axis, a: mean(a), b: mean(b), interval, judgement }
    }

    /// Name, A, B, difference in percent with its interval, and what it means.
    fn cells(&self) -> Vec<String> {
        let show = |value| match self.axis {
            Axis::Time => time(value),
            Axis::Amount => amount(value),
        };
        let percent = |value: f64| format!("{:+.1}%", if self.a == 0.0 { 0.0 } else { 100.0 * value / self.a });
        let interval = match self.interval {
            Some((low, high)) => format!("{} .. {}", percent(low), percent(high)),
            None => "unknown".to_owned(),
        };
        let judgement = self.judgement.name().to_owned();
        vec![self.name.to_owned(), show(self.a), show(self.b), percent(self.b - self.a), interval, judgement]
    }
}

fn better_if(is_better: bool) -> Judgement {
    if is_better { Judgement::Better } else { Judgement::Worse }
}

fn mean(samples: &[f64]) -> f64 {
    samples.iter().sum::<f64>() / samples.len().max(1) as f64
}

/// Welch's interval for the difference of two means, B - A, at 95%. `None` unless both sides have two samples.
fn welch(a: &[f64], b: &[f64]) -> Option<(f64, f64)> {
    if a.len() < 2 || b.len() < 2 {
        return None;
    }
    // The squared standard error of the mean, and its share of the degrees of freedom (Welch and Satterthwaite).
    let error = |samples: &[f64]| {
        let (mean, count) = (mean(samples), samples.len() as f64);
        let squared = samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>() / (count - 1.0) / count;
        (squared, squared * squared / (count - 1.0))
    };
    let ((error_a, share_a), (error_b, share_b)) = (error(a), error(b));
    let difference = mean(b) - mean(a);
    let error = error_a + error_b;
    let freedom = if error > 0.0 { error * error / (share_a + share_b) } else { 1.0 };
    let margin = student(freedom) * error.sqrt();
    Some((difference - margin, difference + margin))
}

/// The 97.5% quantile of Student's t distribution: exact for up to 5 degrees of freedom as far as the digits go, and
/// for more by the expansion around the normal quantile (Abramowitz and Stegun, 26.7.5), right to three digits.
/// Freedom is rounded down, which makes intervals wider, never narrower.
fn student(freedom: f64) -> f64 {
    const NORMAL: f64 = 1.959_964;
    match freedom.floor() {
        v if v <= 1.0 => 12.706,
        v if v <= 2.0 => 4.303,
        v if v <= 3.0 => 3.182,
        v if v <= 4.0 => 2.776,
        v if v <= 5.0 => 2.571,
        v => {
            let x = NORMAL;
            let first = (x.powi(3) + x) / 4.0;
            let second = (5.0 * x.powi(5) + 16.0 * x.powi(3) + 3.0 * x) / 96.0;
            let third = (3.0 * x.powi(7) + 19.0 * x.powi(5) + 17.0 * x.powi(3) - 15.0 * x) / 384.0;
            x + first / v + second / (v * v) + third / (v * v * v)
        }
    }
}

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

/// The comparison as people read it on a terminal.
#[must_use]
pub fn render_table(comparison: &Comparison) -> String {
    let mut text = String::new();
    let mut line = |cells: &[String]| {
        for (index, cell) in cells.iter().enumerate() {
            let _ = match index {
                0 => write!(text, "{cell:18}"),
                4 => write!(text, "{cell:>22}"),
                5 => write!(text, "   {cell}"),
                _ => write!(text, "{cell:>11}"),
            };
        }
        text.push('\n');
    };
    line(&HEADING.map(str::to_owned));
    for difference in &comparison.differences {
        line(&difference.cells());
    }
    let _ = writeln!(text, "\n{}", basis(comparison));
    for warning in &comparison.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

/// The comparison as a page.
#[must_use]
pub fn render_page(comparison: &Comparison, a: &[Report], b: &[Report]) -> String {
    let mut body = String::from("<h1>Comparison of load runs</h1>\n");
    let _ = writeln!(body, "<p>Runs of A: {}. Runs of B: {}. {}</p>", a.len(), b.len(), basis(comparison));
    for warning in &comparison.warnings {
        let _ = writeln!(body, "<p class=\"bad\">{}</p>", quick_xml::escape::escape(warning.as_str()));
    }
    table(&HEADING, comparison.differences.iter().map(Difference::cells), &mut body);
    body.push_str("<div class=\"grid\">\n");
    if let (Some(first_a), Some(first_b)) = (a.first(), b.first()) {
        figures(first_a, first_b, &mut body);
    }
    body.push_str("</div>\n<p class=\"quiet\">The charts show the first run of each side.</p>\n");
    page("Comparison of load runs", &body)
}

fn figures(a: &Report, b: &Report, body: &mut String) {
    let pair = |of: &dyn Fn(&Report) -> Vec<(f64, f64)>| {
        [("A", a), ("B", b)].map(|(name, run)| Line { name: name.to_owned(), points: of(run) })
    };
    let throughput = pair(&|run| by_second(run, &|row| row.answered as f64));
    figure("Throughput over time", &throughput, charts::over_time(&throughput, Axis::Amount), body);
    let latency = pair(&|run| by_second(run, &|row| row.latency_us.p99));
    figure("Latency p99 over time", &latency, charts::over_time(&latency, Axis::Time), body);
    let curves = pair(&|run| run.latency_curve.clone());
    figure("Latency by percentile", &curves, charts::over_quantiles(&curves), body);
    let curves = pair(&|run| run.service_curve.clone());
    figure("Service time by percentile", &curves, charts::over_quantiles(&curves), body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::html::tests::check_page;
    use crate::load::report::json::tests::sample;

    fn runs(rates: &[f64]) -> Vec<Report> {
        rates.iter().map(|rate| Report { answered_per_s: *rate, ..sample().0 }).collect()
    }

    fn judgement(comparison: &Comparison, name: &str) -> Judgement {
        comparison.differences.iter().find(|difference| difference.name == name).expect("measured").judgement
    }

    #[test]
    fn quantiles_of_students_distribution() {
        let cases =
            [(1.0, 12.706), (2.9, 4.303), (4.0, 2.776), (5.0, 2.571), (10.0, 2.228), (30.0, 2.042), (1e6, 1.96)];
        for (freedom, expected) in cases {
            assert!((student(freedom) - expected).abs() < 0.003, "{freedom}: {}", student(freedom));
        }
    }

    #[test]
    fn welchs_interval_of_a_worked_example() {
        // Means 20 and 30, variances 2.5 and 10, five samples each: standard error sqrt(2.5), 5.88 degrees of freedom.
        let (low, high) = welch(&[18.0, 19.0, 20.0, 21.0, 22.0], &[26.0, 28.0, 30.0, 32.0, 34.0]).expect("samples");
        let margin = 2.571 * 2.5f64.sqrt();
        assert!((low - (10.0 - margin)).abs() < 0.01 && (high - (10.0 + margin)).abs() < 0.01, "{low} {high}");
        assert_eq!(welch(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(welch(&[1.0, 1.0], &[1.0, 1.0]), Some((0.0, 0.0)));
    }

    #[test]
    fn several_runs_a_side_are_the_samples() {
        let (slow, fast) = (runs(&[100.0, 101.0, 99.0]), runs(&[110.0, 111.0, 109.0]));
        let comparison = compare(&slow, &fast);
        assert!(!comparison.within_run);
        assert_eq!(judgement(&comparison, "answers a second"), Judgement::Better);
        assert_eq!(judgement(&compare(&fast, &slow), "answers a second"), Judgement::Worse);
        assert_eq!(judgement(&comparison, "latency p99"), Judgement::NotShown);
        let noisy = runs(&[80.0, 140.0, 110.0]);
        assert_eq!(judgement(&compare(&slow, &noisy), "answers a second"), Judgement::NotShown);
    }

    #[test]
    fn a_single_run_says_that_its_interval_is_within_run_only() {
        let comparison = compare(&runs(&[1.0]), &runs(&[1.0, 2.0]));
        assert!(comparison.within_run && render_table(&comparison).contains("within-run only"));
    }

    #[test]
    fn differing_settings_and_invalid_runs_are_pointed_out() {
        let (a, mut b) = (runs(&[1.0, 1.0]), runs(&[1.0, 1.0]));
        b[1].settings.insert("connections".to_owned(), "51<".to_owned());
        let comparison = compare(&a, &b);
        let text = render_table(&comparison);
        assert!(text.contains("differ in --connections: 50, 51<"), "{text}");
        assert!(text.contains("2 of 2 runs of side A are not what was asked for"), "{text}");
        let page = render_page(&comparison, &a, &b);
        check_page(&page);
        assert_eq!(page.matches("<figure>").count(), 4);
    }
}
