//! The table of commands. Names, arities, key positions and summaries are those of Redis 7.2 (redis.io/commands).

use super::call::Handler;
use super::command::flag::{
    ADMIN, ADMIN_CATEGORY, ALLOW_BUSY, ALWAYS, CONNECTION, CONTAINER, DANGEROUS, DENY_OOM, FAST, HEAVY, IN_MULTI,
    KEYSPACE, NO_ASYNC_LOADING, NO_AUTH, NO_SCRIPT, READ, SKIP_SLOWLOG, STRING, TRANSACTION, WRITE,
};
use super::command::{Command, KeySpec};
use super::{
    client, config, expiry, info, introspection, keys, lcs, numbers, persistence, server, strings, transaction,
};

const fn string(name: &'static str, arity: i8, since: &'static str, flags: u32, handler: Handler) -> Command {
    command(name, arity, since, "string", flags | STRING, handler)
}

const fn generic(name: &'static str, arity: i8, since: &'static str, flags: u32, handler: Handler) -> Command {
    command(name, arity, since, "generic", flags | KEYSPACE, handler)
}

const fn connection(name: &'static str, arity: i8, since: &'static str, flags: u32, handler: Handler) -> Command {
    command(name, arity, since, "connection", flags, handler)
}

const fn server(name: &'static str, arity: i8, since: &'static str, flags: u32, handler: Handler) -> Command {
    command(name, arity, since, "server", flags, handler)
}

const fn transactions(name: &'static str, arity: i8, since: &'static str, flags: u32, handler: Handler) -> Command {
    command(name, arity, since, "transactions", flags | ALWAYS | NO_SCRIPT | TRANSACTION, handler)
}

const fn command(
    name: &'static str,
    arity: i8,
    since: &'static str,
    group: &'static str,
    flags: u32,
    handler: Handler,
) -> Command {
    Command { name, arity, flags, keys: [None; 2], group, since, summary: "", handler }
}

impl Command {
    const fn about(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// The first argument is a key.
    const fn key(self, usage: &'static str) -> Self {
        self.keys(1, 0, 1, usage)
    }

    /// All arguments are keys.
    const fn all_keys(self, usage: &'static str) -> Self {
        self.keys(1, -1, 1, usage)
    }

    /// A group of keys; at most two are asked for.
    const fn keys(mut self, first: i8, last: i8, step: i8, usage: &'static str) -> Self {
        let [one, two] = &mut self.keys;
        let group = if one.is_none() { one } else { two };
        *group = Some(KeySpec { first, last, step, usage });
        self
    }
}

/// Every command, by family. A name that is not here is an unknown command: lists, hashes, sets and streams are not
/// served.
pub static COMMANDS: &[Command] = &[
    string("append", 3, "2.0.0", WRITE | DENY_OOM | FAST, strings::append)
        .key("RW insert")
        .about("Append a value to a key"),
    string("decr", 2, "1.0.0", WRITE | DENY_OOM | FAST, numbers::decr)
        .key("RW access update")
        .about("Decrement the integer value of a key by one"),
    string("decrby", 3, "1.0.0", WRITE | DENY_OOM | FAST, numbers::decrby)
        .key("RW access update")
        .about("Decrement the integer value of a key by the given number"),
    string("get", 2, "1.0.0", READ | FAST, strings::get).key("RO access").about("Get the value of a key"),
    string("getdel", 2, "6.2.0", WRITE | FAST, strings::getdel)
        .key("RW access delete")
        .about("Get the value of a key and delete the key"),
    string("getex", -2, "6.2.0", WRITE | FAST, strings::getex)
        .key("RW access update")
        .about("Get the value of a key and optionally set its expiration"),
    string("getrange", 4, "2.4.0", READ, strings::getrange)
        .key("RO access")
        .about("Get a substring of the string stored at a key"),
    string("getset", 3, "1.0.0", WRITE | DENY_OOM | FAST, strings::getset)
        .key("RW access update")
        .about("Set the string value of a key and return its old value"),
    string("incr", 2, "1.0.0", WRITE | DENY_OOM | FAST, numbers::incr)
        .key("RW access update")
        .about("Increment the integer value of a key by one"),
    string("incrby", 3, "1.0.0", WRITE | DENY_OOM | FAST, numbers::incrby)
        .key("RW access update")
        .about("Increment the integer value of a key by the given amount"),
    string("incrbyfloat", 3, "2.6.0", WRITE | DENY_OOM | FAST, numbers::incrbyfloat)
        .key("RW access update")
        .about("Increment the float value of a key by the given amount"),
    string("lcs", -3, "7.0.0", READ | HEAVY, lcs::lcs)
        .keys(1, 1, 1, "RO access")
        .about("Find longest common substring"),
    string("mget", -2, "1.0.0", READ | FAST, strings::mget)
        .all_keys("RO access")
        .about("Get the values of all the given keys"),
    string("mset", -3, "1.0.1", WRITE | DENY_OOM, strings::mset)
        .keys(1, -1, 2, "OW update")
        .about("Set multiple keys to multiple values"),
    string("msetnx", -3, "1.0.1", WRITE | DENY_OOM, strings::msetnx)
        .keys(1, -1, 2, "OW insert")
        .about("Set multiple keys to multiple values, only if none of the keys exist"),
    string("psetex", 4, "2.6.0", WRITE | DENY_OOM, strings::psetex)
        .key("OW update")
        .about("Set the value and expiration in milliseconds of a key"),
    string("set", -3, "1.0.0", WRITE | DENY_OOM, strings::set)
        .key("RW access update variable_flags")
        .about("Set the string value of a key"),
    string("setex", 4, "2.0.0", WRITE | DENY_OOM, strings::setex)
        .key("OW update")
        .about("Set the value and expiration of a key"),
    string("setnx", 3, "1.0.0", WRITE | DENY_OOM | FAST, strings::setnx)
        .key("OW insert")
        .about("Set the value of a key, only if the key does not exist"),
    string("setrange", 4, "2.2.0", WRITE | DENY_OOM, strings::setrange)
        .key("RW update")
        .about("Overwrite part of a string at key starting at the specified offset"),
    string("strlen", 2, "2.2.0", READ | FAST, strings::strlen)
        .key("RO")
        .about("Get the length of the value stored in a key"),
    string("substr", 4, "1.0.0", READ, strings::getrange)
        .key("RO access")
        .about("Get a substring of the string stored at a key"),
    generic("copy", -3, "6.2.0", WRITE | DENY_OOM | HEAVY, keys::copy)
        .key("RO access")
        .keys(2, 0, 1, "OW update")
        .about("Copy a key"),
    generic("del", -2, "1.0.0", WRITE, keys::del).all_keys("RM delete").about("Delete a key"),
    generic("exists", -2, "1.0.0", READ | FAST, keys::exists).all_keys("RO").about("Determine if a key exists"),
    generic("expire", -3, "1.0.0", WRITE | FAST, expiry::expire)
        .key("RW update")
        .about("Set a key's time to live in seconds"),
    generic("expireat", -3, "1.2.0", WRITE | FAST, expiry::expireat)
        .key("RW update")
        .about("Set the expiration for a key as a UNIX timestamp"),
    generic("expiretime", 2, "7.0.0", READ | FAST, expiry::expiretime)
        .key("RO access")
        .about("Get the expiration Unix timestamp for a key"),
    generic("keys", 2, "1.0.0", READ | DANGEROUS | HEAVY, keys::keys).about("Find all keys matching the given pattern"),
    command("object", -2, "2.2.3", "generic", CONTAINER, server::container)
        .about("A container for object introspection commands"),
    generic("object|encoding", 3, "2.2.3", READ, keys::object_encoding)
        .keys(2, 0, 1, "RO")
        .about("Inspect the internal encoding of a Redis object"),
    generic("object|freq", 3, "4.0.0", READ, keys::object_freq)
        .keys(2, 0, 1, "RO")
        .about("Get the logarithmic access frequency counter of a Redis object"),
    generic("object|help", 2, "6.2.0", ALWAYS, introspection::help)
        .about("Show helpful text about the different subcommands"),
    generic("object|idletime", 3, "2.2.3", READ, keys::object_idletime)
        .keys(2, 0, 1, "RO")
        .about("Get the time since a Redis object was last accessed"),
    generic("object|refcount", 3, "2.2.3", READ, keys::object_refcount)
        .keys(2, 0, 1, "RO")
        .about("Get the number of references to the value of the key"),
    generic("persist", 2, "2.2.0", WRITE | FAST, expiry::persist)
        .key("RW update")
        .about("Remove the expiration from a key"),
    generic("pexpire", -3, "2.6.0", WRITE | FAST, expiry::pexpire)
        .key("RW update")
        .about("Set a key's time to live in milliseconds"),
    generic("pexpireat", -3, "2.6.0", WRITE | FAST, expiry::pexpireat)
        .key("RW update")
        .about("Set the expiration for a key as a UNIX timestamp specified in milliseconds"),
    generic("pexpiretime", 2, "7.0.0", READ | FAST, expiry::pexpiretime)
        .key("RO access")
        .about("Get the expiration Unix timestamp for a key in milliseconds"),
    generic("pttl", 2, "2.6.0", READ | FAST, expiry::pttl)
        .key("RO access")
        .about("Get the time to live for a key in milliseconds"),
    generic("randomkey", 1, "1.0.0", READ, keys::randomkey).about("Return a random key from the keyspace"),
    generic("rename", 3, "1.0.0", WRITE, keys::rename)
        .key("RW access delete")
        .keys(2, 0, 1, "OW update")
        .about("Rename a key"),
    generic("renamenx", 3, "1.0.0", WRITE | FAST, keys::renamenx)
        .key("RW access delete")
        .keys(2, 0, 1, "OW insert")
        .about("Rename a key, only if the new key does not exist"),
    generic("scan", -2, "2.8.0", READ, keys::scan).about("Incrementally iterate the keys space"),
    generic("touch", -2, "3.2.1", READ | FAST, keys::exists)
        .all_keys("RO")
        .about("Alters the last access time of a key(s). Returns the number of existing keys specified."),
    generic("ttl", 2, "1.0.0", READ | FAST, expiry::ttl)
        .key("RO access")
        .about("Get the time to live for a key in seconds"),
    generic("type", 2, "1.0.0", READ | FAST, keys::type_of).key("RO").about("Determine the type stored at key"),
    generic("unlink", -2, "4.0.0", WRITE | FAST, keys::del)
        .all_keys("RM delete")
        .about("Delete a key asynchronously in another thread. Otherwise it is just as DEL, but non blocking."),
    connection("auth", -2, "1.0.0", NO_SCRIPT | ALWAYS | CONNECTION | FAST | NO_AUTH | ALLOW_BUSY, client::auth)
        .about("Authenticate to the server"),
    connection("client", -2, "2.4.0", CONTAINER, server::container).about("A container for client connection commands"),
    connection("client|getname", 2, "2.6.9", NO_SCRIPT | ALWAYS | CONNECTION, client::getname)
        .about("Get the current connection name"),
    connection("client|help", 2, "5.0.0", ALWAYS | CONNECTION, introspection::help)
        .about("Show helpful text about the different subcommands"),
    connection("client|id", 2, "5.0.0", NO_SCRIPT | ALWAYS | CONNECTION, client::id)
        .about("Returns the client ID for the current connection"),
    connection("client|info", 2, "6.2.0", NO_SCRIPT | ALWAYS | CONNECTION, client::info)
        .about("Returns information about the current client connection."),
    connection("client|kill", -3, "2.4.0", ADMIN | NO_SCRIPT | ALWAYS | DANGEROUS | CONNECTION | HEAVY, client::kill)
        .about("Kill the connection of a client"),
    connection("client|list", -2, "2.4.0", ADMIN | NO_SCRIPT | ALWAYS | DANGEROUS | CONNECTION | HEAVY, client::list)
        .about("Get the list of client connections"),
    connection("client|no-evict", 3, "7.0.0", ADMIN | NO_SCRIPT | ALWAYS | DANGEROUS | CONNECTION, client::switch)
        .about("Set client eviction mode for the current connection"),
    connection("client|no-touch", 3, "7.2.0", NO_SCRIPT | ALWAYS | CONNECTION, client::switch)
        .about("Controls whether commands sent by the client affect the LRU/LFU of accessed keys."),
    connection("client|pause", -3, "2.9.50", ADMIN | NO_SCRIPT | ALWAYS | DANGEROUS | CONNECTION, client::pause)
        .about("Stop processing commands from clients for some time"),
    connection("client|setinfo", 4, "7.2.0", NO_SCRIPT | ALWAYS | CONNECTION, client::setinfo)
        .about("Sets information specific to the client or connection."),
    connection("client|setname", 3, "2.6.9", NO_SCRIPT | ALWAYS | CONNECTION, client::setname)
        .about("Set the current connection name"),
    connection("client|unpause", 2, "6.2.0", ADMIN | NO_SCRIPT | ALWAYS | DANGEROUS | CONNECTION, client::unpause)
        .about("Resume processing of clients that were paused"),
    connection("echo", 2, "1.0.0", ALWAYS | FAST | CONNECTION, server::echo).about("Echo the given string"),
    connection("hello", -1, "6.0.0", NO_SCRIPT | ALWAYS | CONNECTION | FAST | NO_AUTH | ALLOW_BUSY, client::hello)
        .about("Handshake with Redis"),
    connection("ping", -1, "1.0.0", FAST | CONNECTION, server::ping).about("Ping the server"),
    connection(
        "quit",
        -1,
        "1.0.0",
        NO_SCRIPT | ALWAYS | CONNECTION | FAST | NO_AUTH | ALLOW_BUSY | IN_MULTI,
        client::quit,
    )
    .about("Close the connection"),
    connection(
        "reset",
        1,
        "6.2.0",
        NO_SCRIPT | ALWAYS | CONNECTION | FAST | NO_AUTH | ALLOW_BUSY | IN_MULTI,
        client::reset,
    )
    .about("Reset the connection"),
    connection("select", 2, "1.0.0", ALWAYS | FAST | CONNECTION, server::select)
        .about("Change the selected database for the current connection"),
    server("bgsave", -1, "1.0.0", ADMIN | DANGEROUS | NO_SCRIPT | NO_ASYNC_LOADING, persistence::bgsave)
        .about("Asynchronously saves the database(s) to disk."),
    server("command", -1, "2.8.13", ALWAYS | CONNECTION | CONTAINER, introspection::command)
        .about("Get array of Redis command details"),
    server("command|count", 2, "2.8.13", ALWAYS | CONNECTION, introspection::count)
        .about("Get total number of Redis commands"),
    server("command|docs", -2, "7.0.0", ALWAYS | CONNECTION, introspection::docs)
        .about("Get array of specific Redis command documentation"),
    server("command|getkeys", -3, "2.8.13", ALWAYS | CONNECTION, introspection::getkeys)
        .about("Extract keys given a full Redis command"),
    server("command|help", 2, "5.0.0", ALWAYS | CONNECTION, introspection::help)
        .about("Show helpful text about the different subcommands"),
    server("command|info", -2, "2.8.13", ALWAYS | CONNECTION, introspection::info)
        .about("Get array of specific Redis command details, or all when no argument is given."),
    server("command|list", -2, "7.0.0", ALWAYS | CONNECTION, introspection::list)
        .about("Get an array of Redis command names"),
    server("config", -2, "2.0.0", CONTAINER, server::container).about("A container for server configuration commands"),
    server("config|get", -3, "2.0.0", ADMIN | NO_SCRIPT | ALWAYS | DANGEROUS, config::get)
        .about("Get the values of configuration parameters"),
    server("config|help", 2, "5.0.0", ALWAYS, introspection::help)
        .about("Show helpful text about the different subcommands"),
    server("config|resetstat", 2, "2.0.0", ADMIN | NO_SCRIPT | ALWAYS | DANGEROUS, config::resetstat)
        .about("Reset the stats returned by INFO"),
    server("config|rewrite", 2, "2.8.0", ADMIN | NO_SCRIPT | ALWAYS | DANGEROUS, config::rewrite)
        .about("Rewrite the configuration file with the in memory configuration"),
    server("config|set", -4, "2.0.0", ADMIN | NO_SCRIPT | ALWAYS | DANGEROUS, config::set)
        .about("Set configuration parameters to the given values"),
    server("dbsize", 1, "1.0.0", READ | KEYSPACE | FAST, keys::dbsize)
        .about("Return the number of keys in the selected database"),
    server("debug", -2, "1.0.0", ADMIN | NO_SCRIPT | ALWAYS | DANGEROUS, server::debug)
        .about("A container for debugging commands"),
    server("flushall", -1, "1.0.0", WRITE | KEYSPACE | DANGEROUS, server::flush)
        .about("Remove all keys from all databases"),
    server("flushdb", -1, "1.0.0", WRITE | KEYSPACE | DANGEROUS, server::flush)
        .about("Remove all keys from the current database"),
    server("info", -1, "1.0.0", ALWAYS | DANGEROUS, info::info)
        .about("Get information and statistics about the server"),
    server("lastsave", 1, "1.0.0", ADMIN_CATEGORY | DANGEROUS | ALWAYS | FAST, persistence::lastsave)
        .about("Return the UNIX timestamp of the last successful save to disk"),
    server("memory", -2, "4.0.0", CONTAINER, server::container).about("A container for memory diagnostics commands"),
    server("memory|help", 2, "4.0.0", ALWAYS, introspection::help)
        .about("Show helpful text about the different subcommands"),
    server("memory|usage", -3, "4.0.0", READ, keys::memory_usage)
        .keys(2, 0, 1, "RO")
        .about("Estimate the memory usage of a key"),
    server("time", 1, "2.6.0", ALWAYS | FAST, server::time).about("Return the current server time"),
    transactions("discard", 1, "2.0.0", FAST | ALLOW_BUSY | IN_MULTI, transaction::discard)
        .about("Discard all commands issued after MULTI"),
    transactions("exec", 1, "1.2.0", SKIP_SLOWLOG | IN_MULTI, transaction::exec)
        .about("Execute all commands issued after MULTI"),
    transactions("multi", 1, "1.2.0", FAST | ALLOW_BUSY | IN_MULTI, transaction::multi)
        .about("Mark the start of a transaction block"),
    transactions("unwatch", 1, "2.2.0", FAST | ALLOW_BUSY, transaction::unwatch).about("Forget about all watched keys"),
    transactions("watch", -2, "2.2.0", FAST | ALLOW_BUSY | IN_MULTI, transaction::watch)
        .all_keys("RO")
        .about("Watch the given keys to determine execution of the MULTI/EXEC block"),
];
