//! Processor time of this process.

use std::time::{Duration, Instant};

use crate::services::resp::ProcessorTime;

/// Reads `/proc/self/stat` (`proc_pid_stat(5)`), in units of 10 ms; `None` where it does not exist.
pub(super) fn time() -> Option<ProcessorTime> {
    parse(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// The clock for measuring commands.
#[expect(clippy::disallowed_methods, reason = "the service takes its clock from here")]
pub(super) fn clock() -> Instant {
    Instant::now()
}

fn parse(stat: &str) -> Option<ProcessorTime> {
    // The program's name is in parentheses and may contain some itself.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut ticks = fields.split(' ').skip(11).map(str::parse::<u64>);
    let mut next = || Some(Duration::from_millis(ticks.next()?.ok()?.saturating_mul(10)));
    Some(ProcessorTime { user: next()?, system: next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_parsed_after_the_program_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 10 0 0 0 150 25 9 9 20 0 4 0 99";
        let parsed = parse(stat).unwrap();
        assert_eq!((parsed.user, parsed.system), (Duration::from_millis(1500), Duration::from_millis(250)));
        assert_eq!(parse("7 (a) S 1"), None);
        assert!(time().is_some());
    }
}
