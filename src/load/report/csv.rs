//! One line a second, for spreadsheets and plotting programs.

use std::fmt::Write;

use super::json::Report;
use crate::load::histogram::Percentiles;

/// The whole file. Columns are seconds since the measured part began, counts, microseconds, and the requests that the schedule made due.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut text = String::from("second,answered,errors");
    for times in ["latency", "service"] {
        for name in ["p50", "p90", "p99", "p99_9", "max", "mean"] {
            let _ = write!(text, ",{times}_{name}_us");
        }
    }
    text.push_str(",asked\n");
    for row in &report.seconds {
        let _ = write!(text, "{},{},{}", row.second, row.answered, row.errors);
        for Percentiles { p50, p90, p99, p99_9, max, mean } in [row.latency_us, row.service_us] {
            let _ = write!(text, ",{p50},{p90},{p99},{p99_9},{max},{mean:.1}");
        }
        let _ = writeln!(text, ",{}", row.asked.map_or(String::new(), |asked| format!("{asked:.1}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_as_many_fields_as_the_heading() {
        let text = render(&crate::load::report::json::tests::sample().0);
        let fields: Vec<_> = text.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(fields, [16; 11]);
        let line = text.lines().nth(6).expect("second 5");
        assert!(line.starts_with("5,1000,2,") && line.ends_with(",1000.0"), "{line}");
    }
}
