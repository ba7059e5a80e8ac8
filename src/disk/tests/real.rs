//! The real engine, in real directories: its known weak points, and everything that may happen to files.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::directory::Opened;
use super::super::inspect::inspect;
use super::{Keys, contents, group};
use crate::disk::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn open(path: &Path) -> Opened {
    Directory::open(path).expect("opens")
}

/// What a process that is killed leaves behind.
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
    inspect(&path.join("journal")).expect("readable").files
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
fn everything_comes_back_after_a_close_and_after_a_kill() {
    let folder = folder();
    let mut opened = open(folder.path());
    assert!(opened.is_new() && opened.was_clean());
    let keys = fill(&mut opened, 1, 50, 100);
    let killed = killed_copy(folder.path());
    opened.close().expect("closed");
    for (path, clean) in [(folder.path(), true), (killed.path(), false)] {
        let opened = open(path);
        assert_eq!((opened.was_clean(), opened.torn(), contents(&opened.keeper) == keys), (clean, 0, true));
        assert_eq!(path.join("aside").exists(), !clean);
        opened.load(&mut |_| {}).expect("complete");
        opened.close().expect("closed");
        open(path).close().expect("closed");
        assert!(!path.join("aside").exists(), "removed at the next clean opening");
    }
}

/// The engine panics on the empty key, and on one longer than 65,535 bytes.
#[test]
fn the_empty_key_and_the_longest_are_kept() {
    let folder = folder();
    let mut opened = open(folder.path());
    let longest = vec![b'k'; MAX_KEY];
    let mut group = Group::default();
    for key in [&b""[..], &longest] {
        group.push(&Change::Put { key, kind: 7, expires: 5, data: b"" });
    }
    opened.write(&group, 2).expect("written");
    let killed = killed_copy(folder.path());
    let mut seen = Vec::new();
    open(killed.path()).load(&mut |record| seen.push((record.key.len(), record.kind, record.expires))).expect("read");
    assert_eq!(seen, [(0, 7, 5), (MAX_KEY, 7, 5)]);
}

#[test]
fn a_second_process_is_refused() {
    let folder = folder();
    let opened = open(folder.path());
    assert!(matches!(Directory::open(folder.path()), Err(OpenError::InUse(_))));
    drop(opened);
    open(folder.path());
}

/// Pages of the last, unacknowledged batch did not reach the disk. The engine by itself gives up over a hole in a value.
#[test]
fn a_torn_end_loses_nothing_acknowledged() {
    const PAGE: u64 = 4096;
    let folder = folder();
    let mut opened = open(folder.path());
    let keys = fill(&mut opened, 1, 20, 16 << 10);
    let end = whole_length(folder.path());
    let mut last = Group::default();
    for key in [b"x", b"y"] {
        last.push(&Change::Put { key, kind: 0, expires: NO_EXPIRY, data: &[b'v'; 16 << 10] });
    }
    // Written, and neither synced nor acknowledged.
    opened.keeper.write(&last, 21, 22).expect("written");
    let length = whole_length(folder.path());
    assert!(length > end + 7 * PAGE);
    let first = end.next_multiple_of(PAGE);
    let damages =
        (first..length).step_by(4096).flat_map(|page| [(page, true), (page, false)]).chain([(end + 5, false)]);
    for (page, is_hole) in damages {
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
        assert_eq!((loaded.keys, opened.torn()), (20, 1), "page at {page}, hole: {is_hole}");
        assert!(contents(&opened.keeper) == keys);
        fill(&mut opened, 21, 3, 10);
        drop(opened);
        assert_eq!(open(copy.path()).expected_keys(), 23, "writes go on behind the cut");
    }
}

/// Where the last whole batch of the newest journal ends.
fn whole_length(path: &Path) -> u64 {
    let bytes = fs::read(journals(path).last().expect("a journal")).expect("readable");
    bytes.iter().rposition(|byte| *byte != 0).expect("written to") as u64 + 1
}

/// Damage in the middle: the engine would forget everything behind it in silence.
#[test]
fn a_directory_that_lost_acknowledged_groups_is_refused_and_left_alone() {
    let folder = folder();
    let mut opened = open(folder.path());
    fill(&mut opened, 1, 10, 5000);
    let middle = whole_length(folder.path());
    fill(&mut opened, 11, 10, 5000);
    let end = whole_length(folder.path());
    for position in [0, middle - 3000, middle + 2, end - 1] {
        let copy = killed_copy(folder.path());
        let path = &journals(copy.path())[0];
        let journal = fs::OpenOptions::new().write(true).open(path).expect("a journal");
        journal.write_all_at(&[0xff], position).expect("damaged");
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
    fs::remove_dir_all(copy.path().join("journal")).expect("removed");
    assert!(matches!(Directory::open(copy.path()), Err(OpenError::Lost { .. })));
    let copy = killed_copy(folder.path());
    fs::remove_file(copy.path().join("mark")).expect("removed");
    assert!(matches!(Directory::open(copy.path()), Err(OpenError::Damaged { .. })));
}

/// With two keyspaces, sealed journals could be kept for ever; and after a kill, writes could hang behind tables that
/// nobody flushed. Both would show here.
#[test]
fn journals_go_when_they_are_flushed_and_writes_go_on_after_a_kill() {
    let folder = folder();
    let mut opened = open(folder.path());
    let mut number = 1;
    let mut round = |opened: &mut Opened| {
        // A journal is sealed behind 64 MB, at the next flush.
        fill(opened, number, 36, 2 << 20);
        number += 36;
        opened.keeper.engine().rotate();
    };
    for _ in 0..2 {
        round(&mut opened);
    }
    assert!(opened.keeper.engine().journals() <= 2, "{} journals", opened.keeper.engine().journals());
    fill(&mut opened, 1000, 10, 2 << 20);
    opened.keeper.engine().settle();
    let killed = killed_copy(folder.path());
    drop(opened);
    let mut opened = open(killed.path());
    assert_eq!(opened.keeper.last_group(), 82);
    let (sender, done) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .spawn(move || {
            for number in 0..60 {
                fill(&mut opened, 2000 + number, 1, 2 << 20);
            }
            sender.send(opened.keeper.last_group()).expect("awaited");
        })
        .expect("a thread");
    let last = done.recv_timeout(Duration::from_mins(3)).expect("writes go on");
    assert_eq!(last, 142);
}

#[test]
fn a_damaged_table_is_refused_when_it_is_read() {
    let folder = folder();
    let mut opened = open(folder.path());
    fill(&mut opened, 1, 50, 1000);
    opened.keeper.engine().rotate();
    opened.close().expect("closed");
    let tables = folder.path().join("journal/keyspaces/1/tables");
    let table = fs::read_dir(tables).expect("tables").next().expect("a table").expect("an entry").path();
    let file = fs::OpenOptions::new().write(true).open(table).expect("a table");
    file.write_all_at(&[0xff; 64], 20_000).expect("damaged");
    let refused = Directory::open(folder.path()).and_then(|opened| opened.load(&mut |_| {}).map(drop));
    assert!(matches!(refused, Err(OpenError::Damaged { .. })), "{refused:?}");
}

#[test]
fn a_dump_comes_back_and_a_damaged_one_does_not() {
    let (from, to) = (folder(), folder());
    let mut opened = open(from.path());
    opened.write(&group(&[("", Some("")), ("a", Some("1"))]), 2).expect("written");
    let large = vec![3; 700_000];
    let mut typed = Group::default();
    typed.push(&Change::Put { key: b"large", kind: 9, expires: 77, data: &large });
    opened.write(&typed, 3).expect("written");
    let mut dump = Vec::new();
    assert_eq!(opened.dump(&mut dump).expect("dumped"), 3);
    let path = to.path().join("dump");
    fs::write(&path, &dump).expect("written");
    assert_eq!(restore(&path, &to.path().join("new")).expect("restored"), 3);
    let mut seen = Vec::new();
    let restored = open(&to.path().join("new"));
    restored.load(&mut |r| seen.push((r.key.to_vec(), r.kind, r.expires, r.data.len()))).expect("read");
    let expected = [(vec![], 0, NO_EXPIRY, 0), (b"a".to_vec(), 0, NO_EXPIRY, 1), (b"large".to_vec(), 9, 77, 700_000)];
    assert_eq!(seen, expected);
    drop(restored);
    assert!(matches!(restore(&path, &to.path().join("new")), Err(DumpError::Directory(_))), "it is not empty");
    for length in [0, 10, 17, 100, dump.len() - 1] {
        fs::write(&path, &dump[..length]).expect("written");
        assert!(restore(&path, &to.path().join("cut")).is_err(), "{length} bytes");
    }
    for position in (0..dump.len()).step_by(dump.len() / 50).chain(dump.len() - 20..dump.len()) {
        let mut damaged = dump.clone();
        damaged[position] ^= 1;
        fs::write(&path, &damaged).expect("written");
        assert!(restore(&path, &to.path().join("cut")).is_err(), "byte {position}");
    }
    fs::write(&path, [&dump[..], b"x"].concat()).expect("written");
    assert!(verify(&path).is_err(), "something stands behind it");
    assert!(!to.path().join("cut").exists());
}
