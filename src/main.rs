//! The `latchkey` program. All it does stands in the library, in `src/cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    latchkey::run_program()
}
