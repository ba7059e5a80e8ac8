//! Properties of commands, as a typed set.

/// One property of a command. Those that Redis has too are named as in its `COMMAND` reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Flag {
    /// May change the store.
    Write,
    /// Only reads the store.
    ReadOnly,
    /// May need more memory.
    DenyOom,
    /// Administration.
    Admin,
    /// Meaningless within a script.
    NoScript,
    /// Answered while data is being loaded, and from stale data: Redis's `loading` and `stale`.
    Always,
    /// Left out of the slow log.
    SkipSlowlog,
    /// Takes constant or logarithmic time.
    Fast,
    /// Needs no authentication.
    NoAuth,
    /// Answered while a script runs.
    AllowBusy,
    /// Refused while data is being loaded beside the service.
    NoAsyncLoading,

    /// Access category: the set of keys as a whole.
    Keyspace,
    /// Access category: strings.
    Strings,
    /// Access category: to be given with care.
    Dangerous,
    /// Access category: the connection itself.
    Connection,
    /// Access category: administration, of a command without [`Admin`](Self::Admin).
    AdminCategory,
    /// Access category: transactions.
    Transaction,

    /// Has subcommands and does nothing itself.
    Container,
    /// Executed at once within `MULTI`.
    InMulti,
    /// Executes the commands queued since `MULTI`.
    Exec,
    /// Costs as much as thousands of ordinary commands: a transaction has room for few of them.
    Heavy,
    /// Refused by its handler before it would be queued in a transaction.
    Protected,
    /// Answers about all keys; for a client that may not see all of them, about those that it may see.
    Confinable,
    /// Marks keys as used even for a client in the mode `CLIENT NO-TOUCH`.
    Touch,
    /// Reads the value of its key only where the option `GET` is given.
    ReadsOnGet,
}

/// A set of [`Flag`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u32);

impl Flags {
    /// The set of these.
    pub(crate) const fn of(flags: &[Flag]) -> Self {
        let (mut set, mut rest) = (Self(0), flags);
        while let [flag, tail @ ..] = rest {
            set.0 |= 1 << *flag as u32;
            rest = tail;
        }
        set
    }

    /// All of both sets.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn has(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u32) != 0
    }
}
