//! `INFO` and the modes that change its counters.

use super::*;
use crate::store::Eviction;

fn field(info: &str, name: &str) -> String {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {info}")).to_owned()
}

#[test]
fn commands_are_reported_with_the_fields_that_exporters_demand() {
    #[expect(clippy::disallowed_methods, reason = "calls are timed by a clock")]
    let clock: fn() -> std::time::Instant = || std::time::Instant::now();
    let mut bench = Bench::new(RespOptions { clock: Some(clock), ..RespOptions::default() });
    let mut client = bench.connect(0, 0);
    bench.ask(&mut client, "set a x\nget a\nget a\nget\nget a b\nincr a\nclient getname");
    let info = bench.ask(&mut client, "info commandstats");
    for (name, calls, rejected, failed) in
        [("get", 2, 2, 0), ("set", 1, 0, 0), ("incr", 1, 0, 1), ("client|getname", 1, 0, 0)]
    {
        let line = field(&info, &format!("cmdstat_{name}"));
        let fields: Vec<(&str, &str)> = line.split(',').filter_map(|field| field.split_once('=')).collect();
        let [("calls", all), ("usec", usec), ("usec_per_call", each), rest @ ..] = &fields[..] else {
            panic!("{line}")
        };
        assert_eq!(*all, calls.to_string());
        let [rejected, failed] = [rejected, failed].map(|count: u32| count.to_string());
        assert_eq!(rest, [("rejected_calls", rejected.as_str()), ("failed_calls", failed.as_str())], "{line}");
        assert!(
            usec.parse::<u64>().is_ok() && each.split_once('.').is_some_and(|(_, digits)| digits.len() == 2),
            "{line}"
        );
        assert!(each.parse::<f64>().is_ok_and(|each| each > 0.0), "{line}");
    }
}

#[test]
fn processor_time_is_reported_as_redis_does() {
    let time = ProcessorTime { user: Duration::from_millis(1500), system: Duration::from_micros(20) };
    assert_eq!(time.user + time.system, Duration::from_micros(1_500_020));
    let known = || Some(ProcessorTime { user: Duration::from_millis(1500), system: Duration::from_micros(20) });
    let mut bench = Bench::new(RespOptions { processor_time: Some(known), ..RespOptions::default() });
    let mut client = bench.connect(0, 0);
    for asked in ["info", "info cpu", "info all"] {
        let info = bench.ask(&mut client, asked);
        assert_eq!(
            (field(&info, "used_cpu_user"), field(&info, "used_cpu_sys")),
            ("1.500000".into(), "0.000020".into())
        );
    }
}

#[test]
fn resetting_statistics_resets_all_that_info_counts() {
    let (mut bench, mut client) = bench();
    bench.ask(&mut client, "set a 1\nget a\nget b\nget\nset c 1 px 5");
    bench.now.unix_ms += 10;
    bench.ask(&mut client, "get c");
    let metrics = &mut client.0.env.metrics;
    (metrics.accepted, metrics.refused, metrics.bytes_received, metrics.bytes_sent) = (3, 2, 1000, 2000);
    (metrics.malformed_calls, metrics.denials) = (4, 5);
    metrics.disconnected(Disconnect::Idle);
    let counters = [
        ("total_connections_received", "3"),
        ("total_net_input_bytes", "1000"),
        ("total_net_output_bytes", "2000"),
        ("rejected_connections", "2"),
        ("expired_keys", "1"),
        ("keyspace_hits", "1"),
        ("keyspace_misses", "2"),
        ("total_error_replies", "1"),
        ("rejected_calls", "1"),
        ("malformed_xmlrpc_calls", "4"),
        ("acl_access_denied_cmd", "5"),
        ("idle", "1"),
    ];
    let info = bench.ask(&mut client, "info all");
    for (name, value) in &counters {
        assert_eq!(field(&info, name), *value, "{name}");
    }
    assert_eq!(bench.ask(&mut client, "config resetstat"), "+OK\r\n");
    let info = bench.ask(&mut client, "info all");
    for (name, _) in &counters {
        assert_eq!(field(&info, name), "0", "{name}");
    }
    assert_eq!(field(&info, "total_commands_processed"), "1", "the reset itself");
    // Other observers see what there was since the start.
    assert_eq!((client.0.env.metrics.accepted, bench.store.stats().hits), (3, 1));
    client.0.env.metrics.accepted += 1;
    assert_eq!(field(&bench.ask(&mut client, "info stats"), "total_connections_received"), "1");
}

/// Of keys that are read again and again, how many are left when others have come.
fn survivors(switch: &str, read: impl Fn(usize) -> String) -> usize {
    let (mut bench, mut client) = bench();
    let (max_memory, eviction) = (Some(1 << 20), Eviction::AllKeys);
    bench.store = Store::new(StoreOptions { max_memory, eviction, ..StoreOptions::default() });
    for number in 0..50 {
        bench.ask(&mut client, &format!("set read{number} {}", "x".repeat(1000)));
    }
    bench.ask(&mut client, switch);
    for number in 0..3000 {
        let read = read(number % 50);
        bench.ask(&mut client, &format!("{read}\nset new{number} {}\n{read}", "x".repeat(1000)));
    }
    (0..50).filter(|number| bench.store.contains(format!("read{number}").as_bytes(), bench.now)).count()
}

#[test]
fn no_touch_reads_do_not_keep_keys_from_eviction() {
    let reads = |number: usize| format!("get read{number}\ngetrange read{number} 0 1");
    assert!(survivors("client no-touch off", reads) > 45);
    assert!(survivors("client no-touch on", reads) < 5);
    assert!(survivors("client no-touch on\nreset", reads) > 45, "RESET ends it");
    let touches = |number: usize| format!("touch read{number}");
    assert!(survivors("client no-touch on", touches) > 45, "TOUCH is asked for");
    let within = |command: &'static str| move |number| format!("multi\n{command} read{number}\nexec");
    assert!(survivors("client no-touch on", within("touch")) > 45, "in a transaction too");
    assert!(survivors("client no-touch on", within("get")) < 5);
    let (mut bench, mut client) = bench();
    assert!(!bench.ask(&mut client, "client info").contains("flags=T"));
    bench.ask(&mut client, "client no-touch on");
    assert!(bench.ask(&mut client, "client info").contains(" flags=T "));
    assert!(bench.ask(&mut client, "client no-evict on").starts_with("-ERR CLIENT NO-EVICT ON is not served"));
    assert_eq!(bench.ask(&mut client, "client no-evict off"), "+OK\r\n");
}

#[test]
fn a_too_long_string_names_the_bound_that_it_exceeds() {
    let (mut bench, mut client) = bench();
    client.0.env.limits.request_bytes = 2 << 20;
    bench.ask(&mut client, "setrange a 2000000 x");
    let flag = "-ERR string exceeds maximum allowed size (--max-request, 2097152 bytes)\r\n";
    assert_eq!(bench.ask(&mut client, "setrange a 2097152 x"), flag);
    assert_eq!(
        bench.ask(&mut client, "append a x\nsetrange a 2097151 x\nappend a x"),
        format!(":2000002\r\n:2097152\r\n{flag}")
    );
    bench.ask(&mut client, "config set proto-max-bulk-len 1mb");
    let parameter = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
    assert_eq!(bench.ask(&mut client, "setrange b 1048576 x"), parameter);
}
