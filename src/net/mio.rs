//! Real sockets, through `mio`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::net::{TcpListener, TcpStream, UnixStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::wake_flag::WakeFlag;
use super::{AcceptError, Address, Delivery, Event, Net, Processor, Wake, delivery};
use crate::timer::Now;

/// The token of the waker's own events; no peer and no listener has it.
const WAKE: Token = Token(usize::MAX);

/// The token of the timer's events. Sockets have smaller ones.
const TIMER: Token = Token(usize::MAX - 1);

/// Events taken from the kernel in one poll. Further ones wait for the next.
const EVENTS: usize = 1024;

/// Connections that the kernel may queue for accept; it lowers this to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// `mio`'s poller, a clock, and one descriptor kept in reserve.
pub struct MioNet {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    flag: Arc<WakeFlag>,
    /// When the process is out of descriptors, closing this one lets the server accept and close the waiting
    /// connection, so that its client gets an answer at once instead of hanging in the backlog.
    reserve: Option<File>,
    keepalive: Option<TcpKeepalive>,
    /// Ends waits for which whole milliseconds are too coarse.
    timer: Option<OwnedFd>,
}

/// The interval between keepalive probes, and how many may stay unanswered.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_RETRIES: u32 = 3;

impl MioNet {
    /// A new poller.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            waker,
            flag: Arc::default(),
            reserve: reserve(),
            keepalive: None,
            timer: None,
        })
    }

    /// A poller whose waits end on time, not at the next whole millisecond (the unit of epoll_wait(2)), for a caller
    /// that must send at a given instant. A wait that is not of whole milliseconds costs one more system call.
    pub fn exact() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let net = Self::new()?;
        net.poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(Self { timer: Some(timer), ..net })
    }

    /// The timeout for the poller, after the timer has been set to the rest.
    fn time(&self, timeout: Option<Duration>) -> io::Result<Option<Duration>> {
        match (&self.timer, timeout) {
            (Some(timer), Some(wait)) if wait.subsec_nanos() % 1_000_000 != 0 => {
                let it_value = Timespec::try_from(wait).map_err(|_| io::ErrorKind::InvalidInput)?;
                let once = Itimerspec { it_interval: Timespec::default(), it_value };
                // The registration is edge-triggered: each expiry is an event, and nothing needs to be read.
                timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
                Ok(None)
            }
            _ => Ok(timeout),
        }
    }

    /// Sets the options of a TCP stream, or of the listener that streams inherit them from. On a stream it fails only
    /// if that is already dead, which the first read reports.
    fn prepare(&self, socket: &SockRef<'_>) -> io::Result<()> {
        // A reply must not wait for the acknowledgement of the one before it (Nagle, RFC 896).
        socket.set_tcp_nodelay(true)?;
        self.keepalive.as_ref().map_or(Ok(()), |keepalive| socket.set_tcp_keepalive(keepalive))
    }

    fn shed_one(&mut self, listener: &TcpListener) {
        if self.reserve.take().is_some() {
            drop(listener.accept());
            self.reserve = reserve();
        }
    }
}

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

/// A TCP stream or a Unix stream socket.
#[derive(Debug)]
pub enum MioSocket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket, and how many bytes were written to it.
    Unix(UnixStream, u64),
}

impl Read for MioSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream, _) => stream.read(buffer),
        }
    }
}

impl Write for MioSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream, written) => {
                let count = stream.write(bytes)?;
                *written += count as u64;
                Ok(count)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // Neither kind has a buffer of its own.
        Ok(())
    }
}

fn connect_tcp(address: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(from) = from else { return TcpStream::connect(address) };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        result => result?,
    }
    Ok(TcpStream::from_std(socket.into()))
}

impl Net for MioNet {
    type Listener = TcpListener;
    type Socket = MioSocket;

    fn set_keepalive(&mut self, silence: Option<Duration>) {
        let usual = TcpKeepalive::new().with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_RETRIES);
        self.keepalive = silence.map(|silence| usual.with_time(silence));
    }

    fn listen(&mut self, address: SocketAddr, token: usize) -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        // An accepted stream inherits its listener's options: five system calls less for each connection.
        self.prepare(&SockRef::from(&socket))?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let mut listener = TcpListener::from_std(socket.into());
        self.poll.registry().register(&mut listener, Token(token), Interest::READABLE)?;
        Ok(listener)
    }

    fn local_address(&self, listener: &TcpListener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    fn accept(&mut self, listener: &TcpListener) -> Result<(MioSocket, SocketAddr), AcceptError> {
        let error = match listener.accept() {
            Ok((socket, address)) => {
                if self.reserve.is_none() {
                    self.reserve = reserve();
                }
                return Ok((MioSocket::Tcp(socket), address));
            }
            Err(error) => error,
        };
        let accept_error = classify(error);
        if matches!(accept_error, AcceptError::Exhausted(_)) {
            self.shed_one(listener);
        }
        Err(accept_error)
    }

    fn local_address_of(&self, socket: &MioSocket) -> io::Result<SocketAddr> {
        match socket {
            MioSocket::Tcp(stream) => stream.local_addr(),
            MioSocket::Unix(..) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn connect(&mut self, address: &Address, from: Option<IpAddr>) -> io::Result<MioSocket> {
        match address {
            Address::Tcp(address) => {
                let stream = connect_tcp(*address, from)?;
                let _ = self.prepare(&SockRef::from(&stream));
                Ok(MioSocket::Tcp(stream))
            }
            Address::Unix(path) => UnixStream::connect(path).map(|stream| MioSocket::Unix(stream, 0)),
        }
    }

    fn processor(&self) -> Option<Processor> {
        // Nanoseconds on a processor and in its run queue (Documentation/scheduler/sched-stats.rst of Linux).
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        let mut fields = text.split_whitespace().map(|field| field.parse().ok().map(Duration::from_nanos));
        Some(Processor { ran: fields.next()??, waited: fields.next()?? })
    }

    fn is_connected(&self, socket: &MioSocket) -> io::Result<bool> {
        // A Unix socket connects at once or fails at once.
        let MioSocket::Tcp(stream) = socket else { return Ok(true) };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn delivery(&self, socket: &MioSocket) -> io::Result<Delivery> {
        match socket {
            MioSocket::Tcp(stream) => delivery::of_tcp(stream),
            MioSocket::Unix(stream, written) => delivery::of_unix(stream, *written),
        }
    }

    fn register(&mut self, socket: &mut MioSocket, token: usize) -> io::Result<()> {
        // Without PRIORITY, a read that ends before urgent data looks like the last one.
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        let registry = self.poll.registry();
        match socket {
            MioSocket::Tcp(stream) => registry.register(stream, Token(token), interest),
            MioSocket::Unix(stream, _) => registry.register(stream, Token(token), interest),
        }
    }

    fn shutdown_write(&mut self, socket: &MioSocket) -> io::Result<()> {
        match socket {
            MioSocket::Tcp(stream) => stream.shutdown(std::net::Shutdown::Write),
            MioSocket::Unix(stream, _) => stream.shutdown(std::net::Shutdown::Write),
        }
    }

    fn reset_when_dropped(&mut self, socket: &MioSocket) -> io::Result<()> {
        match socket {
            MioSocket::Tcp(stream) => SockRef::from(stream).set_linger(Some(Duration::ZERO)),
            // A Unix socket has no reset. A write to a closed one returns an error.
            MioSocket::Unix(..) => Ok(()),
        }
    }

    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        let may_sleep = timeout != Some(Duration::ZERO) && self.flag.begin_sleep();
        let timeout = if may_sleep { self.time(timeout)? } else { Some(Duration::ZERO) };
        let polled = self.poll.poll(&mut self.events, timeout);
        self.flag.end_sleep();
        match polled {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        events.extend(self.events.iter().filter(|event| event.token() < TIMER).map(|event| Event {
            token: event.token().0,
            readable: event.is_readable() || event.is_priority() || event.is_error(),
            writable: event.is_writable() || event.is_error(),
            read_closed: event.is_read_closed() || event.is_error(),
            urgent: event.is_priority(),
        }));
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "the clock enters the program here")]
    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { instant: Instant::now(), unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX) }
    }

    fn waker(&self) -> Wake {
        let (waker, flag) = (Arc::clone(&self.waker), Arc::clone(&self.flag));
        Arc::new(move || {
            if flag.notify() {
                // This fails only if the poller is gone, and then no thread sleeps in it.
                let _ = waker.wake();
            }
        })
    }
}

/// Sorts the errors of accept(2) by what the caller can do about them.
fn classify(error: io::Error) -> AcceptError {
    match error.raw_os_error() {
        _ if error.kind() == io::ErrorKind::WouldBlock => AcceptError::Empty,
        // Linux reports errors of the new connection itself through accept(2), section "Error handling".
        Some(
            libc::EINTR
            | libc::ECONNABORTED
            | libc::EPROTO
            | libc::EPERM
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::EOPNOTSUPP
            | libc::ENETUNREACH
            | libc::ETIMEDOUT,
        ) => AcceptError::Lost,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => AcceptError::Exhausted(error),
        _ => AcceptError::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_errors_are_sorted_by_remedy() {
        let class = |errno| classify(io::Error::from_raw_os_error(errno));
        assert!(matches!(class(libc::EAGAIN), AcceptError::Empty));
        assert!(matches!(class(libc::ECONNABORTED), AcceptError::Lost));
        assert!(matches!(class(libc::EHOSTUNREACH), AcceptError::Lost));
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            assert!(matches!(class(errno), AcceptError::Exhausted(_)));
        }
        assert!(matches!(class(libc::EINVAL), AcceptError::Failed(_)));
    }

    #[test]
    fn silent_peers_get_keepalive_probes() {
        let mut net = MioNet::new().expect("poller");
        net.set_keepalive(Some(Duration::from_secs(77)));
        let listener = net.listen(([127, 0, 0, 1], 0).into(), 0).expect("a port");
        let address = net.local_address(&listener).expect("an address");
        let dialed = net.connect(&Address::Tcp(address), None).expect("begun");
        net.poll(&mut Vec::new(), Some(Duration::from_mins(1))).expect("poll");
        let (accepted, _) = net.accept(&listener).expect("a connection");
        for socket in [&accepted, &dialed] {
            let MioSocket::Tcp(stream) = socket else { panic!("it is TCP") };
            let socket = SockRef::from(stream);
            assert!(socket.tcp_nodelay().expect("an option"));
            assert!(socket.keepalive().expect("an option"));
            assert_eq!(socket.tcp_keepalive_time().expect("an option"), Duration::from_secs(77));
        }
    }

    /// Polls `net` until the delivery is as expected.
    fn asked(net: &MioNet, socket: &MioSocket, is_right: impl Fn(Delivery) -> bool) -> Delivery {
        for _ in 0..10_000 {
            let delivery = net.delivery(socket).expect("an answer");
            if is_right(delivery) {
                return delivery;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("{:?}", net.delivery(socket));
    }

    #[test]
    fn delivery_counts_acknowledged_bytes_not_buffered_ones() {
        const BYTES: usize = 4 << 20;
        let mut net = MioNet::new().expect("poller");
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("socket");
        let unix = std::os::unix::net::UnixListener::bind(&path).expect("bind");
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = tcp.local_addr().expect("an address");
        let tcp_socket = net.connect(&Address::Tcp(address), None).expect("begun");
        let unix_socket = net.connect(&Address::Unix(path), None).expect("connected");
        let ends: [(MioSocket, Box<dyn Read>); 2] = [
            (tcp_socket, Box::new(tcp.accept().expect("a connection").0)),
            (unix_socket, Box::new(unix.accept().expect("a connection").0)),
        ];
        for (mut socket, mut peer) in ends {
            let mut written = 0;
            while let Ok(count) = socket.write(&vec![7; BYTES]) {
                written += count;
            }
            let full = asked(&net, &socket, |delivery| delivery.is_pending);
            // A part too small to make a socket writable, but larger than the steps of acknowledgement.
            let part = written / 5;
            peer.read_exact(&mut vec![0; part]).expect("a part");
            let later = asked(&net, &socket, |delivery| delivery.taken > full.taken);
            assert!(later.is_pending && later.taken - full.taken <= written as u64, "{full:?}, then {later:?}");
            peer.read_exact(&mut vec![0; written - part]).expect("the rest");
            let last = asked(&net, &socket, |delivery| !delivery.is_pending);
            assert!(last.taken > later.taken);
        }
    }

    #[test]
    fn urgent_data_is_reported_in_an_event() {
        let mut net = MioNet::new().expect("poller");
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let mut socket = net.connect(&Address::Tcp(tcp.local_addr().expect("an address")), None).expect("begun");
        let (mut peer, _) = tcp.accept().expect("a connection");
        peer.write_all(b"before").expect("send");
        SockRef::from(&peer).send_out_of_band(b"!").expect("send");
        peer.write_all(b"behind").expect("send");
        net.register(&mut socket, 7).expect("registered");
        let mut events = Vec::new();
        while !events.iter().any(|event: &Event| event.urgent) {
            net.poll(&mut events, Some(Duration::from_mins(1))).expect("poll");
            assert!(!events.is_empty(), "an answer");
        }
        let mut read = |room: usize| {
            let mut buffer = vec![0; room];
            let count = socket.read(&mut buffer).expect("bytes");
            buffer.truncate(count);
            buffer
        };
        assert_eq!((read(100), read(100)), (b"before".to_vec(), b"behind".to_vec()));
    }

    #[test]
    fn processor_time_of_a_working_thread_grows() {
        let net = MioNet::new().expect("poller");
        let before = net.processor().expect("the system reports it");
        // The kernel updates the time of a running thread only at its ticks, some milliseconds apart.
        let has_run = (0..10_000).any(|_| {
            std::hint::black_box((0..200_000_u64).fold(1, |sum, number| std::hint::black_box(sum ^ number)));
            net.processor().expect("the system reports it").ran > before.ran
        });
        let after = net.processor().expect("the system reports it");
        assert!(has_run && after.waited >= before.waited, "{before:?} {after:?}");
    }

    #[test]
    fn an_exact_wait_ends_without_an_event() {
        let mut net = MioNet::exact().expect("poller");
        let mut events = Vec::new();
        // Each must end by itself. Something else might have ended the first, so the second follows it.
        for wait in [Duration::from_micros(1500), Duration::from_nanos(1), Duration::from_micros(300)] {
            let before = net.now().instant;
            net.poll(&mut events, Some(wait)).expect("poll");
            assert!(net.now().instant.duration_since(before) >= wait, "{wait:?}");
        }
        assert!(events.is_empty());
    }

    #[test]
    fn a_wake_ends_a_poll_without_an_event() {
        let mut net = MioNet::new().expect("poller");
        let wake = net.waker();
        wake();
        let mut events = Vec::new();
        net.poll(&mut events, Some(Duration::from_mins(1))).expect("poll");
        assert_eq!(events, []);
    }
}
