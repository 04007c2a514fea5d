//! `toka verify` of a bundle.

use std::path::Path;

use toka_auth::OperatorKey;
use toka_kernel::Kernel;
use toka_types::Digest;
use toka_vault::bundle::{Bundle, Checked};
use toka_vault::checkpoint::Checkpoint;
use toka_vault::note::{Note, NoteError, Signed, VerifierKey};
use toka_vault::{Problem, Store, What};

use crate::commands::proofs::verifier_key;
use crate::context::{Context, state_directory};
use crate::failure::{Failure, Stop};

/// What is in a bundle, and who vouches for it.
pub(crate) struct BundleReport {
    pub(crate) events: u64,
    pub(crate) root: String,
    pub(crate) problems: Vec<Problem>,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) signed: Vec<Signed>,
}

/// Checks the bundle in `path`. All of `keys` have to have signed its checkpoint; without any it is told whether this
/// user's own key did.
pub(crate) fn check(context: &Context, path: &Path, keys: &[String]) -> Result<BundleReport, Stop> {
    let Checked { description, events, root, checkpoint: note, mut problems, .. } =
        toka_vault::bundle::check(path)?;
    let mut signed = Vec::new();
    let checkpoint = note.as_ref().and_then(|note| Checkpoint::parse(note.text()).ok());
    let mut told = |what, detail: String| {
        problems.push(Problem {
            what,
            log: None,
            seq: None,
            event: None,
            file: Some(path.to_owned()),
            offset: None,
            detail,
        });
    };
    if !keys.is_empty() {
        let keys = parse(keys)?;
        match all_signed(note.as_ref(), &keys) {
            Ok(by) => signed = by,
            Err(error) => told(What::Checkpoint, error),
        }
    } else if let (Some(note), Some(checkpoint)) = (&note, &checkpoint) {
        match OperatorKey::load_for_checkpoints(&state_directory()?) {
            Ok(Some(own)) => match note.verify(&[verifier_key(&checkpoint.origin, &own)?]) {
                Ok(by) => signed = by,
                Err(NoteError::Unsigned(_)) => {}
                Err(error) => told(What::Checkpoint, error.to_string()),
            },
            Ok(None) => {}
            Err(error) => context.notes.warn(error),
        }
    }
    let whole = problems.is_empty();
    if let (true, Some(description), Some(checkpoint)) = (whole, &description, &checkpoint)
        && let (Some(signed), 0, true) =
            (checkpoint.fold(), description.from, checkpoint.size == description.end)
        && fold(path)? != Some(signed)
    {
        let detail = format!("the events do not amount to the fold {signed}, which the checkpoint tells");
        let (file, log) = (Some(path.to_owned()), None);
        problems.push(Problem {
            what: What::Checkpoint,
            log,
            seq: None,
            event: None,
            file,
            offset: None,
            detail,
        });
    }
    if signed.is_empty() {
        context.notes.warn(match &checkpoint {
            Some(_) => "nobody vouches for it: --key NAME+HASH+KEY names the key that has to have signed it",
            None => "nobody vouches for it: it holds no signed checkpoint",
        });
    }
    Ok(BundleReport { events, root: root.to_string(), problems, checkpoint, signed })
}

/// Refuses a bundle that not all of `keys` have signed.
pub(super) fn trusted_by(note: Option<&Note>, keys: &[String]) -> Result<(), Failure> {
    let keys = parse(keys)?;
    all_signed(note, &keys).map(drop).map_err(Failure::integrity)
}

fn parse(keys: &[String]) -> Result<Vec<VerifierKey>, Failure> {
    keys.iter().map(|key| key.parse().map_err(|error: NoteError| Failure::usage(error.to_string()))).collect()
}

fn all_signed(note: Option<&Note>, keys: &[VerifierKey]) -> Result<Vec<Signed>, String> {
    let note = note.ok_or("it holds no signed checkpoint that its events lead to")?;
    let signed = note.verify(keys).map_err(|error| error.to_string())?;
    match keys.iter().find(|key| !signed.iter().any(|signed| signed.key == **key)) {
        Some(missing) => Err(format!("'{}' has not signed its checkpoint", missing.name())),
        None => Ok(signed),
    }
}

/// What the events of a bundle amount to; nothing if they are not a runtime's.
fn fold(path: &Path) -> Result<Option<Digest>, Stop> {
    const HEADERS: usize = 4096;
    let bundle = Bundle::open(path)?;
    let mut kernel = Kernel::new();
    let mut next = 0;
    loop {
        let headers = bundle.headers(bundle.log(), next, HEADERS)?;
        for header in &headers {
            if kernel.replay(header).is_err() {
                return Ok(None);
            }
        }
        match headers.last() {
            Some(last) => next = last.seq + 1,
            None => return Ok(Some(toka_kernel::digests(kernel.world()).fold)),
        }
    }
}
