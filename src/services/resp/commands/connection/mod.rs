//! The connection, and those beside it.

mod clients;
pub(crate) mod forecast;
pub(crate) mod list;
mod session;

use super::container;
use crate::services::resp::call::budget;
use crate::services::resp::call::{Handler, ServedCommand, command};
use crate::services::resp::description::Flag::{
    self, Admin, AllowBusy, Always, Connection, Container, Dangerous, Fast, Heavy, InMulti, NoAuth, NoScript,
};
use crate::services::resp::description::{Flags, Group};

const fn connection(
    name: &'static str,
    arity: i8,
    since: &'static str,
    flags: &[Flag],
    handler: Handler,
) -> ServedCommand {
    command(name, arity, since, Group::Connection, Flags::of(flags), handler)
}

pub(crate) const ENTRIES: &[ServedCommand] = &[
    connection("auth", -2, "1.0.0", &[NoScript, Always, Connection, Fast, NoAuth, AllowBusy], session::auth)
        .about("Authenticates the connection"),
    connection("client", -2, "2.4.0", &[Container], container::refuse)
        .about("A container for client connection commands"),
    connection("client|getname", 2, "2.6.9", &[NoScript, Always, Connection], clients::getname)
        .about("Returns the name of the connection"),
    connection("client|help", 2, "5.0.0", &[Always, Connection], container::help)
        .forecast(budget::help)
        .about("Returns helpful text about the different subcommands"),
    connection("client|id", 2, "5.0.0", &[NoScript, Always, Connection], clients::id)
        .about("Returns the unique client ID of the connection"),
    connection("client|info", 2, "6.2.0", &[NoScript, Always, Connection], clients::info)
        .forecast(forecast::client_info)
        .about("Returns information about the connection"),
    connection("client|kill", -3, "2.4.0", &[Admin, NoScript, Always, Dangerous, Connection, Heavy], clients::kill)
        .forecast(forecast::client_kill)
        .about("Terminates open connections"),
    connection("client|list", -2, "2.4.0", &[Admin, NoScript, Always, Dangerous, Connection, Heavy], clients::list)
        .forecast(forecast::client_list)
        .about("Lists open connections"),
    connection("client|no-evict", 3, "7.0.0", &[Admin, NoScript, Always, Dangerous, Connection], clients::no_evict)
        .about("Sets the client eviction mode of the connection"),
    connection("client|no-touch", 3, "7.2.0", &[NoScript, Always, Connection], clients::no_touch)
        .about("Controls whether commands sent by the client affect the LRU/LFU of accessed keys"),
    connection("client|pause", -3, "3.0.0", &[Admin, NoScript, Always, Dangerous, Connection], clients::pause)
        .about("Suspends commands processing"),
    connection("client|setinfo", 4, "7.2.0", &[NoScript, Always, Connection], clients::setinfo)
        .about("Sets information specific to the client or connection"),
    connection("client|setname", 3, "2.6.9", &[NoScript, Always, Connection], clients::setname)
        .about("Sets the connection name"),
    connection("client|unpause", 2, "6.2.0", &[Admin, NoScript, Always, Dangerous, Connection], clients::unpause)
        .about("Resumes processing commands from paused clients"),
    connection("echo", 2, "1.0.0", &[Always, Fast, Connection], session::echo)
        .forecast(budget::echo)
        .about("Returns the given string"),
    connection("hello", -1, "6.0.0", &[NoScript, Always, Connection, Fast, NoAuth, AllowBusy], session::hello)
        .about("Handshakes with the Redis server"),
    connection("ping", -1, "1.0.0", &[Fast, Connection], session::ping)
        .forecast(budget::echo)
        .about("Returns the server's liveliness response"),
    connection("quit", -1, "1.0.0", &[NoScript, Always, Connection, Fast, NoAuth, AllowBusy, InMulti], session::quit)
        .about("Closes the connection"),
    connection("reset", 1, "6.2.0", &[NoScript, Always, Connection, Fast, NoAuth, AllowBusy, InMulti], session::reset)
        .about("Resets the connection"),
    connection("select", 2, "1.0.0", &[Always, Fast, Connection], session::select)
        .about("Changes the selected database"),
];
