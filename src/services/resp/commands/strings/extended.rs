//! Floating-point numbers of 80 bits, as `INCRBYFLOAT` computes with them in Redis on x86-64: a mantissa of 64 bits, rounded to
//! nearest, ties to even. Rust has no such type, and the difference shows beyond 17 digits.
//!
//! The range is that of `f64`, and texts are bounded, so that no number takes long.

use std::fmt::Write as _;

/// Decimal places that are shown.
const PLACES: usize = 17;
const ONE: u128 = 10_u128.pow(17);
/// The longest text of a number: the largest has 309 digits and 17 places.
const TEXT_BYTES: usize = 512;
/// Of nonzero numbers, the decimal exponent of the first digit lies between these.
const LEAST_EXPONENT: i64 = -307;
const MOST_EXPONENT: i64 = 308;
/// No number is as large as two to the power of this.
const MOST_BITS: i32 = 1024;

/// A finite number: `mantissa` times two to the power of `exponent`. The mantissa's first bit is set, except in zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extended {
    is_negative: bool,
    mantissa: u64,
    exponent: i32,
}

/// The number in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    Finite(Extended),
    /// Infinite, of either sign.
    Infinite,
}

impl Number {
    pub(crate) const ZERO: Self = Self::Finite(Extended { is_negative: false, mantissa: 0, exponent: 0 });

    /// Reads `[+-]digits[.digits][e[+-]digits]` or an infinity, with nothing before or behind it, as C's `strtold` does; not
    /// its hexadecimal form. `None` if it is none of these, or out of range.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > TEXT_BYTES {
            return None;
        }
        let (is_negative, unsigned) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
            return Some(Self::Infinite);
        }
        Extended::parse(unsigned).map(|number| Self::Finite(Extended { is_negative, ..number }))
    }

    /// `None` when the sum is infinite, or out of range.
    pub(crate) fn plus(self, other: Self) -> Option<Extended> {
        match (self, other) {
            (Self::Finite(one), Self::Finite(two)) => one.plus(two),
            _ => None,
        }
    }
}

impl Extended {
    fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = text.splitn(2, |byte| matches!(byte, b'e' | b'E'));
        let mantissa = parts.next()?;
        let exponent = parts.next().map_or(Some(0), parse_exponent)?;
        let mut halves = mantissa.splitn(2, |&byte| byte == b'.');
        let (whole, fraction) = (halves.next()?, halves.next().unwrap_or_default());
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut digits = Natural::default();
        let mut count: i64 = 0;
        // As many digits at once as fit a limb: one by one they would take as many passes over all limbs.
        let (mut factor, mut addend) = (1, 0);
        for digit in whole.iter().chain(fraction) {
            let digit = digit.checked_sub(b'0').filter(|&digit| digit <= 9)?;
            (factor, addend) = (factor * 10, addend * 10 + u32::from(digit));
            count += i64::from(count > 0 || digit > 0);
            if factor == Natural::CHUNK {
                digits.multiply_add(factor, addend);
                (factor, addend) = (1, 0);
            }
        }
        digits.multiply_add(factor, addend);
        if count == 0 {
            return Some(Self::default());
        }
        let scale = exponent.saturating_sub(i64::try_from(fraction.len()).ok()?);
        if !(LEAST_EXPONENT..=MOST_EXPONENT).contains(&(scale.saturating_add(count - 1))) {
            return None;
        }
        let power = u32::try_from(scale.unsigned_abs()).ok()?;
        if scale >= 0 {
            digits.multiply_by_power_of_ten(power);
            return digits.rounded(0, false);
        }
        // So many bits more than the power of ten has that the quotient fills a mantissa.
        let shift = power * 10 / 3 + 68;
        digits.shift_left(shift);
        let is_inexact = digits.divide_by_power_of_ten(power);
        digits.rounded(-i32::try_from(shift).ok()?, is_inexact)
    }

    fn plus(self, other: Self) -> Option<Self> {
        if self.mantissa == 0 || other.mantissa == 0 {
            return Some(if self.mantissa == 0 { other } else { self });
        }
        let (large, small) = if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        // With 63 bits behind the mantissa, what falls off the end matters only by being there.
        let wide = |number: Self| u128::from(number.mantissa) << 63;
        let distance = large.exponent.abs_diff(small.exponent);
        let shifted = wide(small).checked_shr(distance).unwrap_or(0);
        let is_inexact = distance >= 127 || shifted << distance != wide(small);
        let small_wide = shifted | u128::from(is_inexact);
        let exponent = large.exponent - 63;
        let (is_negative, sum) = if large.is_negative == small.is_negative {
            (large.is_negative, wide(large) + small_wide)
        } else if wide(large) >= small_wide {
            (large.is_negative, wide(large) - small_wide)
        } else {
            (small.is_negative, small_wide - wide(large))
        };
        Some(Self { is_negative, ..round(sum, exponent, false)? })
    }

    /// Plain decimal notation of 17 places, rounded half to even, without trailing zeros.
    pub(crate) fn text(self) -> String {
        let sign = if self.is_negative { "-" } else { "" };
        if let Ok(exponent) = u32::try_from(self.exponent) {
            let mut whole = Natural::from(self.mantissa);
            whole.shift_left(exponent);
            return if self.mantissa == 0 { String::from("0") } else { format!("{sign}{}", whole.digits()) };
        }
        let units = shift_right_to_even(u128::from(self.mantissa) * ONE, self.exponent.unsigned_abs());
        let text = format!("{sign}{}.{:0PLACES$}", units / ONE, units % ONE);
        let text = text.trim_end_matches('0').trim_end_matches('.');
        if text == "-0" { String::from("0") } else { text.to_owned() }
    }
}

fn parse_exponent(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // One that does not fit is out of range as well as the largest that does, whatever the digits before it: they are few.
    let most = i64::from(i32::MAX);
    let number = digits.iter().fold(0_i64, |sum, digit| (sum * 10 + i64::from(digit - b'0')).min(most));
    Some(if text.starts_with(b"-") { -number } else { number })
}

/// `number` over two to the power of `bits`, to the nearest whole number, of two equally near ones the even.
fn shift_right_to_even(number: u128, bits: u32) -> u128 {
    if bits > 127 {
        return 0;
    }
    let floor = number >> bits;
    let rest = number - (floor << bits);
    let half = if bits == 0 { u128::MAX } else { 1 << (bits - 1) };
    floor + u128::from(rest > half || (rest == half && floor & 1 == 1))
}

/// `number` times two to the power of `exponent`, to the nearest number; `is_inexact` if it is a little more than that.
fn round(number: u128, exponent: i32, is_inexact: bool) -> Option<Extended> {
    if number == 0 {
        return Some(Extended::default());
    }
    let bits = 128 - number.leading_zeros();
    let (mut mantissa, mut exponent) = if bits <= 64 {
        let shift = 64 - bits;
        (number << shift, exponent - i32::try_from(shift).ok()?)
    } else {
        let shift = bits - 64;
        let floor = number >> shift;
        let (rest, half) = (number - (floor << shift), 1 << (shift - 1));
        let up = rest > half || (rest == half && (is_inexact || floor & 1 == 1));
        (floor + u128::from(up), exponent + i32::try_from(shift).ok()?)
    };
    if mantissa >> 64 != 0 {
        mantissa >>= 1;
        exponent += 1;
    }
    (exponent + 64 <= MOST_BITS).then_some(Extended {
        is_negative: false,
        mantissa: u64::try_from(mantissa).ok()?,
        exponent,
    })
}

/// A whole number of any size, the lowest 32 bits first, without leading zeros.
#[derive(Clone, Debug, Default)]
struct Natural(Vec<u32>);

impl From<u64> for Natural {
    fn from(number: u64) -> Self {
        let mut natural = Self(vec![low(number), low(number >> 32)]);
        natural.trim();
        natural
    }
}

impl Natural {
    /// The largest power of ten that a limb holds.
    const CHUNK: u32 = 1_000_000_000;

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn multiply_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for limb in &mut self.0 {
            let product = u64::from(*limb) * u64::from(factor) + carry;
            *limb = low(product);
            carry = product >> 32;
        }
        if carry > 0 {
            self.0.push(low(carry));
        }
    }

    /// Returns the remainder.
    fn divide(&mut self, divisor: u32) -> u32 {
        let mut rest: u64 = 0;
        for limb in self.0.iter_mut().rev() {
            let dividend = rest << 32 | u64::from(*limb);
            *limb = low(dividend / u64::from(divisor));
            rest = dividend % u64::from(divisor);
        }
        self.trim();
        low(rest)
    }

    fn multiply_by_power_of_ten(&mut self, power: u32) {
        each_factor(power, |factor| self.multiply_add(factor, 0));
    }

    /// Whether there was a remainder.
    fn divide_by_power_of_ten(&mut self, power: u32) -> bool {
        let mut is_inexact = false;
        each_factor(power, |factor| is_inexact |= self.divide(factor) != 0);
        is_inexact
    }

    fn shift_left(&mut self, bits: u32) {
        self.multiply_add(1 << (bits % 32), 0);
        self.0.splice(..0, std::iter::repeat_n(0, bits as usize / 32));
    }

    /// This times two to the power of `exponent`, to the nearest number.
    fn rounded(&self, exponent: i32, mut is_inexact: bool) -> Option<Extended> {
        // The top 96 bits at least, where there are so many.
        let skipped = self.0.len().saturating_sub(4);
        let (rest, top) = self.0.split_at_checked(skipped)?;
        let number = top.iter().rev().fold(0_u128, |number, limb| number << 32 | u128::from(*limb));
        is_inexact |= rest.iter().any(|limb| *limb != 0);
        round(number, exponent + i32::try_from(32 * skipped).ok()?, is_inexact)
    }

    /// In decimal.
    fn digits(mut self) -> String {
        let mut chunks = Vec::new();
        while !self.0.is_empty() {
            chunks.push(self.divide(Self::CHUNK));
        }
        let mut text = chunks.pop().unwrap_or(0).to_string();
        for chunk in chunks.iter().rev() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{chunk:09}");
        }
        text
    }
}

/// The lowest 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "asked for")]
fn low(number: u64) -> u32 {
    number as u32
}

/// Calls `apply` with numbers whose product is that power of ten.
fn each_factor(power: u32, mut apply: impl FnMut(u32)) {
    for _ in 0..power / 9 {
        apply(1_000_000_000);
    }
    apply(10_u32.pow(power % 9));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(one: &str, two: &str) -> Option<String> {
        Some(Number::parse(one.as_bytes())?.plus(Number::parse(two.as_bytes())?)?.text())
    }

    #[test]
    fn sums_are_those_of_80_bits() {
        for (one, two, expected) in [
            ("0.1", "0.2", "0.3"),
            ("10.50", "0.1", "10.6"),
            ("3.0e3", "200", "3200"),
            ("5.0e3", "2.0e2", "5200"),
            ("-1.5", "1.5", "0"),
            ("-0", "0", "0"),
            ("-0.25", "0", "-0.25"),
            ("+1", ".5", "1.5"),
            ("1.", "1e-17", "1.00000000000000001"),
            ("123456789012345678", "0.5", "123456789012345678.5"),
            ("0e99999", "1", "1"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("18446744073709551616", "1", "18446744073709551616"),
            ("18446744073709551616", "3", "18446744073709551620"),
            ("1e30", "1e30", "2000000000000000000049392123904"),
            ("1e-300", "-1e-300", "0"),
            ("1e-300", "1", "1"),
        ] {
            let shown = sum(one, two).unwrap_or_default();
            assert_eq!(shown, expected, "{one} + {two}");
        }
    }

    #[test]
    fn malformed_numbers_and_numbers_out_of_range_are_refused() {
        for text in [
            "",
            " 1",
            "1 ",
            "abc",
            "1.2.3",
            "--1",
            "e5",
            ".",
            "nan",
            "-",
            "1e",
            "1\0",
            "1e999",
            "-1e999",
            "1e-999",
            "0x10",
            "1e+",
            "1e99999999999999999999",
            "in",
            "1_000",
        ] {
            assert_eq!(Number::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Number::parse("1".repeat(TEXT_BYTES + 1).as_bytes()), None);
        assert_eq!(sum("inf", "1"), None);
        assert_eq!(sum("1.7e308", "1.7e308"), None);
    }
}
