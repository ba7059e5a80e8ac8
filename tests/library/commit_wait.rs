//! Replies that wait for the disk, with the real loop and real sockets, on a simulated disk.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use latchkey::internals::disk::sim::{Disk, DiskFaults};
use latchkey::internals::disk::{DataFiles, Storage, StorageOptions, Sync};
use latchkey::internals::limits::Limits;
use latchkey::internals::net::Net;
use latchkey::internals::net::mio::MioNet;
use latchkey::internals::server::{Handle, ListenerConfig, Security, Server};
use latchkey::internals::services::resp::RespOptions;
use latchkey::internals::services::xmlrpc::XmlRpcOptions;
use latchkey::internals::services::{Builtin, BuiltinOptions, Protocol};
use latchkey::internals::store::{CommitLimits, StoreOptions};

const PATIENCE: Duration = Duration::from_mins(1);

struct DurableServer {
    address: SocketAddr,
    xmlrpc: SocketAddr,
    handle: Handle,
    /// Whether everything was kept, at the end.
    ended: mpsc::Receiver<bool>,
}

impl DurableServer {
    fn start(disk: &Disk) -> Self {
        Self::start_with(disk, CommitLimits::default())
    }

    fn start_with(disk: &Disk, limits: CommitLimits) -> Self {
        let (sender, started) = mpsc::channel();
        let (done, ended) = mpsc::channel();
        let disk = disk.clone();
        std::thread::spawn(move || {
            let mut server = serve(&disk, limits);
            sender.send((server.addresses().expect("bound"), server.handle())).expect("awaited");
            server.run().expect("runs");
            done.send(server.service_mut().close().is_ok()).expect("awaited");
        });
        let (addresses, handle) = started.recv_timeout(PATIENCE).expect("starts");
        Self { address: addresses[0], xmlrpc: addresses[1], handle, ended }
    }

    fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    fn end(self) -> bool {
        self.handle.stop();
        self.ended.recv_timeout(PATIENCE).expect("ends")
    }
}

fn serve(disk: &Disk, limits: CommitLimits) -> Server<MioNet, Builtin> {
    let net = MioNet::new().expect("a poller");
    let wake = net.waker();
    let options = BuiltinOptions {
        listeners: vec![Protocol::Resp, Protocol::XmlRpc],
        store: StoreOptions::default(),
        xmlrpc: XmlRpcOptions::default(),
        resp: RespOptions::default(),
    };
    let service = Builtin::new(options, net.now());
    let address = ([127, 0, 0, 1], 0).into();
    let listener = ListenerConfig::new(address, Security::Plain);
    let mut server = Server::new(net, service, vec![listener.clone(), listener], Limits::default()).expect("binds");
    let data_files = DataFiles::new(disk.folder()).expect("opens");
    let storage = StorageOptions { sync: Sync::Always, backup: None };
    let storage = Storage::start(data_files, storage, wake).expect("a thread");
    server.service_mut().store_mut().attach(storage, limits);
    server
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn expect(stream: &mut TcpStream, reply: &str) {
    let mut bytes = vec![0; reply.len()];
    stream.read_exact(&mut bytes).expect("a reply");
    assert_eq!(String::from_utf8_lossy(&bytes), reply);
}

#[test]
fn replies_wait_for_the_disk_and_other_readers_do_not() {
    const SYNC: Duration = Duration::from_millis(700);
    let disk = Disk::default();
    let running = DurableServer::start(&disk);
    let (mut writer, mut reader) = (running.connect(), running.connect());
    writer.write_all(b"set old 1\r\n").expect("sent");
    expect(&mut writer, "+OK\r\n");
    disk.set_faults(DiskFaults { sync_takes: SYNC, ..DiskFaults::default() });
    let begun = Instant::now();
    writer.write_all(b"ping\r\nset new 1\r\nget old\r\nincr n\r\n").expect("sent");
    expect(&mut writer, "+PONG\r\n");
    // The reader's replies arrive while the writer's wait, until it reads what is being written.
    let mut quick = 0;
    while disk.unsynced() == 0 {
        assert!(begun.elapsed() < PATIENCE, "the write never comes");
    }
    while disk.unsynced() > 0 {
        reader.write_all(b"get old\r\n").expect("sent");
        expect(&mut reader, "$1\r\n1\r\n");
        quick += 1;
    }
    assert!(quick > 3, "{quick} reads while a sync took {SYNC:?}");
    expect(&mut writer, "+OK\r\n$1\r\n1\r\n:1\r\n");
    assert!(begun.elapsed() >= SYNC);
    let begun = Instant::now();
    writer.write_all(b"del new\r\n").expect("sent");
    while disk.unsynced() == 0 {
        assert!(begun.elapsed() < PATIENCE, "the write never comes");
    }
    reader.write_all(b"exists new\r\ndbsize\r\nget old\r\n").expect("sent");
    expect(&mut reader, ":0\r\n:2\r\n$1\r\n1\r\n");
    assert_eq!(disk.unsynced(), 0, "what the reader saw is durable");
    expect(&mut writer, ":1\r\n");
    assert!(running.end());
}

#[test]
fn requests_under_way_at_shutdown_are_committed_and_answered() {
    let disk = Disk::default();
    disk.set_faults(DiskFaults { sync_takes: Duration::from_millis(300), ..DiskFaults::default() });
    let running = DurableServer::start(&disk);
    let mut writer = running.connect();
    writer.write_all(b"set a 1\r\nset b 1\r\nquit\r\n").expect("sent");
    let mut replies = String::new();
    std::thread::sleep(Duration::from_millis(100));
    assert!(running.end());
    writer.read_to_string(&mut replies).expect("read");
    assert_eq!(replies, "+OK\r\n+OK\r\n+OK\r\n");
    assert_eq!(DataFiles::new(disk.folder()).expect("opens").expected_keys(), 2);
}

#[test]
fn after_a_failed_sync_writers_get_an_error_and_the_server_stops() {
    let disk = Disk::default();
    let running = DurableServer::start(&disk);
    let (mut writer, mut idle) = (running.connect(), running.connect());
    writer.write_all(b"set a 1\r\n").expect("sent");
    expect(&mut writer, "+OK\r\n");
    idle.write_all(b"ping\r\n").expect("sent");
    expect(&mut idle, "+PONG\r\n");
    let before = disk.syncs();
    disk.set_faults(DiskFaults { syncs: Some(0), ..DiskFaults::default() });
    writer.write_all(b"ping\r\nset b 1\r\nget b\r\nset c 1\r\n").expect("sent");
    let mut replies = String::new();
    writer.read_to_string(&mut replies).expect("a clean end of stream");
    assert!(replies.starts_with("+PONG\r\n-MISCONF ") && replies.matches("-MISCONF ").count() == 3, "{replies}");
    assert!(!running.ended.recv_timeout(PATIENCE).expect("it stops by itself"));
    let mut rest = String::new();
    idle.read_to_string(&mut rest).expect("a clean end of stream");
    assert_eq!((rest.as_str(), disk.syncs()), ("", before), "it is not tried again");
}

const NOT_KEPT: &str = "-MISCONF Errors writing to the data directory: this command may not be kept\r\n";

#[test]
fn after_a_failed_write_each_lost_command_has_its_error_and_the_client_stays() {
    let disk = Disk::default();
    let running = DurableServer::start(&disk);
    let mut writer = running.connect();
    writer.write_all(b"set old 1\r\nset gone 1\r\n").expect("sent");
    expect(&mut writer, "+OK\r\n+OK\r\n");
    disk.set_faults(DiskFaults { room: Some(0), ..DiskFaults::default() });
    // One pipeline: replies that report lost changes are errors, all others are correct.
    let pipeline = "set a 1\r\nget old\r\nget a\r\nping\r\nflushall\r\nget old\r\nset b 1\r\nkeys *\r\necho last\r\n";
    writer.write_all(pipeline.as_bytes()).expect("sent");
    let replies = ["!", "$1\r\n1\r\n", "!", "+PONG\r\n", "!", "!", "!", "!", "$4\r\nlast\r\n"].concat();
    expect(&mut writer, &replies.replace('!', NOT_KEPT));
    writer.write_all(b"get old\r\nget a\r\ndbsize\r\nget gone\r\n").expect("sent");
    expect(&mut writer, "$1\r\n1\r\n$-1\r\n:2\r\n$1\r\n1\r\n");
    writer.write_all(b"set a 1\r\n").expect("sent");
    let mut refused = [0; 9];
    writer.read_exact(&mut refused).expect("a reply");
    assert_eq!(&refused, b"-MISCONF ");
    assert!(!running.end(), "it could not keep everything");
}

#[test]
fn after_a_failed_write_a_call_over_http_has_a_fault_and_the_client_stays() {
    let disk = Disk::default();
    let running = DurableServer::start(&disk);
    let mut caller = connect(running.xmlrpc);
    let mut call = |method: &str, params: &str| {
        let body = format!("<methodCall><methodName>{method}</methodName><params>{params}</params></methodCall>");
        let head = format!("POST /RPC2 HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        caller.write_all((head + &body).as_bytes()).expect("sent");
        let mut reply = Vec::new();
        while !reply.ends_with(b"</methodResponse>") && !reply.ends_with(b"</methodResponse>\n") {
            let mut piece = [0; 4096];
            let count = caller.read(&mut piece).expect("a reply");
            assert_ne!(count, 0, "closed after {}", String::from_utf8_lossy(&reply));
            reply.extend_from_slice(&piece[..count]);
        }
        String::from_utf8(reply).expect("text")
    };
    let key = "<param><value>k</value></param>";
    let pair = format!("{key}<param><value>v</value></param>");
    assert!(!call("set", &pair).contains("<fault>"));
    disk.set_faults(DiskFaults { room: Some(0), ..DiskFaults::default() });
    let told = call("delete", key);
    assert!(told.contains("<fault>") && told.contains("may not be kept"), "{told}");
    let told = call("get", key);
    assert!(told.starts_with("HTTP/1.1 200 OK") && told.contains("<string>v</string>"), "{told}");
    assert!(call("set", &pair).contains("writes are refused"));
    assert!(!running.end());
}

/// Nothing else happens on the loop: it must wake up by itself.
#[test]
fn a_disk_that_does_not_answer_times_out() {
    let limits = CommitLimits { timeout: Duration::from_secs(5), ..CommitLimits::default() };
    let long = Duration::from_mins(5);
    let slow_sync = DiskFaults { sync_takes: long, ..DiskFaults::default() };
    let slow_undo = DiskFaults { room: Some(0), read_takes: long, ..DiskFaults::default() };
    for faults in [slow_sync, slow_undo] {
        let disk = Disk::default();
        let running = DurableServer::start_with(&disk, limits);
        let mut writer = running.connect();
        writer.write_all(b"set a 1\r\n").expect("sent");
        expect(&mut writer, "+OK\r\n");
        disk.set_faults(faults);
        writer.write_all(b"set a 2\r\n").expect("sent");
        expect(&mut writer, NOT_KEPT);
        assert!(!running.ended.recv_timeout(PATIENCE).expect("it stops by itself"), "and does not wait for the disk");
    }
}

#[test]
fn a_slow_read_that_makes_progress_does_not_time_out() {
    let limits = CommitLimits { timeout: Duration::from_secs(3), ..CommitLimits::default() };
    let disk = Disk::default();
    let running = DurableServer::start_with(&disk, limits);
    let mut writer = running.connect();
    let value = "x".repeat(250_000);
    for key in 0..10 {
        writer.write_all(format!("*3\r\n$3\r\nset\r\n$1\r\n{key}\r\n$250000\r\n{value}\r\n").as_bytes()).expect("sent");
        expect(&mut writer, "+OK\r\n");
    }
    disk.set_faults(DiskFaults { room: Some(0), read_takes: Duration::from_millis(500), ..DiskFaults::default() });
    let begun = Instant::now();
    writer.write_all(b"set 1 changed\r\nstrlen 1\r\n").expect("sent");
    expect(&mut writer, NOT_KEPT);
    expect(&mut writer, NOT_KEPT);
    assert!(begun.elapsed() > limits.timeout, "it took {:?}", begun.elapsed());
    writer.write_all(b"strlen 1\r\n").expect("sent");
    expect(&mut writer, ":250000\r\n");
    running.end();
}
