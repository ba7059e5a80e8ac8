//! The file of rules. A mistake in it denies access or is an error at start; it never grants access.

use std::sync::Arc;

use serde::Deserialize;

use super::{Grant, Permission};
use crate::tls::{Anchor, Identity, PemSource, hex};

/// Rules about what each client may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
}

/// Why a file of rules is rejected. The text names the file and, where possible, the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// Not the expected TOML: a field is unknown, missing, or of the wrong type.
    #[error("{file}: {detail}")]
    Syntax {
        /// The file.
        file: String,
        /// The parser's message, with the line.
        detail: String,
    },
    /// A rule cannot mean what its author intended.
    #[error("{file}: rule {number}: {detail}")]
    Rule {
        /// The file.
        file: String,
        /// Which rule, counted from 1.
        number: usize,
        /// What is wrong with it.
        detail: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    common_name: Option<String>,
    dns: Option<String>,
    uri: Option<String>,
    email: Option<String>,
    fingerprint: Option<[u8; 32]>,
    anchor: Option<[u8; 32]>,
    /// Shared by all clients that the rule matches.
    permission: Arc<Permission>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<Written>,
}

/// A rule as written in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    cn: Option<String>,
    dns: Option<String>,
    uri: Option<String>,
    email: Option<String>,
    fingerprint: Option<String>,
    anchor: Option<String>,
    grant: Vec<String>,
    prefix: Option<String>,
}

impl Rules {
    /// What the rules in `text` grant to a client whose common name is alice.
    #[cfg(test)]
    pub(crate) fn granted_to_alice(text: &str) -> super::Access {
        let rules = Self::parse(&PemSource { name: String::new(), bytes: text.into() }, &[]).expect("rules");
        let (dns, uris, emails) = Default::default();
        let alice =
            Identity { common_name: Some("alice".into()), dns, uris, emails, fingerprint: [0; 32], anchor: None };
        super::Access::Granted(Arc::new(rules.grant(&alice).expect("a rule for alice")))
    }

    /// Parses a file of rules for a listener that trusts `anchors`.
    ///
    /// # Errors
    ///
    /// The file has a field or value that is not understood, a rule that names no identity, or an anchor that the
    /// listener does not trust or that matches two of its certificates.
    pub fn parse(source: &PemSource, anchors: &[Arc<Anchor>]) -> Result<Self, RulesError> {
        let syntax = |detail: String| RulesError::Syntax { file: source.name.clone(), detail };
        let text = std::str::from_utf8(&source.bytes).map_err(|error| syntax(error.to_string()))?;
        let file: File = toml::from_str(text).map_err(|error| {
            let line = text.get(..error.span().unwrap_or_default().start).unwrap_or_default().matches('\n').count() + 1;
            syntax(format!("line {line}: {}", error.message().replace('\n', ", ")))
        })?;
        let rules = file.rule.into_iter().enumerate().map(|(index, written)| {
            let broken = |detail| RulesError::Rule { file: source.name.clone(), number: index + 1, detail };
            Rule::new(written, anchors).map_err(broken)
        });
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }

    /// What `identity` may do; `None` if no rule matches it.
    #[must_use]
    pub fn grant(&self, identity: &Identity) -> Option<Grant> {
        let matching = self.rules.iter().filter(|rule| rule.matches(identity));
        let permissions: Vec<_> = matching.map(|rule| Arc::clone(&rule.permission)).collect();
        (!permissions.is_empty()).then_some(Grant { permissions })
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are no rules, so that every client is denied.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The methods and commands granted by name, in lower case, and whether the grant has a prefix. The caller refuses
    /// names that it does not know.
    pub fn names(&self) -> impl Iterator<Item = (&str, bool)> {
        let permissions = self.rules.iter().map(|rule| &rule.permission);
        permissions
            .flat_map(|permission| permission.names.iter().map(|name| (name.as_str(), permission.prefix.is_some())))
    }
}

impl Rule {
    fn new(written: Written, anchors: &[Arc<Anchor>]) -> Result<Self, String> {
        let rule = Self {
            permission: Arc::new(permission(&written)?),
            fingerprint: written.fingerprint.as_deref().map(sha256).transpose()?,
            anchor: written.anchor.as_deref().map(|anchor| find(anchor, anchors)).transpose()?,
            common_name: written.cn,
            dns: written.dns,
            uri: written.uri,
            email: written.email,
        };
        let names = [&rule.common_name, &rule.dns, &rule.uri, &rule.email];
        if names.iter().all(|name| name.is_none()) && rule.fingerprint.is_none() && rule.anchor.is_none() {
            return Err("it names no identity; add cn, dns, uri, email, fingerprint or anchor".to_owned());
        }
        if names.into_iter().flatten().any(String::is_empty) {
            return Err("an empty name matches no identity".to_owned());
        }
        if let Some(name) = names.into_iter().flatten().find(|name| name.contains('*')) {
            return Err(format!(
                "{name:?} looks like a pattern, and names are compared as they are written: one rule for each name, or an \
                 anchor for all certificates of one CA"
            ));
        }
        Ok(rule)
    }

    fn matches(&self, identity: &Identity) -> bool {
        // Host names are not case-sensitive, but an exact comparison is easier to trust, and a CA writes names in one
        // way.
        let among =
            |wanted: &Option<String>, names: &[String]| wanted.as_ref().is_none_or(|wanted| names.contains(wanted));
        self.common_name.as_ref().is_none_or(|wanted| identity.common_name.as_ref() == Some(wanted))
            && among(&self.dns, &identity.dns)
            && among(&self.uri, &identity.uris)
            && among(&self.email, &identity.emails)
            && self.fingerprint.is_none_or(|wanted| identity.fingerprint == wanted)
            && self
                .anchor
                .is_none_or(|wanted| identity.anchor.as_ref().is_some_and(|anchor| anchor.fingerprint == wanted))
    }
}

fn permission(written: &Written) -> Result<Permission, String> {
    if written.grant.is_empty() {
        return Err("it grants nothing; leave the rule out instead".to_owned());
    }
    if written.prefix.as_deref() == Some("") {
        return Err("an empty prefix restricts nothing; leave it out".to_owned());
    }
    if let Some(prefix) = written.prefix.as_deref().filter(|prefix| prefix.ends_with('*')) {
        return Err(format!(
            "prefix {prefix:?} looks like a pattern; a prefix already covers all keys that begin with it"
        ));
    }
    let has = |class: &str| written.grant.iter().any(|granted| granted == class);
    let names = written.grant.iter().filter(|granted| !matches!(granted.as_str(), "read" | "write"));
    Ok(Permission {
        read: has("read"),
        write: has("write"),
        names: names.map(|name| name.to_ascii_lowercase()).collect(),
        prefix: written.prefix.as_ref().map(|prefix| prefix.clone().into_bytes()),
    })
}

/// A SHA-256 fingerprint in hexadecimal, with or without colons.
fn sha256(text: &str) -> Result<[u8; 32], String> {
    let wrong = || format!("{text:?} is not a SHA-256 fingerprint of 64 hexadecimal digits");
    let digits: Vec<u32> =
        text.chars().filter(|c| *c != ':').map(|c| c.to_digit(16)).collect::<Option<_>>().ok_or_else(wrong)?;
    let bytes: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(high * 16 + low).ok(),
            _ => None,
        })
        .collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(wrong)
}

/// The one trusted certificate that `text` names, by common name or fingerprint.
fn find(text: &str, anchors: &[Arc<Anchor>]) -> Result<[u8; 32], String> {
    let wanted = sha256(text).ok();
    let named =
        |anchor: &&Arc<Anchor>| wanted == Some(anchor.fingerprint) || anchor.common_name.as_deref() == Some(text);
    let mut found = anchors.iter().filter(named);
    let Some(first) = found.next() else {
        return Err(format!("no certificate in --client-ca or --client-pin has the name or fingerprint {text:?}"));
    };
    // The same certificate may be listed twice; two different ones with one name must not be confused.
    if let Some(other) = found.find(|other| other.fingerprint != first.fingerprint) {
        let (one, two) = (hex(&first.fingerprint), hex(&other.fingerprint));
        return Err(format!("two trusted certificates have the name {text:?}; use the fingerprint, {one} or {two}"));
    }
    Ok(first.fingerprint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Class;
    use crate::tls::AnchorKind;

    fn anchor(name: &str, byte: u8) -> Arc<Anchor> {
        let common_name = Some(name.to_owned());
        Arc::new(Anchor { kind: AnchorKind::Issuer, common_name, fingerprint: [byte; 32], file: "ca.pem".to_owned() })
    }

    fn alice(anchor: Option<Arc<Anchor>>) -> Identity {
        Identity {
            common_name: Some("alice".to_owned()),
            dns: vec!["a.example".to_owned()],
            uris: vec!["spiffe://example/a".to_owned()],
            emails: vec!["a@example.org".to_owned()],
            fingerprint: [7; 32],
            anchor,
        }
    }

    fn parse(text: &str, anchors: &[Arc<Anchor>]) -> Result<Rules, RulesError> {
        Rules::parse(&PemSource { name: "rules.toml".to_owned(), bytes: text.as_bytes().to_vec() }, anchors)
    }

    fn matches(field: &str) -> bool {
        let rules = parse(&format!("[[rule]]\n{field}\ngrant = [\"read\"]"), &[anchor("A", 1)]).expect("a rule");
        rules.grant(&alice(Some(anchor("A", 1)))).is_some()
    }

    #[test]
    fn every_kind_of_name_matches_exactly() {
        let fingerprint = "07".repeat(32);
        for field in [
            "cn = 'alice'",
            "dns = 'a.example'",
            "uri = 'spiffe://example/a'",
            "email = 'a@example.org'",
            "anchor = 'A'",
            "cn = 'alice'\nanchor = 'A'\ndns = 'a.example'",
            &format!("fingerprint = '{fingerprint}'"),
            &format!("fingerprint = '{}'", vec!["07"; 32].join(":")),
        ] {
            assert!(matches(field), "{field}");
        }
        for field in [
            "cn = 'alic'",
            "cn = 'a.example'",
            "dns = 'alice'",
            "uri = 'spiffe://example/'",
            "cn = 'alice'\ndns = 'b.example'",
            &format!("fingerprint = '{}'", "08".repeat(32)),
        ] {
            assert!(!matches(field), "{field}");
        }
    }

    #[test]
    fn the_same_name_from_another_anchor_does_not_match() {
        let (ours, theirs) = (anchor("ours", 1), anchor("theirs", 2));
        let both = [ours.clone(), theirs.clone()];
        let rules = parse("[[rule]]\ncn = 'alice'\nanchor = 'ours'\ngrant = ['read']", &both).expect("a rule");
        assert!(rules.grant(&alice(Some(ours))).is_some());
        assert!(rules.grant(&alice(Some(theirs))).is_none());
        assert!(rules.grant(&alice(None)).is_none());
    }

    #[test]
    fn grants_of_all_matching_rules_add_up() {
        let text = "[[rule]]\ncn = 'alice'\ngrant = ['read']\n\
                    [[rule]]\ndns = 'a.example'\ngrant = ['write', 'Shutdown']\nprefix = 'a:'\n\
                    [[rule]]\ncn = 'bob'\ngrant = ['write']\n";
        let rules = parse(text, &[]).expect("three rules");
        assert_eq!(rules.len(), 3);
        assert_eq!(rules.names().collect::<Vec<_>>(), [("shutdown", true)]);
        let grant = rules.grant(&alice(None)).expect("two rules match");
        assert!(grant.allows(Class::Read, "GET", Some(b"z")));
        assert!(grant.allows(Class::Write, "SET", Some(b"a:z")));
        assert!(!grant.allows(Class::Write, "SET", Some(b"z")));
    }

    #[test]
    fn no_rule_means_no_access() {
        assert!(parse("", &[]).expect("an empty file").grant(&alice(None)).is_none());
    }

    #[test]
    fn rules_that_cannot_be_understood_are_rejected_with_their_place() {
        let twins = [anchor("A", 1), anchor("A", 2)];
        for (text, part) in [
            ("[[rule]]\ncn = 'a'\ngrant = ['read']\nprefx = 'a:'", "prefx"),
            ("[[rules]]\ncn = 'a'\ngrant = ['read']", "rules"),
            ("[[rule]]\ncn = 'a'", "grant"),
            ("[[rule]]\ncn = 'a'\ngrant = 'read'", "line 3"),
            ("[[rule]]\ngrant = ['read']", "rule 1: it names no identity"),
            ("[[rule]]\ncn = ''\ngrant = ['read']", "empty name"),
            ("[[rule]]\ncn = 'a'\ngrant = []", "grants nothing"),
            ("[[rule]]\ncn = 'a'\ngrant = ['read']\nprefix = ''", "empty prefix"),
            ("[[rule]]\ncn = 'al*'\ngrant = ['read']", "rule 1: \"al*\" looks like a pattern"),
            ("[[rule]]\ndns = '*.example.org'\ngrant = ['read']", "looks like a pattern"),
            ("[[rule]]\nuri = 'spiffe://example/*'\ngrant = ['read']", "looks like a pattern"),
            ("[[rule]]\nemail = '*@example.org'\ngrant = ['read']", "looks like a pattern"),
            ("[[rule]]\ncn = 'a'\ngrant = ['read']\nprefix = 'a:*'", "prefix \"a:*\" looks like a pattern"),
            ("[[rule]]\nfingerprint = 'abc'\ngrant = ['read']", "64 hexadecimal"),
            ("[[rule]]\nanchor = 'B'\ngrant = ['read']", "has the name or fingerprint \"B\""),
            ("[[rule]]\nanchor = 'A'\ngrant = ['read']", "two trusted certificates"),
        ] {
            let error = parse(text, &twins).expect_err(text).to_string();
            assert!(error.contains(part) && error.contains("rules.toml"), "{error}");
        }
    }
}
