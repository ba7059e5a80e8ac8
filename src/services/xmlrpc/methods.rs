//! The methods: one table for dispatch, help and signatures.

use crate::access::Class;
use crate::value::Value;

/// The effect of a method on the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyAccess {
    Read,
    Write,
    /// None: it describes the service itself.
    System,
}

/// The implementation of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// It accesses one key, its first parameter.
    OnKey(OnKey),
    /// It accesses no particular key.
    OnAll(OnAll),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnKey {
    Get,
    Set,
    Delete,
    Exists,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnAll {
    Keys,
    ListMethods,
    MethodHelp,
    MethodSignature,
    Multicall,
    Capabilities,
}

/// The possible types of a parameter or a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Types {
    Any,
    Key,
    Nil,
    Boolean,
    String,
    Array,
    Struct,
}

impl Types {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Any => {
                &["string", "int", "i8", "boolean", "double", "base64", "dateTime.iso8601", "array", "struct", "nil"]
            }
            Self::Key => &["string", "base64"],
            Self::Nil => &["nil"],
            Self::Boolean => &["boolean"],
            Self::String => &["string"],
            Self::Array => &["array"],
            Self::Struct => &["struct"],
        }
    }
}

/// One parameter.
#[derive(Debug, PartialEq)]
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) types: Types,
}

/// One method.
#[derive(Debug, PartialEq)]
pub(super) struct MethodSpec {
    pub(super) name: &'static str,
    pub(super) action: Action,
    pub(super) access: KeyAccess,
    pub(super) returns: Types,
    pub(super) params: &'static [Param],
    pub(super) help: &'static str,
}

const KEY: Param = Param { name: "name", types: Types::Key };
const METHOD_NAME: Param = Param { name: "method_name", types: Types::String };

/// Every method, in the order of `system.listMethods`: sorted by name, as in Python's server.
pub(super) static METHODS: [MethodSpec; 10] = [
    MethodSpec {
        name: "delete",
        action: Action::OnKey(OnKey::Delete),
        access: KeyAccess::Write,
        returns: Types::Nil,
        params: &[KEY],
        help: "Removes the key. A missing key is a fault.",
    },
    MethodSpec {
        name: "exists",
        action: Action::OnKey(OnKey::Exists),
        access: KeyAccess::Read,
        returns: Types::Boolean,
        params: &[KEY],
        help: "Whether the key exists.",
    },
    MethodSpec {
        name: "get",
        action: Action::OnKey(OnKey::Get),
        access: KeyAccess::Read,
        returns: Types::Any,
        params: &[KEY],
        help: "The value under the key, with the type it was set with. A missing key is a fault.",
    },
    MethodSpec {
        name: "keys",
        action: Action::OnAll(OnAll::Keys),
        access: KeyAccess::Read,
        returns: Types::Array,
        params: &[],
        help: "All keys, in no particular order; base64 where a key is not text.",
    },
    MethodSpec {
        name: "set",
        action: Action::OnKey(OnKey::Set),
        access: KeyAccess::Write,
        returns: Types::Nil,
        params: &[KEY, Param { name: "value", types: Types::Any }],
        help: "Puts a value of any type under the key.",
    },
    MethodSpec {
        name: "system.getCapabilities",
        action: Action::OnAll(OnAll::Capabilities),
        access: KeyAccess::System,
        returns: Types::Struct,
        params: &[],
        help: "The specifications this server follows: each one's name with specUrl and specVersion.",
    },
    MethodSpec {
        name: "system.listMethods",
        action: Action::OnAll(OnAll::ListMethods),
        access: KeyAccess::System,
        returns: Types::Array,
        params: &[],
        help: "The names of all methods.",
    },
    MethodSpec {
        name: "system.methodHelp",
        action: Action::OnAll(OnAll::MethodHelp),
        access: KeyAccess::System,
        returns: Types::String,
        params: &[METHOD_NAME],
        help: "What a method does.",
    },
    MethodSpec {
        name: "system.methodSignature",
        action: Action::OnAll(OnAll::MethodSignature),
        access: KeyAccess::System,
        returns: Types::Array,
        params: &[METHOD_NAME],
        help: "An array of the signatures of a method, each an array of type names, the result's first.",
    },
    MethodSpec {
        name: "system.multicall",
        action: Action::OnAll(OnAll::Multicall),
        access: KeyAccess::System,
        returns: Types::Array,
        params: &[Param { name: "call_list", types: Types::Array }],
        help: "Makes each call of an array of {methodName, params}. Each result is an array of one value, or a fault.",
    },
];

impl MethodSpec {
    /// The method called `name`. Only methods in the table can be called.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        METHODS.iter().find(|method| method.name == name)
    }

    /// Its class in authorization rules.
    pub(super) fn class(&self) -> Class {
        match self.access {
            KeyAccess::Read => Class::Read,
            KeyAccess::Write => Class::Write,
            KeyAccess::System => Class::Open,
        }
    }

    /// The result of `system.methodHelp`.
    pub(super) fn help(&self) -> String {
        let params: Vec<&str> = self.params.iter().map(|param| param.name).collect();
        let access = match self.access {
            KeyAccess::Read => " Reads the store.",
            KeyAccess::Write => " Writes the store.",
            KeyAccess::System => "",
        };
        format!("{}({})\n{}{access}", self.name, params.join(", "), self.help)
    }

    /// Every combination of the types of the result and of the parameters.
    pub(super) fn signatures(&self) -> Value {
        let mut signatures = vec![Vec::new()];
        for types in std::iter::once(self.returns).chain(self.params.iter().map(|param| param.types)) {
            let extended = |signature: &Vec<&'static str>, name| [signature.as_slice(), &[name]].concat();
            signatures = signatures
                .iter()
                .flat_map(|signature| types.names().iter().map(move |name| extended(signature, *name)))
                .collect();
        }
        let text = |name: &str| Value::String(name.to_owned());
        Value::Array(signatures.iter().map(|names| Value::Array(names.iter().copied().map(text).collect())).collect())
    }
}
