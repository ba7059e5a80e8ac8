//! What holds for any bytes taken for a document: run over drawn bytes by the tests and over searched ones by the fuzz
//! targets. Each function panics where its promise is broken.
#![allow(clippy::missing_panics_doc, reason = "a panic is how they tell that a promise is broken")]

use super::{ParseError, XmlLimits, append_call, append_fault, append_response, parse_call, parse_response};
use crate::value::Value;

/// Small bounds, so that short documents reach them.
const SMALL: XmlLimits =
    XmlLimits { depth: 6, values: 40, name_bytes: 60, params: 5, attributes: 4, pieces: 400, converted: 2_000 };

/// Values in all and how deep they lie.
fn measure(value: &Value) -> (usize, usize) {
    let inner: Vec<_> = match value {
        Value::Array(values) => values.iter().map(measure).collect(),
        Value::Struct(members) => members.iter().map(|(_, value)| measure(value)).collect(),
        _ => return (1, 0),
    };
    let count = inner.iter().map(|(count, _)| count).sum::<usize>();
    let depth = inner.iter().map(|(_, depth)| depth).max().copied().unwrap_or(0);
    (count + 1, depth + 1)
}

fn check_bounds(values: &[Value]) {
    let measured: Vec<_> = values.iter().map(measure).collect();
    assert!(measured.iter().map(|(count, _)| count).sum::<usize>() <= SMALL.values, "more values than allowed");
    assert!(measured.iter().all(|(_, depth)| *depth <= SMALL.depth), "deeper than allowed");
}

/// What is refused is refused in words that fit a fault: short, and text that XML can carry or replaces.
fn check_refusal(error: &ParseError, input: &[u8]) {
    assert!(error.to_string().len() <= input.len() * 4 + 300, "{error}");
}

/// The server's half: a call stays within its bounds and, written anew, is read as itself.
pub fn call(input: &[u8]) {
    match parse_call(input, &SMALL) {
        Err(error) => check_refusal(&error, input),
        Ok((method, params)) => {
            assert!(method.len() <= SMALL.name_bytes && params.len() <= SMALL.params);
            check_bounds(&params);
            let mut written = Vec::new();
            append_call(&mut written, &method, &params);
            let again = parse_call(&written, &SMALL).map(|(method, params)| (method, show(&params)));
            assert_eq!(again, Ok((method, show(&params))));
        }
    }
}

/// The client's half: so does a response, a fault included.
pub fn response(input: &[u8]) {
    let mut written = Vec::new();
    match parse_response(input, &SMALL) {
        Err(error) => check_refusal(&error, input),
        Ok(Ok(value)) => {
            check_bounds(std::slice::from_ref(&value));
            append_response(&mut written, &value);
            let again = parse_response(&written, &SMALL).map(|response| response.map(|value| show(&[value])));
            assert_eq!(again, Ok(Ok(show(&[value]))));
        }
        Ok(Err(fault)) => {
            append_fault(&mut written, &fault);
            assert_eq!(parse_response(&written, &SMALL), Ok(Err(fault)));
        }
    }
}

/// Not a number equals nothing, not even itself, but it looks the same.
fn show(values: &[Value]) -> String {
    format!("{values:?}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::sample::select(vec![
                "<?xml version=\"1.0\" encoding='latin-1'?>",
                "<methodCall><methodName>f</methodName><params>",
                "</params></methodCall>",
                "<methodResponse><params>",
                "</params></methodResponse>",
                "<methodResponse><fault>",
                "<param><value>",
                "</value></param>",
                "<value><int>7</int></value>",
                "<value><double>1e300</double></value>",
                "<array><data>",
                "</data></array>",
                "<struct><member><name>n</name>",
                "</member></struct>",
                "<value>a&amp;&#13;b</value>",
                "<base64>AAA=</base64>",
                "<nil/>",
                "<!-- -->",
                "<![CDATA[<x>]]>",
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..6),
        ]
    }

    proptest! {
        #[test]
        fn documents_of_any_bytes(pieces in prop::collection::vec(piece(), 0..16)) {
            let input = pieces.concat();
            call(&input);
            response(&input);
        }

        #[test]
        fn calls_with_any_middle(pieces in prop::collection::vec(piece(), 0..6)) {
            let (before, behind) = ("<methodCall><methodName>f</methodName><params><param><value>", "</value></param></params></methodCall>");
            call(&[before.as_bytes(), &pieces.concat(), behind.as_bytes()].concat());
        }
    }
}
