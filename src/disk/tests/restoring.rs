//! A restore that is stopped, or fails, at any call.

use std::path::Path;

use super::crash::Random;
use super::{Keys, contents};
use crate::disk::names::{LOCK, RESTORING, is_ours};
use crate::disk::restore::{fill, undo};
use crate::disk::sim::{Disk, DiskFaults};
use crate::disk::*;

/// Two batches.
fn keys() -> Keys {
    (0..3_u8).map(|number| (vec![number], vec![number; 5000])).collect()
}

fn dump(keys: &Keys) -> Vec<u8> {
    let mut writer = DumpWriter::new(Vec::new()).expect("begun");
    for (key, data) in keys {
        writer.add(&Record { key, kind: 0, expires: NO_EXPIRY, data }).expect("added");
    }
    writer.finish().expect("ended").0
}

fn run(disk: &Disk, dump: &[u8]) -> Result<u64, DumpError> {
    fill(DumpReader::new(dump)?, &disk.folder(), Path::new("directory"), 8000)
}

fn is_marked(disk: &Disk) -> bool {
    disk.files().contains_key(RESTORING)
}

fn holds(disk: &Disk, keys: &Keys) -> bool {
    DataFiles::new(disk.folder()).is_ok_and(|data_files| contents(&data_files) == *keys)
}

#[test]
fn a_machine_that_stops_leaves_a_directory_whole_or_marked() {
    let (keys, mut random) = (keys(), Random(7));
    let dump = dump(&keys);
    for steps in 0.. {
        let disk = Disk::default();
        disk.set_faults(DiskFaults { stops_after: Some(steps), ..DiskFaults::default() });
        let is_done = run(&disk, &dump).is_ok();
        disk.crash_torn(&mut |bound| random.below(bound));
        if !is_marked(&disk) {
            assert!(disk.files().is_empty() || holds(&disk, &keys), "after {steps} steps");
        }
        if is_done {
            assert!(holds(&disk, &keys) && steps > 15, "{steps} steps");
            return;
        }
        // What is left is useless, but does not hinder the next restore.
        let disk = if is_marked(&disk) { disk } else { Disk::default() };
        assert_eq!(run(&disk, &dump).expect("restored"), 3);
        assert!(!is_marked(&disk) && holds(&disk, &keys), "after {steps} steps and a second run");
    }
}

#[test]
fn a_restore_that_fails_can_be_cleared_or_stays_refused() {
    let (keys, mut random) = (keys(), Random(9));
    let dump = dump(&keys);
    let ours = |disk: &Disk| disk.files().into_keys().filter(|name| is_ours(name) && name != LOCK).count();
    let mut failed = 0;
    for calls in 0..50 {
        let disk = Disk::default();
        disk.set_faults(DiskFaults { fails_after: Some(calls), ..DiskFaults::default() });
        if run(&disk, &dump).is_ok() {
            disk.set_faults(DiskFaults::default());
            // The failing call comes later, or its failure was ignored.
            assert!(!is_marked(&disk) && holds(&disk, &keys), "after {calls} calls");
            continue;
        }
        failed += 1;
        undo(&*disk.folder()).expect("cleared");
        assert_eq!(ours(&disk), 0, "after {calls} calls");
    }
    assert!((16..50).contains(&failed), "{failed} calls");
    // A truncated dump: while what was written is removed, the machine stops, or one removal fails.
    for steps in 0.. {
        for stops in [true, false] {
            let disk = Disk::default();
            let Err(DumpError::Damaged(3)) = run(&disk, &dump[..dump.len() - 1]) else { panic!("it is cut short") };
            let (stops_after, fails_after) = if stops { (Some(steps), None) } else { (None, Some(steps)) };
            disk.set_faults(DiskFaults { stops_after, fails_after, ..DiskFaults::default() });
            let is_cleared = undo(&*disk.folder()).is_ok();
            if stops {
                disk.crash_torn(&mut |bound| random.below(bound));
            }
            assert!(!is_cleared || ours(&disk) == 0, "after {steps} steps");
            let is_refused = || is_marked(&disk) || DataFiles::new(disk.folder()).is_err();
            assert!(ours(&disk) == 0 || is_refused(), "after {steps} steps");
            if is_cleared {
                assert!(steps > 3, "{steps} steps");
                return;
            }
        }
    }
}
