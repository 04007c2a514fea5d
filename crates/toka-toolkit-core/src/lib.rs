//! Contracts for the outside world: tools and their manifests, the registry, drivers, embedders.
//!
//! A [`Tool`] does one thing for an agent. Its [`Manifest`] says what it is called, what it takes, what
//! repeating it would do ([`EffectClass`]) and which of its arguments capabilities may restrict. This crate
//! runs nothing and decides nothing: the kernel decides, the runtime calls, and the standard tools live in
//! `toka-tools`.
//!
//! | Module | Holds |
//! |---|---|
//! | [`tool`] | [`Tool`], its object-safe twin [`DynTool`], [`Output`], [`ToolError`] |
//! | [`manifest`] | [`Manifest`] and its builder, [`Limits`], [`Record`] |
//! | [`input`] | [`Input`]: arguments, parsed once, with their canonical bytes |
//! | [`plan`] | [`Plan`]: the calls that a request takes, as agents write them |
//! | [`trace`] | what plans know of requests, outcomes and arguments |
//! | [`schema`] | the part of JSON Schema that is enforced |
//! | [`context`] | [`CallContext`]: what a tool gets beside its input |
//! | [`storage`] | [`Storage`], [`Driver`] and the [`DriverRegistry`] |
//! | [`labelled`] | storage that hands out what it keeps with the labels that it came with |
//! | [`registry`] | [`ToolRegistry`]: tools by name, in several versions |
//! | [`version`] | [`Version`] and [`VersionReq`] |
//!
//! A tool is an ordinary type with an `async fn`:
//!
//! ```
//! use toka_toolkit_core::{CallContext, EffectClass, Input, Manifest, Output, Tool, ToolError, ToolRegistry};
//! use toka_toolkit_core::ManifestError;
//!
//! struct Length(Manifest);
//!
//! impl Length {
//!     fn new() -> Result<Self, ManifestError> {
//!         let text = serde_json::json!({"properties": {"text": {"type": "string"}}, "required": ["text"]});
//!         let manifest = Manifest::builder("text.length", "1.0.0")
//!             .description("counts the characters of a text")
//!             .effect(EffectClass::Pure)
//!             .input(text);
//!         manifest.build().map(Self)
//!     }
//! }
//!
//! impl Tool for Length {
//!     fn manifest(&self) -> &Manifest {
//!         &self.0
//!     }
//!
//!     async fn call(&self, input: Input, _: &CallContext) -> Result<Output, ToolError> {
//!         Ok(Output::value(input.text("text")?.chars().count()))
//!     }
//! }
//!
//! let registry = ToolRegistry::new();
//! registry.register(Length::new()?)?;
//! assert!(registry.get("text.length", None).is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod context;
mod embedder;
pub mod input;
pub mod labelled;
pub mod manifest;
pub mod plan;
pub mod registry;
pub mod schema;
pub mod storage;
pub mod tool;
pub mod trace;
pub mod version;

pub use context::{CallContext, Cancel};
pub use embedder::*;
pub use input::{Input, InputError};
pub use manifest::{Limits, Manifest, ManifestBuilder, ManifestError, Record};
pub use plan::{Plan, PlanError, PlannedCall, PlannedSource};
pub use registry::{RegistryError, ToolRegistry};
pub use storage::{Driver, DriverRegistry, Storage, StorageError};
pub use toka_types::EffectClass;
pub use toka_types::capability::ArgumentKind;
pub use tool::{BoxFuture, DynTool, Output, Probe, Tool, ToolError};
pub use version::{Version, VersionReq};
