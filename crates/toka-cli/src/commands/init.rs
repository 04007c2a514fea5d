//! `toka init`.

use std::sync::Arc;

use serde::Serialize;
use toka_types::KeyId;
use toka_vault::{Engine, Store};

use crate::context::{Context, operator_state};
use crate::failure::{Exit, Failure, Outcome};
use crate::keys;
use crate::paths::friendly;

#[derive(Serialize)]
struct Made {
    v: u32,
    vault: String,
    store: &'static str,
    created: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<KeyId>,
}

pub(crate) fn init(context: &mut Context, seal: Option<&str>, store: Option<Engine>) -> Outcome {
    if let (Some(_), Some(engine)) = (seal, store.filter(|engine| *engine != Engine::Journal)) {
        return Err(Failure::usage(format!("a sealed vault cannot be kept by {engine}"))
            .hint("leave --store out: the default store keeps sealed vaults")
            .into());
    }
    if let Some(missing) = store.filter(|engine| !engine.is_built()) {
        return Err(unbuilt(missing).into());
    }
    let loaded = context.load(context.config_file().as_deref())?;
    let vault =
        context.vault_to_create(loaded.config.vault.as_ref().and_then(|vault| vault.path.as_deref()))?;
    operator_state()?;
    let (opened, created) = match (seal, store) {
        (Some(text), _) => {
            let key = keys::new_key(context, text, keys::passphrase_file(), keys::PASSPHRASE_FILE)?;
            (Arc::new(toka_vault::seal::create_vault(&vault, &key)?.0) as Arc<dyn Store>, true)
        }
        (None, Some(engine)) => {
            let (opened, recovery) = toka_vault::create(&vault, engine)?;
            (opened, recovery.created)
        }
        (None, None) => {
            let (opened, recovery) = toka_vault::open(&vault)?;
            (opened, recovery.created)
        }
    };
    let sealed = opened.sealed()?;
    opened.close()?;
    let store = Engine::of(&vault)?.unwrap_or_default().name();
    if context.out.json {
        let vault = vault.to_string_lossy().into_owned();
        context.out.object(&Made { v: 1, vault, store, created, sealed })?;
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

/// What is said of a store that this build does not have.
pub(crate) fn unbuilt(engine: Engine) -> Failure {
    let name = engine.name();
    Failure::usage(format!("this build has no store '{name}'"))
        .hint(format!("build it with the feature: cargo install --path crates/toka-cli --features {name}"))
}
