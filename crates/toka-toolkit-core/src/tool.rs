//! What a tool is, and what it answers.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;

use serde_json::Value;
use thiserror::Error;
use toka_types::Digest;

use crate::context::CallContext;
use crate::input::{Input, InputError};
use crate::manifest::Manifest;
use crate::storage::StorageError;

/// A future on the heap.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something an agent can have done.
///
/// # Contract
/// - The manifest is the same at every call.
/// - [`call`](Self::call) does nothing that its effect class rules out, and reaches nothing outside what the
///   context hands to it.
/// - Dropping the future of a call stops it; what has happened by then has happened.
pub trait Tool: Send + Sync + 'static {
    /// What the tool is.
    fn manifest(&self) -> &Manifest;

    /// Does it once. `input` has been through [`Manifest::prepare`].
    ///
    /// # Errors
    /// [`ToolError`]; the outcome is recorded with its code.
    fn call(
        &self,
        input: Input,
        context: &CallContext,
    ) -> impl Future<Output = Result<Output, ToolError>> + Send;

    /// Says what became of the call under the idempotency key `key`, after a crash that left no outcome.
    /// Asked of tools of the effect class `write` alone; a tool that cannot find out leaves it as it is.
    fn probe(&self, key: &Digest) -> impl Future<Output = Probe> + Send {
        let _ = key;
        std::future::ready(Probe::Unknown)
    }
}

/// What a [`Tool`] knows about a call of which no outcome was recorded.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// It happened, with this outcome.
    Happened(Output),
    /// It did not happen, and may be done now.
    Never,
    /// Nobody but a person can tell.
    Unknown,
}

/// [`Tool`] behind a pointer. Implemented for every tool; nothing else implements it.
pub trait DynTool: Send + Sync {
    /// As [`Tool::manifest`].
    fn manifest(&self) -> &Manifest;

    /// As [`Tool::call`].
    fn call<'a>(&'a self, input: Input, context: &'a CallContext)
    -> BoxFuture<'a, Result<Output, ToolError>>;

    /// As [`Tool::probe`].
    fn probe<'a>(&'a self, key: &'a Digest) -> BoxFuture<'a, Probe>;
}

impl<T: Tool> DynTool for T {
    fn manifest(&self) -> &Manifest {
        Tool::manifest(self)
    }

    fn call<'a>(
        &'a self,
        input: Input,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Output, ToolError>> {
        Box::pin(Tool::call(self, input, context))
    }

    fn probe<'a>(&'a self, key: &'a Digest) -> BoxFuture<'a, Probe> {
        Box::pin(Tool::probe(self, key))
    }
}

/// What a call gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// What there is to say about it, as JSON.
    pub value: Value,
    /// Raw data, such as the content of a file, that would not fit JSON or its size.
    pub bytes: Option<Vec<u8>>,
}

impl Output {
    /// An output without raw data.
    pub fn value(value: impl Into<Value>) -> Self {
        Self { value: value.into(), bytes: None }
    }

    /// An output with raw data.
    pub fn with_bytes(value: impl Into<Value>, bytes: Vec<u8>) -> Self {
        Self { value: value.into(), bytes: Some(bytes) }
    }
}

/// Why a call gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ToolError {
    /// The arguments are not what the manifest asks for.
    #[error("invalid input: {0}")]
    InvalidInput(String),
    /// The arguments could not be parsed.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A path that is absolute, leaves its root, or is no path.
    #[error(
        "'{0}' is no path beneath the granted folder; write a relative path that does not leave it, with '%' as %25"
    )]
    PathEscape(String),
    /// The output is larger than the manifest allows.
    #[error("the output has {size} bytes; at most {limit} are allowed")]
    OutputTooLarge {
        /// Its size.
        size: usize,
        /// The most allowed.
        limit: usize,
    },
    /// The call took longer than the manifest allows.
    #[error("the call took longer than {0:?}")]
    TimedOut(std::time::Duration),
    /// Nobody waits any more.
    #[error("the call was cancelled")]
    Cancelled,
    /// Storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What only this tool knows.
    #[error("{message}")]
    Failed {
        /// A stable kebab-case code of the tool's own.
        code: Cow<'static, str>,
        /// What happened, with the offending value and the way out.
        message: String,
    },
}

impl ToolError {
    /// A failure that only the tool knows: a stable kebab-case code, and what happened.
    pub fn failed(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::Failed { code: code.into(), message: message.into() }
    }

    /// A stable kebab-case code: `invalid-input`, `path-escape`, `output-too-large`, `timed-out`, `cancelled`,
    /// those of [`StorageError::code`], or the tool's own.
    pub fn code(&self) -> &str {
        match self {
            Self::InvalidInput(_) | Self::Input(_) => "invalid-input",
            Self::PathEscape(_) => "path-escape",
            Self::OutputTooLarge { .. } => "output-too-large",
            Self::TimedOut(_) => "timed-out",
            Self::Cancelled => "cancelled",
            Self::Storage(error) => error.code(),
            Self::Failed { code, .. } => code,
        }
    }
}
