//! The load harness against real servers: what it writes, and how it exits.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use crate::common::{Server, latchkey};
use serde_json::Value;

/// Runs `latchkey load` in the server's folder.
fn load(server: &Server, arguments: &[&str]) -> Output {
    latchkey().arg("load").args(arguments).current_dir(server.dir.path()).output().expect("latchkey runs")
}

/// Runs a load with the CA of `server`, and reads its JSON report.
fn report(server: &Server, protocol: &str, arguments: &[&str]) -> (Option<i32>, Value) {
    let target = server.address(protocol).replace("127.0.0.1", "localhost");
    // The machine may be busy with other tests, and then this client is the bottleneck: not what is tested here.
    let usual = ["--ca", "certs/ca.pem", "--warmup", "0s", "--allow", "client-bound", "--json", "-"];
    let (command, arguments) = arguments.split_first().expect("a subcommand");
    let output = load(server, &[&[*command, &target], &usual[..], arguments].concat());
    let report = serde_json::from_slice(&output.stdout);
    (output.status.code(), report.expect("a report"))
}

fn size_of(path: &Path) -> u64 {
    std::fs::metadata(path).expect("written").len()
}

#[test]
fn merge_names_logs_of_failed_runs() {
    let server = Server::start(&[]);
    let target = server.address("xmlrpc");
    let flags = "--ca certs/ca.pem --warmup 0s --requests 20 --connections 2 --allow errors --allow client-bound";
    for (name, method) in [("bad.hdr", "nothing"), ("good.hdr", "system.listMethods")] {
        let arguments = ["xmlrpc", &target, "--method", method, "--hdr", name];
        load(&server, &[&arguments[..], &flags.split(' ').collect::<Vec<_>>()].concat());
    }
    let merged = |arguments: &[&str]| {
        let output = load(&server, &[&["merge"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let sum = merged(&["good.hdr", "bad.hdr", "--hdr", "sum.hdr"]);
    assert!(sum.starts_with("20 answered, 20 failed or without an answer, from 2 logs\n"), "{sum}");
    assert!(sum.contains("warning: bad.hdr: its run failed: errors"), "{sum}");
    assert!(!sum.contains("good.hdr: its run failed: errors"), "{sum}");
    let again = merged(&["sum.hdr"]);
    assert!(again.starts_with("20 answered, 20 failed or without an answer, from 1 log\n"), "{again}");
    assert!(again.contains("warning: sum.hdr: its run failed: errors"), "{again}");
}

#[test]
fn echo_is_verified_and_every_output_is_written() {
    let server = Server::start(&[]);
    let target = server.address("echo").replace("127.0.0.1", "localhost");
    let arguments = "--ca certs/ca.pem --warmup 0s --requests 500 --connections 5 --threads 2 --value-size 1-5000 \
                     --allow client-bound --json a.json --csv a.csv --hdr a.hdr --report a.html";
    let output = load(&server, &[&["echo", &target], &arguments.split_whitespace().collect::<Vec<_>>()[..]].concat());
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{table}{}", String::from_utf8_lossy(&output.stderr));
    assert!(table.contains("500 answered") && table.ends_with("pass\n"), "{table}");
    let dir = server.dir.path();
    for name in ["a.json", "a.csv", "a.hdr", "a.html"] {
        assert!(size_of(&dir.join(name)) > 100, "{name}");
    }
    std::fs::copy(dir.join("a.hdr"), dir.join("b.hdr")).expect("copied");
    for refused in [&["merge", "a.hdr", "./a.hdr"][..], &["merge", "a.hdr", "b.hdr", "--hdr", "b.hdr"]] {
        assert_eq!(load(&server, refused).status.code(), Some(2), "{refused:?}");
    }
    let merged = load(&server, &["merge", "a.hdr", "b.hdr", "--hdr", "sum.hdr"]);
    assert!(String::from_utf8_lossy(&merged.stdout).starts_with("1000 answered, from 2 logs"));
    for name in ["b.json", "c.json", "d.json"] {
        let again =
            ["--ca", "certs/ca.pem", "--warmup", "0s", "--requests", "500", "--value-size", "1-5000", "--json", name];
        load(&server, &[&["echo", &target], &again[..]].concat());
    }
    let compared = load(&server, &["compare", "a.json", "b.json", "--", "c.json", "d.json", "--report", "c.html"]);
    assert_eq!(compared.status.code(), Some(2), "what follows -- is a file");
    let before = std::fs::read(dir.join("a.json")).expect("a report");
    std::fs::copy(dir.join("a.json"), dir.join("copy.json")).expect("copied");
    for (refused, part) in [
        (&["compare", "a.json", "b.json", "--report", "./a.json"][..], "--report: ./a.json is one of the reports"),
        (&["compare", "a.json", "a.json"], "is the same run as a.json"),
        (&["compare", "a.json", "b.json", "--", "c.json", "copy.json"], "copy.json is the same run as a.json"),
    ] {
        let refused = load(&server, refused);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && said.contains(part), "{said}");
    }
    assert_eq!(std::fs::read(dir.join("a.json")).expect("a report"), before);
    let compared = load(&server, &["compare", "--report", "c.html", "a.json", "b.json", "--", "c.json", "d.json"]);
    let table = String::from_utf8_lossy(&compared.stdout).into_owned();
    assert!(table.contains("The samples are whole runs") && table.contains("answers a second"), "{table}");
    assert!(size_of(&dir.join("c.html")) > size_of(&dir.join("sum.hdr")));
}

#[test]
fn key_value_protocols_are_verified() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(dir, &["--resp", "127.0.0.1:0", "--xmlrpc", "127.0.0.1:0"]);
    let arguments = ["--requests", "400", "--connections", "4", "--ratio", "1:1", "--keys", "20"];
    for command in ["resp", "xmlrpc"] {
        let (code, report) = report(&server, command, &[&[command], &arguments[..]].concat());
        assert_eq!((code, &report["verdict"], &report["requests"]), (Some(0), &"pass".into(), &400.into()), "{report}");
        let misses = report["misses"].as_u64().expect("a number");
        assert!(misses < 200, "nearly all of 20 keys are soon written, but {misses} reads of about 200 found nothing");
    }
}

#[test]
fn handshakes_are_counted_by_kind() {
    let server = Server::start(&[]);
    let arguments = ["handshake", "--requests", "20", "--connections", "4", "--resume", "tickets"];
    let (code, report) = report(&server, "echo", &arguments);
    assert_eq!(code, Some(0), "{report}");
    let made = &report["handshakes"];
    assert_eq!((&made["full"], &made["resumed"], &made["hrr"]), (&4.into(), &16.into(), &0.into()));
    assert_eq!(made["groups"]["X25519MLKEM768"], 20);
    let (code, classical) = self::report(&server, "echo", &["handshake", "--requests", "5", "--pq", "off"]);
    assert_eq!((code, &classical["handshakes"]["groups"]["X25519"]), (Some(0), &5.into()), "{classical}");
    let arguments = ["handshake", "--requests", "20", "--connections", "1", "--resume", "mix:90%"];
    let (_, mixed) = self::report(&server, "echo", &arguments);
    assert_eq!((&mixed["handshakes"]["full"], &mixed["handshakes"]["resumed"]), (&3.into(), &17.into()), "{mixed}");
}

#[test]
fn idle_reports_the_servers_memory() {
    let server = Server::start(&[]);
    let pid = server.pid().to_string();
    let (code, report) =
        report_without_warmup(&server, &["--connections", "200", "--duration", "600ms", "--pid", pid.as_str()]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!((&report["idle"]["open"], &report["idle"]["alive"]), (&200.into(), &200.into()));
    assert!(report["idle"]["server_rss_per_connection_bytes"].is_f64(), "{report}");
}

/// As [`report`], for `idle`, which has no warm-up.
fn report_without_warmup(server: &Server, arguments: &[&str]) -> (Option<i32>, Value) {
    let target = server.address("echo").replace("127.0.0.1", "localhost");
    let output = load(server, &[&["idle", &target, "--ca", "certs/ca.pem", "--json", "-"], arguments].concat());
    (output.status.code(), serde_json::from_slice(&output.stdout).expect("JSON"))
}

#[test]
fn each_verdict_has_its_exit_code() {
    let server = Server::start(&[]);
    let few = ["echo", "--requests", "20", "--connections", "2"];
    let (code, missed) = report(&server, "echo", &[&few[..], &["--slo", "p99<1us", "--slo", "errors<1%"]].concat());
    assert_eq!((code, &missed["verdict"]), (Some(4), &"slo_missed".into()));
    assert_eq!((&missed["slo"][0]["met"], &missed["slo"][1]["met"]), (&false.into(), &true.into()));

    let (code, refused) = report(&server, "echo", &["resp", "--requests", "20", "--connections", "2"]);
    assert_eq!((code, &refused["verdict"]), (Some(3), &"not_as_asked".into()), "an echo is no reply");
    assert_eq!(refused["outcome"], "FAIL: errors (--allow errors accepts that)", "{refused}");
    assert_eq!(missed["outcome"], "FAIL: missed p99<1us");

    let address = server.address("echo");
    let distrusted = load(&server, &["echo", &address, "--ca", "certs/client.pem", "--requests", "1", "--json", "-"]);
    let distrusted: Value = serde_json::from_slice(&distrusted.stdout).expect("JSON");
    // One for each connection; on a busy machine the first have tried again before the last have failed.
    let refusals = distrusted["errors"]["certificate"].as_u64();
    assert!(refusals.is_some_and(|count| count >= 50), "{distrusted}");

    let usage = |arguments: &[&str]| load(&server, &[&["echo", &address], arguments].concat()).status.code();
    assert_eq!(usage(&["--rate", "0"]), Some(2));
    assert_eq!(usage(&["--slo", "p99<soon"]), Some(2));
    assert_eq!(usage(&["--plain", "--insecure"]), Some(2));
    assert_eq!(usage(&["--connections", "9999999", "--insecure"]), Some(2));
}

#[test]
fn unwritable_outputs_are_refused_before_the_run() {
    let server = Server::start(&[]);
    let address = server.address("echo");
    let refuse = |arguments: &[&str], part: &str| {
        let output =
            load(&server, &[&["echo", &address, "--ca", "certs/ca.pem", "--duration", "1h"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(part), "{said}");
    };
    refuse(&["--json", "nowhere/a.json"], "--json");
    refuse(&["--csv", "certs"], "--csv");
    refuse(&["--hdr", "a", "--report", "./a"], "--report");
    refuse(&["--json", "-", "--csv", "-"], "--csv: stdout is taken by --json");
    refuse(&["--bind", "::1"], "--bind");
    refuse(&["--bind", "127.0.0.1,192.0.2.1"], "192.0.2.1");
    assert!(!server.dir.path().join("a").exists(), "looking leaves nothing behind");
}

#[test]
fn options_without_effect_are_refused() {
    let server = Server::start(&[]);
    let dir = server.dir.path();
    std::fs::create_dir(dir.join("many")).expect("a folder");
    for name in ["a", "b", "c"] {
        std::fs::copy(dir.join("certs/client.pem"), dir.join(format!("many/{name}.pem"))).expect("copied");
        std::fs::copy(dir.join("certs/client-key.pem"), dir.join(format!("many/{name}-key.pem"))).expect("copied");
    }
    let address = server.address("echo");
    let port = address.rsplit_once(':').expect("a port").1;
    for (line, part) in [
        ("echo ADDRESS --arrivals constant", "--rate"),
        ("echo ADDRESS --ramp 1s", "--rate"),
        ("echo ADDRESS --rate 10 --ramp-steps 2", "--ramp"),
        ("echo ADDRESS --rate 10 --ramp 5s --warmup 1s --duration 1s", "--ramp: the run ends after 2s"),
        ("echo ADDRESS --resume tickets", "--resume"),
        ("resp ADDRESS --resume mix", "--resume"),
        ("resp ADDRESS --resume mix:100%", "--resume"),
        ("echo ADDRESS --plain --resume tickets --connection-lifetime 1s", "--resume"),
        ("echo plain://ADDRESS --resume tickets --connection-lifetime 1s", "--resume"),
        ("echo ADDRESS --threads 3 --connections 2", "--threads"),
        ("echo ADDRESS --identities many --connections 2", "--identities"),
        ("echo ADDRESS --tls 1.2 --pq require", "--pq: TLS 1.2 has no post-quantum key exchange"),
        ("echo ADDRESS --tls 1.2 --pq prefer", "--pq"),
        ("echo ADDRESS --tls 1.2 --suites TLS_AES_128_GCM_SHA256", "--suites"),
        ("echo ADDRESS --pq require --suites TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "--suites"),
        ("handshake ADDRESS --connect-over 1s", "--connect-over"),
        ("handshake ADDRESS --pipeline 2", "--pipeline"),
        ("handshake ADDRESS --seed 7", "--seed"),
        ("handshake ADDRESS --rate 10 --arrivals constant --seed 7", "--seed"),
        ("handshake plain://ADDRESS", "--plain"),
        ("idle ADDRESS --resume tickets", "--resume"),
        ("idle ADDRESS --rate 10", "--rate"),
        ("idle ADDRESS --warmup 1s", "--warmup"),
        ("xmlrpc ADDRESS --method m --keys 3", "--keys"),
        ("xmlrpc ADDRESS --method m --seed 3", "--seed"),
        ("xmlrpc ADDRESS --argument 3", "--method"),
        ("resp plain://ADDRESS --ca certs/ca.pem", "--ca: plain:// means no TLS"),
        ("resp tls://ADDRESS --plain", "--plain: tls:// means TLS"),
        ("echo rediss://ADDRESS", "`load resp`"),
        ("idle redis://ADDRESS", "--speak resp"),
        ("echo 127.0.0.1:99999", "from 1 to 65535, not 99999"),
        ("echo 127.0.0.1", "HOST:PORT"),
    ] {
        let line = line.replace("ADDRESS", &address);
        let output = load(&server, &line.split_whitespace().collect::<Vec<_>>());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(part), "{line}: {output:?}");
    }
    let few = ["--ca", "certs/ca.pem", "--requests", "5", "--warmup", "0s", "--allow", "client-bound"];
    for (command, target) in
        [("echo", format!("tls://localhost:{port}/")), ("handshake", format!("https://localhost:{port}"))]
    {
        let output = load(&server, &[&[command, &target], &few[..]].concat());
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn the_port_of_another_protocol_is_named_as_a_cause() {
    let server = Server::start_in(tempfile::tempdir().expect("a folder"), &["--resp", "127.0.0.1:0"]);
    let target = server.address("resp");
    let line = "--ca certs/ca.pem --requests 2 --connections 2 --warmup 0s --timeout 1s --value-size 8";
    let output = load(&server, &["echo", &target].into_iter().chain(line.split(' ')).collect::<Vec<_>>());
    let table = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{table}");
    assert!(table.contains("is it the right port and command, TLS or --plain?"), "{table}");
}

#[test]
fn error_replies_are_reported_with_their_text() {
    let server = Server::start_in(tempfile::tempdir().expect("a folder"), &["--xmlrpc", "127.0.0.1:0"]);
    let line = "--method nosuch --json a.json --ca certs/ca.pem --requests 20 --connections 2 --warmup 0s";
    let target = server.address("xmlrpc");
    let output = load(&server, &["xmlrpc", &target].into_iter().chain(line.split(' ')).collect::<Vec<_>>());
    let table = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{table}");
    let report = std::fs::read(server.dir.path().join("a.json")).expect("written");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    let reply = &report["error_replies"][0];
    let text = reply["text"].as_str().expect("a text");
    assert!(text.contains("nosuch") && table.contains(&format!("  20 times: {text}")), "{table}{report}");
    assert_eq!((&reply["count"], &report["errors"]["error_reply"]), (&20.into(), &20.into()), "{report}");
}

#[test]
fn any_one_output_may_go_to_stdout() {
    let server = Server::start(&[]);
    let address = server.address("echo");
    let few = ["--ca", "certs/ca.pem", "--requests", "20", "--warmup", "0s", "--allow", "client-bound"];
    for (flag, start) in [("--json", "{"), ("--csv", "second,"), ("--hdr", "#["), ("--report", "<!DOCTYPE html>")] {
        let output = load(&server, &[&["echo", &address, flag, "-"], &few[..]].concat());
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.starts_with(start) && !said.contains("\npass\n"), "{flag}: {said}");
    }
    let output = load(&server, &[&["echo", &address, "--hdr", "a.hdr"], &few[..]].concat());
    assert!(output.status.success());
    let merged = load(&server, &["merge", "a.hdr", "--hdr", "-"]);
    assert!(merged.status.success() && merged.stdout.starts_with(b"#["), "{merged:?}");
    assert!(!server.dir.path().join("-").exists());
}

#[test]
fn a_closed_pipe_costs_no_other_output() {
    let server = Server::start(&[]);
    let mut command = latchkey();
    command.args(["load", "echo", &server.address("echo"), "--ca", "certs/ca.pem", "--requests", "20"]);
    command.args(["--warmup", "0s", "--allow", "client-bound", "--csv", "a.csv"]).current_dir(server.dir.path());
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = command.stdout(writer).output().expect("it runs");
    // Nor does it change the verdict.
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(size_of(&server.dir.path().join("a.csv")) > 100);
}

#[test]
fn connections_have_a_lifetime_and_a_source_address() {
    let server = Server::start(&[]);
    let arguments = ["echo", "--requests", "2000", "--connections", "2", "--connection-lifetime", "1ms"];
    let (code, report) = report(&server, "echo", &[&arguments[..], &["--bind", "127.0.0.2,127.0.0.3"]].concat());
    assert_eq!((code, &report["requests"]), (Some(0), &2000.into()), "{report}");
    assert!(report["reconnections"].as_u64().is_some_and(|count| count > 0), "{report}");
    let from = server.logged("127.0.0.3:");
    assert!(from.contains("127.0.0.3"), "{from}");
}

#[test]
fn only_the_given_suites_are_offered() {
    let server = Server::start(&[]);
    let name = "TLS_AES_128_GCM_SHA256";
    let arguments = ["handshake", "--requests", "5", "--connections", "1", "--suites"];
    let (code, report) = report(&server, "echo", &[&arguments[..], &[name]].concat());
    assert_eq!((code, &report["handshakes"]["suites"][name]), (Some(0), &5.into()), "{report}");
    let refused = load(&server, &[&["handshake", "localhost:1"], &arguments[1..], &["AES128-SHA"]].concat());
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && stderr.contains("--suites") && stderr.contains(name), "{stderr}");
}

#[test]
fn an_impossible_rate_is_reported_with_the_part_that_was_sent() {
    let server = Server::start(&[]);
    let arguments = ["handshake", "--rate", "1000000", "--duration", "1s", "--connections", "4", "--timeout", "60s"];
    let target = server.address("echo").replace("127.0.0.1", "localhost");
    let usual = ["--ca", "certs/ca.pem", "--warmup", "500ms", "--json", "-"];
    let output = load(&server, &[&[arguments[0], &target], &arguments[1..], &usual[..]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &report["asked_per_s"]), (Some(3), &1e6.into()), "{report}");
    assert!(report["requests"].as_u64().is_some_and(|count| count > 0), "{report}");
    assert!(report["problems"].as_array().is_some_and(|all| all.contains(&"sent_less".into())), "{report}");
    let outcome = report["outcome"].as_str().expect("a line");
    assert!(outcome.starts_with("FAIL: ") && outcome.contains(" % of the load was sent"), "{outcome}");
    // Nearly all of a million are never sent and wait, evenly distributed, from a second down to nothing.
    let p50 = report["latency_us"]["p50"].as_f64().expect("a number");
    assert!(p50 > 450_000.0, "{p50}");
}

/// Ends a load that would take an hour, by one signal or by two.
#[test]
fn the_first_signal_ends_the_run_and_the_second_the_program() {
    let server = Server::start(&[]);
    let pipe = server.dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let mut command = latchkey();
    let line = "--ca certs/ca.pem --connections 2 --duration 1h --json pipe --csv a.csv";
    command.args(["load", "echo", &server.address("echo")]).args(line.split(' ')).current_dir(server.dir.path());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    let catches = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0").trim().to_owned();
        u64::from_str_radix(&caught, 16).is_ok_and(|caught| caught & 1 << (2 - 1) != 0)
    };
    while !catches() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let interrupt = |child: &std::process::Child| {
        let kill = ["-INT", &child.id().to_string()];
        assert!(std::process::Command::new("kill").args(kill).status().expect("kill").success());
    };
    interrupt(&child);
    // The pipe has no reader: a write would wait for ten seconds.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(child.try_wait().expect("a child"), None, "the first ends the run alone");
    interrupt(&child);
    let status = child.wait().expect("it ends");
    assert_eq!(status.signal(), Some(2), "{status:?}");
}

#[test]
fn a_full_disk_keeps_the_earlier_report_and_an_unread_pipe_the_other_outputs() {
    let server = Server::start(&[]);
    let dir = server.dir.path();
    let few = "--ca certs/ca.pem --connections 2 --requests 20 --warmup 0s --allow client-bound";
    std::fs::write(dir.join("old.json"), "what was there").expect("written");
    // Files of a kilobyte at most, and no signal for those who would write more: a disk that is full in the middle.
    let limited = format!(
        "trap '' XFSZ; ulimit -f 2; exec {} load echo {} {few} --json old.json",
        env!("CARGO_BIN_EXE_latchkey"),
        server.address("echo")
    );
    let output = std::process::Command::new("sh").args(["-c", &limited]).current_dir(dir).output().expect("sh");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("--json: cannot write old.json"), "{said}");
    assert_eq!(std::fs::read_to_string(dir.join("old.json")).expect("it is there"), "what was there");

    std::os::unix::fs::symlink("old.json", dir.join("link.json")).expect("a link");
    assert!(std::process::Command::new("mkfifo").arg(dir.join("pipe")).status().expect("mkfifo").success());
    let address = server.address("echo");
    let words = [&["echo", &address, "--csv", "pipe", "--json", "link.json"], &few.split(' ').collect::<Vec<_>>()[..]];
    let output = load(&server, &words.concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1) && said.contains("--csv: cannot write pipe: no process reads from it"),
        "{said}"
    );
    let written = std::fs::read(dir.join("old.json")).expect("it is there");
    assert!(serde_json::from_slice::<Value>(&written).is_ok() && dir.join("link.json").is_symlink());
    let left = std::fs::read_dir(dir).expect("a folder").filter_map(Result::ok);
    assert!(left.map(|entry| entry.file_name()).all(|name| !name.to_string_lossy().ends_with(".new")));
}

#[test]
fn settings_name_every_flag_that_matters() {
    let server = Server::start(&[]);
    let line = "echo --requests 20 --connections 4 --connect-over 10ms --bind 127.0.0.2,127.0.0.3 --server-name localhost \
                --cert certs/client.pem --key certs/client-key.pem";
    let (_, run) = report(&server, "echo", &line.split_whitespace().collect::<Vec<_>>());
    let expected = [
        ("connect-over", "10ms"),
        ("bind", "127.0.0.2,127.0.0.3"),
        ("server-name", "localhost"),
        ("cert", "certs/client.pem"),
    ];
    for (name, value) in expected {
        assert_eq!(run["settings"][name], value, "{run}");
    }
    let (_, idle) = report_without_warmup(&server, &["--connections", "2", "--duration", "10ms"]);
    assert_eq!(idle["settings"]["speak"], "echo", "{idle}");
    let target = server.address("echo");
    let insecure = load(&server, &["echo", &target, "--insecure", "--requests", "5", "--warmup", "0s", "--json", "-"]);
    let insecure: Value = serde_json::from_slice(&insecure.stdout).expect("JSON");
    assert_eq!(insecure["settings"]["insecure"], "yes", "{insecure}");
}
