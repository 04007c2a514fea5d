//! `toka vault prove`.

use serde::Serialize;
use toka_types::EventId;
use toka_vault::checkpoint::{Checkpoint, LogProof};
use toka_vault::hash::{TreeHash, leaf_hash};
use toka_vault::note::Note;
use toka_vault::proof::{inclusion, root_at};

use super::against::read_checkpoint;
use super::{proof_failure, sign_head};
use crate::args::ProveArgs;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::look::Look;

#[derive(Serialize)]
struct ProofView {
    v: u32,
    event: EventId,
    log: String,
    origin: String,
    key: Option<String>,
    index: u64,
    size: u64,
    root: String,
    leaf: String,
    header: String,
    hashes: Vec<String>,
    checkpoint: String,
    proof: String,
}

/// Proves that an event is in the log, by the checkpoint given or by one of now.
pub(crate) fn prove(context: &mut Context, asked: &ProveArgs) -> Outcome {
    let look = Look::open(context)?;
    let (event, log, index) = look.resolve(&asked.event)?;
    let head = look.store.head(&log)?.next_seq;
    let (checkpoint, note, key): (Checkpoint, Note, Option<String>) = match &asked.checkpoint {
        Some(path) => {
            let note = read_checkpoint(path)?;
            let checkpoint = Checkpoint::parse(note.text())
                .map_err(|error| Failure::usage(format!("'{}': {error}", path.display())))?;
            (checkpoint, note, None)
        }
        // A bundle brings the checkpoint to which it leads.
        None if look.bundle.is_some() => {
            let note = look.bundle.as_ref().and_then(|bundle| bundle.checkpoint().cloned());
            let signed = note.and_then(|note| Some((Checkpoint::parse(note.text()).ok()?, note)));
            let (checkpoint, note) = signed.filter(|(checkpoint, _)| checkpoint.size == head).ok_or_else(|| {
                Failure::failed(format!("{} ends before the checkpoint in it, or holds none", look.name()))
                    .hint("prove it with the vault that it came from, or name a checkpoint of its last event with --checkpoint")
            })?;
            (checkpoint, note, None)
        }
        None => {
            let head = sign_head(context, &look, &log, asked.origin.as_deref())?;
            (head.checkpoint, head.note, Some(head.key.to_string()))
        }
    };
    let size = checkpoint.size;
    if index >= size {
        return Err(Failure::failed(format!(
            "event {index} is younger than the checkpoint, which covers {size} events"
        ))
        .hint("leave --checkpoint out: a new one is signed")
        .into());
    }
    let store = look.store.as_ref();
    let root = root_at(store, &log, size).map_err(proof_failure)?;
    if root != checkpoint.root {
        return Err(Failure::integrity(format!(
            "the first {size} events of log '{log}' have the root {root}, the checkpoint says {}",
            checkpoint.root
        ))
        .hint("`toka verify --against` the checkpoint says where they part, if it is this log's")
        .into());
    }
    let header = look.store.headers(&log, index, 1)?.into_iter().next();
    let header = header.ok_or_else(|| Failure::integrity(format!("log '{log}' has no event {index}")))?;
    let bytes = header.to_bytes();
    let leaf = leaf_hash(&bytes);
    let proof = inclusion(store, &log, index, size).map_err(proof_failure)?;
    // Nothing leaves this program that the other side would have to refuse.
    proof.verify(&leaf, &checkpoint.root).map_err(proof_failure)?;
    let proof = LogProof { index, hashes: proof.hashes, extra: Some(bytes), checkpoint: note };
    if context.out.json {
        context.out.object(&ProofView {
            v: 1,
            event,
            log: log.to_string(),
            origin: checkpoint.origin,
            key,
            index,
            size,
            root: checkpoint.root.to_string(),
            leaf: leaf.to_string(),
            header: proof.extra.iter().flatten().map(|byte| format!("{byte:02x}")).collect(),
            hashes: proof.hashes.iter().map(TreeHash::to_string).collect(),
            checkpoint: proof.checkpoint.to_string(),
            proof: proof.to_string(),
        })?;
    } else {
        context.out.bytes(proof.to_string().as_bytes())?;
    }
    Ok(Exit::OK)
}
