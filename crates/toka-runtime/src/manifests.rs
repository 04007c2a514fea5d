//! What the world knows of the tools: each manifest is declared before the first call under it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use toka_kernel::WorldState;
use toka_kernel::limits::{MAX_ARGUMENT_NAME, MAX_CONTROL};
use toka_toolkit_core::{Manifest, Version};
use toka_types::facts::ToolDeclared;
use toka_types::operation::Authority;
use toka_types::{Digest, EntityId, Envelope, GrantId, Name, Operation};

/// The manifests that the world has, or that are on their way into it.
pub(crate) struct Manifests {
    /// The operator's grant, once the log is open.
    operator: OnceLock<GrantId>,
    known: Mutex<Known>,
}

type Known = BTreeMap<Name, BTreeMap<Version, Digest>>;

impl Manifests {
    pub(crate) fn of(world: &WorldState) -> Self {
        let mut known = Known::new();
        for (tool, version, declared) in world.tools() {
            // What has another form of version is no tool of this registry.
            if let Ok(version) = version.parse() {
                known.entry(tool.clone()).or_default().insert(version, declared.manifest);
            }
        }
        let operator = world.operator_grant().map_or_else(OnceLock::new, OnceLock::from);
        Self { operator, known: Mutex::new(known) }
    }

    /// Says under which grant tools are declared.
    pub(crate) fn opened(&self, operator: GrantId) {
        let _ = self.operator.set(operator);
    }

    /// What tells the world of the manifest, if it does not know it. Whoever asks queues this before the call. Said twice, it
    /// is no second event.
    pub(crate) fn declaration(&self, manifest: &Manifest) -> Option<Envelope> {
        let (tool, version, digest) = (manifest.id(), manifest.version(), manifest.digest());
        if self.known().get(tool).and_then(|versions| versions.get(&version)) == Some(&digest) {
            return None;
        }
        let operator = *self.operator.get()?;
        let mut control = manifest.control_arguments();
        if control.len() > MAX_CONTROL || control.iter().any(|name| name.len() > MAX_ARGUMENT_NAME) {
            // Of a tool that names none, every argument is one: that says more, and fits.
            control.clear();
        }
        let declared = ToolDeclared {
            tool: tool.clone(),
            version: version.to_string(),
            class: manifest.effect(),
            sink: manifest.sink(),
            labels: manifest.labels().clone(),
            control,
            manifest: digest,
        };
        Some(Envelope {
            origin: EntityId::operator(),
            authority: Authority::Grant(operator),
            op_id: None,
            causes: Vec::new(),
            operation: Operation::DeclareTool(declared),
        })
    }

    /// What tells the world of the manifest is on its way.
    pub(crate) fn declared(&self, manifest: &Manifest) {
        let mut known = self.known();
        known.entry(manifest.id().clone()).or_default().insert(manifest.version(), manifest.digest());
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
