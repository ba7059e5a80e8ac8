//! Properties of any bytes read as a dump or a journal, for the tests and the fuzz targets. Panics if one is violated.
#![allow(clippy::missing_panics_doc, reason = "a panic reports a violated property")]

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::group::Changes;
use super::record::{FileHead, HEAD, find};
use super::{DumpReader, DumpWriter, Record};

/// A record, owned.
type Owned = (Vec<u8>, u8, u64, Vec<u8>);

fn read(dump: &[u8]) -> (Vec<Owned>, bool) {
    let mut records = Vec::new();
    let reader = DumpReader::new(dump);
    let result = reader.and_then(|reader| {
        reader.read(&mut |record| {
            records.push((record.key.to_vec(), record.kind, record.expires, record.data.to_vec()));
            Ok(())
        })
    });
    if let Ok(keys) = &result {
        assert_eq!(*keys, records.len() as u64, "keys are counted wrong");
    }
    (records, result.is_ok())
}

/// A dump is read to its end or refused: the bytes alone, and as the only block of a dump with valid checksums, which
/// no search would find. A dump written again is read as the same, and refused when any byte is missing.
pub fn dump(input: &[u8]) {
    read(input);
    let mut sealed = b"latchkey dump 1\n".to_vec();
    let (mut sum, mut length) = (0, 0);
    if !input.is_empty() {
        sum = xxh3_64_with_seed(input, sum);
        length = u32::try_from(input.len()).unwrap_or(u32::MAX);
        sealed.extend_from_slice(&length.to_le_bytes());
        sealed.extend_from_slice(&sum.to_le_bytes());
        sealed.extend_from_slice(input);
    }
    let (records, _) = read(&sealed);
    assert!(records.iter().map(|(key, _, _, data)| key.len() + data.len()).sum::<usize>() <= input.len());
    let keys = (records.len() as u64).to_le_bytes();
    sealed.extend_from_slice(&0_u32.to_le_bytes());
    sealed.extend_from_slice(&xxh3_64_with_seed(&keys, sum).to_le_bytes());
    sealed.extend_from_slice(&keys);
    let (again, is_whole) = read(&sealed);
    assert_eq!(again, records);
    if !is_whole {
        return;
    }
    let mut writer = DumpWriter::new(Vec::new()).expect("into memory");
    for (key, kind, expires, data) in &records {
        writer.add(&Record { key, kind: *kind, expires: *expires, data }).expect("into memory");
    }
    let (written, _) = writer.finish().expect("into memory");
    assert_eq!(written, sealed, "written again it is another dump");
    let cut = usize::try_from(sum).unwrap_or(usize::MAX) % written.len();
    assert!(!read(written.get(..cut).unwrap_or_default()).1, "a dump that ends at {cut} of {length} is taken");
}

/// A journal is read up to the first invalid byte: a file head, a record head, and the changes of a record.
pub fn journal(input: &[u8]) {
    if let Some((head, sum)) = FileHead::decode(input) {
        let (bytes, again) = head.encode();
        assert!(input.starts_with(&bytes) && sum == again, "written again it is another head");
    }
    assert!(find(input, 0).is_none() || input.len() >= HEAD);
    let mut changes = Changes::new(input);
    let count = (&mut changes).count();
    assert!(count * 9 + changes.rest().len() <= input.len(), "changes take less than their heads");
    assert!(input.ends_with(changes.rest()), "what comes behind the changes is something else");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn dumps_of_any_records(
            records in prop::collection::vec((any::<[u8; 2]>(), any::<u8>(), any::<u64>(), 0_usize..9), 0..6),
            tail in prop::collection::vec(any::<u8>(), 0..3),
        ) {
            let mut block = Vec::new();
            for (key, kind, expires, length) in records {
                block.extend_from_slice(&2_u32.to_le_bytes());
                block.extend_from_slice(&u32::try_from(length).unwrap_or(0).to_le_bytes());
                block.push(kind);
                block.extend_from_slice(&expires.to_le_bytes());
                block.extend_from_slice(&key);
                block.resize(block.len() + length, 7);
            }
            dump(&block);
            block.extend_from_slice(&tail);
            dump(&block);
        }

        #[test]
        fn journals_of_any_bytes(bytes in prop::collection::vec(0_u8..5, 0..200)) {
            journal(&bytes);
        }
    }
}
