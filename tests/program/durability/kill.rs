//! Killed at any moment under pipelined writes, again and again.
//!
//! `LATCHKEY_KILL_ROUNDS` and `LATCHKEY_KILL_SECONDS` make it longer: fifty rounds with ten seconds of writes after each
//! restart are the long form.

use std::path::Path;
use std::time::{Duration, Instant};

use super::resp::{Client, Reply, words};
use super::{client, start};

const WRITERS: usize = 4;
/// Keys that one writer writes to, in turn.
const KEYS: u64 = 2000;
const PIPELINE: u64 = 16;

/// What one writer knows: everything up to `acknowledged` must be there, nothing beyond `sent` can be.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    acknowledged: u64,
    sent: u64,
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

/// The value of write `number`: it tells when a part of it is missing.
fn value(number: u64) -> String {
    format!("{number}:{}", "v".repeat(usize::try_from(number % 700).expect("small")))
}

fn commands(writer: usize, number: u64) -> Vec<Vec<String>> {
    let value = value(number);
    vec![
        vec!["set".into(), format!("k:{writer}:{}", number % KEYS), value.clone()],
        words(&format!("incr n:{writer}")),
        words("multi"),
        vec!["set".into(), format!("left:{writer}"), value.clone()],
        vec!["set".into(), format!("right:{writer}"), value],
        words("exec"),
    ]
}

/// Writes until the connection is lost, or the time is over.
fn write(client: &mut Client, writer: usize, known: &mut Known, until: Instant) {
    while Instant::now() < until {
        let batch: Vec<_> = (1..=PIPELINE).flat_map(|step| commands(writer, known.sent + step)).collect();
        known.sent += PIPELINE;
        if client.send(&batch).is_err() {
            return;
        }
        for _ in 0..PIPELINE {
            for _ in 0..commands(writer, 0).len() {
                match client.receive() {
                    Ok(Reply::Line(line)) => assert!(!line.starts_with('-'), "{line}"),
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
            known.acknowledged += 1;
        }
    }
}

/// All writers at once, for `time`; then `end` happens while they write.
fn write_all(address: &str, known: &mut [Known; WRITERS], time: Duration, end: impl FnOnce()) {
    std::thread::scope(|scope| {
        let until = Instant::now() + time + Duration::from_mins(1);
        for (writer, known) in known.iter_mut().enumerate() {
            let mut client = Client::connect(address);
            scope.spawn(move || write(&mut client, writer, known, until));
        }
        std::thread::sleep(time);
        end();
    });
}

/// Compares what is there with what every writer knows, and takes over what turned out to be there.
fn check(client: &mut Client, known: &mut [Known; WRITERS]) {
    for (writer, known) in known.iter_mut().enumerate() {
        let text = |reply: Reply| match reply {
            Reply::Bulk(Some(bytes)) => String::from_utf8(bytes).expect("text"),
            Reply::Bulk(None) => String::new(),
            other => panic!("{other:?}"),
        };
        let counter = text(client.ask(&format!("get n:{writer}"))).parse().unwrap_or(0);
        assert!((known.acknowledged..=known.sent).contains(&counter), "{counter} of {known:?}");
        let (left, right) = (client.ask(&format!("get left:{writer}")), client.ask(&format!("get right:{writer}")));
        assert_eq!(left, right, "half a transaction");
        let there = number(&text(left));
        assert!((known.acknowledged..=known.sent).contains(&there), "{there} of {known:?}");
        for slot in 0..KEYS.min(known.sent + 1) {
            let found = number(&text(client.ask(&format!("get k:{writer}:{slot}"))));
            // The last acknowledged write of this slot, and the last sent one.
            let last =
                |up_to: u64| (up_to + KEYS - slot).checked_sub(KEYS).map_or(0, |steps| slot + steps / KEYS * KEYS);
            let (least, most) = (last(known.acknowledged), last(known.sent));
            assert!((least..=most).contains(&found), "slot {slot}: {found} of {least} to {most}");
        }
        // All writers go on from one number, whatever the last writes have become.
        *known = Known { acknowledged: counter, sent: counter };
        client.ask(&format!("set n:{writer} {counter}"));
    }
}

/// The number of a whole value.
fn number(text: &str) -> u64 {
    if text.is_empty() {
        return 0;
    }
    let number = text.split_once(':').expect("a number").0.parse().expect("a number");
    assert_eq!(text, value(number), "a value is half-written");
    number
}

fn rounds(data: &Path, rounds: u64, seconds: u64) {
    let mut known = [Known::default(); WRITERS];
    let mut seed = u64::from(std::process::id());
    for round in 0..rounds {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let server = start(data);
        let before = known;
        check(&mut client(&server), &mut known);
        // Writes go on after every restart, for long enough that one that hangs is seen.
        let (address, pid) = (server.address("resp"), server.pid());
        let time = Duration::from_millis(seconds * 1000 + (seed >> 33) % 500);
        write_all(&address, &mut known, time, || crate::common::signal(pid, "KILL"));
        let written: u64 = known.iter().map(|known| known.acknowledged).sum();
        println!(
            "round {round}: {} before, {written} writes acknowledged",
            before.iter().map(|k| k.acknowledged).sum::<u64>()
        );
        assert!(known.iter().all(|known| known.acknowledged > 0), "{known:?}");
    }
    check(&mut client(&start(data)), &mut known);
}

#[test]
fn nothing_acknowledged_is_lost_however_often_it_is_killed() {
    let data = tempfile::tempdir().expect("a folder");
    rounds(data.path(), variable("LATCHKEY_KILL_ROUNDS", 5), variable("LATCHKEY_KILL_SECONDS", 1));
}
