//! Data files and storage thread on the simulated disk; crashes are in `crash`, real directories in `real`.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::sim::{Disk, DiskFaults};
use super::*;

mod crash;
mod real;
mod restoring;
mod trouble;

pub(super) type Keys = BTreeMap<Vec<u8>, Vec<u8>>;

pub(super) fn group(changes: &[(&str, Option<&str>)]) -> Group {
    let mut group = Group::default();
    for (key, value) in changes {
        group.push(&change(key, *value));
    }
    group
}

fn change<'a>(key: &'a str, value: Option<&'a str>) -> Change<'a> {
    let key = key.as_bytes();
    match value {
        Some(data) => Change::Put { key, kind: 0, expires: NO_EXPIRY, data: data.as_bytes() },
        None => Change::Remove { key },
    }
}

pub(super) fn contents(data_files: &DataFiles) -> Keys {
    let mut keys = Keys::new();
    data_files.load(&mut |record| drop(keys.insert(record.key.to_vec(), record.data.to_vec()))).expect("readable");
    keys
}

fn map(pairs: &[(&str, &str)]) -> Keys {
    pairs.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

fn data_files(disk: &Disk) -> DataFiles {
    DataFiles::new(disk.folder()).expect("opens")
}

#[test]
fn the_last_change_of_a_key_in_a_group_wins() {
    let disk = Disk::default();
    let mut data_files = data_files(&disk);
    data_files
        .write(&group(&[("a", Some("1")), ("b", Some("1")), ("a", None), ("", Some("e"))]), 1, 2)
        .expect("written");
    assert_eq!(contents(&data_files), map(&[("", "e"), ("b", "1")]));
    let mut cleared = group(&[("b", Some("2"))]);
    cleared.push(&Change::Clear);
    cleared.append(&mut group(&[("c", Some("3"))]));
    data_files.write(&cleared, 4, 1).expect("written");
    assert_eq!(contents(&data_files), map(&[("c", "3")]));
    assert_eq!((data_files.last_group(), data_files.expected_keys()), (4, 1));
}

#[test]
fn undo_restores_the_former_values() {
    let disk = Disk::default();
    let mut data_files = data_files(&disk);
    data_files.write(&group(&[("a", Some("1")), ("b", Some("2"))]), 1, 2).expect("written");
    let undo =
        data_files.undo(&group(&[("a", Some("9")), ("b", None), ("c", Some("9")), ("a", None)])).expect("readable");
    assert_eq!(records(undo), [was("a", Some("1")), was("b", Some("2")), was("c", None)]);
    let mut cleared = group(&[("a", Some("9"))]);
    cleared.push(&Change::Clear);
    cleared.append(&mut group(&[("b", Some("9"))]));
    // Changes after the removal of all keys are undone with it.
    assert_eq!(records(data_files.undo(&cleared).expect("readable")), [was("a", Some("1"))]);
    data_files.write(&cleared, 2, 1).expect("written");
    data_files.write(&group(&[("b", Some("3"))]), 3, 1).expect("written");
    let undo = data_files.undo(&group(&[("a", Some("9")), ("b", None)])).expect("readable");
    assert_eq!(records(undo), [was("a", None), was("b", Some("3"))]);
}

type Was = (Vec<u8>, Option<Vec<u8>>);

fn was(key: &str, value: Option<&str>) -> Was {
    (key.into(), value.map(Into::into))
}

pub(super) fn records(mut undo: Undo) -> Vec<Was> {
    let mut seen = Vec::new();
    while undo.pop(|key, record| seen.push((key.to_vec(), record.map(|record| record.data.to_vec())))).is_some() {}
    seen.sort();
    seen
}

/// A storage thread on a simulated disk, and a channel for its wake-ups.
struct StorageBench {
    storage: Storage,
    woken: Mutex<mpsc::Receiver<()>>,
    disk: Disk,
}

impl StorageBench {
    fn new(disk: &Disk, sync: Sync) -> Self {
        let (sender, woken) = mpsc::channel();
        let sender = Mutex::new(sender);
        let wake = Arc::new(move || sender.lock().expect("sender").send(()).unwrap_or_default());
        let options = StorageOptions { sync, backup: None };
        let storage = Storage::start(data_files(disk), options, wake).expect("a thread");
        Self { storage, woken: Mutex::new(woken), disk: disk.clone() }
    }

    fn submit(&self, changes: &[(&str, Option<&str>)], last: u64) {
        self.storage.submit(&mut group(changes), last, last);
    }

    /// Waits until a report meets the condition.
    fn until(&self, wanted: impl Fn(&StorageReport) -> bool) -> StorageReport {
        loop {
            let report = self.storage.poll();
            if wanted(&report) {
                return report;
            }
            let woken = self.woken.lock().expect("receiver").recv_timeout(Duration::from_mins(1));
            woken.expect("the thread answers");
        }
    }

    fn after_crash(&self, kept: usize) -> Keys {
        self.disk.crash(kept);
        contents(&data_files(&self.disk))
    }
}

#[test]
fn reported_groups_survive_a_crash_of_the_machine() {
    let bench = StorageBench::new(&Disk::default(), Sync::Always);
    bench.submit(&[("a", Some("1"))], 1);
    bench.until(|report| report.durable == 1);
    assert_eq!(bench.after_crash(0), map(&[("a", "1")]));
}

#[test]
fn groups_submitted_during_a_sync_are_written_together() {
    let disk = Disk::default();
    let bench = StorageBench::new(&disk, Sync::Always);
    let before = disk.syncs();
    disk.set_faults(DiskFaults { sync_takes: Duration::from_millis(200), ..DiskFaults::default() });
    for number in 1..=100 {
        bench.submit(&[(&number.to_string(), Some("x"))], number);
    }
    assert!(bench.storage.durable().queued > 0);
    bench.until(|report| report.durable == 100);
    assert!(disk.syncs() - before <= 3, "{} syncs", disk.syncs() - before);
    assert_eq!(bench.storage.durable(), Durable { group: 100, queued: 0 });
    assert_eq!(bench.after_crash(0).len(), 100);
}

#[test]
fn a_full_disk_loses_unreported_groups_which_can_be_undone() {
    let disk = Disk::default();
    let bench = StorageBench::new(&disk, Sync::Always);
    disk.set_faults(DiskFaults { room: Some(1), ..DiskFaults::default() });
    bench.submit(&[("a", Some("1"))], 1);
    bench.until(|report| report.durable == 1);
    bench.submit(&[("a", Some("2")), ("b", Some("2"))], 2);
    let report = bench.until(|report| report.failure.is_some());
    assert!(matches!(report.failure, Some(StorageError::Full(_))) && report.durable == 1, "{report:?}");
    // Groups submitted before the loop learns of it are lost as well; then everything can be undone.
    bench.submit(&[("c", Some("3"))], 3);
    bench.storage.last_call();
    let undo = bench.until(|report| report.undo.is_some()).undo.expect("told");
    assert_eq!(records(undo), [was("a", Some("1")), was("b", None), was("c", None)]);
    assert!(bench.storage.close().is_err());
    assert_eq!(bench.after_crash(9), map(&[("a", "1")]));
}

#[test]
fn writes_acknowledged_before_a_failed_write_are_forced_to_disk() {
    let bench = StorageBench::new(&Disk::default(), Sync::Interval);
    bench.submit(&[("a", Some("1"))], 1);
    bench.until(|report| report.durable == 1);
    bench.disk.set_faults(DiskFaults { room: Some(0), ..DiskFaults::default() });
    bench.submit(&[("b", Some("2"))], 2);
    let report = bench.until(|report| report.failure.is_some());
    assert!(matches!(report.failure, Some(StorageError::Full(_))), "reads go on");
    assert_eq!(bench.after_crash(0), map(&[("a", "1")]));
}

#[test]
fn a_failed_sync_is_never_retried() {
    let disk = Disk::default();
    let bench = StorageBench::new(&disk, Sync::Always);
    let before = disk.syncs();
    disk.set_faults(DiskFaults { syncs: Some(1), ..DiskFaults::default() });
    bench.submit(&[("a", Some("1"))], 1);
    bench.until(|report| report.durable == 1);
    bench.submit(&[("b", Some("2"))], 2);
    let report = bench.until(|report| report.failure.is_some());
    assert!(matches!(report.failure, Some(StorageError::Sync(_))) && report.durable == 1, "{report:?}");
    disk.set_faults(DiskFaults::default());
    bench.submit(&[("c", Some("3"))], 3);
    assert!(bench.storage.close().is_err());
    assert_eq!(disk.syncs() - before, 1);
    assert_eq!(bench.storage.durable().group, 1);
}

#[test]
fn a_panic_of_the_storage_thread_is_reported() {
    let disk = Disk::default();
    let bench = StorageBench::new(&disk, Sync::Always);
    disk.set_faults(DiskFaults { panics: true, ..DiskFaults::default() });
    bench.submit(&[("a", Some("1"))], 1);
    let report = bench.until(|report| report.failure.is_some());
    assert!(matches!(report.failure, Some(StorageError::Stopped)) && report.durable == 0, "{report:?}");
    assert!(bench.storage.close().is_err());
}

#[test]
fn a_delayed_sync_is_made_in_time_or_at_close() {
    let disk = Disk::default();
    let bench = StorageBench::new(&disk, Sync::Interval);
    bench.submit(&[("a", Some("1"))], 1);
    bench.until(|report| report.durable == 1);
    let mut waits = 0;
    while disk.unsynced() > 0 {
        std::thread::sleep(Duration::from_millis(50));
        waits += 1;
        assert!(waits < 600, "it never came");
    }
    let disk = Disk::default();
    let bench = StorageBench::new(&disk, Sync::None);
    let before = disk.syncs();
    bench.submit(&[("a", Some("1"))], 1);
    bench.until(|report| report.durable == 1);
    assert_eq!((disk.syncs(), disk.unsynced()), (before, 1));
    bench.storage.close().expect("closed");
    assert_eq!(disk.unsynced(), 0);
}

#[test]
fn a_crash_keeps_a_prefix_of_the_writes() {
    for kept in 0..=3 {
        let disk = Disk::default();
        let mut data_files = data_files(&disk);
        for number in 1..=3u64 {
            let key = number.to_string();
            data_files.write(&group(&[(&key, Some("x")), ("last", Some(&key))]), number, number + 1).expect("written");
        }
        disk.crash(kept);
        let data_files = DataFiles::new(disk.folder()).expect("opens");
        assert_eq!(data_files.last_group(), kept as u64);
        let keys = contents(&data_files);
        assert_eq!(keys.len() as u64, data_files.expected_keys());
        assert_eq!(keys.get(&b"last"[..]).cloned(), (kept > 0).then(|| kept.to_string().into_bytes()));
    }
}
