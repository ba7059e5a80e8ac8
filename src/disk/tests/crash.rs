//! The simulated disk loses, tears and zeroes what was not synced, at any call; bits flip.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::compact::Compactions;
use super::super::record::{FileHead, Reader, find};
use super::{Keys, contents};
use crate::disk::sim::{Disk, DiskFaults};
use crate::disk::*;

/// Journals of two or three records, compacted when there are three of them.
pub(super) const TINY: FileSizes = FileSizes { journal: 2000, sealed: 2 << 20, index: 5, ahead: 4 << 10, reserve: 0 };

pub(super) struct Random(pub(super) u64);

impl Random {
    /// A number below `bound` (xorshift).
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }
}

pub(super) fn open(disk: &Disk) -> Result<DataFiles, Broken> {
    DataFiles::with_sizes(disk.folder(), TINY)
}

/// What was written, and the state after each group.
pub(super) struct Model {
    pub(super) keys: Keys,
    states: BTreeMap<u64, Keys>,
    pub(super) acknowledged: u64,
}

impl Model {
    pub(super) fn new() -> Self {
        Self { keys: Keys::new(), states: BTreeMap::from([(0, Keys::new())]), acknowledged: 0 }
    }

    /// A directory on `disk` with enough acknowledged groups for a compaction.
    pub(super) fn filled(disk: &Disk, random: &mut Random) -> (Self, DataFiles) {
        let (mut model, mut data_files) = (Self::new(), open(disk).expect("opens"));
        model.fill(&mut data_files, random);
        (model, data_files)
    }

    /// Writes `count` groups and forces them to disk.
    pub(super) fn fill(&mut self, data_files: &mut DataFiles, random: &mut Random) {
        for _ in 0..12 {
            self.step(data_files, random, false).expect("written");
        }
        data_files.sync().expect("synced");
        self.acknowledged = data_files.last_group();
    }

    /// A group of some changes, written and forced to disk; compactions complete in between.
    pub(super) fn step(
        &mut self,
        data_files: &mut DataFiles,
        random: &mut Random,
        pauses: bool,
    ) -> Result<(), StorageError> {
        let mut group = Group::default();
        for _ in 0..=random.below(4) {
            let key = format!("key:{}", random.below(20)).into_bytes();
            match random.below(12) {
                0..8 => {
                    let size = if random.below(8) == 0 { 10_000 } else { random.below(600) };
                    let letter = b'a' + u8::try_from(random.below(26)).expect("small");
                    let data = vec![letter; usize::try_from(size).expect("small")];
                    group.push(&Change::Put { key: &key, kind: 0, expires: NO_EXPIRY, data: &data });
                    self.keys.insert(key, data);
                }
                8..11 => {
                    group.push(&Change::Remove { key: &key });
                    self.keys.remove(&key);
                }
                _ if random.below(10) == 0 => {
                    group.push(&Change::Clear);
                    self.keys.clear();
                }
                _ => {}
            }
        }
        let last = data_files.last_group() + 1 + random.below(3);
        self.states.insert(last, self.keys.clone());
        data_files.write(&group, last, self.keys.len() as u64)?;
        if random.below(4) > 0 {
            data_files.sync()?;
            self.acknowledged = last;
        }
        if pauses {
            compact(data_files);
        }
        Ok(())
    }

    /// Opens what the crash has left, and compares.
    pub(super) fn reopen(&mut self, disk: &Disk, seed: u64) -> DataFiles {
        let data_files = match open(disk) {
            Ok(data_files) => data_files,
            Err(broken) => panic!("seed {seed}: {broken}"),
        };
        let last = data_files.last_group();
        assert!(last >= self.acknowledged, "seed {seed}: {last} of {}", self.acknowledged);
        self.keys = self.states.get(&last).unwrap_or_else(|| panic!("seed {seed}: half a group")).clone();
        assert!(contents(&data_files) == self.keys, "seed {seed}: group {last}");
        assert_eq!(data_files.expected_keys(), self.keys.len() as u64);
        self.states.retain(|group, _| *group <= last);
        // What was read is on disk now.
        self.acknowledged = last;
        data_files
    }
}

/// Runs a compaction until it ends or the machine stops.
pub(super) fn compact(data_files: &mut DataFiles) -> Compactions {
    let (sender, woken) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let notify: Arc<dyn Fn() + Send + std::marker::Sync> =
        Arc::new(move || sender.lock().expect("sender").send(()).expect("awaited"));
    data_files.compact_if_due(&notify);
    while data_files.compactions().running {
        woken.recv_timeout(std::time::Duration::from_mins(1)).expect("it ends");
        data_files.go_on(&notify);
    }
    data_files.compactions().clone()
}

#[test]
fn no_synced_write_is_lost_whenever_the_machine_stops() {
    let mut compactions = 0;
    for seed in 1..=150 {
        let mut random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let (disk, mut model) = (Disk::default(), Model::new());
        for _ in 0..6 {
            // The machine may also stop during opening.
            let stops_after = Some(usize::try_from(random.below(120)).expect("small"));
            disk.set_faults(DiskFaults { stops_after, ..DiskFaults::default() });
            if let Ok(mut data_files) = open(&disk) {
                while model.step(&mut data_files, &mut random, true).is_ok() && !disk.has_stopped() {}
                compactions += data_files.compactions().done;
            }
            disk.crash_torn(&mut |bound| random.below(bound));
            drop(model.reopen(&disk, seed));
            if random.below(2) == 0 {
                disk.crash_torn(&mut |bound| random.below(bound));
                drop(model.reopen(&disk, seed));
            }
        }
    }
    assert!(compactions > 100, "{compactions} compactions");
}

/// The machine stops after each call of a compaction, with several fates of unsynced writes.
#[test]
fn a_crash_at_any_step_of_a_compaction_keeps_all_keys() {
    let mut random = Random(77);
    let (disk, mut model) = (Disk::default(), Model::new());
    let mut data_files = open(&disk).expect("opens");
    for round in 0..2 {
        // The second time, a snapshot exists already.
        model.fill(&mut data_files, &mut random);
        let files = disk.files();
        let mut steps = 0;
        loop {
            let copy = Disk::with_files(&files);
            let mut data_files = open(&copy).expect("opens");
            copy.set_faults(DiskFaults { stops_after: Some(steps), ..DiskFaults::default() });
            let compactions = compact(&mut data_files);
            drop(data_files);
            if !copy.has_stopped() {
                assert_eq!((compactions.done, compactions.failed), (1, 0), "{compactions:?}");
                break;
            }
            assert_eq!((compactions.done, compactions.failed), (0, 1), "{compactions:?}");
            copy.crash_torn(&mut |bound| random.below(bound));
            let acknowledged = model.acknowledged;
            drop(model.reopen(&copy, steps as u64));
            assert_eq!(acknowledged, model.acknowledged, "step {steps}");
            steps += 1;
        }
        assert!(steps > 8, "round {round}: {steps} steps");
        compact(&mut data_files);
    }
}

#[test]
fn a_full_disk_stops_a_compaction_and_nothing_else() {
    let mut random = Random(5);
    let (disk, mut model) = (Disk::default(), Model::new());
    let mut data_files = open(&disk).expect("opens");
    for _ in 0..12 {
        model.step(&mut data_files, &mut random, false).expect("written");
    }
    disk.set_faults(DiskFaults { room: Some(1), ..DiskFaults::default() });
    let compactions = compact(&mut data_files);
    assert_eq!((compactions.done, compactions.failed), (0, 1));
    assert!(compactions.failure.is_some());
    assert_eq!(compact(&mut data_files).failed, 1, "not at once again");
    disk.set_faults(DiskFaults::default());
    while compact(&mut data_files).done == 0 {
        model.step(&mut data_files, &mut random, false).expect("written");
    }
    assert_eq!(data_files.compactions().failure, None);
    drop(data_files);
    disk.crash(usize::MAX);
    model.reopen(&disk, 5);
}

#[test]
fn a_compaction_that_would_leave_no_space_for_the_journal_is_not_started() {
    let mut random = Random(6);
    let (disk, mut model) = (Disk::default(), Model::new());
    let mut data_files = open(&disk).expect("opens");
    for _ in 0..12 {
        model.step(&mut data_files, &mut random, false).expect("written");
    }
    disk.set_faults(DiskFaults { free: Some(3 << 10), ..DiskFaults::default() });
    let compactions = compact(&mut data_files);
    assert_eq!((compactions.done, compactions.failed), (0, 1));
    assert!(compactions.failure.is_some_and(|failure| failure.contains("the disk has 3072")));
}

/// Any bit of any file: it is refused, when opened or when read, or all keys are there.
#[test]
fn a_flipped_bit_is_refused_or_harmless() {
    let mut random = Random(9);
    let (disk, mut model) = (Disk::default(), Model::new());
    let mut data_files = open(&disk).expect("opens");
    for step in 0..26 {
        model.step(&mut data_files, &mut random, step == 12).expect("written");
    }
    data_files.sync().expect("synced");
    drop(data_files);
    let files = disk.files();
    assert!(files.keys().any(|name| name.starts_with("snapshot")) && files.len() > 5, "{:?}", files.keys());
    let mut refused = 0;
    for (name, bytes) in &files {
        for position in (0..bytes.len().min(200)).chain((200..bytes.len()).step_by(61)) {
            let mut files = files.clone();
            files.get_mut(name).expect("a file")[position] ^= 1 << (position % 8);
            let disk = Disk::with_files(&files);
            let Ok(data_files) = open(&disk) else {
                assert_eq!(without_mark(&disk.files()), without_mark(&files), "{name}: something was changed");
                refused += 1;
                continue;
            };
            let mut found = Keys::new();
            let loaded = data_files.load(&mut |record| drop(found.insert(record.key.to_vec(), record.data.to_vec())));
            let Ok(loaded) = loaded else {
                refused += 1;
                continue;
            };
            assert!(loaded.keys == data_files.expected_keys() && found == model.keys, "{name}, byte {position}");
        }
    }
    assert!(refused > 500, "{refused}");
}

fn without_mark(files: &BTreeMap<String, Vec<u8>>) -> Vec<(&String, &Vec<u8>)> {
    files.iter().filter(|(name, _)| *name != "mark").collect()
}

/// The manifest may be behind after a crash of the machine. A later record then shows what is missing.
#[test]
fn a_later_record_distinguishes_damage_from_an_incomplete_end() {
    let disk = Disk::default();
    let mut data_files = DataFiles::new(disk.folder()).expect("opens");
    let mark = disk.files().remove("mark").expect("the side file");
    let mut ends = vec![disk.files()["journal-00000001"].len()];
    for number in 1..=4u64 {
        let mut group = Group::default();
        group.push(&Change::Put { key: &number.to_be_bytes(), kind: 0, expires: NO_EXPIRY, data: &[7; 9000] });
        data_files.write(&group, number, number).expect("written");
        data_files.sync().expect("synced");
        ends.push(disk.files()["journal-00000001"].len());
    }
    drop(data_files);
    let mut files = disk.files();
    files.insert("mark".into(), mark);
    for (record, positions) in ends.windows(2).enumerate() {
        for position in [positions[0], positions[0] + 5, positions[0] + 70, positions[1] - 1] {
            let mut files = files.clone();
            files.get_mut("journal-00000001").expect("a journal")[position] ^= 1;
            match (record, DataFiles::new(Disk::with_files(&files).folder())) {
                // The last record might as well never have been completed.
                (3, Ok(data_files)) => assert_eq!((data_files.last_group(), data_files.was_torn()), (3, true)),
                (0..3, Err(Broken::Lost { found, recorded: 3, .. })) => assert_eq!(found, record as u64 + 1),
                (_, other) => {
                    panic!("record {record}, byte {position}: {:?}", other.map(|data_files| data_files.last_group()))
                }
            }
        }
    }
}

#[test]
fn a_bounded_index_in_parts_gives_the_same_result() {
    let disk = Disk::default();
    let mut data_files = DataFiles::with_sizes(disk.folder(), FileSizes { index: 100, ..TINY }).expect("opens");
    let mut keys = Keys::new();
    let mut number = 0;
    while data_files.compactions().done < 2 {
        let mut group = Group::default();
        for _ in 0..40 {
            let key = (number % 3001_u32).to_be_bytes();
            group.push(&Change::Put { key: &key, kind: 0, expires: NO_EXPIRY, data: &number.to_le_bytes() });
            keys.insert(key.to_vec(), number.to_le_bytes().to_vec());
            number += 7;
        }
        data_files.write(&group, data_files.last_group() + 1, keys.len() as u64).expect("written");
        compact(&mut data_files);
        assert_eq!(data_files.compactions().failed, 0, "{:?}", data_files.compactions());
    }
    assert!(contents(&data_files) == keys);
    let undo = data_files.undo(&super::group(&[("none", Some("x"))])).expect("readable");
    assert_eq!(super::records(undo), [(b"none".to_vec(), None)]);
}

/// The state on disk after `trouble`, a new start, one more group and a stop of the machine.
fn after_a_new_start(trouble: impl FnOnce(&Disk, &mut DataFiles)) -> Keys {
    let disk = Disk::default();
    let open = |disk: &Disk| DataFiles::with_sizes(disk.folder(), FileSizes { ahead: 0, ..TINY });
    let mut data_files = open(&disk).expect("opens");
    data_files.write(&super::group(&[("a", Some("1"))]), 1, 1).expect("written");
    data_files.sync().expect("synced");
    data_files.write(&super::group(&[("b", Some("2"))]), 2, 2).expect("written");
    trouble(&disk, &mut data_files);
    disk.set_faults(DiskFaults::default());
    drop(data_files);
    let mut data_files = open(&disk).expect("opens");
    assert_eq!(data_files.last_group(), 2);
    data_files.write(&super::group(&[("d", Some("4"))]), 3, 3).expect("written");
    data_files.sync().expect("synced");
    drop(data_files);
    disk.crash(0);
    contents(&open(&disk).expect("nothing acknowledged is missing"))
}

#[test]
fn records_before_a_torn_one_are_forced_to_disk_at_the_next_start() {
    let keys = after_a_new_start(|disk, data_files| {
        disk.set_faults(DiskFaults { room: Some(0), ..DiskFaults::default() });
        assert!(data_files.write(&super::group(&[("c", Some("3"))]), 3, 3).is_err());
    });
    assert_eq!(keys.len(), 3);
}

#[test]
fn pages_cached_after_a_failed_sync_are_written_again_at_the_next_start() {
    let keys = after_a_new_start(|disk, data_files| {
        disk.set_faults(DiskFaults { syncs: Some(0), ..DiskFaults::default() });
        assert!(data_files.sync().is_err());
        assert_eq!(disk.unsynced(), 0, "the system takes it for written");
    });
    assert_eq!(keys.len(), 3);
}

/// Writes `count` more groups, and forces each to disk.
fn go_on(data_files: &mut DataFiles, count: u64) -> Result<(), StorageError> {
    for number in data_files.last_group() + 1..=data_files.last_group() + count {
        let key = number.to_string();
        data_files.write(&super::group(&[(&key, Some("value"))]), number, number)?;
        data_files.sync()?;
    }
    Ok(())
}

#[test]
fn a_journal_is_filled_ahead_and_continued_after_a_stop() {
    let disk = Disk::default();
    let open = |disk: &Disk| {
        DataFiles::with_sizes(disk.folder(), FileSizes { ahead: 4096, reserve: 0, ..FileSizes::default() })
            .expect("opens")
    };
    let lengths = |disk: &Disk| disk.files().iter().filter(|file| file.0 != "mark").map(|file| file.1.len()).collect();
    let mut data_files = open(&disk);
    go_on(&mut data_files, 1).expect("written");
    let filled: Vec<usize> = lengths(&disk);
    assert!(filled.len() == 1 && filled[0] > 4096, "{filled:?}");
    go_on(&mut data_files, 20).expect("written");
    disk.crash(0);
    let mut data_files = open(&disk);
    assert_eq!((data_files.last_group(), data_files.was_torn()), (21, false));
    go_on(&mut data_files, 20).expect("written");
    assert_eq!(lengths(&disk), filled, "it has become longer");
    go_on(&mut data_files, 20).expect("written");
    assert!(lengths(&disk) > filled);
    disk.crash(0);
    assert_eq!(contents(&open(&disk)).len(), 61);
    // A record that is large in comparison is written as it is.
    let mut data_files = open(&disk);
    let before: Vec<usize> = lengths(&disk);
    let large = "x".repeat(5_000);
    data_files.write(&super::group(&[("large", Some(&large))]), 62, 62).expect("written");
    assert!(lengths(&disk)[0] < before[0] + 5_200);
}

#[test]
fn records_are_written_when_there_is_no_space_to_fill_the_journal_ahead() {
    let disk = Disk::default();
    let sizes = FileSizes { ahead: 4096, reserve: 0, ..FileSizes::default() };
    let mut data_files = DataFiles::with_sizes(disk.folder(), sizes).expect("opens");
    disk.set_faults(DiskFaults { room: Some(0), ..DiskFaults::default() });
    // Half of the zeros had space.
    go_on(&mut data_files, 18).expect("written");
    let failure = go_on(&mut data_files, 10).expect_err("there is no room for this");
    assert!(matches!(failure, StorageError::Full(_)), "{failure:?}");
    let kept = data_files.last_group();
    assert!((18..28).contains(&kept), "{kept}");
    disk.crash(0);
    let mut data_files = DataFiles::with_sizes(disk.folder(), sizes).expect("opens");
    assert_eq!((contents(&data_files).len() as u64, data_files.last_group()), (kept, kept));
    go_on(&mut data_files, 10).expect("there is room again");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// No file content makes reading panic or allocate more memory than the file's length.
    #[test]
    fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..600), head in any::<bool>(), salt in any::<u64>()) {
        let mut file = Vec::new();
        if head {
            let head = FileHead { is_snapshot: salt % 2 == 0, number: 1, group: 0, keys: 0, salt, previous: 0 };
            file.extend_from_slice(&head.encode().0);
        }
        file.extend_from_slice(&bytes);
        let name = if salt % 2 == 0 { "snapshot-00000001" } else { "journal-00000001" };
        let disk = Disk::with_files(&BTreeMap::from([(name.to_owned(), file.clone()), ("mark".to_owned(), bytes.clone())]));
        let folder = disk.folder();
        let handle = folder.open(name).expect("there");
        if let Some((_, mut reader)) = Reader::open(&*handle).expect("readable") {
            prop_assert!(head);
            prop_assert!(reader.read().expect("readable").is_none());
            reader.rest().expect("readable");
        }
        prop_assert!(find(&bytes, salt).is_none());
        prop_assert!(DataFiles::new(folder).is_err());
    }
}
