//! A folder, the tools on it, and calls as a runtime makes them.

use std::path::Path;

use serde_json::Value;
use toka_toolkit_core::{CallContext, Cancel, Input, Output, ToolError, ToolRegistry};
use toka_tools::Protected;
use toka_types::{Digest, Name, Timestamp};

pub(crate) type Outcome = Result<(), Box<dyn std::error::Error>>;

pub(crate) struct Desk {
    pub(crate) folder: tempfile::TempDir,
    registry: ToolRegistry,
    pub(crate) cancel: Cancel,
}

impl Desk {
    pub(crate) fn new() -> Result<Self, Box<dyn std::error::Error>> {
        Self::protecting(tempfile::tempdir()?, &[])
    }

    pub(crate) fn protecting(
        folder: tempfile::TempDir,
        names: &[&str],
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let registry = ToolRegistry::new();
        toka_tools::register(&registry, &Protected::new(names.iter().map(|n| folder.path().join(n)))?)?;
        Ok(Self { folder, registry, cancel: Cancel::default() })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn call(&self, tool: &str, arguments: Value) -> Result<Output, ToolError> {
        self.call_in(Some(self.path()), tool, arguments)
    }

    pub(crate) fn call_in(
        &self,
        root: Option<&Path>,
        tool: &str,
        arguments: Value,
    ) -> Result<Output, ToolError> {
        let failed = |e: &dyn std::fmt::Display| ToolError::failed("test", e.to_string());
        let tool = self.registry.get(tool, None).ok_or_else(|| failed(&"no such tool"))?;
        let agent = Name::new("tester").map_err(|e| failed(&e))?;
        let mut context =
            CallContext::new(agent, Digest::of(b"1"), Timestamp::EPOCH).with_cancel(self.cancel.clone());
        if let Some(root) = root {
            context = context.with_root(root);
        }
        let input = tool.manifest().prepare(Input::from_value(arguments)?)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|e| failed(&e))?;
        let output = runtime.block_on(tool.call(input, &context))?;
        tool.manifest().check_output(&output)?;
        Ok(output)
    }

    /// The content of `path`, or the code of the error.
    pub(crate) fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let output =
            self.call("fs.read", serde_json::json!({"path": path})).map_err(|e| e.code().to_owned())?;
        output.bytes.ok_or_else(|| "no bytes".to_owned())
    }

    /// The names and kinds in `path`, or the code of the error.
    pub(crate) fn list(&self, path: &str) -> Result<Vec<(String, String)>, String> {
        let output =
            self.call("fs.list", serde_json::json!({"path": path})).map_err(|e| e.code().to_owned())?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let entries = output.value["entries"].as_array().cloned().unwrap_or_default();
        Ok(entries.iter().map(|e| (text(&e["name"]), text(&e["kind"]))).collect())
    }
}

pub(crate) fn code<T>(code: &str) -> Result<T, String> {
    Err(code.to_owned())
}
