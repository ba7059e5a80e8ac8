//! A custom protocol over mutual TLS: a line is returned in capitals, `WHO` names the client by its certificate, `SLOW`
//! is answered a second later by another thread, `QUIT` ends.
//!
//! ```sh
//! latchkey certs init --dir target/pki && latchkey certs server localhost --dir target/pki
//! latchkey certs client alice --dir target/pki
//! cargo run --example line_server -- target/pki/localhost.pem target/pki/localhost-key.pem target/pki/ca.pem
//! ```
#![expect(clippy::disallowed_methods, reason = "a program may start threads; only the library's loop may not")]

use std::{env, error::Error, fs, io::Write, net::SocketAddr, sync::Arc, thread, time::Duration};

use latchkey::{Disconnect, Exchange, Limits, ListenerConfig, MioNet, Security, Served, Server, Service};
use latchkey::{PemSource, PolicyOptions, ServerPolicy};

/// The service, which has no state.
pub(crate) struct Lines;

impl Service for Lines {
    type Session = ();

    fn open(&mut self, _: &mut Exchange<'_>) {}

    fn serve(&mut self, (): &mut (), input: &[u8], exchange: &mut Exchange<'_>) -> Served {
        let Some(end) = input.iter().take(1024).position(|byte| *byte == b'\n') else {
            return if input.len() < 1024 { Served::Incomplete } else { Served::Close(Disconnect::TooLarge) };
        };
        match input.split_at(end).0.trim_ascii() {
            b"QUIT" => return Served::Close(Disconnect::Finished),
            b"WHO" => {
                let name = exchange.peer.identity.as_ref().and_then(|identity| identity.common_name.clone());
                exchange.reply().extend(format!("{}\n", name.as_deref().unwrap_or("nobody")).bytes());
            }
            b"SLOW" => {
                let reply = exchange.defer();
                thread::spawn(move || {
                    thread::sleep(Duration::from_secs(1));
                    reply.complete(b"at last\n".to_vec());
                });
            }
            line => exchange.reply().extend(line.to_ascii_uppercase().iter().chain(b"\n")),
        }
        Served::Used(end + 1)
    }
}

/// Serves lines to clients with a certificate from `client_ca`.
pub(crate) fn serve(
    address: SocketAddr,
    cert: PemSource,
    key: PemSource,
    ca: PemSource,
) -> Result<Server<MioNet, Lines>, Box<dyn Error>> {
    let options = PolicyOptions { identities: vec![(cert, key)], client_ca: vec![ca], ..PolicyOptions::default() };
    let security = Security::tls(Arc::new(ServerPolicy::new(options)?));
    let listener = ListenerConfig::new(address, security);
    Server::new(MioNet::new()?, Lines, vec![listener], Limits::default()).map_err(Into::into)
}

fn main() -> Result<(), Box<dyn Error>> {
    let [cert, key, ca] = [1, 2, 3].map(|n| env::args().nth(n).expect("usage: line_server CERT KEY CLIENT_CA"));
    let read = |name: String| fs::read(&name).map(|bytes| PemSource { name, bytes });
    let mut server = serve(([127, 0, 0, 1], 4000).into(), read(cert)?, read(key)?, read(ca)?)?;
    writeln!(std::io::stdout(), "listening on {:?}", server.addresses()?)?;
    Ok(server.run()?)
}
