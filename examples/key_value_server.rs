//! A key/value service over mutual TLS: the Redis protocol over a store in memory, for clients with a certificate.
//!
//! ```sh
//! latchkey certs init --dir target/pki && latchkey certs server localhost --dir target/pki
//! latchkey certs client alice --dir target/pki
//! cargo run --example key_value_server -- target/pki/localhost.pem target/pki/localhost-key.pem target/pki/ca.pem
//! redis-cli -p 6380 --tls --cacert target/pki/ca.pem --cert target/pki/alice.pem --key target/pki/alice-key.pem PING
//! ```

use std::{env, error::Error, fs, io::Read, io::Write, net::SocketAddr, sync::Arc};

use latchkey::key_value::{KeyValue, Resp, RespOptions, Store, StoreOptions};
use latchkey::{Limits, ListenerConfig, MioNet, Net, PemSource, PolicyOptions, Security, Server, ServerPolicy};

/// The most that keys, values and clients may take together, in bytes.
const MEMORY: usize = 256 << 20;

/// Serves keys and values at `address` to clients with a certificate from `client_ca`.
pub(crate) fn serve(
    address: SocketAddr,
    cert: PemSource,
    key: PemSource,
    client_ca: PemSource,
) -> Result<Server<MioNet, KeyValue<Resp>>, Box<dyn Error>> {
    let options =
        PolicyOptions { identities: vec![(cert, key)], client_ca: vec![client_ca], ..PolicyOptions::default() };
    let security = Security::tls(Arc::new(ServerPolicy::new(options)?));
    let mut store = StoreOptions { max_memory: Some(MEMORY), ..StoreOptions::default() };
    // Secret, so that no client can choose keys that collide.
    fs::File::open("/dev/urandom")?.read_exact(&mut store.hash_key)?;
    let net = MioNet::new()?;
    let service = KeyValue::over(Store::new(store), Resp::new(RespOptions::default(), net.now()));
    let listener = ListenerConfig::new(address, security);
    Server::new(net, service, vec![listener], Limits::default()).map_err(Into::into)
}

fn main() -> Result<(), Box<dyn Error>> {
    let [cert, key, ca] = [1, 2, 3].map(|n| env::args().nth(n).expect("usage: key_value_server CERT KEY CLIENT_CA"));
    let read = |name: String| fs::read(&name).map(|bytes| PemSource { name, bytes });
    let mut server = serve(([127, 0, 0, 1], 6380).into(), read(cert)?, read(key)?, read(ca)?)?;
    writeln!(std::io::stdout(), "listening on {:?}", server.addresses()?)?;
    Ok(server.run()?)
}
