//! The standard tools: `echo`, `fs.list` and `fs.read`.
//!
//! | Tool | Effect | Capability |
//! |---|---|---|
//! | [`Echo`] | pure | `tool:echo` |
//! | [`FsList`] | local read | `tool:fs.list(path=…)` |
//! | [`FsRead`] | local read | `tool:fs.read(path=…)` |
//!
//! The kernel has matched the path against the caller's grant before a tool is called. The tools here still
//! trust nothing: they open files through [`Root`], component by component beneath the granted folder, so
//! that a link put in the way after the check leads nowhere, and they refuse [`Protected`] places whatever
//! the grant says. They are **not** the place where it is decided who may read what.
//!
//! ```
//! use toka_toolkit_core::ToolRegistry;
//! use toka_tools::Protected;
//!
//! let registry = ToolRegistry::new();
//! toka_tools::register(&registry, &Protected::none())?;
//! assert_eq!(registry.list().len(), 3);
//! # Ok::<(), toka_tools::RegisterError>(())
//! ```

mod beneath;
mod echo;
mod error;
mod fs;
mod protected;
mod roots;

pub use beneath::{Entry, FileKind, MAX_ENTRIES, Page, Root};
pub use echo::Echo;
pub use error::FsError;
pub use fs::{DEFAULT_READ, FsList, FsRead, FsTools, MAX_READ};
pub use protected::Protected;

use thiserror::Error;
use toka_toolkit_core::{ManifestError, RegistryError, ToolRegistry};

/// Why the standard tools were not registered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RegisterError {
    /// A manifest is not sound.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A tool of this name and version is there already.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Registers every standard tool; none of them opens what is `protected`.
///
/// # Errors
/// [`RegisterError::Registry`] if one is registered already; those before it are registered then.
pub fn register(registry: &ToolRegistry, protected: &Protected) -> Result<(), RegisterError> {
    registry.register(Echo::new()?)?;
    let files = FsTools::new(protected.clone());
    registry.register(files.list()?)?;
    registry.register(files.read()?)?;
    Ok(())
}
