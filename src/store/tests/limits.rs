//! What happens where the memory limit is met.

use super::*;

#[test]
fn what_could_never_fit_makes_nothing_go() {
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
fn a_key_that_goes_to_make_room_for_itself_keeps_its_expiry() {
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
fn many_values_are_put_together_or_not_at_all() {
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
