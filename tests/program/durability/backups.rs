//! Backups, dumps and what is made of them.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::resp::Reply;
use super::{arguments, client, contents, integer, start};
use crate::common::{fail, latchkey, succeed, until, wait};

#[test]
fn a_backup_of_a_running_server_and_a_dump_of_a_stopped_one_come_back() {
    let data = tempfile::tempdir().expect("a folder");
    let mut server = start(data.path());
    let mut asker = client(&server);
    for number in 0..500 {
        asker.ask(&format!("set key:{number} value:{number} ex 100000"));
    }
    assert_eq!(asker.ask("bgsave"), Reply::Line("+Background saving started".into()));
    let backup = data.path().join("backup").join("dump.latchkey");
    until(|| backup.exists());
    let mut polled = client(&server);
    let mut done = || polled.ask("info persistence").text().contains("rdb_bgsave_in_progress:0\r\n");
    while !done() {}
    let Reply::Line(saved) = asker.ask("lastsave") else { panic!("a number") };
    assert!(saved[1..].parse::<u64>().expect("a number") > 1_700_000_000);
    let line = server.logged("backup written");
    let bytes = format!("bytes={} ", backup.metadata().expect("a file").len());
    for part in [" INFO ", "dump.latchkey ", "keys=500 ", &bytes, "seconds="] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let state = contents(&mut asker);
    asker.ask("set later 1");
    assert_eq!(server.stop(), Some(0));

    let folder = tempfile::tempdir().expect("a folder");
    let restored = folder.path().join("restored");
    succeed(latchkey().arg("restore").arg(&backup).arg(&restored));
    let server = start(&restored);
    assert_eq!(contents(&mut client(&server)), state);
    drop(server);

    let dump = folder.path().join("dump");
    let file = std::fs::File::create(&dump).expect("a file");
    let status = latchkey().arg("dump").arg(data.path()).stdout(file).status().expect("runs");
    assert!(status.success());
    let again = folder.path().join("again");
    succeed(latchkey().arg("restore").arg(&dump).arg(&again));
    let server = start(&again);
    assert_eq!(client(&server).ask("dbsize"), integer(501));
    // A folder with anything in it is not taken, and one that is no data directory is not made one.
    let other = tempfile::tempdir().expect("a folder");
    let told = fail(latchkey().arg("dump").arg(other.path()), 2);
    assert!(told.contains("not a data directory"), "{told}");
    std::fs::write(other.path().join("notes"), "mine").expect("a file");
    let told = fail(latchkey().arg("restore").arg(&dump).arg(other.path()), 2);
    assert!(told.contains("not empty"), "{told}");
    assert_eq!(std::fs::read_dir(other.path()).expect("a folder").count(), 1);
    let told = fail(latchkey().arg("restore").arg(&dump).arg(&restored), 2);
    assert!(told.contains("is not empty"), "{told}");
}

/// The program under test, in a shell's command line as `"$0"`.
fn shell(line: &str, arguments: &[&Path]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line, env!("CARGO_BIN_EXE_latchkey")]).args(arguments);
    command
}

/// A dump of so many keys, each of 1000 bytes.
fn dump_of(keys: u64) -> Vec<u8> {
    let mut writer = latchkey::internals::disk::DumpWriter::new(Vec::new()).expect("begun");
    for number in 0..keys {
        let (key, expires) = (number.to_string(), latchkey::internals::disk::NO_EXPIRY);
        writer
            .add(&latchkey::internals::disk::Record { key: key.as_bytes(), kind: 0, expires, data: &[b'v'; 1000] })
            .expect("added");
    }
    writer.finish().expect("ended").0
}

#[test]
fn a_dump_goes_through_pipes_into_the_working_directory() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("dump"), dump_of(500)).expect("a file");
    for (line, name) in [
        ("cat \"$1\" | \"$0\" restore - \"$2\"", "one"),
        ("cat \"$1\" | \"$0\" restore /dev/stdin \"$2\"", "two"),
        ("mkdir \"$2\" && cd \"$2\" && \"$0\" restore \"$1\" .", "three"),
    ] {
        succeed(&mut shell(line, &[&path("dump"), &path(name)]));
    }
    for name in ["one", "two", "three"] {
        let again = path(&format!("{name} again"));
        succeed(&mut shell("\"$0\" dump \"$1\" | \"$0\" restore - \"$2\"", &[&path(name), &again]));
        let server = start(&again);
        assert_eq!(client(&server).ask("dbsize"), integer(500));
    }
    let told = succeed(&mut shell("{ \"$0\" dump \"$1\" | true; } 2>&1", &[&path("one")]));
    assert!(told.contains("stdout: Broken pipe"), "more than a pipe holds: {told}");
    // Nothing is left of what was no dump, or a damaged one.
    let told = fail(&mut shell("echo | \"$0\" restore - \"$1\"", &[&path("four")]), 2);
    assert!(told.contains("stdin: it is not a dump") && !path("four").exists(), "{told}");
    let told = fail(&mut shell("head -c 300000 \"$1\" | \"$0\" restore - \"$2\"", &[&path("dump"), &path("four")]), 2);
    assert!(
        told.contains("stdin: it is damaged or truncated after 258 keys; what had been written is removed"),
        "{told}"
    );
    assert!(!path("four").exists());
}

/// Killed while the rest of the dump is to come.
fn half_restored(path: &Path, dump: &[u8]) {
    let mut command = latchkey();
    command.arg("restore").arg("-").arg(path).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child: Child = command.spawn().expect("runs");
    child.stdin.as_mut().expect("a pipe").write_all(&dump[..dump.len() - 100]).expect("read");
    let journal = path.join("journal-00000001");
    until(|| journal.metadata().is_ok_and(|journal| journal.len() > 8 << 20));
    child.kill().expect("killed");
    wait(&mut child);
}

#[test]
fn a_restore_that_was_killed_is_refused_until_it_is_run_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, data) = (folder.path().join("dump"), folder.path().join("data"));
    let dump = dump_of(20_000);
    std::fs::write(&file, &dump).expect("a file");
    half_restored(&data, &dump);
    let told = fail(latchkey().arg("serve").args(arguments(&data)).current_dir(folder.path()), 2);
    assert!(told.contains("--data: ") && told.contains("is half-restored") && told.contains("run it again"), "{told}");
    let told = fail(latchkey().arg("dump").arg(&data), 2);
    assert!(told.contains("is half-restored"), "{told}");
    succeed(latchkey().arg("restore").arg(&file).arg(&data));
    let server = start(&data);
    assert_eq!(client(&server).ask("dbsize"), integer(20_000));
    let told = fail(latchkey().arg("restore").arg(&file).arg(&data), 2);
    assert!(told.contains("is not empty"), "{told}");
}

/// A limit on the size of files is a disk without room.
#[test]
fn a_restore_without_room_gives_back_what_it_took() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, data) = (folder.path().join("dump"), folder.path().join("data"));
    std::fs::write(&file, dump_of(20_000)).expect("a file");
    let limited = "trap '' XFSZ; ulimit -f 20000; exec \"$0\" restore \"$1\" \"$2\"";
    let told = fail(&mut shell(limited, &[&file, &data]), 1);
    for part in ["cannot write", "File too large", "; what had been written is removed"] {
        assert!(told.contains(part), "{told}");
    }
    assert!(!data.exists());
    std::fs::create_dir(&data).expect("a folder");
    fail(&mut shell(limited, &[&file, &data]), 1);
    assert_eq!(std::fs::read_dir(&data).expect("it was there before").count(), 0);
}

#[test]
fn missing_and_unreadable_paths_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, data) = (folder.path().join("file"), folder.path().join("data"));
    let told = fail(latchkey().arg("restore").arg(&file).arg(&data), 2);
    assert!(told.contains("file: No such file") && !told.contains("data"), "{told}");
    let told = fail(latchkey().arg("dump").arg(&data), 2);
    assert!(told.contains("data: No such file"), "{told}");
    drop(start(&data));
    succeed(Command::new("chmod").arg("000").arg(&data));
    // The superuser may pass over permissions, until that is taken away.
    let is_root = std::fs::read_dir(&data).is_ok();
    let line = if is_root { "exec setpriv --bounding-set=-all \"$0\" dump \"$1\"" } else { "exec \"$0\" dump \"$1\"" };
    let told = fail(&mut shell(line, &[&data]), 2);
    succeed(Command::new("chmod").arg("700").arg(&data));
    assert!(told.contains("data: Permission denied"), "{told}");
}

#[test]
fn a_backup_that_fails_is_logged_with_what_to_do() {
    let data = tempfile::tempdir().expect("a folder");
    let server = start(data.path());
    std::fs::write(data.path().join("backup"), "in the way").expect("a file");
    assert_eq!(client(&server).ask("bgsave"), Reply::Line("+Background saving started".into()));
    let line = server.logged("backup failed");
    for part in ["ERROR", "backup/dump.latchkey", "error=", "an earlier one stays as it is", "send BGSAVE again"] {
        assert!(line.contains(part), "{part} in {line}");
    }
}

#[test]
fn a_directory_that_is_removed_under_the_server_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = start(&data);
    let mut asker = client(&server);
    assert_eq!(asker.ask("set a 1"), Reply::Line("+OK".into()));
    std::fs::remove_dir_all(&data).expect("removed");
    assert_eq!(asker.ask("bgsave"), Reply::Line("+Background saving started".into()));
    let line = server.logged("the data directory is gone");
    assert!(line.contains("ERROR") && line.contains("copy the keys to another server"), "{line}");
    let value = "x".repeat(8 << 20);
    // One journal and a bit.
    for number in 0..9 {
        assert_eq!(asker.ask(&format!("set key:{number} {value}")), Reply::Line("+OK".into()));
    }
    server.logged("the data directory is gone");
    assert_eq!(asker.ask("get a").text(), "1");
}
