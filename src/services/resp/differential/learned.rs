//! Descriptions of commands that are not served here, learned from the `COMMAND` reply of a real server: its key
//! specifications fit [`KeyUse`], and rules are applied to them as to our own.

use super::BothServers;
use crate::access::Rules;
use crate::protocol::resp::{Arguments, Decoder, Reply, Request, RequestLimits};
use crate::services::resp::description::permission::{Refusal, decide};
use crate::services::resp::description::{
    Command, Flag, Flags, Group, KeyBegin, KeyEffect, KeyFlag, KeySpan, KeyUse, Keyword,
};

fn elements(reply: &Reply) -> &[Reply] {
    let (Reply::Array(elements) | Reply::Set(elements)) = reply else { panic!("no array: {reply:?}") };
    elements
}

fn text(reply: &Reply) -> &str {
    let (Reply::Bulk(text) | Reply::Simple(text)) = reply else { panic!("no text: {reply:?}") };
    std::str::from_utf8(text).expect("ASCII")
}

/// The value of a field in a map as RESP2 writes it.
fn field<'a>(map: &'a Reply, name: &str) -> &'a Reply {
    let fields = elements(map);
    let at = fields.iter().step_by(2).position(|field| text(field) == name).expect(name);
    &fields[2 * at + 1]
}

fn number<T: TryFrom<i64, Error: std::fmt::Debug>>(map: &Reply, name: &str) -> T {
    let Reply::Integer(number) = field(map, name) else { panic!("no number: {map:?}") };
    T::try_from(*number).expect("it fits")
}

fn learned_use(spec: &Reply) -> KeyUse {
    let (search, find) = (field(spec, "begin_search"), field(spec, "find_keys"));
    let (search_spec, find_spec) = (field(search, "spec"), field(find, "spec"));
    let begin = match text(field(search, "type")) {
        "index" => KeyBegin::Argument(number(search_spec, "index")),
        "keyword" => {
            let word = Keyword::new(text(field(search_spec, "keyword")).as_bytes()).expect("a word");
            KeyBegin::Keyword { word, from: number(search_spec, "startfrom") }
        }
        _ => KeyBegin::Unknown,
    };
    let span = match text(field(find, "type")) {
        "range" => KeySpan::Range {
            last: number(find_spec, "lastkey"),
            step: number(find_spec, "keystep"),
            limit: number(find_spec, "limit"),
        },
        "keynum" => KeySpan::Count {
            at: number(find_spec, "keynumidx"),
            first: number(find_spec, "firstkey"),
            step: number(find_spec, "keystep"),
        },
        _ => KeySpan::Unknown,
    };
    let words: Vec<&str> = elements(field(spec, "flags")).iter().map(text).collect();
    let effect = match words.iter().find(|word| word.len() == 2) {
        Some(&"RO") => KeyEffect::Read,
        Some(&"OW") => KeyEffect::Overwrite,
        Some(&"RM") => KeyEffect::Remove,
        _ => KeyEffect::ReadWrite,
    };
    let named = |word: &&str| match *word {
        "access" => Some(KeyFlag::Access),
        "insert" => Some(KeyFlag::Insert),
        "update" => Some(KeyFlag::Update),
        "delete" => Some(KeyFlag::Delete),
        "not_key" => Some(KeyFlag::NotKey),
        "incomplete" => Some(KeyFlag::Incomplete),
        "variable_flags" => Some(KeyFlag::VariableFlags),
        _ => None,
    };
    KeyUse::new(begin, span, effect, &words.iter().filter_map(named).collect::<Vec<_>>())
}

/// One element of a `COMMAND` reply. A command that is learned lives as long as this test.
fn learned(info: &Reply) -> Command {
    let fields = elements(info);
    let Reply::Integer(arity) = fields[1] else { panic!("{info:?}") };
    let named = |word| match word {
        "write" => Some(Flag::Write),
        "readonly" => Some(Flag::ReadOnly),
        "admin" => Some(Flag::Admin),
        _ => None,
    };
    let flags: Vec<Flag> = elements(&fields[2]).iter().filter_map(|word| named(text(word))).collect();
    Command {
        name: String::leak(text(&fields[0]).to_owned()),
        arity: i8::try_from(arity).expect("it fits"),
        flags: Flags::of(&flags),
        keys: Vec::leak(elements(&fields[8]).iter().map(learned_use).collect()),
        group: Group::Generic,
        since: "",
        summary: "",
    }
}

fn with_request<T>(line: &str, then: impl FnOnce(Request<'_>) -> T) -> T {
    let (mut decoder, mut arguments) = (Decoder::default(), Arguments::default());
    let line = format!("{line}\r\n");
    let parsed = decoder.decode(line.as_bytes(), &RequestLimits::new(1000), &mut arguments);
    then(parsed.expect("well formed").expect("complete").0)
}

impl BothServers {
    fn learn(&mut self, name: &str) -> Command {
        let (theirs, _) = self.ask(&["COMMAND", "INFO", name]);
        let (reply, _) = Reply::decode(&theirs).expect("RESP").expect("complete");
        learned(&elements(&reply)[0])
    }
}

#[test]
fn key_specifications_of_redis_give_the_keys_that_redis_finds() {
    let mut pair = BothServers::start();
    for line in [
        "bitop and to a b",
        "blpop a b 0",
        "eval script 2 a b argument",
        "georadius a 0 0 1 km store b",
        "georadius a 0 0 1 km",
        "get a",
        "hset a field value",
        "lmpop 2 a b left",
        "migrate host 6379 '' 0 5000 keys a b",
        "mset a 1 b 2",
        "sintercard 2 a b limit 1",
        "smove a b member",
        "xread count 2 block 0 streams a b 0 0",
        "xreadgroup group g c streams a b > >",
        "zadd a 1 member",
        "zunionstore to 2 a b weights 1 2",
    ] {
        let words: Vec<&str> = line.split(' ').map(|word| word.trim_matches('\'')).collect();
        let (theirs, _) = pair.ask(&[&["COMMAND", "GETKEYS"], words.as_slice()].concat());
        let (theirs, _) = Reply::decode(&theirs).expect("RESP").expect("complete");
        assert!(matches!(theirs, Reply::Array(_)), "{line}: {theirs:?}");
        let mut theirs: Vec<String> = elements(&theirs).iter().map(|key| text(key).to_owned()).collect();
        let command = pair.learn(words[0]);
        let mut ours: Vec<String> = with_request(line, |request| {
            command.keys_of(request).map(|key| String::from_utf8_lossy(key).into_owned()).collect()
        });
        // MIGRATE's specifications have the key of its old form too, which is empty where KEYS is given.
        ours.retain(|key| !key.is_empty());
        theirs.sort();
        ours.sort();
        assert_eq!(ours, theirs, "{line}");
    }
}

#[test]
fn a_prefix_binds_commands_that_are_learned() {
    let mut pair = BothServers::start();
    let access = Rules::granted_to_alice("[[rule]]\ncn='alice'\ngrant=['read', 'write']\nprefix='a:'");
    for (line, expected) in [
        ("zadd a:1 1 member", Ok(())),
        ("zadd b:1 1 member", Err(Refusal::Key)),
        ("xread streams a:1 a:2 0 0", Ok(())),
        ("xread streams a:1 b:2 0 0", Err(Refusal::Key)),
        ("zunionstore a:to 2 a:1 b:2", Err(Refusal::Key)),
        ("eval script 2 a:1 a:2", Ok(())),
        // Keys that the request does not determine may be any.
        ("eval script x a:1", Err(Refusal::Key)),
        ("sort a:1 store a:2", Err(Refusal::Key)),
        ("georadius a:1 0 0 1 km store b:2", Err(Refusal::Key)),
        ("flushall", Err(Refusal::Command)),
        ("shutdown", Err(Refusal::Command)),
    ] {
        let command = pair.learn(line.split(' ').next().expect("a name"));
        assert_eq!(with_request(line, |request| decide(&command, &request, &access)), expected, "{line}");
    }
}
