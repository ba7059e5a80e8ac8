//! What `latchkey load` writes, as its readers meet it: the pages in a real browser, the HDR logs in HdrHistogram's own
//! reader, the JSON beside its documentation.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Server, client, fail, latchkey, python, succeed};
use latchkey::internals::load::outcome::RequestFailure;
use serde_json::Value;

const DOCUMENT: &str = include_str!("../../docs/load.md");

/// Where `tests/install` puts clients.
fn installed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients").join(name)
}

/// A server for every protocol.
fn server() -> Server {
    let dir = tempfile::tempdir().expect("a folder");
    Server::start_in(dir, &["--echo", "127.0.0.1:0", "--resp", "127.0.0.1:0", "--xmlrpc", "127.0.0.1:0"])
}

/// Runs `latchkey load COMMAND` against `protocol` in the server's folder, whatever its verdict; its JSON report, which
/// is in `NAME.json`.
fn load(server: &Server, command: &str, protocol: &str, name: &str, line: &str) -> Value {
    let mut load = latchkey();
    load.args(["load", command, &server.address(protocol), "--ca", "certs/ca.pem", "--json"]);
    load.arg(format!("{name}.json")).args(line.split_whitespace()).current_dir(server.dir.path());
    let output = crate::common::run(&mut load);
    let text = std::fs::read(server.dir.path().join(format!("{name}.json"))).unwrap_or_default();
    assert!(!text.is_empty(), "{load:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&text).expect("JSON")
}

/// `latchkey load` on files in the server's folder.
fn on_files(server: &Server, line: &str) -> Command {
    let mut command = latchkey();
    command.arg("load").args(line.split_whitespace()).current_dir(server.dir.path());
    command
}

/// Copies a file in the server's folder.
fn copy(server: &Server, from: &str, to: &str) {
    std::fs::copy(server.dir.path().join(from), server.dir.path().join(to)).expect("copied");
}

/// The paths of all fields below `value`, as the document writes them.
fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) if !(fields.contains_key("p99_9")) => {
            for (name, value) in fields {
                let any = ["settings", "errors", "handshakes.groups", "handshakes.suites"].contains(&path);
                let name = if any { "*" } else { name };
                paths(value, &if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }, found);
            }
        }
        Value::Array(items) if !path.ends_with("curve") => {
            for item in items {
                paths(item, &format!("{path}[]"), found);
            }
        }
        _ => _ = found.insert(path.to_owned()),
    }
}

#[test]
fn every_field_of_the_json_is_documented_and_the_other_way_round() {
    let server = server();
    let mut found = BTreeSet::new();
    let pid = server.pid().to_string();
    let runs = [
        load(&server, "echo", "echo", "echo", "--rate 100 --duration 300ms --warmup 0s --connections 2 --slo p99<1us"),
        load(&server, "idle", "echo", "idle", &format!("--connections 5 --duration 100ms --pid {pid}")),
        load(&server, "xmlrpc", "xmlrpc", "refused", "--requests 10 --warmup 0s --connections 2 --method nosuch"),
        // An echo is no answer of Redis's, so there are errors, and problems with them.
        load(&server, "resp", "echo", "errors", "--requests 10 --warmup 0s --connections 2"),
    ];
    for run in &runs {
        paths(run, "", &mut found);
    }
    let (_, section) = DOCUMENT.split_once("### JSON").expect("a section");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let documented: BTreeSet<_> = rows.map(|(field, _)| field.to_owned()).collect();
    let missing: Vec<_> = found.difference(&documented).collect();
    let stale: Vec<_> = documented.difference(&found).collect();
    assert!(missing.is_empty() && stale.is_empty(), "not documented: {missing:?}; documented only: {stale:?}");

    let percentiles = runs[0]["latency_us"].as_object().expect("percentiles");
    for name in percentiles.keys().map(String::as_str).chain(RequestFailure::ALL.map(RequestFailure::name)) {
        assert!(DOCUMENT.contains(&format!("`{name}`")), "{name} is not in the document");
    }
}

#[test]
fn the_columns_of_the_csv_are_documented() {
    let server = server();
    load(&server, "echo", "echo", "run", "--requests 50 --warmup 0s --connections 2 --csv run.csv");
    let text = std::fs::read_to_string(server.dir.path().join("run.csv")).expect("CSV");
    let heading = text.lines().next().expect("a heading");
    assert!(DOCUMENT.contains(&format!("\n    {heading}\n")), "{heading}");
}

#[test]
fn hdr_logs_are_read_by_hdrhistograms_own_reader() {
    let server = server();
    let run = load(&server, "echo", "echo", "run", "--requests 3000 --warmup 0s --connections 4 --hdr run.hdr");
    copy(&server, "run.hdr", "other.hdr");
    succeed(&mut on_files(&server, "merge run.hdr other.hdr --hdr sum.hdr"));
    let read = |name: &str| -> Value {
        let mut python = python("hdr_log.py");
        let said = succeed(python.arg(server.dir.path().join(name)).env("PYTHONPATH", installed("python")));
        serde_json::from_str(&said).expect("JSON")
    };
    let (one, sum) = (read("run.hdr"), read("sum.hdr"));
    assert_eq!((&one["service"]["count"], &run["requests"]), (&3000.into(), &3000.into()), "{one}");
    for (tag, times) in [("", "latency_us"), ("service", "service_us")] {
        for name in ["p50", "p99", "max"] {
            let [log, report] = [&one[tag][name], &run[times][name]].map(|value| value.as_f64().expect("a number"));
            // The two libraries round a percentile to different ends of the same bucket.
            assert!(
                (log - report).abs() <= report / 500.0 + 1.0,
                "{tag} {name}: {log} in the log, {report} in the report"
            );
        }
        assert_eq!(sum[tag]["count"], one[tag]["count"].as_u64().expect("a number") * 2);
        assert_eq!((&sum[tag]["p99"], &sum[tag]["intervals"]), (&one[tag]["p99"], &one[tag]["intervals"]));
    }
}

/// Runs whose pages have a little of everything, in the server's folder; the pages' paths.
fn pages(server: &Server) -> Vec<PathBuf> {
    let run = |command, protocol, name: &str, line: &str| {
        load(server, command, protocol, name, &format!("{line} --report {name}.html"));
        format!("{name}.html")
    };
    let short = "--warmup 0s --duration 1200ms --connections 4";
    let mut names = vec![
        run("echo", "echo", "echo", "--rate 200 --warmup 0s --duration 3200ms --connections 4 --slo p99<1us"),
        run("resp", "resp", "resp", &format!("{short} --pipeline 4 --hdr resp.hdr")),
        run("xmlrpc", "xmlrpc", "less-than-a-second", "--warmup 0s --requests 100 --connections 4"),
        run("handshake", "echo", "handshake", &format!("{short} --resume mix")),
        run("idle", "echo", "idle", "--connections 20 --duration 200ms"),
        run("resp", "echo", "errors", short),
    ];
    // Long words must not make a page wider than a telephone.
    let long = "x".repeat(120);
    for name in ["a1", "a2", "b1", "b2"] {
        load(server, "resp", "resp", name, short);
        let path = server.dir.path().join(format!("{name}.json"));
        let text =
            std::fs::read_to_string(&path).expect("a report").replace("tls://127.0.0.1", &format!("tls://{long}"));
        let mut report: Value = serde_json::from_str(&text).expect("JSON");
        // As of a million answers and more: the labels of six nines are the widest there are.
        let curve = |us: f64| -> Value {
            let nines = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999_999];
            (1..).zip(nines).map(|(step, quantile)| serde_json::json!([quantile, us * f64::from(step)])).collect()
        };
        let fields = report.as_object_mut().expect("a report");
        fields.insert("latency_curve".to_owned(), curve(100.0));
        fields.insert("service_curve".to_owned(), curve(70.0));
        let text = report.to_string();
        std::fs::write(path, text).expect("written");
    }
    succeed(&mut on_files(server, "compare --report compared.html a1.json a2.json -- b1.json b2.json"));
    copy(server, "resp.hdr", "other.hdr");
    succeed(&mut on_files(server, "merge resp.hdr other.hdr --report merged.html"));
    names.extend(["compared.html", "merged.html"].map(str::to_owned));
    names.into_iter().map(|name| server.dir.path().join(name)).collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().expect("an array").iter().filter_map(Value::as_str).collect()
}

#[test]
fn pages_are_readable_in_a_real_browser_on_a_telephone_and_on_a_desk() {
    let server = server();
    let pages = pages(&server);
    let mut command = Command::new("node");
    let seen = succeed(command.arg(client("page.cjs")).arg("-").args(&pages));
    let seen: Vec<Value> = serde_json::from_str(&seen).expect("JSON");
    assert_eq!(seen.len(), pages.len() * 4, "two widths, two colour schemes");
    for view in &seen {
        let at = format!("{} at {} px, {}", view["page"], view["width"], view["scheme"]);
        let number = |value: &Value| value.as_f64().expect("a number");
        assert_eq!(texts(&view["console"]), [""; 0], "{at}: the console");
        assert_eq!(texts(&view["fetched"]), [""; 0], "{at}: fetched");
        assert!(number(&view["overflow"]) <= 0.0, "{at}: wider than the window by {}", view["overflow"]);
        assert_eq!(texts(&view["beyond"]), [""; 0], "{at}: beyond the window");
        assert!(number(&view["contrast"]) > 7.0, "{at}: contrast {}", view["contrast"]);
        let figures = view["figures"].as_array().expect("figures");
        assert!(figures.len() >= 2, "{at}: {} figures", figures.len());
        for figure in figures {
            let at = format!("{at}, {}", figure["title"]);
            assert!(!texts(&figure["legend"]).is_empty(), "{at}: no legend");
            assert_eq!(texts(&figure["missing"]), [""; 0], "{at}: in the legend, not in the plot");
            assert!(number(&figure["labels"]) >= 3.0, "{at}: {} labels", figure["labels"]);
            assert!(number(&figure["smallest"]) >= 10.0, "{at}: letters of {} px", figure["smallest"]);
            assert!(number(&figure["faintest"]) > 4.5, "{at}: contrast {}", figure["faintest"]);
            assert_eq!(texts(&figure["overlaps"]), [""; 0], "{at}: labels over each other");
            assert_eq!(texts(&figure["outside"]), [""; 0], "{at}: labels cut off");
        }
    }
    let titles = |page: &str| -> Vec<&str> {
        let view = seen.iter().find(|view| view["page"] == page).expect("seen");
        view["figures"].as_array().expect("figures").iter().filter_map(|figure| figure["title"].as_str()).collect()
    };
    let curves = ["Latency by percentile", "Connecting by percentile"];
    let courses = ["Throughput over time", "Latency over time"];
    assert_eq!(titles("echo.html"), [&courses[..], &curves].concat());
    assert_eq!(titles("less-than-a-second.html"), [&courses[..], &curves].concat());
    // What failed has waited, too.
    assert_eq!(titles("errors.html"), [&courses[..], &["Failures over time"], &curves].concat());
    assert_eq!(titles("compared.html").first(), Some(&"B beside A"));
    assert_eq!(titles("merged.html").len(), 3);
}

#[test]
fn files_that_do_not_fit_are_refused_in_one_sentence_that_names_them() {
    let server = server();
    load(&server, "echo", "echo", "echo", "--requests 20 --warmup 0s --connections 2 --hdr echo.hdr");
    load(&server, "echo", "echo", "longer", "--requests 20 --warmup 0s --connections 2 --value-size 64");
    load(&server, "resp", "resp", "resp", "--requests 20 --warmup 0s --connections 2 --hdr resp.hdr");
    load(&server, "resp", "echo", "failed", "--requests 20 --warmup 0s --connections 2");
    let write = |name: &str, text: &str| std::fs::write(server.dir.path().join(name), text).expect("written");
    write("words.json", "no JSON");
    write("other.json", "[1, 2]");
    write("future.json", "{\"schema\": 99}");
    write("words.hdr", "no log");
    let refused = |line: &str, words: &[&str]| {
        let said = fail(&mut on_files(&server, line), 2);
        assert_eq!(said.trim().lines().count(), 1, "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{line}: {said}");
    };
    refused("compare echo.json resp.json", &["resp.json", "is a run of resp"]);
    refused("compare echo.json longer.json", &["longer.json", "--value-size is 64"]);
    refused("compare failed.json failed.json", &["failed.json", "no answered request"]);
    refused("compare echo.json words.json", &["words.json", "no report of a run"]);
    refused("compare other.json echo.json", &["other.json", "no report of a run"]);
    refused("compare echo.json future.json", &["future.json", "schema 99"]);
    refused("compare echo.json missing.json", &["missing.json"]);
    refused("compare echo.json", &["A.json... -- B.json..."]);
    refused("merge echo.hdr resp.hdr", &["resp.hdr is a run of resp, the first is one of echo"]);
    refused("merge echo.json", &["echo.json: not a readable HDR log, as --hdr writes it: line 1 is of another format"]);
    refused("merge words.hdr", &["words.hdr"]);
    refused("merge missing.hdr", &["missing.hdr"]);
}
