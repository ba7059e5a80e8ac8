//! Every flag and file that is no good: exit code 2, one sentence on stderr that names them, and nothing left behind.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::common::{certs, latchkey, run, succeed};

/// A folder with good files, and with files that are bad in every way.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    certs(dir.path(), "init");
    certs(dir.path(), "server localhost");
    certs(dir.path(), "client alice");
    let section = |content: &str| format!("-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----\n");
    let good = fs::read_to_string(dir.path().join("certs/localhost.pem")).expect("a certificate");
    for (name, content) in [
        ("empty.pem", ""),
        ("text.pem", "a certificate, I promise\n"),
        ("no-base64.pem", &section("!!!!")),
        ("no-der.pem", &section("AAAA")),
        ("cut-off.pem", &good[..good.len() - 40]),
        ("no-rules.toml", "[[rule]]\ncn = \"alice\"\nmay = [\"read\"]\n"),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, content).expect("written");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("changed");
    }
    let mut openssl = Command::new("openssl");
    openssl
        .args("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass pass:x -out locked.pem".split(' '));
    succeed(openssl.current_dir(dir.path()));
    dir
}

/// All files below a folder.
fn listing(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(listing(&path));
        }
        found.insert(path.display().to_string());
    }
    found
}

/// Runs `latchkey`, which must refuse with one sentence that has all `parts`, and change nothing in `dir`.
fn refuse(dir: &Path, arguments: &str, parts: &[&str]) {
    let before = listing(dir);
    let output = run(latchkey().args(arguments.split_whitespace()).current_dir(dir));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments}: {said}");
    assert!(said.lines().count() == 1 && said.starts_with("latchkey: "), "{arguments}: not one sentence: {said}");
    assert!(output.stdout.is_empty(), "{arguments}: {:?}", output.stdout);
    for part in parts {
        assert!(said.contains(part), "{arguments}: nothing about {part}: {said}");
    }
    assert_eq!(listing(dir), before, "{arguments}");
}

#[test]
fn files_that_are_no_good_are_named_with_their_flag() {
    const IDENTITY: &str = "--cert certs/localhost.pem --key certs/localhost-key.pem";
    let dir = folder();
    for (arguments, parts) in [
        ("--cert nowhere.pem --key certs/localhost-key.pem", &["--cert: ", "nowhere.pem", "No such file"][..]),
        ("--cert certs --key certs/localhost-key.pem", &["--cert: ", "certs", "it is a folder"]),
        ("--cert empty.pem --key certs/localhost-key.pem", &["--cert: empty.pem is empty"]),
        ("--cert text.pem --key certs/localhost-key.pem", &["--cert: text.pem holds no certificate"]),
        ("--cert no-base64.pem --key certs/localhost-key.pem", &["--cert: no-base64.pem is damaged"]),
        ("--cert cut-off.pem --key certs/localhost-key.pem", &["--cert: cut-off.pem is damaged"]),
        ("--cert no-der.pem --key certs/localhost-key.pem", &["no-der.pem is not usable as --cert"]),
        ("--cert certs/localhost.pem --key nowhere.pem", &["--key: ", "nowhere.pem", "No such file"]),
        ("--cert certs/localhost.pem --key certs", &["--key: ", "certs", "it is a folder"]),
        ("--cert certs/localhost.pem --key empty.pem", &["--key: empty.pem is empty"]),
        ("--cert certs/localhost.pem --key text.pem", &["--key: text.pem holds no private key"]),
        (
            "--cert certs/localhost.pem --key locked.pem",
            &["--key: ", "locked.pem is encrypted", "openssl pkey -in locked.pem"],
        ),
        (
            "--cert certs/localhost.pem --key certs/localhost.pem",
            &["--key: certs/localhost.pem holds no private key", "exchanged"],
        ),
        (
            "--cert certs/localhost.pem --key certs/alice-key.pem",
            &["--key: ", "certs/alice-key.pem does not belong to", "certs/localhost.pem"],
        ),
        ("--cert certs/localhost.pem", &["--key <FILE>", "--cert <FILE>"]),
        ("--key certs/localhost-key.pem", &["--cert <FILE>", "--key <FILE>"]),
        ("IDENTITY --client-ca nowhere.pem", &["--client-ca: ", "nowhere.pem", "No such file"]),
        ("IDENTITY --client-ca certs", &["--client-ca: ", "certs", "it is a folder"]),
        ("IDENTITY --client-ca empty.pem", &["--client-ca: empty.pem is empty"]),
        ("IDENTITY --client-ca text.pem", &["--client-ca: text.pem holds no certificate"]),
        ("IDENTITY --client-ca no-der.pem", &["--client-ca: no-der.pem"]),
        ("IDENTITY --client-ca certs/alice.pem", &["--client-ca: certs/alice.pem", "list it with --client-pin"]),
        ("IDENTITY --client-pin nowhere.pem", &["--client-pin: ", "nowhere.pem", "No such file"]),
        ("IDENTITY --client-pin empty.pem", &["--client-pin: empty.pem is empty"]),
        ("IDENTITY --client-ca certs/ca.pem --crl nowhere.pem", &["--crl: ", "nowhere.pem", "No such file"]),
        (
            "IDENTITY --client-ca certs/ca.pem --crl certs/ca.pem",
            &["--crl: certs/ca.pem holds no certificate revocation list"],
        ),
        ("IDENTITY --crl nowhere.pem", &["--client-ca <FILE>", "--crl <FILE>"]),
        (
            "IDENTITY --client-ca certs/ca.pem --authorize nowhere.toml",
            &["--authorize: ", "nowhere.toml", "No such file"],
        ),
        ("IDENTITY --client-ca certs/ca.pem --authorize text.pem", &["--authorize: text.pem: line 1: "]),
        (
            "IDENTITY --client-ca certs/ca.pem --authorize no-rules.toml",
            &["--authorize: no-rules.toml: line 3: ", "may"],
        ),
        ("IDENTITY --client-ca certs/ca.pem --client-auth none", &["--client-auth none", "--client-ca"]),
        ("IDENTITY --client-auth required", &["--client-auth required", "--client-ca"]),
    ] {
        refuse(dir.path(), &format!("serve --echo 127.0.0.1:0 {}", arguments.replace("IDENTITY", IDENTITY)), parts);
    }
}

#[test]
fn limits_of_clients_are_named_with_their_flag() {
    let dir = folder();
    for (arguments, parts) in [
        ("call https://localhost:1 keys --ca nowhere.pem", &["--ca: ", "nowhere.pem", "No such file"][..]),
        ("call https://localhost:1 keys --ca text.pem", &["--ca: text.pem holds no certificate"]),
        ("connect localhost:1 --ca certs", &["--ca: ", "certs", "it is a folder"]),
        (
            "connect localhost:1 --ca certs/ca.pem --cert certs/alice.pem --key certs/localhost-key.pem",
            &["--key: ", "certs/localhost-key.pem"],
        ),
        ("wrap --listen 127.0.0.1:0 --to 127.0.0.1:1 --cert text.pem --key certs/alice-key.pem", &["--cert: text.pem"]),
        ("connect localhost:1 --ca certs/ca.pem --cert text.pem --key text.pem", &["--cert: text.pem holds no"]),
        (
            "serve --resp 127.0.0.1:0 --cert certs/localhost.pem --key certs/localhost-key.pem --data text.pem",
            &["--data: cannot create the directory text.pem: it, or a parent of it, is a file"],
        ),
        ("load compare text.pem text.pem", &["text.pem is no report of a run: it is not the JSON that --json writes"]),
        ("load compare a.json -- b.json --report c.html", &["--report stands behind `--`", "before it"]),
        ("load echo localhost:1 --ca text.pem", &["--ca: text.pem holds no certificate"]),
        ("load echo localhost:1 --ca certs/ca.pem --cert text.pem --key certs/alice-key.pem", &["--cert: text.pem"]),
        ("load echo localhost:1 --connections 0", &["--connections", ": must be a number from 1 to 10000000"]),
        ("load echo localhost:1 --requests 0", &["--requests", ": must be a number from 1 up"]),
        ("certs server caf\u{e9}.example --dir certs", &["xn--"]),
    ] {
        refuse(dir.path(), arguments, parts);
    }
}

#[test]
fn values_that_are_no_good_are_named_with_their_flag() {
    let dir = tempfile::tempdir().expect("a folder");
    for (flag, values) in [
        ("--handshake-timeout", &["soon", "0s", "10", "1parsec", "100y", "290000000000y"][..]),
        ("--request-timeout", &["", "0ms", "off"]),
        ("--write-timeout", &["1", "0s"]),
        ("--idle-timeout", &["never", "0s", "290000000000y"]),
        ("--drain-timeout", &["now", "0s"]),
        ("--reauth-after", &["0s", "tomorrow"]),
        ("--handshake-slice", &["0ms", "1"]),
        ("--max-call", &["lots", "1.5m"]),
        ("--max-request", &["lots", "0", "0k", "1.5m", "64x", "99999999999g"]),
        ("--max-output", &["0", "1t"]),
        ("--max-memory", &["0", "half"]),
        ("--max-memory-policy", &["allkeys-lru"]),
        ("--max-connections", &["0", "many", "99999999999"]),
        ("--client-auth", &["maybe"]),
        ("--tls-min", &["1.1", "1.4"]),
        ("--pq", &["perhaps"]),
        ("--faults", &["rude"]),
        ("--log-level", &["loud"]),
        ("--echo", &["localhost", "127.0.0.1:99999", "127.0.0.1:-1", "http://127.0.0.1:0", "nowhere.invalid:0"]),
        ("--xmlrpc", &["plain://0.0.0.0:0", "plain://[::]:0"]),
        ("--resp", &["plain://0.0.0.0:0"]),
        ("--ehco", &["127.0.0.1:0"]),
    ] {
        for value in values {
            refuse(dir.path(), &format!("serve {flag}={value}"), &[flag]);
        }
    }
    for arguments in ["serve spam", "serve --echo", "spam", "call", "call http://localhost:1 keys", "connect localhost"]
    {
        refuse(dir.path(), arguments, &[]);
    }
}

#[test]
fn an_address_that_cannot_be_had_is_named_with_its_flag() {
    let dir = folder();
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
    let taken = taken.local_addr().expect("address").to_string();
    let identity = "--cert certs/localhost.pem --key certs/localhost-key.pem";
    for (address, problem) in [(&taken[..], "in use"), ("203.0.113.1:0", "assign")] {
        for flag in ["--echo", "--xmlrpc", "--resp"] {
            refuse(dir.path(), &format!("serve {flag} {address} {identity}"), &[flag, address, problem]);
        }
        refuse(
            dir.path(),
            &format!("wrap --listen {address} --to 127.0.0.1:1 {identity}"),
            &["--listen", address, problem],
        );
        // Nor are development certificates made for a server that cannot start.
        let empty = tempfile::tempdir().expect("a folder");
        refuse(empty.path(), &format!("serve --echo {address}"), &["--echo", address, problem]);
        refuse(empty.path(), &format!("wrap --listen {address} --to 127.0.0.1:1"), &["--listen", address, problem]);
    }
}

#[test]
fn usage_errors_say_what_to_change() {
    let dir = tempfile::tempdir().expect("a folder");
    for (arguments, said) in [
        ("serve --bogus", "unexpected argument '--bogus' found; `latchkey serve --help` lists them"),
        ("certs spam", "unrecognized subcommand 'spam'; `latchkey certs --help` lists them"),
        ("serve --idle-timeout -5s", "invalid value '-5s' for '--idle-timeout': it must not be negative"),
        ("serve --max-request -1", "invalid value '-1' for '--max-request': it must not be negative"),
        ("serve --tls-min 1.1", "invalid value '1.1' for '--tls-min <VERSION>' [possible values: 1.2, 1.3]"),
        (
            "serve --idle-timeout 5x",
            "invalid value '5x' for '--idle-timeout <TIME>': a time is a number with a unit, ms, s, m, h or d, such as \
             500ms, 10s or 5m",
        ),
        (
            "connect https://127.0.0.1:15000",
            "invalid value 'https://127.0.0.1:15000' for '<SERVER>': a server is HOST:PORT, without https://: \
             127.0.0.1:15000",
        ),
        (
            "certs check foo.pem host:443",
            "host:443 is not a file: check a live server on its own, `latchkey certs check host:443`",
        ),
        ("certs show .", "cannot read .: it is a folder: name a file in it"),
    ] {
        refuse(dir.path(), arguments, &[&format!("latchkey: {said}")]);
    }
    certs(dir.path(), "init");
    certs(dir.path(), "server localhost");
    let under = "--cert certs/localhost.pem --key certs/localhost-key.pem --client-ca certs/ca.pem --authorize";
    fs::write(dir.path().join("wrap.toml"), "[[rule]]\ncn = 'a'\ngrant = ['connect']\n").expect("written");
    fs::write(dir.path().join("serve.toml"), "[[rule]]\ncn = 'a'\ngrant = ['get']\n").expect("written");
    let wrong = ["--authorize: wrap.toml", "\"connect\" is for wrap"];
    refuse(dir.path(), &format!("serve --echo 127.0.0.1:0 {under} wrap.toml"), &wrong);
    let wrong = ["--authorize: serve.toml", "unknown grant \"get\"", "\"connect\""];
    refuse(dir.path(), &format!("wrap --listen 127.0.0.1:0 --to 127.0.0.1:1 {under} serve.toml"), &wrong);
    fs::write(dir.path().join("wrap.toml"), "[[rule]]\ncn = 'a'\ngrant = ['read', 'write']\n").expect("written");
    let wrong = ["--authorize: no rule grants", "no client is admitted", "grant = [\"connect\"]"];
    refuse(dir.path(), &format!("wrap --listen 127.0.0.1:0 --to 127.0.0.1:1 {under} wrap.toml"), &wrong);
    let data = "--cert certs/localhost.pem --key certs/localhost-key.pem --data /proc/spam";
    refuse(
        dir.path(),
        &format!("serve --resp 127.0.0.1:0 {data}"),
        &["--data: cannot create the directory /proc/spam"],
    );
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    let dir = folder();
    for (limits, parts) in [
        ("--max-request 9m --max-client-memory 16m", ["--max-request", "half of --max-client-memory"]),
        (
            "--max-request 4g --max-client-memory 9g --max-output-hard 3g",
            ["--max-output-hard", "could be set but not read"],
        ),
        ("--max-request 300m --max-client-memory 1g --max-output-hard 256m", ["--max-output-hard", "--max-request"]),
        ("--max-output-hard 1m --max-output 2m", ["--max-output-hard", "--max-output"]),
        ("--max-memory 8m --max-client-memory 8m", ["--max-client-memory", "--max-memory"]),
        ("--max-memory 1m", ["--max-memory", "more than 1m"]),
        ("--max-memory 64m --max-request 5m", ["--max-request", "which is 8388608"]),
        ("--max-call 2m --max-request 1m", ["--max-call", "--max-request, which is 1048576"]),
        ("--max-call 1g", ["--max-call", "--max-request, which is 67108864"]),
    ] {
        refuse(dir.path(), &format!("serve --resp 127.0.0.1:0 --xmlrpc 127.0.0.1:0 {limits}"), &parts);
    }
}

#[test]
fn options_that_nothing_would_heed_are_refused() {
    let dir = folder();
    let plain = "serve --echo plain://127.0.0.1:0";
    for flags in [
        "--cert certs/localhost.pem --key certs/localhost-key.pem",
        "--client-ca certs/ca.pem",
        "--client-auth none",
        "--tls-min 1.3",
        "--pq off",
    ] {
        let flag = flags.split(' ').next().expect("a flag");
        refuse(dir.path(), &format!("{plain} {flags}"), &[flag, "every listener is plain://"]);
    }
    refuse(dir.path(), "serve --max-memory-policy allkeys", &["--max-memory"]);
    refuse(dir.path(), &format!("{plain} --max-memory 1g"), &["--max-memory", "--resp"]);
    let echo = "serve --echo 127.0.0.1:0 --data data";
    refuse(dir.path(), echo, &["--data", "there is no key/value listener", "--resp"]);
    refuse(dir.path(), "serve --resp 127.0.0.1:0 --faults standard", &["--faults", "--xmlrpc"]);
    refuse(dir.path(), "serve --resp 127.0.0.1:0 --max-call 1m", &["--max-call", "--xmlrpc"]);
    refuse(dir.path(), "serve --resp 127.0.0.1:0 --admin-connections 5", &["--admin-connections", "--admin ADDR"]);
    refuse(dir.path(), "serve --resp 127.0.0.1:0 --header-timeout 5s", &["--header-timeout", "--xmlrpc"]);
    refuse(dir.path(), "serve --resp 127.0.0.1:0 --reauth-after 1h", &["--reauth-after", "--client-ca"]);
    refuse(dir.path(), "wrap --listen 127.0.0.1:0 --to 127.0.0.1:1 --reauth-after 1h", &["--reauth-after"]);
    let unencrypted = "serve --echo plain://127.0.0.1:0 --max-handshakes-per-address 3";
    refuse(dir.path(), unencrypted, &["--max-handshakes-per-address", "no listener uses TLS"]);
    for listener in ["--resp 127.0.0.1:0", "--resp plain://127.0.0.1:0", "--echo plain://0.0.0.0:0"] {
        refuse(dir.path(), &format!("serve {listener} --allow-plain"), &["--allow-plain", "other machines"]);
    }
    for listener in ["--resp 127.0.0.1:0", "--resp plain://127.0.0.1:0", "--echo 0.0.0.0:0"] {
        refuse(dir.path(), &format!("serve {listener} --allow-anonymous"), &["--allow-anonymous", "remove this flag"]);
    }
    let wrap = "wrap --originate --listen 127.0.0.1:0 --to 127.0.0.1:1 --allow-plain";
    refuse(dir.path(), wrap, &["--allow-plain", "loopback"]);
}

#[test]
fn help_and_the_version_are_no_errors() {
    for arguments in ["--help", "--version", "help", "serve --help", "help load"] {
        assert!(!succeed(latchkey().args(arguments.split_whitespace())).is_empty(), "{arguments}");
    }
}

/// Bounds of fairness within a turn, and of last words: no flag.
const WITHOUT_FLAG: [&str; 7] = [
    "refusals",
    "linger_timeout",
    "replies",
    "peers_per_turn",
    "requests_per_turn",
    "transmit_bytes_per_turn",
    "accepts_per_turn",
];

#[test]
fn every_limit_has_its_flag_and_a_reason_for_its_default() {
    let text = std::fs::read_to_string("src/limits.rs").expect("the limits");
    let (fields, defaults) = text.split_once("impl Default").expect("defaults");
    let help = ["serve", "wrap"].map(|command| latchkey().args([command, "--help"]).output().expect("run").stdout);
    let help = help.map(|help| String::from_utf8(help).expect("text"));
    let (mut doc, mut found) = (String::new(), 0);
    for line in fields.lines().map(str::trim) {
        let field = line.strip_prefix("pub ").filter(|line| !line.starts_with("const "));
        let Some(field) = field.and_then(|line| line.split_once(": ")).map(|(name, _)| name) else {
            doc = if line.starts_with("///") { doc + line } else { String::new() };
            continue;
        };
        found += 1;
        let flag = doc.split_once("(`--").and_then(|(_, rest)| rest.split_once("`)")).map(|(flag, _)| flag);
        match flag {
            Some(flag) => {
                let is_known = |help: &String| help.contains(&format!(" --{flag} <"));
                assert!(help.iter().any(is_known), "{field}: no command has --{flag}");
            }
            None => assert!(WITHOUT_FLAG.contains(&field), "{field} has no flag"),
        }
        let (before, _) = defaults.split_once(&format!("            {field}: ")).expect(field);
        let above = before.trim_end().lines().last().unwrap_or_default().trim();
        assert!(above.starts_with("//"), "{field} has no reason for its default: {above}");
        doc = String::new();
    }
    assert!(found > 20, "the limits are lost");
}
