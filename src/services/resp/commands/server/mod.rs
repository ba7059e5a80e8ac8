//! The server as a whole.

pub(crate) mod config;
pub(crate) mod forecast;
mod general;
mod info;
mod info_text;
mod introspection;
mod persistence;

use super::container;
use super::keys::keyspace;
use crate::services::resp::call::budget;
use crate::services::resp::call::{Handler, ServedCommand, command};
use crate::services::resp::description::Flag::{
    self, Admin, AdminCategory, Always, Confinable, Connection, Container, Dangerous, Fast, Keyspace, NoAsyncLoading,
    NoScript, Protected, ReadOnly, Write,
};
use crate::services::resp::description::KeyEffect::Read;
use crate::services::resp::description::{Flags, Group, KeyUse};

const fn server(name: &'static str, arity: i8, since: &'static str, flags: &[Flag], handler: Handler) -> ServedCommand {
    command(name, arity, since, Group::Server, Flags::of(flags), handler)
}

pub(crate) const ENTRIES: &[ServedCommand] = &[
    server("bgsave", -1, "1.0.0", &[Admin, Dangerous, NoScript, NoAsyncLoading], persistence::bgsave)
        .about("Asynchronously saves the database(s) to disk"),
    server("command", -1, "2.8.13", &[Always, Connection, Container], introspection::command)
        .forecast(forecast::describe_commands)
        .about("Returns detailed information about all commands"),
    server("command|count", 2, "2.8.13", &[Always, Connection], introspection::count)
        .about("Returns a count of commands"),
    server("command|docs", -2, "7.0.0", &[Always, Connection], introspection::docs)
        .forecast(forecast::describe_commands)
        .about("Returns documentary information about one, multiple or all commands"),
    server("command|getkeys", -3, "2.8.13", &[Always, Connection], introspection::getkeys)
        .forecast(budget::echo)
        .about("Extracts the key names from an arbitrary command"),
    server("command|help", 2, "5.0.0", &[Always, Connection], container::help)
        .forecast(budget::help)
        .about("Returns helpful text about the different subcommands"),
    server("command|info", -2, "2.8.13", &[Always, Connection], introspection::info)
        .forecast(forecast::describe_commands)
        .about("Returns information about one, multiple or all commands"),
    server("command|list", -2, "7.0.0", &[Always, Connection], introspection::list)
        .forecast(forecast::describe_commands)
        .about("Returns a list of command names"),
    server("config", -2, "2.0.0", &[Container], container::refuse)
        .about("A container for server configuration commands"),
    server("config|get", -3, "2.0.0", &[Admin, NoScript, Always, Dangerous], config::get)
        .forecast(forecast::config_get)
        .about("Returns the effective values of configuration parameters"),
    server("config|help", 2, "5.0.0", &[Always], container::help)
        .forecast(budget::help)
        .about("Returns helpful text about the different subcommands"),
    server("config|resetstat", 2, "2.0.0", &[Admin, NoScript, Always, Dangerous], config::resetstat)
        .about("Resets the server's statistics"),
    server("config|rewrite", 2, "2.8.0", &[Admin, NoScript, Always, Dangerous], config::rewrite)
        .about("Persists the effective configuration to file"),
    server("config|set", -4, "2.0.0", &[Admin, NoScript, Always, Dangerous], config::set)
        .about("Sets configuration parameters in-flight"),
    server("dbsize", 1, "1.0.0", &[ReadOnly, Keyspace, Fast, Confinable], keyspace::dbsize)
        .about("Returns the number of keys in the database"),
    server("debug", -2, "1.0.0", &[Admin, NoScript, Always, Dangerous, Protected], general::debug)
        .about("A container for debugging commands"),
    server("flushall", -1, "1.0.0", &[Write, Keyspace, Dangerous], general::flush)
        .forecast(forecast::flush)
        .about("Removes all keys from all databases"),
    server("flushdb", -1, "1.0.0", &[Write, Keyspace, Dangerous], general::flush)
        .forecast(forecast::flush)
        .about("Remove all keys from the current database"),
    server("info", -1, "1.0.0", &[Always, Dangerous], info::info)
        .forecast(forecast::info)
        .about("Returns information and statistics about the server"),
    server("lastsave", 1, "1.0.0", &[AdminCategory, Dangerous, Always, Fast], persistence::lastsave)
        .about("Returns the Unix timestamp of the last successful save to disk"),
    server("memory", -2, "4.0.0", &[Container], container::refuse).about("A container for memory diagnostics commands"),
    server("memory|help", 2, "4.0.0", &[Always], container::help)
        .forecast(budget::help)
        .about("Returns helpful text about the different subcommands"),
    server("memory|usage", -3, "4.0.0", &[ReadOnly], keyspace::memory_usage)
        .keys(&[KeyUse::at(2, Read, &[])])
        .about("Estimates the memory usage of a key"),
    server("time", 1, "2.6.0", &[Always, Fast], general::time).about("Returns the server time"),
];
