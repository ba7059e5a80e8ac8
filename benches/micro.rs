//! Instructions of the pure parts, counted by valgrind: the same on a busy machine and a quiet one.
//!
//! `benches/install`, then `cargo bench --bench micro`. Each run shows the difference to the one before.

#![allow(missing_docs, reason = "what the macros of the harness make")]

#[path = "world/mod.rs"]
mod world;

use std::hint::black_box;
use std::time::Instant;

use gungraun::{library_benchmark, library_benchmark_group, main};
use latchkey::internals::protocol::http::{self, RequestDecoder};
use latchkey::internals::protocol::resp::{Arguments, Decoder, Encoder, RequestLimits, RespVersion};
use latchkey::internals::protocol::xmlrpc;
use latchkey::internals::services::resp::RespOptions;
use latchkey::internals::services::xmlrpc::XmlRpcOptions;
use latchkey::internals::services::{Builtin, BuiltinOptions, Echo};
use latchkey::internals::store::{Expiry, Kind, Store, StoreOptions};
use latchkey::internals::timer::Now;
use world::{Pair, World};

const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000042\r\n";
const KEY: &[u8] = b"key:000000000042";
const VALUE: &[u8] = &[b'v'; 32];
const KEYS: u32 = 10_000;
const CALL: &[u8] = b"<?xml version='1.0'?><methodCall><methodName>get</methodName><params><param><value><string>spam\
                      </string></value></param></params></methodCall>";
const POST: &[u8] =
    b"POST /RPC2 HTTP/1.1\r\nHost: localhost:15000\r\nAccept-Encoding: gzip\r\nContent-Type: text/xml\r\n\
                      User-Agent: Python-xmlrpc/3.11\r\nContent-Length: 4\r\n\r\nbody";

#[library_benchmark]
#[bench::one(1)]
#[bench::pipeline(16)]
fn resp_decode(requests: usize) {
    let (mut decoder, mut arguments) = (Decoder::default(), Arguments::default());
    let (input, limits) = (GET.repeat(requests), RequestLimits::new(1 << 20));
    let mut rest = input.as_slice();
    while let Ok(Some((request, used))) = decoder.decode(rest, &limits, &mut arguments) {
        black_box(request.get(1));
        rest = rest.get(used..).unwrap_or_default();
    }
    assert!(rest.is_empty());
}

#[library_benchmark]
fn resp_encode() {
    let mut output = Vec::with_capacity(64);
    Encoder::new(&mut output, RespVersion::default()).bulk(black_box(VALUE));
    black_box(output);
}

#[library_benchmark]
fn http_decode() {
    let progress = RequestDecoder::default().decode(black_box(POST), &http::HttpLimits::default()).is_ok();
    assert!(black_box(progress));
}

#[library_benchmark]
fn xmlrpc_decode() {
    assert!(black_box(xmlrpc::parse_call(black_box(CALL), &xmlrpc::XmlLimits::default())).is_ok());
}

#[expect(clippy::disallowed_methods, reason = "a bench needs some instant to count from")]
fn now() -> Now {
    Now { instant: Instant::now(), unix_ms: 0 }
}

fn full_store() -> Store {
    let mut store = Store::new(StoreOptions { hash_key: *b"a secret of test", ..StoreOptions::default() });
    fill(&mut store, KEYS);
    store
}

fn fill(store: &mut Store, keys: u32) {
    for number in 0..keys {
        let key = format!("key:{number:012}");
        store.set(key.as_bytes(), Kind::Bytes, VALUE, Expiry::Never, now()).expect("there is no limit");
    }
}

#[library_benchmark]
#[bench::full(full_store())]
fn table_get(mut store: Store) -> Store {
    assert!(black_box(store.get(black_box(KEY), Now { ..now() })).is_some());
    store
}

#[library_benchmark]
#[bench::full(full_store())]
fn table_set(mut store: Store) -> Store {
    store.set(black_box(KEY), Kind::Bytes, VALUE, Expiry::Never, now()).expect("there is no limit");
    store
}

/// A session that has been asked once, so that what is set up once does not count.
fn warm<S: latchkey::internals::connection::Service>(service: S, message: &[u8], again: &[u8]) -> (World<S>, Pair<S>) {
    let mut world = World::of(service);
    let mut pair = world.open();
    pair.ask(message);
    world.serve(&mut pair);
    assert!(!pair.answer().is_empty());
    pair.ask(again);
    (world, pair)
}

fn resp_session(requests: usize, keys: u32) -> (World<Builtin>, Pair<Builtin>) {
    let options = BuiltinOptions {
        listeners: vec![latchkey::internals::services::Protocol::Resp],
        store: StoreOptions::default(),
        xmlrpc: XmlRpcOptions::default(),
        resp: RespOptions::default(),
    };
    let mut service = Builtin::new(options, now());
    fill(service.store_mut(), keys);
    warm(service, GET, &GET.repeat(requests))
}

fn echo_session(bytes: usize) -> (World<Echo>, Pair<Echo>) {
    warm(Echo, b"first", &vec![7; bytes])
}

#[library_benchmark]
#[bench::one(resp_session(1, KEYS))]
#[bench::pipeline(resp_session(16, KEYS))]
#[bench::looked_ahead(resp_session(16, 10 * KEYS))]
fn resp_over_tls((mut world, mut pair): (World<Builtin>, Pair<Builtin>)) -> (World<Builtin>, Pair<Builtin>) {
    world.serve(&mut pair);
    (world, pair)
}

#[library_benchmark]
#[bench::small(echo_session(32))]
#[bench::bulk(echo_session(60_000))]
fn echo_over_tls((mut world, mut pair): (World<Echo>, Pair<Echo>)) -> (World<Echo>, Pair<Echo>) {
    world.serve(&mut pair);
    (world, pair)
}

// Both halves, the client's too.
#[library_benchmark]
#[bench::full(World::new())]
fn handshake(mut world: World<Echo>) -> World<Echo> {
    black_box(world.open());
    world
}

library_benchmark_group!(name = pure, benchmarks = [resp_decode, resp_encode, http_decode, xmlrpc_decode]);
library_benchmark_group!(name = table, benchmarks = [table_get, table_set]);
library_benchmark_group!(name = connection, benchmarks = [resp_over_tls, echo_over_tls, handshake]);

main!(library_benchmark_groups = [pure, table, connection]);
