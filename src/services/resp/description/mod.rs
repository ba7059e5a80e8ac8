//! What commands are: their names, arguments, keys and flags.

pub(crate) mod command;
