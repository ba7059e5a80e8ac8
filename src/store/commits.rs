//! What of the store is on its way to disk: changes collected for the next group, and who must wait for which group.
//!
//! A reply may leave when everything that it tells of is durable. So each change notes the group that it belongs to, and
//! each look at a key notes the group that last changed it; [`Commits::take_dependency`] gives the later of them, once a
//! request. Keys are noted by their hash: where two share one, a reply waits a little longer than it must.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::arena::{Data, Draft};
use super::deferred_free::DeferredFree;
use super::durable::Unfit;
use super::table::Table;
use crate::disk::{Backup, Change, Compactions, Group, NO_EXPIRY, Storage, StorageError, Sync, Undo};
use crate::timer::{Now, after};

/// Bounds on what may be on its way to disk.
#[derive(Clone, Copy, Debug)]
pub struct CommitLimits {
    /// Bytes of changes that are not durable, before no more writes are taken (`--max-unsynced`). A disk that writes
    /// 100 MB/s catches up with the default in a sixth of a second.
    pub unsynced_bytes: usize,
    /// How long the disk may take over one group, and stand still while it is read to take back what was not kept
    /// (`--storage-timeout`). A minute: a disk that is slower than that is gone.
    pub timeout: Duration,
}

impl Default for CommitLimits {
    fn default() -> Self {
        Self { unsynced_bytes: 16 << 20, timeout: Duration::from_mins(1) }
    }
}

/// What has become of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupStatus {
    /// Nothing new.
    Unchanged,
    /// Every group up to this one is durable.
    Durable(u64),
    /// All groups that were not durable have been taken back; no more writes are taken.
    Lost(StorageError),
    /// There is room again after a loss for want of it: writes are taken.
    Recovered,
    /// It is unknown what is durable.
    Fatal(StorageError),
}

/// What there is to say about durability.
#[derive(Clone, Debug)]
pub struct Persistence {
    /// When writes are forced to disk.
    pub sync: Sync,
    /// Why writes are refused, if they are.
    pub failure: Option<StorageError>,
    /// Bytes of changes on their way to disk: none while writes are refused.
    pub unsynced_bytes: usize,
    /// The last durable group.
    pub durable_group: u64,
    /// A backup is being written.
    pub backing_up: bool,
    /// When the last backup was finished, in Unix seconds; 0 for never since start.
    pub last_backup: u64,
    /// Why the last backup failed, if it did.
    pub backup_failure: Option<String>,
    /// What has become of compactions.
    pub compactions: Compactions,
}

/// How often room is looked for while there is none.
const LOOK: Duration = Duration::from_secs(1);

/// What each table that is kept until its removal is durable counts for: an empty one takes less.
const CLEARED: usize = 64 << 10;

/// A value from this length on is written down at the end of the turn, once.
const LARGE: usize = 1 << 10;

pub(super) struct Commits {
    storage: Storage,
    limits: CommitLimits,
    /// The changes of this turn.
    group: Group,
    /// Keys whose values are written down at the end of this turn, and how long they are: large ones, and those that were
    /// changed where they stand.
    edited: BTreeMap<Box<[u8]>, usize>,
    /// How much will be written down for them.
    edited_bytes: usize,
    /// Whether anybody may have to wait for this turn's group.
    is_open: bool,
    /// The number of this turn's group.
    number: u64,
    durable: u64,
    /// By the hash of a key, the group that last changed it.
    pending: HashMap<u64, u64>,
    /// The same in the order of groups, so that what is durable can be forgotten.
    order: VecDeque<(u64, u64)>,
    /// The group that last removed every key.
    cleared: u64,
    /// What was removed as a whole by groups that are not durable, the oldest first: all that is needed to take that back.
    cleared_tables: VecDeque<(u64, Table)>,
    dependency: Cell<u64>,
    /// Bytes handed over that are not durable.
    queued: usize,
    /// When the group that is not durable yet became the oldest.
    waiting_since: Option<Instant>,
    state: State,
    /// When room was looked for.
    looked_at: Option<Instant>,
    /// How far the disk is with working out what to take back.
    seen: u64,
    /// What is left to be taken back.
    undo: Undo,
    backing_up: bool,
    last_backup: u64,
    backup_failure: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Working,
    /// A write has failed, and what to take back is being worked out.
    Undoing(StorageError),
    /// It is being taken back.
    TakingBack(StorageError),
    /// Only reads are served.
    Refusing(StorageError),
    Fatal(StorageError),
}

/// What the table must do.
pub(super) enum Step {
    Status(GroupStatus),
    /// Take some of this back, and say so by [`Commits::took_back`].
    TakeBack(Undo),
}

impl std::fmt::Debug for Commits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("number", &self.number).field("stage", &self.state).finish_non_exhaustive()
    }
}

impl Commits {
    pub(super) fn new(storage: Storage, limits: CommitLimits) -> Self {
        let durable = storage.recovered();
        Self {
            storage,
            limits,
            group: Group::default(),
            edited: BTreeMap::new(),
            edited_bytes: 0,
            is_open: false,
            number: durable + 1,
            durable,
            pending: HashMap::new(),
            order: VecDeque::new(),
            cleared: 0,
            cleared_tables: VecDeque::new(),
            dependency: Cell::new(0),
            queued: 0,
            waiting_since: None,
            state: State::Working,
            looked_at: None,
            seen: 0,
            undo: Undo::default(),
            backing_up: false,
            last_backup: 0,
            backup_failure: None,
        }
    }

    /// Whether everything handed over is on disk, as far as is known.
    #[cfg(test)]
    pub(super) fn is_settled(&self) -> bool {
        !self.is_open && self.durable + 1 == self.number
    }

    pub(super) fn is_durable_to(&self, group: u64) -> bool {
        self.durable >= group
    }

    pub(super) fn put(&mut self, hash: u64, draft: &Draft<'_>) {
        let data = match &draft.data {
            Data::Borrowed(data) => data,
            Data::Owned(data) => data.as_slice(),
        };
        if data.len() >= LARGE {
            return self.changed(hash, draft.key, data.len());
        }
        let change = Change::Put { key: draft.key, kind: draft.kind as u8, expires: draft.expires, data };
        self.push(&change, Some(hash));
    }

    /// A large value was put or moved, or one was changed where it stands. It is written down once a turn, however often that
    /// happens: a transaction that changes or moves a large value many times would otherwise make as many copies of it.
    fn changed(&mut self, hash: u64, key: &[u8], length: usize) {
        if self.state != State::Working {
            return;
        }
        self.is_open = true;
        self.wait_for(hash);
        let before = if let Some(known) = self.edited.get_mut(key) {
            std::mem::replace(known, length)
        } else {
            self.edited_bytes += key.len();
            self.edited.insert(key.into(), length);
            0
        };
        self.edited_bytes = self.edited_bytes.saturating_add(length).saturating_sub(before);
    }

    /// What was to be written down for this key is gone.
    fn forget_edit(&mut self, key: &[u8]) {
        if !self.edited.is_empty()
            && let Some(length) = self.edited.remove(key)
        {
            self.edited_bytes = self.edited_bytes.saturating_sub(key.len() + length);
        }
    }

    /// Writes down the values that were changed where they stand, as they are at the end of the turn. Nobody sees less
    /// than a whole group, so what they were in between does not matter; what is gone by now has been noted as removed.
    pub(super) fn write_edited(&mut self, table: &Table) {
        self.edited_bytes = 0;
        for key in std::mem::take(&mut self.edited).into_keys() {
            let hash = table.hash(&key);
            if let Some((_, entry)) = table.find(hash, &key).and_then(|found| table.entry(found)) {
                let (kind, expires) = (entry.kind as u8, entry.expires_ms.unwrap_or(NO_EXPIRY));
                // Whoever has changed it waits already, and nobody who comes behind.
                self.push(&Change::Put { key: &key, kind, expires, data: entry.data }, None);
            }
        }
    }

    pub(super) fn removed(&mut self, hash: u64, key: &[u8]) {
        self.forget_edit(key);
        self.push(&Change::Remove { key }, Some(hash));
    }

    /// A key's time had come. Nobody waits for that: its expiry itself is durable, or waited for.
    pub(super) fn expired(&mut self, key: &[u8]) {
        self.forget_edit(key);
        self.push(&Change::Remove { key }, None);
    }

    /// All keys were removed: what `table` holds.
    pub(super) fn cleared(&mut self, table: Table, deferred_free: &mut DeferredFree) {
        if self.state != State::Working {
            return table.defer(deferred_free);
        }
        // What was changed where it stood will not be written down any more, but would have to be taken back.
        self.edited_bytes = 0;
        for key in std::mem::take(&mut self.edited).into_keys() {
            self.group.push(&Change::Remove { key: &key });
        }
        self.push(&Change::Clear, None);
        self.cleared = self.number;
        // The first of a group is what there was before it.
        if self.cleared_tables.back().is_some_and(|(group, _)| *group == self.number) {
            table.defer(deferred_free);
        } else {
            self.cleared_tables.push_back((self.number, table));
        }
        self.note_read_all();
    }

    /// Bytes of what was removed and may come back.
    pub(super) fn cleared_bytes(&self) -> usize {
        self.cleared_tables.iter().map(|(_, table)| table.held()).sum()
    }

    /// What there was before all keys were removed, if a group that is lost did so.
    pub(super) fn take_cleared(&mut self, deferred_free: &mut DeferredFree) -> Option<Table> {
        let (_, first) = self.cleared_tables.pop_front()?;
        self.cleared_tables.drain(..).for_each(|(_, table)| table.defer(deferred_free));
        Some(first)
    }

    fn push(&mut self, change: &Change<'_>, hash: Option<u64>) {
        if self.state != State::Working {
            return;
        }
        self.is_open = true;
        self.group.push(change);
        if let Some(hash) = hash {
            self.wait_for(hash);
        }
    }

    /// Whoever has changed this key, or looks at it from now on, waits for this turn's group.
    fn wait_for(&mut self, hash: u64) {
        self.dependency.set(self.number);
        if self.pending.insert(hash, self.number) != Some(self.number) {
            self.order.push_back((self.number, hash));
        }
    }

    /// A key was looked at.
    pub(super) fn note_read(&self, hash: u64) {
        let mut group = self.cleared;
        if !self.pending.is_empty() {
            group = group.max(self.pending.get(&hash).copied().unwrap_or(0));
        }
        self.dependency.set(self.dependency.get().max(group));
    }

    /// All keys were looked at.
    pub(super) fn note_read_all(&self) {
        let last = if self.is_open { self.number } else { self.number - 1 };
        self.dependency.set(self.dependency.get().max(last));
    }

    /// The group that must be durable before what was done and seen since the last call may be told.
    pub(super) fn take_dependency(&self) -> Option<u64> {
        let group = self.dependency.replace(0);
        (group > self.durable).then_some(group)
    }

    /// Why no writes are taken.
    pub(super) fn refusal(&self) -> Option<&StorageError> {
        match &self.state {
            State::Working => None,
            State::Undoing(failure) | State::TakingBack(failure) | State::Refusing(failure) | State::Fatal(failure) => {
                Some(failure)
            }
        }
    }

    /// Whether so much is on its way to disk that writes must wait.
    pub(super) fn is_congested(&self) -> bool {
        let cleared = self.cleared_tables.len() * CLEARED;
        let unsynced = self.queued + self.group.len() + self.edited_bytes + cleared;
        self.state == State::Working && unsynced > self.limits.unsynced_bytes
    }

    /// Hands this turn's changes over, and hears what has become of earlier ones. `keys` is how many keys there are.
    pub(super) fn commit(&mut self, keys: u64, now: Now, deferred_free: &mut DeferredFree) -> Step {
        if self.is_open {
            self.storage.submit(&mut self.group, self.number, keys);
            self.number += 1;
            self.is_open = false;
            self.waiting_since.get_or_insert(now.instant);
        }
        let report = self.storage.poll();
        if let Some(Backup { outcome }) = report.backup {
            self.backing_up = false;
            self.backup_failure = outcome.err();
            if self.backup_failure.is_none() {
                self.last_backup = now.unix_seconds();
            }
        }
        let advanced = report.durable > self.durable;
        if advanced {
            self.advance(report.durable, now.instant, deferred_free);
        }
        self.queued = self.storage.durable().queued;
        if std::mem::replace(&mut self.seen, report.seen) != report.seen {
            // To read much takes long; not to get on is what is too long.
            self.waiting_since = self.waiting_since.map(|_| now.instant);
        }
        let stuck = self.waiting_since.is_some_and(|since| now.instant - since > self.limits.timeout);
        let unchanged = if advanced { GroupStatus::Durable(self.durable) } else { GroupStatus::Unchanged };
        match (&self.state, report.failure) {
            (State::Fatal(failure), _) => Step::Status(GroupStatus::Fatal(failure.clone())),
            (State::Refusing(StorageError::Full(_)), None) => {
                self.state = State::Working;
                Step::Status(GroupStatus::Recovered)
            }
            (State::Refusing(StorageError::Full(_)), Some(_))
                if self.looked_at.is_none_or(|at| now.instant >= at + LOOK) =>
            {
                self.looked_at = Some(now.instant);
                self.storage.look_for_room();
                Step::Status(unchanged)
            }
            (State::Refusing(_), _) => Step::Status(unchanged),
            (State::TakingBack(_), _) => Step::TakeBack(std::mem::take(&mut self.undo)),
            (State::Undoing(failure), _) if report.undo.is_some() => {
                self.state = State::TakingBack(failure.clone());
                self.waiting_since = None;
                Step::TakeBack(report.undo.unwrap_or_default())
            }
            (_, Some(failure)) if failure.is_fatal() => Step::Status(self.give_up(failure)),
            (State::Working, Some(failure)) => {
                self.state = State::Undoing(failure);
                // Working that out has its own time.
                self.waiting_since = Some(now.instant);
                self.storage.last_call();
                Step::Status(unchanged)
            }
            (State::Working | State::Undoing(_), _) if stuck => {
                Step::Status(self.give_up(StorageError::TimedOut(self.limits.timeout)))
            }
            (State::Working | State::Undoing(_), _) => Step::Status(unchanged),
        }
    }

    fn give_up(&mut self, failure: StorageError) -> GroupStatus {
        self.state = State::Fatal(failure.clone());
        GroupStatus::Fatal(failure)
    }

    /// Some of what was lost has been taken back, and `undo` is left; or all of it; or it cannot be.
    pub(super) fn took_back(&mut self, undo: Undo, is_over: Result<bool, Unfit>) -> GroupStatus {
        let State::TakingBack(failure) = &self.state else { return GroupStatus::Unchanged };
        let failure = failure.clone();
        match is_over {
            Ok(false) => {
                self.undo = undo;
                GroupStatus::Unchanged
            }
            Ok(true) => {
                self.forget_all();
                self.state = State::Refusing(failure.clone());
                GroupStatus::Lost(failure)
            }
            Err(unfit) => self.give_up(StorageError::Undo(unfit.to_string())),
        }
    }

    fn advance(&mut self, durable: u64, now: Instant, deferred_free: &mut DeferredFree) {
        self.durable = durable;
        while self.cleared_tables.front().is_some_and(|(group, _)| *group <= durable) {
            if let Some((_, table)) = self.cleared_tables.pop_front() {
                table.defer(deferred_free);
            }
        }
        while let Some((group, hash)) = self.order.front().copied().filter(|(group, _)| *group <= durable) {
            self.order.pop_front();
            if self.pending.get(&hash) == Some(&group) {
                self.pending.remove(&hash);
            }
        }
        if self.order.is_empty() && self.order.capacity() > 1024 {
            (self.order, self.pending) = Default::default();
        }
        self.waiting_since = (durable + 1 < self.number).then_some(now);
    }

    fn forget_all(&mut self) {
        (self.order, self.pending) = Default::default();
        self.group = Group::default();
        self.cleared = 0;
        self.number = self.durable + 1;
        self.dependency.set(0);
        self.waiting_since = None;
    }

    /// How soon there is something to do although nothing happens.
    pub(super) fn wants_commit_in(&self, now: Now) -> Option<Duration> {
        if matches!(self.state, State::TakingBack(_)) {
            return Some(Duration::ZERO);
        }
        if matches!(self.state, State::Refusing(StorageError::Full(_))) {
            return Some(LOOK);
        }
        let since = self.waiting_since.filter(|_| matches!(self.state, State::Working | State::Undoing(_)))?;
        let given_up = after(since, self.limits.timeout.saturating_add(Duration::from_millis(1)));
        Some(given_up.saturating_duration_since(now.instant))
    }

    pub(super) fn begin_backup(&mut self) -> bool {
        let begun = self.storage.begin_backup();
        self.backing_up |= begun;
        begun
    }

    pub(super) fn persistence(&self) -> Persistence {
        Persistence {
            sync: self.storage.sync(),
            failure: self.refusal().cloned(),
            // What will never be written is on its way to nowhere.
            unsynced_bytes: if self.refusal().is_some() { 0 } else { self.queued + self.group.len() },
            durable_group: self.durable,
            backing_up: self.backing_up,
            last_backup: self.last_backup,
            backup_failure: self.backup_failure.clone(),
            compactions: self.storage.compactions(),
        }
    }

    /// Makes everything durable and lets go of the directory.
    pub(super) fn close(&mut self, keys: u64) -> Result<(), StorageError> {
        if let Some(failure) = self.refusal() {
            // What could be said about it has been said; the thread is told to end in any case.
            let failure = failure.clone();
            if let StorageError::TimedOut(_) = failure {
                // It has been waited for long enough.
                self.storage.abandon();
            } else {
                let _ = self.storage.close();
            }
            return Err(failure);
        }
        if self.is_open {
            self.storage.submit(&mut self.group, self.number, keys);
        }
        self.storage.close()
    }
}

/// Notes that the value of a key was changed where it stands.
pub(super) fn note(commits: Option<&mut Commits>, table: &Table, hash: u64, key: &[u8]) {
    if let Some(commits) = commits
        && let Some((_, entry)) = table.find(hash, key).and_then(|found| table.entry(found))
    {
        commits.changed(hash, key, entry.data.len());
    }
}
