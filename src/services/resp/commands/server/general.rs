//! The server as a whole.

use crate::services::resp::call::{Call, CommandError};

/// `FLUSHALL` and `FLUSHDB`. `SYNC` and `ASYNC` are the same here: memory is freed in steps.
pub(crate) fn flush(call: &mut Call<'_, '_>) -> Result<(), CommandError> {
    let mode = call.argument(1);
    let known = call.request.len() == 1 || mode.eq_ignore_ascii_case(b"ASYNC") || mode.eq_ignore_ascii_case(b"SYNC");
    if !known || call.request.len() > 2 {
        return Err(CommandError::SYNTAX);
    }
    call.store.clear();
    call.ok()
}

/// `DEBUG SLEEP` would stop every client: refused like all of `DEBUG`, with the error of a Redis that does not enable it.
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
