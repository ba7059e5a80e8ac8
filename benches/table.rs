//! Loads keys of 16 bytes with values of 32 into the store and into std's map: the worst single step, and bytes a key.
//!
//! `cargo bench --bench table [-- KEYS]`, ten million keys if not said otherwise. Each table is loaded in a process of its
//! own, so that one's freed memory does not hide the other's growth. Times are the thread's CPU time, so that a noisy
//! machine does not count.

use std::collections::HashMap;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use latchkey::store::{Expiry, Kind, Store, StoreOptions};
use latchkey::timer::Now;
use rustix::time::{ClockId, clock_gettime};

const KEYS: u64 = 10_000_000;
/// Writes between two ticks: what a loop executes in a turn for one busy peer.
const TURN: u64 = 128;
const LARGE: usize = 100 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let keys = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(KEYS);
    match arguments.iter().find(|argument| argument.starts_with("only-")).map(String::as_str) {
        Some("only-store") => load_store(keys, Expiry::Never),
        Some("only-store-ttl") => load_store(keys, Expiry::At(now().unix_ms + 3_600_000)),
        Some("only-std") => load_std(keys),
        _ => {
            println!("{keys} keys of 16 bytes, values of 32 bytes; CPU time of the thread");
            for table in ["only-store", "only-store-ttl", "only-std"] {
                run_alone(table, keys);
            }
        }
    }
}

fn run_alone(table: &str, keys: u64) {
    let done = std::env::current_exe().and_then(|own| Command::new(own).arg(table).arg(keys.to_string()).status());
    assert!(done.is_ok_and(|status| status.success()), "{table} failed");
}

fn load_store(keys: u64, expiry: Expiry) {
    let timed = expiry != Expiry::Never;
    let mut store = Store::new(StoreOptions { hash_key: *b"a secret of test", ..StoreOptions::default() });
    let mut turn = now();
    let (rss, mut insert, mut tick) = (rss(), Worst::new(), Worst::new());
    for number in 0..keys {
        insert.time(|| store.set(&key(number), Kind::Bytes, &value(number), expiry, turn)).expect("there is no limit");
        if number % TURN == 0 {
            turn = now();
            tick.time(|| store.tick(turn));
        }
    }
    let name = if timed { "store, expiring" } else { "store" };
    report(name, keys, rss, &insert);
    tick.print("tick while loading");
    println!("  {:<24} {:.1} bytes a key", "own account", per_key(store.memory() as u64, keys));

    let mut get = Worst::new();
    for number in 0..keys {
        get.time(|| black_box(store.get(&key(number), turn)).map(|entry| entry.data.len()));
    }
    get.print("get");
    let (mut scan, mut cursor, mut seen) = (Worst::new(), 0, 0);
    loop {
        cursor = scan.time(|| store.scan(cursor, 10, turn, &mut |_, _| seen += 1));
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(seen, keys);
    scan.print("scan step");
    if timed {
        expire_all(&mut store, turn);
    } else {
        drop_all(&mut store, turn);
    }
}

fn expire_all(store: &mut Store, mut turn: Now) {
    turn.unix_ms += 7_200_000;
    let mut tick = Worst::new();
    while let Some(wait) = tick.time(|| store.tick(turn)) {
        turn.instant += wait;
    }
    assert!(store.is_empty());
    tick.print("tick, all keys expiring");
}

fn drop_all(store: &mut Store, turn: Now) {
    store.set(b"large", Kind::Bytes, &vec![1; LARGE], Expiry::Never, turn).expect("there is no limit");
    let (mut remove, mut clear, mut tick) = (Worst::new(), Worst::new(), Worst::new());
    remove.time(|| store.remove(b"large", turn));
    while tick.time(|| store.tick(turn)).is_some() {}
    remove.print("remove 100 MiB");
    tick.print("tick, freeing 100 MiB");
    tick = Worst::new();
    clear.time(|| store.clear());
    while tick.time(|| store.tick(turn)).is_some() {}
    clear.print("clear");
    tick.print("tick, freeing all keys");
}

fn load_std(keys: u64) {
    let mut map: HashMap<Box<[u8]>, Box<[u8]>> = HashMap::new();
    let (rss, mut insert) = (rss(), Worst::new());
    for number in 0..keys {
        insert.time(|| map.insert(key(number).into(), value(number).into()));
    }
    report("std HashMap", keys, rss, &insert);
}

fn report(name: &str, keys: u64, rss_before: u64, insert: &Worst) {
    println!("{name}: {:.1} bytes a key of resident memory", per_key(rss().saturating_sub(rss_before), keys));
    insert.print("insert");
}

#[expect(clippy::cast_precision_loss, reason = "printed with one decimal")]
fn per_key(bytes: u64, keys: u64) -> f64 {
    bytes as f64 / keys as f64
}

fn key(number: u64) -> [u8; 16] {
    let mut key = *b"key:\0\0\0\0\0\0\0\0:end";
    key[4..12].copy_from_slice(&number.to_be_bytes());
    key
}

fn value(number: u64) -> [u8; 32] {
    let mut value = [0; 32];
    value[..8].copy_from_slice(&number.to_le_bytes());
    value
}

#[expect(clippy::disallowed_methods, reason = "the store is given the time, as by the loop")]
fn now() -> Now {
    let unix_ms = std::time::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs() * 1000);
    Now { instant: Instant::now(), unix_ms }
}

/// Resident memory of this process, in bytes.
fn rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}

/// The longest of many steps, and their mean.
struct Worst {
    longest: Duration,
    total: Duration,
    steps: u32,
}

impl Worst {
    fn new() -> Self {
        Self { longest: Duration::ZERO, total: Duration::ZERO, steps: 0 }
    }

    fn time<R>(&mut self, step: impl FnOnce() -> R) -> R {
        let start = cpu_time();
        let result = step();
        let taken = cpu_time().saturating_sub(start);
        self.longest = self.longest.max(taken);
        self.total += taken;
        self.steps += 1;
        result
    }

    fn print(&self, name: &str) {
        println!("  {name:<24} worst {:>10.1?}   mean {:>10.1?}", self.longest, self.total / self.steps.max(1));
    }
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
