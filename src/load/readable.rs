//! Numbers as people read them: three significant digits and a unit.

/// A time in microseconds as people read it: three significant digits and a unit.
#[must_use]
pub fn time(us: f64) -> String {
    let (value, unit) = match us {
        _ if us >= 1e6 => (us / 1e6, "s"),
        _ if us >= 1e3 => (us / 1e3, "ms"),
        _ => (us, "us"),
    };
    format!("{} {unit}", digits(value))
}

/// A count or a rate as people read it: three significant digits, and `k` or `M` for large ones.
#[must_use]
pub fn amount(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{} M", digits(value / 1e6)),
        size if size >= 1e4 => format!("{} k", digits(value / 1e3)),
        _ => digits(value),
    }
}

/// At least three significant digits, and none after the point that are only zeros.
fn digits(value: f64) -> String {
    let size = value.abs();
    let places = if size >= 100.0 { 0 } else { 1 + usize::from(size < 10.0) };
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let times = [0.0, 850.0, 1234.0, 56_780.0, 999_000.0, 1.5e6].map(time);
        assert_eq!(times, ["0 us", "850 us", "1.23 ms", "56.8 ms", "999 ms", "1.5 s"]);
        let amounts = [0.0, 7.0, 0.25, 9999.0, 12_345.0, 2_000_000.0].map(amount);
        assert_eq!(amounts, ["0", "7", "0.25", "9999", "12.3 k", "2 M"]);
    }
}
