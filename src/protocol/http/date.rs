//! The Date field (RFC 9110 section 6.6.1), formatted once a second.

use std::io::Write;

/// The text of the second that was last requested.
#[derive(Debug, Default)]
pub struct DateCache {
    second: u64,
    text: Vec<u8>,
}

impl DateCache {
    /// `unix_seconds` as an IMF-fixdate, for example `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7).
    pub fn text(&mut self, unix_seconds: u64) -> &[u8] {
        if self.text.is_empty() || self.second != unix_seconds {
            self.second = unix_seconds;
            self.text.clear();
            append_fixdate(&mut self.text, unix_seconds);
        }
        &self.text
    }

    /// The text returned last. A reply reserved for later carries the date of its request.
    pub fn last(&self) -> &[u8] {
        &self.text
    }
}

fn append_fixdate(out: &mut Vec<u8>, unix_seconds: u64) {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    // With years that begin in March the leap day comes last; an era is the 400 years after which the calendar repeats.
    let since_march_of_year_0 = days + 719_468;
    let (era, day_of_era) = (since_march_of_year_0 / 146_097, since_march_of_year_0 % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let year = era * 400 + year_of_era + u64::from(month_from_march >= 10);
    let name = |names: &[&'static str], index: u64| usize::try_from(index).ok().and_then(|i| names.get(i).copied());
    let written = write!(
        out,
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        name(&WEEKDAYS, days % 7).unwrap_or_default(),
        name(&MONTHS, month_from_march).unwrap_or_default(),
        second / 3600,
        second / 60 % 60,
        second % 60,
    );
    debug_assert!(written.is_ok(), "writing to memory cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixdates() {
        let mut cache = DateCache::default();
        for (second, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (1_709_251_200, "Fri, 01 Mar 2024 00:00:00 GMT"),
            (4_102_444_800, "Fri, 01 Jan 2100 00:00:00 GMT"),
        ] {
            assert_eq!(cache.text(second), text.as_bytes());
        }
    }
}
