//! Whether two sets of runs differ, and by how much: differences with 95% confidence intervals.
//!
//! The interval is Welch's for two means of unequal variance (Biometrika 34, 1947), with the degrees of freedom of
//! Satterthwaite (Biometrics Bulletin 2, 1946). Its samples are one figure of each run: answers inside a run depend on
//! each other, and would make any difference look certain.

#![expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]

use std::collections::BTreeSet;

use crate::load::outcome::Verdict;
use crate::load::report::Report;
use crate::load::report::charts::Axis;
use crate::load::report::json::SecondRow;

/// Side A and side B, measure by measure.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// One measure each.
    pub differences: Vec<Difference>,
    /// Whether a side has a single run, so that the samples are seconds and not runs.
    pub within_run: bool,
    /// Conditions under which the figures mislead.
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
    pub judgement: Significance,
}

/// What a difference means for side B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Significance {
    /// B is better.
    Better,
    /// B is worse.
    Worse,
    /// The interval holds zero: the samples show no difference.
    NotShown,
    /// There is no interval, since a side has a single sample.
    TooFew,
    /// There is no interval, since the samples of each side are all alike, which rounding may have made them.
    AllAlike,
}

impl Significance {
    /// As it stands in the outputs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Better => "B is better",
            Self::Worse => "B is worse",
            Self::NotShown => "no difference shown",
            Self::TooFew => "cannot tell: too few samples",
            Self::AllAlike => "cannot tell: samples all alike",
        }
    }
}

/// One thing to compare, from a whole run and from one second of it.
struct Measure {
    name: &'static str,
    axis: Axis,
    of_run: fn(&Report) -> f64,
    /// `None` for a second that has none: nothing was answered in it.
    of_second: fn(&SecondRow) -> Option<f64>,
}

const MEASURES: [Measure; 6] = [
    Measure {
        name: "answers a second",
        axis: Axis::Amount,
        of_run: |run| run.answered_per_s,
        of_second: |row| Some(row.answered as f64),
    },
    Measure {
        name: "latency p50",
        axis: Axis::Time,
        of_run: |run| run.latency_us.p50,
        of_second: |row| (row.latency_us.max > 0.0).then_some(row.latency_us.p50),
    },
    Measure {
        name: "latency p99",
        axis: Axis::Time,
        of_run: |run| run.latency_us.p99,
        of_second: |row| (row.latency_us.max > 0.0).then_some(row.latency_us.p99),
    },
    Measure {
        name: "latency p99.9",
        axis: Axis::Time,
        of_run: |run| run.latency_us.p99_9,
        of_second: |row| (row.latency_us.max > 0.0).then_some(row.latency_us.p99_9),
    },
    Measure {
        name: "service p50",
        axis: Axis::Time,
        of_run: |run| run.service_us.p50,
        of_second: |row| (row.answered > 0).then_some(row.service_us.p50),
    },
    Measure {
        name: "service p99",
        axis: Axis::Time,
        of_run: |run| run.service_us.p99,
        of_second: |row| (row.answered > 0).then_some(row.service_us.p99),
    },
];

/// Compares the runs of two sides, at least one each; `names` are those of their files, side A's first.
#[must_use]
pub fn compare(a: &[Report], b: &[Report], names: &[String]) -> Comparison {
    let within_run = a.len() < 2 || b.len() < 2;
    let samples = |side: &[Report], measure: &Measure| -> Vec<f64> {
        let seconds = || side.iter().flat_map(Report::whole_seconds).filter_map(measure.of_second).collect();
        let samples: Vec<f64> = if within_run { seconds() } else { Vec::new() };
        // A run may be over within a second.
        if samples.is_empty() { side.iter().map(measure.of_run).collect() } else { samples }
    };
    let differences =
        MEASURES.iter().map(|measure| Difference::of(measure, &samples(a, measure), &samples(b, measure)));
    let mut warnings = warnings(a, b, names);
    for (side, runs) in [("A", a), ("B", b)].into_iter().filter(|_| within_run) {
        let seconds = || runs.iter().flat_map(Report::whole_seconds);
        let silent = seconds().filter(|row| row.answered == 0).count();
        if silent > 0 {
            let all = seconds().count();
            warnings
                .push(format!("side {side} had no answer in {silent} of {all} seconds, whose service time is unknown"));
        }
    }
    Comparison { differences: differences.collect(), within_run, warnings }
}

/// Settings of the workload: runs that differ in one of these do not measure the same thing.
const WORKLOAD: [&str; 6] = ["argument", "distribution", "keys", "method", "ratio", "value-size"];

/// Why `run` cannot be compared with `first`, in words that go on after the name of its file.
///
/// Other settings (connections, pipeline, rate, TLS) may differ: a comparison may be of them. A warning names each.
#[must_use]
pub fn obstacle(first: &Report, run: &Report) -> Option<String> {
    if run.requests == 0 {
        return Some("has no answered request".to_owned());
    }
    if let Some(other) = other_protocol(&first.protocol, &run.protocol) {
        return Some(other);
    }
    let value = |run: &Report, name: &str| run.settings.get(name).map_or("not given", String::as_str).to_owned();
    let differs = WORKLOAD.into_iter().find(|name| value(run, name) != value(first, name))?;
    Some(format!(
        "has another workload: --{differs} is {}, in the first {}",
        value(run, differs),
        value(first, differs)
    ))
}

/// Why runs of these two protocols do not belong together, if they do not.
#[must_use]
pub fn other_protocol(first: &str, run: &str) -> Option<String> {
    (run != first).then(|| format!("is a run of {run}, the first is one of {first}"))
}

fn warnings(a: &[Report], b: &[Report], names: &[String]) -> Vec<String> {
    let runs = || a.iter().chain(b);
    let settings: BTreeSet<_> = runs().flat_map(|run| run.settings.keys()).collect();
    let mut warnings: Vec<_> = settings
        .into_iter()
        // Runs of other seeds are other samples of the same load.
        .filter(|name| name.as_str() != "seed")
        .filter_map(|name| {
            let mut values: Vec<&str> = Vec::new();
            for run in runs() {
                let value = run.settings.get(name).map_or("not given", String::as_str);
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            (values.len() > 1).then(|| format!("the runs differ in --{name}: {}", values.join(", ")))
        })
        .collect();
    let sides = a.iter().map(|run| ("A", run)).chain(b.iter().map(|run| ("B", run)));
    for (number, (side, run)) in sides.enumerate().filter(|(_, (_, run))| run.verdict == Verdict::NotAsAsked) {
        let name = names.get(number).map_or("a run", String::as_str);
        let problems: Vec<_> = run.problems.iter().map(|problem| problem.name()).collect();
        warnings.push(format!("{name} of side {side}: its run failed: {}", problems.join(", ")));
    }
    warnings
}

impl Difference {
    fn of(measure: &Measure, a: &[f64], b: &[f64]) -> Self {
        let interval = welch(a, b);
        let judgement = match interval {
            Some((low, _)) if low > 0.0 => better_if(measure.axis == Axis::Amount),
            Some((_, high)) if high < 0.0 => better_if(measure.axis == Axis::Time),
            Some(_) => Significance::NotShown,
            None if a.len() < 2 || b.len() < 2 => Significance::TooFew,
            None => Significance::AllAlike,
        };
        Self { name: measure.name, axis: measure.axis, a: mean(a), b: mean(b), interval, judgement }
    }
}

fn better_if(is_better: bool) -> Significance {
    if is_better { Significance::Better } else { Significance::Worse }
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
    if error == 0.0 && difference != 0.0 {
        // Figures are rounded: that they are all alike does not mean that they are certain.
        return None;
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::compare::{render_page, render_table};
    use crate::load::random::LoadRandom;
    use crate::load::report::json::tests::sample;
    use crate::load::report::page::tests::check_page;

    fn runs(rates: &[f64]) -> Vec<Report> {
        rates.iter().map(|rate| Report { answered_per_s: *rate, ..sample().0 }).collect()
    }

    fn judgement(comparison: &Comparison, name: &str) -> Significance {
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
        assert_eq!(welch(&[40.0, 40.0], &[41.0, 41.0]), None, "times are whole microseconds");
    }

    #[test]
    fn welchs_interval_by_hand() {
        // Means 21.62 and 29.0667, variances 16.017 and 8.2633, so the standard error is sqrt(16.017 / 5 + 8.2633 / 3) =
        // 2.44176 with 5.72 degrees of freedom, rounded down to 5, of which the quantile is 2.571.
        let (low, high) = welch(&[27.5, 21.0, 19.0, 23.6, 17.0], &[31.2, 25.9, 30.1]).expect("samples");
        let margin = 2.571 * 2.441_757;
        assert!(
            (low - (7.446_667 - margin)).abs() < 1e-4 && (high - (7.446_667 + margin)).abs() < 1e-4,
            "{low} {high}"
        );
    }

    /// A sample of the normal distribution (Box and Muller).
    fn normal(random: &mut LoadRandom, mean: f64, deviation: f64) -> f64 {
        let (one, two) = (1.0 - random.unit(), random.unit());
        mean + deviation * (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * two).cos()
    }

    #[test]
    fn nineteen_of_twenty_intervals_hold_the_true_difference() {
        let mut random = LoadRandom::new(7, 0);
        for (counts, deviations) in [((3, 3), (5.0, 5.0)), ((5, 4), (2.0, 9.0)), ((10, 10), (1.0, 1.0))] {
            const TRIALS: u32 = 4000;
            let mut draw = |count, mean, deviation| -> Vec<f64> {
                (0..count).map(|_| normal(&mut random, mean, deviation)).collect()
            };
            let held = (0..TRIALS)
                .filter(|_| {
                    let (a, b) = (draw(counts.0, 100.0, deviations.0), draw(counts.1, 110.0, deviations.1));
                    welch(&a, &b).is_some_and(|(low, high)| low <= 10.0 && 10.0 <= high)
                })
                .count();
            let share = held as f64 / f64::from(TRIALS);
            // Freedom is rounded down, so with few samples intervals hold the truth a little more often.
            assert!((0.94..0.98).contains(&share), "{share} with {counts:?} samples");
        }
    }

    #[test]
    fn runs_of_other_workloads_are_not_compared() {
        let first = &runs(&[1.0])[0];
        let with = |change: &dyn Fn(&mut Report)| {
            let mut run = first.clone();
            change(&mut run);
            obstacle(first, &run)
        };
        assert_eq!(with(&|_| {}), None);
        assert_eq!(with(&|run| _ = run.settings.insert("pipeline".into(), "16".into())), None);
        let other = with(&|run| _ = run.settings.insert("value-size".into(), "64".into()));
        assert_eq!(other.as_deref(), Some("has another workload: --value-size is 64, in the first not given"));
        let other = with(&|run| run.protocol = "resp".into());
        assert_eq!(other.as_deref(), Some("is a run of resp, the first is one of echo"));
        assert_eq!(with(&|run| run.requests = 0).as_deref(), Some("has no answered request"));
    }

    #[test]
    fn seconds_without_an_answer_make_no_side_look_faster() {
        let run = |answered: &[u64]| {
            let (mut run, _) = sample();
            let row = *run.seconds.first().expect("a second");
            let of_second = |(second, &answered): (u64, &u64)| {
                let mut row = SecondRow { second, answered, ..row };
                if answered == 0 {
                    (row.latency_us, row.service_us) = Default::default();
                }
                row
            };
            run.seconds = (0..).zip(answered).map(of_second).collect();
            run.duration_s = answered.len() as f64;
            run
        };
        let frozen = compare(&[run(&[100; 10])], &[run(&[100, 100, 100, 0, 0, 0, 0, 100, 100, 100])], &[]);
        for name in ["latency p50", "service p50", "service p99"] {
            assert_eq!(judgement(&frozen, name), Significance::NotShown, "{name}");
        }
        assert!(frozen.warnings.iter().any(|warning| warning.contains("no answer in 4 of 10 seconds")));
        let short = compare(&[run(&[])], &[run(&[])], &[]);
        assert!(short.differences.iter().all(|difference| difference.a > 0.0 && difference.interval.is_none()));
        assert!(short.differences.iter().all(|difference| difference.judgement == Significance::TooFew));
        let text = render_table(&short);
        assert!(text.contains("cannot tell: too few samples") && !text.contains("no difference shown"), "{text}");
        let alike = compare(&runs(&[40.0, 40.0]), &runs(&[41.0, 41.0]), &[]);
        assert_eq!(judgement(&alike, "answers a second"), Significance::AllAlike);
    }

    #[test]
    fn several_runs_a_side_are_the_samples() {
        let (slow, fast) = (runs(&[100.0, 101.0, 99.0]), runs(&[110.0, 111.0, 109.0]));
        let comparison = compare(&slow, &fast, &[]);
        assert!(!comparison.within_run);
        assert_eq!(judgement(&comparison, "answers a second"), Significance::Better);
        assert_eq!(judgement(&compare(&fast, &slow, &[]), "answers a second"), Significance::Worse);
        assert_eq!(judgement(&comparison, "latency p99"), Significance::NotShown);
        let noisy = runs(&[80.0, 140.0, 110.0]);
        assert_eq!(judgement(&compare(&slow, &noisy, &[]), "answers a second"), Significance::NotShown);
    }

    #[test]
    fn a_single_run_says_that_its_interval_is_within_run_only() {
        let comparison = compare(&runs(&[1.0]), &runs(&[1.0, 2.0]), &[]);
        assert!(comparison.within_run && render_table(&comparison).contains("within-run only"));
    }

    #[test]
    fn differing_settings_and_invalid_runs_are_pointed_out() {
        let (a, mut b) = (runs(&[1.0, 1.0]), runs(&[1.0, 1.0]));
        b[1].settings.insert("connections".to_owned(), "51<".to_owned());
        let names = ["a1.json", "a2.json", "b1.json", "b2.json"].map(str::to_owned);
        let comparison = compare(&a, &b, &names);
        let text = render_table(&comparison);
        assert!(text.contains("differ in --connections: 50, 51<"), "{text}");
        assert!(text.contains("a2.json of side A: its run failed: errors"), "{text}");
        let page = render_page(&comparison, &a, &b);
        check_page(&page);
        assert_eq!(page.matches("<figure>").count(), 5);
    }

    #[test]
    fn a_difference_from_nothing_is_no_percentage_and_wide_figures_keep_apart() {
        let silent = runs(&[0.0, 0.0, 0.0]);
        let text = render_table(&compare(&silent, &runs(&[90.0, 100.0, 110.0]), &[]));
        let line = text.lines().find(|line| line.starts_with("answers a second")).expect("a line");
        assert!(line.contains("+100") && !line.contains('%') && line.ends_with("B is better"), "{line}");
        let (few, many) = (runs(&[0.001, 0.002]), runs(&[123_456_789.0, 223_456_789.0]));
        let text = render_table(&compare(&few, &many, &[]));
        let columns: Vec<usize> =
            text.lines().take(7).map(|line| line.split("  ").filter(|part| !part.is_empty()).count()).collect();
        assert_eq!(columns, [5, 6, 6, 6, 6, 6, 6], "{text}");
    }
}
