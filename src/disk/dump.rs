//! Keys and values as one stream, for backups and for moving to another machine. `docs/durability.md` describes it.

use std::io::{self, Read, Write};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::OpenError;
use super::data_files::{Contents, Loaded, Record};

/// The first bytes of a dump; the number is the version of the format.
const MAGIC: &[u8; 16] = b"latchkey dump 1\n";
/// Records are collected up to this many bytes before they are written as one block.
const BLOCK: usize = 256 << 10;
/// Maximum size of a block: the largest value and its key are smaller.
const MAX_BLOCK: u32 = 1 << 30;
/// Bytes before the key of a record: lengths of key and value, kind, expiry.
const HEAD: usize = 17;

/// Why a dump cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// It is not a dump, or of an unknown version.
    #[error("it is not a dump, or of an unknown version")]
    Format,
    /// It was changed or truncated.
    #[error("it is damaged or truncated after {0} keys")]
    Damaged(u64),
    /// Reading failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The directory cannot be filled.
    #[error("{0}")]
    Directory(#[from] OpenError),
}

/// Writes a dump.
pub struct DumpWriter<W> {
    out: W,
    block: Vec<u8>,
    sum: u64,
    keys: u64,
}

impl<W: Write> DumpWriter<W> {
    /// Begins a dump.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        Ok(Self { out, block: Vec::new(), sum: 0, keys: 0 })
    }

    /// Adds a record.
    pub fn add(&mut self, record: &Record<'_>) -> io::Result<()> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| io::Error::other("a value is too large"));
        self.block.extend_from_slice(&length(record.key)?.to_le_bytes());
        self.block.extend_from_slice(&length(record.data)?.to_le_bytes());
        self.block.push(record.kind);
        self.block.extend_from_slice(&record.expires.to_le_bytes());
        self.block.extend_from_slice(record.key);
        self.block.extend_from_slice(record.data);
        self.keys += 1;
        if self.block.len() >= BLOCK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let length = u32::try_from(self.block.len()).map_err(|_| io::Error::other("a block is too large"))?;
        self.sum = xxh3_64_with_seed(&self.block, self.sum);
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&self.sum.to_le_bytes())?;
        self.out.write_all(&self.block)?;
        self.block.clear();
        self.block.shrink_to(2 * BLOCK);
        Ok(())
    }

    /// Ends the dump. Returns the writer, and the number of keys.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        if !self.block.is_empty() {
            self.flush()?;
        }
        let keys = self.keys.to_le_bytes();
        self.out.write_all(&0u32.to_le_bytes())?;
        self.out.write_all(&xxh3_64_with_seed(&keys, self.sum).to_le_bytes())?;
        self.out.write_all(&keys)?;
        self.out.flush()?;
        Ok((self.out, self.keys))
    }
}

/// Reads a dump.
pub struct DumpReader<R> {
    input: R,
    sum: u64,
    keys: u64,
}

impl<R: Read> DumpReader<R> {
    /// Begins to read.
    pub fn new(mut input: R) -> Result<Self, DumpError> {
        let mut magic = [0; MAGIC.len()];
        input.read_exact(&mut magic).map_err(|error| cut(error, DumpError::Format))?;
        if &magic != MAGIC {
            return Err(DumpError::Format);
        }
        Ok(Self { input, sum: 0, keys: 0 })
    }

    /// Reads everything to the end of the input; returns the number of keys.
    pub fn read(mut self, visit: &mut dyn FnMut(Record<'_>) -> Result<(), DumpError>) -> Result<u64, DumpError> {
        let mut block = Vec::new();
        loop {
            let length = u32::from_le_bytes(self.array()?);
            let sum = u64::from_le_bytes(self.array()?);
            if length == 0 {
                let keys: [u8; 8] = self.array()?;
                let is_whole = sum == xxh3_64_with_seed(&keys, self.sum) && u64::from_le_bytes(keys) == self.keys;
                let nothing_behind = self.input.read(&mut [0])? == 0;
                return if is_whole && nothing_behind { Ok(self.keys) } else { Err(self.damaged()) };
            }
            if length > MAX_BLOCK {
                return Err(self.damaged());
            }
            block.clear();
            // Memory grows with the bytes received, not with the length that a damaged head announces.
            let read = (&mut self.input).take(u64::from(length)).read_to_end(&mut block)?;
            self.sum = xxh3_64_with_seed(&block, self.sum);
            if read as u64 != u64::from(length) || sum != self.sum {
                return Err(self.damaged());
            }
            let mut rest = block.as_slice();
            while !rest.is_empty() {
                let (record, behind) = record(rest).ok_or_else(|| self.damaged())?;
                visit(record)?;
                self.keys += 1;
                rest = behind;
            }
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DumpError> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(|error| cut(error, self.damaged()))?;
        Ok(bytes)
    }

    fn damaged(&self) -> DumpError {
        DumpError::Damaged(self.keys)
    }
}

fn cut(error: io::Error, otherwise: DumpError) -> DumpError {
    if error.kind() == io::ErrorKind::UnexpectedEof { otherwise } else { error.into() }
}

fn record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let length = |at: usize| usize::try_from(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?)).ok();
    let (key, rest) = rest.split_at_checked(length(0)?)?;
    let (data, rest) = rest.split_at_checked(length(4)?)?;
    let expires = u64::from_le_bytes(head.get(9..)?.try_into().ok()?);
    Some((Record { key, kind: *head.get(8)?, expires, data }, rest))
}

/// Writes every key.
pub(super) fn write_all<W: Write>(contents: &Contents, writer: &mut DumpWriter<W>) -> io::Result<Loaded> {
    let mut written = Ok(());
    let loaded = contents.load(&mut |record| {
        if written.is_ok() {
            written = writer.add(&record);
        }
    })?;
    written.map(|()| loaded)
}
