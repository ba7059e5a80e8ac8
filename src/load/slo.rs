//! Objectives such as `p99<5ms`: read from text, judged against a report.

use std::fmt;
use std::str::FromStr;

use hdrhistogram::Histogram;

/// One objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    measure: Measure,
    comparison: Comparison,
    /// Microseconds, requests a second, or a part between 0 and 1, as the measure has it.
    limit: f64,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Measure {
    /// Latency from the intended time at this quantile, in microseconds.
    Latency(f64),
    /// Mean latency, in microseconds.
    Mean,
    /// Largest latency, in microseconds.
    Max,
    /// Failed requests as a part of all, 0 to 1.
    Errors,
    /// Good answers a second.
    Rate,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Less,
    AtMost,
    More,
    AtLeast,
}

/// The measurements that objectives are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Measured<'a> {
    /// Microseconds from the intended time.
    pub latency: &'a Histogram<u64>,
    /// Failed requests as a part of all, 0 to 1.
    pub errors: f64,
    /// Good answers a second.
    pub rate: f64,
}

/// A text that is not an objective.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an objective such as p99<5ms, p99.9<=800us, mean<1ms, max<1s, errors<0.1% or rate>=10000")]
pub struct NotAnObjective;

impl FromStr for Objective {
    type Err = NotAnObjective;

    fn from_str(text: &str) -> Result<Self, NotAnObjective> {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let at = text.find(['<', '>']).ok_or(NotAnObjective)?;
        let (name, rest) = text.split_at(at);
        let symbols =
            [("<=", Comparison::AtMost), (">=", Comparison::AtLeast), ("<", Comparison::Less), (">", Comparison::More)];
        let (value, comparison) = symbols
            .into_iter()
            .find_map(|(symbol, comparison)| rest.strip_prefix(symbol).map(|value| (value, comparison)))
            .ok_or(NotAnObjective)?;
        let measure = measure(name).ok_or(NotAnObjective)?;
        let limit = match measure {
            Measure::Errors => part(value),
            Measure::Rate => number(value.strip_suffix("/s").unwrap_or(value)),
            _ => microseconds(value),
        };
        Ok(Self { measure, comparison, limit: limit.ok_or(NotAnObjective)?, text })
    }
}

fn measure(name: &str) -> Option<Measure> {
    match name {
        "mean" => Some(Measure::Mean),
        "max" => Some(Measure::Max),
        "errors" => Some(Measure::Errors),
        "rate" => Some(Measure::Rate),
        _ => {
            let percentile = number(name.strip_prefix('p')?)?;
            (percentile <= 100.0).then_some(Measure::Latency(percentile / 100.0))
        }
    }
}

/// A decimal number without sign or exponent.
fn number(text: &str) -> Option<f64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if plain { text.parse().ok() } else { None }
}

fn part(text: &str) -> Option<f64> {
    match text.strip_suffix('%') {
        Some(percent) => number(percent).map(|percent| percent / 100.0),
        None => number(text),
    }
}

fn microseconds(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    units.into_iter().find_map(|(unit, factor)| Some(number(text.strip_suffix(unit)?)? * factor))
}

impl Objective {
    /// The measured value, in the unit of the limit, and whether it meets the objective.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an hour in microseconds is below 2^53")]
    pub fn judge(&self, measured: &Measured<'_>) -> (f64, bool) {
        let value = match self.measure {
            Measure::Latency(quantile) => measured.latency.value_at_quantile(quantile) as f64,
            Measure::Mean => measured.latency.mean(),
            Measure::Max => measured.latency.max() as f64,
            Measure::Errors => measured.errors,
            Measure::Rate => measured.rate,
        };
        // A run without answers has no latency, so it meets no objective on it.
        let known = matches!(self.measure, Measure::Errors | Measure::Rate) || !measured.latency.is_empty();
        let met = match self.comparison {
            Comparison::Less => value < self.limit,
            Comparison::AtMost => value <= self.limit,
            Comparison::More => value > self.limit,
            Comparison::AtLeast => value >= self.limit,
        };
        (value, known && met)
    }

    /// A measured value as people read it.
    #[must_use]
    pub fn show(&self, value: f64) -> String {
        match self.measure {
            Measure::Errors => format!("{:.3}%", value * 100.0),
            Measure::Rate => format!("{value:.1}/s"),
            _ => super::readable::time(value),
        }
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(text: &str, errors: f64, rate: f64) -> bool {
        let mut latency = crate::load::histogram::histogram();
        for us in 1..=1000 {
            latency.saturating_record(us);
        }
        text.parse::<Objective>().expect(text).judge(&Measured { latency: &latency, errors, rate }).1
    }

    #[test]
    fn objectives_are_judged_in_their_units() {
        let met = ["p99<1ms", "p99 <= 990us", "p50<=500us", "p99.9<=1s", "p100<1001us", "mean<501us", "max<=1ms"];
        for text in met {
            assert!(judge(text, 0.0, 0.0), "{text}");
        }
        for text in ["p99<990us", "p50<0.4ms", "mean<500us", "max<1ms", "p90>1s"] {
            assert!(!judge(text, 0.0, 0.0), "{text}");
        }
        assert!(judge("errors<0.1%", 0.0009, 0.0) && !judge("errors<0.1%", 0.001, 0.0));
        assert!(judge("errors<=0.001", 0.001, 0.0));
        assert!(judge("rate>=10000", 0.0, 10_000.0) && !judge("rate>10000/s", 0.0, 10_000.0));
    }

    #[test]
    fn a_run_without_answers_meets_no_latency_objective() {
        let latency = crate::load::histogram::histogram();
        let objective: Objective = "p99<5ms".parse().expect("objective");
        assert!(!objective.judge(&Measured { latency: &latency, errors: 0.0, rate: 0.0 }).1);
    }

    #[test]
    fn nonsense_is_refused() {
        let bad =
            ["", "p99", "p99<", "p99<5", "p99=5ms", "p101<1ms", "p<1ms", "errors<1ms", "rate>x", "p99<-5ms", "q<1"];
        for text in bad {
            assert_eq!(text.parse::<Objective>(), Err(NotAnObjective), "{text}");
        }
        assert_eq!("p99 < 5ms".parse::<Objective>().expect("objective").to_string(), "p99<5ms");
    }
}
