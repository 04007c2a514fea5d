//! `toka vault checkpoint`, `toka vault prove` and `toka verify --against`: what a log can prove to others.

pub(crate) mod against;
pub(crate) mod checkpoint;
mod kept;
pub(crate) mod prove;

use toka_auth::OperatorKey;
use toka_kernel::Kernel;
use toka_types::{Digest, EventHeader};
use toka_vault::LogId;
use toka_vault::checkpoint::{Checkpoint, CheckpointError, default_origin};
use toka_vault::hash::{LogTree, TreeHash, leaf_hash};
use toka_vault::note::{Algorithm, Note, NoteError, VerifierKey};
use toka_vault::proof::ProofError;

use crate::context::{Context, operator_state};
use crate::failure::{Failure, Stop};
use crate::look::Look;
use kept::Kept;

/// Headers read at once.
const HEADERS: usize = 4096;
/// Events of which a root is kept to tell where two histories part.
const PART: u64 = 256;

/// Of so many events the first bytes of the leaf are kept too, so that a single one can be named: four megabytes at most.
const MARKED: usize = 1 << 20;

/// The first bytes of a leaf's hash.
type Mark = [u8; 4];

fn mark(leaf: &TreeHash) -> Mark {
    let [a, b, c, d, ..] = leaf.0;
    [a, b, c, d]
}

/// What the first events of a log amount to, read from the headers themselves.
struct Amount {
    tree: LogTree,
    kernel: Option<Kernel>,
    /// The roots over each [`PART`] events, and over what is left.
    parts: Vec<TreeHash>,
    part: LogTree,
    /// The first bytes of the leaves, of the first [`MARKED`] events.
    marks: Vec<Mark>,
}

impl Amount {
    /// Reads the log's first `size` events, or as many as it has.
    fn of(look: &Look, log: &LogId, size: u64) -> Result<Self, Stop> {
        let (tree, part) = (LogTree::new(), LogTree::new());
        let (parts, marks) = (Vec::new(), Vec::new());
        let mut amount = Self { tree, kernel: Some(Kernel::new()), parts, part, marks };
        while amount.tree.size() < size {
            let from = amount.tree.size();
            let count = usize::try_from(size - from).unwrap_or(HEADERS).min(HEADERS);
            let headers = look.store.headers(log, from, count)?;
            if headers.is_empty() {
                break;
            }
            headers.iter().for_each(|header| amount.add(header));
        }
        Ok(amount)
    }

    fn add(&mut self, header: &EventHeader) {
        let leaf = leaf_hash(&header.to_bytes());
        self.tree.append(leaf);
        self.part.append(leaf);
        if self.marks.len() < MARKED {
            self.marks.push(mark(&leaf));
        }
        if self.part.size() == PART {
            self.parts.push(self.part.root());
            self.part = LogTree::new();
        }
        // Facts that are none are those of a program that uses the vault alone: it has no world.
        if self.kernel.as_mut().is_some_and(|kernel| kernel.replay(header).is_err()) {
            self.kernel = None;
        }
    }

    fn fold(&self) -> Option<Digest> {
        self.kernel.as_ref().map(|kernel| toka_kernel::digests(kernel.world()).fold)
    }
}

/// A log's newest state, signed.
pub(crate) struct SignedHead {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) note: Note,
    pub(crate) key: VerifierKey,
    kept: Kept,
}

/// Signs what the log has now, unless it contradicts what was signed of it before.
pub(crate) fn sign_head(
    context: &Context,
    look: &Look,
    log: &LogId,
    origin: Option<&str>,
) -> Result<SignedHead, Stop> {
    if look.bundle.is_some() {
        return Err(Failure::usage(format!(
            "{} is a bundle, and whoever exported it signs for it",
            look.name()
        ))
        .hint("name the vault itself with --vault DIR")
        .into());
    }
    let origin = match origin {
        Some(origin) => origin.to_owned(),
        None => default_origin(look.store.as_ref(), log)?.ok_or_else(|| empty(log))?,
    };
    let head = look.store.head(log)?;
    if head.next_seq == 0 {
        return Err(empty(log).into());
    }
    let amount = Amount::of(look, log, head.next_seq)?;
    if amount.tree.size() != head.next_seq || amount.tree.root() != head.root {
        return Err(Failure::integrity(format!(
            "log '{log}' says that its root is {}, its events lead to {}",
            head.root,
            amount.tree.root()
        ))
        .into());
    }
    let mut checkpoint = Checkpoint::new(&origin, head.next_seq, head.root).map_err(unusable)?;
    match amount.fold() {
        Some(fold) => checkpoint = checkpoint.with_fold(fold),
        None => context.notes.warn("the log is not one of a runtime: the checkpoint tells no fold"),
    }
    let state = operator_state()?;
    let operator = OperatorKey::load_or_create_for_checkpoints(&state).map_err(key_failure)?;
    let key = verifier_key(&origin, &operator)?;
    let kept = Kept::new(&state, &origin);
    let before = kept.last()?;
    if let Some((last, _)) = &before {
        check_continues(look, log, last, &checkpoint)?;
    }
    let mut note = checkpoint.sign(&key, |message| operator.sign(message)).map_err(unusable)?;
    if let Some((_, before)) = before.filter(|(_, before)| before.text() == note.text()) {
        for signature in before.signatures() {
            note.add(signature.clone()).map_err(|error| Failure::failed(error.to_string()))?;
        }
    }
    kept.save(&note, &amount)?;
    Ok(SignedHead { checkpoint, note, key, kept })
}

/// A log must never have signed two checkpoints of which neither continues the other.
fn check_continues(look: &Look, log: &LogId, last: &Checkpoint, now: &Checkpoint) -> Result<(), Failure> {
    let what = match last.size.cmp(&now.size) {
        std::cmp::Ordering::Greater => {
            format!("it had {} events then, it has {} now", last.size, now.size)
        }
        _ => match toka_vault::proof::root_at(look.store.as_ref(), log, last.size) {
            Ok(root) if root == last.root => return Ok(()),
            Ok(_) => format!("its first {} events are not those that were signed", last.size),
            Err(error) => return Err(proof_failure(error)),
        },
    };
    Err(Failure::integrity(format!("log '{log}' does not go on from the checkpoint that was signed last: {what}")).hint(
        "an older state was restored, or the log was changed; `toka verify --against` the last checkpoint says where. \
         To go on all the same, choose another --origin: the log is another one then",
    ))
}

pub(crate) fn verifier_key(origin: &str, operator: &OperatorKey) -> Result<VerifierKey, Failure> {
    VerifierKey::new(origin, Algorithm::Ed25519, operator.public().as_bytes())
        .map_err(|error| unusable(error.into()))
}

fn empty(log: &LogId) -> Failure {
    Failure::failed(format!("log '{log}' has no events: there is nothing to sign"))
        .hint("`toka up FOLDER` records some")
}

fn unusable(error: CheckpointError) -> Failure {
    match error {
        CheckpointError::Note(NoteError::Name(_)) => {
            Failure::usage(error.to_string()).hint("as in --origin example.com/my-log")
        }
        _ => Failure::failed(error.to_string()),
    }
}

fn key_failure(error: toka_auth::KeyError) -> Failure {
    Failure::failed(error.to_string())
}

pub(crate) fn proof_failure(error: ProofError) -> Failure {
    match error {
        ProofError::Store(error) => error.into(),
        other => Failure::integrity(other.to_string()),
    }
}
