//! Arguments to a validated configuration, then run: one file a subcommand.

pub mod development;
pub mod files;
