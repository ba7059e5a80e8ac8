//! What a journal engine must do; little enough that another one can take its place.

use std::io;

/// An ordered map on disk that is written in batches.
pub trait Engine: Send {
    /// Adds to the batch: `value` under `key`. A key is named once in a batch.
    fn put(&mut self, key: &[u8], value: &[u8]);

    /// Adds to the batch: nothing under `key`.
    fn remove(&mut self, key: &[u8]);

    /// Hands the batch to the system, all of it or nothing: it survives the process, but not yet the machine.
    fn commit(&mut self) -> io::Result<()>;

    /// Forces everything committed to disk. After an error it is unknown what is there, and no call may be repeated.
    fn sync(&mut self) -> io::Result<()>;

    /// What was committed under `key`.
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>>;

    /// Everything committed so far, to be read at leisure, from any thread.
    fn snapshot(&self) -> Box<dyn Snapshot>;
}

/// The state of an engine at one time.
pub trait Snapshot: Send {
    /// Visits what stands under keys from `from` up to but not including `to`, in order, until `visit` returns false.
    fn visit(&self, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> io::Result<()>;
}
