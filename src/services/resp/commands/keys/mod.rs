//! Keys, whatever they hold.

mod expiry;
pub(crate) mod forecast;
pub(crate) mod keyspace;
pub(crate) mod search;

use super::container;
use crate::services::resp::call::budget;
use crate::services::resp::call::{Handler, ServedCommand, command};
use crate::services::resp::description::Flag::{
    self, Always, Confinable, Container, Dangerous, DenyOom, Fast, Heavy, ReadOnly, Touch, Write,
};
use crate::services::resp::description::KeyEffect::{Overwrite, Read, ReadWrite, Remove};
use crate::services::resp::description::KeyFlag::{Access, Delete, Insert, Update};
use crate::services::resp::description::{Flags, Group, KeyUse};

const fn generic(
    name: &'static str,
    arity: i8,
    since: &'static str,
    flags: &[Flag],
    handler: Handler,
) -> ServedCommand {
    command(name, arity, since, Group::Generic, Flags::of(flags).and(Flags::of(&[Flag::Keyspace])), handler)
}

pub(crate) const ENTRIES: &[ServedCommand] = &[
    generic("copy", -3, "6.2.0", &[Write, DenyOom, Heavy], keyspace::copy).keys(&[KeyUse::at(1, Read, &[Access]), KeyUse::at(2, Overwrite, &[Update])]).forecast(forecast::copy).about("Copies the value of a key to a new key"),
    generic("del", -2, "1.0.0", &[Write], keyspace::del).keys(&[KeyUse::every(1, Remove, &[Delete])]).forecast(forecast::remove).about("Deletes one or more keys"),
    generic("exists", -2, "1.0.0", &[ReadOnly, Fast], keyspace::exists).keys(&[KeyUse::every(1, Read, &[])]).about("Determines whether one or more keys exist"),
    generic("expire", -3, "1.0.0", &[Write, Fast], expiry::expire).keys(&[KeyUse::at(1, ReadWrite, &[Update])]).forecast(forecast::change).about("Sets the expiration time of a key in seconds"),
    generic("expireat", -3, "1.2.0", &[Write, Fast], expiry::expireat).keys(&[KeyUse::at(1, ReadWrite, &[Update])]).forecast(forecast::change).about("Sets the expiration time of a key to a Unix timestamp"),
    generic("expiretime", 2, "7.0.0", &[ReadOnly, Fast], expiry::expiretime).keys(&[KeyUse::at(1, Read, &[Access])]).about("Returns the expiration time of a key as a Unix timestamp"),
    generic("keys", 2, "1.0.0", &[ReadOnly, Dangerous, Heavy, Confinable], keyspace::keys).forecast(forecast::search).about("Returns all key names that match a pattern"),
    command("object", -2, "2.2.3", Group::Generic, Flags::of(&[Container]), container::refuse).about("A container for object introspection commands"),
    generic("object|encoding", 3, "2.2.3", &[ReadOnly], keyspace::object_encoding).keys(&[KeyUse::at(2, Read, &[])]).about("Returns the internal encoding of a Redis object"),
    generic("object|freq", 3, "4.0.0", &[ReadOnly], keyspace::object_freq).keys(&[KeyUse::at(2, Read, &[])]).about("Returns the logarithmic access frequency counter of a Redis object"),
    generic("object|help", 2, "6.2.0", &[Always], container::help).forecast(budget::help).about("Returns helpful text about the different subcommands"),
    generic("object|idletime", 3, "2.2.3", &[ReadOnly], keyspace::object_idletime).keys(&[KeyUse::at(2, Read, &[])]).about("Returns the time since the last access to a Redis object"),
    generic("object|refcount", 3, "2.2.3", &[ReadOnly], keyspace::object_refcount).keys(&[KeyUse::at(2, Read, &[])]).about("Returns the reference count of a value of a key"),
    generic("persist", 2, "2.2.0", &[Write, Fast], expiry::persist).keys(&[KeyUse::at(1, ReadWrite, &[Update])]).forecast(forecast::change).about("Removes the expiration time of a key"),
    generic("pexpire", -3, "2.6.0", &[Write, Fast], expiry::pexpire).keys(&[KeyUse::at(1, ReadWrite, &[Update])]).forecast(forecast::change).about("Sets the expiration time of a key in milliseconds"),
    generic("pexpireat", -3, "2.6.0", &[Write, Fast], expiry::pexpireat).keys(&[KeyUse::at(1, ReadWrite, &[Update])]).forecast(forecast::change).about("Sets the expiration time of a key to a Unix milliseconds timestamp"),
    generic("pexpiretime", 2, "7.0.0", &[ReadOnly, Fast], expiry::pexpiretime).keys(&[KeyUse::at(1, Read, &[Access])]).about("Returns the expiration time of a key as a Unix milliseconds timestamp"),
    generic("pttl", 2, "2.6.0", &[ReadOnly, Fast], expiry::pttl).keys(&[KeyUse::at(1, Read, &[Access])]).about("Returns the expiration time in milliseconds of a key"),
    generic("randomkey", 1, "1.0.0", &[ReadOnly, Confinable], keyspace::randomkey).forecast(forecast::randomkey).about("Returns a random key name from the database"),
    generic("rename", 3, "1.0.0", &[Write], keyspace::rename).keys(&[KeyUse::at(1, ReadWrite, &[Access, Delete]), KeyUse::at(2, Overwrite, &[Update])]).forecast(forecast::rename).about("Renames a key and overwrites the destination"),
    generic("renamenx", 3, "1.0.0", &[Write, Fast], keyspace::renamenx).keys(&[KeyUse::at(1, ReadWrite, &[Access, Delete]), KeyUse::at(2, Overwrite, &[Insert])]).forecast(forecast::rename).about("Renames a key only when the target key name doesn't exist"),
    generic("scan", -2, "2.8.0", &[ReadOnly, Confinable], keyspace::scan).forecast(forecast::scan).about("Iterates over the key names in the database"),
    generic("touch", -2, "3.2.1", &[ReadOnly, Fast, Touch], keyspace::exists).keys(&[KeyUse::every(1, Read, &[])]).about("Returns the number of existing keys out of those specified after updating the time they were last accessed"),
    generic("ttl", 2, "1.0.0", &[ReadOnly, Fast], expiry::ttl).keys(&[KeyUse::at(1, Read, &[Access])]).about("Returns the expiration time in seconds of a key"),
    generic("type", 2, "1.0.0", &[ReadOnly, Fast], keyspace::type_of).keys(&[KeyUse::at(1, Read, &[])]).about("Determines the type of value stored at a key"),
    generic("unlink", -2, "4.0.0", &[Write, Fast], keyspace::del).keys(&[KeyUse::every(1, Remove, &[Delete])]).forecast(forecast::remove).about("Asynchronously deletes one or more keys"),
];
