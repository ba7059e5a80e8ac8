//! The servers of a simulation, as its plan describes them.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use latchkey::internals::connection::Service;
use latchkey::internals::disconnect::Disconnect;
use latchkey::internals::limits::Limits;
use latchkey::internals::net::sim::Network;
use latchkey::internals::net::{Address, Net, Subnet, Target};
use latchkey::internals::server::{ListenerConfig, Security, Server, Servers};
use latchkey::internals::services::resp::RespOptions;
use latchkey::internals::services::xmlrpc::XmlRpcOptions;
use latchkey::internals::services::{Builtin, BuiltinOptions, Renewable, Splice, UpstreamSecurity};
use latchkey::internals::store::StoreOptions;
use latchkey::internals::timer::Now;

use crate::disk::{Contents, SimulatedDisk};
use crate::numbered_service::NumberedService;
use crate::plan::{Outage, Plan, Wrap};
use crate::protocol_model::ProtocolModel;
use crate::service::{Books, Kind, SimulatedService};
use crate::trust::{self, Badge, Credentials, Door};
use crate::world::Loop;

/// An address without a listener.
const NOBODY: ([u8; 4], u16) = ([10, 0, 0, 9], 9);

/// An address with any number of clients.
const ROOMY: (usize, usize) = (usize::MAX, usize::MAX);

/// What a server sends to refused clients, by listener and reason.
pub(crate) fn words(each: &mut Loop) -> Vec<Vec<(Disconnect, Vec<u8>)>> {
    let house = each.server.service_mut();
    let mut of = |listener| {
        Disconnect::ALL.map(|reason| {
            let mut words = Vec::new();
            house.refuse(listener, reason, &mut words);
            (reason, words)
        })
    };
    (0..each.addresses.len()).map(|listener| of(listener).into()).collect()
}

type Shelf = Rc<RefCell<Books>>;

/// The server that clients connect to, and the one behind it, if it is a wrapper.
pub(crate) fn loops(
    plan: &Plan,
    network: &Network,
    books: &Shelf,
    credentials: &mut Credentials,
    vault: Option<&mut SimulatedDisk>,
) -> Result<Vec<Loop>, String> {
    let Some(wrap) = plan.wrap else {
        let security = trust::security(plan.door, None)?;
        return Ok(vec![alone(plan, network, books, &security, vault)?.0]);
    };
    let security = trust::security(wrap.tls.then_some(Door::Open), None)?;
    let net = network.host();
    let house = SimulatedService::new(kind(plan, books, net.now()), Rc::clone(books), ROOMY, false);
    let mut config = listener(2, &security, plan);
    if wrap.announce {
        config.balancers = [subnet()?].into();
    }
    let usual = Limits::default();
    // The wrapper is the server with the scarce resource.
    let limits = Limits {
        connections: usual.connections,
        refusals: usual.refusals,
        connections_per_address: None,
        handshakes_per_address: None,
        ..plan.limits.clone()
    };
    let inner = start(net, house, vec![config; plan.tongues.len()], limits)?;
    let target = inner.addresses.first().copied().ok_or("no listener")?;
    let mut loops = wrapper(plan, network, books, wrap, target, credentials)?;
    loops.push(inner);
    Ok(loops)
}

/// A server that wraps none, and what it has found on its disk. It listens at its former addresses, if it had any.
pub(crate) fn alone(
    plan: &Plan,
    network: &Network,
    books: &Shelf,
    security: &Security,
    vault: Option<&mut SimulatedDisk>,
) -> Result<(Loop, Contents), String> {
    let net = network.host();
    let mut kind = kind(plan, books, net.now());
    let mut listeners = vec![listener(2, security, plan); plan.tongues.len()];
    let (Some(vault), Kind::Builtin(builtin)) = (vault, &mut kind) else {
        let house = SimulatedService::new(kind, Rc::clone(books), room(&plan.limits), true);
        return Ok((start(net, house, listeners, plan.limits.clone())?, Contents::new()));
    };
    let contents = vault.open(builtin, net.now(), net.waker())?;
    for (listener, address) in listeners.iter_mut().zip(&vault.addresses) {
        listener.address = *address;
    }
    let house = SimulatedService::new(kind, Rc::clone(books), room(&plan.limits), true);
    let each = start(net, house, listeners, plan.limits.clone())?;
    vault.addresses.clone_from(&each.addresses);
    Ok((each, contents))
}

fn room(limits: &Limits) -> (usize, usize) {
    (limits.connections, limits.connections_per_address.unwrap_or(usize::MAX))
}

fn listener(host: u8, security: &Security, plan: &Plan) -> ListenerConfig {
    ListenerConfig {
        idle_timeout: Some(plan.idle_timeout),
        ..ListenerConfig::new(SocketAddr::from(([10, 0, 0, host], 0)), security.clone())
    }
}

/// The service for the plan's protocols.
fn kind(plan: &Plan, books: &Shelf, now: Now) -> Kind {
    if plan.tongues == [ProtocolModel::NumberedService] {
        return Kind::NumberedService(NumberedService::new(Rc::clone(books)));
    }
    let options = BuiltinOptions {
        listeners: plan.tongues.iter().map(|tongue| tongue.protocol()).collect(),
        store: StoreOptions::default(),
        xmlrpc: XmlRpcOptions::default(),
        resp: RespOptions::default(),
    };
    Kind::Builtin(Box::new(Builtin::new(options, now)))
}

fn subnet() -> Result<Subnet, String> {
    "10.0.0.0/24".parse().map_err(|error| format!("{error}"))
}

fn start(
    net: latchkey::internals::net::sim::SimNet,
    house: SimulatedService,
    listeners: Vec<ListenerConfig>,
    limits: Limits,
) -> Result<Loop, String> {
    let server = Server::new(net.clone(), house, listeners, limits).map_err(|error| error.to_string())?;
    Loop::new(net, server).map_err(|error| error.to_string())
}

/// The loops of a server that forwards everything to the one at `target`.
fn wrapper(
    plan: &Plan,
    network: &Network,
    books: &Shelf,
    wrap: Wrap,
    target: SocketAddr,
    credentials: &mut Credentials,
) -> Result<Vec<Loop>, String> {
    let nobody = Address::Tcp(SocketAddr::from(NOBODY));
    if matches!(wrap.outage, Outage::FirstSilent | Outage::Silent) {
        network.swallow(SocketAddr::from(NOBODY));
    }
    let addresses = match wrap.outage {
        Outage::None | Outage::Dies(_) => vec![Address::Tcp(target)],
        Outage::FirstRefuses | Outage::FirstSilent => vec![nobody, Address::Tcp(target)],
        Outage::Down | Outage::Silent => vec![nobody.clone(), nobody],
    };
    let security = if wrap.tls {
        let name = "localhost".try_into().map_err(|error| format!("{error}"))?;
        UpstreamSecurity::Tls(Renewable::new(credentials.config(Badge::None, false, false)?), name)
    } else {
        UpstreamSecurity::Plain
    };
    let target = Target::new(addresses).0;
    let clients = Rc::default();
    let house = |_| {
        let splice = Splice::new(target.clone(), security.clone(), wrap.announce);
        let house = SimulatedService::new(Kind::Splice(splice), Rc::clone(books), room(&plan.limits), true);
        house.beside(&clients)
    };
    let config = listener(3, &trust::security(plan.door, None)?, plan);
    let hosts: Vec<_> = (0..plan.loops).map(|_| network.host()).collect();
    let (first, others) = hosts.split_first().ok_or("no loop")?;
    let servers = Servers::new(first.clone(), others.to_vec(), house, vec![config], plan.limits.clone());
    let servers = servers.map_err(|error| error.to_string())?;
    let addresses = servers.addresses();
    let loops = servers.into_loops().into_iter().zip(hosts);
    Ok(loops.map(|(server, net)| Loop::of(net, server, addresses.clone())).collect())
}
