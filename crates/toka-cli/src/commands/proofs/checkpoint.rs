//! `toka vault checkpoint`.

use std::path::Path;

use serde::Serialize;
use toka_types::{Digest, Timestamp};
use toka_vault::note::{Algorithm, VerifierKey};
use toka_vault::proof::consistency;
use toka_vault::witness::{Cosigned, PlainHttp, Witness, WitnessError, cosign};

use super::{SignedHead, sign_head};
use crate::args::CheckpointArgs;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome, Stop};
use crate::look::Look;
use crate::record::time;

#[derive(Serialize)]
struct CheckpointView {
    v: u32,
    log: String,
    origin: String,
    key: String,
    size: u64,
    root: String,
    fold: Option<Digest>,
    cosignatures: Vec<CosignatureView>,
    checkpoint: String,
}

#[derive(Serialize)]
struct CosignatureView {
    witness: String,
    at: String,
}

pub(crate) fn checkpoint(context: &mut Context, asked: &CheckpointArgs) -> Outcome {
    let witnesses = witnesses(asked)?;
    let look = Look::open(context)?;
    let mut head = sign_head(context, &look, &look.log, asked.origin.as_deref())?;
    let mut failed = None;
    let mut cosignatures = Vec::new();
    for witness in &witnesses {
        match ask(&look, &head, witness) {
            Ok(cosigned) => {
                let at = i64::try_from(cosigned.time).unwrap_or(i64::MAX).saturating_mul(1_000_000);
                cosignatures.push(CosignatureView {
                    witness: witness.key.name().to_owned(),
                    at: time(Timestamp(at)),
                });
                head.note.add(cosigned.signature).map_err(|error| Failure::failed(error.to_string()))?;
            }
            // The others are asked all the same: each cosignature counts for itself.
            Err(error) => {
                context.notes.warn(format_args!("{}: {error}", witness.key.name()));
                failed = Some(witness_failure(&error).worse(failed));
            }
        }
    }
    if !cosignatures.is_empty() {
        head.kept.save_note(&head.note)?;
    }
    if let Some(path) = &asked.output {
        write(path, &head.note.to_string())?;
    }
    print(context, &look, &head, cosignatures)?;
    match failed {
        None => Ok(Exit::OK),
        Some(failure) => {
            context.out.flush()?;
            Err(failure.into())
        }
    }
}

fn print(
    context: &mut Context,
    look: &Look,
    head: &SignedHead,
    cosignatures: Vec<CosignatureView>,
) -> Result<(), Stop> {
    let SignedHead { checkpoint, note, key, .. } = head;
    if context.out.json {
        return context.out.object(&CheckpointView {
            v: 1,
            log: look.log.to_string(),
            origin: checkpoint.origin.clone(),
            key: key.to_string(),
            size: checkpoint.size,
            root: checkpoint.root.to_string(),
            fold: checkpoint.fold(),
            cosignatures,
            checkpoint: note.to_string(),
        });
    }
    context.out.pairs(&[("origin", checkpoint.origin.clone()), ("key", key.to_string())])?;
    context.out.line("")?;
    // Names in it are those of keys, without control characters.
    context.out.bytes(note.to_string().as_bytes())?;
    context.notes.hint("keep it outside the vault; `toka verify --against FILE` compares the log with it");
    Ok(())
}

/// The witnesses that the options name: as many keys as URLs, in the same order.
fn witnesses(asked: &CheckpointArgs) -> Result<Vec<Witness>, Failure> {
    if asked.witness.len() != asked.witness_key.len() {
        return Err(Failure::usage(format!(
            "{} --witness and {} --witness-key: each witness takes its key, in the same order",
            asked.witness.len(),
            asked.witness_key.len()
        )));
    }
    let pairs = asked.witness.iter().zip(&asked.witness_key).map(|(url, key)| {
        let key: VerifierKey = key.parse().map_err(|error| Failure::usage(format!("{error}")))?;
        if key.algorithm() != Algorithm::Cosignature {
            return Err(Failure::usage(format!(
                "'{key}' is not the key of a witness: its algorithm is not 4"
            ))
            .hint("the witness's operator publishes it as name+hash+key"));
        }
        Ok(Witness { url: url.clone(), key })
    });
    pairs.collect()
}

fn ask(look: &Look, head: &SignedHead, witness: &Witness) -> Result<Cosigned, WitnessError> {
    let prove = |old, size| consistency(look.store.as_ref(), &look.log, old, size);
    // What the witness has seen it says itself.
    cosign(witness, &head.note, 0, prove, &mut PlainHttp)
}

fn witness_failure(error: &WitnessError) -> Failure {
    let message = error.to_string();
    match error {
        WitnessError::Ahead { .. } | WitnessError::Inconsistent { .. } => Failure::integrity(message)
            .hint("the log is not what the witness has seen: an older state was restored, or it was changed"),
        WitnessError::Signature(_) => Failure::integrity(message)
            .hint("compare --witness-key with what the witness's operator publishes"),
        WitnessError::Unreached { .. } => {
            Failure::failed(message).hint("see whether the URL is right and the witness is up, and try again")
        }
        WitnessError::Refused { status: 403 | 404, .. } => Failure::failed(message)
            .hint("give the witness's operator the origin and the key that `toka vault checkpoint` prints"),
        _ => Failure::failed(message),
    }
}

/// Writes a file of the user's, whole or not at all.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::failed(format!("cannot write '{}': {error}", path.display()));
    std::fs::write(path, text).map_err(failed)
}
