//! A TLS client inside another program: sends lines, with a client certificate, and prints the replies.
//!
//! ```sh
//! cargo run --example client -- localhost:4000 target/pki/ca.pem target/pki/alice.pem \
//!     target/pki/alice-key.pem hello WHO
//! ```

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::{env, error::Error, fs};

use latchkey::{Client, ClientOptions, ClientPolicy, PemSource};

/// Sends `lines` to `host` at `port` and returns the replies.
pub(crate) fn ask(
    host: &str,
    port: u16,
    options: &ClientOptions,
    lines: &[&str],
) -> Result<Vec<String>, Box<dyn Error>> {
    let stream = TcpStream::connect((host, port))?;
    let name = host.to_owned().try_into()?;
    let mut client = Client::handshake(stream, ClientPolicy::new(options)?, name)?;
    client.write_all((lines.join("\n") + "\n").as_bytes())?;
    client.finish()?;
    Ok(BufReader::new(client).lines().collect::<Result<_, _>>()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [server, ca, cert, key, lines @ ..] = arguments.as_slice() else {
        return Err("usage: client HOST:PORT CA CERT KEY LINE...".into());
    };
    let read = |name: &String| fs::read(name).map(|bytes| PemSource { name: name.clone(), bytes });
    let identity = Some((read(cert)?, read(key)?));
    let options = ClientOptions { ca: vec![read(ca)?], identity, ..ClientOptions::default() };
    let (host, port) = server.rsplit_once(':').ok_or("a server is HOST:PORT")?;
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    for answer in ask(host, port.parse()?, &options, &lines)? {
        writeln!(std::io::stdout(), "{answer}")?;
    }
    Ok(())
}
