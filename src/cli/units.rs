//! Sizes and times on the command line.

use std::time::Duration;

/// The longest time that is accepted: it keeps clock arithmetic from overflowing. `off` is no limit.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

/// Parses a size in bytes greater than zero: a number with an optional unit `k`, `m` or `g` (powers of 1024, `kb` and
/// `kib` are the same): `65536`, `64k`, `1MiB`.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(format!("unknown unit '{unit}': use k, m or g")),
    };
    let number: usize = number.parse().map_err(|_| "a size is a number of bytes, such as 65536 or 64k".to_string())?;
    match number.checked_mul(1 << shift) {
        Some(0) => Err("must be more than zero".into()),
        size => size.ok_or_else(|| "too large".into()),
    }
}

/// Parses the maximum length of a chain. A path has at most seven certificates besides its root, but a peer may send
/// others with it.
/// peer may send others with it.
pub(super) fn chain(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=64).contains(count));
    count.ok_or_else(|| "must be a number from 1 to 64".to_owned())
}

/// A number and its noun: `1 key`, `2 keys`.
pub(super) fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// A size in bytes with one decimal in the largest unit that fits.
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub(super) fn readable(bytes: u64) -> String {
    let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} bytes"),
    }
}

/// Parses a time greater than zero: `500ms`, `10s`, `5m`, `1h`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    // humantime's own message lists other units than these.
    let time = humantime::parse_duration(text)
        .map_err(|_| "a time is a number with a unit, ms, s, m, h or d, such as 500ms, 10s or 5m".to_owned())?;
    if time.is_zero() {
        return Err("must be more than zero".into());
    }
    if time < LONGEST { Ok(time) } else { Err("must be less than a hundred years".into()) }
}

/// Parses a time, or `off`.
pub(super) fn time_or_off(text: &str) -> Result<TimeOrOff, String> {
    if text == "off" { Ok(TimeOrOff(None)) } else { time(text).map(|time| TimeOrOff(Some(time))) }
}

/// A time limit that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeOrOff(pub(super) Option<Duration>);

/// Parses a number that must be more than zero, or `off`.
pub(super) fn count_or_off(text: &str) -> Result<CountOrOff, String> {
    match text {
        "off" => Ok(CountOrOff(None)),
        _ => match text.parse() {
            Ok(0) | Err(_) => Err("must be a number more than zero, or 'off'".into()),
            Ok(count) => Ok(CountOrOff(Some(count))),
        },
    }
}

/// A limit on a number that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CountOrOff(pub(super) Option<usize>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(bytes("65536"), Ok(65_536));
        assert_eq!(bytes("64k"), Ok(65_536));
        assert_eq!(bytes("2MiB"), Ok(2 << 20));
        assert_eq!(bytes("1gb"), Ok(1 << 30));
        for bad in ["", "0", "0k", "k", "1x", "-1", "99999999999999999999", "99999999999999g"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn counted_nouns_are_singular_for_one() {
        assert_eq!([0, 1, 2].map(|number| count(number, "key")), ["0 keys", "1 key", "2 keys"]);
    }

    #[test]
    fn times_have_units_and_zero_is_refused() {
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(time("5m"), Ok(Duration::from_mins(5)));
        assert!(time("290000000000y").is_err() && time_or_off("100y").is_err() && time("99y").is_ok());
        assert!(time("0s").is_err() && time("5").is_err() && time("soon").is_err());
        assert_eq!(time_or_off("off"), Ok(TimeOrOff(None)));
    }

    #[test]
    fn counts_may_be_off_and_zero_is_refused() {
        assert_eq!((count_or_off("off"), count_or_off("7")), (Ok(CountOrOff(None)), Ok(CountOrOff(Some(7)))));
        assert!(count_or_off("0").is_err() && count_or_off("-1").is_err() && count_or_off("on").is_err());
    }
}
