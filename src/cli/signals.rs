//! SIGTERM and SIGINT.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::server::Handle;

/// Drains the server behind `handle` at SIGTERM or SIGINT; a second signal ends the process at once.
pub(super) fn stop_on_signal(handle: Handle) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    #[expect(clippy::disallowed_methods, reason = "it sleeps until a signal comes; the loop must not")]
    std::thread::spawn(move || {
        let mut orders = signals.forever();
        if orders.next().is_some() {
            handle.stop();
        }
        if let Some(signal) = orders.next() {
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    });
    Ok(())
}
