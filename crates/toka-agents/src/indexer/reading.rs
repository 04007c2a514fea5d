//! One file under way: read through the tool, decoded and cut on a thread for computing.

use std::borrow::Cow;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use toka_types::operation::Cause;
use toka_types::{Digest, Payload};
use tokio::task::JoinHandle;

use super::chunk;
use super::content::FileChunk;
use super::extract::extract;
use super::report::IndexReport;
use super::skip::SkipReason;
use crate::context::{AgentContext, AgentError};

/// The tool through which all content comes.
pub(super) const READ_TOOL: &str = "fs.read";

/// Chunks of one file at most: a file and its chunks are one operation, and the kernel takes 131,072 observations in
/// one. A file of 64 MiB has some 60,000.
const MAX_CHUNKS: usize = (1 << 17) - 1;

/// What came of reading a file.
#[derive(Debug)]
pub(super) enum Fetched {
    /// It is what is known already.
    Same,
    /// It is another text.
    Text(Box<Text>),
    /// It is left out.
    Skipped(SkipReason, Option<Cause>),
    /// There is nothing any more.
    Gone,
    /// The grant does not cover it.
    Refused,
    /// Nothing can be read at all.
    Failed(AgentError),
}

/// A text, ready to be recorded.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) media: &'static str,
    pub(super) encoding: &'static str,
    pub(super) lossy: bool,
    pub(super) chunks: Vec<Payload>,
    /// Bytes of text in the chunks.
    pub(super) extracted_bytes: u64,
    /// The read.
    pub(super) cause: Cause,
}

/// A file to read.
#[derive(Debug)]
pub(super) struct Request {
    /// Its path in bytes.
    pub(super) path: Vec<u8>,
    /// The same as text.
    pub(super) text_path: String,
    pub(super) max_bytes: u64,
    /// The digest of what is known there: of that nothing but the digest is taken.
    pub(super) known: Option<Digest>,
}

/// A read under way. Ends when dropped.
pub(super) struct Reading(JoinHandle<Fetched>);

impl Reading {
    /// Begins to read.
    pub(super) fn begin(ctx: &AgentContext, report: &Arc<IndexReport>, request: Request) -> Self {
        Self(tokio::spawn(fetch(ctx.clone(), Arc::clone(report), request)))
    }
}

impl Future for Reading {
    type Output = Fetched;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Fetched> {
        let joined = Pin::new(&mut self.0).poll(cx);
        joined.map(|joined| match joined {
            Ok(fetched) => fetched,
            Err(error) if error.is_panic() => {
                Fetched::Failed(AgentError::Invalid(format!("{READ_TOOL} failed: {error}")))
            }
            Err(_) => Fetched::Failed(AgentError::Stopped),
        })
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn fetch(ctx: AgentContext, report: Arc<IndexReport>, request: Request) -> Fetched {
    let arguments = serde_json::json!({ "path": request.text_path, "max_bytes": request.max_bytes });
    let output = match ctx.call(READ_TOOL, arguments).await {
        Ok(output) => output,
        Err(AgentError::Denied { .. }) => return Fetched::Refused,
        Err(AgentError::Tool { code, detail, cause, .. }) => {
            return failed(&request, &code, &detail, cause.map(|cause| *cause));
        }
        Err(AgentError::Invalid(detail)) => return failed(&request, "invalid-input", &detail, None),
        Err(error) => return Fetched::Failed(error),
    };
    let Some(bytes) = output.bytes else {
        return Fetched::Failed(AgentError::Invalid(format!(
            "{READ_TOOL} answered without the content of a file"
        )));
    };
    report.read(bytes.len());
    let cause = output.cause;
    let task = tokio::task::spawn_blocking(move || cut_safely(&request, bytes, cause));
    task.await.unwrap_or(Fetched::Failed(AgentError::Stopped))
}

/// Like [`cut`]; one file on which the extraction fails does not keep all others out.
fn cut_safely(request: &Request, bytes: Vec<u8>, cause: Cause) -> Fetched {
    let read = cause.clone();
    // What the extraction was at when it failed is dropped with it.
    catch_unwind(AssertUnwindSafe(|| cut(request, bytes, cause))).unwrap_or_else(|_| {
        let path = toka_types::path::for_terminal(&request.text_path);
        tracing::error!(%path, "the text of a file could not be extracted; it is left out as unreadable");
        Fetched::Skipped(SkipReason::Unreadable, Some(read))
    })
}

/// What an error of the tool means for the file.
fn failed(request: &Request, code: &str, detail: &str, cause: Option<Cause>) -> Fetched {
    let reason = match code {
        // A folder of its path may have become a file since it was listed.
        "not-found" | "not-a-directory" => return Fetched::Gone,
        "cancelled" => return Fetched::Failed(AgentError::Stopped),
        // Then nothing can be read, and it is not for want of files.
        "no-root" => return Fetched::Failed(AgentError::Invalid(detail.to_owned())),
        "not-a-file" => SkipReason::Special,
        "output-too-large" => SkipReason::Oversized,
        _ => SkipReason::from_name(code).unwrap_or(SkipReason::Unreadable),
    };
    tracing::debug!(path = %toka_types::path::for_terminal(&request.text_path), code, detail, "a file is left out");
    Fetched::Skipped(reason, cause)
}

fn cut(request: &Request, bytes: Vec<u8>, cause: Cause) -> Fetched {
    let digest = Digest::of(&bytes);
    if request.known == Some(digest) {
        return Fetched::Same;
    }
    let size = bytes.len() as u64;
    let document = match extract(&request.path, &bytes) {
        Ok(document) => document,
        Err(reason) => return Fetched::Skipped(reason, Some(cause)),
    };
    // Large files go through in several forms, of which no more are held than needed.
    drop(bytes);
    let (media, encoding, lossy) = (document.media.as_str(), document.encoding, document.lossy);
    let pieces = chunk::chunks(&document);
    drop(document);
    if pieces.len() > MAX_CHUNKS {
        return Fetched::Skipped(SkipReason::Oversized, Some(cause));
    }
    let mut chunks = Vec::with_capacity(pieces.len());
    let mut extracted_bytes = 0;
    let mut packed = Vec::with_capacity(chunk::MAX_BYTES + request.text_path.len());
    for piece in pieces {
        extracted_bytes += piece.text.len() as u64;
        let content = FileChunk {
            path: Cow::Borrowed(&request.text_path),
            lines: piece.lines,
            heading: piece.heading.as_deref().map(Cow::Borrowed),
            text: Cow::Borrowed(&piece.text),
        };
        packed.clear();
        if let Err(error) = rmp_serde::encode::write_named(&mut packed, &content) {
            return Fetched::Failed(AgentError::Invalid(error.to_string()));
        }
        chunks.push(Payload::new(packed.as_slice()));
    }
    Fetched::Text(Box::new(Text { digest, size, media, encoding, lossy, chunks, extracted_bytes, cause }))
}
