//! A disk that is full to the last byte: a small file system of its own, mounted for the test, which the superuser runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::resp::Reply;
use super::{client, integer, start};
use crate::common::{succeed, until};

/// A file system in memory, of so many bytes; unmounted when dropped.
struct Mount {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Mount {
    fn new(size: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk");
        fs::create_dir(&path).expect("made");
        let options = format!("size={size},mode=0700");
        succeed(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path));
        Self { path, _folder: folder }
    }

    /// Takes all room that there is.
    fn fill(&self) -> PathBuf {
        let ballast = self.path.join("ballast");
        let mut dd = Command::new("dd");
        dd.args(["if=/dev/zero", "bs=4k", "status=none", &format!("of={}", ballast.display())]);
        // It ends when nothing more fits.
        let _ = dd.status().expect("dd");
        ballast
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(&self.path).status();
    }
}

fn ok() -> Reply {
    Reply::Line("+OK".into())
}

/// The first bytes of a record of which the rest was never written, as a kill in the middle of a write leaves them.
fn tear(data: &Path) {
    let journal = data.join("journal-00000001");
    let bytes = fs::read(&journal).expect("a journal");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("records") + 1;
    let file = fs::OpenOptions::new().write(true).open(&journal).expect("a journal");
    std::os::unix::fs::FileExt::write_all_at(&file, &[0x5a; 40], end as u64 + 8).expect("room that is there");
}

#[test]
fn a_server_starts_on_a_full_disk_and_takes_writes_when_there_is_room() {
    for torn in [false, true] {
        let disk = Mount::new("8m");
        let data = disk.path.join("data");
        let server = start(&data);
        let mut asker = client(&server);
        for number in 0..20 {
            assert_eq!(asker.ask(&format!("set key:{number} value")), ok());
        }
        assert!(data.join("reserve.latchkey").exists());
        let ballast = disk.fill();
        let value = "x".repeat(1 << 20);
        assert!(asker.ask(&format!("set large {value}")).text().starts_with("-MISCONF "));
        server.logged("writes are refused from now on, until there is room");
        // Killed.
        drop(server);
        if torn {
            tear(&data);
        }

        let _ = disk.fill();
        let server = start(&data);
        let mut asker = client(&server);
        assert_eq!(asker.ask("dbsize"), integer(20), "torn: {torn}");
        assert_eq!(asker.ask("get key:7").text(), "value");
        assert!(asker.ask(&format!("set large {value}")).text().starts_with("-MISCONF "));
        assert_eq!(asker.ask("get key:7").text(), "value", "reads are served");
        fs::remove_file(&ballast).expect("removed");
        until(|| asker.ask("set after 1") == ok());
        server.logged("writes are taken again");
        assert!(asker.ask("info persistence").text().contains("aof_last_write_status:ok\r\n"));
        assert_eq!(asker.ask(&format!("set large {value}")), ok());
        until(|| data.join("reserve.latchkey").exists());
        drop(server);
        let server = start(&data);
        assert_eq!(client(&server).ask("dbsize"), integer(22), "torn: {torn}");
        assert_eq!(client(&server).ask("strlen large"), integer(1 << 20));
    }
}

#[test]
fn a_backup_that_does_not_fit_changes_nothing_else() {
    let disk = Mount::new("48m");
    let data = disk.path.join("data");
    let server = start(&data);
    let mut asker = client(&server);
    let value = "x".repeat(1 << 20);
    for number in 0..28 {
        assert_eq!(asker.ask(&format!("set key:{number} {value}")), ok());
    }
    assert_eq!(asker.ask("bgsave"), Reply::Line("+Background saving started".into()));
    // As much as the journal is left with, and while the backup is at work.
    until(|| {
        assert_eq!(asker.ask("set small 1"), ok());
        asker.ask("info persistence").text().contains("rdb_bgsave_in_progress:0\r\n")
    });
    let told = asker.ask("info persistence").text();
    for part in ["rdb_last_bgsave_status:err\r\n", "aof_last_write_status:ok\r\n", "it does not fit"] {
        assert!(told.contains(part), "{told}");
    }
    server.logged("backup failed");
    assert_eq!(asker.ask(&format!("set another {value}")), ok());
    assert_eq!(fs::read_dir(data.join("backup")).expect("a folder").count(), 0, "its room is given back");
}
