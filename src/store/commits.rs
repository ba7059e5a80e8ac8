//! Changes on their way to disk: collected for the next group, with the dependencies of replies on groups.
//!
//! A reply may be sent when everything it reports is durable. So each change records its group, and each read of a key
//! the group that last changed it; [`Commits::take_dependency`] returns the later of them, once per request. Keys are
//! recorded by their hash: where two share one, a reply waits a little longer than necessary.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::arena::{Data, Draft};
use super::deferred_free::DeferredFree;
use super::entry::Unfit;
use super::table::Table;
use crate::disk::{Backup, Change, Compactions, Group, NO_EXPIRY, Storage, StorageError, Sync, Undo};
use crate::timer::{Now, after};

/// Limits on changes that are not durable yet.
#[derive(Clone, Copy, Debug)]
pub struct CommitLimits {
    /// Bytes of changes that are not durable above which writes wait (`--max-unsynced`). A disk that writes 100 MB/s
    /// catches up with the default in a sixth of a second.
    pub unsynced_bytes: usize,
    /// Time limit for committing one group, and for the disk to make progress while lost changes are undone
    /// (`--storage-timeout`). A disk slower than a minute is considered dead.
    pub timeout: Duration,
}

impl Default for CommitLimits {
    fn default() -> Self {
        Self { unsynced_bytes: 16 << 20, timeout: Duration::from_mins(1) }
    }
}

/// The state of the groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupStatus {
    /// No change since the last call.
    Unchanged,
    /// Every group up to this one is durable.
    Durable(u64),
    /// All groups that were not durable have been undone; writes are refused.
    Lost(StorageError),
    /// The disk has room again after it was full: writes are accepted.
    Recovered,
    /// It is unknown which groups are durable.
    Fatal(StorageError),
}

/// The state of durability, for `INFO` and metrics.
#[derive(Clone, Debug)]
pub struct Persistence {
    /// When writes are forced to disk.
    pub sync: Sync,
    /// Why writes are refused, if they are.
    pub failure: Option<StorageError>,
    /// Bytes of changes not yet durable; 0 while writes are refused.
    pub unsynced_bytes: usize,
    /// The last durable group.
    pub durable_group: u64,
    /// A backup is being written.
    pub backing_up: bool,
    /// When the last backup was finished, in Unix seconds; 0 for never since start.
    pub last_backup: u64,
    /// Why the last backup failed, if it did.
    pub backup_failure: Option<String>,
    /// Counts of compactions.
    pub compactions: Compactions,
}

/// How often a full disk is checked for room.
const LOOK: Duration = Duration::from_secs(1);

/// Minimum cost of each table that is kept until its removal is durable; an empty one takes less.
const CLEARED: usize = 64 << 10;

/// A value of at least this length is written to the group at the end of the turn, once.
const LARGE: usize = 1 << 10;

pub(super) struct Commits {
    storage: Storage,
    limits: CommitLimits,
    /// The changes of this turn.
    group: Group,
    /// Keys whose values are written to the group at the end of this turn, with the lengths of these: large values, and
    /// those changed in place.
    edited: BTreeMap<Box<[u8]>, usize>,
    /// Bytes to be written for them.
    edited_bytes: usize,
    /// Whether a reply may depend on this turn's group.
    is_open: bool,
    /// The number of this turn's group.
    number: u64,
    durable: u64,
    /// By the hash of a key, the group that last changed it.
    pending: HashMap<u64, u64>,
    /// The same in the order of groups, to forget those that are durable.
    order: VecDeque<(u64, u64)>,
    /// The group that last removed every key.
    cleared: u64,
    /// Tables removed as a whole by groups that are not durable, the oldest first, to restore them if a group is lost.
    cleared_tables: VecDeque<(u64, Table)>,
    dependency: Cell<u64>,
    /// Bytes submitted that are not durable.
    queued: usize,
    /// When the oldest group that is not durable became the oldest.
    waiting_since: Option<Instant>,
    state: State,
    /// When the disk was last checked for room.
    looked_at: Option<Instant>,
    /// Progress of the disk in reading what must be undone.
    seen: u64,
    /// Changes still to be undone.
    undo: Undo,
    backing_up: bool,
    last_backup: u64,
    backup_failure: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Working,
    /// A write has failed, and the changes to undo are being read.
    Undoing(StorageError),
    /// They are being undone.
    TakingBack(StorageError),
    /// Only reads are served.
    Refusing(StorageError),
    Fatal(StorageError),
}

/// What the table must do after a commit.
pub(super) enum Step {
    Status(GroupStatus),
    /// Undo some of these changes, then call [`Commits::took_back`].
    TakeBack(Undo),
}

impl std::fmt::Debug for Commits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Commits").field("number", &self.number).field("state", &self.state).finish_non_exhaustive()
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

    /// Whether everything submitted is known to be on disk.
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

    /// A large value was put or moved, or a value was changed in place. It is written once per turn, however often that
    /// happens: a transaction that changes a large value many times would otherwise copy it each time.
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

    /// The value of this key is no longer written at the end of the turn.
    fn forget_edit(&mut self, key: &[u8]) {
        if !self.edited.is_empty()
            && let Some(length) = self.edited.remove(key)
        {
            self.edited_bytes = self.edited_bytes.saturating_sub(key.len() + length);
        }
    }

    /// Writes the values that were changed in place, as they are at the end of the turn. A group is visible as a whole
    /// only, so intermediate values do not matter; keys removed since have been recorded as removed.
    pub(super) fn write_edited(&mut self, table: &Table) {
        self.edited_bytes = 0;
        for key in std::mem::take(&mut self.edited).into_keys() {
            let hash = table.hash(&key);
            if let Some((_, entry)) = table.find(hash, &key).and_then(|found| table.entry(found)) {
                let (kind, expires) = (entry.kind as u8, entry.expires_ms.unwrap_or(NO_EXPIRY));
                // Requests that have changed it already depend on this group, and later ones depend on no more.
                self.push(&Change::Put { key: &key, kind, expires, data: entry.data }, None);
            }
        }
    }

    pub(super) fn removed(&mut self, hash: u64, key: &[u8]) {
        self.forget_edit(key);
        self.push(&Change::Remove { key }, Some(hash));
    }

    /// A key has expired. No reply waits for the removal: the expiry itself is durable, or is waited for.
    pub(super) fn expired(&mut self, key: &[u8]) {
        self.forget_edit(key);
        self.push(&Change::Remove { key }, None);
    }

    /// All keys were removed; `table` holds them.
    pub(super) fn cleared(&mut self, table: Table, deferred_free: &mut DeferredFree) {
        if self.state != State::Working {
            return table.defer(deferred_free);
        }
        // Values changed in place are not written any more, but would have to be undone.
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

    /// Bytes of removed tables that may be restored.
    pub(super) fn cleared_bytes(&self) -> usize {
        self.cleared_tables.iter().map(|(_, table)| table.held()).sum()
    }

    /// The table before all keys were removed, if a lost group removed them.
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

    /// Replies that report a change or a later read of this key depend on this turn's group.
    fn wait_for(&mut self, hash: u64) {
        self.dependency.set(self.number);
        if self.pending.insert(hash, self.number) != Some(self.number) {
            self.order.push_back((self.number, hash));
        }
    }

    /// A key was read.
    pub(super) fn note_read(&self, hash: u64) {
        let mut group = self.cleared;
        if !self.pending.is_empty() {
            group = group.max(self.pending.get(&hash).copied().unwrap_or(0));
        }
        self.dependency.set(self.dependency.get().max(group));
    }

    /// All keys were read.
    pub(super) fn note_read_all(&self) {
        let last = if self.is_open { self.number } else { self.number - 1 };
        self.dependency.set(self.dependency.get().max(last));
    }

    /// The group that must be durable before a reply may report what was done and read since the last call.
    pub(super) fn take_dependency(&self) -> Option<u64> {
        let group = self.dependency.replace(0);
        (group > self.durable).then_some(group)
    }

    /// Why writes are refused.
    pub(super) fn refusal(&self) -> Option<&StorageError> {
        match &self.state {
            State::Working => None,
            State::Undoing(failure) | State::TakingBack(failure) | State::Refusing(failure) | State::Fatal(failure) => {
                Some(failure)
            }
        }
    }

    /// Whether so much waits for the disk that writes must wait.
    pub(super) fn is_congested(&self) -> bool {
        let cleared = self.cleared_tables.len() * CLEARED;
        let unsynced = self.queued + self.group.len() + self.edited_bytes + cleared;
        self.state == State::Working && unsynced > self.limits.unsynced_bytes
    }

    /// Submits this turn's changes, and collects the state of earlier ones. `keys` is the number of keys.
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
            // Reading a lot takes long; only a lack of progress is a failure.
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
                // Reading what must be undone has its own time limit.
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

    /// Some of the lost changes have been undone and `undo` remains, or all have been, or it failed.
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

    /// Time until the next commit is needed without any event.
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
            // Changes that will never be written do not count.
            unsynced_bytes: if self.refusal().is_some() { 0 } else { self.queued + self.group.len() },
            durable_group: self.durable,
            backing_up: self.backing_up,
            last_backup: self.last_backup,
            backup_failure: self.backup_failure.clone(),
            compactions: self.storage.compactions(),
        }
    }

    /// Makes everything durable and releases the directory.
    pub(super) fn close(&mut self, keys: u64) -> Result<(), StorageError> {
        if let Some(failure) = self.refusal() {
            // The failure has been reported; the thread must end in any case.
            let failure = failure.clone();
            if let StorageError::TimedOut(_) = failure {
                // The time limit has already passed.
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

/// Records that the value of a key was changed in place.
pub(super) fn note(commits: Option<&mut Commits>, table: &Table, hash: u64, key: &[u8]) {
    if let Some(commits) = commits
        && let Some((_, entry)) = table.find(hash, key).and_then(|found| table.entry(found))
    {
        commits.changed(hash, key, entry.data.len());
    }
}
