//! Loads keys of 16 bytes with values of 32 into the store, into std's map and into a real redis-server: the worst
//! single step, the worst turn of 128 writes, and bytes per key.
//!
//! `cargo bench --bench table [-- KEYS]`, default ten million keys. Each table is loaded in its own process, so that
//! one's freed memory does not hide the other's growth. A turn of redis-server's includes a parser and a socket besides
//! the table, those of the others do not: what is to be compared is the distance of the worst turn from the mean. Times
//! are the thread's CPU time. It includes interrupts, which hit some of ten million steps, so every table is loaded
//! twice: `worst` uses the faster time of each step, `seen` is the longest of all. The allocator's work in a step
//! (returning the top of its heap, above all) need not fall on the same step twice, and then shows in `seen` only.

mod redis;
#[path = "../world/mod.rs"]
mod world;

use std::collections::HashMap;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use latchkey::internals::store::{Expiry, Kind, Store, StoreOptions};
use latchkey::internals::timer::Now;
use world::cpu_time;

const KEYS: u64 = 10_000_000;
/// Writes between two ticks: what a loop executes per turn for one busy peer.
const TURN: u64 = 128;
const LARGE: usize = 100 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let keys = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(KEYS);
    match arguments.iter().find(|argument| argument.starts_with("only-")).map(String::as_str) {
        Some("only-store") => load_store(keys, Expiry::Never),
        Some("only-store-ttl") => load_store(keys, Expiry::At(now().unix_ms + 3_600_000)),
        Some("only-std") => load_std(keys),
        Some("only-redis") => redis::load(keys),
        _ => {
            println!("{keys} keys of 16 bytes, values of 32 bytes; CPU time of the thread");
            let tables = ["only-store", "only-store-ttl", "only-std", "only-redis"];
            let rows: Vec<String> = tables.into_iter().map(|table| run_alone(table, keys)).collect();
            println!("side by side\n{:<18} {:>11} {:>14} {HEADINGS}", "", "bytes per key", "worst insert");
            for row in rows {
                println!("{row}");
            }
        }
    }
}

const HEADINGS: &str = "  turn of 128:  worst       seen       mean";
/// Prefix of the line with a table's most important figures.
const ROW: &str = "row: ";

/// Prints a table's report, and returns its row.
fn run_alone(table: &str, keys: u64) -> String {
    let mut own = Command::new(std::env::current_exe().expect("this program"));
    let done = own.arg(table).arg(keys.to_string()).stderr(std::process::Stdio::inherit()).output().expect("it runs");
    assert!(done.status.success(), "{table} failed");
    let said = String::from_utf8(done.stdout).expect("text");
    said.lines().filter(|line| !line.starts_with(ROW)).for_each(|line| println!("{line}"));
    said.lines().find_map(|line| line.strip_prefix(ROW)).expect("a row").to_owned()
}

fn load_store(keys: u64, expiry: Expiry) {
    let name = if expiry == Expiry::Never { "store" } else { "store, expiring" };
    let mut report = Report::new(name, keys);
    for _ in 0..2 {
        let mut turn = now();
        let mut store = Store::new(StoreOptions { hash_key: *b"a secret of test", ..StoreOptions::default() });
        let mut clock = report.begin();
        for number in 0..keys {
            store.set(&key(number), Kind::Bytes, &value(number), expiry, turn).expect("there is no limit");
            clock.lap("insert");
            if number % TURN == TURN - 1 {
                turn.instant += Duration::from_millis(1);
                store.tick(turn);
                clock.lap("tick while loading");
                clock.turn();
            }
        }
        clock.loaded(store.memory() as u64);
        for number in 0..keys {
            black_box(store.get(&key(number), turn)).expect("it is there");
            clock.lap("get");
        }
        let (mut cursor, mut seen) = (0, 0);
        loop {
            cursor = store.scan(cursor, 10, turn, &mut |_, _| seen += 1);
            clock.lap("scan step");
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen, keys);
        let end = if expiry == Expiry::Never { drop_all } else { expire_all };
        end(&mut store, turn, &mut clock);
    }
    report.print();
}

fn expire_all(store: &mut Store, mut turn: Now, clock: &mut Clock<'_>) {
    turn.unix_ms += 7_200_000;
    while let Some(wait) = store.tick(turn) {
        turn.instant += wait;
        clock.lap("tick, all expiring");
    }
    assert!(store.is_empty());
}

fn drop_all(store: &mut Store, turn: Now, clock: &mut Clock<'_>) {
    store.set(b"large", Kind::Bytes, &vec![1; LARGE], Expiry::Never, turn).expect("there is no limit");
    clock.lap("set 100 MiB");
    store.remove(b"large", turn);
    clock.lap("remove 100 MiB");
    while store.tick(turn).is_some() {
        clock.lap("tick, freeing 100 MiB");
    }
    clock.lap("tick, freeing 100 MiB");
    store.clear();
    clock.lap("clear");
    while store.tick(turn).is_some() {
        clock.lap("tick, freeing all");
    }
}

fn load_std(keys: u64) {
    let mut report = Report::new("std HashMap", keys);
    for _ in 0..2 {
        let mut map: HashMap<Box<[u8]>, Box<[u8]>> = HashMap::new();
        let mut clock = report.begin();
        for number in 0..keys {
            map.insert(key(number).into(), value(number).into());
            clock.lap("insert");
            if number % TURN == TURN - 1 {
                clock.turn();
            }
        }
        clock.loaded(0);
    }
    report.print();
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
    rss_of(std::process::id())
}

/// Resident memory of a process, in bytes.
fn rss_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}

/// The cost of two runs with one table.
struct Report {
    name: &'static str,
    keys: u64,
    lives: u32,
    rss: u64,
    own_account: u64,
    steps: Vec<Steps>,
}

/// The steps with one name.
struct Steps {
    name: &'static str,
    /// The faster time of each step, in nanoseconds.
    faster: Vec<u32>,
    /// The longest of all, in nanoseconds.
    longest: u32,
}

impl Report {
    fn new(name: &'static str, keys: u64) -> Self {
        // Filled before memory is first measured, so that it does not count.
        let room = usize::try_from(keys).expect("64 bits");
        let steps = ["insert", "get"].map(|name| Steps { name, faster: vec![u32::MAX; room], longest: 0 }).into();
        Self { name, keys, lives: 0, rss: 0, own_account: 0, steps }
    }

    fn begin(&mut self) -> Clock<'_> {
        self.lives += 1;
        let now = cpu_time();
        Clock { rss: rss(), positions: HashMap::new(), last: now, turn: Duration::ZERO, report: self }
    }

    fn print(&self) {
        println!("{}: {:.1} bytes of resident memory per key", self.name, per_key(self.rss, self.keys));
        if self.own_account > 0 {
            println!("  by its own account {:.1}", per_key(self.own_account, self.keys));
        }
        let (mut insert, mut turn) = ("-".to_owned(), String::new());
        for Steps { name, faster, longest } in &self.steps {
            let taken = || faster.iter().copied().filter(|nanos| *nanos != u32::MAX).map(u64::from);
            let Some(worst) = taken().max() else { continue };
            let mean = taken().sum::<u64>() / taken().count() as u64;
            let [worst, seen, mean] = [worst, u64::from(*longest), mean].map(Duration::from_nanos);
            println!("  {name:<24} worst {worst:>10.1?}   seen {seen:>10.1?}   mean {mean:>10.1?}");
            match *name {
                "insert" => insert = format!("{worst:.1?}"),
                "turn of 128 inserts" => turn = format!("{worst:>10.1?} {seen:>10.1?} {mean:>10.1?}"),
                _ => {}
            }
        }
        println!("{ROW}{:<18} {:>11.1} {insert:>14}              {turn}", self.name, per_key(self.rss, self.keys));
    }
}

/// The times of one run.
struct Clock<'a> {
    report: &'a mut Report,
    rss: u64,
    positions: HashMap<&'static str, usize>,
    last: Duration,
    /// Duration of the steps of this turn so far.
    turn: Duration,
}

impl Clock<'_> {
    /// Records the time since the last call as one step with this name.
    fn lap(&mut self, name: &'static str) {
        let taken = cpu_time().saturating_sub(self.last);
        self.turn += taken;
        self.book(name, u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX));
        self.last = cpu_time();
    }

    /// Records the steps since the last call as one turn.
    fn turn(&mut self) {
        let taken = std::mem::take(&mut self.turn);
        self.book("turn of 128 inserts", u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX));
        self.last = cpu_time();
    }

    /// Records a step of this duration.
    fn book(&mut self, name: &'static str, nanos: u64) {
        let nanos = u32::try_from(nanos).unwrap_or(u32::MAX - 1);
        let all = &mut self.report.steps;
        let index = all.iter().position(|steps| steps.name == name).unwrap_or_else(|| {
            all.push(Steps { name, faster: Vec::new(), longest: 0 });
            all.len() - 1
        });
        let Some(steps) = all.get_mut(index) else { return };
        steps.longest = steps.longest.max(nanos);
        let position = self.positions.entry(name).or_default();
        match steps.faster.get_mut(*position) {
            Some(step) => *step = nanos.min(*step),
            None => steps.faster.push(nanos),
        }
        *position += 1;
    }

    /// All keys are loaded.
    fn loaded(&mut self, own_account: u64) {
        if self.report.lives == 1 {
            self.report.rss = rss().saturating_sub(self.rss);
            self.report.own_account = own_account;
        }
        self.last = cpu_time();
    }
}
