//! `toka vault import`.

use std::sync::Arc;

use serde::Serialize;
use toka_vault::StoreError;
use toka_vault::bundle::{Bundle, Imported};
use toka_vault::proof::ProofError;

use super::check::trusted_by;
use crate::args::ImportArgs;
use crate::commands::proofs::proof_failure;
use crate::context::{Context, operator_state};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::grouped;
use crate::paths::friendly;

#[derive(Serialize)]
struct ImportView {
    v: u32,
    vault: String,
    log: String,
    before: u64,
    added: u64,
    events: u64,
    root: String,
}

pub(crate) fn import(context: &mut Context, asked: &ImportArgs) -> Outcome {
    let bundle = Bundle::open(&asked.file)?;
    if !asked.key.is_empty() {
        trusted_by(bundle.checkpoint(), &asked.key)?;
    }
    let loaded = context.load(context.config_file().as_deref())?;
    let vault = context.vault_to_write(loaded.config.vault.as_ref().map(|vault| vault.path.as_path()))?;
    if bundle.gone_contents() > 0 {
        let detail = format!(
            "content of events is left out of the bundle ({} pieces), and a vault cannot be written without it",
            bundle.gone_contents()
        );
        return Err(Failure::failed(detail).hint("look at it as it is: --vault FILE takes a bundle").into());
    }
    operator_state()?;
    // A sealed vault holds ciphertext under its own keys alone; a bundle brings content as it is.
    match toka_vault::open_read_only(&vault).and_then(|there| there.sealed()) {
        Ok(Some(_)) => {
            let detail = format!("{} is sealed, and a bundle cannot be imported into it", friendly(&vault));
            let hint = "import it into a vault that is not sealed, or look at it as it is: --vault FILE";
            return Err(Failure::sealed(detail).hint(hint).into());
        }
        Ok(None) | Err(StoreError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let (store, _) = toka_vault::open(&vault)?;
    let imported = toka_vault::bundle::import(&bundle, Arc::clone(&store));
    let head = store.head(bundle.log())?;
    store.close()?;
    let Imported { before, added } = imported.map_err(|error| match error {
        ProofError::Root { expected, found } => Failure::failed(format!(
            "the vault's log '{}' is not the one of the bundle: their roots are {found} and {expected}",
            bundle.log()
        ))
        .hint("import it into a vault of its own: --vault DIR"),
        ProofError::Short { size, found, .. } => Failure::failed(format!(
            "the bundle begins with event {size}, the vault's log has {found} events"
        ))
        .hint("import what lies between first"),
        ProofError::Store(StoreError::MissingContent { event, digest }) => {
            Failure::failed(format!("content {digest} of event {event} is not in the bundle"))
                .hint("look at it as it is: --vault FILE takes a bundle")
        }
        other => proof_failure(other),
    })?;
    let view = ImportView {
        v: 1,
        vault: vault.to_string_lossy().into_owned(),
        log: bundle.log().to_string(),
        before,
        added,
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
        ("events", grouped(view.events)),
        ("root", view.root),
    ])?;
    Ok(Exit::OK)
}
