//! Where Redis 7.2, which is followed, answers otherwise than the 7.0 that these tests run beside. Found by asking both
//! versions everything that is asked here. `docs/resp.md` has the same list.

use super::{BothServers, described};

/// One difference, and what shows it.
pub(super) struct VersionDifference {
    /// As the documentation names it.
    what: &'static str,
    /// The request, words separated by spaces, and the piece of the reply that only 7.0 and only 7.2 has.
    shown_by: &'static [(&'static str, &'static str, &'static str)],
    /// The command that `COMMAND INFO` describes otherwise, if there is one.
    pub(super) described: Option<&'static str>,
}

const UNKNOWN: &str = "-ERR unknown subcommand '";

pub(super) const DIFFERENCES: &[VersionDifference] = &[
    VersionDifference {
        what: "`CLIENT SETINFO`",
        shown_by: &[
            ("client setinfo lib-name x", UNKNOWN, "+OK"),
            ("client setinfo lib-ver 1", UNKNOWN, "+OK"),
            ("client setinfo foo x", UNKNOWN, "-ERR Unrecognized option 'foo'"),
            ("client setinfo lib-name", UNKNOWN, "-ERR wrong number of arguments for 'client|setinfo' command"),
        ],
        described: Some("client|setinfo"),
    },
    VersionDifference {
        what: "`CLIENT NO-TOUCH`",
        shown_by: &[
            ("client no-touch on", UNKNOWN, "+OK"),
            ("client no-touch foo", UNKNOWN, "-ERR syntax error"),
            ("client no-touch", UNKNOWN, "-ERR wrong number of arguments for 'client|no-touch' command"),
        ],
        described: Some("client|no-touch"),
    },
    VersionDifference {
        what: "`CLIENT LIST`, `CLIENT INFO`",
        shown_by: &[
            ("client list", " resp=2\\n", " resp=2 lib-name=x lib-ver=1\\n"),
            ("client info", " resp=2\\n", " resp=2 lib-name=x lib-ver=1\\n"),
        ],
        described: None,
    },
    VersionDifference {
        what: "`COMMAND GETKEYS` of a bare command",
        shown_by: &[
            ("command getkeys get", "-ERR wrong number", "-ERR Invalid number of arguments specified for command"),
            ("command getkeys ping", "-ERR wrong number", "-ERR The command has no key arguments"),
            ("command getkeys nothing", "-ERR wrong number", "-ERR Invalid command specified"),
        ],
        described: Some("command|getkeys"),
    },
    VersionDifference {
        what: "`COMMAND DOCS`",
        shown_by: &[
            ("command docs get", "Get the value of a key", "Returns the string value of a key"),
            ("command docs client|pause", "2.9.50", "3.0.0"),
        ],
        described: None,
    },
    VersionDifference {
        what: "`HELLO`, `INFO`",
        shown_by: &[
            ("hello 2", "\\r\\n7.0.", "\\r\\n7.2."),
            ("info server", "redis_version:7.0.", "redis_version:7.2."),
        ],
        described: None,
    },
];

/// Asks for each difference. An entry that shows none, because the server beside this one is another version or this one
/// has changed, is an error.
#[test]
fn each_difference_between_the_versions_is_one_and_is_decided_for_7_2() {
    let mut pair = BothServers::start();
    for VersionDifference { what, shown_by, described: own } in DIFFERENCES {
        for (line, only_7_0, only_7_2) in *shown_by {
            let command: Vec<&str> = line.split(' ').collect();
            let (theirs, ours) = pair.ask(&command);
            let [theirs, ours] = [theirs, ours].map(|reply| reply.escape_ascii().to_string().replace("\\'", "'"));
            let has = |reply: &str| (reply.contains(only_7_0), reply.contains(only_7_2));
            assert_eq!(has(&theirs), (true, false), "{what}: redis-server answers {line} with {theirs}");
            assert_eq!(has(&ours), (false, true), "{what}: {line} is answered with {ours}");
        }
        if let Some(name) = own {
            let (theirs, ours) = pair.ask(&["COMMAND", "INFO", name]);
            assert!(described(&ours).is_some(), "{name}");
            assert_ne!(described(&theirs), described(&ours), "{name}");
        }
    }
}

#[test]
fn the_documentation_lists_the_same_differences() {
    let text = include_str!("../../../../docs/resp.md");
    let (_, behind) = text.split_once("| where | Redis 7.0 | Redis 7.2, and here |\n|---|---|---|\n").expect("a table");
    let lines = behind.lines().take_while(|line| line.starts_with('|'));
    let listed: Vec<&str> = lines.map(|line| line.split(" | ").next().unwrap_or_default()).collect();
    let expected: Vec<String> = DIFFERENCES.iter().map(|difference| format!("| {}", difference.what)).collect();
    assert_eq!(listed, expected);
}
