//! A file that only reserves space: after a crash with a torn journal, a start needs some on a disk that has been
//! filled to the last byte.

use std::io;

use super::folder::Folder;
use super::names::RESERVE;

/// No reserve is made unless the free space is at least this many times as much.
const SHARE: u64 = 4;

/// Creates a reserve of `bytes` if there is none and there is enough space. A failure is ignored.
pub(super) fn keep(folder: &dyn Folder, bytes: usize) {
    if bytes == 0 || folder.room().is_ok_and(|room| room < SHARE * bytes as u64) {
        return;
    }
    let is_there = folder.open(RESERVE).and_then(|file| file.length()).is_ok_and(|length| length >= bytes as u64);
    if is_there {
        return;
    }
    // Not zeros: a file system with compression would reserve nothing for them.
    let mixed = (0..u32::MAX).map(|at| at.wrapping_mul(0x9e37_79b1).to_be_bytes()[0]);
    let filling: Vec<u8> = mixed.take(bytes).collect();
    let written = folder.create(RESERVE).and_then(|mut file| file.write_at(&filling, 0).and_then(|()| file.sync()));
    if written.and_then(|()| folder.sync()).is_err() {
        let _ = folder.remove(RESERVE);
    }
}

/// Whether the disk is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Runs `what`. If the disk is full, removes the reserve and runs it again.
pub(super) fn with_room<T>(folder: &dyn Folder, what: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match what() {
        Err(error) if is_full(&error) => {
            folder.remove(RESERVE).and_then(|()| folder.sync()).map_err(|_| error)?;
            what()
        }
        result => result,
    }
}
