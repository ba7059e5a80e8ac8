//! The `latchkey` program. All it does stands in [`latchkey::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    latchkey::cli::run()
}
