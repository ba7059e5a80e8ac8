//! HDR logs, version 2: the interval log format of HdrHistogram, readable by its viewers in every protocol.
//!
//! One histogram a second. Latency has no tag, so that viewers which know none show it; service time is tagged
//! `service`. Values are microseconds.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriter, IntervalLogWriterBuilder, LogEntry, LogIteratorError, Tag,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use super::json::Report;
use crate::load::histogram::histogram;
use crate::load::outcome::Problem;
use crate::load::second::Second;

/// Microseconds in the millisecond that the format's summary column is in.
const US_PER_MS: f64 = 1000.0;

/// The longest interval of a log of ours; other programs write longer ones.
const SECOND: Duration = Duration::from_secs(1);

/// By second (since the log's own start) and tag; the empty tag is latency.
pub type Intervals = BTreeMap<(u64, String), Interval>;

/// What was measured in one second.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// How much of the second was measured.
    pub length: Duration,
    /// Microseconds.
    pub histogram: Histogram<u64>,
    /// Requests that were answered in it, if this is where they are counted: in the service times or, in a log that has
    /// none, in what has no tag.
    pub answered: u64,
}

impl Default for Interval {
    fn default() -> Self {
        Self { length: Duration::ZERO, histogram: histogram(), answered: 0 }
    }
}

impl Interval {
    /// Whether it was measured from its begin to its end, where intervals are of `length`.
    #[must_use]
    pub fn is_whole(&self, length: Duration) -> bool {
        // Logs count in milliseconds, and not every clock is exact.
        self.length + length / 100 >= length
    }
}

/// How long the intervals are: a second in our logs, also where a run was shorter, and longer in others.
#[must_use]
pub fn length(intervals: &Intervals) -> Duration {
    intervals.values().map(|interval| interval.length).fold(SECOND, Duration::max)
}

/// A file that is no HDR log, or holds a histogram that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("not a readable HDR log, as --hdr writes it: {0}")]
pub struct MalformedHdr(String);

/// There is no line of a log at `offset`.
fn no_line(log: &[u8], offset: usize) -> MalformedHdr {
    let before = log.get(..offset).unwrap_or_default();
    MalformedHdr(format!("line {} is of another format", before.split(|byte| *byte == b'\n').count()))
}

/// The log of one run. The last second is as long as the measured part reaches into it; answers that came after the
/// end are in a second of no length, which the format takes for a moment.
#[must_use]
pub fn render(report: &Report, seconds: impl Iterator<Item = Second>) -> Vec<u8> {
    let measured = Duration::try_from_secs_f64(report.duration_s).unwrap_or_default();
    write(report.started_unix_ms, Some(&report.protocol), &report.problems, |writer| {
        for (second, at) in seconds.zip(0..) {
            let begin = Duration::from_secs(at);
            let length = measured.saturating_sub(begin).min(SECOND);
            let [latency, service] = [(&second.latency, None), (&second.service, Tag::new("service"))];
            for (histogram, tag) in [latency, service] {
                writer.write_histogram(histogram, begin, length, tag).map_err(drop)?;
            }
        }
        Ok(())
    })
}

/// The log of several runs together, of one protocol as far as that is known.
#[must_use]
pub fn render_intervals(
    started_unix_ms: u64,
    protocol: Option<&str>,
    problems: &[Problem],
    intervals: &Intervals,
) -> Vec<u8> {
    write(started_unix_ms, protocol, problems, |writer| {
        for ((at, tag), Interval { length, histogram, .. }) in intervals {
            let tag = if tag.is_empty() { None } else { Tag::new(tag) };
            writer.write_histogram(histogram, Duration::from_secs(*at), *length, tag).map_err(drop)?;
        }
        Ok(())
    })
}

type Writer<'a, 'b> = IntervalLogWriter<'a, 'b, Vec<u8>, V2DeflateSerializer>;

/// What a comment begins with that names the protocol of the run, for which the format has no place.
const PROTOCOL: &str = "[Protocol: ";

/// What a comment begins with that names the problems of the run.
const PROBLEMS: &str = "[Not as asked: ";

/// The protocol of the run that a log is of. Logs of other programs do not say.
#[must_use]
pub fn protocol(log: &[u8]) -> Option<&str> {
    comment(log, PROTOCOL).filter(|name| name.chars().all(|char| char.is_ascii_alphanumeric() || char == '-'))
}

/// The problems of the run. A log has no other place for them: a connection that could not be
/// made is in no histogram.
#[must_use]
pub fn problems(log: &[u8]) -> Vec<Problem> {
    let named = comment(log, PROBLEMS).unwrap_or_default();
    Problem::ALL.into_iter().filter(|problem| named.split(", ").any(|name| name == problem.name())).collect()
}

fn comment<'a>(log: &'a [u8], begin: &str) -> Option<&'a str> {
    let mut comments = log.split(|byte| *byte == b'\n').map_while(|line| line.strip_prefix(b"#"));
    let found = comments.find_map(|line| line.strip_prefix(begin.as_bytes())?.strip_suffix(b"]"))?;
    std::str::from_utf8(found).ok()
}

fn write(
    started_unix_ms: u64,
    protocol: Option<&str>,
    problems: &[Problem],
    body: impl FnOnce(&mut Writer<'_, '_>) -> Result<(), ()>,
) -> Vec<u8> {
    let mut log = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let start = SystemTime::UNIX_EPOCH + Duration::from_millis(started_unix_ms);
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment(concat!("[latchkey ", env!("CARGO_PKG_VERSION"), ": microseconds from the intended time]"));
    if let Some(protocol) = protocol {
        builder.add_comment(&format!("{PROTOCOL}{protocol}]"));
    }
    if !problems.is_empty() {
        let names: Vec<_> = problems.iter().map(|problem| problem.name()).collect();
        builder.add_comment(&format!("{PROBLEMS}{}]", names.join(", ")));
    }
    let begun = builder
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(US_PER_MS)
        .begin_log_with(&mut log, &mut serializer);
    if let Ok(mut writer) = begun {
        // Writing to a vector and serialising a histogram of fixed bounds cannot fail.
        let _ = body(&mut writer);
    }
    log
}

/// Adds the intervals of another log, second by second.
pub fn merge(sum: &mut Intervals, other: Intervals) {
    for (at, Interval { length, histogram: other, answered }) in other {
        let sum = sum.entry(at).or_default();
        sum.length = sum.length.max(length);
        sum.answered += answered;
        add(&mut sum.histogram, &other);
    }
}

/// Reads a log, adding its histograms to `intervals` by their second since the log's own start: clocks of several
/// hosts differ, and runs that belong together are started together. Returns the start in Unix milliseconds, if said.
///
/// # Errors
///
/// [`MalformedHdr`] says what is wrong; `intervals` is then as it was.
pub fn read_into(log: &[u8], intervals: &mut Intervals) -> Result<Option<u64>, MalformedHdr> {
    let mut part = Intervals::new();
    let started = read(log, &mut part)?;
    let has_service = part.keys().any(|(_, tag)| tag == "service");
    if !has_service && !part.keys().any(|(_, tag)| tag.is_empty()) {
        return Err(MalformedHdr("all its intervals have tags, and none the tag `service`".to_owned()));
    }
    for ((_, tag), interval) in &mut part {
        let counts = if has_service { tag == "service" } else { tag.is_empty() };
        interval.answered = if counts { interval.histogram.len() } else { 0 };
    }
    merge(intervals, part);
    Ok(started)
}

/// How much earlier than at its second an interval may begin and still be of it.
const JITTER: Duration = Duration::from_millis(10);

fn read(log: &[u8], intervals: &mut Intervals) -> Result<Option<u64>, MalformedHdr> {
    let mut deserializer = Deserializer::new();
    let mut started = None;
    let mut first = None;
    for entry in IntervalLogIterator::new(log) {
        match entry.map_err(|LogIteratorError::ParseError { offset }| no_line(log, offset))? {
            LogEntry::StartTime(since_epoch) => started = u64::try_from(since_epoch.as_millis()).ok(),
            LogEntry::BaseTime(_) => {}
            LogEntry::Interval(interval) => {
                let at = interval.start_timestamp();
                let since = (at.saturating_sub(*first.get_or_insert(at)) + JITTER).as_secs();
                let tag = interval.tag().map_or(String::new(), |tag| tag.as_str().to_owned());
                let bytes = STANDARD.decode(interval.encoded_histogram()).map_err(|e| MalformedHdr(e.to_string()))?;
                let read: Histogram<u64> =
                    deserializer.deserialize(&mut bytes.as_slice()).map_err(|e| MalformedHdr(e.to_string()))?;
                let sum = intervals.entry((since, tag)).or_default();
                sum.length += interval.duration();
                add(&mut sum.histogram, &read);
            }
        }
    }
    if first.is_none() { Err(MalformedHdr("it has no histogram".to_owned())) } else { Ok(started) }
}

/// Adds histograms of possibly other bounds: values beyond ours count at its end.
pub fn add(sum: &mut Histogram<u64>, other: &Histogram<u64>) {
    if sum.add(other).is_err() {
        for bucket in other.iter_recorded() {
            sum.saturating_record_n(bucket.value_iterated_to(), bucket.count_at_value());
        }
    }
}

/// All seconds of one tag together.
#[must_use]
pub fn total(intervals: &Intervals, tag: &str) -> Histogram<u64> {
    let mut sum = histogram();
    for ((_, of), interval) in intervals {
        if of == tag {
            add(&mut sum, &interval.histogram);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::json::tests::sample;

    #[test]
    fn hdr_files_are_read_back_second_by_second() {
        let (report, tally) = sample();
        let log = render(&report, tally.recorder.seconds());
        let mut intervals = Intervals::new();
        assert_eq!(read_into(&log, &mut intervals).expect("readable"), Some(report.started_unix_ms));
        assert_eq!(intervals.len(), 20);
        let latency = total(&intervals, "");
        assert_eq!(latency.len(), 9_998);
        assert_eq!(latency.value_at_quantile(0.99), tally.recorder.latency().value_at_quantile(0.99));
        assert_eq!(total(&intervals, "service").max(), tally.recorder.service().max());
        assert_eq!(intervals[&(5, String::new())].histogram.len(), 1000);
    }

    #[test]
    fn two_hosts_add_up_and_their_clocks_do_not_matter() {
        let (mut report, tally) = sample();
        let mut intervals = Intervals::new();
        for started in [1_700_000_000_000, 1_700_000_900_000] {
            report.started_unix_ms = started;
            read_into(&render(&report, tally.recorder.seconds()), &mut intervals).expect("readable");
        }
        assert_eq!((intervals.len(), total(&intervals, "").len()), (20, 2 * 9_998));
        let mut again = Intervals::new();
        read_into(&render_intervals(1_700_000_000_000, None, &[], &intervals), &mut again).expect("readable");
        assert_eq!(again, intervals);
    }

    #[test]
    fn a_log_names_the_protocol_of_its_run() {
        let (report, tally) = sample();
        assert_eq!(protocol(&render(&report, tally.recorder.seconds())), Some("echo"));
        assert_eq!(protocol(&render_intervals(0, Some("resp"), &[], &Intervals::new())), Some("resp"));
        assert_eq!(protocol(&render_intervals(0, None, &[], &Intervals::new())), None);
        assert_eq!(protocol(b"#[Protocol: \x1b[2J]\n"), None);
    }

    #[test]
    fn a_log_names_the_problems_of_its_run() {
        let (mut report, tally) = sample();
        assert_eq!(problems(&render(&report, tally.recorder.seconds())), report.problems);
        report.problems = vec![Problem::SentLess, Problem::Nothing];
        assert_eq!(problems(&render(&report, tally.recorder.seconds())), report.problems);
        assert_eq!(problems(&render_intervals(0, None, &[Problem::Errors], &Intervals::new())), [Problem::Errors]);
        assert_eq!(problems(&render_intervals(0, None, &[], &Intervals::new())), []);
        assert_eq!(problems(b"#[Not as asked: \x1b[2J, all]\n"), []);
    }

    /// A log as another program may write it: no tags, an interval every `length`, `each` values in it.
    fn foreign(length: Duration, count: u32, each: u64) -> Vec<u8> {
        write(0, None, &[], |writer| {
            for number in 0..count {
                let mut histogram = histogram();
                histogram.record_n(1000, each).map_err(drop)?;
                writer.write_histogram(&histogram, length * number, length, None).map_err(drop)?;
            }
            Ok(())
        })
    }

    #[test]
    fn a_log_of_another_program_counts_its_answers_whatever_its_intervals_are() {
        for (length, count, seconds) in [(5000, 4, [0, 5, 10, 15]), (500, 8, [0, 1, 2, 3])] {
            let mut intervals = Intervals::new();
            let log = foreign(Duration::from_millis(length), count, 100);
            read_into(&log, &mut intervals).expect("readable");
            let found: Vec<_> = intervals.keys().map(|(second, _)| *second).collect();
            assert_eq!(found, seconds);
            let answered: u64 = intervals.values().map(|interval| interval.answered).sum();
            assert_eq!(
                (answered, self::length(&intervals)),
                (u64::from(count) * 100, Duration::from_millis(length.max(1000)))
            );
            let whole = intervals.values().all(|interval| interval.is_whole(self::length(&intervals)));
            assert!(whole, "{length}");
        }
    }

    #[test]
    fn a_damaged_log_is_an_error() {
        let mut intervals = Intervals::new();
        for log in ["", "hello\n", "#[comment]\n", "0.0,1.0,2.0,!!!\n", "0.0,1.0,2.0,AAAA\n"] {
            assert!(read_into(log.as_bytes(), &mut intervals).is_err(), "{log:?}");
        }
        let told = read_into(b"#[comment]\n{}\n", &mut intervals).expect_err("JSON").to_string();
        assert_eq!(told, "not a readable HDR log, as --hdr writes it: line 2 is of another format");
    }
}
