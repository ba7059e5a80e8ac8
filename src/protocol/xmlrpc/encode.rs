//! Calls and results to documents.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Fault;
use crate::value::Value;
use crate::value::is_xml_text;

/// Appends a `<methodCall>`.
pub fn append_call(out: &mut Vec<u8>, method: &str, params: &[Value]) {
    out.extend_from_slice(b"<?xml version=\"1.0\"?><methodCall><methodName>");
    append_legal(out, method);
    out.extend_from_slice(b"</methodName><params>");
    for param in params {
        out.extend_from_slice(b"<param>");
        append_value(out, param);
        out.extend_from_slice(b"</param>");
    }
    out.extend_from_slice(b"</params></methodCall>");
}

/// Appends a `<methodResponse>` that carries `value`.
pub fn append_response(out: &mut Vec<u8>, value: &Value) {
    out.extend_from_slice(b"<?xml version=\"1.0\"?><methodResponse><params><param>");
    append_value(out, value);
    out.extend_from_slice(b"</param></params></methodResponse>");
}

/// Appends the front of a `<methodResponse>` that carries an array: its values follow, and then [`end_array`].
pub fn begin_array(out: &mut Vec<u8>) {
    out.extend_from_slice(b"<?xml version=\"1.0\"?><methodResponse><params><param><value><array><data>");
}

/// Appends what stands behind the values of such an array.
pub fn end_array(out: &mut Vec<u8>) {
    out.extend_from_slice(b"</data></array></value></param></params></methodResponse>");
}

/// Appends a `<methodResponse>` that carries a fault.
pub fn append_fault(out: &mut Vec<u8>, fault: &Fault) {
    out.extend_from_slice(b"<?xml version=\"1.0\"?><methodResponse><fault>");
    append_value(out, &fault.clone().into_value());
    out.extend_from_slice(b"</fault></methodResponse>");
}

/// Appends a `<value>`. A string that XML cannot carry travels as base64 of its UTF-8, so that no value can break a
/// document.
///
/// Recursion is as deep as the value, and values come from a parser with a bound on depth.
pub fn append_value(out: &mut Vec<u8>, value: &Value) {
    out.extend_from_slice(b"<value>");
    match value {
        Value::Nil => out.extend_from_slice(b"<nil/>"),
        Value::Int(number) => append_scalar(out, "int", format_args!("{number}")),
        Value::I8(number) => append_scalar(out, "i8", format_args!("{number}")),
        Value::Boolean(truth) => append_scalar(out, "boolean", format_args!("{}", u8::from(*truth))),
        Value::Double(number) => append_double(out, *number),
        Value::String(text) if !is_xml_text(text) => append_base64(out, text.as_bytes()),
        Value::String(text) => append_text(out, "string", text),
        Value::Base64(bytes) => append_base64(out, bytes),
        Value::DateTime(text) => append_text(out, "dateTime.iso8601", text),
        Value::Array(values) => {
            out.extend_from_slice(b"<array><data>");
            for value in values {
                append_value(out, value);
            }
            out.extend_from_slice(b"</data></array>");
        }
        Value::Struct(members) => {
            out.extend_from_slice(b"<struct>");
            for (name, value) in members {
                out.extend_from_slice(b"<member><name>");
                append_legal(out, name);
                out.extend_from_slice(b"</name>");
                append_value(out, value);
                out.extend_from_slice(b"</member>");
            }
            out.extend_from_slice(b"</struct>");
        }
    }
    out.extend_from_slice(b"</value>");
}

fn append_scalar(out: &mut Vec<u8>, element: &str, text: std::fmt::Arguments<'_>) {
    let written = write!(out, "<{element}>{text}</{element}>");
    debug_assert!(written.is_ok(), "writing to memory cannot fail");
}

/// Plain decimals, as the specification has them, that read back as exactly the same number; what has none as Python
/// spells it.
fn append_double(out: &mut Vec<u8>, number: f64) {
    if number.is_nan() {
        append_scalar(out, "double", format_args!("nan"));
    } else if number.is_finite() && number.fract() == 0.0 {
        append_scalar(out, "double", format_args!("{number}.0"));
    } else {
        append_scalar(out, "double", format_args!("{number}"));
    }
}

fn append_text(out: &mut Vec<u8>, element: &str, text: &str) {
    out.push(b'<');
    out.extend_from_slice(element.as_bytes());
    out.push(b'>');
    append_legal(out, text);
    out.extend_from_slice(b"</");
    out.extend_from_slice(element.as_bytes());
    out.push(b'>');
}

fn append_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"<base64>");
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.extend_from_slice(b"</base64>");
}

/// Text that has no other form to travel in, a name above all: characters that XML cannot carry are replaced.
fn append_legal(out: &mut Vec<u8>, text: &str) {
    if is_xml_text(text) {
        append_escaped(out, text);
        return;
    }
    let legal = |c: char| if is_xml_text(c.encode_utf8(&mut [0; 4])) { c } else { char::REPLACEMENT_CHARACTER };
    append_escaped(out, &text.chars().map(legal).collect::<String>());
}

/// Escapes markup, and CR, which a parser would otherwise turn into LF (XML 1.0 section 2.11).
fn append_escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'&' | b'<' | b'>' | b'\r')) {
        let (plain, special) = rest.split_at_checked(at).unwrap_or_default();
        out.extend_from_slice(plain);
        out.extend_from_slice(match special.first() {
            Some(b'&') => b"&amp;",
            Some(b'<') => b"&lt;",
            Some(b'>') => b"&gt;",
            _ => b"&#13;",
        });
        rest = special.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}
