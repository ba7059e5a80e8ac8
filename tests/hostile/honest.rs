//! A client that does nothing wrong, and measures how long it waits.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use latchkey::internals::client::Client;
use latchkey::internals::protocol::http::{HttpLimits, ResponseDecoder, append_post};
use latchkey::internals::tls::{ClientOptions, ClientPolicy, PemSource};

/// No answer takes longer, whatever others do: a hang guard, ten times what is promised.
const LONGEST: Duration = Duration::from_secs(10);

/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(5);

/// Rounds on one pair of connections, where new ones may be made.
const ROUNDS: u64 = 20;

/// Where the honest client goes.
#[derive(Clone)]
pub(crate) struct Destination {
    pub(crate) resp: String,
    pub(crate) xmlrpc: String,
    pub(crate) ca: String,
    /// Whether it makes new connections now and then, or keeps the first ones.
    pub(crate) renews: bool,
}

impl Destination {
    /// A connection to `address` by TLS.
    pub(crate) fn connect(&self, address: &str) -> Client<TcpStream> {
        let bytes = std::fs::read(&self.ca).expect("the CA");
        let options =
            ClientOptions { ca: vec![PemSource { name: self.ca.clone(), bytes }], ..ClientOptions::default() };
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_read_timeout(Some(LONGEST)).expect("timeout");
        stream.set_write_timeout(Some(LONGEST)).expect("timeout");
        stream.set_nodelay(true).expect("no delay");
        let name = "localhost".try_into().expect("a name");
        Client::handshake(stream, ClientPolicy::new(&options).expect("policy"), name).expect("a handshake in time")
    }

    pub(crate) fn resp(&self) -> Client<TcpStream> {
        self.connect(&self.resp)
    }

    /// One command of RESP and its reply, which must have this many bytes.
    pub(crate) fn ask(client: &mut Client<TcpStream>, command: &str, reply: usize) -> Vec<u8> {
        client.write_all(format!("{command}\r\n").as_bytes()).expect("send");
        let mut answer = vec![0; reply];
        client.read_exact(&mut answer).expect("an answer in time");
        answer
    }
}

/// What it has met.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) rounds: u64,
    pub(crate) connect: Duration,
    pub(crate) resp: Duration,
    pub(crate) xmlrpc: Duration,
}

/// It runs until it is told to stop.
pub(crate) struct Honest {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Report>,
}

impl Honest {
    pub(crate) fn start(destination: Destination) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        // It is connected before anything happens.
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || live(&destination, &told, &ready));
        let _ = is_ready.recv();
        Self { stop, thread }
    }

    pub(crate) fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the honest client is served")
    }
}

fn live(destination: &Destination, stop: &AtomicBool, ready: &std::sync::mpsc::Sender<()>) -> Report {
    let mut report = Report::default();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let mut resp = destination.connect(&destination.resp);
        let mut xmlrpc = destination.connect(&destination.xmlrpc);
        report.connect = report.connect.max(begun.elapsed());
        let _ = ready.send(());
        let mut round = 0;
        while !stop.load(Ordering::Relaxed) && (round < ROUNDS || !destination.renews) {
            let begun = Instant::now();
            let value = format!("{:08}", report.rounds);
            assert_eq!(Destination::ask(&mut resp, &format!("SET honest {value}"), 5), b"+OK\r\n");
            assert_eq!(Destination::ask(&mut resp, "GET honest", 14), format!("$8\r\n{value}\r\n").as_bytes());
            report.resp = report.resp.max(begun.elapsed() / 2);
            let begun = Instant::now();
            assert!(call(&mut xmlrpc, "get", "honest").contains(&value), "the value, over the other protocol");
            report.xmlrpc = report.xmlrpc.max(begun.elapsed());
            round += 1;
            report.rounds += 1;
            std::thread::sleep(PAUSE);
        }
    }
    report
}

/// Calls a method with one string by XML-RPC and returns the body of the answer.
pub(crate) fn call(client: &mut Client<TcpStream>, method: &str, argument: &str) -> String {
    let body = format!(
        "<methodCall><methodName>{method}</methodName><params><param><value>{argument}</value></param></params></methodCall>"
    );
    let mut request = Vec::new();
    append_post(&mut request, "localhost", "/", body.as_bytes());
    client.write_all(&request).expect("send");
    let (mut decoder, mut received) = (ResponseDecoder::default(), Vec::new());
    loop {
        let mut piece = [0; 4096];
        let count = client.read(&mut piece).expect("an answer in time");
        received.extend_from_slice(&piece[..count]);
        if let Some(response) = decoder.decode(&received, count == 0, &HttpLimits::default()).expect("HTTP") {
            return String::from_utf8(response.body.to_vec()).expect("text");
        }
    }
}
