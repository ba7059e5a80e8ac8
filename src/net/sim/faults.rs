//! What can go wrong, and how often.

use std::collections::BTreeMap;
use std::time::Duration;

use super::SimRandom;

/// One kind of network fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum NetFault {
    /// A read returns fewer bytes than have arrived, as if the rest had come just after it.
    ShortRead,
    /// Urgent data lies among the bytes that arrive: a read ends before it, and no event follows.
    UrgentData,
    /// A write takes fewer bytes than there is room for, often none; a writable event follows later.
    ShortWrite,
    /// The bytes of one write arrive in several small pieces.
    Dribble,
    /// A read or a write is interrupted by a signal (EINTR).
    Interrupted,
    /// A poll ends early without events.
    EmptyPoll,
    /// A spurious event, for an open socket, a listener or a socket dropped long ago.
    SpuriousEvent,
    /// An event is reported later than it could be.
    LateEvent,
    /// Accepting fails because descriptors are used up (EMFILE, ENFILE).
    AcceptExhausted,
    /// A connection is lost before it is accepted (ECONNABORTED).
    AcceptLost,
    /// Connecting fails at once (EMFILE).
    ConnectFailed,
    /// Connecting fails at once because the other end's queue is full (EAGAIN), as on a Unix socket.
    ConnectBusy,
    /// A connection is reset after some bytes.
    Reset,
    /// The clock jumps ahead, as after a suspend.
    ClockJump,
    /// The wall clock is set, ahead or back.
    WallClockSet,
}

impl NetFault {
    /// Every kind.
    pub const ALL: [Self; 15] = [
        Self::ShortRead,
        Self::UrgentData,
        Self::ShortWrite,
        Self::Dribble,
        Self::Interrupted,
        Self::EmptyPoll,
        Self::SpuriousEvent,
        Self::LateEvent,
        Self::AcceptExhausted,
        Self::AcceptLost,
        Self::ConnectFailed,
        Self::ConnectBusy,
        Self::Reset,
        Self::ClockJump,
        Self::WallClockSet,
    ];

    /// The highest probability for each occasion. A connection is reset once, and a jump of the clock ends most
    /// connections, so these are rare; faults that a server must simply tolerate are frequent.
    fn ceiling(self) -> f64 {
        match self {
            Self::ClockJump => 0.002,
            Self::WallClockSet => 0.05,
            Self::EmptyPoll | Self::Reset | Self::ConnectFailed => 0.3,
            _ => 0.6,
        }
    }
}

/// The network conditions of one simulation: a probability for each fault, and how fast everything is.
#[derive(Clone, Debug)]
pub struct NetFaults {
    probability: BTreeMap<NetFault, f64>,
    /// The longest time that bytes, connections and late events are under way.
    pub latency: Duration,
    /// How long each operation on a socket takes: it makes the clock move within a turn.
    pub call_cost: Duration,
    /// How many bytes may be under way and unread in one direction of a connection, at least 1.
    pub window: usize,
    /// How many events one poll returns, at most, at least 1.
    pub events_per_poll: usize,
}

impl NetFaults {
    /// No faults.
    #[must_use]
    pub fn none() -> Self {
        Self {
            probability: BTreeMap::new(),
            latency: Duration::from_micros(200),
            call_cost: Duration::ZERO,
            window: 200_000,
            events_per_poll: 1024,
        }
    }

    /// Random conditions: most kinds of fault are off, the others rare or frequent. Faults that are always all on hide
    /// each other (swarm testing: Groce and others, ISSTA 2012).
    pub fn draw(random: &mut SimRandom) -> Self {
        let mut faults = Self::none();
        for fault in NetFault::ALL {
            if random.chance(0.4) {
                let share = random.one_of([0.02, 0.2, 1.0]);
                faults.set(fault, share * fault.ceiling());
            }
        }
        faults.latency = Duration::from_micros(random.one_of([1, 100, 5_000, 100_000]));
        faults.call_cost = Duration::from_micros(random.one_of([0, 1, 20, 700]));
        faults.window = random.one_of([1, 100, 4_000, 65_536, 200_000]);
        // A narrow window on a slow line is no fault of any program, but no request would finish in time.
        let narrow = u32::try_from(faults.window).unwrap_or(u32::MAX);
        faults.latency = faults.latency.min(Duration::from_micros(50).saturating_mul(narrow));
        faults.call_cost = faults.call_cost.min(Duration::from_nanos(200).saturating_mul(narrow));
        faults.events_per_poll = random.one_of([1, 3, 1024]);
        faults
    }

    /// Injects `fault` with `probability` on each occasion.
    pub fn set(&mut self, fault: NetFault, probability: f64) {
        self.probability.insert(fault, probability);
    }

    /// The probability of `fault`.
    #[must_use]
    pub fn probability(&self, fault: NetFault) -> f64 {
        self.probability.get(&fault).copied().unwrap_or(0.0)
    }

    /// Injects no further fault; speeds stay.
    pub(super) fn calm(&mut self) {
        self.probability.clear();
    }
}
