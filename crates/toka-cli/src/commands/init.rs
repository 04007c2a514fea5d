//! `toka init`.

use serde::Serialize;
use toka_types::KeyId;
use toka_vault::{Journal, Store};

use crate::context::{Context, operator_state};
use crate::failure::{Exit, Outcome};
use crate::keys;
use crate::paths::friendly;

#[derive(Serialize)]
struct Made {
    v: u32,
    vault: String,
    created: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<KeyId>,
}

pub(crate) fn init(context: &mut Context, seal: Option<&str>) -> Outcome {
    let loaded = context.load(context.config_file().as_deref())?;
    let vault = context.vault_to_create(loaded.config.vault.as_ref().map(|vault| vault.path.as_path()))?;
    operator_state()?;
    let (journal, created) = match seal {
        None => {
            let (journal, recovery) = Journal::open(&vault)?;
            (journal, recovery.created)
        }
        Some(text) => {
            let key = keys::new_key(context, text, keys::passphrase_file())?;
            (toka_vault::seal::create_vault(&vault, &key)?.0, true)
        }
    };
    let sealed = journal.sealed()?;
    journal.close()?;
    if context.out.json {
        context.out.object(&Made { v: 1, vault: vault.to_string_lossy().into_owned(), created, sealed })?;
        return Ok(Exit::OK);
    }
    let word = if created { "created" } else { "there already:" };
    context.out.line(format_args!("{word} {}", friendly(&vault)))?;
    if seal.is_some() {
        context.notes.say("keep the key and a copy of the file `keys` apart from the vault: without them nobody can read it");
    }
    context.notes.hint("next: toka up FOLDER");
    Ok(Exit::OK)
}
