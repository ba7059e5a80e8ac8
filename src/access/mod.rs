//! Who may do what: rules that match the identity in a verified client certificate.
//!
//! ```toml
//! [[rule]]
//! cn = "alice"                 # or dns, uri, email, fingerprint; all that are given must match
//! anchor = "Example CA"        # the listed certificate it must come from: common name or SHA-256 fingerprint
//! grant = ["read", "write"]    # or names of methods and commands
//! prefix = "alice:"            # optional: only keys that begin so
//! ```
//!
//! Rules only add: an identity may do what any rule that matches it grants, and without such a rule nothing at all.
//! A rule without `anchor` believes every certificate the listener accepts, so any listed CA can issue its name.

mod gate;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod rules;

use std::sync::Arc;

pub use gate::{Denial, Gate, Security};
pub use rules::{Rules, RulesError};

/// What a request does to keys, in any protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Touches no key and changes nothing that others see (`PING`, `system.listMethods`): allowed with any grant.
    Open,
    /// Reads keys or their existence.
    Read,
    /// Changes keys. A request that also reads is checked for both.
    Write,
    /// Acts on the server itself (`CONFIG`, `SHUTDOWN`): allowed only if granted by name.
    Server,
}

/// What a request granted by name acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Keys, so that a prefix can restrict it, or nothing that needs protection.
    Keys,
    /// The server as a whole: a rule with a prefix never grants it.
    Server,
}

/// What one connection may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everything: its listener has no rules.
    #[default]
    Everything,
    /// What the rules that match its identity grant.
    Granted(Arc<Grant>),
}

/// What one identity may do: the permissions of all rules that match it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    permissions: Vec<Arc<Permission>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Permission {
    read: bool,
    write: bool,
    /// Methods and commands granted by name, in lower case.
    names: Vec<String>,
    prefix: Option<Vec<u8>>,
}

/// The keys a request may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// None: the request is denied.
    Nothing,
    /// Keys that begin with one of these prefixes. A request over many keys sees only these; a request that cannot be
    /// restricted to them is denied.
    Prefixes(Vec<&'a [u8]>),
    /// Every key.
    Everything,
}

impl Access {
    /// As [`Grant::allows`].
    #[must_use]
    pub fn allows(&self, class: Class, name: &str, key: Option<&[u8]>) -> bool {
        match self {
            Self::Everything => true,
            Self::Granted(grant) => grant.allows(class, name, key),
        }
    }

    /// As [`Grant::scope`].
    #[must_use]
    pub fn scope(&self, class: Class, name: &str) -> Scope<'_> {
        match self {
            Self::Everything => Scope::Everything,
            Self::Granted(grant) => grant.scope(class, name),
        }
    }
}

impl Grant {
    /// Whether the request `name` may touch `key`; with `None`, any key at all.
    ///
    /// For a request on several keys, call it once for each.
    #[must_use]
    pub fn allows(&self, class: Class, name: &str, key: Option<&[u8]>) -> bool {
        match key {
            _ if class == Class::Open => true,
            Some(key) => self.matching(class, name).any(|permission| permission.covers(key)),
            None => self.matching(class, name).any(|permission| permission.prefix.is_none()),
        }
    }

    /// The keys that the request `name` may reach; KEYS, SCAN and `keys()` filter by it.
    #[must_use]
    pub fn scope(&self, class: Class, name: &str) -> Scope<'_> {
        let mut prefixes = Vec::new();
        for permission in self.matching(class, name) {
            match &permission.prefix {
                None => return Scope::Everything,
                Some(prefix) => prefixes.push(prefix.as_slice()),
            }
        }
        if prefixes.is_empty() { Scope::Nothing } else { Scope::Prefixes(prefixes) }
    }

    fn matching(&self, class: Class, name: &str) -> impl Iterator<Item = &Permission> {
        self.permissions.iter().map(|permission| &**permission).filter(move |permission| permission.grants(class, name))
    }
}

impl Permission {
    fn grants(&self, class: Class, name: &str) -> bool {
        let by_class = match class {
            Class::Open => true,
            Class::Read => self.read,
            Class::Write => self.write,
            Class::Server => false,
        };
        by_class || self.names.iter().any(|granted| granted.eq_ignore_ascii_case(name))
    }

    fn covers(&self, key: &[u8]) -> bool {
        self.prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix))
    }
}

impl Scope<'_> {
    /// Whether the scope includes `key`.
    #[must_use]
    pub fn covers(&self, key: &[u8]) -> bool {
        match self {
            Self::Nothing => false,
            Self::Prefixes(prefixes) => prefixes.iter().any(|prefix| key.starts_with(prefix)),
            Self::Everything => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(read: bool, write: bool, names: &[&str], prefix: Option<&str>) -> Arc<Permission> {
        Arc::new(Permission {
            read,
            write,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            prefix: prefix.map(|prefix| prefix.as_bytes().to_vec()),
        })
    }

    #[test]
    fn read_and_write_are_granted_separately() {
        let reader = Grant { permissions: vec![permission(true, false, &[], None)] };
        assert!(reader.allows(Class::Read, "GET", Some(b"k")));
        assert!(reader.allows(Class::Read, "DBSIZE", None));
        assert!(!reader.allows(Class::Write, "SET", Some(b"k")));
        assert!(!reader.allows(Class::Server, "SHUTDOWN", None));
        assert!(reader.allows(Class::Open, "PING", None));
    }

    #[test]
    fn a_prefix_restricts_keys_and_denies_requests_on_the_whole_keyspace() {
        let confined = Grant { permissions: vec![permission(true, true, &[], Some("a:"))] };
        assert!(confined.allows(Class::Write, "SET", Some(b"a:1")));
        assert!(!confined.allows(Class::Write, "SET", Some(b"a")));
        assert!(!confined.allows(Class::Write, "SET", Some(b"b:1")));
        assert!(!confined.allows(Class::Write, "FLUSHALL", None));
        assert!(!confined.allows(Class::Read, "DBSIZE", None));
        assert_eq!(confined.scope(Class::Read, "KEYS"), Scope::Prefixes(vec![b"a:"]));
    }

    #[test]
    fn a_name_grants_only_that_request_in_upper_or_lower_case() {
        let named = Grant { permissions: vec![permission(false, false, &["get", "shutdown"], Some("a:"))] };
        assert!(named.allows(Class::Read, "GET", Some(b"a:1")));
        assert!(!named.allows(Class::Read, "GET", Some(b"b:1")));
        assert!(!named.allows(Class::Read, "MGET", Some(b"a:1")));
        assert_eq!(named.scope(Class::Read, "KEYS"), Scope::Nothing);
    }

    #[test]
    fn permissions_add_up_and_each_keeps_its_own_prefix() {
        let permissions = vec![permission(true, false, &[], None), permission(false, true, &[], Some("a:"))];
        let both = Grant { permissions };
        assert!(both.allows(Class::Read, "GET", Some(b"b:1")));
        assert!(both.allows(Class::Write, "SET", Some(b"a:1")));
        assert!(!both.allows(Class::Write, "SET", Some(b"b:1")));
        assert_eq!(both.scope(Class::Read, "KEYS"), Scope::Everything);
        assert!(both.scope(Class::Write, "FLUSHDB").covers(b"a:1"));
        assert!(!both.scope(Class::Write, "FLUSHDB").covers(b"b:1"));
    }
}
