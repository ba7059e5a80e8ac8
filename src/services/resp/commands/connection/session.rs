//! The connection itself: its protocol, its end, and whether it is there.

use super::clients::{checked_name, client_number, this_client};
use crate::disconnect::Disconnect;
use crate::protocol::resp::{RespVersion, parse_integer};
use crate::services::resp::call::arguments::{check_database, quoted};
use crate::services::resp::call::{Call, CommandError};
use crate::services::resp::state::REDIS_VERSION;

/// `HELLO [version [AUTH user password] [SETNAME name]]`.
pub(crate) fn hello(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let mut protocol = call.session.protocol;
    if let Some(version) = call.request.get(1) {
        let wrong = CommandError::new("ERR Protocol version is not an integer or out of range");
        protocol = match parse_integer(version).ok_or(wrong)? {
            2 => RespVersion::Resp2,
            3 => RespVersion::Resp3,
            _ => return Err(CommandError::new("NOPROTO unsupported protocol version")),
        };
    }
    let mut name = None;
    let mut arguments = call.request.from(2);
    while let Some(option) = arguments.next() {
        if option.eq_ignore_ascii_case(b"AUTH") && arguments.len() >= 2 {
            check_user(arguments.next().unwrap_or_default())?;
            arguments.next();
        } else if option.eq_ignore_ascii_case(b"SETNAME") && arguments.len() >= 1 {
            let given = arguments.next().unwrap_or_default();
            name = Some(checked_name(given, "Client names")?);
        } else {
            return Err(CommandError::from(
                [b"ERR Syntax error in HELLO option '", quoted(option, 128), b"'"].concat(),
            ));
        }
    }
    if let (Some(name), Some(client)) = (name, this_client(call)) {
        client.names().client = name.to_vec();
    }
    call.session.protocol = protocol;
    if let Some(client) = this_client(call) {
        client.protocol = protocol;
    }
    let number = client_number(call);
    let mut reply = call.reply();
    reply.map(7);
    for (field, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.integer(if protocol == RespVersion::Resp2 { 2 } else { 3 });
    reply.bulk(b"id");
    reply.integer(number);
    for (field, value) in [("mode", "standalone"), ("role", "master")] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
    Ok(())
}

/// `AUTH [user] password`. There are no passwords: the certificate of a client is its identity.
pub(crate) fn auth(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    match call.request.len() {
        2 => Err(CommandError::new(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
        )),
        3 => {
            check_user(call.argument(1))?;
            call.ok()
        }
        _ => Err(CommandError::SYNTAX),
    }
}

/// As in a Redis without passwords, any client may log in as `default`, the user that it is already.
fn check_user(user: &[u8]) -> Result<(), CommandError> {
    if user == b"default" {
        return Ok(());
    }
    Err(CommandError::new("WRONGPASS invalid username-password pair or user is disabled."))
}

pub(crate) fn quit(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    call.session.ending = Some(Disconnect::Finished);
    call.ok()
}

pub(crate) fn reset(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    call.session.transaction = None;
    call.session.unwatch(call.store);
    call.session.protocol = RespVersion::Resp2;
    call.session.is_untouching = false;
    if let Some(client) = this_client(call) {
        client.queued = None;
        client.is_untouching = false;
        client.protocol = RespVersion::Resp2;
        if let Some(names) = client.names.as_mut() {
            names.client.clear();
        }
    }
    call.reply().simple("RESET");
    Ok(())
}

pub(crate) fn ping(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    match call.request.len() {
        1 => call.reply().simple("PONG"),
        2 => {
            let text = call.argument(1);
            call.reply().bulk(text);
        }
        _ => return Err(CommandError::arity(call.command)),
    }
    Ok(())
}

pub(crate) fn echo(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let text = call.argument(1);
    call.reply().bulk(text);
    Ok(())
}

pub(crate) fn select(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    check_database(call.argument(1))?;
    call.ok()
}
