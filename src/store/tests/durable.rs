//! The store with a journal: the same ordered map, with restarts and lost groups.

use std::sync::Arc;

use super::*;
use crate::disk::sim::{Disk, DiskFaults};
use crate::disk::{DataFiles, Directory, NO_EXPIRY, Record, Storage, StorageError, StorageOptions, Sync};

fn attach_to(disk: &Disk, sync: Sync, store: &mut Store) {
    let data_files = DataFiles::new(disk.folder()).unwrap();
    data_files.load(&mut |record| store.load(&record).unwrap()).unwrap();
    let options = StorageOptions { sync, backup: None };
    store.attach(Storage::start(data_files, options, Arc::new(|| {})).unwrap(), CommitLimits::default());
}

fn durable(disk: &Disk, sync: Sync) -> Store {
    let mut store = small_store(StoreOptions::default());
    attach_to(disk, sync, &mut store);
    store
}

/// Submits the changes, and waits until all are durable or lost. A group still under way could be on disk before the
/// store learns of it.
fn wait(store: &mut Store, now: Now) -> GroupStatus {
    let mut status = store.commit(now);
    while !matches!(status, GroupStatus::Lost(_) | GroupStatus::Fatal(_)) {
        if store.commits.as_ref().is_none_or(|commits| commits.is_settled()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
        match store.commit(now) {
            GroupStatus::Unchanged => {}
            news => status = news,
        }
    }
    status
}

/// Some steps of the model, then its changes as one group.
fn group(model: &mut Model) -> GroupStatus {
    for _ in 0..model.random.below(30) {
        model.step();
    }
    if model.random.below(20) == 0 {
        model.store.clear();
        model.map.clear();
    }
    wait(&mut model.store, model.now)
}

/// A model with ten groups on a disk that takes no more.
fn on_a_full_disk(seed: u64) -> Model {
    let disk = Disk::default();
    let mut model = Model { store: durable(&disk, Sync::Always), ..Model::new(seed) };
    for _ in 0..10 {
        let _ = group(&mut model);
    }
    disk.set_faults(DiskFaults { room: Some(0), ..DiskFaults::default() });
    model
}

fn group_number(store: &Store) -> u64 {
    store.persistence().unwrap().durable_group
}

#[test]
fn after_a_crash_the_store_is_in_the_state_after_some_group() {
    for seed in 0..6 {
        let disk = Disk::default();
        let mut model = Model { store: durable(&disk, Sync::None), ..Model::new(seed) };
        let mut states = BTreeMap::from([(0, model.map.clone())]);
        for round in 0..6 {
            for _ in 0..20 {
                let _ = group(&mut model);
                states.insert(group_number(&model.store), model.map.clone());
            }
            let newest = group_number(&model.store);
            disk.crash(usize::try_from(model.random.below(21)).unwrap());
            model.store = durable(&disk, Sync::None);
            let found = group_number(&model.store);
            assert!(found <= newest, "seed {seed}, round {round}");
            model.map = states.get(&found).unwrap().clone();
            states.retain(|number, _| *number <= found);
            model.compare();
        }
    }
}

#[test]
fn real_files_hold_the_same_as_the_ordered_map() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = Model::new(11);
    for round in 0..4 {
        model.store = small_store(StoreOptions::default());
        let opened = Directory::open(folder.path()).unwrap();
        opened.load(&mut |record| model.store.load(&record).unwrap()).unwrap();
        model.store.attach(opened.serve(Sync::Always, Arc::new(|| {})).unwrap(), CommitLimits::default());
        model.compare();
        for _ in 0..60 {
            assert!(!matches!(group(&mut model), GroupStatus::Lost(_) | GroupStatus::Fatal(_)), "round {round}");
        }
        model.store.close().unwrap();
    }
}

#[test]
fn only_requests_that_change_or_read_a_value_depend_on_it() {
    let (disk, now) = (Disk::default(), clock());
    let mut store = durable(&disk, Sync::Always);
    set(&mut store, b"key", b"1", now).unwrap();
    let _ = wait(&mut store, now);
    store.append(b"key", b"2", now).unwrap();
    let group = store.take_dependency();
    assert!(group.is_some());
    // It is written after all replies of the turn.
    disk.set_faults(DiskFaults { sync_takes: Duration::from_millis(200), ..DiskFaults::default() });
    let _ = store.commit(now);
    assert_eq!(store.take_dependency(), None);
    assert!(store.contains(b"key", now));
    assert!(store.take_dependency() == group || store.is_durable_to(group.unwrap()));
    assert!(!store.contains(b"other", now));
    assert_eq!(store.take_dependency(), None);
}

#[test]
fn changes_that_a_full_disk_rejects_are_undone() {
    for seed in 0..8 {
        let mut model = on_a_full_disk(seed);
        let kept = model.map.clone();
        let lost = loop {
            match group(&mut model) {
                // No step changed anything.
                GroupStatus::Unchanged if model.store.refuses_writes().is_none() => {}
                GroupStatus::Durable(_) => panic!("nothing can be durable"),
                status => break status,
            }
        };
        let lost = if matches!(lost, GroupStatus::Lost(_)) { lost } else { told(&mut model.store, model.now) };
        assert!(matches!(lost, GroupStatus::Lost(_)), "{lost:?}");
        assert_eq!(model.store.persistence().unwrap().unsynced_bytes, 0, "nothing is on its way");
        model.map = kept;
        model.compare();
        assert_eq!(model.store.take_dependency(), None, "what is there is durable");
        let refused = model.store.set(b"k", Kind::Bytes, b"v", Expiry::Never, model.now);
        assert_eq!(refused, Err(StoreError::ReadOnly));
        assert_eq!(model.store.append(b"k", b"v", model.now), Err(StoreError::ReadOnly));
        model.now = run_steps(&mut model.store, later(model.now, 5000));
        model.compare();
        assert!(model.store.close().is_err());
    }
}

#[test]
fn all_keys_are_restored_at_once_when_their_removal_is_lost() {
    for seed in 0..8 {
        let mut model = on_a_full_disk(seed);
        let watched = model.map.keys().next().cloned().unwrap_or_default();
        let (was, absent) = (model.store.watch(&watched), model.store.watch(b"absent"));
        let kept = model.map.clone();
        // Changes before, between and after two removals of all keys, one of them in place.
        for round in 0..3 {
            for _ in 0..10 {
                model.step();
            }
            set(&mut model.store, b"there", b"1", model.now).unwrap();
            model.store.append(b"there", b"2", model.now).unwrap();
            if round < 2 {
                model.store.clear();
                model.map.clear();
            }
        }
        let seen = model.store.watch(b"fresh");
        let held = model.store.memory();
        assert!(matches!(told(&mut model.store, model.now), GroupStatus::Lost(_)));
        assert!(held > 0 && model.store.version(&watched) > was && model.store.version(b"fresh") > seen);
        assert!(model.store.version(b"absent") > absent, "restored keys count as changed, existing or not");
        model.map = kept;
        model.compare();
        model.store.table.check();
    }
}

#[test]
fn many_lost_changes_are_undone_in_steps_and_not_reported_meanwhile() {
    let now = clock();
    let disk = Disk::default();
    let mut store = durable(&disk, Sync::Always);
    for number in 0..3000_u32 {
        set(&mut store, &number.to_be_bytes(), b"old", now).unwrap();
    }
    assert_eq!(wait(&mut store, now), GroupStatus::Durable(1));
    disk.set_faults(DiskFaults { room: Some(0), ..DiskFaults::default() });
    for number in 0..3000_u32 {
        set(&mut store, &number.to_be_bytes(), b"new", now).unwrap();
    }
    store.take_dependency();
    let mut steps = 0;
    loop {
        let status = store.commit(now);
        if matches!(status, GroupStatus::Lost(_)) {
            break;
        }
        assert_eq!(status, GroupStatus::Unchanged);
        let old = (0..3000_u32).filter(|number| store.peek(&number.to_be_bytes(), now).unwrap().data == b"old").count();
        assert_eq!(store.take_dependency(), Some(2), "no reply reports it before it is decided");
        if old > 0 {
            steps += 1;
            assert_eq!(store.wants_commit_in(now), Some(Duration::ZERO), "and it goes on by itself");
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert!(steps > 3, "{steps} steps");
    assert_eq!(store.wants_commit_in(now), Some(Duration::from_secs(1)), "room is looked for");
    assert!((0..3000_u32).all(|number| store.peek(&number.to_be_bytes(), now).unwrap().data == b"old"));
    assert_eq!(store.take_dependency(), None);
}

#[test]
fn undoing_has_a_time_limit() {
    let now = clock();
    let disk = Disk::default();
    let mut store = durable(&disk, Sync::Always);
    set(&mut store, b"a", b"1", now).unwrap();
    wait(&mut store, now);
    disk.set_faults(DiskFaults { room: Some(0), read_takes: Duration::from_mins(5), ..DiskFaults::default() });
    set(&mut store, b"a", b"2", now).unwrap();
    while store.refuses_writes().is_none() {
        assert_eq!(store.commit(later(now, 50_000)), GroupStatus::Unchanged);
    }
    // One more minute since the write failed.
    assert!(store.wants_commit_in(later(now, 50_000)).is_some_and(|wait| wait > Duration::from_secs(59)));
    assert_eq!(store.commit(later(now, 109_999)), GroupStatus::Unchanged);
    let status = store.commit(later(now, 110_001));
    assert_eq!(status, GroupStatus::Fatal(StorageError::TimedOut(Duration::from_mins(1))));
    assert_eq!(store.wants_commit_in(later(now, 110_001)), None, "nothing more is waited for");
    assert_eq!(store.close(), Err(StorageError::TimedOut(Duration::from_mins(1))));
}

#[test]
fn a_record_that_cannot_be_loaded_is_an_error() {
    let mut store = small_store(StoreOptions::default());
    let record = Record { key: b"k", kind: 0, expires: NO_EXPIRY, data: b"v" };
    assert_eq!(store.load(&record), Ok(()));
    assert_eq!(store.load(&Record { kind: 200, ..record }), Err(Unfit::Kind));
    for length in [MAX_KEY + 1, 65_536 + 5] {
        assert_eq!(store.load(&Record { key: &vec![b'k'; length], ..record }), Err(Unfit::Key));
    }
    assert_eq!(store.load(&Record { key: &vec![b'k'; MAX_KEY], ..record }), Ok(()));
    assert_eq!(store.len(), 2);
}

/// Waits for the report of a failure.
fn told(store: &mut Store, now: Now) -> GroupStatus {
    loop {
        match store.commit(now) {
            GroupStatus::Unchanged => std::thread::sleep(Duration::from_millis(1)),
            status => return status,
        }
    }
}

#[test]
fn a_failed_sync_is_fatal_and_so_is_a_disk_that_does_not_answer() {
    let now = clock();
    let disk = Disk::default();
    let mut store = durable(&disk, Sync::Always);
    disk.set_faults(DiskFaults { syncs: Some(0), ..DiskFaults::default() });
    set(&mut store, b"a", b"1", now).unwrap();
    assert_eq!(store.take_dependency(), Some(1));
    assert!(matches!(wait(&mut store, now), GroupStatus::Fatal(_)));
    store.peek(b"a", now);
    assert_eq!(store.take_dependency(), Some(1), "it never becomes durable");
    assert!(matches!(store.commit(now), GroupStatus::Fatal(_)));

    let disk = Disk::default();
    let mut store = durable(&disk, Sync::Always);
    disk.set_faults(DiskFaults { sync_takes: Duration::from_mins(5), ..DiskFaults::default() });
    assert_eq!(store.wants_commit_in(now), None);
    set(&mut store, b"a", b"1", now).unwrap();
    assert_eq!(store.commit(now), GroupStatus::Unchanged);
    assert!(store.wants_commit_in(now).is_some_and(|wait| wait > Duration::from_mins(1)));
    assert_eq!(store.commit(later(now, 59_999)), GroupStatus::Unchanged);
    assert!(matches!(store.commit(later(now, 60_001)), GroupStatus::Fatal(_)));
}

#[test]
fn only_requests_that_see_a_change_depend_on_it() {
    let now = clock();
    let disk = Disk::default();
    let mut store = durable(&disk, Sync::Always);
    for key in [b"old", b"two"] {
        set(&mut store, key, b"1", now).unwrap();
    }
    assert_eq!((store.take_dependency(), wait(&mut store, now)), (Some(1), GroupStatus::Durable(1)));
    let sees = |store: &mut Store, look: &dyn Fn(&mut Store)| {
        look(store);
        store.take_dependency()
    };
    let get = |key: &'static [u8]| {
        move |store: &mut Store| assert!(store.get(key, now).is_none_or(|entry| !entry.data.is_empty()))
    };
    assert_eq!(sees(&mut store, &get(b"old")), None);
    assert_eq!(sees(&mut store, &|store| store.note_read_all()), None);
    disk.set_faults(DiskFaults { sync_takes: Duration::from_millis(300), ..DiskFaults::default() });

    set(&mut store, b"new", b"1", now).unwrap();
    store.remove(b"two", now);
    assert_eq!(store.take_dependency(), Some(2));
    assert_eq!(store.commit(now), GroupStatus::Unchanged);
    assert_eq!(sees(&mut store, &get(b"old")), None);
    for key in [&b"new"[..], b"two"] {
        assert_eq!(sees(&mut store, &|store| assert!(store.contains(key, now) == (key == b"new"))), Some(2));
        assert_eq!(sees(&mut store, &|store| assert!(store.peek(key, now).is_some() == (key == b"new"))), Some(2));
    }
    assert_eq!(sees(&mut store, &|store| assert_eq!(store.scan(0, 10, now, &mut |_, _| {}), 0)), Some(2));
    assert_eq!(sees(&mut store, &|store| assert!(store.random_key(1, now).is_some())), Some(2));
    assert_eq!(sees(&mut store, &|store| store.note_read_all()), Some(2));
    store.clear();
    assert_eq!(store.take_dependency(), Some(3));
    assert_eq!(sees(&mut store, &get(b"old")), Some(3), "that it is gone is not durable");
    while group_number(&store) < 3 {
        wait(&mut store, now);
    }
    for key in [&b"old"[..], b"new", b"two"] {
        assert_eq!(sees(&mut store, &|store| assert!(!store.contains(key, now))), None);
    }
}

#[test]
fn no_reply_depends_on_an_expiry() {
    let now = clock();
    let disk = Disk::default();
    let mut store = durable(&disk, Sync::Always);
    store.set(b"k", Kind::Bytes, b"", Expiry::At(now.unix_ms + 5), now).unwrap();
    wait(&mut store, now);
    store.take_dependency();
    assert!(!store.contains(b"k", later(now, 5)));
    assert_eq!(store.take_dependency(), None);
    wait(&mut store, now);
    store.close().unwrap();
    assert_eq!(durable(&disk, Sync::Always).len(), 0, "but it is gone from the disk");
}

#[test]
fn evicted_keys_are_removed_from_disk() {
    let now = clock();
    let disk = Disk::default();
    let mut store = limited(1 << 20, Eviction::AllKeys);
    attach_to(&disk, Sync::None, &mut store);
    for number in 0..20_000_u32 {
        set(&mut store, &number.to_be_bytes(), &[0; 100], now).unwrap();
    }
    let left = keys(&mut store, now);
    assert!(left.len() < 10_000);
    store.close().unwrap();
    assert_eq!(keys(&mut durable(&disk, Sync::None), now), left);
}

#[test]
fn keys_on_disk_are_as_long_as_in_memory() {
    let now = clock();
    let mut store = durable(&Disk::default(), Sync::None);
    let key = vec![b'k'; MAX_KEY + 1];
    assert_eq!(set(&mut store, &key[1..], b"", now), Ok(()));
    assert_eq!(set(&mut store, &key, b"", now), Err(StoreError::KeyTooLong));
}

#[test]
fn the_store_is_congested_until_the_queue_has_room() {
    let now = clock();
    let disk = Disk::default();
    disk.set_faults(DiskFaults { sync_takes: Duration::from_millis(100), ..DiskFaults::default() });
    let mut store = Store::new(StoreOptions::default());
    let options = StorageOptions { sync: Sync::Always, backup: None };
    let storage = Storage::start(DataFiles::new(disk.folder()).unwrap(), options, Arc::new(|| {})).unwrap();
    store.attach(storage, CommitLimits { unsynced_bytes: 1000, ..CommitLimits::default() });
    set(&mut store, b"k", &[0; 900], now).unwrap();
    assert!(!store.is_congested());
    set(&mut store, b"l", &[0; 900], now).unwrap();
    assert!(store.is_congested());
    store.commit(now);
    assert!(store.is_congested());
    wait(&mut store, now);
    assert!(!store.is_congested());
}

#[test]
fn repeated_removal_of_all_keys_is_bounded() {
    let now = clock();
    let disk = Disk::default();
    let mut store = durable(&disk, Sync::Always);
    let mut clears = 0;
    disk.set_faults(DiskFaults { sync_takes: Duration::from_secs(1), ..DiskFaults::default() });
    while !store.is_congested() {
        store.clear();
        let _ = store.commit(now);
        clears += 1;
        assert!(clears < 1000, "each keeps a table until its group is durable");
    }
    assert!(store.memory() < CommitLimits::default().unsynced_bytes, "{} bytes", store.memory());
    wait(&mut store, now);
    assert!(!store.is_congested());
}

#[test]
fn a_large_value_changed_often_in_one_turn_is_written_once() {
    const LENGTH: usize = 1 << 20;
    let now = clock();
    let disk = Disk::default();
    let mut store = durable(&disk, Sync::Always);
    set(&mut store, b"large", &vec![b'a'; LENGTH], now).unwrap();
    assert_eq!(wait(&mut store, now), GroupStatus::Durable(1));
    disk.set_faults(DiskFaults { sync_takes: Duration::from_millis(300), ..DiskFaults::default() });
    for offset in 0..1000 {
        assert_eq!(store.patch(b"large", offset * 1000, b"b", now), Ok(Some(LENGTH)));
    }
    store.append(b"large", b"end", now).unwrap();
    store.set_expiry(b"large", Some(now.unix_ms + 60_000), now);
    assert_eq!(store.take_dependency(), Some(2));
    assert_eq!(store.commit(now), GroupStatus::Unchanged);
    let unsynced = store.persistence().unwrap().unsynced_bytes;
    assert!((LENGTH..LENGTH + 1000).contains(&unsynced), "{unsynced} bytes");
    assert_eq!(wait(&mut store, now), GroupStatus::Durable(2));
    drop(store);
    let mut store = durable(&disk, Sync::Always);
    let entry = store.get(b"large", now).unwrap();
    assert_eq!(entry.data.len(), LENGTH + 3);
    assert_eq!((entry.data[999_000], entry.data[999_001]), (b'b', b'a'));
    assert!(entry.data.ends_with(b"end") && entry.expires_ms == Some(now.unix_ms + 60_000));
    // A key removed after a change stays removed.
    assert!(store.patch(b"large", 0, b"c", now) == Ok(Some(LENGTH + 3)) && store.remove(b"large", now));
    assert_eq!(wait(&mut store, now), GroupStatus::Durable(3));
    drop(store);
    assert!(!durable(&disk, Sync::Always).contains(b"large", now));
}

#[test]
fn a_large_value_moved_or_put_often_in_one_turn_is_written_once() {
    const LENGTH: usize = 1 << 20;
    let now = clock();
    let disk = Disk::default();
    let mut store = durable(&disk, Sync::Always);
    let value = vec![b'v'; LENGTH];
    disk.set_faults(DiskFaults { sync_takes: Duration::from_millis(300), ..DiskFaults::default() });
    for number in 0..100_u8 {
        set(&mut store, b"put", &value, now).unwrap();
        set(&mut store, &[number], &value, now).unwrap();
        assert!(store.rename(&[number], b"moved", now).unwrap());
        assert!(store.rename(b"moved", &[number + 1], now).unwrap());
        assert!(number == 99 || store.remove(&[number + 1], now));
        assert!(!store.is_congested(), "two megabytes wait at most");
    }
    assert_eq!(store.commit(now), GroupStatus::Unchanged);
    let unsynced = store.persistence().unwrap().unsynced_bytes;
    assert!((2 * LENGTH..2 * LENGTH + 20_000).contains(&unsynced), "{unsynced} bytes");
    assert_eq!(wait(&mut store, now), GroupStatus::Durable(1));
    drop(store);
    let mut store = durable(&disk, Sync::Always);
    assert_eq!(store.len(), 2);
    for key in [&b"put"[..], &[100]] {
        assert_eq!(store.get(key, now).map(|entry| entry.data), Some(&value[..]));
    }
}

#[test]
fn growth_of_a_value_counts_as_unsynced() {
    let now = clock();
    let mut store = durable(&Disk::default(), Sync::Always);
    set(&mut store, b"k", &[1; 2000], now).unwrap();
    set(&mut store, b"k", &vec![1; 20 << 20], now).unwrap();
    assert!(store.is_congested());
    assert!(store.remove(b"k", now));
    assert!(!store.is_congested(), "a removed value is not written");
}
