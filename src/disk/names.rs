//! The names of the files of a data directory.

/// A snapshot being written.
pub(super) const UNFINISHED: &str = "snapshot.unfinished";
/// A journal being created.
pub(super) const FRESH: &str = "journal.unfinished";
/// Marks a directory that a restore has not completed.
pub(super) const RESTORING: &str = "restore.unfinished";
/// Locked by the process that uses the directory.
pub(super) const LOCK: &str = "lock";
/// Reserves disk space.
pub(super) const RESERVE: &str = "reserve.latchkey";
/// The manifest.
pub(super) const MARK: &str = "mark";

pub(super) fn journal(number: u64) -> String {
    format!("journal-{number:08}")
}

pub(super) fn snapshot(number: u64) -> String {
    format!("snapshot-{number:08}")
}

/// Whether a file with this name belongs to a data directory that no process uses.
pub(super) fn is_ours(name: &str) -> bool {
    let FileNames { journals, snapshots, unfinished, has_mark } = FileNames::sort(vec![name.to_owned()]);
    [LOCK, RESTORING, RESERVE].contains(&name)
        || has_mark
        || !(journals.is_empty() && snapshots.is_empty() && unfinished.is_empty())
}

/// The files of a directory.
#[derive(Debug, Default)]
pub(super) struct FileNames {
    /// Numbers in ascending order.
    pub(super) journals: Vec<u64>,
    pub(super) snapshots: Vec<u64>,
    /// Files that were never finished.
    pub(super) unfinished: Vec<String>,
    pub(super) has_mark: bool,
}

impl FileNames {
    pub(super) fn sort(list: Vec<String>) -> Self {
        let mut names = Self::default();
        for name in list {
            let number = |kind: &str| name.strip_prefix(kind).and_then(|digits| digits.parse().ok());
            match (number("journal-"), number("snapshot-")) {
                (Some(number), _) if journal(number) == name => names.journals.push(number),
                (_, Some(number)) if snapshot(number) == name => names.snapshots.push(number),
                _ if name == UNFINISHED || name == FRESH => names.unfinished.push(name),
                _ => names.has_mark |= name == MARK,
            }
        }
        names.journals.sort_unstable();
        names.snapshots.sort_unstable();
        names
    }

    /// The files that the snapshot with this number has replaced.
    pub(super) fn left_over(&self, number: u64) -> Vec<String> {
        let snapshots = self.snapshots.iter().filter(|old| **old < number).map(|old| snapshot(*old));
        let journals = self.journals.iter().filter(|old| **old < number).map(|old| journal(*old));
        snapshots.chain(journals).collect()
    }
}
