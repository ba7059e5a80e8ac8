//! Elements of DER (X.690): a strict parser, where general-purpose ones skip what they do not expect, and a writer.

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    /// The identifier octet: class, form and number.
    pub(super) tag: u8,
    /// The contents.
    pub(super) value: &'a [u8],
    /// Identifier, length and contents.
    pub(super) whole: &'a [u8],
}

/// INTEGER.
pub(super) const INTEGER: u8 = 0x02;
/// BIT STRING.
pub(super) const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub(super) const OCTET_STRING: u8 = 0x04;
/// ENUMERATED.
pub(super) const ENUMERATED: u8 = 0x0a;
/// OBJECT IDENTIFIER.
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
/// BOOLEAN.
pub(super) const BOOLEAN: u8 = 0x01;
/// UTCTime.
pub(super) const UTC_TIME: u8 = 0x17;
/// GeneralizedTime.
pub(super) const GENERALIZED_TIME: u8 = 0x18;
/// SEQUENCE and SEQUENCE OF.
pub(super) const SEQUENCE: u8 = 0x30;
/// The context-specific tag `number`, constructed.
pub(super) const fn tagged(number: u8) -> u8 {
    0xa0 | number
}
/// The context-specific tag `number`, primitive.
pub(super) const fn primitive(number: u8) -> u8 {
    0x80 | number
}

/// The bytes that are not read yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element; `None` if it is incomplete or malformed. Tags have one octet, lengths at most four, in the
    /// shortest form.
    pub(super) fn element(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let octets = usize::from(first & 0x7f);
        let (length, rest) = match first {
            0..0x80 => (octets, rest),
            _ if !(1..=4).contains(&octets) => return None,
            _ => {
                let (written, rest) = rest.split_at_checked(octets)?;
                let length = written.iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
                let is_shortest = written.first() != Some(&0) && length >= 0x80;
                (is_shortest.then_some(length)?, rest)
            }
        };
        let (value, rest) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - rest.len())?;
        self.0 = rest;
        (tag & 0x1f != 0x1f).then_some(Element { tag, value, whole })
    }

    /// The next element, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        self.element().filter(|element| element.tag == tag)
    }

    /// The next element if it has one of these tags; otherwise the reader does not advance.
    pub(super) fn optional(&mut self, tags: &[u8]) -> Option<Element<'a>> {
        let is_there = self.0.first().is_some_and(|tag| tags.contains(tag));
        if is_there { self.element() } else { None }
    }

    /// The elements up to the first malformed one.
    pub(super) fn elements(mut self) -> impl Iterator<Item = Element<'a>> {
        std::iter::from_fn(move || self.element())
    }

    /// All elements to the end; `None` if one is malformed or has another tag.
    pub(super) fn all(mut self, tag: u8) -> Option<Vec<Element<'a>>> {
        let mut elements = Vec::new();
        while !self.is_empty() {
            elements.push(self.expect(tag)?);
        }
        Some(elements)
    }
}

/// The contents of `bytes`, which must be exactly one SEQUENCE.
pub(super) fn sequence(bytes: &[u8]) -> Option<Reader<'_>> {
    let mut outer = Reader::new(bytes);
    let inner = outer.expect(SEQUENCE)?;
    outer.is_empty().then_some(Reader::new(inner.value))
}

/// The first element and the bytes after it.
pub(super) fn split_first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = Reader::new(bytes);
    let first = reader.element()?;
    Some((first.whole, reader.0))
}

/// An element of this tag whose contents are the concatenation of `parts`.
pub(super) fn write(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let octets = length.to_be_bytes();
    let significant = octets.iter().position(|octet| *octet != 0).and_then(|at| octets.get(at..)).unwrap_or_default();
    let mut bytes = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => bytes.push(short),
        _ => {
            bytes.push(0x80 | u8::try_from(significant.len()).unwrap_or(0));
            bytes.extend_from_slice(significant);
        }
    }
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_as_they_are_written() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let content = vec![7; length];
            let bytes = [write(0x30, &[&content, &[8]]), vec![5, 0]].concat();
            let (first, rest) = split_first(&bytes).expect("an element");
            let read: Vec<_> = Reader::new(&bytes).elements().map(|element| (element.tag, element.value)).collect();
            assert_eq!(read, [(0x30, [&content[..], &[8]].concat().as_slice()), (5, &[][..])], "{length}");
            assert_eq!((first.len(), rest), (bytes.len() - 2, &[5, 0][..]));
        }
    }

    #[test]
    fn lengths_are_definite_complete_and_in_the_shortest_form() {
        let read = |bytes: &'static [u8]| Reader::new(bytes).element().map(|element| element.value.len());
        assert_eq!(read(&[0x30, 0]), Some(0));
        assert_eq!(read(&[0x04, 2, 1, 2, 3]), Some(2));
        let long: &'static [u8] = [&[0x04, 0x81, 0x80][..], &[7; 128]].concat().leak();
        assert_eq!(read(long), Some(128));
        for bad in [
            &[][..],
            &[0x30],
            &[0x30, 1],
            &[0x30, 0x80, 0, 0],
            &[0x04, 0x81, 1, 7],
            &[0x04, 0x82, 0, 0x80],
            &[0x1f, 0x81, 0],
        ] {
            assert_eq!(Reader::new(bad).element(), None, "{bad:?}");
        }
        assert!(sequence(&[0x30, 2, 0x05, 0]).is_some_and(|inner| inner.all(0x05).is_some()));
        assert!(sequence(&[0x30, 2, 0x05, 0, 0]).is_none(), "something follows");
        assert!(sequence(&[0x30, 3, 0x05, 0, 9]).is_some_and(|inner| inner.all(0x05).is_none()), "a part follows");
    }
}
