//! Runs a plan on its threads, watches it, and judges it.

use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::LoadJob;
use super::machine;
use crate::cli::Failure;
use crate::load::histogram::Percentiles;
use crate::load::outcome::{Facts, OwnShare};
use crate::load::plan::{Plan, RunProgress};
use crate::load::readable::amount;
use crate::load::report::Report;
use crate::load::report::json::{Idle, RunContext};
use crate::load::runner::{Finding, Runner};
use crate::load::schedule::{Pace, StopAfter, ThreadShare};
use crate::load::tally::Tally;
use crate::net::Net;
use crate::net::mio::MioNet;

/// How often the progress line changes.
const GLANCE: Duration = Duration::from_millis(250);

/// The result of one thread, and its processor time.
type Ended = std::io::Result<(Finding, Duration)>;

/// Readings of the server's memory.
#[derive(Debug, Default)]
struct Memory {
    before: Option<u64>,
    peak_before: Option<u64>,
    /// With all connections open, before the first request.
    with_all_open: OnceLock<u64>,
}

/// Stops the other threads when its own ends by an error: they would wait for it for ever.
struct StopsOthers<'a>(&'a RunProgress);

impl Drop for StopsOthers<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// Runs `job`; the exit code is that of its verdict.
pub(super) fn run(job: LoadJob) -> Result<ExitCode, Failure> {
    machine::reserve_descriptors(job.plan.connections, job.threads)?;
    job.outputs.check()?;
    let memory = Arc::new(Memory {
        before: job.pid.and_then(machine::resident_bytes),
        peak_before: job.pid.and_then(machine::peak_bytes),
        with_all_open: OnceLock::new(),
    });
    if let (Some(pid), None) = (job.pid, memory.before) {
        return Err(Failure::usage("--pid", format!("there is no process {pid} whose memory can be read")));
    }
    let progress = Arc::new(RunProgress { before_asking: weigh(job.pid, &memory), ..RunProgress::default() });
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The first one ends the run, and what was measured is written; the second ends the program, whatever it does.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&progress.stop))?;
        signal_hook::flag::register(signal, Arc::clone(&progress.stop))?;
    }
    let now = MioNet::new()?.now().unix_ms;
    let LoadJob { plan, threads, protocol, target, settings, outputs, .. } = job;
    let plan = Arc::new(plan);
    let ended = start(&plan, &progress, threads);
    let endings = watch(&ended, &progress);
    if endings.len() < threads as usize {
        return Err(Failure::Other("a thread of the run ended without a result: its part is missing".into()));
    }
    let (mut findings, mut client_cpu) = (Vec::new(), Duration::ZERO);
    for ending in endings {
        let (finding, cpu) = ending?;
        findings.push(finding);
        client_cpu += cpu;
    }
    let mut tally = Tally::default();
    for finding in &findings {
        tally.merge(&finding.tally);
    }
    let facts = Facts { interrupted: progress.is_stopping(), ..facts(&plan, &findings, &tally) };
    let began_after = findings.iter().map(|finding| finding.began_after).max().unwrap_or_default();
    let context = RunContext {
        started_unix_ms: now + u64::try_from(began_after.as_millis()).unwrap_or(0),
        protocol,
        target,
        settings,
        key_prefix: Some(plan.template.values.prefix()),
        duration: findings.iter().map(|finding| finding.held + finding.duration).max().unwrap_or_default(),
        sending: findings.iter().map(|finding| finding.held + finding.sending).max().unwrap_or_default(),
        client_cpu,
        idle: plan.once.then(|| idle(&memory, facts.connections.1, tally.answered)),
        schedule: plan.schedule,
        facts,
        allowed: outputs.allowed(),
        objectives: outputs.objectives(),
    };
    let report = Report::new(context, &tally);
    outputs.write(&report, &tally.recorder)?;
    Ok(ExitCode::from(report.verdict.exit_code()))
}

/// A function that reads the memory of process `pid` when all connections are open.
fn weigh(pid: Option<u32>, memory: &Arc<Memory>) -> Option<Box<dyn Fn() + Send + Sync>> {
    let (pid, memory) = (pid?, Arc::clone(memory));
    Some(Box::new(move || {
        if let Some(bytes) = machine::resident_bytes(pid) {
            let _ = memory.with_all_open.set(bytes);
        }
    }))
}

/// Starts a loop on each thread; each sends its result when it has ended.
fn start(plan: &Arc<Plan>, progress: &Arc<RunProgress>, threads: u32) -> mpsc::Receiver<Ended> {
    let (sender, ended) = mpsc::channel();
    for index in 0..threads {
        let (plan, progress, sender) = (Arc::clone(plan), Arc::clone(progress), sender.clone());
        #[expect(clippy::disallowed_methods, reason = "one loop a thread")]
        std::thread::spawn(move || {
            let run = || {
                let guard = StopsOthers(&progress);
                let net = MioNet::exact()?;
                let finding =
                    Runner::new(net, plan, Arc::clone(&progress), ThreadShare { index, of: threads }).run()?;
                std::mem::forget(guard);
                Ok((finding, machine::thread_cpu().unwrap_or_default()))
            };
            // Fails only when the receiver is gone.
            let _ = sender.send(run());
        });
    }
    ended
}

/// Shows how the run goes until all threads have ended.
fn watch(ended: &mpsc::Receiver<Ended>, progress: &RunProgress) -> Vec<Ended> {
    let line = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{elapsed} {msg}") {
        line.set_style(style);
    }
    let mut endings = Vec::new();
    let mut before = 0;
    loop {
        match ended.recv_timeout(GLANCE) {
            Ok(ending) => endings.push(ending),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let answered = progress.answered.load(Ordering::Relaxed);
                line.set_message(describe(progress, answered, answered.saturating_sub(before)));
                before = answered;
            }
        }
    }
    line.finish_and_clear();
    endings
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn describe(progress: &RunProgress, answered: u64, fresh: u64) -> String {
    let rate = fresh as f64 / GLANCE.as_secs_f64();
    let open = progress.open.load(Ordering::Relaxed);
    let failed = progress.failed.load(Ordering::Relaxed);
    format!("{answered} answered, {}/s, {failed} failed, {open} connections open", amount(rate))
}

/// The facts of the verdict: a run is as bad as its worst thread.
fn facts(plan: &Plan, findings: &[Finding], tally: &Tally) -> Facts {
    let sum = |of: fn(&Finding) -> u64| findings.iter().map(of).sum::<u64>();
    Facts {
        due: matches!(plan.schedule.pace, Pace::Open { .. }).then_some(tally.due),
        asked_per_s: plan.schedule.asked_rate(),
        promised: match plan.schedule.end {
            StopAfter::Count(count) => Some(count),
            StopAfter::After(_) => None,
        },
        sent: tally.sent,
        answered: tally.answered,
        failed: tally.failures.total(),
        interrupted: false,
        connections: (sum(|finding| finding.connections.0), sum(|finding| finding.connections.1)),
        measured: findings.iter().map(|finding| finding.duration).max().unwrap_or_default(),
        own: findings.iter().map(|finding| finding.own).fold(OwnShare::default(), OwnShare::worst),
        p99_us: Percentiles::of(tally.recorder.latency()).p99,
    }
}

#[expect(clippy::cast_precision_loss, reason = "memory sizes stay far below 2^53")]
fn idle(memory: &Memory, open: u64, alive: u64) -> Idle {
    let each = |bytes: u64| bytes as f64 / open.max(1) as f64;
    let with_all_open = memory.with_all_open.get().copied();
    let grown = memory.before.zip(with_all_open).map(|(before, with)| with.saturating_sub(before));
    let reused = with_all_open.filter(|with| memory.peak_before.is_some_and(|peak| *with <= peak));
    Idle {
        open,
        alive,
        server_rss_before_bytes: memory.before,
        server_rss_bytes: with_all_open,
        server_rss_per_connection_bytes: grown.map(each),
        server_rss_per_connection_at_most_bytes: reused.map(each),
    }
}
