//! Calls on the store.

use super::FaultStyle;
use super::call_error::CallError;
use super::methods::{Action, METHODS, MethodSpec, OnAll, OnKey};
use crate::access::{Access, Class, Scope};
use crate::protocol::xmlrpc::encoded_bytes;
use crate::store::{Store, StoreError};
use crate::timer::Now;
use crate::value::Value;
use crate::value::is_xml_text;

/// Keys visited in one step, which takes half a millisecond; a scan of more is done [in steps](super::key_scan).
pub(super) const KEYS_PER_STEP: usize = 2048;

/// Limits on the cost of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallLimits {
    /// Calls in one `system.multicall`. With a thousand a batch is useful and the loop's turn short.
    pub(super) calls: usize,
    /// Keys that a direct call of `keys` scans at once; above that, it is done [in steps](super::key_scan).
    pub(super) keys_at_once: usize,
    /// Keys that all calls of `keys` within one `system.multicall`, which cannot be done in steps, may scan: some 10
    /// ms.
    pub(super) keys: usize,
    /// Values in one reply, in bytes of XML (`--max-call`), which are written within one turn.
    pub(super) reply_bytes: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self { calls: 1000, keys_at_once: KEYS_PER_STEP, keys: 65_536, reply_bytes: 17 << 20 }
    }
}

/// Executes the calls of one request.
pub(super) struct Dispatcher<'a> {
    store: &'a mut Store,
    now: Now,
    faults: FaultStyle,
    access: &'a Access,
    /// Calls that were denied.
    pub(super) denials: u64,
    pub(super) limits: CallLimits,
    /// Bytes of the values in the reply so far, including values that did not fit.
    pub(super) spent: usize,
    /// Keys scanned so far.
    searched: usize,
    in_multicall: bool,
    /// The call is `keys`, and there are so many keys that they must be found in steps; there is no result yet.
    pub(super) asks_for_many_keys: bool,
}

impl<'a> Dispatcher<'a> {
    pub(super) fn new(store: &'a mut Store, now: Now, faults: FaultStyle, access: &'a Access) -> Self {
        Self {
            store,
            now,
            faults,
            access,
            denials: 0,
            limits: CallLimits::default(),
            spent: 0,
            searched: 0,
            in_multicall: false,
            asks_for_many_keys: false,
        }
    }

    /// Makes one call. Every call passes here, also those in `system.multicall`: at this point the method and its key
    /// are known and nothing has been done yet.
    pub(super) fn call(&mut self, name: String, params: Vec<Value>) -> Result<Value, CallError> {
        let Some(method) = MethodSpec::named(&name) else { return Err(CallError::UnknownMethod(name)) };
        if params.len() != method.params.len() {
            return Err(CallError::Arity { method, given: params.len() });
        }
        if method.class() == Class::Write && self.store.refuses_writes().is_some() {
            return Err(CallError::Store(StoreError::ReadOnly));
        }
        let mut params = params.into_iter();
        // The number of parameters has been checked, so there is a first one wherever it is used.
        let mut next = || params.next().unwrap_or(Value::Nil);
        match method.action {
            Action::OnKey(action) => {
                let key = Key::new(next())?;
                self.authorize(method, self.access.allows(method.class(), method.name, Some(key.bytes())))?;
                self.call_on_key(action, &key, next())
            }
            Action::OnAll(action) => {
                self.authorize(method, self.access.scope(method.class(), method.name) != Scope::Nothing)?;
                self.call_on_all(action, next())
            }
        }
    }

    fn authorize(&mut self, method: &'static MethodSpec, is_allowed: bool) -> Result<(), CallError> {
        if is_allowed {
            return Ok(());
        }
        self.denials += 1;
        // If the method is granted for other keys, the error names the key.
        let is_granted = self.access.scope(method.class(), method.name) != Scope::Nothing;
        Err(if is_granted { CallError::DeniedKey(method.name) } else { CallError::Denied(method.name) })
    }

    fn call_on_key(&mut self, action: OnKey, key: &Key, value: Value) -> Result<Value, CallError> {
        let missing = || CallError::MissingKey(key.0.clone());
        match action {
            OnKey::Get => {
                // A value that is too long even without encoding is not copied. `peek` does not count as a use of the
                // key.
                let bytes = self.store.peek(key.bytes(), self.now).map_or(0, |entry| entry.data.len());
                if bytes > self.limits.reply_bytes {
                    self.spend(bytes)?;
                }
                let value = self.store.value(key.bytes(), self.now).ok_or_else(missing)?;
                self.spend(encoded_bytes(&value))?;
                Ok(value)
            }
            OnKey::Set => {
                // A value that could not be returned by `get` must not be set.
                if encoded_bytes(&value) > self.limits.reply_bytes {
                    return Err(CallError::ValueTooLarge(self.limits.reply_bytes));
                }
                self.store.set_value(key.bytes(), value, self.now)?;
                Ok(Value::Nil)
            }
            OnKey::Delete if self.store.remove(key.bytes(), self.now) => Ok(Value::Nil),
            OnKey::Delete => Err(missing()),
            OnKey::Exists => Ok(Value::Boolean(self.store.contains(key.bytes(), self.now))),
        }
    }

    fn call_on_all(&mut self, action: OnAll, argument: Value) -> Result<Value, CallError> {
        let result = match action {
            OnAll::Keys => return self.keys(),
            OnAll::Multicall => return self.multicall(argument),
            OnAll::ListMethods => {
                Ok(Value::Array(METHODS.iter().map(|method| Value::String(method.name.to_owned())).collect()))
            }
            OnAll::MethodHelp => named(argument).map(|method| Value::String(method.help())),
            OnAll::MethodSignature => named(argument).map(MethodSpec::signatures),
            OnAll::Capabilities => Ok(capabilities(self.faults)),
        }?;
        self.spend(encoded_bytes(&result))?;
        Ok(result)
    }

    fn keys(&mut self) -> Result<Value, CallError> {
        let scope = self.access.scope(Class::Read, "keys");
        if !self.in_multicall && self.store.len() > self.limits.keys_at_once {
            self.asks_for_many_keys = true;
            return Ok(Value::Nil);
        }
        let (mut keys, mut cursor) = (Vec::new(), 0);
        loop {
            let (first, now, searched) = (keys.len(), self.now, &mut self.searched);
            // One segment of the table, since keys may be long.
            cursor = self.store.scan(cursor, 1, now, &mut |key, _| {
                *searched += 1;
                if scope.covers(key) {
                    keys.push(key_value(key));
                }
            });
            self.spend(keys.iter().skip(first).map(encoded_bytes).sum())?;
            if self.searched > self.limits.keys {
                return Err(CallError::TooManyKeys(self.limits.keys));
            }
            if cursor == 0 {
                return Ok(Value::Array(keys));
            }
        }
    }

    fn multicall(&mut self, calls: Value) -> Result<Value, CallError> {
        let Value::Array(calls) = calls else {
            return Err(CallError::Argument("system.multicall takes an array of structs"));
        };
        if self.in_multicall {
            return Err(CallError::RecursiveMulticall);
        }
        if calls.len() > self.limits.calls {
            return Err(CallError::TooManyCalls(self.limits.calls));
        }
        self.in_multicall = true;
        let results = calls.into_iter().map(|call| match self.inner_call(call) {
            Ok(value) => Value::Array(vec![value]),
            Err(failure) => {
                let fault = failure.fault(self.faults);
                // Making the fault took longer than copying its length. The next call checks the limit.
                let _ = self.spend(4 * fault.text.len());
                fault.into_value()
            }
        });
        Ok(Value::Array(results.collect()))
    }

    fn inner_call(&mut self, call: Value) -> Result<Value, CallError> {
        const SHAPE: CallError = CallError::Argument("a call is a struct of a string methodName and an array params");
        // A call whose reply would not fit must not be made: it may write.
        self.spend(0)?;
        let Value::Struct(members) = call else { return Err(SHAPE) };
        let (mut method, mut arguments) = (None, None);
        for member in members {
            match member {
                (name, Value::String(text)) if name == "methodName" => method = Some(text),
                (name, Value::Array(values)) if name == "params" => arguments = Some(values),
                _ => {}
            }
        }
        let (Some(method), Some(arguments)) = (method, arguments) else { return Err(SHAPE) };
        self.call(method, arguments)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), CallError> {
        self.spent = self.spent.saturating_add(bytes);
        let most = self.limits.reply_bytes;
        if self.spent > most { Err(CallError::ReplyTooLarge(most)) } else { Ok(()) }
    }
}

/// A key as it was sent.
struct Key(Value);

impl Key {
    fn new(value: Value) -> Result<Self, CallError> {
        Err(CallError::KeyType(match value {
            Value::String(_) | Value::Base64(_) => return Ok(Self(value)),
            Value::Nil => "nil",
            Value::Int(_) => "int",
            Value::I8(_) => "i8",
            Value::Boolean(_) => "boolean",
            Value::Double(_) => "double",
            Value::DateTime(_) => "dateTime.iso8601",
            Value::Array(_) => "array",
            Value::Struct(_) => "struct",
        }))
    }

    /// The key in the store.
    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Value::String(text) => text.as_bytes(),
            Value::Base64(bytes) => bytes,
            _ => &[],
        }
    }
}

/// A key that XML can carry becomes a string, any other base64; both are accepted as keys again.
pub(super) fn key_value(key: &[u8]) -> Value {
    match std::str::from_utf8(key) {
        Ok(text) if is_xml_text(text) => Value::String(text.to_owned()),
        _ => Value::Base64(key.to_vec()),
    }
}

fn named(argument: Value) -> Result<&'static MethodSpec, CallError> {
    let Value::String(name) = argument else { return Err(CallError::Argument("a method name is a string")) };
    MethodSpec::named(&name).ok_or(CallError::UnknownMethod(name))
}

/// The result of `system.getCapabilities`: names and addresses as other servers return them.
fn capabilities(faults: FaultStyle) -> Value {
    let capability = |name: &str, url: &str, version| {
        let about = vec![
            ("specUrl".to_owned(), Value::String(url.to_owned())),
            ("specVersion".to_owned(), Value::Int(version)),
        ];
        (name.to_owned(), Value::Struct(about))
    };
    let mut capabilities = vec![
        capability("xmlrpc", "http://www.xmlrpc.com/spec", 1),
        capability("introspection", "http://phpxmlrpc.sourceforge.net/doc-2/ch10.html", 2),
        capability("system.multicall", "http://www.xmlrpc.com/discuss/msgReader$1208", 1),
        capability("nil", "http://www.ontosys.com/xml-rpc/extensions.php", 20_010_518),
    ];
    if faults == FaultStyle::Standard {
        let url = "http://xmlrpc-epi.sourceforge.net/specs/rfc.fault_codes.php";
        capabilities.push(capability("faults_interop", url, 20_010_516));
    }
    Value::Struct(capabilities)
}
