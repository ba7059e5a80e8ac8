//! A file that is there for its room only. A start needs some, where a crash has left a torn journal, and has to make it on a
//! disk that something else has filled to the last byte.

use std::io;

use super::folder::Folder;
use super::names::RESERVE;

/// Room is left alone where there is less than so many times as much as the reserve takes.
const SHARE: u64 = 4;

/// Keeps `bytes` in reserve, where that is not done yet and there is room enough. What goes wrong with it harms nobody.
pub(super) fn keep(folder: &dyn Folder, bytes: usize) {
    if bytes == 0 || folder.room().is_ok_and(|room| room < SHARE * bytes as u64) {
        return;
    }
    let is_there = folder.open(RESERVE).and_then(|file| file.length()).is_ok_and(|length| length >= bytes as u64);
    if is_there {
        return;
    }
    // Not zeros: a file system that compresses would find no room for them, and none behind them.
    let mixed = (0..u32::MAX).map(|at| at.wrapping_mul(0x9e37_79b1).to_be_bytes()[0]);
    let filling: Vec<u8> = mixed.take(bytes).collect();
    let written = folder.create(RESERVE).and_then(|mut file| file.write_at(&filling, 0).and_then(|()| file.sync()));
    if written.and_then(|()| folder.sync()).is_err() {
        let _ = folder.remove(RESERVE);
    }
}

/// Whether there is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Does `what`. If there is no room for it, the reserve is given up, and it is tried once more.
pub(super) fn with_room<T>(folder: &dyn Folder, what: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match what() {
        Err(error) if is_full(&error) => {
            folder.remove(RESERVE).and_then(|()| folder.sync()).map_err(|_| error)?;
            what()
        }
        result => result,
    }
}
