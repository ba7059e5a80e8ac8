//! Failing calls: the state of the directory, and what is reported.

use super::crash::{Model, Random, TINY, compact, open};
use super::{Keys, group};
use crate::disk::data_files::Contents;
use crate::disk::sim::{Disk, DiskFaults};
use crate::disk::*;

/// Groups of one large value each, so that nearly each is a journal of its own.
fn fill(data_files: &mut DataFiles, count: u64) -> Result<(), StorageError> {
    let value = "x".repeat(4000);
    for _ in 0..count {
        let number = data_files.last_group() + 1;
        data_files.write(&group(&[(&format!("key:{number}"), Some(&value))]), number, number)?;
        data_files.sync()?;
    }
    Ok(())
}

fn journals(disk: &Disk) -> usize {
    disk.files().keys().filter(|name| name.starts_with("journal-")).count()
}

#[test]
fn without_descriptors_a_journal_becomes_longer_and_nothing_fails() {
    let disk = Disk::default();
    let mut data_files = open(&disk).expect("opens");
    fill(&mut data_files, 6).expect("written");
    let before = journals(&disk);
    assert!(before > 1, "{before} journals");
    disk.set_faults(DiskFaults { no_descriptors: true, ..DiskFaults::default() });
    fill(&mut data_files, 20).expect("a client flood that takes all descriptors stops no write");
    assert_eq!(journals(&disk), before);
    disk.set_faults(DiskFaults::default());
    fill(&mut data_files, 6).expect("written");
    assert!(journals(&disk) > before + 1, "and goes on as before when there are some");
    drop(data_files);
    disk.crash(0);
    let data_files = open(&disk).expect("opens");
    assert_eq!((data_files.last_group(), super::contents(&data_files).len()), (32, 32));
}

/// Each changing call fails once. All acknowledged groups are there after a stop of the machine that loses everything
/// unsynced; and a failed sync is always fatal.
#[test]
fn no_acknowledged_group_is_lost_whichever_call_fails() {
    let mut kinds = [0; 2];
    for seed in 1..=4 {
        for call in 0.. {
            let mut random = Random(seed * 7919 + 1);
            let (disk, mut model) = (Disk::default(), Model::new());
            let mut data_files = open(&disk).expect("opens");
            disk.set_faults(DiskFaults { fails_after: Some(call), ..DiskFaults::default() });
            let mut failure = None;
            for _ in 0..14 {
                if let Err(error) = model.step(&mut data_files, &mut random, false) {
                    failure = Some(error);
                    break;
                }
            }
            match failure {
                Some(StorageError::Write(_)) => kinds[0] += 1,
                Some(StorageError::Sync(_)) => kinds[1] += 1,
                Some(other) => panic!("{other:?}"),
                None => {}
            }
            drop(data_files);
            disk.crash(0);
            drop(model.reopen(&disk, seed));
            if failure.is_none() && call > 60 {
                break;
            }
        }
    }
    assert!(kinds.iter().all(|count| *count > 15), "{kinds:?} writes and syncs failed");
}

/// The same during a compaction, which must not affect the journals.
#[test]
fn a_compaction_can_be_retried_whichever_call_fails() {
    for call in 0.. {
        let mut random = Random(31);
        let disk = Disk::default();
        let (mut model, mut data_files) = Model::filled(&disk, &mut random);
        disk.set_faults(DiskFaults { fails_after: Some(call), ..DiskFaults::default() });
        let compactions = compact(&mut data_files);
        assert_eq!(compactions.done + compactions.failed, 1, "call {call}: {compactions:?}");
        disk.set_faults(DiskFaults::default());
        for _ in 0..12 {
            model.step(&mut data_files, &mut random, true).expect("written");
        }
        drop(data_files);
        disk.crash(0);
        drop(model.reopen(&disk, call as u64));
        if compactions.failed == 0 {
            assert!(call > 8, "{call} calls");
            break;
        }
    }
}

#[test]
fn a_failed_sync_while_a_journal_is_created_is_fatal() {
    let mut seen = 0;
    for syncs in 0..4 {
        let disk = Disk::default();
        let mut data_files = open(&disk).expect("opens");
        fill(&mut data_files, 3).expect("written");
        disk.set_faults(DiskFaults { syncs: Some(syncs), ..DiskFaults::default() });
        let failure = fill(&mut data_files, 9).expect_err("it fails");
        assert!(matches!(failure, StorageError::Sync(_)), "{failure:?}");
        seen += usize::from(disk.files().contains_key("journal.unfinished"));
    }
    assert!(seen > 0, "one of them was that of a new journal");
}

/// What a crash in the middle of a compaction leaves: the new snapshot, and all files it replaces.
#[test]
fn the_files_that_a_damaged_snapshot_replaces_stay() {
    let mut random = Random(3);
    let disk = Disk::default();
    let (model, mut data_files) = Model::filled(&disk, &mut random);
    let before = disk.files();
    compact(&mut data_files);
    drop(data_files);
    let mut files = disk.files();
    let name = files.keys().find(|name| name.starts_with("snapshot-")).expect("a snapshot").clone();
    files.extend(before);
    let whole = Disk::with_files(&files);
    let data_files = open(&whole).expect("opens");
    assert!(super::contents(&data_files) == model.keys);
    assert!(whole.files().len() < files.len(), "left-over files are removed");
    let bytes = files.get_mut(&name).expect("a snapshot");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = Disk::with_files(&files);
    let Err(Broken::Damaged(told)) = DataFiles::with_sizes(damaged.folder(), TINY) else { panic!("it is not noticed") };
    assert!(told.contains(&name), "{told}");
    let (contents, keys, outcome) = Contents::salvage(&*damaged.folder()).expect("readable");
    let mut salvaged = Keys::new();
    contents
        .load(&mut |record| {
            salvaged.insert(record.key.to_vec(), record.data.to_vec());
        })
        .expect("readable");
    assert!(salvaged == model.keys && keys == salvaged.len() as u64, "it is in the journals too");
    assert!(outcome.is_err_and(|broken| broken.to_string() == told));
    assert!(damaged.files() == files, "nothing was changed");
}

/// If the manifest cannot be written, as on a full copy-on-write file system, groups on disk count all the same.
#[test]
fn an_unwritable_manifest_refuses_the_next_group_only() {
    let disk = Disk::default();
    let mut data_files = open(&disk).expect("opens");
    data_files.write(&group(&[("a", Some("1"))]), 1, 1).expect("written");
    // The previous write, the sync, and then the manifest.
    disk.set_faults(DiskFaults { fails_after: Some(1), ..DiskFaults::default() });
    data_files.sync().expect("it is on disk");
    let refused = data_files.write(&group(&[("b", Some("2"))]), 2, 2);
    assert!(matches!(refused, Err(StorageError::Write(_))), "{refused:?}");
    drop(data_files);
    disk.crash(0);
    assert_eq!(open(&disk).expect("opens").last_group(), 1);
}

/// The same where the previous group is synced only now, because the next journal is begun.
#[test]
fn an_unwritable_manifest_refuses_the_group_that_begins_a_journal() {
    let value = "x".repeat(4000);
    let write = |data_files: &mut DataFiles, number: u64| {
        data_files.write(&group(&[(&format!("key:{number}"), Some(&value))]), number, number)
    };
    let mut refused = 0;
    for call in 0..12 {
        let disk = Disk::default();
        let mut data_files = open(&disk).expect("opens");
        write(&mut data_files, 1).expect("written");
        disk.set_faults(DiskFaults { fails_after: Some(call), ..DiskFaults::default() });
        let outcome = write(&mut data_files, 2);
        disk.set_faults(DiskFaults::default());
        match outcome {
            Ok(()) => write(&mut data_files, 3).expect("whatever has failed, the group before this one was taken"),
            Err(StorageError::Write(_)) => refused += 1,
            Err(_) => {}
        }
    }
    assert!(refused > 2, "{refused} refused: for the side file, the name and the group itself");
}

#[test]
fn a_start_succeeds_on_a_full_disk_however_often_writes_are_interrupted() {
    let sizes = FileSizes { ahead: 0, reserve: 4096, ..FileSizes::default() };
    let disk = Disk::default();
    let open = || DataFiles::with_sizes(disk.folder(), sizes);
    let mut data_files = open().expect("opens");
    data_files.write(&super::group(&[("a", Some("1"))]), 1, 1).expect("written");
    data_files.sync().expect("synced");
    // The first of these starts gives up the reserve.
    for round in 0..3 {
        let large = "x".repeat(5_000);
        disk.set_faults(DiskFaults { capacity: Some(disk.used() + 100), ..DiskFaults::default() });
        let failure = data_files.write(&super::group(&[("large", Some(&large))]), 2, 2).expect_err("there is no room");
        assert!(matches!(failure, StorageError::Full(_)), "{failure:?}");
        drop(data_files);
        // Everything had reached the disk but the zeros over the written part.
        disk.crash(disk.unsynced() - 1);
        disk.set_faults(DiskFaults { capacity: Some(disk.used()), ..DiskFaults::default() });
        data_files = open().expect("it starts without room");
        assert_eq!((data_files.last_group(), data_files.was_torn()), (1, true), "round {round}");
        assert!(!disk.files().contains_key("reserve.latchkey"), "round {round}");
    }
    disk.set_faults(DiskFaults::default());
    assert!(data_files.recover());
    data_files.write(&super::group(&[("b", Some("2"))]), 2, 2).expect("written");
    data_files.sync().expect("synced");
    disk.crash(0);
    let data_files = open().expect("opens");
    assert_eq!((data_files.last_group(), data_files.was_torn()), (2, false));
    assert_eq!(super::contents(&data_files).len(), 2);
}

#[test]
fn a_write_to_a_full_simulated_disk_is_truncated() {
    let disk = Disk::default();
    let folder = disk.folder();
    let mut file = folder.create("one").expect("made");
    file.write_at(&[1; 10], 0).expect("room");
    disk.set_faults(DiskFaults { capacity: Some(15), ..DiskFaults::default() });
    assert_eq!(folder.room().expect("told"), 5);
    file.write_at(&[2; 10], 0).expect("there already");
    let error = file.write_at(&[3; 10], 8).expect_err("full");
    assert_eq!((error.kind(), disk.used()), (std::io::ErrorKind::StorageFull, 15));
    folder.remove("one").expect("there");
    assert_eq!((folder.room().expect("told"), disk.used()), (15, 0));
}
