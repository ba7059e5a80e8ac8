//! What rules grant is all that a client can do, whichever protocol it speaks.

use std::process::Command;

use crate::common::{Server, certs, fail, latchkey, python, run, succeed};

const RULES: &str = r#"
[[rule]]
cn = "reader"
grant = ["read"]

[[rule]]
cn = "writer"
grant = ["write"]

[[rule]]
cn = "tenant"
anchor = "latchkey CA"
grant = ["read", "write"]
prefix = "t:"

[[rule]]
cn = "named"
grant = ["get", "config"]
"#;

/// A server with rules, and keys `t:1`, `t:2` and `x:1` in it.
fn start() -> Server {
    let dir = tempfile::tempdir().expect("a folder");
    certs(dir.path(), "init");
    certs(dir.path(), "server localhost --san IP:127.0.0.1");
    for name in ["reader", "writer", "tenant", "named", "stranger"] {
        certs(dir.path(), &format!("client {name}"));
    }
    std::fs::write(dir.path().join("rules.toml"), RULES).expect("rules");
    let line = "--resp 127.0.0.1:0 --xmlrpc 127.0.0.1:0 --cert certs/localhost.pem --key certs/localhost-key.pem \
                --client-ca certs/ca.pem --authorize rules.toml";
    let server = Server::start_in(dir, &line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(resp(&server, "writer", &["SET t:1 one", "SET t:2 two", "SET x:1 other"]), ["OK"; 3]);
    server
}

/// The replies to RESP commands.
fn resp(server: &Server, identity: &str, commands: &[&str]) -> Vec<String> {
    let mut client = python("ask_resp.py");
    client.arg(server.port("resp").to_string()).arg(identity).args(commands).current_dir(server.dir.path());
    succeed(&mut client).lines().map(str::to_owned).collect()
}

fn call(server: &Server, identity: &str, arguments: &[&str]) -> Command {
    let mut command = latchkey();
    let (cert, key) = (format!("certs/{identity}.pem"), format!("certs/{identity}-key.pem"));
    command.arg("call").arg(format!("https://{}", server.address("xmlrpc"))).args(arguments);
    command.args(["--ca", "certs/ca.pem", "--cert", &cert, "--key", &key]).current_dir(server.dir.path());
    command
}

/// The result of an XML-RPC call, as JSON on one line.
fn called(server: &Server, identity: &str, arguments: &[&str]) -> String {
    succeed(&mut call(server, identity, arguments)).split_whitespace().collect()
}

/// The fault that an XML-RPC call ends in.
fn denied(server: &Server, identity: &str, arguments: &[&str]) {
    let output = run(&mut call(server, identity, arguments));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("PermissionError") && !output.status.success(), "{arguments:?}: {text}");
}

const KEY_DENIED: &str = "-NOPERM No permissions to access a key";

fn command_denied(user: &str, name: &str) -> String {
    format!("-NOPERM User {user} has no permissions to run the '{name}' command")
}

#[test]
fn the_start_line_counts_the_rules() {
    start().logged("client certificate required (1 CA), revocation not checked; pass --crl; 4 rules");
}

#[test]
fn whom_no_rule_names_is_told_so_and_not_served() {
    let server = start();
    let refusal = "-NOPERM this certificate's identity has no access to this server";
    assert_eq!(resp(&server, "stranger", &["PING", "PING"])[0], refusal);
    assert!(server.logged("reason=\"denied\"").contains("no rule matches stranger (sha256 "));
    let refusal = run(&mut call(&server, "stranger", &["get", "x:1"]));
    assert!(String::from_utf8_lossy(&refusal.stderr).contains("403"), "{refusal:?}");
    server.logged("reason=\"denied\"");
}

#[test]
fn reading_and_writing_are_granted_apart() {
    let server = start();
    let reads =
        ["GET x:1", "EXISTS x:1 t:1", "DBSIZE", "PING", "SET x:1 new", "COPY x:1 x:2", "FLUSHALL", "CONFIG GET *"];
    let [no_set, no_copy, no_flush, no_config] =
        ["set", "copy", "flushall", "config|get"].map(|name| command_denied("reader", name));
    assert_eq!(resp(&server, "reader", &reads), ["other", "2", "3", "PONG", &no_set, &no_copy, &no_flush, &no_config]);
    // What tells a value reads, although it writes: GETSET, INCR, and SET when it is asked to.
    let writes = ["SET x:2 new", "DEL x:2", "GET x:1", "SET x:1 new GET", "GETSET x:1 new", "KEYS *", "INFO"];
    let [no_get, no_old, no_getset, no_keys, no_info] =
        ["get", "set", "getset", "keys", "info"].map(|name| command_denied("writer", name));
    assert_eq!(resp(&server, "writer", &writes), ["OK", "1", &no_get, &no_old, &no_getset, &no_keys, &no_info]);

    assert_eq!(called(&server, "reader", &["get", "x:1"]), "\"other\"");
    denied(&server, "reader", &["set", "x:1", "new"]);
    denied(&server, "reader", &["delete", "x:1"]);
    assert_eq!(called(&server, "writer", &["set", "x:3", "3"]), "null");
    denied(&server, "writer", &["get", "x:3"]);
    denied(&server, "writer", &["keys"]);
}

#[test]
fn a_name_grants_one_request_of_either_protocol() {
    let server = start();
    let replies = resp(&server, "named", &["GET x:1", "MGET x:1", "CONFIG GET maxmemory", "CLIENT LIST"]);
    let [no_mget, no_list] = ["mget", "client|list"].map(|name| command_denied("named", name));
    assert_eq!(replies, ["other", &no_mget, "[maxmemory 0]", &no_list]);
    assert_eq!(called(&server, "named", &["get", "x:1"]), "\"other\"");
    denied(&server, "named", &["exists", "x:1"]);
}

#[test]
fn a_prefix_binds_every_path_to_a_key_over_resp() {
    let server = start();
    let ask = |commands: &[&str]| resp(&server, "tenant", commands);
    assert_eq!(ask(&["GET t:1", "SET t:3 three", "DEL t:3"]), ["one", "OK", "1"]);
    for line in [
        "GET x:1",
        "SET x:1 new",
        "MGET t:1 x:1",
        "MSET t:1 one x:1 new",
        "DEL t:1 x:1",
        "EXISTS x:1",
        "TTL x:1",
        "RENAME t:1 x:2",
        "RENAME x:1 t:9",
        "COPY t:1 x:2",
        "COPY x:1 t:9",
        "LCS t:1 x:1",
        "WATCH x:1",
        "OBJECT ENCODING x:1",
        "MEMORY USAGE x:1",
        "SETNX x:2 new",
        "EXPIRE x:1 1",
        "GET t",
    ] {
        assert_eq!(ask(&[line]), [KEY_DENIED], "{line}");
    }
    assert_eq!(
        ask(&["DBSIZE", "KEYS x*", "KEYS x:1", "SCAN 0 MATCH x*", "SCAN 0 TYPE int"]),
        ["2", "[]", "[]", "[0 []]", "[0 []]"]
    );
    let mut keys: Vec<_> = ask(&["KEYS *"])[0].trim_matches(['[', ']']).split(' ').map(str::to_owned).collect();
    keys.sort();
    assert_eq!(keys, ["t:1", "t:2"]);
    assert!(ask(&["RANDOMKEY"; 20]).iter().all(|key| key.starts_with("t:")));
    for name in ["flushall", "flushdb", "info"] {
        assert_eq!(ask(&[name]), [command_denied("tenant", name)], "{name}");
    }
    assert_eq!(resp(&server, "reader", &["GET x:1", "DBSIZE"]), ["other", "3"], "nothing of the others' has changed");
}

#[test]
fn a_transaction_is_denied_when_a_command_of_it_is() {
    let server = start();
    let replies = resp(&server, "tenant", &["MULTI", "SET t:1 new", "SET x:1 new", "EXEC", "GET t:1"]);
    let abort = "-EXECABORT Transaction discarded because of previous errors.";
    assert_eq!(replies, ["OK", "QUEUED", KEY_DENIED, abort, "one"]);
    assert_eq!(resp(&server, "tenant", &["MULTI", "KEYS *", "GET t:2", "EXEC"])[3].matches("t:").count(), 2);
}

#[test]
fn a_prefix_binds_every_call_over_xmlrpc() {
    let server = start();
    assert_eq!(called(&server, "tenant", &["get", "t:1"]), "\"one\"");
    for arguments in [&["get", "x:1"][..], &["set", "x:1", "new"], &["delete", "x:1"], &["exists", "x:1"]] {
        denied(&server, "tenant", arguments);
    }
    let said = fail(&mut call(&server, "tenant", &["get", "x:1"]), 1);
    assert!(said.contains("no permission for get on this key"), "{said}");
    let mut keys: Vec<String> = serde_json::from_str(&called(&server, "tenant", &["keys"])).expect("a list");
    keys.sort();
    assert_eq!(keys, ["t:1", "t:2"]);
    let calls = r#"[{"methodName": "get", "params": ["t:1"]}, {"methodName": "get", "params": ["x:1"]}]"#;
    let results = called(&server, "tenant", &["system.multicall", calls]);
    assert!(results.starts_with("[[\"one\"],{") && results.contains("PermissionError"), "{results}");
    assert!(called(&server, "tenant", &["system.listMethods"]).contains("\"keys\""));
}

#[test]
fn rules_that_could_not_be_enforced_refuse_to_start() {
    let dir = tempfile::tempdir().expect("a folder");
    for line in ["init", "server localhost", "client alice"] {
        certs(dir.path(), line);
    }
    let rule = |text: &str| std::fs::write(dir.path().join("rules.toml"), format!("[[rule]]\n{text}")).expect("rules");
    let named = "--cert certs/localhost.pem --key certs/localhost-key.pem --authorize rules.toml";
    for (text, more, part) in [
        ("cn = 'alice'\ngrant = ['read']", "--resp 127.0.0.1:0", "--client-ca"),
        ("cn = 'alice'\ngrant = ['read']", "--client-ca certs/ca.pem --resp plain://127.0.0.1:0", "plain://"),
        ("cn = 'alice'\ngrant = ['reed']", "--client-ca certs/ca.pem --resp 127.0.0.1:0", "\"reed\""),
        ("cn = 'alice'\ngrant = ['connect']", "--client-ca certs/ca.pem --resp 127.0.0.1:0", "\"connect\""),
        ("name = 'alice'\ngrant = ['read']", "--client-ca certs/ca.pem --resp 127.0.0.1:0", "rules.toml"),
        (
            "cn = 'alice'\ngrant = ['metrics', 'get']\nprefix = 'a:'",
            "--client-ca certs/ca.pem --resp 127.0.0.1:0",
            "\"metrics\"",
        ),
        (
            "cn = 'alice'\ngrant = ['config']\nprefix = 'a:'",
            "--client-ca certs/ca.pem --resp 127.0.0.1:0",
            "\"config\"",
        ),
    ] {
        rule(text);
        let mut command = latchkey();
        let error =
            fail(command.arg("serve").args(format!("{named} {more}").split_whitespace()).current_dir(dir.path()), 2);
        assert!(error.contains("--authorize") && error.contains(part), "{text} {more}: {error}");
    }
    rule("cn = 'alice'\ngrant = ['connect']\nprefix = 'a:'");
    let mut command = latchkey();
    let wrap = format!("wrap --listen 127.0.0.1:0 --to 127.0.0.1:1 {named} --client-ca certs/ca.pem");
    let error = fail(command.args(wrap.split_whitespace()).current_dir(dir.path()), 2);
    assert!(error.contains("--authorize") && error.contains("a rule with a prefix cannot grant it"), "{error}");
}
