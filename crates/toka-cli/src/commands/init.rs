//! `toka init`.

use serde::Serialize;
use toka_vault::Engine;

use crate::context::{Context, operator_state};
use crate::failure::{Exit, Failure, Outcome};
use crate::paths::friendly;

#[derive(Serialize)]
struct Made {
    v: u32,
    vault: String,
    store: &'static str,
    created: bool,
}

pub(crate) fn init(context: &mut Context, store: Option<Engine>) -> Outcome {
    if let Some(missing) = store.filter(|engine| !engine.is_built()) {
        return Err(unbuilt(missing).into());
    }
    let loaded = context.load(context.config_file().as_deref())?;
    let vault = context.vault_to_create(loaded.config.vault.as_ref().map(|vault| vault.path.as_path()))?;
    operator_state()?;
    let (opened, recovery) = match store {
        Some(engine) => toka_vault::create(&vault, engine)?,
        None => toka_vault::open(&vault)?,
    };
    opened.close()?;
    let store = Engine::of(&vault)?.unwrap_or_default().name();
    let created = recovery.created;
    if context.out.json {
        context.out.object(&Made { v: 1, vault: vault.to_string_lossy().into_owned(), store, created })?;
        return Ok(Exit::OK);
    }
    let word = if created { "created" } else { "there already:" };
    context.out.line(format_args!("{word} {}", friendly(&vault)))?;
    context.notes.hint("next: toka up FOLDER");
    Ok(Exit::OK)
}

/// What is said of a store that this build does not have.
pub(crate) fn unbuilt(engine: Engine) -> Failure {
    let name = engine.name();
    Failure::usage(format!("this build has no store '{name}'"))
        .hint(format!("build it with the feature: cargo install --path crates/toka-cli --features {name}"))
}
