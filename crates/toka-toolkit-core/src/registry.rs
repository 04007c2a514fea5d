//! Tools by name, in several versions.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use thiserror::Error;
use toka_types::Name;

use crate::tool::{DynTool, Tool};
use crate::version::{Version, VersionReq};

type Versions = BTreeMap<Version, Arc<dyn DynTool>>;

/// The tools there are. A clone is a handle to the same tools.
#[derive(Clone, Default)]
pub struct ToolRegistry {
    tools: Arc<RwLock<BTreeMap<Name, Versions>>>,
}

/// Why a tool was not registered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RegistryError {
    /// This version is there already.
    #[error(
        "the tool '{id}' is registered in version {version} already; remove it first or raise the version"
    )]
    Duplicate {
        /// The tool's id.
        id: Name,
        /// Its version.
        version: Version,
    },
}

impl ToolRegistry {
    /// A registry without tools.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `tool` under the id and version of its manifest.
    ///
    /// # Errors
    /// [`RegistryError::Duplicate`] if this version is there already.
    pub fn register(&self, tool: impl Tool) -> Result<(), RegistryError> {
        self.register_dyn(Arc::new(tool))
    }

    /// Adds a tool that is behind a pointer already.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub fn register_dyn(&self, tool: Arc<dyn DynTool>) -> Result<(), RegistryError> {
        let (id, version) = (tool.manifest().id().clone(), tool.manifest().version());
        let mut tools = self.tools.write().unwrap_or_else(PoisonError::into_inner);
        let versions = tools.entry(id.clone()).or_default();
        if versions.contains_key(&version) {
            return Err(RegistryError::Duplicate { id, version });
        }
        versions.insert(version, tool);
        Ok(())
    }

    /// Removes the version `version` of the tool `id`, or all its versions; says how many were removed. Calls
    /// that run go on.
    pub fn remove(&self, id: &str, version: Option<Version>) -> usize {
        let mut tools = self.tools.write().unwrap_or_else(PoisonError::into_inner);
        let Some(versions) = tools.get_mut(id) else {
            return 0;
        };
        let before = versions.len();
        versions.retain(|v, _| version.is_some_and(|gone| *v != gone));
        let left = versions.len();
        if left == 0 {
            tools.remove(id);
        }
        before - left
    }

    /// The newest version of the tool `id` that `wanted` admits; without it, the newest there is.
    pub fn get(&self, id: &str, wanted: Option<VersionReq>) -> Option<Arc<dyn DynTool>> {
        let wanted = wanted.unwrap_or(VersionReq::Any);
        let tools = self.tools.read().unwrap_or_else(PoisonError::into_inner);
        let versions = tools.get(id)?;
        versions.iter().rev().find(|(version, _)| wanted.admits(**version)).map(|(_, tool)| Arc::clone(tool))
    }

    /// All tools, sorted by id and then by version.
    pub fn list(&self) -> Vec<Arc<dyn DynTool>> {
        let tools = self.tools.read().unwrap_or_else(PoisonError::into_inner);
        tools.values().flat_map(BTreeMap::values).cloned().collect()
    }
}
