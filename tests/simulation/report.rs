//! What simulations have covered, counted by kind.

use std::collections::BTreeMap;

use latchkey::internals::disconnect::Disconnect;
use latchkey::internals::net::sim::NetFault;

use crate::disk::{Death, Trouble};
use crate::plan::{LOOPS, Outage, Scarcity};
use crate::protocol_model::ProtocolModel;
use crate::script::Conduct;
use crate::trust::{Badge, Change, Door};
use crate::world::World;

/// The result of simulations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Number of seeds added to this one.
    pub(crate) seeds: u64,
    pub(crate) trace: u64,
    pub(crate) steps: u64,
    pub(crate) turns: u64,
    /// How often each fault and each event occurred.
    pub(crate) met: BTreeMap<String, u64>,
}

impl Report {
    /// Adds the report of another seed.
    pub(crate) fn add(&mut self, other: &Self) {
        // The order is the same for the same seeds, in any process.
        self.trace = (self.trace ^ other.trace).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.seeds += 1;
        self.steps += other.steps;
        self.turns += other.turns;
        for (what, count) in &other.met {
            *self.met.entry(what.clone()).or_default() += count;
        }
    }

    fn note(&mut self, kind: &str, what: impl std::fmt::Debug, count: u64) {
        if count > 0 {
            *self.met.entry(format!("{kind}: {what:?}")).or_default() += count;
        }
    }
}

/// Reasons that no simulation produces: each needs a service or a command that none has, or millions of records. None
/// may be met: one that is belongs to the reasons that must be.
const ELSEWHERE: [Disconnect; 4] =
    [Disconnect::TooLarge, Disconnect::OutputLimit, Disconnect::Killed, Disconnect::KeyLimit];

/// What a report contains although nothing should produce it.
pub(crate) fn unexpected(report: &Report) -> Vec<String> {
    let names = ELSEWHERE.map(|reason| format!("ended: {:?}", reason.name()));
    names.into_iter().filter(|name| report.met.contains_key(name)).collect()
}

/// Everything that many seeds together must have covered.
pub(crate) fn everything() -> Vec<String> {
    fn names(kind: &str, all: &[impl std::fmt::Debug]) -> Vec<String> {
        all.iter().map(|each| format!("{kind}: {each:?}")).collect()
    }
    let ends = Disconnect::ALL.into_iter().filter(|reason| !ELSEWHERE.contains(reason));
    [
        names("fault", &NetFault::ALL),
        names("client", &Conduct::ALL),
        names("tongue", &ProtocolModel::ALL),
        names("shows", &Badge::ALL),
        names("door", &Door::ALL),
        names("reload", &Change::ALL),
        names("scarce", &Scarcity::ALL),
        names("wrapped", &Outage::KINDS),
        names("tls", &["1.2", "1.3", "resumed", "small records"]),
        names("wrapper", &["announces", "speaks TLS", "dials in vain"]),
        names("loops", &(1..=LOOPS).collect::<Vec<_>>()),
        names("disk", &Trouble::KINDS),
        names("server dies", &Death::ALL),
        names("store", &["compacted", "congested", "lost", "recovered"]),
        names("server", &["drained", "refused", "paused accepting"]),
        names("ended", &ends.map(Disconnect::name).collect::<Vec<_>>()),
    ]
    .concat()
}

impl World {
    /// Counts the reasons of closed connections of the server that is about to die.
    pub(crate) fn note_ends(&mut self) {
        for (reason, count) in self.reasons() {
            self.report.note("ended", reason, count);
        }
    }

    /// Completes the counts.
    pub(crate) fn complete_report(&mut self) {
        let mut report = std::mem::take(&mut self.report);
        report.trace = self.network.trace();
        for (fault, count) in self.network.injected() {
            report.note("fault", fault, count);
        }
        for client in self.clients.iter().filter(|client| client.port.is_some()) {
            report.note("client", client.script.conduct, 1);
            report.note("tongue", client.script.tongue, 1);
            if let Some(door) = self.plan.door {
                report.note("shows", client.script.badge, 1);
                report.note("door", door, 1);
                report.note("tls", if client.script.is_old { "1.2" } else { "1.3" }, 1);
                report.note("tls", "resumed", u64::from(client.resumed));
                report.note("tls", "small records", u64::from(client.script.has_small_records));
            }
        }
        if let Some((_, change)) = self.plan.reload.filter(|_| self.reloaded) {
            report.note("reload", change, 1);
        }
        report.note("scarce", self.plan.scarcity, 1);
        report.note("loops", self.plan.loops, 1);
        if let Some(wrap) = self.plan.wrap {
            report.note("wrapped", wrap.outage.kind(), 1);
            report.note("wrapper", "announces", u64::from(wrap.announce));
            report.note("wrapper", "speaks TLS", u64::from(wrap.tls));
        }
        if let Some(vault) = &self.vault {
            report.note("disk", vault.plan.trouble.kind(), 1);
            for death in &vault.restarts {
                report.note("server dies", death, 1);
            }
            let books = self.books.borrow();
            report.note("store", "compacted", vault.compactions);
            report.note("store", "congested", books.congested);
            report.note("store", "lost", u64::from(books.lost));
            report.note("store", "recovered", u64::from(vault.recovered));
        }
        for (reason, count) in self.reasons() {
            report.note("ended", reason, count);
        }
        // The metrics count clients only.
        for (reason, count) in &self.books.borrow().losses {
            report.note("ended", reason, *count);
        }
        for each in &self.loops {
            let metrics = each.server.metrics();
            report.note("server", "drained", u64::from(each.stopped));
            report.note("server", "refused", metrics.refused);
            report.note("server", "paused accepting", metrics.accept_pauses);
            report.note("wrapper", "dials in vain", metrics.unreachable);
        }
        self.report = report;
    }
}
