//! Arguments to a validated configuration, then run: one file a subcommand.
