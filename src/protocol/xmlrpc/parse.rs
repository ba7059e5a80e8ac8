//! Documents to calls and results.

use std::borrow::Cow;
use std::collections::HashMap;

use super::document::{Document, Element, Scalar, Tag, Token, is_blank, unexpected};
use super::{Fault, ParseError, XmlLimits, encoding, scalar};
use crate::value::Value;

/// Parses a `<methodCall>`: the method's name and its parameters.
pub fn parse_call(body: &[u8], bounds: &XmlLimits) -> Result<(String, Vec<Value>), ParseError> {
    let text = encoding::decode(body, bounds)?;
    let mut parser = Parser::new(&text, bounds)?;
    parser.document.open(Element::MethodCall)?;
    parser.document.open(Element::MethodName)?;
    let method = parser.name()?;
    let params = match parser.document.tag()? {
        Tag::Open(Element::Params) => {
            let params = parser.params()?;
            parser.document.close()?;
            params
        }
        Tag::Close => Vec::new(),
        found @ Tag::Open(_) => return Err(unexpected(found, Element::Params)),
    };
    parser.document.finish()?;
    Ok((method, params))
}

/// Parses a `<methodResponse>`: the value returned, or the fault.
pub fn parse_response(body: &[u8], bounds: &XmlLimits) -> Result<Result<Value, Fault>, ParseError> {
    let text = encoding::decode(body, bounds)?;
    let mut parser = Parser::new(&text, bounds)?;
    parser.document.open(Element::MethodResponse)?;
    let response = match parser.document.tag()? {
        Tag::Open(Element::Params) => {
            let mut params = parser.params()?;
            match (params.pop(), params.is_empty()) {
                (Some(value), true) => Ok(value),
                _ => return Err(ParseError::Invalid("a response has exactly one value".to_owned())),
            }
        }
        Tag::Open(Element::Fault) => {
            parser.document.open(Element::Value)?;
            let fault = fault(parser.value()?)?;
            parser.document.close()?;
            Err(fault)
        }
        found => return Err(unexpected(found, Element::Params)),
    };
    parser.document.close()?;
    parser.document.finish()?;
    Ok(response)
}

fn fault(value: Value) -> Result<Fault, ParseError> {
    let Value::Struct(members) = value else {
        return Err(ParseError::Invalid("a fault is a struct".to_owned()));
    };
    let (mut code, mut text) = (None, None);
    for member in members {
        match member {
            (name, Value::Int(number)) if name == "faultCode" => code = Some(number),
            (name, Value::String(string)) if name == "faultString" => text = Some(string),
            _ => {}
        }
    }
    match (code, text) {
        (Some(code), Some(text)) => Ok(Fault { code, text }),
        _ => Err(ParseError::Invalid("a fault has an int faultCode and a string faultString".to_owned())),
    }
}

/// A container that is still being read.
enum Container {
    Array(Vec<Value>),
    /// The members, and the name of the one whose value is being read.
    Struct(Vec<(String, Value)>, String),
}

/// The content of a `<value>`.
enum Content {
    Complete(Value),
    Container(Container),
}

struct Parser<'a> {
    document: Document<'a>,
    bounds: XmlLimits,
    values: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, bounds: &XmlLimits) -> Result<Self, ParseError> {
        Ok(Self { document: Document::new(text, bounds)?, bounds: *bounds, values: 0 })
    }

    /// The rest of `<params>`.
    fn params(&mut self) -> Result<Vec<Value>, ParseError> {
        let mut params = Vec::new();
        loop {
            match self.document.tag()? {
                Tag::Open(Element::Param) if params.len() >= self.bounds.params => {
                    return Err(ParseError::Bound("too many parameters"));
                }
                Tag::Open(Element::Param) => {
                    self.document.open(Element::Value)?;
                    params.push(self.value()?);
                    self.document.close()?;
                }
                Tag::Close => return Ok(params),
                found @ Tag::Open(_) => return Err(unexpected(found, Element::Param)),
            }
        }
    }

    /// The rest of a `<value>` just opened. Open containers are kept on an explicit stack, which the limit on depth
    /// bounds, so a deep document cannot exhaust the thread's stack.
    fn value(&mut self) -> Result<Value, ParseError> {
        let mut waiting: Vec<Container> = Vec::new();
        loop {
            let mut complete = match self.content()? {
                Content::Complete(value) => Some(value),
                Content::Container(_) if waiting.len() >= self.bounds.depth => {
                    return Err(ParseError::Bound("arrays and structs are nested too deeply"));
                }
                Content::Container(container) => {
                    waiting.push(container);
                    None
                }
            };
            // Closes containers until one of them opens its next value.
            loop {
                let Some(container) = waiting.last_mut() else {
                    match complete {
                        Some(value) => return Ok(value),
                        None => break,
                    }
                };
                if let Some(value) = complete.take() {
                    self.put(container, value)?;
                }
                if self.opens_value(container)? {
                    break;
                }
                complete = waiting.pop().map(Container::into_value);
            }
        }
    }

    /// The content of a `<value>` just opened: up to its end, unless it is a container.
    fn content(&mut self) -> Result<Content, ParseError> {
        self.values += 1;
        if self.values > self.bounds.values {
            return Err(ParseError::Bound("too many values"));
        }
        let mut text = Cow::Borrowed("");
        loop {
            match self.document.token(&mut text)? {
                Token::Text => {}
                Token::Close => return Ok(Content::Complete(Value::String(text.into_owned()))),
                Token::Open(_) if !is_blank(&text) => {
                    return Err(ParseError::Invalid("a value holds both text and an element".to_owned()));
                }
                Token::Open(Element::Scalar(kind)) => return self.scalar(kind).map(Content::Complete),
                Token::Open(Element::Array) => {
                    self.document.open(Element::Data)?;
                    return Ok(Content::Container(Container::Array(Vec::new())));
                }
                Token::Open(Element::Struct) => {
                    return Ok(Content::Container(Container::Struct(Vec::new(), String::new())));
                }
                Token::Open(element) => {
                    return Err(ParseError::Invalid(format!("<{element}> is no value")));
                }
            }
        }
    }

    /// A type element just opened, and the end of its `<value>`.
    fn scalar(&mut self, kind: Scalar) -> Result<Value, ParseError> {
        let value = scalar::parse(kind, self.document.text()?)?;
        self.document.close()?;
        Ok(value)
    }

    /// Adds a complete value to its container. For a struct, the member ends with it.
    fn put(&mut self, container: &mut Container, value: Value) -> Result<(), ParseError> {
        match container {
            Container::Array(values) => values.push(value),
            Container::Struct(members, name) => {
                members.push((std::mem::take(name), value));
                self.document.close()?;
            }
        }
        Ok(())
    }

    /// Advances to the container's next `<value>`; false if the container ends instead, and its own `<value>` with it.
    fn opens_value(&mut self, container: &mut Container) -> Result<bool, ParseError> {
        match (self.document.tag()?, container) {
            (Tag::Open(Element::Value), Container::Array(_)) => return Ok(true),
            (Tag::Open(Element::Member), Container::Struct(_, name)) => {
                self.document.open(Element::Name)?;
                *name = self.name()?;
                self.document.open(Element::Value)?;
                return Ok(true);
            }
            // This was `</data>`; `</array>` follows.
            (Tag::Close, Container::Array(_)) => self.document.close()?,
            (Tag::Close, Container::Struct(..)) => {}
            (found, Container::Array(_)) => return Err(unexpected(found, Element::Value)),
            (found, Container::Struct(..)) => return Err(unexpected(found, Element::Member)),
        }
        self.document.close()?;
        Ok(false)
    }

    /// The rest of an element that contains a name.
    fn name(&mut self) -> Result<String, ParseError> {
        let name = self.document.text()?;
        if name.len() > self.bounds.name_bytes {
            return Err(ParseError::Bound("a name is too long"));
        }
        Ok(name.into_owned())
    }
}

impl Container {
    fn into_value(self) -> Value {
        match self {
            Self::Array(values) => Value::Array(values),
            Self::Struct(members, _) => Value::Struct(last_of_each_name(members)),
        }
    }
}

/// Of members with equal names, keeps the last value in the first place, as Python's client does.
fn last_of_each_name(mut members: Vec<(String, Value)>) -> Vec<(String, Value)> {
    let mut places = HashMap::with_capacity(members.len());
    let mut repeated = Vec::new();
    for (index, (name, _)) in members.iter().enumerate() {
        if let Some(first) = places.get(name.as_str()) {
            repeated.push((index, *first));
        } else {
            places.insert(name.as_str(), index);
        }
    }
    if repeated.is_empty() {
        return members;
    }
    for (index, first) in &repeated {
        members.swap(*index, *first);
    }
    let mut repeated = repeated.into_iter().map(|(index, _)| index).peekable();
    let mut index = 0..;
    members.retain(|_| repeated.next_if_eq(&index.next().unwrap_or_default()).is_none());
    members
}
