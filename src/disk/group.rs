//! Changes that become durable together, encoded on the loop without an allocation for each.

/// A change. `kind` is defined by the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A value is stored under a key, replacing any other.
    Put {
        /// The key.
        key: &'a [u8],
        /// The kind of the value.
        kind: u8,
        /// Its expiry in Unix milliseconds; [`NO_EXPIRY`](super::NO_EXPIRY) for never.
        expires: u64,
        /// The value.
        data: &'a [u8],
    },
    /// A key is removed.
    Remove {
        /// The key.
        key: &'a [u8],
    },
    /// Every key is removed.
    Clear,
}

/// Bytes before a change's key: tag, key length, value length.
const HEAD: usize = 9;
/// Bytes before the data of a value: kind, expiry.
pub(super) const VALUE_HEAD: usize = 9;

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const CLEAR: u8 = 3;

/// Changes in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    bytes: Vec<u8>,
    count: usize,
}

impl Group {
    /// Adds a change. Keys and values are shorter than 4 GiB: the store's limits are far below.
    pub fn push(&mut self, change: &Change<'_>) {
        match *change {
            Change::Put { key, kind, expires, data } => {
                self.head(PUT, key.len(), VALUE_HEAD + data.len());
                self.bytes.extend_from_slice(key);
                self.bytes.push(kind);
                self.bytes.extend_from_slice(&expires.to_le_bytes());
                self.bytes.extend_from_slice(data);
            }
            Change::Remove { key } => {
                self.head(REMOVE, key.len(), 0);
                self.bytes.extend_from_slice(key);
            }
            Change::Clear => self.head(CLEAR, 0, 0),
        }
    }

    fn head(&mut self, tag: u8, key: usize, value: usize) {
        self.count += 1;
        self.bytes.reserve(HEAD + key + value);
        self.bytes.push(tag);
        self.bytes.extend_from_slice(&u32::try_from(key).unwrap_or(u32::MAX).to_le_bytes());
        self.bytes.extend_from_slice(&u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
    }

    /// Moves all changes of `other` behind these.
    pub fn append(&mut self, other: &mut Self) {
        self.count += std::mem::take(&mut other.count);
        if self.bytes.is_empty() {
            std::mem::swap(&mut self.bytes, &mut other.bytes);
        } else {
            self.bytes.append(&mut other.bytes);
        }
    }

    /// Removes all changes and keeps the memory, unless it is unusually large.
    pub fn reset(&mut self) {
        const KEPT: usize = 1 << 20;
        self.count = 0;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
    }

    /// Number of changes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Encoded size of the changes in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The changes in order.
    pub fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        self.raw().map(|raw| match raw {
            Raw::Remove { key } => Change::Remove { key },
            Raw::Clear => Change::Clear,
            Raw::Put { key, value } => {
                let (kind, expires, data) = split_value(value).unwrap_or((0, 0, &[]));
                Change::Put { key, kind, expires, data }
            }
        })
    }

    /// The changes in order, values encoded.
    pub(super) fn raw(&self) -> Changes<'_> {
        Changes { rest: &self.bytes }
    }

    /// The encoded changes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A change as it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raw<'a> {
    Put { key: &'a [u8], value: &'a [u8] },
    Remove { key: &'a [u8] },
    Clear,
}

/// The changes in some bytes, up to the first invalid one.
pub(super) struct Changes<'a> {
    rest: &'a [u8],
}

impl<'a> Changes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes after the last valid change.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        let (head, behind) = self.rest.split_at_checked(HEAD)?;
        let (tag, lengths) = head.split_first()?;
        let (key, value) = lengths.split_at_checked(4)?;
        let (key, behind) = behind.split_at_checked(length(key)?)?;
        let (value, behind) = behind.split_at_checked(length(value)?)?;
        let raw = match *tag {
            PUT if value.len() >= VALUE_HEAD => Raw::Put { key, value },
            REMOVE if value.is_empty() => Raw::Remove { key },
            CLEAR if key.is_empty() && value.is_empty() => Raw::Clear,
            _ => return None,
        };
        self.rest = behind;
        Some(raw)
    }
}

/// Appends a put from its encoded parts.
pub(super) fn push_put(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.push(PUT);
    out.extend_from_slice(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

fn length(bytes: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
}

/// An encoded value: its kind, its expiry, its data.
pub(super) fn split_value(value: &[u8]) -> Option<(u8, u64, &[u8])> {
    let (head, data) = value.split_at_checked(VALUE_HEAD)?;
    let (kind, expires) = head.split_first()?;
    Some((*kind, u64::from_le_bytes(expires.try_into().ok()?), data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_in_order() {
        let long = vec![7; 70_000];
        let changes = [
            Change::Put { key: b"", kind: 3, expires: 5, data: b"" },
            Change::Clear,
            Change::Remove { key: b"" },
            Change::Put { key: &long[..65_000], kind: 10, expires: u64::MAX, data: &long },
            Change::Remove { key: b"k\0" },
        ];
        let (mut first, mut second) = (Group::default(), Group::default());
        for (index, change) in changes.iter().enumerate() {
            if index < 2 { first.push(change) } else { second.push(change) }
        }
        first.append(&mut second);
        assert!(second.is_empty());
        assert_eq!(first.changes().collect::<Vec<_>>(), changes);
        second.append(&mut first);
        assert_eq!(second.changes().count(), 5);
        second.reset();
        assert_eq!((second.changes().count(), second.len()), (0, 0));
    }
}
