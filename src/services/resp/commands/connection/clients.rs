//! `CLIENT`: what a connection is called, and the connections beside it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::list::list_all;
use crate::connection::PeerId;
use crate::disconnect::Disconnect;
use crate::protocol::resp::parse_integer;
use crate::services::resp::call::arguments::quoted;
use crate::services::resp::call::{Call, CommandError};
use crate::services::resp::state::ClientState;

/// The longest name a client may give itself or its library.
const NAME_BYTES: usize = 256;

pub(crate) fn this_client<'a>(call: &'a mut Call<'_, '_>) -> Option<&'a mut ClientState> {
    call.core.clients.get_mut(call.exchange.peer.id)
}

pub(crate) fn client_number(call: &mut Call<'_, '_>) -> i64 {
    this_client(call).map_or(0, |client| i64::try_from(client.number()).unwrap_or(i64::MAX))
}

pub(crate) fn id(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let number = client_number(call);
    call.answer_integer(number)
}

pub(crate) fn getname(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let name = this_client(call).and_then(|client| client.names.as_ref()).map(|names| names.client.clone());
    match name.filter(|name| !name.is_empty()) {
        Some(name) => call.reply().bulk(&name),
        None => call.reply().null(),
    }
    Ok(())
}

pub(crate) fn setname(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let name = checked_name(call.argument(2), "Client names")?;
    if let Some(client) = this_client(call) {
        client.names().client = name.to_vec();
    }
    call.ok()
}

pub(crate) fn setinfo(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let (option, value) = (call.argument(2), call.argument(3));
    if option.eq_ignore_ascii_case(b"lib-name") {
        let name = checked_name(value, "lib-name")?;
        if let Some(client) = this_client(call) {
            client.names().library = name.to_vec();
        }
    } else if option.eq_ignore_ascii_case(b"lib-ver") {
        let version = checked_name(value, "lib-ver")?;
        if let Some(client) = this_client(call) {
            client.names().library_version = version.to_vec();
        }
    } else {
        return Err(CommandError::from([b"ERR Unrecognized option '", quoted(option, 128), b"'"].concat()));
    }
    call.ok()
}

/// A name must not break the lines and fields of `CLIENT LIST`.
pub(crate) fn checked_name<'a>(name: &'a [u8], what: &str) -> Result<&'a [u8], CommandError> {
    if !name.iter().all(u8::is_ascii_graphic) {
        return Err(CommandError::from(format!("ERR {what} cannot contain spaces, newlines or special characters.")));
    }
    if name.len() > NAME_BYTES {
        return Err(CommandError::from(format!("ERR {what} cannot be longer than {NAME_BYTES} bytes")));
    }
    Ok(name)
}

/// Whether a switch is turned on.
fn switch(call: &Call<'_, '_>) -> Result<bool, CommandError> {
    let state = call.argument(2);
    let is_on = state.eq_ignore_ascii_case(b"ON");
    if is_on || state.eq_ignore_ascii_case(b"OFF") { Ok(is_on) } else { Err(CommandError::SYNTAX) }
}

/// `CLIENT NO-EVICT`. The limit on what all clients hold spares none.
pub(crate) fn no_evict(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    if switch(call)? {
        return Err(CommandError::new(
            "ERR CLIENT NO-EVICT ON is not served: the memory of clients is limited for all of them",
        ));
    }
    call.ok()
}

/// `CLIENT NO-TOUCH`: what this client reads is dropped as if it had not been read, but for `TOUCH`.
pub(crate) fn no_touch(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let is_on = switch(call)?;
    call.session.is_untouching = is_on;
    if let Some(client) = this_client(call) {
        client.is_untouching = is_on;
    }
    call.ok()
}

pub(crate) fn pause(_: &mut Call<'_, '_>) -> Result<(), CommandError> {
    Err(CommandError::new("ERR CLIENT PAUSE is not served: one client must not stop the others"))
}

pub(crate) fn unpause(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    call.ok()
}

pub(crate) fn info(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let mut text = String::new();
    if let Some(client) = call.core.clients.get(call.exchange.peer.id) {
        client.describe(call.now(), &mut text);
    }
    call.reply().verbatim(text.as_bytes());
    Ok(())
}

pub(crate) fn list(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let (now, mut text) = (call.now(), String::new());
    let kind = call.argument(2);
    if kind.eq_ignore_ascii_case(b"ID") && call.request.len() > 3 {
        let numbers = call.request.from(3).map(positive).collect::<Option<Vec<u64>>>();
        for client in call.core.clients.find(&numbers.ok_or(CommandError::new("ERR Invalid client ID"))?) {
            client.describe(now, &mut text);
        }
    } else {
        let everybody = match call.request.len() {
            2 => true,
            4 if kind.eq_ignore_ascii_case(b"TYPE") => is_normal(call.argument(3))?,
            _ => return Err(CommandError::SYNTAX),
        };
        if everybody {
            return list_all(call);
        }
    }
    call.reply().verbatim(text.as_bytes());
    Ok(())
}

/// The number of a client.
fn positive(text: &[u8]) -> Option<u64> {
    parse_integer(text).and_then(|number| u64::try_from(number).ok()).filter(|&number| number > 0)
}

fn check_visits(call: &Call<'_, '_>) -> Result<(), CommandError> {
    let most = call.core.options.clients_visited;
    if call.core.clients.len() <= most {
        return Ok(());
    }
    Err(CommandError::from(format!("ERR more than {most} clients are connected: name one by ID")))
}

/// Whether clients of this type are looked for; every client here is a normal one.
fn is_normal(kind: &[u8]) -> Result<bool, CommandError> {
    match kind.to_ascii_lowercase().as_slice() {
        b"normal" => Ok(true),
        b"master" | b"replica" | b"slave" | b"pubsub" => Ok(false),
        _ => Err(CommandError::from([b"ERR Unknown client type '", quoted(kind, 128), b"'"].concat())),
    }
}

/// The address of a filter whose text is no address.
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Which clients `CLIENT KILL` is about: those that pass every filter given.
#[derive(Default)]
struct Filter {
    number: Option<u64>,
    address: Option<SocketAddr>,
    local: Option<SocketAddr>,
    user: Option<Vec<u8>>,
    /// No client can pass: it would have to be of another type, or have what is no address.
    nobody: bool,
    keep_caller: bool,
}

impl Filter {
    fn parse(call: &Call<'_, '_>) -> Result<Self, CommandError> {
        let mut filter = Self { keep_caller: true, ..Self::default() };
        let mut arguments = call.request.from(2);
        while let Some(option) = arguments.next() {
            let value = arguments.next().ok_or(CommandError::SYNTAX)?;
            match option.to_ascii_uppercase().as_slice() {
                b"ID" => {
                    let number = positive(value).ok_or(CommandError::new("ERR client-id should be greater than 0"))?;
                    filter.number = Some(number);
                }
                b"ADDR" => filter.address = Some(filter.address_of(value)),
                b"LADDR" => filter.local = Some(filter.address_of(value)),
                b"USER" => filter.user = Some(value.to_vec()),
                b"TYPE" => filter.nobody |= !is_normal(value)?,
                b"SKIPME" if value.eq_ignore_ascii_case(b"yes") => filter.keep_caller = true,
                b"SKIPME" if value.eq_ignore_ascii_case(b"no") => filter.keep_caller = false,
                _ => return Err(CommandError::SYNTAX),
            }
        }
        Ok(filter)
    }

    /// The address that a client must have whose address is written so.
    fn address_of(&mut self, text: &[u8]) -> SocketAddr {
        let written = std::str::from_utf8(text).unwrap_or_default();
        let address = written.parse::<SocketAddr>().ok().filter(|address| address.to_string() == written);
        self.nobody |= address.is_none();
        address.unwrap_or(UNKNOWN)
    }

    fn passes(&self, client: &ClientState, caller: PeerId) -> bool {
        let user = client.names.as_ref().map(|names| names.user.as_slice()).filter(|user| !user.is_empty());
        let is_user = |wanted: &Vec<u8>| user.unwrap_or(b"default") == wanted.as_slice();
        let is_spared = self.nobody || (self.keep_caller && client.id == caller);
        !is_spared
            && self.user.as_ref().is_none_or(is_user)
            && self.address.is_none_or(|wanted| client.address == wanted)
            && self.local.is_none_or(|wanted| client.local == wanted)
    }
}

pub(crate) fn kill(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    // The old form names one address, which may be the caller's own, and answers OK.
    let old_form = call.request.len() == 3;
    let filter = if old_form {
        let mut filter = Filter::default();
        filter.address = Some(filter.address_of(call.argument(2)));
        filter
    } else {
        Filter::parse(call)?
    };
    let caller = call.exchange.peer.id;
    let mut chosen: Vec<PeerId> = Vec::new();
    if let Some(number) = filter.number {
        let client = call.core.clients.find(&[number]);
        chosen.extend(client.filter(|client| filter.passes(client, caller)).map(|client| client.id));
    } else {
        check_visits(call)?;
        let clients = call.core.clients.iter();
        chosen.extend(clients.filter(|client| filter.passes(client, caller)).map(|client| client.id));
    }
    for &peer in &chosen {
        if peer == caller {
            // Its reply is sent first.
            call.session.ending = Some(Disconnect::Killed);
        } else {
            call.exchange.disconnect(peer, Disconnect::Killed);
        }
    }
    match (old_form, chosen.len()) {
        (true, 0) => Err(CommandError::new("ERR No such client")),
        (true, _) => call.ok(),
        (false, count) => call.answer_count(count),
    }
}
