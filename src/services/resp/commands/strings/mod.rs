//! Strings and numbers.

mod extended;
pub(crate) mod forecast;
mod lcs;
mod numbers;
mod values;

use crate::services::resp::call::{Handler, ServedCommand, command};
use crate::services::resp::description::Flag::{self, DenyOom, Fast, Heavy, ReadOnly, ReadsOnGet, Write};
use crate::services::resp::description::KeyEffect::{Overwrite, Read, ReadWrite};
use crate::services::resp::description::KeyFlag::{Access, Delete, Insert, Update, VariableFlags};
use crate::services::resp::description::{Flags, Group, KeyUse};

const fn string(name: &'static str, arity: i8, since: &'static str, flags: &[Flag], handler: Handler) -> ServedCommand {
    command(name, arity, since, Group::String, Flags::of(flags).and(Flags::of(&[Flag::Strings])), handler)
}

pub(crate) const ENTRIES: &[ServedCommand] = &[
    string("append", 3, "2.0.0", &[Write, DenyOom, Fast], values::append).keys(&[KeyUse::at(1, ReadWrite, &[Insert])]).forecast(forecast::append).about("Appends a string to the value of a key. Creates the key if it doesn't exist"),
    string("decr", 2, "1.0.0", &[Write, DenyOom, Fast], numbers::decr).keys(&[KeyUse::at(1, ReadWrite, &[Access, Update])]).forecast(forecast::count).about("Decrements the integer value of a key by one. Uses 0 as initial value if the key doesn't exist"),
    string("decrby", 3, "1.0.0", &[Write, DenyOom, Fast], numbers::decrby).keys(&[KeyUse::at(1, ReadWrite, &[Access, Update])]).forecast(forecast::count).about("Decrements a number from the integer value of a key. Uses 0 as initial value if the key doesn't exist"),
    string("get", 2, "1.0.0", &[ReadOnly, Fast], values::get).keys(&[KeyUse::at(1, Read, &[Access])]).forecast(forecast::get).about("Returns the string value of a key"),
    string("getdel", 2, "6.2.0", &[Write, Fast], values::getdel).keys(&[KeyUse::at(1, ReadWrite, &[Access, Delete])]).forecast(forecast::getdel).about("Returns the string value of a key after deleting the key"),
    string("getex", -2, "6.2.0", &[Write, Fast], values::getex).keys(&[KeyUse::at(1, ReadWrite, &[Access, Update])]).forecast(forecast::getex).about("Returns the string value of a key after setting its expiration time"),
    string("getrange", 4, "2.4.0", &[ReadOnly], values::getrange).keys(&[KeyUse::at(1, Read, &[Access])]).forecast(forecast::getrange).about("Returns a substring of the string stored at a key"),
    string("getset", 3, "1.0.0", &[Write, DenyOom, Fast], values::getset).keys(&[KeyUse::at(1, ReadWrite, &[Access, Update])]).forecast(forecast::getset).about("Returns the previous string value of a key after setting it to a new value"),
    string("incr", 2, "1.0.0", &[Write, DenyOom, Fast], numbers::incr).keys(&[KeyUse::at(1, ReadWrite, &[Access, Update])]).forecast(forecast::count).about("Increments the integer value of a key by one. Uses 0 as initial value if the key doesn't exist"),
    string("incrby", 3, "1.0.0", &[Write, DenyOom, Fast], numbers::incrby).keys(&[KeyUse::at(1, ReadWrite, &[Access, Update])]).forecast(forecast::count).about("Increments the integer value of a key by a number. Uses 0 as initial value if the key doesn't exist"),
    string("incrbyfloat", 3, "2.6.0", &[Write, DenyOom, Fast], numbers::incrbyfloat).keys(&[KeyUse::at(1, ReadWrite, &[Access, Update])]).forecast(forecast::count_float).about("Increment the floating point value of a key by a number. Uses 0 as initial value if the key doesn't exist"),
    string("lcs", -3, "7.0.0", &[ReadOnly, Heavy], lcs::lcs).keys(&[KeyUse::at(1, Read, &[Access]).to(1)]).forecast(forecast::lcs).about("Finds the longest common substring"),
    string("mget", -2, "1.0.0", &[ReadOnly, Fast], values::mget).keys(&[KeyUse::every(1, Read, &[Access])]).forecast(forecast::get).about("Atomically returns the string values of one or more keys"),
    string("mset", -3, "1.0.1", &[Write, DenyOom], values::mset).keys(&[KeyUse::every(2, Overwrite, &[Update])]).forecast(forecast::set_pairs).about("Atomically creates or modifies the string values of one or more keys"),
    string("msetnx", -3, "1.0.1", &[Write, DenyOom], values::msetnx).keys(&[KeyUse::every(2, Overwrite, &[Insert])]).forecast(forecast::set_pairs_if_absent).about("Atomically modifies the string values of one or more keys only when all keys don't exist"),
    string("psetex", 4, "2.6.0", &[Write, DenyOom], values::psetex).keys(&[KeyUse::at(1, Overwrite, &[Update])]).forecast(forecast::set_until).about("Sets both string value and expiration time in milliseconds of a key. The key is created if it doesn't exist"),
    string("set", -3, "1.0.0", &[Write, DenyOom, ReadsOnGet], values::set).keys(&[KeyUse::at(1, ReadWrite, &[Access, Update, VariableFlags])]).forecast(forecast::set).about("Sets the string value of a key, ignoring its type. The key is created if it doesn't exist"),
    string("setex", 4, "2.0.0", &[Write, DenyOom], values::setex).keys(&[KeyUse::at(1, Overwrite, &[Update])]).forecast(forecast::set_until).about("Sets the string value and expiration time of a key. Creates the key if it doesn't exist"),
    string("setnx", 3, "1.0.0", &[Write, DenyOom, Fast], values::setnx).keys(&[KeyUse::at(1, Overwrite, &[Insert])]).forecast(forecast::set_if_absent).about("Set the string value of a key only when the key doesn't exist"),
    string("setrange", 4, "2.2.0", &[Write, DenyOom], values::setrange).keys(&[KeyUse::at(1, ReadWrite, &[Update])]).forecast(forecast::setrange).about("Overwrites a part of a string value with another by an offset. Creates the key if it doesn't exist"),
    string("strlen", 2, "2.2.0", &[ReadOnly, Fast], values::strlen).keys(&[KeyUse::at(1, Read, &[])]).forecast(forecast::strlen).about("Returns the length of a string value"),
    string("substr", 4, "1.0.0", &[ReadOnly], values::getrange).keys(&[KeyUse::at(1, Read, &[Access])]).forecast(forecast::getrange).about("Returns a substring from a string value"),
];
