//! `toka vault import`.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use toka_types::KeyId;
use toka_vault::bundle::{Bundle, Imported};
use toka_vault::proof::ProofError;
use toka_vault::seal::{KeysInfo, keys_path};
use toka_vault::{Journal, Store, StoreError};

use super::check::trusted_by;
use crate::args::ImportArgs;
use crate::commands::proofs::proof_failure;
use crate::context::{Context, operator_state};
use crate::failure::{Exit, Failure, Outcome, Stop};
use crate::output::grouped;
use crate::paths::friendly;

#[derive(Serialize)]
struct ImportView {
    v: u32,
    vault: String,
    log: String,
    before: u64,
    added: u64,
    gone: u64,
    events: u64,
    root: String,
}

pub(crate) fn import(context: &mut Context, asked: &ImportArgs) -> Outcome {
    let bundle = Bundle::open(&asked.file)?;
    if !asked.key.is_empty() {
        trusted_by(bundle.checkpoint(), &asked.key)?;
    }
    let loaded = context.load(context.config_file().as_deref())?;
    let vault =
        context.vault_to_write(loaded.config.vault.as_ref().and_then(|vault| vault.path.as_deref()))?;
    operator_state()?;
    let store = open_for(&bundle, &vault)?;
    let imported = toka_vault::bundle::import(&bundle, Arc::clone(&store));
    let head = store.head(bundle.log())?;
    store.close()?;
    let Imported { before, added, gone } = imported.map_err(|error| match error {
        ProofError::Root { expected, found } => Failure::failed(format!(
            "the vault's log '{}' is not the one of the bundle: their roots are {found} and {expected}",
            bundle.log()
        ))
        .hint("import it into a vault of its own: --vault DIR"),
        ProofError::Short { size, found, .. } => begins_later(size, found),
        other => proof_failure(other),
    })?;
    let unknown = unknown_keys(&bundle, &vault)?;
    if unknown > 0 {
        context.notes.warn(format_args!(
            "{} of the contents are sealed under keys that {} does not have: they cannot be read",
            grouped(unknown as u64),
            friendly(&keys_path(&vault))
        ));
        context.notes.hint("put the newer copy of the keys in its place");
    }
    let view = ImportView {
        v: 1,
        vault: vault.to_string_lossy().into_owned(),
        log: bundle.log().to_string(),
        before,
        added,
        gone,
        events: head.next_seq,
        root: head.root.to_string(),
    };
    if context.out.json {
        context.out.object(&view)?;
        return Ok(Exit::OK);
    }
    context.out.pairs(&[
        ("vault", friendly(&vault)),
        ("log", view.log),
        ("added", grouped(view.added)),
        ("gone", grouped(view.gone)),
        ("events", grouped(view.events)),
        ("root", view.root),
    ])?;
    Ok(Exit::OK)
}

/// The vault into which the content of `bundle` can go as it is stored. One that is not there yet is made; for a bundle of
/// a sealed vault where the keys of that lie.
fn open_for(bundle: &Bundle, vault: &Path) -> Result<Arc<dyn Store>, Stop> {
    let there = match toka_vault::open_read_only(vault) {
        Ok(there) => Some(there.sealed()?),
        Err(StoreError::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    // A vault that was made for nothing would only be in the way.
    let from = bundle.description().from;
    if there.is_none() && from > 0 {
        return Err(begins_later(from, 0).into());
    }
    let Some(keys) = bundle.sealed()? else {
        if let Some(Some(_)) = there {
            let detail = format!(
                "{} is sealed, and the bundle's content is not: its ids are those of what is stored in the clear",
                friendly(vault)
            );
            let hint = "import it into a vault that is not sealed, or look at it as it is: --vault FILE";
            return Err(Failure::sealed(detail).hint(hint).into());
        }
        return Ok(toka_vault::open(vault)?.0);
    };
    let found = match there {
        Some(found) => found,
        None => KeysInfo::read(vault).map_err(StoreError::from)?.map(|info| info.id),
    };
    if found == Some(keys) {
        return Ok(Arc::new(Journal::open_sealed(vault, keys)?.0));
    }
    let detail = format!("the bundle's content is sealed under the keys {keys}");
    let lies = friendly(&keys_path(vault));
    Err(match (there, found) {
        (None, None) => Failure::sealed(format!("{detail}, and a vault without them could not read it"))
            .hint(format!("put a copy of the vault's file `keys` at {lies} first; then the vault is made there")),
        (_, Some(other)) => Failure::sealed(format!("{detail}, those of {} are {other}", friendly(vault)))
            .hint("import it into the vault that it came from or a copy of that, or look at it as it is: --vault FILE"),
        (Some(_), None) => Failure::sealed(format!("{detail}, and {} is not sealed", friendly(vault)))
            .hint("import it into a vault of its own, with its keys, or look at it as it is: --vault FILE"),
    }
    .into())
}

fn begins_later(from: u64, found: u64) -> Failure {
    Failure::failed(format!("the bundle begins with event {from}, the vault's log has {found} events"))
        .hint("import what lies between first")
}

/// How many contents of the bundle the keys in `vault` cannot open, nor ever could.
fn unknown_keys(bundle: &Bundle, vault: &Path) -> Result<usize, Stop> {
    if bundle.sealed()?.is_none() {
        return Ok(0);
    }
    let Some(info) = KeysInfo::read(vault).map_err(StoreError::from)? else { return Ok(0) };
    let known = |key: &KeyId| info.subjects.contains(key) || info.erased.contains(key);
    Ok(bundle.subject_keys()?.iter().filter(|key| !known(key)).count())
}
