//! Where a CA publishes its lists (RFC 5280, 4.2.1.13).

use super::der::{self, Reader};

/// The names in a DistributionPointName that is a fullName; `None` if it is not, or has none.
pub(super) fn full_names(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut choice = Reader::new(bytes);
    let mut names = Reader::new(choice.expect(der::tagged(0))?.value);
    let mut found = Vec::new();
    while !names.is_empty() {
        found.push(names.element()?.whole.to_vec());
    }
    (choice.is_empty() && !found.is_empty()).then_some(found)
}

/// The names in a certificate's cRLDistributionPoints (RFC 5280, 4.2.1.13), GeneralNames in DER. Points for some
/// reasons only, or with another CRL issuer, are left out. The result is empty if the extension cannot be parsed.
pub(super) fn distribution_points(extension: &[u8]) -> Vec<Vec<u8>> {
    let read = || {
        let mut names = Vec::new();
        for point in der::sequence(extension)?.all(der::SEQUENCE)? {
            let mut fields = Reader::new(point.value);
            let name = fields.optional(&[der::tagged(0)]);
            if let Some(name) = name.filter(|_| fields.is_empty()) {
                names.extend(full_names(name.value).unwrap_or_default());
            }
        }
        Some(names)
    };
    read().unwrap_or_default()
}
