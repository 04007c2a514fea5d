//! `toka init`.

use serde::Serialize;
use toka_vault::{Journal, Store};

use crate::context::{Context, operator_state};
use crate::failure::{Exit, Outcome};
use crate::paths::friendly;

#[derive(Serialize)]
struct Made {
    v: u32,
    vault: String,
    created: bool,
}

pub(crate) fn init(context: &mut Context) -> Outcome {
    let loaded = context.load(context.config_file().as_deref())?;
    let vault = context.vault_to_create(loaded.config.vault.as_ref().map(|vault| vault.path.as_path()))?;
    operator_state()?;
    let (journal, recovery) = Journal::open(&vault)?;
    journal.close()?;
    let created = recovery.created;
    if context.out.json {
        context.out.object(&Made { v: 1, vault: vault.to_string_lossy().into_owned(), created })?;
        return Ok(Exit::OK);
    }
    let word = if created { "created" } else { "there already:" };
    context.out.line(format_args!("{word} {}", friendly(&vault)))?;
    context.notes.hint("next: toka up FOLDER");
    Ok(Exit::OK)
}
