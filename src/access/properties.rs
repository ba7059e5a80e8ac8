//! What holds for any bytes taken for a file of rules: run over drawn bytes by the tests and over searched ones by the
//! fuzz targets. Panics where a promise is broken.
#![allow(clippy::missing_panics_doc, reason = "a panic is how they tell that a promise is broken")]

use std::sync::Arc;

use super::{Class, Rules};
use crate::tls::{Anchor, AnchorKind, Identity, PemSource, fingerprint};

/// A file of rules is refused by name, or grants nothing to whom it does not name, whatever else it says.
pub fn rules(input: &[u8]) {
    let anchor = Anchor {
        kind: AnchorKind::Issuer,
        common_name: Some("A".to_owned()),
        fingerprint: [1; 32],
        file: "ca.pem".to_owned(),
    };
    let file = PemSource { name: "rules.toml".to_owned(), bytes: input.to_vec() };
    let rules = match Rules::parse(&file, &[Arc::new(anchor.clone())]) {
        Ok(rules) => rules,
        Err(error) => {
            assert!(error.to_string().starts_with("rules.toml: "), "{error}");
            return;
        }
    };
    for (name, _) in rules.names() {
        assert_eq!(name, name.to_ascii_lowercase());
    }
    let (dns, uris, emails) = Default::default();
    // A fingerprint that no file can name: its own.
    let nobody = Identity { common_name: None, dns, uris, emails, fingerprint: fingerprint(input), anchor: None };
    assert!(rules.grant(&nobody).is_none(), "somebody whom no rule names is let in");
    if let Some(grant) = rules.grant(&Identity { anchor: Some(Arc::new(anchor)), ..nobody }) {
        assert!(grant.allows(Class::Open, "PING", None));
        // What is granted for every key is granted for each.
        for class in [Class::Read, Class::Write, Class::Server] {
            assert!(!grant.allows(class, "get", None) || grant.allows(class, "get", Some(b"any key")));
            let (scope, key) = (grant.scope(class, "get"), b"a:1");
            assert_eq!(scope.covers(key), grant.allows(class, "get", Some(key)), "two ways to ask, two answers");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn files_of_any_lines(lines in prop::collection::vec(prop_oneof![
            Just("[[rule]]".to_owned()),
            Just("anchor = 'A'".to_owned()),
            "(cn|dns|uri|email|fingerprint|prefix) = '[a:0]{0,3}'",
            "grant = \\['(read|write|get|READ)'(, 'write')?\\]",
            ".{0,12}",
        ], 0..12)) {
            rules(lines.join("\n").as_bytes());
        }
    }
}
