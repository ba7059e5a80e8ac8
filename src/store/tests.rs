use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::testing;

mod durable;
mod limits;

/// Few records per segment, so that small tests split and merge many.
const RECORDS: usize = 16;

/// splitmix64: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn bytes(&mut self, length: u64) -> Vec<u8> {
        let first = self.next().to_le_bytes()[0];
        (0..length).map(|index| first.wrapping_add(index.to_le_bytes()[0])).collect()
    }
}

fn clock() -> Now {
    testing::now(1_000_000)
}

fn later(now: Now, ms: u64) -> Now {
    Now { instant: now.instant + Duration::from_millis(ms), unix_ms: now.unix_ms + ms }
}

fn small_store(options: StoreOptions) -> Store {
    Store::with_segment_records(options, RECORDS)
}

fn limited(max_memory: usize, eviction: Eviction) -> Store {
    Store::new(StoreOptions { max_memory: Some(max_memory), eviction, ..StoreOptions::default() })
}

fn set(store: &mut Store, key: &[u8], data: &[u8], now: Now) -> Result<(), StoreError> {
    store.set(key, Kind::Bytes, data, Expiry::Keep, now)
}

/// Ticks until the store has nothing left to do at this time.
fn run_steps(store: &mut Store, now: Now) -> Now {
    let mut now = now;
    while let Some(wait) = store.tick(now) {
        if wait >= Duration::from_millis(100) {
            break;
        }
        now.instant += wait;
    }
    now
}

fn keys(store: &mut Store, now: Now) -> BTreeSet<Vec<u8>> {
    let mut seen = BTreeSet::new();
    let mut cursor = 0;
    loop {
        cursor = store.scan(cursor, 1, now, &mut |key, _| assert!(seen.insert(key.to_vec()), "met twice"));
        if cursor == 0 {
            return seen;
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Plain {
    kind: Kind,
    data: Vec<u8>,
    expires_ms: Option<u64>,
}

/// The store and an ordered map that does the same in the simplest way.
struct Model {
    store: Store,
    map: BTreeMap<Vec<u8>, Plain>,
    changes: BTreeMap<Vec<u8>, u64>,
    now: Now,
    random: Random,
}

impl Model {
    fn new(seed: u64) -> Self {
        let store = small_store(StoreOptions::default());
        Self { store, map: BTreeMap::new(), changes: BTreeMap::new(), now: clock(), random: Random(seed) }
    }

    fn key(&mut self) -> Vec<u8> {
        let number = self.random.below(300);
        let mut key = format!("key:{number}").into_bytes();
        // Some keys share a page, some need their own.
        if number.is_multiple_of(10) {
            key.resize(key.len() + usize::try_from(number).unwrap() * 200, b'.');
        }
        key
    }

    fn data(&mut self) -> Vec<u8> {
        let length = match self.random.below(10) {
            0 => self.random.below(60_000),
            1..3 => self.random.below(2000),
            _ => self.random.below(40),
        };
        self.random.bytes(length)
    }

    fn time(&mut self) -> u64 {
        self.now.unix_ms + 1 + self.random.below(2000)
    }

    fn changed(&mut self, key: &[u8]) {
        *self.changes.entry(key.to_vec()).or_default() += 1;
    }

    /// Removes expired keys, as both sides must.
    fn expire(&mut self, key: &[u8]) {
        if self.map.get(key).is_some_and(|plain| plain.expires_ms.is_some_and(|at| at <= self.now.unix_ms)) {
            self.map.remove(key);
            self.changed(key);
        }
    }

    fn set(&mut self, key: &[u8]) {
        let (data, kind) = (self.data(), Kind::ALL[usize::try_from(self.random.below(3)).unwrap()]);
        let old = self.map.get(key).and_then(|plain| plain.expires_ms);
        let at = self.time();
        let (expiry, expires_ms) = match self.random.below(4) {
            0 => (Expiry::At(at), Some(at)),
            1 => (Expiry::Keep, old),
            _ => (Expiry::Never, None),
        };
        self.store.set(key, kind, &data, expiry, self.now).unwrap();
        self.map.insert(key.to_vec(), Plain { kind, data, expires_ms });
        self.changed(key);
    }

    fn append(&mut self, key: &[u8]) {
        let data = self.data();
        let length = self.store.append(key, &data, self.now).unwrap();
        let new = || Plain { kind: Kind::Bytes, data: Vec::new(), expires_ms: None };
        let plain = self.map.entry(key.to_vec()).or_insert_with(new);
        plain.data.extend_from_slice(&data);
        assert_eq!(length, plain.data.len());
        self.changed(key);
    }

    fn rename(&mut self, from: &[u8]) {
        let to = self.key();
        self.expire(&to);
        let moved = self.store.rename(from, &to, self.now).unwrap();
        assert_eq!(moved, self.map.contains_key(from));
        if moved && from != to {
            let plain = self.map.remove(from).unwrap();
            self.map.insert(to.clone(), plain);
            self.changed(from);
            self.changed(&to);
        }
    }

    fn set_expiry(&mut self, key: &[u8]) {
        let at = self.time();
        let expires_ms = (self.random.below(3) > 0).then_some(at);
        let found = self.store.set_expiry(key, expires_ms, self.now);
        assert_eq!(found, self.map.contains_key(key));
        if let Some(plain) = self.map.get_mut(key) {
            plain.expires_ms = expires_ms;
            self.changed(key);
        }
    }

    fn remove(&mut self, key: &[u8]) {
        let removed = self.store.remove(key, self.now);
        assert_eq!(removed, self.map.remove(key).is_some());
        if removed {
            self.changed(key);
        }
    }

    fn step(&mut self) {
        let key = self.key();
        self.expire(&key);
        match self.random.below(20) {
            0..8 => self.set(&key),
            8..10 => self.append(&key),
            10..12 => self.rename(&key),
            12..14 => self.set_expiry(&key),
            14..17 => self.remove(&key),
            17 => self.now = later(self.now, self.random.below(50)),
            18 => {
                self.store.tick(self.now);
            }
            _ => assert_eq!(self.store.contains(&key, self.now), self.map.contains_key(&key)),
        }
        self.expire(&key);
        let found = self.store.get(&key, self.now);
        let found =
            found.map(|entry| Plain { kind: entry.kind, data: entry.data.to_vec(), expires_ms: entry.expires_ms });
        assert_eq!(found.as_ref(), self.map.get(&key));
    }

    fn compare(&mut self) {
        self.store.table.check();
        let now = self.now;
        self.map.retain(|_, plain| plain.expires_ms.is_none_or(|at| at > now.unix_ms));
        assert_eq!(keys(&mut self.store, now), self.map.keys().cloned().collect());
        for (key, plain) in &self.map {
            let entry = self.store.peek(key, now).unwrap();
            assert_eq!((entry.kind, entry.data, entry.expires_ms), (plain.kind, &*plain.data, plain.expires_ms));
        }
    }
}

#[test]
fn the_store_equals_an_ordered_map() {
    let baseline = small_store(StoreOptions::default()).memory();
    for seed in 0..4 {
        let mut model = Model::new(seed);
        for step in 0..4000 {
            model.step();
            if step % 500 == 0 {
                model.compare();
            }
        }
        model.compare();
        assert!(model.store.table.segments() > 8);
        model.now = run_steps(&mut model.store, later(model.now, 200));
        model.compare();
        assert_eq!(model.store.len(), model.map.len(), "the walk has found what expired");
        for key in model.map.clone().keys() {
            model.remove(key);
        }
        model.store.table.check();
        run_steps(&mut model.store, model.now);
        assert_eq!(model.store.memory(), baseline);
    }
}

#[test]
fn only_changes_of_a_watched_key_change_its_version() {
    let mut model = Model::new(7);
    let watched: Vec<Vec<u8>> = (0..300).step_by(7).map(|number| format!("key:{number}").into_bytes()).collect();
    let mut seen: BTreeMap<_, _> = watched.iter().map(|key| (key.clone(), (model.store.watch(key), 0))).collect();
    for _ in 0..2500 {
        model.step();
        let now = model.now;
        for (key, (version, changes)) in &mut seen {
            model.store.contains(key, now);
            model.expire(key);
            let (new_version, new_changes) = (model.store.version(key), *model.changes.get(key).unwrap_or(&0));
            assert_eq!(new_version != *version, new_changes != *changes, "{}", String::from_utf8_lossy(key));
            (*version, *changes) = (new_version, new_changes);
        }
    }
    let there: BTreeSet<_> = watched.iter().filter(|key| model.map.contains_key(*key)).cloned().collect();
    assert!(!there.is_empty() && there.len() < watched.len());
    model.store.clear();
    for (key, (version, _)) in seen {
        assert_eq!(model.store.version(&key) != version, there.contains(&key));
    }
}

#[test]
fn eviction_and_expiry_change_watched_keys() {
    let now = clock();
    let mut store = limited(1 << 20, Eviction::AllKeys);
    set(&mut store, b"first", b"", now).unwrap();
    let version = store.watch(b"first");
    for number in 0..20_000_u32 {
        set(&mut store, &number.to_be_bytes(), &[0; 100], now).unwrap();
    }
    assert!(!store.contains(b"first", now));
    assert_ne!(store.version(b"first"), version);

    store.set(b"timed", Kind::Bytes, b"", Expiry::At(now.unix_ms + 5), now).unwrap();
    let version = store.watch(b"timed");
    run_steps(&mut store, later(now, 5));
    assert_ne!(store.version(b"timed"), version);
    assert_eq!(store.stats().expired, 1);
}

#[test]
fn a_scan_visits_every_key_that_stays_once() {
    let now = clock();
    for seed in 0..8 {
        let mut random = Random(seed);
        let mut store = small_store(StoreOptions::default());
        let stays: BTreeSet<Vec<u8>> = (0..400).map(|number| format!("stays:{number}").into_bytes()).collect();
        for key in &stays {
            set(&mut store, key, b"", now).unwrap();
        }
        let mut passing = 0..if seed % 2 == 0 { 0 } else { 4000_u32 };
        for number in passing.clone() {
            set(&mut store, &number.to_be_bytes(), b"", now).unwrap();
        }
        let before = store.table.segments();
        let mut seen = BTreeSet::new();
        let mut cursor = 0;
        loop {
            let mut visit = |key: &[u8], _: Entry<'_>| {
                let is_first = seen.insert(key.to_vec());
                assert!(is_first || !stays.contains(key), "{} is met twice", key.escape_ascii());
            };
            cursor = store.scan(cursor, 3, now, &mut visit);
            if cursor == 0 {
                break;
            }
            // Seeds that began with many keys merge segments during the scan, the others split them.
            for _ in 0..random.below(if seed % 2 == 0 { 15 } else { 150 }) {
                match passing.next() {
                    Some(number) => assert!(store.remove(&number.to_be_bytes(), now)),
                    None if seed % 2 == 0 => set(&mut store, &random.next().to_be_bytes(), b"", now).unwrap(),
                    None => {}
                }
            }
        }
        assert_ne!(store.table.segments(), before);
        assert!(stays.is_subset(&seen), "seed {seed}");
    }
}

#[test]
fn any_cursor_is_accepted() {
    let now = clock();
    let mut store = small_store(StoreOptions::default());
    for number in 0..1000_u32 {
        set(&mut store, &number.to_be_bytes(), b"", now).unwrap();
    }
    let mut random = Random(1);
    for _ in 0..1000 {
        let mut cursor = random.next();
        let mut calls = 0;
        while cursor != 0 {
            cursor = store.scan(cursor, usize::MAX, now, &mut |_, _| {});
            calls += 1;
            assert!(calls < 1000);
        }
    }
}

#[test]
fn keys_expire_to_the_millisecond() {
    let now = clock();
    let mut store = small_store(StoreOptions::default());
    store.set(b"key", Kind::Bytes, b"v", Expiry::At(now.unix_ms + 10), now).unwrap();
    assert!(store.peek(b"key", later(now, 9)).is_some());
    assert!(store.get(b"key", later(now, 9)).is_some());
    assert!(store.peek(b"key", later(now, 10)).is_none());
    assert_eq!((store.len(), store.timed_len()), (1, 1));
    assert!(store.random_key(3, later(now, 10)).is_none());
    assert!(store.get(b"key", later(now, 10)).is_none());
    assert_eq!((store.len(), store.timed_len()), (0, 0));
    let Stats { expired, hits, misses, .. } = store.stats();
    assert_eq!((expired, hits, misses), (1, 1, 1));
}

#[test]
fn tick_returns_when_it_must_run_again() {
    let now = clock();
    let mut store = small_store(StoreOptions::default());
    assert_eq!(store.tick(now), None);
    for number in 0..5000_u32 {
        store.set(&number.to_be_bytes(), Kind::Bytes, b"", Expiry::At(now.unix_ms + 500), now).unwrap();
    }
    assert_eq!(store.tick(now), Some(Duration::from_millis(100)));
    assert_eq!(store.tick(later(now, 40)), Some(Duration::from_millis(60)));
    let (mut then, mut steps) = (later(now, 500), 0);
    store.tick(then);
    while !store.is_empty() {
        let left = store.len();
        assert_eq!(store.tick(then), Some(Duration::from_millis(1)), "it goes on soon while keys are overdue");
        assert_eq!(store.len(), left, "but not before its time");
        then = later(then, 1);
        store.tick(then);
        steps += 1;
    }
    assert!(steps >= 3, "one step is bounded");
    assert!(store.is_empty());
}

#[test]
fn clearing_is_lazy_and_frees_everything() {
    let now = clock();
    let mut store = small_store(StoreOptions::default());
    let baseline = store.memory();
    for number in 0..5000_u32 {
        let data = if number % 100 == 0 { vec![1; 100_000] } else { vec![1; 30] };
        set(&mut store, &number.to_be_bytes(), &data, now).unwrap();
    }
    let held = store.memory();
    store.clear();
    assert!(store.is_empty() && store.memory() >= held);
    assert!(store.get(&0_u32.to_be_bytes(), now).is_none());
    let mut steps = 0;
    while store.tick(now) == Some(Duration::ZERO) {
        steps += 1;
    }
    assert!(steps > 3, "freed in pieces: {steps}");
    assert_eq!(store.memory(), baseline);
}

#[test]
fn a_table_that_empties_shrinks() {
    let now = clock();
    let mut store = small_store(StoreOptions::default());
    for number in 0..5000_u32 {
        set(&mut store, &number.to_be_bytes(), &[0; 100], now).unwrap();
    }
    let (segments, held) = (store.table.segments(), store.memory());
    for number in 3..5000_u32 {
        assert!(store.remove(&number.to_be_bytes(), now));
    }
    store.table.check();
    assert!(store.table.segments() < segments / 50, "{}", store.table.segments());
    assert!(store.memory() < held / 10, "{}", store.memory());
    assert!((0..64).all(|random| store.random_key(random << 58, now).is_some()));
}

#[test]
fn without_eviction_a_full_store_refuses_writes_and_answers_reads() {
    let now = clock();
    let mut store = limited(100_000, Eviction::NoEviction);
    let mut stored = 0_u32;
    while set(&mut store, &stored.to_be_bytes(), &[0; 100], now).is_ok() {
        stored += 1;
    }
    assert!(stored > 700, "{stored}");
    assert_eq!(store.append(b"new", &[0; 1000], now), Err(StoreError::OutOfMemory));
    assert!(store.get(&0_u32.to_be_bytes(), now).is_some());
    assert_eq!(store.stats().evicted, 0);
    store.clear();
    set(&mut store, b"new", b"", now).expect("what is being freed does not count");
    store.set_client_memory(100_000);
    assert_eq!(set(&mut store, b"other", b"", now), Err(StoreError::OutOfMemory));
}

#[test]
fn eviction_spares_recently_used_keys() {
    let now = clock();
    let mut store = limited(1 << 20, Eviction::AllKeys);
    for number in 0..30_000_u32 {
        set(&mut store, &number.to_be_bytes(), &[0; 100], now).unwrap();
        if number >= 100 {
            for hot in 0..10_u32 {
                assert!(store.get(&hot.to_be_bytes(), now).is_some(), "{hot} at {number}");
            }
        }
        assert!(store.memory() <= (1 << 20) + 3 * 4096);
    }
    assert!(store.len() > 6000, "{}", store.len());
    store.table.check();
    store.set_client_memory(1 << 20);
    run_steps(&mut store, now);
    assert!(store.len() < 100, "clients' memory counts: {}", store.len());
}

#[test]
fn a_large_value_evicts_enough_at_once() {
    let now = clock();
    let mut store = limited(2 << 20, Eviction::AllKeys);
    for number in 0..30_000_u32 {
        set(&mut store, &number.to_be_bytes(), &[0; 100], now).unwrap();
        store.get(&number.to_be_bytes(), now);
    }
    set(&mut store, b"large", &vec![0; 1 << 20], now).unwrap();
    assert!(store.memory() <= 2 << 20);
    assert_eq!(set(&mut store, b"huge", &vec![0; 3 << 20], now), Err(StoreError::OutOfMemory));
    assert!(store.contains(b"large", now));
}

#[test]
fn volatile_eviction_takes_only_keys_that_expire() {
    let now = clock();
    let mut store = limited(1 << 20, Eviction::Volatile);
    for number in 0..2000_u32 {
        set(&mut store, &number.to_be_bytes(), &[0; 100], now).unwrap();
        let key = (number + 1_000_000).to_be_bytes();
        store.set(&key, Kind::Bytes, &[0; 100], Expiry::At(u64::MAX - 1), now).unwrap();
    }
    let mut number = 2000_u32;
    while set(&mut store, &number.to_be_bytes(), &[0; 100], now).is_ok() {
        number += 1;
    }
    assert_eq!(store.timed_len(), 0);
    assert_eq!(store.stats().evicted, 2000);
    assert!((0..number).all(|number| store.contains(&number.to_be_bytes(), now)));
}

#[test]
fn sizes_are_limited() {
    let now = clock();
    let mut store = small_store(StoreOptions::default());
    let long = vec![b'k'; MAX_KEY + 1];
    assert_eq!(set(&mut store, &long, b"", now), Err(StoreError::KeyTooLong));
    set(&mut store, &long[1..], b"value", now).unwrap();
    assert_eq!(store.get(&long[1..], now).unwrap().data, b"value");
    assert_eq!(store.rename(&long[1..], &long, now), Err(StoreError::KeyTooLong));
    assert!(store.contains(&long[1..], now));
    store.set(&long[1..], Kind::Bytes, &vec![1; 5000], Expiry::At(u64::MAX - 1), now).unwrap();
    assert_eq!(store.rename(&long[1..], b"short", now), Ok(true));
    assert_eq!(store.peek(b"short", now).unwrap().data, vec![1; 5000]);
    store.table.check();
}

#[test]
fn segments_of_long_keys_are_short() {
    let now = clock();
    let mut store = Store::new(StoreOptions::default());
    for number in 0..1000_u32 {
        let key = [&number.to_be_bytes()[..], &vec![b'k'; 60_000]].concat();
        set(&mut store, &key, b"", now).unwrap();
    }
    store.table.check();
    let (mut cursor, mut longest, mut seen) = (0, 0, 0);
    loop {
        let before = seen;
        cursor = store.scan(cursor, 1, now, &mut |_, _| seen += 1);
        longest = longest.max(seen - before);
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(seen, 1000);
    assert!(longest <= 17, "{longest} keys of 60,000 bytes in one step");
}

/// Fills one segment with keys whose hashes begin alike until it has no page number left. Clients cannot do that: the
/// hash is keyed.
#[test]
fn a_rename_without_room_loses_nothing() {
    let now = clock();
    let mut store = small_store(StoreOptions::default());
    let (large, hasher) = ([7; 801], store.table.hasher());
    let mut alike = (0_u64..).map(u64::to_be_bytes).filter(|key| hasher.hash(key) >> 56 == 0);
    let target = loop {
        let key = alike.next().unwrap();
        if set(&mut store, &key, &large, now).is_err() {
            break key;
        }
    };
    let other = (0..u64::MAX).map(u64::to_le_bytes).find(|key| hasher.hash(key) >> 56 == 1).unwrap();
    set(&mut store, &other, b"precious", now).unwrap();
    assert_eq!(store.rename(&other, &target, now), Err(StoreError::OutOfMemory));
    assert_eq!(store.get(&other, now).unwrap().data, b"precious");
}

#[test]
fn overwriting_and_expiry_changes_leave_no_garbage_behind() {
    let now = clock();
    let mut store = small_store(StoreOptions::default());
    let mut random = Random(3);
    for _ in 0..30_000 {
        let (key, length) = (random.below(200).to_be_bytes(), random.below(900));
        let data = random.bytes(length);
        set(&mut store, &key, &data, now).unwrap();
        store.set_expiry(&key, (length % 2 == 0).then_some(u64::MAX - length), now);
    }
    store.table.check();
    assert!(store.memory() < 200 * 900 * 2, "{}", store.memory());
}

#[test]
fn typed_values_keep_their_type_and_lose_their_expiry() {
    let now = clock();
    let mut store = small_store(StoreOptions::default());
    store.set(b"key", Kind::Bytes, b"text", Expiry::At(now.unix_ms + 10), now).unwrap();
    assert_eq!(store.value(b"key", now), Some(Value::String("text".to_owned())));
    let value = Value::Struct(vec![("list".to_owned(), Value::Array(vec![Value::Int(1), Value::Nil]))]);
    store.set_value(b"key", value.clone(), now).unwrap();
    assert_eq!(store.value(b"key", later(now, 10)), Some(value));
    let entry = store.peek(b"key", now).unwrap();
    assert_eq!(&*plain_bytes(&entry), br#"{"list":[1,null]}"#);
    assert_eq!((entry.kind, entry.expires_ms), (Kind::Struct, None));
    assert_eq!(store.value(b"none", now), None);
}

#[test]
fn random_keys_reach_every_key() {
    let now = clock();
    let mut store = small_store(StoreOptions::default());
    assert_eq!(store.random_key(0, now), None);
    for number in 0..100_u8 {
        set(&mut store, &[number], b"", now).unwrap();
    }
    let mut random = Random(5);
    let seen: BTreeSet<_> =
        (0..5000).filter_map(|_| store.random_key(random.next(), now).map(<[u8]>::to_vec)).collect();
    assert_eq!(seen.len(), 100);
}
