//! The metrics: each counter and gauge under its name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use super::Admin;
use super::exposition::{Exposition, MetricKind};
use crate::access::Security;
use crate::connection::Exchange;
use crate::disconnect::Disconnect;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::timer::Now;

/// All metrics, as text.
pub(super) fn write(exchange: &Exchange<'_>, store: &Store, admin: &Admin) -> String {
    let mut text = Exposition::default();
    process(&mut text, admin.started);
    text.counter(
        "latchkey_log_lines_dropped_total",
        "Log lines dropped because stderr was not read in time.",
        admin.dropped.load(Ordering::Relaxed),
    );
    let counters = exchange.env.total_metrics();
    connections(&mut text, &counters);
    handshakes(&mut text, &counters);
    certificates(&mut text, &exchange.env.security, &admin.protocols);
    revocation(&mut text, &exchange.env.security);
    requests(&mut text, &counters);
    keys(&mut text, store);
    durability(&mut text, store);
    text.finish()
}

fn process(text: &mut Exposition, started: Now) {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    text.family("latchkey_build_info", MetricKind::Gauge, "Always 1; the version is a label.").sample(&version, 1);
    let name = "latchkey_start_time_seconds";
    text.gauge(name, "When the server started, in seconds since the Unix epoch.", started.unix_seconds());
}

fn connections(text: &mut Exposition, metrics: &Metrics) {
    text.gauge("latchkey_connections_open", "Open client connections, handshakes included.", metrics.open());
    text.counter("latchkey_connections_accepted_total", "Connections accepted from listeners.", metrics.accepted);
    text.counter(
        "latchkey_connections_refused_total",
        "Connections refused because a limit was reached.",
        metrics.refused,
    );
    let help = "Handshakes on --admin listeners closed to make room for newer ones.";
    text.counter("latchkey_admin_handshakes_displaced_total", help, metrics.displaced);
    let mut ended =
        text.family("latchkey_connections_ended_total", MetricKind::Counter, "Connections closed, by reason.");
    for reason in Disconnect::ALL {
        ended.sample(&[("reason", reason.name())], metrics.disconnects(reason));
    }
    let help = "Times that accepting paused because no file descriptor was left.";
    text.counter("latchkey_accept_pauses_total", help, metrics.accept_pauses);
    text.counter("latchkey_received_bytes_total", "Bytes read from sockets.", metrics.bytes_received);
    text.counter("latchkey_sent_bytes_total", "Bytes written to sockets.", metrics.bytes_sent);
}

fn handshakes(text: &mut Exposition, metrics: &Metrics) {
    let mut family =
        text.family("latchkey_tls_handshakes_total", MetricKind::Counter, "TLS handshakes finished, by kind.");
    family.sample(&[("kind", "full")], metrics.handshakes_full);
    family.sample(&[("kind", "hello_retry")], metrics.handshakes_retried);
    family.sample(&[("kind", "resumed")], metrics.handshakes_resumed);
    let help = "TLS handshakes whose key exchange had no post-quantum part.";
    text.counter("latchkey_tls_handshakes_classical_total", help, metrics.handshakes_classical);
}

fn certificates(text: &mut Exposition, security: &[Security], protocols: &[&str]) {
    let help = "When the first of a listener's certificates expires, in seconds since the Unix epoch.";
    let mut family = text.family("latchkey_certificate_expiry_timestamp_seconds", MetricKind::Gauge, help);
    for (index, (security, protocol)) in security.iter().zip(protocols).enumerate() {
        let leaves = security.policy().into_iter().flat_map(|policy| policy.leaves());
        if let Some(expiry) = leaves.map(|leaf| leaf.not_after).min() {
            family.sample(&[("listener", &index.to_string()), ("protocol", protocol)], expiry);
        }
    }
}

/// Which client CAs have revocation lists, and which do not. Listeners that share a CA share a sample.
fn revocation(text: &mut Exposition, security: &[Security]) {
    let policies = || security.iter().filter_map(Security::policy);
    let unchecked: BTreeSet<&str> = policies().flat_map(|policy| policy.unchecked_issuers()).collect();
    let help =
        "1 for each CA in --client-ca without a revocation list: its certificates are not checked for revocation.";
    let mut family = text.family("latchkey_revocation_unchecked", MetricKind::Gauge, help);
    for issuer in unchecked {
        family.sample(&[("issuer", issuer)], 1);
    }
    let mut updates: BTreeMap<&str, u64> = BTreeMap::new();
    for (issuer, next_update) in policies().flat_map(|policy| policy.list_updates()) {
        let earliest = updates.entry(issuer).or_insert(next_update);
        *earliest = next_update.min(*earliest);
    }
    let help = "When the first revocation list of a CA expires (nextUpdate), in seconds since the Unix epoch.";
    let mut family = text.family("latchkey_revocation_list_expiry_timestamp_seconds", MetricKind::Gauge, help);
    for (issuer, next_update) in updates {
        family.sample(&[("issuer", issuer)], next_update);
    }
}

fn requests(text: &mut Exposition, metrics: &Metrics) {
    text.counter("latchkey_requests_total", "Requests served, over all protocols.", metrics.requests);
    text.counter("latchkey_malformed_calls_total", "XML-RPC calls that could not be parsed.", metrics.malformed_calls);
    text.counter("latchkey_denials_total", "Requests denied by the authorization rules.", metrics.denials);
    text.counter("latchkey_reloads_total", "Reloads of certificates and rules.", metrics.reloads);
    let help = "Reloads that failed; the certificates and rules in force stayed.";
    text.counter("latchkey_reload_failures_total", help, metrics.reload_failures);
}

/// Written only with `--data`.
fn durability(text: &mut Exposition, store: &Store) {
    let Some(state) = store.persistence() else { return };
    let help = "1 while writes are refused because one could not be written to disk.";
    text.gauge("latchkey_writes_refused", help, u8::from(state.failure.is_some()));
    let help = "Bytes of changes not yet on disk; 0 while writes are refused.";
    text.gauge("latchkey_unsynced_bytes", help, state.unsynced_bytes);
    text.gauge("latchkey_durable_group", "The last commit group that is durable.", state.durable_group);
    text.gauge(
        "latchkey_last_backup_timestamp_seconds",
        "When the last backup finished, in seconds since the Unix epoch; 0: none since the start.",
        state.last_backup,
    );
    let help = "1 if the last backup failed.";
    text.gauge("latchkey_backup_failed", help, u8::from(state.backup_failure.is_some()));
    let help = "Compactions of journals into the snapshot.";
    text.counter("latchkey_compactions_total", help, state.compactions.done);
    let help = "Compactions that failed; the log has the reason.";
    text.counter("latchkey_compaction_failures_total", help, state.compactions.failed);
}

fn keys(text: &mut Exposition, store: &Store) {
    let stats = store.stats();
    text.gauge("latchkey_keys", "Keys in the store.", store.len());
    text.gauge("latchkey_keys_with_expiry", "Keys with a TTL.", store.timed_len());
    text.gauge("latchkey_store_memory_bytes", "Memory used by keys, values and tables, in bytes.", store.memory());
    text.gauge("latchkey_client_memory_bytes", "Memory used by client connections, in bytes.", store.client_memory());
    text.counter("latchkey_key_hits_total", "Reads of existing keys.", stats.hits);
    text.counter("latchkey_key_misses_total", "Reads of missing keys.", stats.misses);
    text.counter("latchkey_keys_expired_total", "Keys removed because their TTL expired.", stats.expired);
    text.counter("latchkey_keys_evicted_total", "Keys evicted to stay below --max-memory.", stats.evicted);
}
