//! Backups, and the state of durability.

use super::info_text::InfoText;
use crate::disk::Sync;
use crate::services::resp::call::{Call, CommandError};
use crate::store::{Persistence, Store};

/// `BGSAVE`: a backup in the data directory, while the server goes on. Redis takes `SCHEDULE` too, which matters only to
/// one that could be rewriting its append-only file.
pub(crate) fn bgsave(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let scheduled = call.request.len() == 2 && call.argument(1).eq_ignore_ascii_case(b"SCHEDULE");
    if call.request.len() > 1 && !scheduled {
        return Err(CommandError::SYNTAX);
    }
    if !call.store.is_durable() {
        return Err(CommandError::new("ERR nothing is kept on disk: the server was started without --data"));
    }
    if !call.store.begin_backup() {
        return Err(CommandError::new("ERR Background save already in progress"));
    }
    call.reply().simple("Background saving started");
    Ok(())
}

/// `LASTSAVE`: when the last backup was finished, or else when the server was started, as in Redis.
pub(crate) fn lastsave(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let last = call.store.persistence().map_or(0, |state| state.last_backup);
    let seconds = if last == 0 { call.core.started.unix_seconds() } else { last };
    call.answer_integer(i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// When writes are forced to disk, in Redis's words.
pub(crate) fn fsync(store: &Store) -> &'static str {
    match store.persistence().map(|state| state.sync) {
        Some(Sync::Always) => "always",
        Some(Sync::Interval) => "everysec",
        Some(Sync::None) | None => "no",
    }
}

/// The section of `INFO`.
pub(crate) fn report(call: &Call<'_, '_>, report: &mut InfoText) {
    let state = call.store.persistence();
    let status = |failed: bool| if failed { "err" } else { "ok" };
    report.field("loading", 0);
    report.field("aof_enabled", u8::from(state.is_some()));
    let Some(state) = state else { return };
    let Persistence { sync, failure, unsynced_bytes, durable_group, compactions, .. } = state;
    let Persistence { backing_up, last_backup, backup_failure, .. } = state;
    report.field("aof_last_write_status", status(failure.is_some()));
    report.field("rdb_bgsave_in_progress", u8::from(backing_up));
    report.field("rdb_last_save_time", last_backup);
    report.field("rdb_last_bgsave_status", status(backup_failure.is_some()));
    report.field("aof_fsync", fsync(call.store));
    report.field("latchkey_sync", sync.name());
    report.field("latchkey_unsynced_bytes", unsynced_bytes);
    report.field("latchkey_durable_group", durable_group);
    report.field("latchkey_compacting", u8::from(compactions.running));
    report.field("latchkey_compactions", compactions.done);
    report.field("latchkey_compactions_failed", compactions.failed);
    if let Some(failure) = compactions.failure {
        report.field("latchkey_compaction_failure", failure);
    }
    if let Some(failure) = failure {
        report.field("latchkey_write_failure", failure);
    }
    if let Some(failure) = backup_failure {
        report.field("latchkey_backup_failure", failure);
    }
}
