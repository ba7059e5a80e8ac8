//! The server as a whole.

use crate::protocol::resp::parse_integer;
use crate::services::resp::call::{Call, CommandError};

/// A container without a subcommand: its arity has refused that already, and this says the same.
pub(crate) fn container(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    Err(CommandError::arity(call.command))
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

/// There is one database, 0.
pub(crate) fn check_database(index: &[u8]) -> Result<(), CommandError> {
    match parse_integer(index).map(i32::try_from) {
        None => Err(CommandError::NOT_AN_INTEGER),
        Some(Ok(0)) => Ok(()),
        Some(Ok(_)) => Err(CommandError::new("ERR DB index is out of range")),
        Some(Err(_)) => {
            Err(CommandError::new("ERR value is out of range, value must between -2147483648 and 2147483647"))
        }
    }
}

/// `FLUSHALL` and `FLUSHDB`. Both ways it may be asked for are the same here: memory is given back step by step.
pub(crate) fn flush(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let mode = call.argument(1);
    let known = call.request.len() == 1 || mode.eq_ignore_ascii_case(b"ASYNC") || mode.eq_ignore_ascii_case(b"SYNC");
    if !known || call.request.len() > 2 {
        return Err(CommandError::SYNTAX);
    }
    call.store.clear();
    call.ok()
}

/// `DEBUG SLEEP` would stop every client: refused like all of `DEBUG`, in the words of a Redis that does not enable it.
pub(crate) fn debug(_: &mut Call<'_, '_>) -> Result<(), CommandError> {
    Err(CommandError::new(
        "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a \
         local connection, otherwise you need to set this option in the configuration file, and then restart the \
         server.",
    ))
}

pub(crate) fn time(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let now = call.now().unix_ms;
    let mut reply = call.reply();
    reply.array(2);
    reply.bulk((now / 1000).to_string().as_bytes());
    reply.bulk((now % 1000 * 1000).to_string().as_bytes());
    Ok(())
}
