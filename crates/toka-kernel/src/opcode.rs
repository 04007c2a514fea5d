//! Operations that a program adds to the kernel.
//!
//! A handler decides; what it may decide is bounded: values in the world under digests of its own, and things said. Both
//! are events that every build knows, so that a log with opcodes is replayed by one that has never heard of them.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use toka_types::facts::Register;
use toka_types::{EntityId, Name, Payload, Timestamp};

use crate::world::WorldState;

/// Decides the operations of one opcode.
///
/// # Contract
/// `decide` is a function of its arguments: no clock, no I/O, no randomness. The kernel has checked that the asker may
/// use the opcode; what else is to be checked, the handler checks. An error or a panic is a refusal.
pub trait OpcodeHandler: Send + Sync {
    /// What the operation amounts to.
    ///
    /// # Errors
    /// Why not, in words that name the value and the limit.
    fn decide(&self, asked: &Asked<'_>) -> Result<Vec<Outcome>, String>;
}

/// What a handler is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The world as it is.
    pub world: &'a WorldState,
    /// The opcode's own name.
    pub opcode: &'a Name,
    /// Who asks.
    pub origin: EntityId,
    /// What is asked.
    pub input: &'a [u8],
    /// When.
    pub at: Timestamp,
}

/// What a handler decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Values of the opcode are set or cleared: `custom.set`.
    Set(Vec<Register>),
    /// Something is said: `custom.emit`.
    Emit {
        /// What sort of thing.
        topic: Name,
        /// What.
        content: Option<Payload>,
    },
}

/// The handlers of a kernel, by opcode.
#[derive(Clone, Default)]
pub(crate) struct Opcodes(BTreeMap<Name, Arc<dyn OpcodeHandler>>);

impl fmt::Debug for Opcodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Opcodes {
    pub(crate) fn insert(&mut self, opcode: Name, handler: Arc<dyn OpcodeHandler>) {
        self.0.insert(opcode, handler);
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }

    /// What the opcode decides; `None` if nobody registered it.
    pub(crate) fn decide(&self, asked: &Asked<'_>) -> Option<Result<Vec<Outcome>, String>> {
        let handler = self.0.get(asked.opcode)?;
        let decided = catch_unwind(AssertUnwindSafe(|| handler.decide(asked)));
        Some(decided.unwrap_or_else(|_| Err("its handler panicked".to_owned())))
    }
}
