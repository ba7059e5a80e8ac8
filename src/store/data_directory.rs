//! A store that is kept in a data directory.

use std::path::{Path, PathBuf};

use super::{CommitLimits, Store};
use crate::disk::{Directory, OpenError, Sync};
use crate::net::Wake;

/// Keys loaded between two reports of progress.
const STEP: u64 = 4096;

/// How a store is kept on disk. The default loses no acknowledged write.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct DataOptions {
    /// When writes are forced to disk.
    pub sync: Sync,
    /// Limits on changes that are not on disk yet.
    pub limits: CommitLimits,
}

/// What was found in a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataReport {
    /// There was no data directory: an empty one was created.
    pub is_new: bool,
    /// The last write was incomplete, and was dropped: it had not been acknowledged.
    pub was_torn: bool,
    /// The directory had been [closed](crate::services::KeyValue::close), not left by a crash.
    pub was_clean: bool,
    /// Keys loaded.
    pub keys: u64,
    /// Bytes of keys and values loaded.
    pub bytes: u64,
}

impl Store {
    /// Loads the data directory at `path`, which is created if it does not exist, and keeps every later change there.
    ///
    /// The directory is locked until the store is dropped or [closed](crate::services::KeyValue::close). A thread writes
    /// to it, and calls `wake` (the [waker](crate::net::Net::waker) of the loop that serves the store) when changes have
    /// become durable: replies are held until then. `progress` is called now and then with the number of keys loaded and
    /// expected. It blocks until everything is loaded, so call it before anything is served, on an empty store.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::net::{Shutdown, TcpStream};
    ///
    /// use latchkey::key_value::{DataOptions, KeyValue, Resp, RespOptions, Store, StoreOptions};
    /// use latchkey::{Limits, ListenerConfig, MioNet, Net, Security, Server};
    ///
    /// # let folder = std::env::temp_dir().join(format!("latchkey-open-data-{}", std::process::id()));
    /// for (request, expected) in [("SET spam eggs\r\n", "+OK\r\n"), ("GET spam\r\n", "$4\r\neggs\r\n")] {
    ///     let mut options = StoreOptions::default();
    ///     std::fs::File::open("/dev/urandom")?.read_exact(&mut options.hash_key)?;
    ///     let net = MioNet::new()?;
    ///     let mut store = Store::new(options);
    ///     store.open_data(&folder, DataOptions::default(), net.waker(), |_, _| {})?;
    ///
    ///     let service = KeyValue::over(store, Resp::new(RespOptions::default(), net.now()));
    ///     let listener = ListenerConfig::new(([127, 0, 0, 1], 0).into(), Security::Plain);
    ///     let mut server = Server::new(net, service, vec![listener], Limits::default())?;
    ///     let (address, handle) = (server.addresses()?[0], server.handle());
    ///     let running = std::thread::spawn(move || server.run().map(|()| server));
    ///
    ///     let mut client = TcpStream::connect(address)?;
    ///     client.write_all(request.as_bytes())?;
    ///     client.shutdown(Shutdown::Write)?;
    ///     let mut reply = String::new();
    ///     client.read_to_string(&mut reply)?;
    ///     assert_eq!(reply, expected);
    ///
    ///     handle.stop();
    ///     let mut server = running.join().expect("the loop does not panic")?;
    ///     server.service_mut().close()?;
    /// }
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The directory is in use, is no data directory, is damaged, or cannot be read or written. It is unchanged then,
    /// but the store may have been filled in part.
    pub fn open_data(
        &mut self,
        path: &Path,
        options: DataOptions,
        wake: Wake,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<DataReport, OpenError> {
        let is_new = !Directory::is_one(path);
        let opened = Directory::open(path)?;
        let expected = opened.expected_keys();
        let (mut keys, mut unfit, mut why) = (0u64, 0u64, None);
        let loaded = opened.load(&mut |record| {
            if let Err(reason) = self.load(&record) {
                unfit += 1;
                why.get_or_insert(reason);
            }
            keys += 1;
            if keys.is_multiple_of(STEP) {
                progress(keys, expected);
            }
        })?;
        if let Some(why) = why {
            return Err(OpenError::Unfit { path: path.into(), count: unfit, why: why.to_string() });
        }
        let (was_torn, was_clean) = (opened.was_torn(), opened.was_clean());
        let unusable = |error| OpenError::Io { path: PathBuf::from(path), error };
        self.attach(opened.serve(options.sync, wake).map_err(unusable)?, options.limits);
        Ok(DataReport { is_new, was_torn, was_clean, keys: loaded.keys, bytes: loaded.bytes })
    }
}
