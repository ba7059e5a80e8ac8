//! Blocking connections with a deadline, for programs that do one thing at a time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// A blocking stream with one deadline for all its reads and writes, however little each of them transfers.
#[derive(Debug)]
pub struct TimedStream {
    stream: TcpStream,
    end: Option<Instant>,
}

impl TimedStream {
    /// Connects to the first address of `host` that answers, within `timeout` for all of them: an address that does not
    /// answer may use its share of the rest. Later reads and writes have the same deadline, until
    /// [`end_in`](Self::end_in) sets another.
    ///
    /// # Errors
    ///
    /// The name has no address, or no address answers; then the error is that of the last one.
    pub fn connect(host: &str, port: u16, timeout: Duration) -> io::Result<Self> {
        let end = now().checked_add(timeout);
        let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
        let stream = first_that_answers(&addresses, timeout)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, end })
    }

    /// Reads and writes must end within `time` from now.
    pub fn end_in(&mut self, time: Duration) {
        self.end = now().checked_add(time);
    }

    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// The time that is left; it is never zero.
    fn left(&self) -> io::Result<Option<Duration>> {
        let Some(end) = self.end else { return Ok(None) };
        let left = end.saturating_duration_since(now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

#[expect(clippy::disallowed_methods, reason = "the time is the caller's, who waits here")]
fn now() -> Instant {
    Instant::now()
}

/// Connects to the first of `addresses` that answers, within `timeout` for all of them.
///
/// # Errors
///
/// There is no address, or none answers; then the error is that of the last one.
pub fn first_that_answers(addresses: &[SocketAddr], timeout: Duration) -> io::Result<TcpStream> {
    let begun = now();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (index, address) in addresses.iter().enumerate() {
        let others = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let share = timeout.saturating_sub(begun.elapsed()) / others;
        // Zero is not a valid timeout for a socket.
        match TcpStream::connect_timeout(address, share.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Read for TimedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for TimedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn every_address_is_tried() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let good = listener.local_addr().expect("bound");
        let closed = {
            let gone = TcpListener::bind("127.0.0.1:0").expect("a port");
            gone.local_addr().expect("bound")
        };
        let patience = Duration::from_secs(10);
        assert!(first_that_answers(&[closed, good], patience).is_ok());
        assert!(first_that_answers(&[closed, closed], patience).is_err());
        assert!(first_that_answers(&[], patience).is_err());
    }

    #[test]
    fn a_deadline_ends_a_read_although_bytes_arrive() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let mut stream = TimedStream::connect("127.0.0.1", port, Duration::from_secs(10)).expect("connected");
        let (mut other, _) = listener.accept().expect("accepted");
        other.write_all(b"ab").expect("sent");
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).expect("in time"), 1);
        stream.end_in(Duration::from_millis(20));
        while stream.read(&mut byte).is_ok() {}
        let error = stream.read(&mut byte).expect_err("the moment is over");
        assert!(matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{error}");
        stream.end_in(Duration::from_secs(10));
        other.write_all(b"c").expect("sent");
        assert_eq!(stream.read(&mut byte).expect("in time again"), 1);
    }
}
