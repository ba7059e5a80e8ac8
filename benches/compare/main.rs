//! Comparisons as ratios: latchkey and widely used servers, driven by the same clients in the same run.
//!
//! ```sh
//! benches/install                                  # the peers, from Debian's packages
//! cargo bench --bench compare                      # the whole table
//! cargo bench --bench compare -- resp-1 handshake  # rows whose names begin so
//! cargo bench --bench compare -- --list
//! ```
//!
//! The result goes to stdout and, as JSON, Markdown and one HTML page, into `target/compare/`.

mod drive;
mod measure;
mod peers;
mod process;
mod report;
mod rows;
#[path = "../world/mod.rs"]
mod world;

use std::path::Path;
use std::process::ExitCode;

use measure::Lab;
use rows::ROWS;

fn main() -> ExitCode {
    // `cargo bench` adds `--bench`.
    let names: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if names.iter().any(|name| name == "--list") {
        for row in ROWS {
            println!("{:24} {}", row.name, row.what);
        }
        return ExitCode::SUCCESS;
    }
    let is_wanted = |row: &&rows::Row| names.is_empty() || names.iter().any(|name| row.name.starts_with(name.as_str()));
    let wanted: Vec<_> = ROWS.iter().filter(is_wanted).collect();
    if wanted.is_empty() {
        eprintln!("no row has this name: see --list");
        return ExitCode::from(2);
    }
    let lab = Lab::new();
    let mut results = Vec::new();
    for row in wanted {
        eprintln!("{}: {}", row.name, row.what);
        let result = measure::measure(&lab, row);
        report::print(&result);
        results.push(result);
    }
    // A place that `cargo clean` removes and other tools ignore.
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/compare");
    match report::save(&dir, &results) {
        Ok(()) => println!("saved as JSON, Markdown and HTML in {}", dir.display()),
        Err(error) => {
            eprintln!("{}: {error}", dir.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
