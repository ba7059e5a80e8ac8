//! Behaviour at the memory limit.

use super::*;

#[test]
fn a_value_that_can_never_fit_evicts_nothing() {
    let now = clock();
    let mut store = limited(1 << 20, Eviction::AllKeys);
    for number in 0..100_u8 {
        set(&mut store, &[number], b"value", now).unwrap();
    }
    store.set_client_memory(900 << 10);
    let data = vec![1; 200 << 10];
    assert_eq!(set(&mut store, b"large", &data, now), Err(StoreError::OutOfMemory));
    assert_eq!(store.len(), 100);
    store.set_client_memory(0);
    assert_eq!(set(&mut store, b"large", &data, now), Ok(()));
}

#[test]
fn one_write_evicts_a_bounded_number_of_keys() {
    let now = clock();
    let mut store = limited(18 << 20, Eviction::AllKeys);
    for number in 0..300_000_u32 {
        set(&mut store, &number.to_be_bytes(), b"v", now).unwrap();
    }
    let large = vec![1; 16 << 20];
    let mut refused = 0;
    loop {
        let before = store.stats().evicted;
        let outcome = set(&mut store, b"large", &large, now);
        let evicted = store.stats().evicted - before;
        assert!(evicted < housekeeping::EVICT_KEYS + 1000, "{evicted}");
        if outcome.is_ok() {
            break;
        }
        assert!(evicted >= housekeeping::EVICT_KEYS, "each attempt makes room for the next");
        refused += 1;
    }
    assert!(refused > 0, "otherwise there is nothing to bound");
}

#[test]
fn a_key_evicted_for_its_own_value_keeps_its_expiry() {
    let now = clock();
    let mut store = limited(1 << 20, Eviction::Volatile);
    let expires = now.unix_ms + 1000;
    let data = vec![1; 600 << 10];
    store.set(b"counter", Kind::Bytes, &data, Expiry::At(expires), now).unwrap();
    store.set(b"counter", Kind::Bytes, &data, Expiry::Keep, now).unwrap();
    assert_eq!(store.stats().evicted, 1, "two of them do not fit");
    assert_eq!(store.peek(b"counter", now).unwrap().expires_ms, Some(expires));
}

#[test]
fn set_all_stores_all_values_or_none() {
    let now = clock();
    let mut store = limited(1 << 20, Eviction::NoEviction);
    let long = vec![b'k'; MAX_KEY + 1];
    let pairs = [(&b"a"[..], &b"1"[..]), (&long, b"2")];
    assert_eq!(store.set_all(pairs.into_iter(), now), Err(StoreError::KeyTooLong));
    let data = vec![1; 300 << 10];
    let pairs = [&b"a"[..], b"b", b"c", b"d"].map(|key| (key, &data[..]));
    assert_eq!(store.set_all(pairs.into_iter(), now), Err(StoreError::OutOfMemory));
    assert!(store.is_empty());
    store.set(b"a", Kind::Bytes, b"old", Expiry::At(now.unix_ms + 10), now).unwrap();
    assert_eq!(store.set_all(pairs.into_iter().take(3), now), Ok(()));
    assert_eq!(store.len(), 3);
    assert_eq!(store.peek(b"a", now).unwrap().expires_ms, None);
    assert!(store.memory() <= (1 << 20) + (64 << 10), "{}", store.memory());
}

/// Memory that may wait to be freed besides live memory: well below the spare memory a server needs.
const WAITING: usize = 32 << 20;

#[test]
fn freeing_keeps_pace_with_writes_within_one_turn() {
    let now = clock();
    let mut store = Store::new(StoreOptions::default());
    let values = [17_000, 64 << 10, 1 << 20, 5 << 20].map(|length| vec![1; length]);
    for round in 0..2000 {
        let value = &values[round % 4];
        set(&mut store, b"removed", value, now).unwrap();
        assert!(store.remove(b"removed", now));
        store.set_owned(b"overwritten", Kind::Bytes, value.clone(), Expiry::Never, now).unwrap();
        store.rename(b"overwritten", b"moved", now).unwrap();
        let live = store.table.held();
        assert!(store.memory() <= live.max(5 << 20) + WAITING, "round {round}: {} beside {live}", store.memory());
    }
    // Two hundred gigabytes of addresses, if nothing had been freed.
    while store.tick(now).is_some() {}
    assert!(store.memory() < 6 << 20, "{}", store.memory());
}

#[test]
fn freeing_keeps_pace_with_growth_in_place() {
    let now = clock();
    let mut store = Store::new(StoreOptions::default());
    let most = 100 << 20;
    set(&mut store, b"old", &vec![1; most], now).unwrap();
    store.remove(b"old", now);
    set(&mut store, b"new", &vec![1; 1 << 20], now).unwrap();
    while store.peek(b"new", now).unwrap().data.len() < most / 2 {
        store.append(b"new", &vec![2; 100 << 10], now).unwrap();
        let end = store.peek(b"new", now).unwrap().data.len();
        assert!(store.patch(b"new", end + 1000, b"end", now).unwrap().is_some());
    }
    assert!(store.memory() <= most + WAITING, "{}", store.memory());
}

#[test]
fn repeated_clearing_leaves_nothing_to_free_later() {
    let now = clock();
    let mut store = Store::new(StoreOptions::default());
    let baseline = store.memory();
    for _ in 0..1000 {
        set(&mut store, b"key", &[1; 1000], now).unwrap();
        store.clear();
        store.clear();
    }
    assert_eq!(store.memory(), baseline);
    // Large tables are freed as fast as others like them are filled.
    for _ in 0..100 {
        for key in 0..300_u32 {
            set(&mut store, &key.to_be_bytes(), &[1; 10_000], now).unwrap();
        }
        store.clear();
        assert!(store.memory() <= 4 * 300 * 10_000 + WAITING, "{}", store.memory());
    }
}

#[test]
fn client_memory_within_its_reserve_fails_no_write_and_evicts_no_key() {
    let now = clock();
    for eviction in [Eviction::NoEviction, Eviction::AllKeys] {
        let options =
            StoreOptions { max_memory: Some(1 << 20), client_reserve: 200_000, eviction, ..StoreOptions::default() };
        let mut store = Store::new(options);
        for number in 0..30_000_u32 {
            let _ = set(&mut store, &number.to_be_bytes(), &[0; 100], now);
            assert!(store.memory() <= (1 << 20) - 200_000 + 3 * 4096, "that part is not for keys");
        }
        let (keys, evicted) = (store.len(), store.stats().evicted);
        assert!(keys > 5000, "{keys}");
        store.remove(&29_999_u32.to_be_bytes(), now);
        store.set_client_memory(200_000);
        run_steps(&mut store, now);
        assert_eq!(store.stats().evicted, evicted);
        assert!(store.len() >= keys - 1, "{keys} keys, then {}", store.len());
        store.set_client_memory(400_000);
        run_steps(&mut store, now);
        assert_eq!(store.stats().evicted > evicted, eviction == Eviction::AllKeys, "beyond it, they count");
    }
}
