//! The few places of a certificate that the readers do not show: elements of DER, one after the other.

/// One element: its tag and its content.
pub(super) type Element<'a> = (u8, &'a [u8]);

/// The first element and what follows it; `None` when the bytes are not an element with a definite length.
pub(super) fn split(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let count = usize::from(*first & 0x7f);
        if count == 0 || count > 4 || rest.len() < count {
            return None;
        }
        let (octets, rest) = rest.split_at(count);
        (octets.iter().fold(0, |length, octet| (length << 8) | usize::from(*octet)), rest)
    };
    (rest.len() >= length).then(|| {
        let (content, rest) = rest.split_at(length);
        ((*tag, content), rest)
    })
}

/// The elements within `content`, up to the first that cannot be read.
pub(super) fn elements(content: &[u8]) -> impl Iterator<Item = Element<'_>> {
    let mut rest = content;
    std::iter::from_fn(move || {
        let (element, behind) = split(rest)?;
        rest = behind;
        Some(element)
    })
}

/// An element with this tag and content.
pub(super) fn element(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let length: usize = content.iter().map(|part| part.len()).sum();
    let octets = length.to_be_bytes();
    let significant = octets.iter().position(|octet| *octet != 0).map_or(&[][..], |at| octets.get(at..).unwrap_or(&[]));
    let mut bytes = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => bytes.push(short),
        _ => {
            bytes.push(0x80 | u8::try_from(significant.len()).unwrap_or(0));
            bytes.extend_from_slice(significant);
        }
    }
    for part in content {
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
            let bytes = [element(0x30, &[&content]), vec![5, 0]].concat();
            let ((tag, read), rest) = split(&bytes).expect("an element");
            assert_eq!((tag, read, rest), (0x30, content.as_slice(), &[5, 0][..]), "{length}");
            assert_eq!(elements(&bytes).count(), 2);
        }
        for broken in [&[][..], &[0x30], &[0x30, 0x80], &[0x30, 0x82, 1], &[0x30, 0x85, 0, 0, 0, 0, 1, 1], &[4, 2, 1]] {
            assert_eq!(split(broken), None, "{broken:?}");
        }
    }
}
