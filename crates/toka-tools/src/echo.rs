//! The tool that says back what it was told.

use serde_json::json;
use toka_toolkit_core::{CallContext, EffectClass, Input, Manifest, ManifestError, Output, Tool, ToolError};

/// `echo`: gives its argument `text` back. For trying out grants, registries and agents.
#[derive(Clone, Debug)]
pub struct Echo(Manifest);

impl Echo {
    /// The tool.
    ///
    /// # Errors
    /// None that a caller could cause; the manifest is checked like any other.
    pub fn new() -> Result<Self, ManifestError> {
        let text = json!({"type": "string", "description": "what to say back"});
        let manifest = Manifest::builder("echo", "1.0.0")
            .description("says back what it was told")
            .effect(EffectClass::Pure)
            .input(json!({"type": "object", "properties": {"text": text}, "required": ["text"]}));
        manifest.build().map(Self)
    }
}

impl Tool for Echo {
    fn manifest(&self) -> &Manifest {
        &self.0
    }

    async fn call(&self, input: Input, _: &CallContext) -> Result<Output, ToolError> {
        Ok(Output::value(json!({"text": input.text("text")?})))
    }
}
