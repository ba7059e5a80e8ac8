//! Strings and integers that count.

use super::call::{Call, Failure};
use crate::protocol::resp::{Digits, parse_integer};
use crate::store::{Expiry, Kind};

pub(super) fn incr(call: &mut Call<'_, '_>) -> Result<(), Failure> {
    count(call, 1)
}

pub(super) fn decr(call: &mut Call<'_, '_>) -> Result<(), Failure> {
    count(call, -1)
}

pub(super) fn incrby(call: &mut Call<'_, '_>) -> Result<(), Failure> {
    let step = call.integer(2)?;
    count(call, step)
}

pub(super) fn decrby(call: &mut Call<'_, '_>) -> Result<(), Failure> {
    let step = call.integer(2)?.checked_neg().ok_or(Failure::new("ERR decrement would overflow"))?;
    count(call, step)
}

/// Adds to an integer, which stays what it is: a string, or an integer of another protocol. One of 32 bits that grows
/// beyond them becomes one of 64.
fn count(call: &mut Call<'_, '_>, step: i64) -> Result<(), Failure> {
    let (key, now) = (call.argument(1), call.now());
    let (kind, old) = match call.store.get(key, now) {
        None => (Kind::Bytes, 0),
        Some(entry) if entry.kind.is_plain() || matches!(entry.kind, Kind::Int | Kind::I8) => {
            (entry.kind, parse_integer(entry.data).ok_or(Failure::NOT_AN_INTEGER)?)
        }
        Some(_) => return Err(Failure::WRONG_TYPE),
    };
    let new = old.checked_add(step).ok_or(Failure::OVERFLOW)?;
    let kind = if kind == Kind::Int && i32::try_from(new).is_err() { Kind::I8 } else { kind };
    call.store.set(key, kind, Digits::new(new).as_bytes(), Expiry::Keep, now)?;
    call.answer_integer(new)
}

pub(super) fn incrbyfloat(call: &mut Call<'_, '_>) -> Result<(), Failure> {
    let (key, now) = (call.argument(1), call.now());
    let (kind, old) = match call.store.get(key, now) {
        None => (Kind::Bytes, Number::Decimal(0)),
        Some(entry) if entry.kind.is_plain() => (entry.kind, Number::parse(entry.data).ok_or(Failure::NOT_A_FLOAT)?),
        Some(_) => return Err(Failure::WRONG_TYPE),
    };
    let step = Number::parse(call.argument(2)).ok_or(Failure::NOT_A_FLOAT)?;
    let sum = old.plus(step).ok_or(Failure::new("ERR increment would produce NaN or Infinity"))?;
    let text = sum.text();
    call.store.set(key, kind, text.as_bytes(), Expiry::Keep, now)?;
    call.reply().bulk(text.as_bytes());
    Ok(())
}

/// Decimal places that `INCRBYFLOAT` keeps: what Redis prints.
const PLACES: usize = 17;
const ONE: i128 = 10_i128.pow(17);

/// A number with a fraction.
///
/// Redis computes in 80-bit floating point, which Rust does not have. Exact decimal gives the same text where Redis's
/// rounding does not show, and the text a reader expects where it would.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    /// In units of 10^-17.
    Decimal(i128),
    /// Too large or too fine for that.
    Binary(f64),
}

impl Number {
    fn parse(text: &[u8]) -> Option<Self> {
        if let Some(units) = parse_decimal(text) {
            return Some(Self::Decimal(units));
        }
        let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
        // What is written in digits and not zero must not become infinite or zero.
        let mut mantissa = text.iter().take_while(|byte| !matches!(byte, b'e' | b'E'));
        let is_out_of_range = !number.is_normal() && mantissa.any(|digit| matches!(digit, b'1'..=b'9'));
        (!number.is_nan() && !is_out_of_range).then_some(Self::Binary(number))
    }

    /// `None` when the sum is infinite or no number.
    fn plus(self, other: Self) -> Option<Self> {
        if let (Self::Decimal(one), Self::Decimal(two)) = (self, other)
            && let Some(sum) = one.checked_add(two)
        {
            return Some(Self::Decimal(sum));
        }
        let sum = self.approximate() + other.approximate();
        sum.is_finite().then_some(Self::Binary(sum))
    }

    #[expect(clippy::cast_precision_loss, reason = "asked for")]
    fn approximate(self) -> f64 {
        match self {
            Self::Decimal(units) => units as f64 / ONE as f64,
            Self::Binary(number) => number,
        }
    }

    /// Plain decimal notation without an exponent or trailing zeros.
    fn text(self) -> String {
        let text = match self {
            Self::Decimal(units) => {
                let sign = if units < 0 { "-" } else { "" };
                let (whole, rest) =
                    (units.unsigned_abs() / ONE.unsigned_abs(), units.unsigned_abs() % ONE.unsigned_abs());
                format!("{sign}{whole}.{rest:0PLACES$}")
            }
            Self::Binary(number) => format!("{number:.PLACES$}"),
        };
        let text = text.trim_end_matches('0').trim_end_matches('.');
        if text == "-0" { String::from("0") } else { text.to_owned() }
    }
}

/// Parses `[+-]digits[.digits][e[+-]digits]` exactly, in units of 10^-17; `None` if it does not fit or is none.
fn parse_decimal(text: &[u8]) -> Option<i128> {
    let (negative, unsigned) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let mut parts = unsigned.splitn(2, |byte| matches!(byte, b'e' | b'E'));
    let mantissa = parts.next()?;
    let exponent: i32 = parts.next().map_or(Some(0), |text| std::str::from_utf8(text).ok()?.parse().ok())?;
    let mut halves = mantissa.splitn(2, |&byte| byte == b'.');
    let (whole, fraction) = (halves.next()?, halves.next().unwrap_or_default());
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut digits: i128 = 0;
    for digit in whole.iter().chain(fraction) {
        let digit = digit.checked_sub(b'0').filter(|&digit| digit <= 9)?;
        digits = digits.checked_mul(10)?.checked_add(i128::from(digit))?;
    }
    let scale = i32::try_from(PLACES).ok()? + exponent.clamp(-1000, 1000) - i32::try_from(fraction.len()).ok()?;
    let factor = 10_i128.checked_pow(scale.unsigned_abs());
    let units = match (factor, scale < 0) {
        _ if digits == 0 => 0,
        (Some(factor), false) => digits.checked_mul(factor)?,
        (Some(factor), true) if digits % factor == 0 => digits / factor,
        _ => return None,
    };
    Some(if negative { -units } else { units })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(one: &str, two: &str) -> Option<String> {
        Some(Number::parse(one.as_bytes())?.plus(Number::parse(two.as_bytes())?)?.text())
    }

    #[test]
    fn decimal_sums_show_no_rounding() {
        for (one, two, expected) in [
            ("0.1", "0.2", "0.3"),
            ("10.50", "0.1", "10.6"),
            ("3.0e3", "200", "3200"),
            ("5.0e3", "2.0e2", "5200"),
            ("-1.5", "1.5", "0"),
            ("-0.25", "0", "-0.25"),
            ("+1", ".5", "1.5"),
            ("1.", "1e-17", "1.00000000000000001"),
            ("123456789012345678", "0.5", "123456789012345678.5"),
            ("0e99999", "1", "1"),
            ("1e30", "1e30", "2000000000000000000000000000000"),
        ] {
            let shown = sum(one, two).unwrap_or_default();
            // What does not fit the decimal form is as exact as a double.
            assert!(
                shown == expected || shown.starts_with("20000000000000000") && one == "1e30",
                "{one}+{two}={shown}"
            );
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in
            ["", " 1", "1 ", "abc", "1.2.3", "--1", "e5", ".", "nan", "-", "1e", "1\0", "1e999", "-1e999", "1e-999"]
        {
            assert_eq!(Number::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(sum("inf", "1"), None);
        assert_eq!(sum("1.7e308", "1.7e308"), None);
    }
}
