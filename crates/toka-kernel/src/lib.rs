//! The deterministic core of Toka: what may happen, decided over a world that is folded from a log.
//!
//! [`decide`](decide::decide) says what an operation amounts to (events, or a [`Denied`] with a stable code),
//! [`apply`](apply::apply) folds an event into the [`WorldState`], and [`Kernel::step`] puts the two in
//! sequence for a batch of operations. The crate has **no** clock, no I/O, no randomness, no async, no floating
//! point and no map with a random order; `apply` has no configuration. The same log gives the same world on
//! every machine.
//!
//! | Module | Holds |
//! |---|---|
//! | [`world`] | [`WorldState`] and its parts |
//! | [`decide`] | what an operation amounts to |
//! | [`apply`] | how an event changes the world |
//! | [`step`] | [`Kernel`]: a batch of envelopes in, records and replies out |
//! | [`codec`] | facts as MessagePack |
//! | [`digest`] | the two digests of a world, `fold` and `world` |
//! | [`denial`] | [`Denied`], its codes, and the meter that keeps a flood of refusals out of the log |
//! | [`plans`] | what people asked agents for, and the calls that the agents said that takes |
//! | [`saved`] | the world's bytes in a snapshot |
//! | [`policy`] | [`Policy`]: where labelled data may flow |
//! | [`safeguards`] | what bounds the use of a grant from one operation to the next, and what tools are |
//! | [`testing`] | what fuzzers call |
//! | [`limits`] | every bound, with its reason |
//! | [`opcode`] | operations that a program adds |
//!
//! ```
//! use toka_kernel::{Kernel, Submission};
//! use toka_types::operation::{Authority, Envelope, GrantTerms};
//! use toka_types::{EntityId, Name, Operation, Timestamp};
//!
//! let mut kernel = Kernel::new();
//! let operator = |operation, authority| Submission::new(Envelope {
//!     origin: EntityId::operator(), authority, op_id: None, causes: vec![], operation,
//! });
//! let open = Operation::OpenLog { capabilities: vec!["**".parse()?] };
//! let opened = kernel.step(vec![operator(open, Authority::Host)], Timestamp(1));
//! assert_eq!(opened.events[0].header.kind, "log.opened");
//!
//! let grant = GrantTerms { uses: vec!["tool:echo".parse()?], ..GrantTerms::default() };
//! let spawn = Operation::SpawnAgent { name: Name::new("a")?, behaviour: Name::new("Logger")?, grant, budget: None, quarantine: None };
//! let root = Authority::Grant(kernel.world().operator_grant().expect("opened"));
//! let spawned = kernel.step(vec![operator(spawn, root)], Timestamp(2));
//! assert!(spawned.replies[0].is_ok());
//! assert_eq!(kernel.world().agents().count(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod apply;
pub mod codec;
pub mod decide;
pub mod denial;
pub mod digest;
pub mod limits;
pub mod opcode;
mod places;
pub mod plans;
pub mod policy;
pub mod quarantine;
pub mod safeguards;
pub mod saved;
pub mod step;
pub mod testing;
mod token_meters;
pub mod world;

pub use codec::FactsError;
pub use denial::{Code, Denied};
pub use digest::{Digests, digests};
pub use policy::{Policy, PolicyError};
pub use step::{Kernel, Reply, Step, Submission};
pub use world::WorldState;
