//! `latchkey call`: one XML-RPC call over verified HTTPS.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::address::host_and_port;
use super::client_tls::{self, ClientTlsArgs, broken};
use super::{Failure, terminal, units};
use crate::client::Client;
use crate::net::TimedStream;
use crate::protocol::http::{self, ResponseDecoder};
use crate::protocol::xmlrpc;
use crate::text::printable_json;
use crate::value::{Json, Value};

/// Call a method of an XML-RPC server over verified HTTPS
///
/// Arguments and the result are JSON; an argument that is not JSON is sent as a string. A fault is printed on stderr
/// and ends with exit code 1.
#[derive(Debug, Args)]
pub(super) struct CallArgs {
    /// The server, https://HOST:PORT, with a path if it is not /
    #[arg(value_parser = Endpoint::parse)]
    url: Endpoint,
    /// The method, such as get or system.listMethods
    method: String,
    /// Its arguments
    #[arg(allow_negative_numbers = true)]
    arguments: Vec<String>,
    /// Time limit for the reply, once connected
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = units::time)]
    timeout: Duration,
    #[command(flatten)]
    tls: ClientTlsArgs,
}

/// A parsed URL.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    host: String,
    port: u16,
    path: String,
}

impl Endpoint {
    /// Parses `https://HOST[:PORT][/PATH]`.
    fn parse(text: &str) -> Result<Self, String> {
        const HELP: &str = "a URL is https://HOST:PORT, with a path if it is not /";
        let (scheme, rest) = text.split_once("://").ok_or(HELP)?;
        if !scheme.eq_ignore_ascii_case("https") {
            return Err(HELP.into());
        }
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if authority.is_empty() || !printable(authority) || !printable(path) {
            return Err(HELP.into());
        }
        if authority.contains('@') {
            return Err("the URL cannot have a user and a password: pass a client certificate with --cert".into());
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let (host, port) = if has_port { host_and_port(authority)? } else { (authority.to_owned(), 443) };
        Ok(Self { host, port, path: path.to_owned() })
    }
}

/// Makes the call and prints the result.
pub(super) fn run(args: &CallArgs) -> Result<ExitCode, Failure> {
    let Endpoint { host, port, path } = &args.url;
    let mut call = Vec::new();
    let arguments = args.arguments.iter().map(|text| argument(text)).collect::<Result<Vec<_>, _>>();
    xmlrpc::append_call(&mut call, &args.method, &arguments.map_err(Failure::Usage)?);
    let mut request = Vec::new();
    http::append_post(&mut request, &format!("{host}:{port}"), path, &call);

    let mut client = client_tls::connect(host, *port, &args.tls, &["http/1.1"])?;
    client.stream_mut().end_in(args.timeout);
    client.write_all(&request).map_err(broken)?;
    let outcome = receive(&mut client)?;
    // The server may have closed already; a close_notify that cannot be sent is no error.
    let _ = client.finish();
    match outcome {
        Ok(value) => {
            let json = serde_json::to_string(&Json(&value)).map_err(|error| Failure::Other(error.to_string()))?;
            terminal::show(&format!("{}\n", printable_json(&json)))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(fault) => Err(Failure::Other(format!("fault {}: {}", fault.code, fault.text))),
    }
}

/// JSON, or else a string, so that `spam` needs no quotes.
///
/// # Errors
///
/// The JSON contains an integer that fits no XML-RPC type and would be rounded.
pub(super) fn argument(text: &str) -> Result<Value, String> {
    let Ok(json) = serde_json::from_str::<serde_json::Value>(text) else { return Ok(Value::String(text.to_owned())) };
    match whole_numbers(text).find(|number| number.parse::<i64>().is_err()) {
        Some(number) => Err(format!(
            "{number} exceeds 64 bits, the largest integer of XML-RPC: send a string, '\"{number}\"', or a double, {number}.0"
        )),
        None => Ok(Value::from(json)),
    }
}

/// The numbers in a JSON text that have neither a fraction nor an exponent.
fn whole_numbers(json: &str) -> impl Iterator<Item = &str> {
    let (mut is_string, mut is_escaped) = (false, false);
    let is_apart = move |c: char| {
        let was_string = is_string;
        match c {
            _ if std::mem::take(&mut is_escaped) => {}
            '\\' => is_escaped = is_string,
            '"' => is_string = !is_string,
            _ => {}
        }
        was_string || is_string || !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')
    };
    let is_whole = |word: &&str| {
        let digits = word.strip_prefix('-').unwrap_or(word);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    json.split(is_apart).filter(is_whole)
}

fn receive(client: &mut Client<TimedStream>) -> Result<Result<Value, xmlrpc::Fault>, Failure> {
    let mut decoder = ResponseDecoder::default();
    let (mut bytes, mut piece) = (Vec::new(), vec![0; 16 << 10]);
    loop {
        let count = client.read(&mut piece).map_err(broken)?;
        bytes.extend_from_slice(piece.get(..count).unwrap_or_default());
        let response = decoder.decode(&bytes, count == 0, &http::HttpLimits::default());
        let response = response.map_err(|error| Failure::Other(format!("the server does not speak HTTP: {error}")))?;
        let Some(response) = response else { continue };
        if response.status != 200 {
            let words = String::from_utf8_lossy(&response.body);
            let first = words.lines().next().unwrap_or_default();
            return Err(Failure::Other(format!("HTTP {} {}: {first}", response.status, response.reason)));
        }
        return xmlrpc::parse_response(&response.body, &xmlrpc::XmlLimits::default())
            .map_err(|error| Failure::Other(format!("the server does not speak XML-RPC: {error}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_host_port_and_path() {
        let parse = |text| Endpoint::parse(text).map(|url| (url.host, url.port, url.path));
        assert_eq!(parse("https://a:15000"), Ok(("a".into(), 15_000, "/".into())));
        assert_eq!(parse("HTTPS://a:15000"), Ok(("a".into(), 15_000, "/".into())));
        assert!(parse("https://user:pw@a/").is_err_and(|told| told.contains("password") && !told.contains("pw")));
        assert_eq!(parse("https://a/RPC2"), Ok(("a".into(), 443, "/RPC2".into())));
        assert_eq!(parse("https://[::1]:1/"), Ok(("[::1]".into(), 1, "/".into())));
        assert_eq!(parse("https://[::1]"), Ok(("[::1]".into(), 443, "/".into())));
        for bad in ["http://a:1", "a:1", "https://", "https://a b:1", "https://a:x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_argument_is_json_or_else_a_string() {
        assert_eq!(argument("spam"), Ok(Value::String("spam".into())));
        assert_eq!(argument("\"1\""), Ok(Value::String("1".into())));
        assert_eq!(argument("[1, true]"), Ok(Value::Array(vec![Value::Int(1), Value::Boolean(true)])));
    }

    #[test]
    fn a_whole_number_is_exact_or_refused() {
        assert_eq!(argument("9223372036854775807"), Ok(Value::I8(i64::MAX)));
        assert_eq!(argument("-9223372036854775808"), Ok(Value::I8(i64::MIN)));
        for text in [
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "[1, 99999999999999999999]",
            "{\"a\\\"1\":[{\"b\":9223372036854775808}]}",
        ] {
            assert!(argument(text).is_err_and(|told| told.contains("64 bits")), "{text}");
        }
        for text in [
            "9223372036854775808.0",
            "1e30",
            "\"9223372036854775808\"",
            "{\"9223372036854775808\":\"\\\\\"}",
            "9223372036854775808x",
        ] {
            assert!(argument(text).is_ok(), "{text}");
        }
    }
}
