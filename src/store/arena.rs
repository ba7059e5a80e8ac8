//! The records of one segment: shared pages for small ones, a block for each large one.
//!
//! A record is, in bytes: flags and kind (1), key length (2), data length (2), expiry (8, only if it ever had one),
//! key, data. Data longer than [`APART`] bytes is in a block of its own, and the record holds the block's number
//! instead. Records are not moved one by one: a removed one leaves garbage behind until the segment copies its live
//! records into new pages.

use slab::Slab;

use super::entry::{Entry, Kind};

/// Size of a shared page: small against a segment, so that a partly filled last page wastes little.
pub(super) const PAGE: usize = 4096;
/// Maximum length of a record in a shared page; so at most a quarter of a page stays unused.
const SHARED: usize = PAGE / 4;
/// Maximum length of data inside a record.
const APART: usize = 800;
/// The expiry of a record that never expires.
pub(super) const NEVER: u64 = u64::MAX;

/// The bits of the first byte that hold the kind; the others are flags.
const KIND: u8 = 0x0f;
/// Used since the clock hand last passed.
const USED: u8 = 0x10;
/// Has room for an expiry.
const TIMED: u8 = 0x20;
/// The data is in a block.
const BLOCK: u8 = 0x40;
/// The record has a page of its own.
const OWN_PAGE: u8 = 0x80;
/// Flags, key length, data length.
const HEAD: usize = 5;

/// The position of a record: page number and offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    page: u16,
    offset: u16,
}

/// A record's data to be stored.
#[derive(Debug)]
pub(super) enum Data<'a> {
    /// To be copied.
    Borrowed(&'a [u8]),
    /// To be taken over as a block, if it is too long for a record.
    Owned(Vec<u8>),
}

/// A record to be stored.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) key: &'a [u8],
    pub(super) kind: Kind,
    pub(super) used: bool,
    /// Unix milliseconds, or [`NEVER`].
    pub(super) expires: u64,
    pub(super) data: Data<'a>,
}

impl Draft<'_> {
    /// Bytes of key and data.
    pub(super) fn len(&self) -> usize {
        let data = match &self.data {
            Data::Borrowed(data) => data.len(),
            Data::Owned(data) => data.len(),
        };
        self.key.len() + data
    }
}

/// A record as it is in its page.
#[derive(Clone, Copy)]
struct Record<'a> {
    flags: u8,
    expires: u64,
    key: &'a [u8],
    data: &'a [u8],
}

impl<'a> Record<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (&[flags, k0, k1, d0, d1], rest) = bytes.split_first_chunk::<HEAD>()?;
        let (expires, rest) = if flags & TIMED == 0 {
            (NEVER, rest)
        } else {
            let (expires, rest) = rest.split_first_chunk()?;
            (u64::from_le_bytes(*expires), rest)
        };
        let (key, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([k0, k1])))?;
        let data = rest.get(..usize::from(u16::from_le_bytes([d0, d1])))?;
        Some(Self { flags, expires, key, data })
    }

    fn data_start(&self) -> usize {
        HEAD + if self.flags & TIMED == 0 { 0 } else { 8 } + self.key.len()
    }

    fn len(&self) -> usize {
        self.data_start() + self.data.len()
    }

    /// The number of the block that holds the data, if it is in one.
    fn block(&self) -> Option<usize> {
        if self.flags & BLOCK == 0 {
            return None;
        }
        self.data.first_chunk().map(|number| usize::from(u16::from_le_bytes(*number)))
    }
}

/// The arena has no page number left; segments are split long before.
#[derive(Debug)]
pub(super) struct Full;

/// Pages and blocks of one segment.
#[derive(Debug, Default)]
pub(super) struct Arena {
    pages: Slab<Vec<u8>>,
    /// The shared page that is being filled.
    open: Option<u16>,
    /// How many pages are shared.
    shared: usize,
    /// Bytes of live records in shared pages.
    live: usize,
    /// Bytes of dead records in shared pages.
    garbage: usize,
    /// Bytes of records with pages of their own, whose keys are long.
    long: usize,
    /// Bytes allocated for pages and blocks.
    held: usize,
}

impl Arena {
    /// Bytes of live records in shared pages, which a compaction copies.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Bytes of keys and record heads, which a scan of every record reads.
    pub(super) fn records(&self) -> usize {
        self.live + self.long
    }

    /// Bytes of dead records in shared pages, which a compaction reclaims.
    pub(super) fn garbage(&self) -> usize {
        self.garbage
    }

    /// Whether a compaction is sure to save at least one page.
    pub(super) fn wastes_a_page(&self) -> bool {
        // A page is at least three quarters full before the next one is begun.
        self.garbage >= PAGE || (self.garbage > 0 && self.live.div_ceil(PAGE * 3 / 4) < self.shared)
    }

    /// Bytes allocated.
    pub(super) fn held(&self) -> usize {
        self.held + self.pages.capacity() * size_of::<Vec<u8>>()
    }

    /// Takes out every page and block, to be freed elsewhere.
    pub(super) fn into_pages(mut self) -> Vec<Vec<u8>> {
        self.pages.drain().collect()
    }

    fn record(&self, place: Place) -> Option<Record<'_>> {
        Record::read(self.pages.get(usize::from(place.page))?.get(usize::from(place.offset)..)?)
    }

    /// The key of the record at `place`.
    pub(super) fn key(&self, place: Place) -> Option<&[u8]> {
        self.record(place).map(|record| record.key)
    }

    /// When the record at `place` expires.
    pub(super) fn expires(&self, place: Place) -> u64 {
        self.record(place).map_or(NEVER, |record| record.expires)
    }

    /// The key and value of the record at `place`.
    pub(super) fn entry(&self, place: Place) -> Option<(&[u8], Entry<'_>)> {
        let record = self.record(place)?;
        let data = match record.block() {
            Some(number) => self.pages.get(number)?,
            None => record.data,
        };
        let expires_ms = (record.expires != NEVER).then_some(record.expires);
        Some((record.key, Entry { kind: Kind::from_byte(record.flags & KIND)?, data, expires_ms }))
    }

    /// The data of the record at `place`, if it is in the record itself.
    pub(super) fn inline(&self, place: Place) -> Option<&[u8]> {
        self.record(place).filter(|record| record.block().is_none()).map(|record| record.data)
    }

    /// Bytes that removing the record frees.
    pub(super) fn weight(&self, place: Place) -> usize {
        let Some(record) = self.record(place) else { return 0 };
        let block = record.block().and_then(|number| self.pages.get(number));
        record.len() + block.map_or(0, Vec::capacity)
    }

    fn flags_mut(&mut self, place: Place) -> Option<&mut u8> {
        self.pages.get_mut(usize::from(place.page))?.get_mut(usize::from(place.offset))
    }

    /// Whether the record was used since the last call; clears the mark.
    pub(super) fn take_used(&mut self, place: Place) -> bool {
        let Some(flags) = self.flags_mut(place) else { return false };
        let used = *flags & USED != 0;
        *flags &= !USED;
        used
    }

    /// Marks the record as used.
    pub(super) fn mark_used(&mut self, place: Place) {
        if let Some(flags) = self.flags_mut(place)
            && *flags & USED == 0
        {
            *flags |= USED;
        }
    }

    /// Whether there are page numbers for one more record: one for its data, one for its page.
    pub(super) fn has_room(&self) -> bool {
        u16::try_from(self.pages.len() + 2).is_ok()
    }

    /// Stores a new record.
    pub(super) fn put(&mut self, draft: Draft<'_>) -> Result<Place, Full> {
        if !self.has_room() {
            return Err(Full);
        }
        let mut flags = draft.kind as u8;
        flags |= if draft.used { USED } else { 0 };
        let block = match draft.data {
            Data::Borrowed(data) if data.len() <= APART => {
                return Ok(self.write(flags, draft.expires, draft.key, data));
            }
            Data::Owned(data) if data.len() <= APART => return Ok(self.write(flags, draft.expires, draft.key, &data)),
            Data::Borrowed(data) => data.to_vec(),
            Data::Owned(data) => data,
        };
        let number = self.insert_page(block).to_le_bytes();
        Ok(self.write(flags | BLOCK, draft.expires, draft.key, &number))
    }

    fn write(&mut self, mut flags: u8, expires: u64, key: &[u8], data: &[u8]) -> Place {
        flags &= !(TIMED | OWN_PAGE);
        flags |= if expires == NEVER { 0 } else { TIMED };
        let length = HEAD + if expires == NEVER { 0 } else { 8 } + key.len() + data.len();
        let own = length > SHARED;
        flags |= if own { OWN_PAGE } else { 0 };
        let number = if own { self.insert_page(Vec::with_capacity(length)) } else { self.page_for(length) };
        *(if own { &mut self.long } else { &mut self.live }) += length;
        let Some(page) = self.pages.get_mut(usize::from(number)) else { return Place { page: number, offset: 0 } };
        let offset = short(page.len());
        let [k0, k1] = short(key.len()).to_le_bytes();
        let [d0, d1] = short(data.len()).to_le_bytes();
        page.extend_from_slice(&[flags, k0, k1, d0, d1]);
        if expires != NEVER {
            page.extend_from_slice(&expires.to_le_bytes());
        }
        page.extend_from_slice(key);
        page.extend_from_slice(data);
        Place { page: number, offset }
    }

    /// A shared page with room for `length` bytes.
    fn page_for(&mut self, length: usize) -> u16 {
        let fits = |number: &u16| self.pages.get(usize::from(*number)).is_some_and(|page| page.len() + length <= PAGE);
        if let Some(number) = self.open.filter(fits) {
            return number;
        }
        let number = self.insert_page(Vec::with_capacity(PAGE));
        self.shared += 1;
        self.open = Some(number);
        number
    }

    fn insert_page(&mut self, page: Vec<u8>) -> u16 {
        self.held += page.capacity();
        short(self.pages.insert(page))
    }

    fn take_page(&mut self, number: usize) -> Option<Vec<u8>> {
        let page = self.pages.try_remove(number)?;
        self.held -= page.capacity();
        Some(page)
    }

    /// Takes the page that belongs to one record.
    fn take_own_page(&mut self, number: usize) -> Option<Vec<u8>> {
        let page = self.take_page(number)?;
        self.long -= page.len();
        Some(page)
    }

    /// Removes a record; returns its data, if that was in a block.
    pub(super) fn remove(&mut self, place: Place) -> Option<Vec<u8>> {
        let record = self.record(place)?;
        let (flags, length, block) = (record.flags, record.len(), record.block());
        if flags & OWN_PAGE == 0 {
            self.live -= length;
            self.garbage += length;
        } else {
            self.take_own_page(usize::from(place.page));
        }
        self.take_page(block?)
    }

    /// Stores a new value in the space of the old one; `false` if it does not fit and nothing was changed.
    pub(super) fn overwrite(&mut self, place: Place, kind: Kind, data: &[u8], expires: u64) -> bool {
        let Some(record) = self.record(place) else { return false };
        let (flags, start, room, block) = (record.flags, record.data_start(), record.data.len(), record.block());
        if expires != NEVER && flags & TIMED == 0 {
            return false;
        }
        let fits = match block.and_then(|number| self.pages.get_mut(number)) {
            // At most half of a block may be unused.
            Some(block) if data.len() <= block.capacity() && data.len() > APART.max(block.capacity() / 2) => {
                block.clear();
                block.extend_from_slice(data);
                true
            }
            Some(_) => false,
            None => data.len() <= room && self.write_data(place, start, data).is_some(),
        };
        if !fits {
            return false;
        }
        if block.is_none() && flags & OWN_PAGE == 0 {
            self.live -= room - data.len();
            self.garbage += room - data.len();
        }
        self.write_expiry(place, flags, expires);
        if let Some(flags) = self.flags_mut(place) {
            *flags = (*flags & !KIND) | kind as u8 | USED;
        }
        true
    }

    fn write_data(&mut self, place: Place, start: usize, data: &[u8]) -> Option<()> {
        let page = self.pages.get_mut(usize::from(place.page))?;
        let record = page.get_mut(usize::from(place.offset)..)?;
        record.get_mut(3..HEAD)?.copy_from_slice(&short(data.len()).to_le_bytes());
        record.get_mut(start..start + data.len())?.copy_from_slice(data);
        Some(())
    }

    fn write_expiry(&mut self, place: Place, flags: u8, expires: u64) {
        let page = self.pages.get_mut(usize::from(place.page));
        let record = page.and_then(|page| page.get_mut(usize::from(place.offset)..));
        if flags & TIMED != 0
            && let Some(field) = record.and_then(|record| record.get_mut(HEAD..HEAD + 8))
        {
            field.copy_from_slice(&expires.to_le_bytes());
        }
    }

    /// Changes the expiry if the record has room for one; `false` if it has none and needs it.
    pub(super) fn set_expires(&mut self, place: Place, expires: u64) -> bool {
        let timed = self.record(place).is_some_and(|record| record.flags & TIMED != 0);
        if timed {
            self.write_expiry(place, TIMED, expires);
        }
        timed || expires == NEVER
    }

    /// Writes a record again with another expiry; data in a block stays there.
    pub(super) fn rewrite(&mut self, place: Place, expires: u64) -> Option<Place> {
        let record = self.record(place)?;
        let (flags, key, data) = (record.flags, record.key.to_vec(), record.data.to_vec());
        if flags & OWN_PAGE == 0 {
            let length = record.len();
            self.live -= length;
            self.garbage += length;
        } else {
            self.take_own_page(usize::from(place.page));
        }
        Some(self.write(flags, expires, &key, &data))
    }

    /// Appends to data in a block; returns its new length, `None` if there is no block.
    pub(super) fn append(&mut self, place: Place, data: &[u8]) -> Option<usize> {
        let number = self.record(place)?.block()?;
        let block = self.pages.get_mut(number)?;
        let before = block.capacity();
        reserve(block, data.len());
        block.extend_from_slice(data);
        let length = block.len();
        self.held += block.capacity() - before;
        Some(length)
    }

    /// Writes `patch` at `offset` into data in a block, which grows if necessary, with zeros up to there. Returns the
    /// block's new length; `None` if there is no block, or if it would grow to twice its length or more: then copying
    /// it into zeroed memory from the system costs less than filling the gap.
    pub(super) fn patch(&mut self, place: Place, offset: usize, patch: &[u8]) -> Option<usize> {
        let number = self.record(place)?.block()?;
        let block = self.pages.get_mut(number)?;
        let end = offset.checked_add(patch.len())?;
        let (before, length) = (block.capacity(), block.len());
        if end / 2 >= length {
            return None;
        }
        if end > length {
            reserve(block, end - length);
            block.resize(end, 0);
        }
        block.get_mut(offset..end)?.copy_from_slice(patch);
        let length = block.len();
        self.held += block.capacity() - before;
        Some(length)
    }

    /// Moves a record here from `other`, which is emptied record by record. Blocks move without a copy.
    pub(super) fn adopt(&mut self, other: &mut Self, place: Place) -> Option<Place> {
        let record = other.record(place)?;
        let (flags, block) = (record.flags, record.block());
        if let Some(number) = block {
            let (expires, key) = (record.expires, record.key.to_vec());
            let block = other.take_page(number)?;
            let number = self.insert_page(block).to_le_bytes();
            return Some(self.write(flags, expires, &key, &number));
        }
        if flags & OWN_PAGE != 0 {
            let page = other.take_own_page(usize::from(place.page))?;
            self.long += page.len();
            return Some(Place { page: self.insert_page(page), offset: 0 });
        }
        Some(self.write(flags, record.expires, record.key, record.data))
    }
}

#[cfg(test)]
impl Arena {
    /// Recounts everything and compares; `places` are all records.
    pub(super) fn check(&self, places: impl Iterator<Item = Place>) {
        let (mut live, mut long, mut blocks) = (0, 0, 0);
        for place in places {
            let record = self.record(place).unwrap();
            if record.flags & OWN_PAGE == 0 {
                live += record.len();
            } else {
                long += self.pages[usize::from(place.page)].len();
            }
            blocks += usize::from(record.flags & OWN_PAGE != 0) + usize::from(record.block().is_some());
        }
        assert_eq!((live, long), (self.live, self.long));
        assert_eq!(self.pages.iter().map(|(_, page)| page.capacity()).sum::<usize>(), self.held);
        let shared = self.pages.len() - blocks;
        assert_eq!(shared, self.shared);
        assert!(shared * PAGE <= (live + self.garbage) * 4 / 3 + PAGE, "{shared} pages for {live} + {}", self.garbage);
    }
}

/// Makes room for `more` bytes in a block. Doubling is amortised but wastes half; from a megabyte on, growth by an
/// eighth is amortised enough.
fn reserve(block: &mut Vec<u8>, more: usize) {
    if block.capacity() - block.len() < more {
        block.reserve_exact(more.max(spare(block.len())));
    }
}

/// Spare capacity of a large value that must grow, in bytes.
#[must_use]
pub fn spare(length: usize) -> usize {
    if length < 1 << 20 { length } else { length / 8 }
}

/// A number that is known to fit: keys and pages are limited to 65,534, data in a record to [`APART`].
fn short(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
