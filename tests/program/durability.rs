//! What was acknowledged outlives the program: killed, restarted, out of room.

mod backups;
mod full;
mod kill;
mod resp;

use std::path::Path;
use std::process::Command;

use crate::common::{Server, fail, latchkey, succeed, until};
use resp::{Client, Reply, words};

/// The arguments for a server on `data`, without TLS, which is not what is tested here.
fn arguments(data: &Path) -> Vec<String> {
    let data = data.display().to_string();
    ["--resp", "plain://127.0.0.1:0", "--xmlrpc", "plain://127.0.0.1:0", "--data", &data].map(str::to_owned).into()
}

fn start(data: &Path) -> Server {
    let mut command = latchkey();
    command.arg("serve").args(arguments(data));
    Server::spawn(command, tempfile::tempdir().expect("a folder"), 2)
}

fn client(server: &Server) -> Client {
    Client::connect(&server.address("resp"))
}

fn integer(value: u64) -> Reply {
    Reply::Line(format!(":{value}"))
}

/// The whole contents, in a fixed order.
fn contents(client: &mut Client) -> Vec<(String, Reply, Reply, Reply)> {
    let Reply::Array(keys) = client.ask("keys *") else { panic!("an array") };
    let mut keys: Vec<String> = keys.iter().map(Reply::text).collect();
    keys.sort();
    let mut state = Vec::new();
    for key in keys {
        let mut ask = |command: &str| {
            client.send(&[vec![command.to_owned(), key.clone()]]).expect("sent");
            client.receive().expect("a reply")
        };
        let (value, kind, expiry) = (ask("get"), ask("type"), ask("pexpiretime"));
        state.push((key, value, kind, expiry));
    }
    state
}

#[test]
fn every_kind_of_change_is_there_after_a_kill() {
    let data = tempfile::tempdir().expect("a folder");
    let server = start(data.path());
    let mut asker = client(&server);
    for line in [
        "set gone 1",
        "flushall",
        "set a 1",
        "incr n",
        "incrby n 41",
        "append s hello",
        "append s -world",
        "setrange r 20000 x",
        "set t v ex 10000",
        "set moved 1 px 20000000",
        "rename moved there",
        "mset m1 1 m2 2 m3 3",
        "del m2",
        "expire m3 5000",
        "set kept v ex 100",
        "persist kept",
        "set brief v px 1",
        "getdel m1",
        "multi",
        "set tx1 x",
        "set tx2 y",
        "exec",
        "copy a c",
        "setex e 1000 v",
    ] {
        assert!(!asker.ask(line).clone_text().starts_with('-'), "{line}");
    }
    asker.send(&[vec!["set".into(), String::new(), "empty".into()]]).expect("sent");
    asker.receive().expect("a reply");
    let url = format!("http://{}", server.address("xmlrpc"));
    let call = |method: &str, key: &str, value: &str| {
        let script = "import sys, json, xmlrpc.client as x; p = x.ServerProxy(sys.argv[1], allow_none=True); \
                      print(json.dumps(getattr(p, sys.argv[2])(*[json.loads(a) for a in sys.argv[3:] if a])))";
        succeed(Command::new("python3").args(["-c", script, &url, method, key, value])).trim().to_owned()
    };
    call("set", "\"typed\"", "{\"list\": [1, 2.5, null, true]}");
    asker.ask("get brief");
    let before = contents(&mut asker);
    assert_eq!(before.len(), 14);
    drop(server);
    let server = start(data.path());
    assert!(contents(&mut client(&server)) == before);
    let url = format!("http://{}", server.address("xmlrpc"));
    let script = "import sys, xmlrpc.client as x; print(x.ServerProxy(sys.argv[1], allow_none=True).get('typed'))";
    let typed = succeed(Command::new("python3").args(["-c", script, &url]));
    assert_eq!(typed.trim(), "{'list': [1, 2.5, None, True]}");
}

impl Reply {
    fn clone_text(&self) -> String {
        match self {
            Self::Line(line) => line.clone(),
            _ => String::new(),
        }
    }
}

#[test]
fn a_server_stops_in_order_says_what_it_loads_and_has_its_directory_alone() {
    let data = tempfile::tempdir().expect("a folder");
    let mut server = start(data.path());
    server.logged("sync always");
    let mut asker = client(&server);
    for number in 0..1000 {
        asker.ask(&format!("set key:{number} value"));
    }
    let mut second = latchkey();
    second.arg("serve").args(arguments(data.path())).current_dir(server.dir.path());
    let told = fail(&mut second, 2);
    assert!(told.contains("--data: ") && told.contains("in use by another process"), "{told}");
    let told = fail(latchkey().arg("dump").arg(data.path()), 2);
    assert!(told.contains("in use") && told.contains("BGSAVE") && told.contains("backup/dump.latchkey"), "{told}");
    assert_eq!(server.stop(), Some(0));
    let server = start(data.path());
    let line = server.logged("loaded in");
    assert!(line.contains("1000 keys, "), "{line}");
    let info = client(&server).ask("info persistence").text();
    assert!(info.contains("latchkey_sync:always\r\n") && info.contains("aof_last_write_status:ok\r\n"), "{info}");
}

#[test]
fn options_that_need_a_directory_are_refused_without_one() {
    for option in [["--sync", "none"], ["--max-unsynced", "1m"], ["--storage-timeout", "1s"]] {
        let told = fail(latchkey().arg("serve").args(option), 2);
        assert!(told.contains("--data"), "{told}");
    }
}

#[test]
fn a_directory_that_lost_writes_is_refused_with_a_sentence() {
    let data = tempfile::tempdir().expect("a folder");
    let server = start(data.path());
    let mut asker = client(&server);
    for number in 0..100 {
        asker.ask(&format!("set key:{number} value"));
    }
    drop(server);
    let journal = data.path().join("journal-00000001");
    std::fs::OpenOptions::new().write(true).open(journal).expect("a journal").set_len(2000).expect("cut");
    let mut command = latchkey();
    command.arg("serve").args(arguments(data.path())).current_dir(data.path().parent().expect("a folder"));
    let folder = tempfile::tempdir().expect("a folder");
    let told = fail(command.current_dir(folder.path()), 2);
    assert!(told.contains("has lost acknowledged writes: groups ") && told.contains("journal-00000001"), "{told}");
    // What stands before that is taken out all the same, if that is asked for.
    let taken = folder.path().join("taken");
    fail(latchkey().arg("dump").arg(data.path()), 2);
    let dump = latchkey().args(["dump", "--salvage"]).arg(data.path()).output().expect("runs");
    let told = String::from_utf8_lossy(&dump.stderr);
    assert!(dump.status.success() && told.contains("later changes are lost: groups "), "{told}");
    std::fs::write(folder.path().join("dump"), dump.stdout).expect("written");
    succeed(latchkey().arg("restore").arg(folder.path().join("dump")).arg(&taken));
    let server = start(&taken);
    assert_eq!(client(&server).ask("get key:0"), Reply::Bulk(Some(b"value".into())));
}

/// A disk without room: a limit on the size of files does the same to the journal.
#[test]
fn without_room_writers_are_told_and_readers_are_served() {
    let data = tempfile::tempdir().expect("a folder");
    let mut server = start(data.path());
    assert_eq!(client(&server).ask("set before 1"), Reply::Line("+OK".into()));
    assert_eq!(server.stop(), Some(0));

    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_latchkey"), "serve"]);
    command.args(arguments(data.path()));
    let mut server = Server::spawn(command, tempfile::tempdir().expect("a folder"), 2);
    let mut writer = client(&server);
    let value = "x".repeat(50_000);
    let mut kept = 0;
    let error = loop {
        match writer.ask(&format!("set key:{kept} {value}")) {
            Reply::Line(line) if line == "+OK" => kept += 1,
            Reply::Line(line) => break line,
            other => panic!("{other:?}"),
        }
        assert!(kept < 1000, "the limit is never met");
    };
    assert!(error.starts_with("-MISCONF ") && kept > 0, "{error}");
    // The client stays connected, and gets an error for each command that came too late; its reads meanwhile are true.
    writer.send(&[words("set late 1"), words("get before"), words("incr n"), words("ping")]).expect("sent");
    let mut told = || writer.receive().expect("a reply");
    assert!(told().text().starts_with("-MISCONF "));
    assert_eq!(told().text(), "1");
    assert!(told().text().starts_with("-MISCONF "));
    assert_eq!(told(), Reply::Line("+PONG".into()));
    server.logged("writes are refused from now on");

    let mut asker = client(&server);
    for line in ["set a 1", "del before", "flushall", "incr n"] {
        let Reply::Line(told) = asker.ask(line) else { panic!("an error") };
        assert!(told.starts_with("-MISCONF "), "{line}: {told}");
    }
    assert_eq!(asker.ask("dbsize"), integer(kept + 1), "what was not kept has been taken back");
    assert_eq!(asker.ask(&format!("exists key:{kept}")), integer(0));
    assert_eq!(asker.ask("get before").text(), "1");
    assert!(asker.ask("info persistence").text().contains("aof_last_write_status:err\r\n"));
    asker.send(&[words("multi"), words("set a 1"), words("exec")]).expect("sent");
    assert_eq!(asker.receive().expect("a reply"), Reply::Line("+OK".into()));
    assert!(asker.receive().expect("a reply").text().starts_with("-MISCONF "));
    assert!(asker.receive().expect("a reply").text().starts_with("-EXECABORT "));
    let url = format!("http://{}", server.address("xmlrpc"));
    let script = "import sys, xmlrpc.client as x; p = x.ServerProxy(sys.argv[1])\n\
                  try: p.set('a', 1)\nexcept x.Fault as f: print(f.faultString)\nprint(p.get('before'))";
    let told = succeed(Command::new("python3").args(["-c", script, &url]));
    assert!(told.contains("writes are refused") && told.trim_end().ends_with('1'), "{told}");

    assert_eq!(server.stop(), Some(1), "it could not keep everything it was told");
    let server = start(data.path());
    assert_eq!(client(&server).ask("get before").text(), "1");
    let Reply::Line(keys) = client(&server).ask("dbsize") else { panic!("a number") };
    // The write that failed was answered by an error: it may be there or not.
    assert!([kept + 1, kept + 2].contains(&keys[1..].parse().expect("a number")), "{keys} of {kept}");
}

/// `/dev/full` in the place of a file is a disk that takes not one byte more.
#[test]
fn a_full_disk_is_named_with_what_to_do_and_can_be_dumped() {
    let data = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink("/dev/full", data.path().join("mark")).expect("a link");
    let folder = tempfile::tempdir().expect("a folder");
    let told = fail(latchkey().arg("serve").args(arguments(data.path())).current_dir(folder.path()), 2);
    for part in ["--data: ", "No space left", "make room", "copy the directory to a larger disk", "latchkey dump"] {
        assert!(told.contains(part), "{told}");
    }

    let data = folder.path().join("data");
    let server = start(&data);
    server.logged("new, empty data directory created");
    assert_eq!(client(&server).ask("set a 1"), Reply::Line("+OK".into()));
    drop(server);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    let told = latchkey().arg("dump").arg(&data).stdout(full).output().expect("runs");
    assert!(String::from_utf8_lossy(&told.stderr).contains("stdout: No space left"), "{told:?}");
    // Killed; and no file may grow, of which what goes into a pipe is none.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 0; \"$@\" | wc -c", "sh", env!("CARGO_BIN_EXE_latchkey"), "dump"]);
    let bytes: usize = succeed(limited.arg(&data)).trim().parse().expect("a number");
    assert!(bytes > 16 + 20, "{bytes} bytes");
}

#[test]
fn a_folder_of_somebody_elses_files_is_not_taken_for_data() {
    let other = tempfile::tempdir().expect("a folder");
    std::fs::write(other.path().join("ca.pem"), "mine").expect("a file");
    let folder = tempfile::tempdir().expect("a folder");
    let told = fail(latchkey().arg("serve").args(arguments(other.path())).current_dir(folder.path()), 2);
    assert!(told.contains("--data: ") && told.contains("is neither a data directory (it has no file"), "{told}");
    assert_eq!(std::fs::read_dir(other.path()).expect("a folder").count(), 1);
}

/// A flood of clients takes all descriptors that clients may have: those of the data directory are not among them.
#[test]
fn a_flood_of_clients_leaves_the_journal_its_descriptors() {
    const LIMIT: usize = 256;
    let data = tempfile::tempdir().expect("a folder");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 256; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_latchkey"), "serve"]);
    command.args(arguments(data.path())).args(["--sync", "none"]);
    let mut server = Server::spawn(command, tempfile::tempdir().expect("a folder"), 2);
    let mut writer = client(&server);
    let address = server.address("resp");
    let flood: Vec<_> = (0..2 * LIMIT).filter_map(|_| std::net::TcpStream::connect(&address).ok()).collect();
    server.logged("reason=\"refused\"");
    let value = "x".repeat(8 << 20);
    // One journal and a bit, and a backup of it.
    for number in 0..9 {
        assert_eq!(writer.ask(&format!("set key:{number} {value}")), Reply::Line("+OK".into()));
    }
    let journal = data.path().join("journal-00000002");
    assert!(journal.exists(), "there are descriptors for the next one");
    assert_eq!(writer.ask("bgsave"), Reply::Line("+Background saving started".into()));
    let mut state = || writer.ask("info persistence").text();
    until(|| state().contains("rdb_bgsave_in_progress:0\r\n"));
    let told = state();
    assert!(told.contains("rdb_last_bgsave_status:ok\r\n") && told.contains("aof_last_write_status:ok\r\n"), "{told}");
    drop(flood);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn records_that_cannot_be_served_are_refused_with_a_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut dump = latchkey::internals::disk::DumpWriter::new(Vec::new()).expect("begun");
    let record = latchkey::internals::disk::Record {
        key: b"k",
        kind: 0,
        expires: latchkey::internals::disk::NO_EXPIRY,
        data: b"v",
    };
    dump.add(&record).expect("added");
    dump.add(&latchkey::internals::disk::Record { key: &vec![b'k'; 70_000], ..record }).expect("added");
    let (file, data) = (folder.path().join("dump"), folder.path().join("data"));
    std::fs::write(&file, dump.finish().expect("finished").0).expect("a file");
    succeed(latchkey().arg("restore").arg(&file).arg(&data));
    let mut command = latchkey();
    command.arg("serve").args(arguments(&data)).current_dir(folder.path());
    let told = fail(&mut command, 2);
    assert!(told.contains("has 1 records that cannot be loaded: a key is longer than 65534 bytes"), "{told}");
}

/// With very little allowed on its way to disk, writers wait instead of filling memory, and nothing is lost or reordered.
#[test]
fn a_short_queue_to_the_disk_slows_writers_down_and_no_more() {
    let data = tempfile::tempdir().expect("a folder");
    let mut command = latchkey();
    command.arg("serve").args(arguments(data.path())).args(["--max-unsynced", "100"]);
    let server = Server::spawn(command, tempfile::tempdir().expect("a folder"), 2);
    let mut clients: Vec<Client> = (0..4).map(|_| client(&server)).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        let commands: Vec<_> = (0..300).map(|n| words(&format!("append log:{index} {n},"))).collect();
        client.send(&commands).expect("sent");
    }
    let expected = (0..300).map(|n| n.to_string() + ",").collect::<String>();
    for (index, client) in clients.iter_mut().enumerate() {
        let mut length = 0;
        for n in 0..300 {
            length += n.to_string().len() as u64 + 1;
            assert_eq!(client.receive().expect("a reply"), integer(length));
        }
        assert_eq!(client.ask(&format!("get log:{index}")).text(), expected);
    }
    drop(server);
    let server = start(data.path());
    assert_eq!(client(&server).ask("get log:3").text(), expected);
}
