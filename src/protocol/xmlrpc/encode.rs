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

/// Appends the start of a `<methodResponse>` that carries an array; its values follow, and then [`end_array`].
pub fn begin_array(out: &mut Vec<u8>) {
    out.extend_from_slice(b"<?xml version=\"1.0\"?><methodResponse><params><param><value><array><data>");
}

/// Appends the end of such a response.
pub fn end_array(out: &mut Vec<u8>) {
    out.extend_from_slice(b"</data></array></value></param></params></methodResponse>");
}

/// Appends a `<methodResponse>` that carries a fault.
pub fn append_fault(out: &mut Vec<u8>, fault: &Fault) {
    out.extend_from_slice(b"<?xml version=\"1.0\"?><methodResponse><fault>");
    append_value(out, &fault.clone().into_value());
    out.extend_from_slice(b"</fault></methodResponse>");
}

/// Appends a `<value>`. A string that XML cannot carry is sent as the base64 of its UTF-8, so that no value can break a
/// document.
///
/// Recursion is as deep as the value, and values come from a parser with a limit on depth.
pub fn append_value(out: &mut Vec<u8>, value: &Value) {
    out.extend_from_slice(b"<value>");
    match value {
        Value::Nil => out.extend_from_slice(b"<nil/>"),
        Value::Int(number) => append_scalar(out, "int", format_args!("{number}")),
        Value::I8(number) => append_scalar(out, "i8", format_args!("{number}")),
        Value::Boolean(truth) => append_scalar(out, "boolean", format_args!("{}", u8::from(*truth))),
        Value::Double(number) => append_double(out, *number),
        Value::String(text) if !is_xml_text(text) => append_base64(out, text.as_bytes()),
        Value::String(text) => {
            out.extend_from_slice(b"<string>");
            append_escaped(out, text);
            out.extend_from_slice(b"</string>");
        }
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

/// Appends a plain decimal, as the specification requires, that reads back as exactly the same number; nan and inf are
/// spelled as Python spells them.
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
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, b'=');
    let written = STANDARD.encode_slice(bytes, out.get_mut(start..).unwrap_or_default());
    debug_assert_eq!(written.ok(), Some(out.len() - start), "the room was counted");
    out.extend_from_slice(b"</base64>");
}

/// Appends text that has no alternative form, above all a name: characters that XML cannot carry are replaced.
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
    // Pieces without markup, nearly all, are copied whole; the others byte by byte.
    for piece in text.as_bytes().chunks(PIECE) {
        if escapes(piece) == 0 {
            out.extend_from_slice(piece);
            continue;
        }
        for byte in piece {
            match byte {
                b'&' => out.extend_from_slice(b"&amp;"),
                b'<' => out.extend_from_slice(b"&lt;"),
                b'>' => out.extend_from_slice(b"&gt;"),
                b'\r' => out.extend_from_slice(b"&#13;"),
                byte => out.push(*byte),
            }
        }
    }
}

/// Bytes checked together: the growth by escaping fits a byte, so that counting becomes vector instructions.
const PIECE: usize = 60;

/// By how many bytes escaping lengthens `text`.
fn escapes(text: &[u8]) -> usize {
    let is = |byte: u8, special: u8| u8::from(byte == special);
    let extra = |byte: u8| 4 * is(byte, b'&') + 3 * is(byte, b'<') + 3 * is(byte, b'>') + 4 * is(byte, b'\r');
    let in_piece = |piece: &[u8]| piece.iter().map(|byte| extra(*byte)).fold(0_u8, u8::wrapping_add);
    text.chunks(PIECE).map(|piece| usize::from(in_piece(piece))).sum()
}

/// An upper bound, close to exact, on the bytes that [`append_value`] writes for `value`, without writing anything.
///
/// Recursion is as deep as the value.
#[must_use]
pub fn encoded_bytes(value: &Value) -> usize {
    const TAGS: usize = "<value><string></string></value>".len();
    let text = |text: &str| text.len() + escapes(text.as_bytes());
    let base64 = |bytes: usize| bytes.div_ceil(3) * 4;
    TAGS + match value {
        Value::Nil | Value::Boolean(_) => 3,
        Value::Int(_) => 11,
        Value::I8(_) => 20,
        Value::Double(number) => double_bytes(*number),
        Value::String(string) if !is_xml_text(string) => base64(string.len()),
        Value::String(string) => text(string),
        Value::Base64(bytes) => base64(bytes.len()),
        // A dateTime has the longest tags.
        Value::DateTime(date) => text(date) + 20,
        Value::Array(values) => 11 + values.iter().map(encoded_bytes).sum::<usize>(),
        Value::Struct(members) => {
            const MEMBER: usize = "<member><name></name></member>".len();
            // A character that XML cannot carry becomes one of three bytes.
            members.iter().map(|(name, value)| MEMBER + 3 * text(name) + encoded_bytes(value)).sum()
        }
    }
}

/// A plain decimal has as many digits before or after its point as its exponent, and at most 17 significant ones.
fn double_bytes(number: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 324, and not negative")]
    let zeros = if number.is_normal() { number.abs().log10().abs() as usize } else { 324 };
    if number == 0.0 || !number.is_finite() { 4 } else { zeros + 22 }
}
