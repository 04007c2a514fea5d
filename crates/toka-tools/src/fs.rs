//! The tools that look at files.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use toka_toolkit_core::{
    ArgumentKind, CallContext, EffectClass, Input, Limits, Manifest, ManifestError, Output, Record, Tool,
    ToolError,
};
use toka_types::Digest;

use crate::beneath::MAX_ENTRIES;
use crate::error::FsError;
use crate::protected::Protected;
use crate::roots::Roots;

/// Most bytes that `fs.read` reads if the caller does not say: no text that people write is larger.
pub const DEFAULT_READ: u64 = 8 << 20;
/// Most bytes that `fs.read` reads however it is asked: several calls at once still fit a small machine.
pub const MAX_READ: u64 = 64 << 20;
/// Most bytes of a listing: a full page of the longest names, every byte of them an escape.
const MAX_LISTING: usize = MAX_ENTRIES * (255 * 6 + 128);

/// Makes the file tools, which share their protected places and the folders that they hold open.
#[derive(Clone, Debug)]
pub struct FsTools {
    roots: Arc<Roots>,
}

/// `fs.list`: the entries of a folder beneath the granted one, in pages.
///
/// Arguments `path`, `after` (a name: start behind it) and `limit`; the output is `{path, entries: [{name, kind,
/// size}], next}`, where `next` is what to give as `after` for the rest, or null. A call blocks its thread
/// while the disk answers.
#[derive(Clone, Debug)]
pub struct FsList {
    manifest: Manifest,
    roots: Arc<Roots>,
}

/// `fs.read`: the content of a file beneath the granted folder.
///
/// Arguments `path` and `max_bytes` ([`DEFAULT_READ`] without it, [`MAX_READ`] at most); the output's bytes are
/// the content, its value `{path, size, digest}`. The outcome records digest and size alone. A call blocks its
/// thread while the disk answers.
#[derive(Clone, Debug)]
pub struct FsRead {
    manifest: Manifest,
    roots: Arc<Roots>,
}

#[derive(Deserialize)]
struct ListArguments {
    path: String,
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
struct ReadArguments {
    path: String,
    max_bytes: Option<u64>,
}

impl FsTools {
    /// Tools that never open what is `protected`.
    pub fn new(protected: Protected) -> Self {
        Self { roots: Arc::new(Roots::new(protected)) }
    }

    /// The tool `fs.list`.
    ///
    /// # Errors
    /// None that a caller could cause; the manifest is checked like any other.
    pub fn list(&self) -> Result<FsList, ManifestError> {
        let schema = json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "the folder, relative; '.' is the granted one"},
                "after": {"type": "string", "description": "start behind this name"},
                "limit": {"type": "integer", "minimum": 1, "maximum": MAX_ENTRIES, "default": MAX_ENTRIES},
            },
            "required": ["path"],
            "additionalProperties": false,
        });
        let manifest = Manifest::builder("fs.list", "1.0.0")
            .description("lists a folder: names, kinds and sizes, in the order of the names, in pages")
            .effect(EffectClass::Read { local: true })
            .input(schema)
            .governed("path", ArgumentKind::Path)
            .control(["path"])
            .labels(["untrusted:file"])
            .limits(Limits { output_bytes: MAX_LISTING, ..Limits::default() });
        Ok(FsList { manifest: manifest.build()?, roots: Arc::clone(&self.roots) })
    }

    /// The tool `fs.read`.
    ///
    /// # Errors
    /// None that a caller could cause; the manifest is checked like any other.
    pub fn read(&self) -> Result<FsRead, ManifestError> {
        let schema = json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "the file, relative to the granted folder"},
                "max_bytes": {"type": "integer", "minimum": 0, "maximum": MAX_READ, "default": DEFAULT_READ},
            },
            "required": ["path"],
            "additionalProperties": false,
        });
        let limits = Limits {
            output_bytes: usize::try_from(MAX_READ).unwrap_or(usize::MAX),
            timeout: Duration::from_secs(60),
            ..Limits::default()
        };
        let manifest = Manifest::builder("fs.read", "1.0.0")
            .description("reads a file")
            .effect(EffectClass::Read { local: true })
            .input(schema)
            .governed("path", ArgumentKind::Path)
            .control(["path"])
            .labels(["untrusted:file"])
            .limits(limits)
            .record(Record::Digest);
        Ok(FsRead { manifest: manifest.build()?, roots: Arc::clone(&self.roots) })
    }
}

impl Tool for FsList {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn call(&self, input: Input, context: &CallContext) -> Result<Output, ToolError> {
        let ListArguments { path, after, limit } = input.read()?;
        let root = self.roots.open(context.root().ok_or(FsError::NoRoot)?)?;
        let page = root.list(&path, after.as_deref(), limit.unwrap_or(MAX_ENTRIES), &context.cancel)?;
        let next = page.entries.last().filter(|_| page.more).map(|last| last.name.clone());
        let entries: Vec<_> = page
            .entries
            .iter()
            .map(|e| json!({"name": e.name, "kind": e.kind.as_str(), "size": e.size}))
            .collect();
        Ok(Output::value(json!({"path": path, "entries": entries, "next": next})))
    }
}

impl Tool for FsRead {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn call(&self, input: Input, context: &CallContext) -> Result<Output, ToolError> {
        let ReadArguments { path, max_bytes } = input.read()?;
        let limit = max_bytes.unwrap_or(DEFAULT_READ).min(MAX_READ);
        let root = self.roots.open(context.root().ok_or(FsError::NoRoot)?)?;
        let content = root.read(&path, limit, &context.cancel)?;
        let digest = Digest::of(&content);
        let value = json!({"path": path, "size": content.len(), "digest": digest.to_string()});
        Ok(Output::with_bytes(value, content))
    }
}
