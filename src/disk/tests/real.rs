//! Real directories, and what can happen to their files.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::record::Reader;
use super::{Keys, contents, group};
use crate::disk::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn open(path: &Path) -> Opened {
    Directory::open(path).expect("opens")
}

/// What a killed process leaves behind.
fn killed_copy(path: &Path) -> tempfile::TempDir {
    let copy = folder();
    copy_tree(path, copy.path());
    copy
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

fn journals(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut journals: Vec<_> = entries.filter(|path| path.display().to_string().contains("/journal-")).collect();
    journals.sort();
    journals
}

/// Writes `count` groups of one key each, with values of `size` bytes.
fn fill(opened: &mut Opened, first: u64, count: u64, size: usize) -> Keys {
    let mut keys = Keys::new();
    for number in first..first + count {
        let (key, data) = (number.to_be_bytes().to_vec(), vec![u8::try_from(number % 251).expect("small") + 1; size]);
        let mut group = Group::default();
        group.push(&Change::Put { key: &key, kind: 0, expires: NO_EXPIRY, data: &data });
        opened.write(&group, number).expect("written");
        keys.insert(key, data);
    }
    keys
}

#[test]
fn all_keys_are_there_after_a_close_and_after_a_kill() {
    let folder = folder();
    let mut opened = open(folder.path());
    assert!(opened.is_new() && opened.was_clean());
    let keys = fill(&mut opened, 1, 50, 100);
    let killed = killed_copy(folder.path());
    opened.close().expect("closed");
    for (path, clean) in [(folder.path(), true), (killed.path(), false)] {
        let opened = open(path);
        assert_eq!((opened.was_clean(), opened.was_torn(), contents(&opened.data_files) == keys), (clean, false, true));
        opened.load(&mut |_| {}).expect("complete");
        opened.close().expect("closed");
        let opened = open(path);
        assert!(opened.was_clean());
        opened.close().expect("closed");
        assert_eq!(journals(path).len(), 1, "the journal is written on");
    }
}

#[test]
fn the_empty_key_and_a_long_one_are_kept() {
    const LONG: usize = 1 << 20;
    let folder = folder();
    let mut opened = open(folder.path());
    let longest = vec![b'k'; LONG];
    let mut group = Group::default();
    for key in [&b""[..], &longest] {
        group.push(&Change::Put { key, kind: 7, expires: 5, data: b"" });
    }
    opened.write(&group, 2).expect("written");
    let killed = killed_copy(folder.path());
    let mut seen = Vec::new();
    open(killed.path()).load(&mut |record| seen.push((record.key.len(), record.kind, record.expires))).expect("read");
    assert_eq!(seen, [(0, 7, 5), (LONG, 7, 5)]);
}

#[test]
fn a_directory_of_another_format_is_refused_unchanged() {
    let folder = folder();
    fs::create_dir_all(folder.path().join("journal/keyspaces")).expect("a folder");
    let Err(error) = Directory::open(folder.path()) else { panic!("it was opened") };
    assert!(error.to_string().contains("a format that this version does not read"), "{error}");
    assert!(!folder.path().join("mark").exists());
}

#[test]
fn a_second_process_is_refused() {
    let folder = folder();
    let opened = open(folder.path());
    assert!(matches!(Directory::open(folder.path()), Err(OpenError::InUse(_))));
    drop(opened);
    open(folder.path());
}

/// Pages of the last, unacknowledged batch did not reach the disk.
#[test]
fn a_torn_end_loses_no_acknowledged_group() {
    const PAGE: u64 = 4096;
    let folder = folder();
    let mut opened = open(folder.path());
    let keys = fill(&mut opened, 1, 20, 16 << 10);
    let end = end_of_records(folder.path());
    let mut last = Group::default();
    for key in [b"x", b"y"] {
        last.push(&Change::Put { key, kind: 0, expires: NO_EXPIRY, data: &[b'v'; 16 << 10] });
    }
    // Written, but neither synced nor acknowledged.
    opened.data_files.write(&last, 21, 22).expect("written");
    let length = end_of_records(folder.path());
    assert!(length > end + 7 * PAGE);
    let first = end.next_multiple_of(PAGE);
    let pages = (first..length).step_by(4096).flat_map(|page| [(page, true), (page, false)]);
    let odd = [1, 3, 4, 11, 59, 67, 68, 69, 77, 4099, 30_000].map(|odd| (end + odd, false));
    for (page, is_hole) in pages.chain(odd).chain([(length - 1, false), (length - 1, true)]) {
        let copy = killed_copy(folder.path());
        let journal = fs::OpenOptions::new().write(true).open(&journals(copy.path())[0]).expect("a journal");
        if is_hole {
            let size = usize::try_from(PAGE.min(length - page)).expect("small");
            journal.write_all_at(&vec![0; size], page).expect("zeroed");
        } else {
            journal.set_len(page).expect("cut");
        }
        let mut opened = open(copy.path());
        let loaded = opened.load(&mut |_| {}).expect("complete");
        assert_eq!((loaded.keys, opened.was_torn()), (20, true), "page at {page}, hole: {is_hole}");
        assert!(contents(&opened.data_files) == keys);
        fill(&mut opened, 21, 3, 10);
        drop(opened);
        let opened = open(copy.path());
        assert_eq!((opened.expected_keys(), opened.was_torn()), (23, false), "writes go on behind it");
        assert_eq!(opened.load(&mut |_| {}).expect("complete").keys, 23);
    }
}

/// The end of the records of the newest journal; zeros follow.
fn end_of_records(path: &Path) -> u64 {
    let journal = fs::File::open(journals(path).last().expect("a journal")).expect("opened");
    let (_, mut reader) = Reader::open(&journal).expect("readable").expect("a journal");
    while reader.read().expect("readable").is_some() {}
    reader.position()
}

#[test]
fn a_directory_that_lost_acknowledged_groups_is_refused_unchanged() {
    let folder = folder();
    let mut opened = open(folder.path());
    fill(&mut opened, 1, 10, 5000);
    let middle = end_of_records(folder.path());
    fill(&mut opened, 11, 10, 5000);
    let end = end_of_records(folder.path());
    for position in [64, middle - 3000, middle + 2, end - 1] {
        let copy = killed_copy(folder.path());
        let path = &journals(copy.path())[0];
        damage(path, position);
        let before = fs::read(path).expect("readable");
        let Err(error) = Directory::open(copy.path()) else { panic!("damage at {position} was not noticed") };
        let sentence = error.to_string();
        assert!(matches!(error, OpenError::Lost { recorded: 20, .. }), "{sentence}");
        assert!(sentence.contains("has lost acknowledged writes: groups ") && sentence.contains("to 20"), "{sentence}");
        assert!(fs::read(path).expect("readable") == before, "left as it was");
    }
    let copy = killed_copy(folder.path());
    fs::remove_file(&journals(copy.path())[0]).expect("removed");
    assert!(matches!(Directory::open(copy.path()), Err(OpenError::Lost { found: 1, recorded: 20, .. })));
    let copy = killed_copy(folder.path());
    damage(&journals(copy.path())[0], 3);
    assert!(matches!(Directory::open(copy.path()), Err(OpenError::Damaged { .. })));
    let copy = killed_copy(folder.path());
    fs::remove_file(copy.path().join("mark")).expect("removed");
    assert!(matches!(Directory::open(copy.path()), Err(OpenError::Damaged { .. })));
}

/// The keys that a salvage writes, and the fault it reports.
fn salvaged(path: &Path) -> (Keys, Option<Broken>) {
    let mut dump = Vec::new();
    let (count, outcome) = Directory::salvage(path, &mut dump).expect("readable");
    let target = folder();
    assert_eq!(restore(dump.as_slice(), target.path()).expect("a dump"), count);
    (contents(&open(target.path()).data_files), outcome.err())
}

fn damage(path: &Path, position: u64) {
    let journal = fs::OpenOptions::new().write(true).open(path).expect("a journal");
    journal.write_all_at(&[0xff], position).expect("damaged");
}

#[test]
fn the_state_before_the_damage_is_salvaged() {
    let folder = folder();
    let mut opened = Directory::open_with(folder.path(), SMALL).expect("opens");
    let keys = fill(&mut opened, 1, 40, 5000);
    let until =
        |last: u64| keys.range(..=last.to_be_bytes().to_vec()).map(|(key, data)| (key.clone(), data.clone())).collect();
    let count = journals(folder.path()).len();
    assert!(count >= 3, "{count}");
    for (journal, position) in [(0, 30_000), (1, 30_000), (1, 64), (count - 1, 70)] {
        let copy = killed_copy(folder.path());
        damage(&journals(copy.path())[journal], position);
        assert!(Directory::open(copy.path()).is_err());
        let (found, broken) = salvaged(copy.path());
        let Some(Broken::Lost { found: first, .. }) = broken else { panic!("{broken:?}") };
        assert_eq!(found, until(first - 1), "journal {journal}, byte {position}");
    }
    let copy = killed_copy(folder.path());
    damage(&journals(copy.path())[0], 64);
    let nothing = Directory::salvage(copy.path(), std::io::sink());
    assert!(nothing.is_err_and(|error| error.to_string().contains("there is no key before that")));
    let copy = killed_copy(folder.path());
    fs::remove_file(&journals(copy.path())[1]).expect("removed");
    let (found, broken) = salvaged(copy.path());
    let Some(Broken::Lost { found: first, .. }) = broken else { panic!("{broken:?}") };
    assert!(first > 5 && found == until(first - 1));
    let copy = killed_copy(folder.path());
    fs::remove_file(copy.path().join("mark")).expect("removed");
    let (found, broken) = salvaged(copy.path());
    assert!(found == keys && matches!(broken, Some(Broken::Damaged(_))), "{broken:?}");
    let (found, broken) = salvaged(killed_copy(folder.path()).path());
    assert!(found == keys && broken.is_none(), "{broken:?}");
}

const SMALL: FileSizes = FileSizes { journal: 64 << 10, sealed: 128 << 10, index: 50, ahead: 4 << 10, reserve: 0 };

/// Waits until no compaction is running.
fn finish_compaction(data_files: &mut DataFiles) {
    let (sender, woken) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let notify: std::sync::Arc<dyn Fn() + Send + std::marker::Sync> =
        std::sync::Arc::new(move || sender.lock().expect("sender").send(()).expect("awaited"));
    data_files.compact_if_due(&notify);
    while data_files.compactions().running {
        woken.recv_timeout(std::time::Duration::from_mins(1)).expect("it ends");
        data_files.go_on(&notify);
    }
}

#[test]
fn journals_are_compacted_into_a_snapshot_and_removed() {
    let folder = folder();
    let mut opened = Directory::open_with(folder.path(), SMALL).expect("opens");
    let mut keys = Keys::new();
    for round in 0..20_u64 {
        // Half of the keys are new each time.
        for number in round * 20 + 1..=round * 20 + 40 {
            let (key, data) = (number.to_be_bytes(), vec![1 + u8::try_from(round).expect("small"); 1000]);
            keys.insert(key.to_vec(), data.clone());
            let mut group = Group::default();
            group.push(&Change::Put { key: &key, kind: 0, expires: NO_EXPIRY, data: &data });
            opened.write(&group, keys.len() as u64).expect("written");
        }
        finish_compaction(&mut opened.data_files);
    }
    let compactions = opened.data_files.compactions().clone();
    assert!(compactions.done > 2 && compactions.failed == 0, "{compactions:?}");
    assert!(journals(folder.path()).len() < 15, "{:?}", journals(folder.path()));
    assert!(contents(&opened.data_files) == keys);
    let killed = killed_copy(folder.path());
    drop(opened);
    let opened = open(killed.path());
    assert!(contents(&opened.data_files) == keys);
    // A snapshot is as safe as a journal.
    drop(opened);
    let snapshot = fs::read_dir(killed.path()).expect("a folder").map(|entry| entry.expect("an entry").path());
    let snapshot: Vec<_> = snapshot.filter(|path| path.display().to_string().contains("/snapshot-")).collect();
    assert_eq!(snapshot.len(), 1);
    let whole = fs::read(&snapshot[0]).expect("readable");
    for position in [0, 20, 63, 64, 5000, whole.len() / 2, whole.len() - 69, whole.len() - 68, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[position] ^= 4;
        fs::write(&snapshot[0], damaged).expect("written");
        let refused = Directory::open(killed.path()).and_then(|opened| opened.load(&mut |_| {}).map(drop));
        assert!(matches!(refused, Err(OpenError::Damaged { .. })), "byte {position}: {refused:?}");
    }
    fs::remove_file(&snapshot[0]).expect("removed");
    assert!(matches!(Directory::open(killed.path()), Err(OpenError::Lost { found: 1, .. })));
}

#[test]
fn a_dump_is_restored_and_a_damaged_one_is_refused() {
    let (from, to) = (folder(), folder());
    let mut opened = open(from.path());
    opened.write(&group(&[("", Some("")), ("a", Some("1"))]), 2).expect("written");
    let large = vec![3; 700_000];
    let mut typed = Group::default();
    typed.push(&Change::Put { key: b"large", kind: 9, expires: 77, data: &large });
    opened.write(&typed, 3).expect("written");
    let mut dump = Vec::new();
    assert!(matches!(Directory::dump(from.path(), &mut dump), Err(OpenError::InUse(_))));
    drop(opened);
    assert_eq!(Directory::dump(from.path(), &mut dump).expect("dumped"), 3);
    assert_eq!(restore(&*dump, &to.path().join("new")).expect("restored"), 3);
    let mut seen = Vec::new();
    let restored = open(&to.path().join("new"));
    restored.load(&mut |r| seen.push((r.key.to_vec(), r.kind, r.expires, r.data.len()))).expect("read");
    let expected = [(vec![], 0, NO_EXPIRY, 0), (b"a".to_vec(), 0, NO_EXPIRY, 1), (b"large".to_vec(), 9, 77, 700_000)];
    assert_eq!(seen, expected);
    drop(restored);
    assert!(is_refused(&dump, &to.path().join("new")), "it is not empty");
    let (cut, empty) = (to.path().join("deep/er/cut"), folder());
    fs::create_dir(empty.path().join("lost+found")).expect("made");
    let refused = |dump: &[u8]| {
        for path in [&*cut, empty.path()] {
            assert!(restore(dump, path).is_err());
        }
        assert!(
            !to.path().join("deep").exists() && fs::read_dir(empty.path()).expect("a folder").count() == 1,
            "something is left"
        );
    };
    for length in [0, 10, 17, 100, dump.len() - 1] {
        refused(&dump[..length]);
    }
    for position in (0..dump.len()).step_by(dump.len() / 50).chain(dump.len() - 20..dump.len()) {
        let mut damaged = dump.clone();
        damaged[position] ^= 1;
        refused(&damaged);
    }
    // Bytes follow it.
    refused(&[&dump[..], b"x"].concat());
}

fn is_refused(dump: &[u8], path: &Path) -> bool {
    let Err(RestoreError { why, left: Left::Untouched }) = restore(dump, path) else { return false };
    matches!(why, DumpError::Directory(OpenError::NotEmpty { .. } | OpenError::InUse(_)))
}

/// A dump of `keys` keys, each of 1000 bytes.
fn dump_of(keys: u64) -> Vec<u8> {
    let mut writer = DumpWriter::new(Vec::new()).expect("begun");
    for number in 0..keys {
        let record = Record { key: &number.to_be_bytes(), kind: 0, expires: NO_EXPIRY, data: &[7; 1000] };
        writer.add(&record).expect("added");
    }
    writer.finish().expect("ended").0
}

/// The directory may be a mount point, the working directory, or a link to one: it is filled itself, and nothing is
/// created beside it.
#[test]
fn a_restore_fills_the_directory_itself() {
    use std::os::unix::fs::{MetadataExt, symlink};
    let folder = folder();
    let (path, link) = (folder.path().join("data"), folder.path().join("link"));
    fs::create_dir(&path).expect("made");
    fs::create_dir(path.join("lost+found")).expect("made");
    symlink("data", &link).expect("made");
    let inode = fs::metadata(&path).expect("there").ino();
    assert_eq!(restore(&*dump_of(5), &link).expect("restored"), 5);
    assert_eq!(fs::metadata(&path).expect("there").ino(), inode);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 2);
    assert!(path.join("lost+found").exists() && !path.join("restore.unfinished").exists());
    assert_eq!(open(&path).load(&mut |_| {}).expect("whole").keys, 5);
}

#[test]
fn a_restore_does_not_write_through_links() {
    let (folder, elsewhere) = (folder(), folder());
    let other = elsewhere.path().join("other");
    fs::write(&other, "mine").expect("written");
    for name in ["lock", "restore.unfinished", "mark"] {
        let link = folder.path().join(name);
        std::os::unix::fs::symlink(&other, &link).expect("made");
        let refused = restore(&*dump_of(5), folder.path());
        assert!(
            refused.is_err_and(|error| matches!(error.why, DumpError::Directory(OpenError::NotEmpty { .. }))),
            "{name}"
        );
        assert_eq!(fs::read(&other).expect("there"), b"mine");
        fs::remove_file(&link).expect("removed");
    }
}

/// What a killed restore has left, without the last byte of the dump.
#[test]
fn a_half_restored_directory_is_refused_until_a_restore_completes_it() {
    struct Killed<'a>(&'a [u8], &'a Path, tempfile::TempDir);
    impl std::io::Read for Killed<'_> {
        fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
            let Self(rest, path, copy) = self;
            if rest.is_empty() {
                copy_tree(path, copy.path());
            }
            rest.read(bytes)
        }
    }
    let (folder, dump) = (folder(), dump_of(20_000));
    let path = folder.path().join("data");
    let mut killed = Killed(&dump[..dump.len() - 1], &path, killed_copy(folder.path()));
    let Err(error) = restore(&mut killed, &path) else { panic!("it is cut short") };
    assert!(matches!(error, RestoreError { why: DumpError::Damaged(20_000), left: Left::Cleared }), "{error}");
    assert!(!path.exists(), "it was not there");
    let path = killed.2.path();
    assert!(journals(path).len() == 1 && path.join("restore.unfinished").exists());
    let before = files(path);
    assert!(matches!(Directory::open(path), Err(OpenError::HalfRestored { .. })));
    assert!(matches!(Directory::dump(path, Vec::new()), Err(OpenError::HalfRestored { .. })));
    assert_eq!(files(path), before);
    // A file that is not the restore's is not removed, and neither are the others then.
    fs::write(path.join("notes"), "mine").expect("written");
    assert!(is_refused(&dump, path));
    assert_eq!(journals(path).len(), 1);
    fs::remove_file(path.join("notes")).expect("removed");
    let file = fs::File::open(path.join("lock")).expect("a file");
    file.try_lock().expect("free");
    assert!(is_refused(&dump, path), "another restore is at work");
    drop(file);
    assert_eq!(restore(&*dump_of(3), path).expect("restored"), 3);
    assert_eq!(open(path).load(&mut |_| {}).expect("whole").keys, 3);
}

fn files(path: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.map(|path| (path.clone(), fs::read(&path).expect("a file"))).collect()
}

/// The lock file may be removed, by hand or by a cleaner of old files, while a server runs.
#[test]
fn a_directory_stays_locked_without_its_lock_file() {
    let folder = folder();
    let mut opened = open(folder.path());
    fill(&mut opened, 1, 3, 10);
    fs::remove_file(folder.path().join("lock")).expect("removed");
    assert!(matches!(Directory::open(folder.path()), Err(OpenError::InUse(_))));
    assert!(!folder.path().join("lock").exists(), "nothing is created in another process's directory");
    assert!(matches!(Directory::dump(folder.path(), Vec::new()), Err(OpenError::InUse(_))));
    drop(opened);
    // The file alone excludes others too: older processes do not know the other lock.
    let opened = open(folder.path());
    drop(opened);
    let file = fs::File::open(folder.path().join("lock")).expect("a file");
    file.try_lock().expect("free");
    assert!(matches!(Directory::open(folder.path()), Err(OpenError::InUse(_))));
    assert!(matches!(Directory::dump(folder.path(), Vec::new()), Err(OpenError::InUse(_))));
    drop(file);
    assert_eq!(open(folder.path()).load(&mut |_| {}).expect("complete").keys, 3);
}

/// A full disk leaves an incomplete write, and accepts no other.
#[test]
fn a_dump_after_a_kill_changes_nothing() {
    let folder = folder();
    let mut opened = open(folder.path());
    fill(&mut opened, 1, 3, 10);
    drop(opened);
    let journal = journals(folder.path()).pop().expect("a journal");
    fs::OpenOptions::new().append(true).open(&journal).and_then(|mut file| file.write_all(b"torn")).expect("written");
    // As in a copy of the data files alone.
    fs::remove_file(folder.path().join("lock")).expect("removed");
    let before = files(folder.path());
    let mut dump = Vec::new();
    assert_eq!(Directory::dump(folder.path(), &mut dump).expect("dumped"), 3);
    assert_eq!(files(folder.path()), before);
    let mut keys = 0;
    let read = DumpReader::new(dump.as_slice()).and_then(|dump| {
        dump.read(&mut |_| {
            keys += 1;
            Ok(())
        })
    });
    assert_eq!((read.expect("whole"), keys), (3, 3));
    // A dump is refused too if acknowledged groups are missing.
    fs::OpenOptions::new().write(true).open(&journal).and_then(|file| file.set_len(100)).expect("cut");
    assert!(matches!(Directory::dump(folder.path(), &mut dump), Err(OpenError::Lost { .. })));
}

#[test]
fn a_folder_with_other_files_does_not_become_a_data_directory() {
    let folder = folder();
    fs::create_dir(folder.path().join("lost+found")).expect("made");
    drop(open(folder.path()));
    for name in ["mark", "journal-00000001"] {
        fs::remove_file(folder.path().join(name)).expect("removed");
    }
    fs::write(folder.path().join("ca.pem"), "mine").expect("written");
    fs::remove_dir(folder.path().join("lost+found")).expect("removed");
    let before = files(folder.path());
    assert!(matches!(Directory::open(folder.path()), Err(OpenError::Strange { .. })));
    assert_eq!(files(folder.path()), before);
    fs::remove_file(folder.path().join("ca.pem")).expect("removed");
    drop(open(folder.path()));
    // Other files may lie beside data.
    fs::write(folder.path().join("notes"), "mine").expect("written");
    drop(open(folder.path()));
}
