//! Runs of several threads: they are one run, not several beside each other.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// An echo that counts what it is asked before `expected` clients are there.
struct RollCall {
    expected: u64,
    present: u64,
    early: Arc<AtomicU64>,
}

impl Service for RollCall {
    type Session = ();

    fn open(&mut self, _: &mut Exchange<'_>) {
        self.present += 1;
    }

    fn serve(&mut self, _session: &mut (), input: &[u8], exchange: &mut Exchange<'_>) -> Served {
        self.early.fetch_add(u64::from(self.present < self.expected), Ordering::Relaxed);
        exchange.reply().extend(input.iter().copied());
        Served::Used(input.len())
    }
}

/// Runs `plan` on `threads` threads; what each has found, and how many requests came before all clients were there.
fn run_on(threads: u32, mut plan: Plan, progress: RunProgress) -> (Vec<Finding>, u64) {
    let early = Arc::new(AtomicU64::new(0));
    let service = RollCall { expected: plan.connections, present: 0, early: Arc::clone(&early) };
    let listener = ListenerConfig::new(([127, 0, 0, 1], 0).into(), Security::Plain);
    let net = MioNet::new().expect("poller");
    let mut server = Server::new(net, service, vec![listener], Limits::default()).expect("server");
    plan.target = server.addresses().expect("addresses")[0].into();
    let (handle, plan, progress) = (server.handle(), Arc::new(plan), Arc::new(progress));
    let findings = std::thread::scope(|scope| {
        scope.spawn(move || server.run().expect("served"));
        let run = |index| {
            let (plan, progress) = (Arc::clone(&plan), Arc::clone(&progress));
            scope.spawn(move || {
                let net = MioNet::exact().expect("poller");
                Runner::new(net, plan, progress, ThreadShare { index, of: threads }).run().expect("run")
            })
        };
        let running: Vec<_> = (0..threads).map(run).collect();
        let findings = running.into_iter().map(|thread| thread.join().expect("it ran")).collect();
        handle.stop();
        findings
    });
    (findings, early.load(Ordering::Relaxed))
}

/// Connections of the last thread are made half a second after those of the first.
fn spread(schedule: Schedule) -> Plan {
    Plan { connect_over: Duration::from_millis(660), ..plan(LoadProtocol::Echo, 4, schedule) }
}

#[test]
fn no_thread_sends_before_all_have_connected() {
    let (found, early) = run_on(4, spread(count(400)), RunProgress::default());
    assert_eq!(found.iter().map(|found| found.tally.answered).sum::<u64>(), 400);
    assert_eq!(early, 0, "requests that a part of the clients have made alone");
    let origins: Vec<_> = found.iter().map(|found| found.origin).collect();
    assert!(origins[0].is_some() && origins.iter().all(|origin| *origin == origins[0]), "{origins:?}");
}

#[test]
fn server_memory_is_read_while_idle_connections_of_all_threads_are_open() {
    let looks = Arc::new(AtomicU64::new(0));
    let hold = Duration::from_millis(50);
    let idle = Plan { once: true, hold, ..spread(count(4)) };
    let counted = Arc::clone(&looks);
    let look = move || _ = counted.fetch_add(1, Ordering::Relaxed);
    let (found, early) = run_on(4, idle, RunProgress { before_asking: Some(Box::new(look)), ..RunProgress::default() });
    assert_eq!((looks.load(Ordering::Relaxed), early), (1, 0));
    assert!(found.iter().all(|found| found.held >= hold && found.connections == (1, 1)), "{found:?}");
}

#[test]
fn threads_without_a_server_do_not_wait_for_each_other() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("address");
    let plan = Arc::new(Plan { target: port.into(), ..plan(LoadProtocol::Echo, 4, count(100)) });
    let progress = Arc::new(RunProgress::default());
    let found: Vec<Finding> = std::thread::scope(|scope| {
        let run = |index| {
            let (plan, progress) = (Arc::clone(&plan), Arc::clone(&progress));
            let share = ThreadShare { index, of: 2 };
            scope.spawn(move || Runner::new(MioNet::new().expect("poller"), plan, progress, share).run().expect("run"))
        };
        let running = [0, 1].map(run);
        running.into_iter().map(|thread| thread.join().expect("it ran")).collect()
    });
    assert!(found.iter().all(|found| found.connections == (2, 0) && found.origin.is_none()), "{found:?}");
}
