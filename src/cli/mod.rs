//! Arguments to a validated configuration, then run: one file a subcommand.

pub mod certs;
pub mod development;
pub mod files;
