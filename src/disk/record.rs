//! The format of journals and snapshots: a file head, then records, each with a body of changes.
//!
//! | file head | bytes | | record | bytes |
//! |---|---|---|---|---|
//! | type and version | 16 | | type | 4 |
//! | its number | 8 | | length of the body | 8 |
//! | the last group before it | 8 | | checksum of the record before, or of the file head | 8 |
//! | keys after that group | 8 | | first group in it, last group in it | 16 |
//! | salt | 8 | | keys after it | 8 |
//! | checksum of the last record before it | 8 | | the last group known to be on disk when it was written | 8 |
//! | checksum of this head | 8 | | checksum of the body, checksum of this head | 16 |
//! Numbers are little-endian, checksums are xxh3 (64 bits). Those of records are seeded with the file's salt, which no
//! client knows: no value can imitate a record. Each record contains the checksum of the previous one, so a record that
//! is missing, moved, or from another file is detected; and each can be verified on its own, so that records after
//! damage are found.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::folder::FileHandle;

/// Bytes of a file head.
pub(super) const FILE_HEAD: usize = 64;
/// Bytes of a record before its body.
pub(super) const HEAD: usize = 68;
/// Size of a read.
const CHUNK: usize = 256 << 10;

const JOURNAL: [u8; 16] = *b"latchkey jrnl 1\n";
const SNAPSHOT: [u8; 16] = *b"latchkey snap 1\n";
const BATCH: [u8; 4] = *b"\xb5rec";
const END: [u8; 4] = *b"\xb5end";

/// The head of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHead {
    pub(super) is_snapshot: bool,
    /// Journals are numbered without a gap; a snapshot has the number of the first journal that is not in it.
    pub(super) number: u64,
    /// The last group before a journal; the last group in a snapshot.
    pub(super) group: u64,
    /// The number of keys after that group.
    pub(super) keys: u64,
    /// Seed of the checksums in the file.
    pub(super) salt: u64,
    /// The checksum of the last record in the previous file.
    pub(super) previous: u64,
}

/// A random number.
pub(super) fn salt() -> u64 {
    RandomState::new().build_hasher().finish()
}

impl FileHead {
    /// The bytes, and the checksum that the first record contains.
    pub(super) fn encode(&self) -> ([u8; FILE_HEAD], u64) {
        let mut bytes = [0; FILE_HEAD];
        let (front, sum) = bytes.split_at_mut(FILE_HEAD - 8);
        let numbers = [self.number, self.group, self.keys, self.salt, self.previous];
        let magic = if self.is_snapshot { SNAPSHOT } else { JOURNAL };
        let parts = magic.into_iter().chain(numbers.into_iter().flat_map(u64::to_le_bytes));
        front.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        let checksum = xxh3_64(front);
        sum.copy_from_slice(&checksum.to_le_bytes());
        (bytes, checksum)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, u64)> {
        let (magic, mut numbers) = bytes.get(..FILE_HEAD)?.split_at_checked(16)?;
        let is_snapshot = magic == SNAPSHOT;
        let mut number = || take_number(&mut numbers);
        let head = Self {
            is_snapshot,
            number: number()?,
            group: number()?,
            keys: number()?,
            salt: number()?,
            previous: number()?,
        };
        let sum = number()?;
        let is_good = (is_snapshot || magic == JOURNAL) && sum == xxh3_64(bytes.get(..FILE_HEAD - 8)?);
        is_good.then_some((head, sum))
    }
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}

/// The head of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Marks the last record of a snapshot.
    pub(super) is_end: bool,
    /// Length of the body.
    pub(super) length: u64,
    /// The first and the last group in it.
    pub(super) first: u64,
    pub(super) last: u64,
    /// The number of keys after it, or up to it in a snapshot.
    pub(super) keys: u64,
    /// The last group known to be on disk when it was written.
    pub(super) durable: u64,
}

/// The chain of the records of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) salt: u64,
    /// The checksum of the previous record.
    pub(super) previous: u64,
}

impl Chain {
    /// The head of `body`, and the chain after that record.
    pub(super) fn seal(&self, head: &Head, body: &[u8]) -> ([u8; HEAD], Self) {
        let mut bytes = [0; HEAD];
        let (front, sum) = bytes.split_at_mut(HEAD - 8);
        let checksum = xxh3_64_with_seed(body, self.salt);
        let numbers = [body.len() as u64, self.previous, head.first, head.last, head.keys, head.durable, checksum];
        let magic = if head.is_end { END } else { BATCH };
        let parts = magic.into_iter().chain(numbers.into_iter().flat_map(u64::to_le_bytes));
        front.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        let previous = xxh3_64_with_seed(front, self.salt);
        sum.copy_from_slice(&previous.to_le_bytes());
        (bytes, Self { previous, ..*self })
    }
}

/// A valid head, perhaps not in its place.
pub(super) struct FoundRecord {
    pub(super) head: Head,
    pub(super) previous: u64,
    body: u64,
    sum: u64,
}

/// The head at the front of `bytes`, if there is one.
pub(super) fn find(bytes: &[u8], salt: u64) -> Option<FoundRecord> {
    let (magic, mut numbers) = bytes.get(..HEAD)?.split_at_checked(4)?;
    if magic != BATCH && magic != END {
        return None;
    }
    let mut number = || take_number(&mut numbers);
    let (length, previous) = (number()?, number()?);
    let head =
        Head { is_end: magic == END, length, first: number()?, last: number()?, keys: number()?, durable: number()? };
    let found = FoundRecord { head, previous, body: number()?, sum: number()? };
    (found.sum == xxh3_64_with_seed(bytes.get(..HEAD - 8)?, salt)).then_some(found)
}

/// Reads the records of a file in order, up to the first that is incomplete or not in its place.
pub(super) struct Reader<'a> {
    file: &'a dyn FileHandle,
    length: u64,
    chain: Chain,
    buffer: Vec<u8>,
    /// The offset of the next record in the buffer.
    at: usize,
    /// The offset of the buffer's record in the file.
    position: u64,
}

impl<'a> Reader<'a> {
    /// `None` for a file without a valid head.
    pub(super) fn open(file: &'a dyn FileHandle) -> io::Result<Option<(FileHead, Self)>> {
        let length = file.length()?;
        let mut reader = Self { file, length, chain: Chain::default(), buffer: Vec::new(), at: 0, position: 0 };
        let Some((head, previous)) = FileHead::decode(reader.peek(FILE_HEAD)?) else { return Ok(None) };
        reader.chain = Chain { salt: head.salt, previous };
        reader.skip(FILE_HEAD);
        Ok(Some((head, reader)))
    }

    /// The next record and its body.
    pub(super) fn read(&mut self) -> io::Result<Option<(Head, &[u8])>> {
        let salt = self.chain.salt;
        let Some(found) = find(self.peek(HEAD)?, salt) else { return Ok(None) };
        let room = self.length.saturating_sub(self.position + HEAD as u64);
        let body = match usize::try_from(found.head.length) {
            Ok(body) if found.head.length <= room && found.previous == self.chain.previous => body,
            _ => return Ok(None),
        };
        let Some(whole) = HEAD.checked_add(body) else { return Ok(None) };
        match self.peek(whole)?.get(HEAD..whole) {
            Some(bytes) if xxh3_64_with_seed(bytes, salt) == found.body => {}
            _ => return Ok(None),
        }
        self.chain.previous = found.sum;
        let from = self.at + HEAD;
        self.skip(whole);
        Ok(Some((found.head, self.buffer.get(from..from + body).unwrap_or_default())))
    }

    /// The end of the last complete record.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The chain that the next record continues.
    pub(super) fn chain(&self) -> Chain {
        self.chain
    }

    fn skip(&mut self, bytes: usize) {
        self.at += bytes;
        self.position += bytes as u64;
    }

    /// The next `wanted` bytes, or as many as the file has.
    fn peek(&mut self, wanted: usize) -> io::Result<&[u8]> {
        if self.buffer.len() - self.at < wanted {
            self.buffer.drain(..self.at);
            self.at = 0;
            let mut filled = self.buffer.len();
            let left = usize::try_from(self.length - self.position).unwrap_or(usize::MAX);
            self.buffer.resize(wanted.max(CHUNK).min(left), 0);
            while let Some(room) = self.buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
                match self.file.read_at(room, self.position + filled as u64)? {
                    0 => break,
                    read => filled += read,
                }
            }
            self.buffer.truncate(filled);
        }
        let there = self.buffer.get(self.at..).unwrap_or_default();
        Ok(there.get(..wanted).unwrap_or(there))
    }

    /// What follows the last complete record.
    pub(super) fn rest(mut self) -> io::Result<Rest> {
        let mut rest = Rest::default();
        let salt = self.chain.salt;
        loop {
            // Windows overlap, so that a head is seen whole in one of them.
            let window = self.peek(CHUNK)?;
            rest.is_empty &= window.iter().all(|byte| *byte == 0);
            let starts = window.iter().enumerate().filter(|(_, byte)| **byte == BATCH[0]);
            for found in starts.filter_map(|(at, _)| find(window.get(at..)?, salt)) {
                rest.durable = rest.durable.max(found.head.durable);
            }
            if window.len() < CHUNK {
                return Ok(rest);
            }
            self.skip(CHUNK - HEAD);
        }
    }
}

/// What follows the last complete record of a file.
#[derive(Debug)]
pub(super) struct Rest {
    /// Nothing, or only zeros.
    pub(super) is_empty: bool,
    /// A record found there, with the last group it shows to have been on disk before it.
    pub(super) durable: u64,
}

impl Default for Rest {
    fn default() -> Self {
        Self { is_empty: true, durable: 0 }
    }
}
