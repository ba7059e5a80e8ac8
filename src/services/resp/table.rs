//! The table of commands. Names, arities, key positions and summaries are those of Redis 7.2 (redis.io/commands).

use super::call::Handler;
use super::call::budget;
use super::call::budget::Forecast;
use super::commands::connection::clients as client_commands;
use super::commands::keys::{expiry, keyspace as keys};
use super::commands::server::{config, general as server_commands, info, introspection, persistence};
use super::commands::strings::{lcs, numbers, values as strings};
use super::description::command::flag::{
    ADMIN, ADMIN_CATEGORY, ALLOW_BUSY, ALWAYS, CONNECTION, CONTAINER, DANGEROUS, DENY_OOM, FAST, HEAVY, IN_MULTI,
    KEYSPACE, NO_ASYNC_LOADING, NO_AUTH, NO_SCRIPT, PROTECTED, READ, SKIP_SLOWLOG, STRING, TRANSACTION, WRITE,
};
use super::description::command::{Command, KeySpec};
use super::engine::transaction;

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
    Command { name, arity, flags, keys: [None; 2], group, since, summary: "", forecast: budget::nothing, handler }
}

impl Command {
    const fn about(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// What it costs in a transaction is not told by its arguments alone.
    const fn forecast(mut self, forecast: Forecast) -> Self {
        self.forecast = forecast;
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
        .forecast(budget::append)
        .about("Appends a string to the value of a key. Creates the key if it doesn't exist"),
    string("decr", 2, "1.0.0", WRITE | DENY_OOM | FAST, numbers::decr)
        .key("RW access update")
        .forecast(budget::counts)
        .about("Decrements the integer value of a key by one. Uses 0 as initial value if the key doesn't exist"),
    string("decrby", 3, "1.0.0", WRITE | DENY_OOM | FAST, numbers::decrby)
        .key("RW access update")
        .forecast(budget::counts)
        .about("Decrements a number from the integer value of a key. Uses 0 as initial value if the key doesn't exist"),
    string("get", 2, "1.0.0", READ | FAST, strings::get)
        .key("RO access")
        .forecast(budget::tells)
        .about("Returns the string value of a key"),
    string("getdel", 2, "6.2.0", WRITE | FAST, strings::getdel)
        .key("RW access delete")
        .forecast(budget::getdel)
        .about("Returns the string value of a key after deleting the key"),
    string("getex", -2, "6.2.0", WRITE | FAST, strings::getex)
        .key("RW access update")
        .forecast(budget::getex)
        .about("Returns the string value of a key after setting its expiration time"),
    string("getrange", 4, "2.4.0", READ, strings::getrange)
        .key("RO access")
        .forecast(budget::getrange)
        .about("Returns a substring of the string stored at a key"),
    string("getset", 3, "1.0.0", WRITE | DENY_OOM | FAST, strings::getset)
        .key("RW access update")
        .forecast(budget::getset)
        .about("Returns the previous string value of a key after setting it to a new value"),
    string("incr", 2, "1.0.0", WRITE | DENY_OOM | FAST, numbers::incr)
        .key("RW access update")
        .forecast(budget::counts)
        .about("Increments the integer value of a key by one. Uses 0 as initial value if the key doesn't exist"),
    string("incrby", 3, "1.0.0", WRITE | DENY_OOM | FAST, numbers::incrby)
        .key("RW access update")
        .forecast(budget::counts)
        .about("Increments the integer value of a key by a number. Uses 0 as initial value if the key doesn't exist"),
    string("incrbyfloat", 3, "2.6.0", WRITE | DENY_OOM | FAST, numbers::incrbyfloat)
        .key("RW access update")
        .forecast(budget::counts_floats)
        .about(
            "Increment the floating point value of a key by a number. Uses 0 as initial value if the key doesn't exist",
        ),
    string("lcs", -3, "7.0.0", READ | HEAVY, lcs::lcs)
        .keys(1, 1, 1, "RO access")
        .forecast(budget::lcs)
        .about("Finds the longest common substring"),
    string("mget", -2, "1.0.0", READ | FAST, strings::mget)
        .all_keys("RO access")
        .forecast(budget::tells)
        .about("Atomically returns the string values of one or more keys"),
    string("mset", -3, "1.0.1", WRITE | DENY_OOM, strings::mset)
        .keys(1, -1, 2, "OW update")
        .forecast(budget::set_pairs)
        .about("Atomically creates or modifies the string values of one or more keys"),
    string("msetnx", -3, "1.0.1", WRITE | DENY_OOM, strings::msetnx)
        .keys(1, -1, 2, "OW insert")
        .forecast(budget::set_pairs_if_absent)
        .about("Atomically modifies the string values of one or more keys only when all keys don't exist"),
    string("psetex", 4, "2.6.0", WRITE | DENY_OOM, strings::psetex).key("OW update").forecast(budget::set_until).about(
        "Sets both string value and expiration time in milliseconds of a key. The key is created if it doesn't exist",
    ),
    string("set", -3, "1.0.0", WRITE | DENY_OOM, strings::set)
        .key("RW access update variable_flags")
        .forecast(budget::set)
        .about("Sets the string value of a key, ignoring its type. The key is created if it doesn't exist"),
    string("setex", 4, "2.0.0", WRITE | DENY_OOM, strings::setex)
        .key("OW update")
        .forecast(budget::set_until)
        .about("Sets the string value and expiration time of a key. Creates the key if it doesn't exist"),
    string("setnx", 3, "1.0.0", WRITE | DENY_OOM | FAST, strings::setnx)
        .key("OW insert")
        .forecast(budget::set_if_absent)
        .about("Set the string value of a key only when the key doesn't exist"),
    string("setrange", 4, "2.2.0", WRITE | DENY_OOM, strings::setrange)
        .key("RW update")
        .forecast(budget::setrange)
        .about("Overwrites a part of a string value with another by an offset. Creates the key if it doesn't exist"),
    string("strlen", 2, "2.2.0", READ | FAST, strings::strlen)
        .key("RO")
        .forecast(budget::strlen)
        .about("Returns the length of a string value"),
    string("substr", 4, "1.0.0", READ, strings::getrange)
        .key("RO access")
        .forecast(budget::getrange)
        .about("Returns a substring from a string value"),
    generic("copy", -3, "6.2.0", WRITE | DENY_OOM | HEAVY, keys::copy)
        .key("RO access")
        .keys(2, 0, 1, "OW update")
        .forecast(budget::copy)
        .about("Copies the value of a key to a new key"),
    generic("del", -2, "1.0.0", WRITE, keys::del)
        .all_keys("RM delete")
        .forecast(budget::removes)
        .about("Deletes one or more keys"),
    generic("exists", -2, "1.0.0", READ | FAST, keys::exists)
        .all_keys("RO")
        .about("Determines whether one or more keys exist"),
    generic("expire", -3, "1.0.0", WRITE | FAST, expiry::expire)
        .key("RW update")
        .forecast(budget::changes)
        .about("Sets the expiration time of a key in seconds"),
    generic("expireat", -3, "1.2.0", WRITE | FAST, expiry::expireat)
        .key("RW update")
        .forecast(budget::changes)
        .about("Sets the expiration time of a key to a Unix timestamp"),
    generic("expiretime", 2, "7.0.0", READ | FAST, expiry::expiretime)
        .key("RO access")
        .about("Returns the expiration time of a key as a Unix timestamp"),
    generic("keys", 2, "1.0.0", READ | DANGEROUS | HEAVY, keys::keys)
        .forecast(budget::walks)
        .about("Returns all key names that match a pattern"),
    command("object", -2, "2.2.3", "generic", CONTAINER, server_commands::container)
        .about("A container for object introspection commands"),
    generic("object|encoding", 3, "2.2.3", READ, keys::object_encoding)
        .keys(2, 0, 1, "RO")
        .about("Returns the internal encoding of a Redis object"),
    generic("object|freq", 3, "4.0.0", READ, keys::object_freq)
        .keys(2, 0, 1, "RO")
        .about("Returns the logarithmic access frequency counter of a Redis object"),
    generic("object|help", 2, "6.2.0", ALWAYS, introspection::help)
        .forecast(budget::helps)
        .about("Returns helpful text about the different subcommands"),
    generic("object|idletime", 3, "2.2.3", READ, keys::object_idletime)
        .keys(2, 0, 1, "RO")
        .about("Returns the time since the last access to a Redis object"),
    generic("object|refcount", 3, "2.2.3", READ, keys::object_refcount)
        .keys(2, 0, 1, "RO")
        .about("Returns the reference count of a value of a key"),
    generic("persist", 2, "2.2.0", WRITE | FAST, expiry::persist)
        .key("RW update")
        .forecast(budget::changes)
        .about("Removes the expiration time of a key"),
    generic("pexpire", -3, "2.6.0", WRITE | FAST, expiry::pexpire)
        .key("RW update")
        .forecast(budget::changes)
        .about("Sets the expiration time of a key in milliseconds"),
    generic("pexpireat", -3, "2.6.0", WRITE | FAST, expiry::pexpireat)
        .key("RW update")
        .forecast(budget::changes)
        .about("Sets the expiration time of a key to a Unix milliseconds timestamp"),
    generic("pexpiretime", 2, "7.0.0", READ | FAST, expiry::pexpiretime)
        .key("RO access")
        .about("Returns the expiration time of a key as a Unix milliseconds timestamp"),
    generic("pttl", 2, "2.6.0", READ | FAST, expiry::pttl)
        .key("RO access")
        .about("Returns the expiration time in milliseconds of a key"),
    generic("randomkey", 1, "1.0.0", READ, keys::randomkey)
        .forecast(budget::picks)
        .about("Returns a random key name from the database"),
    generic("rename", 3, "1.0.0", WRITE, keys::rename)
        .key("RW access delete")
        .keys(2, 0, 1, "OW update")
        .forecast(budget::rename)
        .about("Renames a key and overwrites the destination"),
    generic("renamenx", 3, "1.0.0", WRITE | FAST, keys::renamenx)
        .key("RW access delete")
        .keys(2, 0, 1, "OW insert")
        .forecast(budget::rename)
        .about("Renames a key only when the target key name doesn't exist"),
    generic("scan", -2, "2.8.0", READ, keys::scan)
        .forecast(budget::scan)
        .about("Iterates over the key names in the database"),
    generic("touch", -2, "3.2.1", READ | FAST, keys::exists).all_keys("RO").about(
        "Returns the number of existing keys out of those specified after updating the time they were last accessed",
    ),
    generic("ttl", 2, "1.0.0", READ | FAST, expiry::ttl)
        .key("RO access")
        .about("Returns the expiration time in seconds of a key"),
    generic("type", 2, "1.0.0", READ | FAST, keys::type_of)
        .key("RO")
        .about("Determines the type of value stored at a key"),
    generic("unlink", -2, "4.0.0", WRITE | FAST, keys::del)
        .all_keys("RM delete")
        .forecast(budget::removes)
        .about("Asynchronously deletes one or more keys"),
    connection(
        "auth",
        -2,
        "1.0.0",
        NO_SCRIPT | ALWAYS | CONNECTION | FAST | NO_AUTH | ALLOW_BUSY,
        client_commands::auth,
    )
    .about("Authenticates the connection"),
    connection("client", -2, "2.4.0", CONTAINER, server_commands::container)
        .about("A container for client connection commands"),
    connection("client|getname", 2, "2.6.9", NO_SCRIPT | ALWAYS | CONNECTION, client_commands::getname)
        .about("Returns the name of the connection"),
    connection("client|help", 2, "5.0.0", ALWAYS | CONNECTION, introspection::help)
        .forecast(budget::helps)
        .about("Returns helpful text about the different subcommands"),
    connection("client|id", 2, "5.0.0", NO_SCRIPT | ALWAYS | CONNECTION, client_commands::id)
        .about("Returns the unique client ID of the connection"),
    connection("client|info", 2, "6.2.0", NO_SCRIPT | ALWAYS | CONNECTION, client_commands::info)
        .forecast(budget::describes_client)
        .about("Returns information about the connection"),
    connection(
        "client|kill",
        -3,
        "2.4.0",
        ADMIN | NO_SCRIPT | ALWAYS | DANGEROUS | CONNECTION | HEAVY,
        client_commands::kill,
    )
    .forecast(budget::visits_clients)
    .about("Terminates open connections"),
    connection(
        "client|list",
        -2,
        "2.4.0",
        ADMIN | NO_SCRIPT | ALWAYS | DANGEROUS | CONNECTION | HEAVY,
        client_commands::list,
    )
    .forecast(budget::lists_clients)
    .about("Lists open connections"),
    connection(
        "client|no-evict",
        3,
        "7.0.0",
        ADMIN | NO_SCRIPT | ALWAYS | DANGEROUS | CONNECTION,
        client_commands::no_evict,
    )
    .about("Sets the client eviction mode of the connection"),
    connection("client|no-touch", 3, "7.2.0", NO_SCRIPT | ALWAYS | CONNECTION, client_commands::no_touch)
        .about("Controls whether commands sent by the client affect the LRU/LFU of accessed keys"),
    connection(
        "client|pause",
        -3,
        "3.0.0",
        ADMIN | NO_SCRIPT | ALWAYS | DANGEROUS | CONNECTION,
        client_commands::pause,
    )
    .about("Suspends commands processing"),
    connection("client|setinfo", 4, "7.2.0", NO_SCRIPT | ALWAYS | CONNECTION, client_commands::setinfo)
        .about("Sets information specific to the client or connection"),
    connection("client|setname", 3, "2.6.9", NO_SCRIPT | ALWAYS | CONNECTION, client_commands::setname)
        .about("Sets the connection name"),
    connection(
        "client|unpause",
        2,
        "6.2.0",
        ADMIN | NO_SCRIPT | ALWAYS | DANGEROUS | CONNECTION,
        client_commands::unpause,
    )
    .about("Resumes processing commands from paused clients"),
    connection("echo", 2, "1.0.0", ALWAYS | FAST | CONNECTION, server_commands::echo)
        .forecast(budget::echoes)
        .about("Returns the given string"),
    connection(
        "hello",
        -1,
        "6.0.0",
        NO_SCRIPT | ALWAYS | CONNECTION | FAST | NO_AUTH | ALLOW_BUSY,
        client_commands::hello,
    )
    .about("Handshakes with the Redis server"),
    connection("ping", -1, "1.0.0", FAST | CONNECTION, server_commands::ping)
        .forecast(budget::echoes)
        .about("Returns the server's liveliness response"),
    connection(
        "quit",
        -1,
        "1.0.0",
        NO_SCRIPT | ALWAYS | CONNECTION | FAST | NO_AUTH | ALLOW_BUSY | IN_MULTI,
        client_commands::quit,
    )
    .about("Closes the connection"),
    connection(
        "reset",
        1,
        "6.2.0",
        NO_SCRIPT | ALWAYS | CONNECTION | FAST | NO_AUTH | ALLOW_BUSY | IN_MULTI,
        client_commands::reset,
    )
    .about("Resets the connection"),
    connection("select", 2, "1.0.0", ALWAYS | FAST | CONNECTION, server_commands::select)
        .about("Changes the selected database"),
    server("bgsave", -1, "1.0.0", ADMIN | DANGEROUS | NO_SCRIPT | NO_ASYNC_LOADING, persistence::bgsave)
        .about("Asynchronously saves the database(s) to disk"),
    server("command", -1, "2.8.13", ALWAYS | CONNECTION | CONTAINER, introspection::command)
        .forecast(budget::describes)
        .about("Returns detailed information about all commands"),
    server("command|count", 2, "2.8.13", ALWAYS | CONNECTION, introspection::count)
        .about("Returns a count of commands"),
    server("command|docs", -2, "7.0.0", ALWAYS | CONNECTION, introspection::docs)
        .forecast(budget::describes)
        .about("Returns documentary information about one, multiple or all commands"),
    server("command|getkeys", -3, "2.8.13", ALWAYS | CONNECTION, introspection::getkeys)
        .forecast(budget::echoes)
        .about("Extracts the key names from an arbitrary command"),
    server("command|help", 2, "5.0.0", ALWAYS | CONNECTION, introspection::help)
        .forecast(budget::helps)
        .about("Returns helpful text about the different subcommands"),
    server("command|info", -2, "2.8.13", ALWAYS | CONNECTION, introspection::info)
        .forecast(budget::describes)
        .about("Returns information about one, multiple or all commands"),
    server("command|list", -2, "7.0.0", ALWAYS | CONNECTION, introspection::list)
        .forecast(budget::describes)
        .about("Returns a list of command names"),
    server("config", -2, "2.0.0", CONTAINER, server_commands::container)
        .about("A container for server configuration commands"),
    server("config|get", -3, "2.0.0", ADMIN | NO_SCRIPT | ALWAYS | DANGEROUS, config::get)
        .forecast(budget::matches_patterns)
        .about("Returns the effective values of configuration parameters"),
    server("config|help", 2, "5.0.0", ALWAYS, introspection::help)
        .forecast(budget::helps)
        .about("Returns helpful text about the different subcommands"),
    server("config|resetstat", 2, "2.0.0", ADMIN | NO_SCRIPT | ALWAYS | DANGEROUS, config::resetstat)
        .about("Resets the server's statistics"),
    server("config|rewrite", 2, "2.8.0", ADMIN | NO_SCRIPT | ALWAYS | DANGEROUS, config::rewrite)
        .about("Persists the effective configuration to file"),
    server("config|set", -4, "2.0.0", ADMIN | NO_SCRIPT | ALWAYS | DANGEROUS, config::set)
        .about("Sets configuration parameters in-flight"),
    server("dbsize", 1, "1.0.0", READ | KEYSPACE | FAST, keys::dbsize)
        .about("Returns the number of keys in the database"),
    server("debug", -2, "1.0.0", ADMIN | NO_SCRIPT | ALWAYS | DANGEROUS | PROTECTED, server_commands::debug)
        .about("A container for debugging commands"),
    server("flushall", -1, "1.0.0", WRITE | KEYSPACE | DANGEROUS, server_commands::flush)
        .forecast(budget::flush)
        .about("Removes all keys from all databases"),
    server("flushdb", -1, "1.0.0", WRITE | KEYSPACE | DANGEROUS, server_commands::flush)
        .forecast(budget::flush)
        .about("Remove all keys from the current database"),
    server("info", -1, "1.0.0", ALWAYS | DANGEROUS, info::info)
        .forecast(budget::informs)
        .about("Returns information and statistics about the server"),
    server("lastsave", 1, "1.0.0", ADMIN_CATEGORY | DANGEROUS | ALWAYS | FAST, persistence::lastsave)
        .about("Returns the Unix timestamp of the last successful save to disk"),
    server("memory", -2, "4.0.0", CONTAINER, server_commands::container)
        .about("A container for memory diagnostics commands"),
    server("memory|help", 2, "4.0.0", ALWAYS, introspection::help)
        .forecast(budget::helps)
        .about("Returns helpful text about the different subcommands"),
    server("memory|usage", -3, "4.0.0", READ, keys::memory_usage)
        .keys(2, 0, 1, "RO")
        .about("Estimates the memory usage of a key"),
    server("time", 1, "2.6.0", ALWAYS | FAST, server_commands::time).about("Returns the server time"),
    transactions("discard", 1, "2.0.0", FAST | ALLOW_BUSY | IN_MULTI, transaction::discard)
        .about("Discards a transaction"),
    transactions("exec", 1, "1.2.0", SKIP_SLOWLOG | IN_MULTI, transaction::exec)
        .about("Executes all commands in a transaction"),
    transactions("multi", 1, "1.2.0", FAST | ALLOW_BUSY | IN_MULTI, transaction::multi).about("Starts a transaction"),
    transactions("unwatch", 1, "2.2.0", FAST | ALLOW_BUSY, transaction::unwatch)
        .about("Forgets about watched keys of a transaction"),
    transactions("watch", -2, "2.2.0", FAST | ALLOW_BUSY | IN_MULTI, transaction::watch)
        .all_keys("RO")
        .about("Monitors changes to keys to determine the execution of a transaction"),
];
