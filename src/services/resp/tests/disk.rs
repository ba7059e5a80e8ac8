//! A data directory: searches that have seen changes that are not on disk yet.

use std::sync::Arc;

use super::*;
use crate::disk::sim::{Disk, DiskFaults};
use crate::disk::{DataFiles, Storage, StorageOptions, Sync};
use crate::store::{CommitLimits, GroupStatus};

/// Changes from now on go to a simulated disk, which takes its time.
pub(super) fn attach_disk(bench: &mut Bench) -> Disk {
    let disk = Disk::default();
    let storage = StorageOptions { sync: Sync::Always, backup: None };
    let storage = Storage::start(DataFiles::new(disk.folder()).unwrap(), storage, Arc::new(|| {})).unwrap();
    bench.store.attach(storage, CommitLimits::default());
    disk
}

/// Keys whose changes go to a simulated disk, and a client that is waiting for all of them: the
/// search is over, but it has seen a key that is not on disk yet.
fn bench_that_awaits_the_disk() -> (Bench, (TestPeer, RespSession), Disk) {
    let (mut bench, mut client) = bench_of_small_steps();
    let disk = attach_disk(&mut bench);
    bench.store.set(b"late", Kind::Bytes, b"1", Expiry::Never, bench.now).expect("room");
    begin(&mut bench, &mut client, "keys l*\n");
    while bench.tick().is_some() {}
    assert!(client.0.is_alone() && client.0.take_replies().is_empty());
    (bench, client, disk)
}

fn word_from_the_disk(bench: &mut Bench) -> GroupStatus {
    loop {
        match bench.store.commit(bench.now) {
            GroupStatus::Unchanged => std::thread::sleep(Duration::from_millis(1)),
            status => return status,
        }
    }
}

#[test]
fn a_search_is_answered_when_what_it_saw_is_durable() {
    let (mut bench, mut client, _disk) = bench_that_awaits_the_disk();
    let mut other = bench.connect(1, 1);
    begin(&mut bench, &mut other, "keys a:*\n");
    assert_eq!(bench.tick(), None, "the first is not over, and no time helps it");
    assert_eq!(word_from_the_disk(&mut bench), GroupStatus::Durable(1));
    assert!(!client.0.is_alone());
    assert_eq!(client.0.take_replies(), b"*1\r\n$4\r\nlate\r\n");
    bench.finish(&mut other.0);
    assert!(other.0.take_replies().starts_with(b"*1000\r\n"));
}

#[test]
fn a_search_that_saw_lost_changes_is_refused() {
    let (mut bench, mut client, disk) = bench_that_awaits_the_disk();
    let mut under_way = bench.connect(1, 1);
    begin(&mut bench, &mut under_way, "keys *\n");
    disk.set_faults(DiskFaults { room: Some(0), ..DiskFaults::default() });
    assert!(matches!(word_from_the_disk(&mut bench), GroupStatus::Lost(_)));
    for peer in [&mut client.0, &mut under_way.0] {
        assert!(!peer.is_alone());
        assert!(peer.take_replies().starts_with(b"-MISCONF "));
    }
    assert_eq!(bench.ask(&mut client, "keys l*"), "*0\r\n", "reads are served, and see what is kept");
}
