//! Replies that wait for the disk, over the real loop and real sockets, with a disk that does as it is told.
#![allow(clippy::indexing_slicing, reason = "a test that cannot go on must fail")]
#![allow(clippy::disallowed_methods, reason = "tests drive real servers in real time")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use latchkey::disk::sim::{Disk, Faults};
use latchkey::disk::{Keeper, Storage, StorageOptions, Sync};
use latchkey::limits::Limits;
use latchkey::net::Net;
use latchkey::net::mio::MioNet;
use latchkey::server::{Handle, ListenerConfig, Security, Server};
use latchkey::services::resp::RespOptions;
use latchkey::services::xmlrpc::XmlRpcOptions;
use latchkey::services::{Builtin, BuiltinOptions, Protocol};
use latchkey::store::{JournalLimits, StoreOptions};

const PATIENCE: Duration = Duration::from_mins(1);

struct Site {
    address: SocketAddr,
    handle: Handle,
    /// Whether everything was kept, at the end.
    ended: mpsc::Receiver<bool>,
}

impl Site {
    fn start(disk: &Disk) -> Self {
        let (sender, started) = mpsc::channel();
        let (done, ended) = mpsc::channel();
        let disk = disk.clone();
        std::thread::spawn(move || {
            let mut server = serve(&disk);
            sender.send((server.addresses().expect("bound")[0], server.handle())).expect("awaited");
            server.run().expect("runs");
            done.send(server.service_mut().close().is_ok()).expect("awaited");
        });
        let (address, handle) = started.recv_timeout(PATIENCE).expect("starts");
        Self { address, handle, ended }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    fn end(self) -> bool {
        self.handle.stop();
        self.ended.recv_timeout(PATIENCE).expect("ends")
    }
}

fn serve(disk: &Disk) -> Server<MioNet, Builtin> {
    let net = MioNet::new().expect("a poller");
    let wake = net.waker();
    let options = BuiltinOptions {
        listeners: vec![Protocol::Resp],
        store: StoreOptions::default(),
        xmlrpc: XmlRpcOptions::default(),
        resp: RespOptions::default(),
    };
    let service = Builtin::new(options, net.now());
    let address = ([127, 0, 0, 1], 0).into();
    let listener = ListenerConfig { address, security: Security::Plain, idle_timeout: None, balancers: [].into() };
    let mut server = Server::new(net, service, vec![listener], Limits::default()).map_err(|(_, e)| e).expect("binds");
    let keeper = Keeper::new(disk.folder()).expect("opens");
    let storage = StorageOptions { sync: Sync::Always, backup: None };
    let storage = Storage::start(keeper, storage, wake).expect("a thread");
    server.service_mut().store_mut().attach(storage, JournalLimits::default());
    server
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
    let site = Site::start(&disk);
    let (mut writer, mut reader) = (site.connect(), site.connect());
    writer.write_all(b"set old 1\r\n").expect("sent");
    expect(&mut writer, "+OK\r\n");
    disk.set_faults(Faults { sync_takes: SYNC, ..Faults::default() });
    let begun = Instant::now();
    writer.write_all(b"ping\r\nset new 1\r\nget old\r\nincr n\r\n").expect("sent");
    expect(&mut writer, "+PONG\r\n");
    // The reader's replies come while the writer's wait, until it looks at what is being written.
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
    assert!(site.end());
}

#[test]
fn what_is_under_way_at_the_end_is_still_kept_and_answered() {
    let disk = Disk::default();
    disk.set_faults(Faults { sync_takes: Duration::from_millis(300), ..Faults::default() });
    let site = Site::start(&disk);
    let mut writer = site.connect();
    writer.write_all(b"set a 1\r\nset b 1\r\nquit\r\n").expect("sent");
    let mut replies = String::new();
    std::thread::sleep(Duration::from_millis(100));
    assert!(site.end());
    writer.read_to_string(&mut replies).expect("read");
    assert_eq!(replies, "+OK\r\n+OK\r\n+OK\r\n");
    assert_eq!(Keeper::new(disk.folder()).expect("opens").expected_keys(), 2);
}

#[test]
fn after_a_failed_sync_writers_are_told_and_the_server_stops() {
    let disk = Disk::default();
    let site = Site::start(&disk);
    let (mut writer, mut idle) = (site.connect(), site.connect());
    writer.write_all(b"set a 1\r\n").expect("sent");
    expect(&mut writer, "+OK\r\n");
    idle.write_all(b"ping\r\n").expect("sent");
    expect(&mut idle, "+PONG\r\n");
    let before = disk.syncs();
    disk.set_faults(Faults { syncs: Some(0), ..Faults::default() });
    writer.write_all(b"ping\r\nset b 1\r\nget b\r\nset c 1\r\n").expect("sent");
    let mut replies = String::new();
    writer.read_to_string(&mut replies).expect("closed in order");
    assert!(replies.starts_with("+PONG\r\n-MISCONF ") && replies.matches("\r\n").count() == 2, "{replies}");
    assert!(!site.ended.recv_timeout(PATIENCE).expect("it stops by itself"));
    let mut rest = String::new();
    idle.read_to_string(&mut rest).expect("closed in order");
    assert_eq!((rest.as_str(), disk.syncs()), ("", before), "it is not tried again");
}
