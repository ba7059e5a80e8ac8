//! Few keys asked for often, many seldom.

#![expect(clippy::cast_precision_loss, reason = "key numbers stay far below 2^53")]

use crate::load::random::LoadRandom;

/// Zipf-distributed ranks by rejection-inversion (Hörmann and Derflinger, 1996): constant time for any number of keys
/// and any exponent, without a table.
#[derive(Clone, Debug)]
pub(super) struct Zipf {
    count: f64,
    exponent: f64,
    integral_at_first: f64,
    integral_at_end: f64,
    shortcut: f64,
}

impl Zipf {
    pub(super) fn new(keys: u64, exponent: f64) -> Self {
        let count = keys as f64;
        let mut zipf = Self { count, exponent, integral_at_first: 0.0, integral_at_end: 0.0, shortcut: 0.0 };
        zipf.integral_at_first = zipf.integral(1.5) - 1.0;
        zipf.integral_at_end = zipf.integral(count + 0.5);
        zipf.shortcut = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.density(2.0));
        zipf
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1..=count")]
    pub(super) fn sample(&self, random: &mut LoadRandom) -> u64 {
        loop {
            let at = self.integral_at_end + random.unit() * (self.integral_at_first - self.integral_at_end);
            let x = self.inverse(at);
            let rank = x.round().clamp(1.0, self.count);
            if rank - x <= self.shortcut || at >= self.integral(rank + 0.5) - self.density(rank) {
                return rank as u64 - 1;
            }
        }
    }

    fn density(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// The integral of the density from 1 to `x`, written so that an exponent of 1 is no special case.
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        let power = (1.0 - self.exponent) * log;
        if power.abs() < 1e-9 { log } else { power.exp_m1() / power * log }
    }

    fn inverse(&self, area: f64) -> f64 {
        let scaled = (area * (1.0 - self.exponent)).max(-1.0);
        if scaled.abs() < 1e-9 { area.exp() } else { (scaled.ln_1p() / scaled * area).exp() }
    }
}
