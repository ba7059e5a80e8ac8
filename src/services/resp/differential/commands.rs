//! What is asked: templates, what fills them, and commands in a chosen order.

/// Commands with places to fill: K a key, V a value, N an integer, B no time, F a number, T a relative and A an absolute
/// time in seconds, P a pattern. Relative times do not meet GT and LT, whose answer would depend on the millisecond.
pub(super) const TEMPLATES: &[&str] = &[
    "set K V",
    "set K V",
    "set K N",
    "set K V NX",
    "set K V XX",
    "set K V GET",
    "set K V NX GET",
    "set K V EX T",
    "set K V PX T000",
    "set K V EXAT A",
    "set K V PXAT A000",
    "set K V KEEPTTL",
    "set K V XX KEEPTTL GET",
    "set K V EX T KEEPTTL",
    "set K V NX XX",
    "set K V EX B",
    "get K",
    "get K",
    "getdel K",
    "getex K",
    "getex K EX T",
    "getex K PXAT A000",
    "getex K PERSIST",
    "getex K EX T PERSIST",
    "getex K EX B",
    "getset K V",
    "setnx K V",
    "setex K T V",
    "setex K B V",
    "psetex K T000 V",
    "mget K K K",
    "mset K V K V",
    "mset K V K",
    "msetnx K V K V",
    "append K V",
    "append K N",
    "strlen K",
    "getrange K N N",
    "substr K N N",
    "setrange K 3 V",
    "setrange K N V",
    "setrange K 0 V",
    "incr K",
    "decr K",
    "incrby K N",
    "decrby K N",
    "incrbyfloat K F",
    "lcs K K",
    "lcs K K LEN",
    "lcs K K IDX",
    "lcs K K IDX WITHMATCHLEN MINMATCHLEN N",
    "lcs K K IDX LEN",
    "del K",
    "del K K",
    "unlink K K",
    "exists K",
    "exists K K K",
    "touch K K",
    "type K",
    "keys P",
    "randomkey",
    "rename K K",
    "renamenx K K",
    "copy K K",
    "copy K K REPLACE",
    "copy K K DB N",
    "dbsize",
    "expire K T",
    "expire K B",
    "expire K T NX",
    "expire K T XX",
    "expireat K A",
    "expireat K A GT",
    "expireat K A LT",
    "expireat K A NX GT",
    "expireat K A GT LT",
    "pexpire K T000",
    "pexpireat K A000 GT",
    "pexpireat K A000 XX LT",
    "pexpireat K N",
    "expire K T FOO",
    "ttl K",
    "pttl K",
    "expiretime K",
    "pexpiretime K",
    "persist K",
    "object freq K",
    "object foo K",
    "multi",
    "multi",
    "exec",
    "exec",
    "exec",
    "discard",
    "watch K",
    "watch K K",
    "unwatch",
    "select 0",
    "select N",
    "ping",
    "ping V",
    "echo V",
    "flushdb",
    "flushall async",
    "flushall foo",
    "nothing V K",
    "client getname",
    "client setname V",
    "client foo",
    "client no-evict on",
    "client no-evict V",
    "auth V",
    "auth V V",
    "command getkeys mset K V K V",
    "command getkeys set K V",
    "command list filterby foo bar",
    "config foo",
    "config set nothing V",
    "debug sleep 0",
    "memory usage K SAMPLES -1",
    "scan foo",
    "scan N",
    "scan 0 COUNT 0",
    "scan 0 COUNT V",
    "scan 0 FOO",
    "quux",
    "object",
    "config",
    "hello 4",
    "hello V",
];

pub(super) const VALUES: &[&[u8]] = &[
    b"",
    b"a",
    b"hello world",
    b"ohmytext",
    b"mynewtext",
    b"10",
    b"-7",
    b"0.5",
    b"-2.25",
    b"9223372036854775807",
    b"\x00\xff\r\n\x80",
    b"the quick brown fox jumps over the lazy dog and then some more",
    b" 1",
    b"-0",
];
pub(super) const INTEGERS: &[&str] =
    &["0", "1", "-1", "2", "5", "-3", "100", "-9223372036854775808", "9223372036854775807", "x", "", "1.5", "01"];
pub(super) const NO_TIMES: &[&str] = &["0", "-1", "-9223372036854775808", "9223372036854775807", "x", "", "1.5"];
pub(super) const NUMBERS: &[&str] =
    &["1", "-1", "0.5", "-0.25", "3", "5.0e3", "1e-3", "x", "inf", "nan", "", " 1", "+2"];
pub(super) const PATTERNS: &[&str] = &["*", "k*", "?1", "k[0-2]", "k[^1]", "k1", "nothing", "\\k2", "*[", "k[1"];

/// Commands whose replies tell something about what came before them, asked in this order.
pub(super) const CHOSEN: &[&str] = &[
    "set n 10.50",
    "incrbyfloat n 0.1",
    "incrbyfloat n -5",
    "set n 5.0e3",
    "incrbyfloat n 2.0e2",
    "set n 0.1",
    "incrbyfloat n 0.2",
    "set n 314",
    "object encoding n",
    "set n text",
    "object encoding n",
    "object encoding missing",
    "object freq missing",
    "object refcount missing",
    "memory usage missing",
    "memory usage",
    "config get save",
    "config get appendonly",
    "config get databases*",
    "client setname a",
    "client getname",
    "reset",
    "client getname",
    "get n",
    "multi",
    "nothing a b c",
    "exec",
    "multi",
    "watch n",
    "exec",
    "multi",
    "multi",
    "exec",
    "exec",
    "discard",
    "watch n",
    "set n 1",
    "multi",
    "get n",
    "exec",
    "hello 2 foo",
    "hello 2 setname",
    "hello 2 auth a b",
    "client id x",
    "client kill id 0",
    "client kill id x",
    "client kill foo",
    "client kill type foo",
    "client kill id 999999",
    "client kill 1.2.3.4:5",
    "client list type foo",
    "client list foo",
    "command info nothing",
    "command docs nothing",
    "command getkeys copy a b",
    "config get",
    "config set a",
    "config rewrite",
    "config set proto-max-bulk-len 1",
    "config set proto-max-bulk-len x",
    "config set proto-max-bulk-len 10mb proto-max-bulk-len 20mb",
    "config set proto-max-bulk-len 1 nothing 2",
    "config set databases 2 nothing 2",
    "multi",
    "debug sleep 0",
    "exec",
    "select 1",
    "select -1",
    "select 99999999999999999999",
    "copy n n",
    "rename missing a",
    "rename n n",
    "renamenx n n",
    "flushall sync",
    "exec x",
    "lcs a b minmatchlen",
    "lcs a b foo",
    "client setname a\nb",
];

/// Commands and the options that they may be given.
const OPTIONED: &[(&str, &[&str])] = &[
    (
        "set K V",
        &[
            "NX",
            "XX",
            "GET",
            "KEEPTTL",
            "PERSIST",
            "EX T",
            "PX T000",
            "EXAT A",
            "PXAT A000",
            "EX B",
            "PX B",
            "EXAT N",
            "EX",
        ],
    ),
    ("getex K", &["PERSIST", "EX T", "PX T000", "EXAT A", "PXAT A000", "EX B", "PXAT N", "KEEPTTL", "NX", "PX"]),
    ("expireat K A", &["NX", "XX", "GT", "LT", "V"]),
    ("pexpireat K A000", &["NX", "XX", "GT", "LT"]),
    ("expire K T", &["NX", "XX"]),
    ("expireat K N", &["NX", "XX", "GT", "LT"]),
    ("copy K K", &["REPLACE", "DB 0", "DB N", "V"]),
    ("lcs K K", &["LEN", "IDX", "WITHMATCHLEN", "MINMATCHLEN N", "V"]),
];

/// Keys that a careless server stumbles over.
pub(super) const ODD_KEYS: &[&[u8]] = &[
    b"",
    b"\x00",
    b"\r\n",
    b"k*",
    b"\xff\xfe",
    b"a key of more than a hundred bytes, which is nothing special but to a server that has a buffer of that size....",
];

/// What comes over the wire when something other than a library speaks. None leaves a request incomplete.
pub(super) const RAW: &[&[u8]] = &[
    b"",
    b"\r\n\r\n",
    b"ping",
    b"  ping  ",
    b"PING\tx",
    b"ping \"a b\"",
    b"ping 'a b'",
    b"ping \"\\x41\\n\\r\\t\\a\\b\\q\\\"\"",
    b"ping 'it\\'s'",
    b"ping \"open",
    b"ping 'open",
    b"ping \"a\"b",
    b"set  k   v\nget k",
    b"*0\r\nping",
    b"*-1\r\nping",
    b"*-2147483648\r\nping",
    b"*1\r\n$4\r\nping",
    b"*1\r\n$-1\r\n",
    b"*1\r\n$-2147483648\r\n",
    b"*1\r\n$99999999999999999999\r\n",
    b"*1\r\n$536870913\r\n",
    b"*1\r\n$x\r\n",
    b"*1\r\n$\r\n",
    b"*1\r\n$ 4\r\nping",
    b"*1\r\n$+4\r\nping",
    b"*1\r\n$04\r\nping",
    b"*1\r\n$0\r\n\r\n",
    b"*x\r\n",
    b"*\r\n",
    b"*2147483648\r\n",
    b"*99999999999999999999\r\n",
    b"*1\r\nping\r\n",
    b"*1\r\n:4\r\nping",
    b"*2\r\n$4\r\nping\r\n*1\r\n",
    b"+PING",
    b"$4\r\nping",
    b"*2\r\n$3\r\nget\r\n$0\r\n\r\n",
    b"*1\r\n$3\r\n\x00\xff\n\r\n",
    b"GET / HTTP/1.0",
    b"POST / HTTP/1.1",
    b"host: a",
    b"*2\r\n$4\r\nPOST\r\n$1\r\n/",
    b"multi\r\nset k 1\r\nincr k\r\nquit\r\nexec",
    b"hello 3\r\nget nothing\r\nmget nothing nothing\r\nrandomkey\r\nset k v xx get",
    b"hello 3\r\nmulti\r\nget nothing\r\nexec\r\nwatch k\r\nset k 2\r\nmulti\r\nexec",
    b"hello 3\r\nconfig get save\r\ncommand info nothing\r\nlcs a b idx\r\nreset\r\nget nothing",
];

/// A seeded source of choices.
pub(in crate::services::resp) struct Dice(pub(in crate::services::resp) u64);

impl Dice {
    pub(in crate::services::resp) fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % count
    }

    pub(in crate::services::resp) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    pub(super) fn fill(&mut self, word: &str) -> Vec<u8> {
        match word {
            "K" if self.below(12) == 0 => self.pick(ODD_KEYS).to_vec(),
            "K" => format!("k{}", self.below(6)).into_bytes(),
            "V" => self.pick(VALUES).to_vec(),
            "N" => self.pick(INTEGERS).into(),
            // A time that is none: a short one would end while the two servers are asked.
            "B" => self.pick(NO_TIMES).into(),
            "F" => self.pick(NUMBERS).into(),
            "T" => self.pick(&["100", "2000", "50000"]).into(),
            "T000" => self.pick(&["100000", "2000000"]).into(),
            "A" => self.pick(&["4000000000", "4100000000", "1000000000", "-5"]).into(),
            "A000" => self.pick(&["4000000000000", "4100000000000", "1000000000000"]).into(),
            "P" => self.pick(PATTERNS).into(),
            word if self.below(3) == 0 => word.to_uppercase().into_bytes(),
            word => word.into(),
        }
    }

    /// A command with any of its options in any order and number, most of which are errors.
    fn optioned(&mut self) -> Vec<Vec<u8>> {
        let (start, options) = self.pick(OPTIONED);
        let mut words: Vec<&str> = start.split(' ').collect();
        for _ in 0..self.below(4) {
            words.extend(self.pick(options).split(' '));
        }
        words.into_iter().map(|word| self.fill(word)).collect()
    }

    pub(super) fn command(&mut self) -> Vec<Vec<u8>> {
        if self.below(6) == 0 {
            return self.optioned();
        }
        let mut command: Vec<Vec<u8>> = self.pick(TEMPLATES).split(' ').map(|word| self.fill(word)).collect();
        match self.below(25) {
            // Keep the name, so that a key is not taken for one.
            0 if command.len() > 1 => {
                command.pop();
            }
            1 => command.push(self.fill("V")),
            _ => {}
        }
        command
    }
}
