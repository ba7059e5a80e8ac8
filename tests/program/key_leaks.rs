//! No byte of a private key file reaches any output, however the file is damaged and whatever flag names it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::common::{Server, certs, run, signal};

/// What stands in a key file, what is put in its place, and what that is.
const REPLACED: &[(&str, &str, &str)] = &[
    ("\n", "", "no line ends"),
    ("\n", "\\n", "line ends written out"),
    ("\n", " ", "spaces for line ends"),
    ("\n", "\t", "tabs for line ends"),
    ("\n", "\r", "carriage returns"),
    ("\n", "\n\n", "doubled line ends"),
    ("\n", "\n> ", "quoted"),
    ("\n", "\n# ", "commented"),
    ("\n", ",", "commas for line ends"),
    ("\n", "=\n", "quoted-printable"),
    ("-----", "----", "four hyphens"),
    ("-----", "------", "six hyphens"),
    ("-----", "\u{2014}", "dashes"),
    ("-----", "", "no hyphens"),
    ("-----\n", "", "marks run into the data"),
    ("-----\n", "\n", "marks without their end"),
    ("-----\n", "--", "marks cut into the data"),
    ("PRIVATE KEY", "PRIVATE", "a label cut short"),
    ("PRIVATE KEY", "private key", "a small label"),
    ("PRIVATE KEY", "RSA PRIVATE KEY", "the label of RSA"),
    ("PRIVATE KEY", "EC PRIVATE KEY", "the label of SEC1"),
    ("PRIVATE KEY", "OPENSSH PRIVATE KEY", "the label of OpenSSH"),
    ("PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "the label of an encrypted key"),
    ("PRIVATE KEY", "PUBLIC KEY", "the label of a public key"),
    ("PRIVATE KEY", "CERTIFICATE", "the label of a certificate"),
    ("PRIVATE KEY", "TRUSTED CERTIFICATE", "the label of a trusted certificate"),
    ("PRIVATE KEY", "X509 CRL", "the label of a list"),
    ("PRIVATE KEY", "CERTIFICATE REQUEST", "the label of a request"),
    ("PRIVATE KEY", "PKCS7", "the label of a container"),
    ("BEGIN", "BEGINN", "BEGIN misspelt"),
    ("END", "ENDE", "END misspelt"),
    ("END PRIVATE KEY", "END CERTIFICATE", "an END of another kind"),
    ("END", "BEGIN", "BEGIN twice"),
    ("BEGIN", "END", "END twice"),
    ("-----BEGIN PRIVATE KEY-----\n", "", "no BEGIN"),
    ("-----END PRIVATE KEY-----\n", "", "no END"),
    ("-----END", "-----END PRIVATE KEY-----BEGIN", "marks run into each other"),
    ("M", "!", "letters replaced"),
    ("A", "\u{0}", "NULs"),
    ("A", "\u{e9}", "letters beyond ASCII"),
    ("A", "", "letters lost"),
    ("A", "\\x41", "letters escaped"),
    ("A", "%41", "letters in percent form"),
    ("A", "=", "padding everywhere"),
    ("A", "-----", "hyphens everywhere"),
];

/// Damaged forms of the key file `text`, each with what was done to it.
fn damaged(text: &str) -> Vec<(String, Vec<u8>)> {
    let mut forms: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |name: &str, form: String| forms.push((name.to_owned(), form.into_bytes()));
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let line = body.get(..30).expect("a line of base64");
    for (from, to, name) in REPLACED {
        add(name, text.replace(from, to));
    }
    add("data for a label", text.replace("PRIVATE KEY", line));
    add("base64 alone", body.clone());
    add("base64 alone, without padding", body.trim_end_matches('=').to_owned());
    add("quoted as JSON", format!("{text:?}\n"));
    add("a TOML value", format!("key = \"\"\"\n{text}\"\"\"\n"));
    add("a TOML name", format!("{line} = 1\n"));
    add("a TOML rule", format!("[[rule]]\ncn = \"a\"\ngrant = [\"{line}\"]\n"));
    add("a TOML fingerprint", format!("[[rule]]\nfingerprint = \"{line}\"\ngrant = [\"read\"]\n"));
    add("a TOML anchor", format!("[[rule]]\nanchor = \"{line}\"\ngrant = [\"read\"]\n"));
    add("YAML", format!("key: |\n  {}", text.replace('\n', "\n  ")));
    add("headers", text.replacen("-----\n", &format!("-----\nProc-Type: 4,{line}\n\n"), 1));
    add("headers without data", text.replacen("-----\n", &format!("-----\nDEK-Info: {line}\n"), 1));
    add("cut in two", text.split_at(text.len() / 2).0.to_owned());
    add("its second half", text.split_at(text.len() / 2).1.to_owned());
    forms.push(("UTF-16".to_owned(), text.encode_utf16().flat_map(u16::to_le_bytes).collect()));
    forms.push(("compressed beyond recognition".to_owned(), text.bytes().map(|byte| byte ^ 0x80).collect()));
    forms.retain(|(_, form)| form != text.as_bytes());
    forms
}

/// The secret in the forms in which an output could hold it.
struct Secret {
    /// The base64 text.
    text: String,
    /// Pieces of its DER as hexadecimal and as decimal numbers.
    pieces: Vec<String>,
}

impl Secret {
    fn of(pem: &str) -> Self {
        use base64::Engine;
        let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(&text).expect("a key");
        // Its first bytes tell of the algorithm only, and stand in every key.
        let secret = der.get(30..).expect("a key");
        let pieces = secret.windows(4).flat_map(|window| {
            let joined = |each: fn(&u8) -> String| window.iter().map(each).collect::<Vec<_>>();
            let hex = joined(|byte| format!("{byte:02x}"));
            [hex.concat(), hex.join(":"), joined(u8::to_string).join(",")]
        });
        Self { text, pieces: pieces.collect() }
    }

    /// What of the secret is in an output: eight characters of its base64 text, in any of the forms that Rust prints bytes
    /// and strings in, or four bytes of what it stands for.
    fn found_in(&self, output: &str) -> Option<String> {
        let plain: String = output.chars().filter(|c| !c.is_whitespace()).collect();
        let numbers = plain.split(|c: char| !c.is_ascii_digit() && c != ',').filter(|run| run.contains(','));
        let bytes = numbers.map(|run| run.split(',').filter_map(|number| number.parse().ok()).collect::<Vec<u8>>());
        let spelt: String = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect();
        let texts =
            [&plain, &plain.replace("\\n", "").replace('\\', ""), &spelt.replace(['\n', '\\'], "")].map(Clone::clone);
        // The first characters are the same in every key of this kind.
        let windows =
            self.text.as_bytes().windows(8).skip(40).map(|window| String::from_utf8_lossy(window).into_owned());
        let lower = plain.to_lowercase();
        windows
            .filter(|window| texts.iter().any(|text| text.contains(window.as_str())))
            .chain(self.pieces.iter().filter(|piece| lower.contains(piece.as_str())).cloned())
            .next()
    }
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for line in ["init", "server localhost --san IP:127.0.0.1", "client alice"] {
        certs(dir.path(), line);
    }
    dir
}

fn write(path: &Path, content: &[u8]) {
    fs::write(path, content).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("changed");
}

/// Every place that takes a file and reads it at once. `serve` with a file that is no good does not start; with one that
/// is, it is not asked.
const COMMANDS: &[&str] = &[
    "serve --echo 127.0.0.1:0 --cert certs/localhost.pem --key K",
    "serve --echo 127.0.0.1:0 --cert K --key certs/localhost-key.pem",
    "serve --echo 127.0.0.1:0 --cert certs/localhost.pem --key certs/localhost-key.pem --client-ca K",
    "serve --echo 127.0.0.1:0 --cert certs/localhost.pem --key certs/localhost-key.pem --client-pin K",
    "serve --echo 127.0.0.1:0 --cert certs/localhost.pem --key certs/localhost-key.pem --client-ca certs/ca.pem --crl K",
    "serve --echo 127.0.0.1:0 --cert certs/localhost.pem --key certs/localhost-key.pem --client-ca certs/ca.pem --authorize K",
    "certs show K",
    "certs check K",
    "certs check certs/localhost.pem --key K",
    "certs check certs/localhost.pem --ca K",
    "connect 127.0.0.1:1 --ca certs/ca.pem --cert certs/alice.pem --key K",
    "connect 127.0.0.1:1 --ca K",
];

#[test]
fn no_byte_of_a_damaged_key_reaches_any_output() {
    let dir = folder();
    let pem = fs::read_to_string(dir.path().join("certs/localhost-key.pem")).expect("a key");
    let secret = Secret::of(&pem);
    assert!(secret.found_in(&format!("{:?}", pem.as_bytes())).is_some(), "what is searched for can be found");
    let forms = damaged(&pem);
    assert!(forms.len() >= 50, "{}", forms.len());
    for (name, form) in forms {
        write(&dir.path().join("K"), &form);
        for line in COMMANDS {
            // A form that is read after all would be served.
            let mut command = Command::new("timeout");
            command.args(["2", env!("CARGO_BIN_EXE_latchkey")]).args(line.split(' ')).current_dir(dir.path());
            let output = run(&mut command);
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(!said.contains("panicked"), "{name}: {line}: {said}");
            assert_eq!(secret.found_in(&said), None, "{name}: {line}: {said}");
        }
    }
}

#[test]
fn no_byte_of_a_damaged_key_reaches_the_log_at_a_reload() {
    let dir = folder();
    let path = dir.path().join("certs/localhost-key.pem");
    let pem = fs::read_to_string(&path).expect("a key");
    let secret = Secret::of(&pem);
    let flags = "--echo 127.0.0.1:0 --cert certs/localhost.pem --key certs/localhost-key.pem";
    let mut server = Server::start_in(dir, &flags.split(' ').collect::<Vec<_>>());
    for (_, form) in damaged(&pem).into_iter().step_by(5) {
        write(&path, &form);
        signal(server.pid(), "HUP");
        server.logged("reload");
    }
    assert_eq!(server.stop(), Some(0));
    let log = server.log().join("\n");
    assert!(log.contains("reload failed"), "{log}");
    assert_eq!(secret.found_in(&log), None, "{log}");
}
