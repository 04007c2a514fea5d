//! `toka verify --against`: the log compared with a checkpoint that somebody kept.

use std::path::Path;

use toka_auth::OperatorKey;
use toka_types::EventId;
use toka_vault::checkpoint::{Checkpoint, CheckpointError, default_origin};
use toka_vault::hash::TreeHash;
use toka_vault::note::{Note, NoteError, Signed, VerifierKey};
use toka_vault::{LogId, Problem, What};

use super::kept::Kept;
use super::{Amount, PART, key_failure, verifier_key};
use crate::context::{Context, state_directory};
use crate::failure::{Failure, Stop};
use crate::look::Look;

/// More than a checkpoint has, with all its signatures, as JSON.
const MAX_FILE: u64 = 4 << 20;

/// What a comparison found.
pub(crate) struct Compared {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) signed: Vec<Signed>,
    pub(crate) problems: Vec<Problem>,
}

/// Reads a checkpoint as `toka vault checkpoint` printed it, as text or as JSON, or as a note alone.
pub(super) fn read_checkpoint(path: &Path) -> Result<Note, Failure> {
    let read = |mut from: Box<dyn std::io::Read>| {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(&mut from, MAX_FILE), &mut bytes).map(|_| bytes)
    };
    let bytes = match path.as_os_str() == "-" {
        true => read(Box::new(std::io::stdin())),
        false => std::fs::File::open(path).and_then(|file| read(Box::new(file))),
    };
    let bytes = bytes.map_err(|error| {
        Failure::absent(format!("the checkpoint '{}' cannot be read: {error}", path.display()))
            .hint("`toka vault checkpoint --output FILE` writes one")
    })?;
    Note::parse(&note_in(bytes)).map_err(|error| {
        Failure::integrity(format!("'{}' is no checkpoint that can be trusted: {error}", path.display()))
            .hint("`toka vault checkpoint --output FILE` writes one")
    })
}

/// The note in what the program printed.
fn note_in(bytes: Vec<u8>) -> Vec<u8> {
    if bytes.starts_with(b"{") {
        let object = serde_json::from_slice::<serde_json::Value>(&bytes).ok();
        let note = object.as_ref().and_then(|object| object["checkpoint"].as_str());
        return note.map_or(bytes.clone(), |note| note.as_bytes().to_vec());
    }
    if bytes.starts_with(b"origin  ")
        && let Some(at) = bytes.windows(2).position(|two| two == b"\n\n")
    {
        return bytes[at + 2..].to_vec();
    }
    bytes
}

/// Compares the log with the checkpoint in `path`. `keys` are those that have to have signed it; without any it is the
/// operator's own.
pub(crate) fn against(
    context: &Context,
    look: &Look,
    path: &Path,
    keys: &[String],
) -> Result<Compared, Stop> {
    let note = read_checkpoint(path)?;
    let wrong = |error: &CheckpointError| {
        Failure::integrity(format!("the checkpoint '{}' cannot be trusted: {error}", path.display()))
            .hint("take it from where it was kept; --key NAME+HASH+KEY names the key that signed it")
    };
    let claimed = Checkpoint::parse(note.text()).map_err(|error| wrong(&error))?;
    let keys = trusted(&claimed, keys)?;
    let (checkpoint, signed) = Checkpoint::open(&note, &keys).map_err(|error| wrong(&error))?;
    if let Some(missing) = keys.iter().find(|key| !signed.iter().any(|signed| signed.key == **key)) {
        let unsigned = NoteError::Unsigned(note.signatures().iter().map(|s| s.name().to_owned()).collect());
        context.notes.warn(format_args!("'{}' has not signed it", missing.name()));
        return Err(wrong(&unsigned.into()).into());
    }
    let problems = compare(look, &checkpoint)?;
    Ok(Compared { checkpoint, signed, problems })
}

fn trusted(claimed: &Checkpoint, keys: &[String]) -> Result<Vec<VerifierKey>, Failure> {
    if !keys.is_empty() {
        let parse = |text: &String| text.parse().map_err(|error| Failure::usage(format!("{error}")));
        return keys.iter().map(parse).collect();
    }
    let own = OperatorKey::load_for_checkpoints(&state_directory()?).map_err(key_failure)?;
    let own = own.ok_or_else(|| {
        Failure::usage("there is no key to verify the checkpoint with: this user has signed none")
            .hint("--key NAME+HASH+KEY names the key that signed it; `toka vault checkpoint` printed it")
    })?;
    Ok(vec![verifier_key(&claimed.origin, &own)?])
}

/// The log of a checkpoint: what its origin ends with where nobody chose another one, else the usual one.
fn log_of(look: &Look, checkpoint: &Checkpoint) -> LogId {
    let named = checkpoint.origin.strip_prefix("toka/").and_then(|rest| rest.split_once('/'));
    named.and_then(|(_, log)| LogId::new(log).ok()).unwrap_or_else(|| look.log.clone())
}

fn compare(look: &Look, checkpoint: &Checkpoint) -> Result<Vec<Problem>, Stop> {
    let log = log_of(look, checkpoint);
    if !look.is_whole() {
        return compare_later(look, &log, checkpoint);
    }
    let amount = Amount::of(look, &log, checkpoint.size)?;
    let found = amount.tree.size();
    let problem = |seq: u64, detail: String| -> Result<Vec<Problem>, Stop> {
        let header = look.store.headers(&log, seq, 1)?.into_iter().next();
        let event: Option<EventId> = header.map(|header| header.id);
        let log = Some(log.clone());
        Ok(vec![Problem {
            what: What::Checkpoint,
            log,
            seq: Some(seq),
            event,
            file: None,
            offset: None,
            detail,
        }])
    };
    let size = checkpoint.size;
    if found == size && amount.tree.root() == checkpoint.root {
        return match (checkpoint.fold(), amount.fold()) {
            (Some(signed), Some(fold)) if signed != fold => problem(
                size.saturating_sub(1),
                format!(
                    "the events are those that were signed, and amount to the fold {fold}, not to {signed}"
                ),
            ),
            _ => Ok(Vec::new()),
        };
    }
    let other = default_origin(look.store.as_ref(), &log)?
        .filter(|own| checkpoint.origin.starts_with("toka/") && *own != checkpoint.origin);
    if let Some(own) = other {
        let detail = format!(
            "the checkpoint is of the log '{}', this one is '{own}', or its first event was changed",
            checkpoint.origin
        );
        return problem(0, detail);
    }
    match first_change(look, &log, checkpoint, &amount)? {
        Some((first, last)) => {
            let which = match first == last {
                true => format!("event {first} is the first that is not what was signed"),
                false => format!("the first event that is not what was signed is one of {first} to {last}"),
            };
            let missing = match found < size {
                true => format!(", and {} of {size} are missing", size - found),
                false => String::new(),
            };
            problem(first, format!("an event was changed, dropped, inserted or moved: {which}{missing}"))
        }
        None => problem(
            found,
            format!(
                "the checkpoint covers {size} events, the log has {found}: what follows was cut off, or an older state was restored"
            ),
        ),
    }
}

/// Compares a bundle that begins later than the log: where its events are what was signed, its root says so.
fn compare_later(look: &Look, log: &LogId, checkpoint: &Checkpoint) -> Result<Vec<Problem>, Stop> {
    let detail = match toka_vault::proof::root_at(look.store.as_ref(), log, checkpoint.size) {
        Ok(root) if root == checkpoint.root => return Ok(Vec::new()),
        Ok(root) => format!(
            "the first {} events have the root {root}, the checkpoint says {}",
            checkpoint.size, checkpoint.root
        ),
        Err(_) => format!(
            "the bundle does not reach from before to event {}: it cannot be compared",
            checkpoint.size
        ),
    };
    let (log, what) = (Some(log.clone()), What::Checkpoint);
    Ok(vec![Problem { what, log, seq: None, event: None, file: None, offset: None, detail }])
}

/// Where the log parts from what was signed, as narrowly as what is remembered of it tells: the first and the last
/// event that may be the one. What is asked is what the operator kept outside the vault, then what the vault's own
/// indexes still say. `None` if there is less of the log, and nothing says that what is there was changed.
fn first_change(
    look: &Look,
    log: &LogId,
    checkpoint: &Checkpoint,
    amount: &Amount,
) -> Result<Option<(u64, u64)>, Stop> {
    let found = amount.tree.size();
    let Some(last) = found.min(checkpoint.size).checked_sub(1) else { return Ok(None) };
    let kept = Kept::new(&state_directory()?, &checkpoint.origin);
    let marks = kept.marks();
    let changed = marks.iter().zip(&amount.marks).position(|(before, now)| before != now);
    if let Some(seq) = changed.map(|at| at as u64).filter(|seq| *seq <= last) {
        return Ok(Some((seq, seq)));
    }
    let kept = kept.parts();
    let own = look.store.remembered_parts(log);
    let parted = |parts: &[TreeHash]| parts.iter().zip(&amount.parts).position(|(before, now)| before != now);
    let part = [&kept, &own].into_iter().find_map(|parts| parted(parts));
    // Where every part is as it was, it lies behind the last one that could be compared.
    let same = kept.len().max(own.len()).min(amount.parts.len()) as u64;
    let same = (same * PART).max(marks.len().min(amount.marks.len()) as u64);
    let first = part.map_or(same, |part| part as u64 * PART).min(last);
    let until = part.map_or(last, |_| (first + PART - 1).min(last));
    // An index may still know the ids. It can only narrow: nobody vouches for it.
    let ids = look.store.remembered_ids(log);
    let mut next = first;
    while next <= until && !ids.is_empty() {
        let headers = look.store.headers(log, next, PART as usize)?;
        let Some(end) = headers.last().map(|header| header.seq + 1) else { break };
        let changed = headers.iter().filter(|header| header.seq <= until).find(|header| {
            let known = usize::try_from(header.seq).ok().and_then(|seq| ids.get(seq).copied().flatten());
            known.is_some_and(|known| known != first_bytes(&header.id))
        });
        if let Some(header) = changed {
            return Ok(Some((header.seq, header.seq)));
        }
        next = end;
    }
    Ok((part.is_some() || found >= checkpoint.size).then_some((first, until)))
}

fn first_bytes(id: &EventId) -> u64 {
    id.as_bytes()[..8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
