//! `toka vault erase` and `toka vault rotate`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use toka_runtime::config::{RuntimeConfig, VaultConfig};
use toka_runtime::{Runtime, search};
use toka_types::seal::SUBJECT_PREFIX;
use toka_types::{EntityId, EventId, Label, Subject};
use toka_vault::seal::{self, Key};
use toka_vault::{Journal, LogId, Store, StoreError, VaultBus, snapshot};

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome, Stop};
use crate::keys::{self, Need};
use crate::look::Look;
use crate::output::KEY;

#[derive(Serialize)]
struct Erased<'a> {
    v: u32,
    subject: &'a str,
    event: EventId,
}

#[derive(Serialize)]
struct Rotated {
    v: u32,
    epoch: u32,
    source: &'static str,
}

pub(crate) fn erase(context: &mut Context, text: &str) -> Outcome {
    let subject = subject(text)?;
    let (vault, key) = stopped(context)?;
    let kernels = Look::open(context)?.world()?.world().operator_grant().is_some();
    // A vault that was used alone has no kernel, and gets none by this.
    let event = if kernels {
        through_the_kernel(&vault, key.clone(), &subject)?
    } else {
        alone(&vault, &key, &subject)?
    };
    let Some(event) = event else {
        let failure = Failure::unknown(format!("the vault has no content of '{text}'"));
        let hint = match subject {
            Subject::Author(_) => {
                format!("an agent is named as in `toka agents list`; {SUBJECT_PREFIX}NAME names a label")
            }
            Subject::Label(_) => "a subject is named as in the labels of its events".to_owned(),
        };
        return Err(failure.hint(hint).into());
    };
    rebuild(&vault, &key)?;
    if context.out.json {
        context.out.object(&Erased { v: 1, subject: text, event })?;
        return Ok(Exit::OK);
    }
    context.out.line(format_args!("{KEY}erased{KEY:#} {text}: event {} says so", event.short()))?;
    context.notes.say(
        "copies of the vault's keys that were made before can still open what was erased; see docs/backup.md",
    );
    Ok(Exit::OK)
}

pub(crate) fn rotate(context: &mut Context, to: Option<&str>, passphrase: Option<PathBuf>) -> Outcome {
    let (vault, key) = stopped(context)?;
    let next =
        to.map(|text| keys::new_key(context, text, passphrase, "--passphrase-file FILE")).transpose()?;
    // The journal is held open for its lock.
    let (journal, _, keyring) = seal::open_vault(&vault, &key)?;
    let journal: Arc<dyn Store> = Arc::new(journal);
    // New keys are no home for what was erased and came back with an older copy of the old ones.
    let erased = seal::erased_in(&journal, &LogId::main())?;
    let back = keyring.destroy(&erased).map_err(StoreError::from)?;
    if back > 0 {
        context.notes.warn(format_args!(
            "{back} subjects were erased that had come back with an older copy of the keys"
        ));
    }
    let epoch = keyring.rotate(next.as_ref()).map_err(StoreError::from)?;
    journal.close()?;
    let source = match keyring.source() {
        seal::Source::Passphrase => "passphrase",
        seal::Source::KeyFile(_) => "key-file",
        seal::Source::Keyring => "keyring",
    };
    if context.out.json {
        context.out.object(&Rotated { v: 1, epoch, source })?;
        return Ok(Exit::OK);
    }
    context.out.line(format_args!("{KEY}rotated{KEY:#}: epoch {epoch}, opened by {}", keyring.source()))?;
    Ok(Exit::OK)
}

/// The vault and its key, if nobody else writes to it.
fn stopped(context: &Context) -> Result<(PathBuf, Key), Stop> {
    let path = context.vault_itself()?;
    if let Some(pid) = Journal::writer_pid(&path) {
        return Err(StoreError::Locked { path, pid: Some(pid) }.into());
    }
    if toka_vault::open_read_only(&path)?.sealed()?.is_none() {
        return Err(StoreError::from(seal::SealingError::NotSealed { vault: path }).into());
    }
    match keys::key_of(context, &path, Need::Must)? {
        Some(key) => Ok((path, key)),
        None => Err(StoreError::from(seal::SealingError::Missing { path: seal::keys_path(&path) }).into()),
    }
}

/// The subject that `text` names: a label, or an author by name or id.
fn subject(text: &str) -> Result<Subject, Failure> {
    if text.starts_with(SUBJECT_PREFIX) {
        let label = Label::new(text).map_err(|error| Failure::usage(error.to_string()))?;
        return Ok(Subject::Label(label));
    }
    Ok(Subject::Author(text.parse().unwrap_or_else(|_| EntityId::named(text))))
}

fn through_the_kernel(vault: &Path, key: Key, subject: &Subject) -> Result<Option<EventId>, Stop> {
    let vault = Some(VaultConfig::new(vault));
    let config = RuntimeConfig { vault, ..RuntimeConfig::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|e| Failure::failed(format!("cannot start threads: {e}")))?;
    runtime.block_on(async {
        let host = Runtime::builder(config).key(key).build().await?;
        let erased = host.erase(subject).await;
        let stopped = host.stop().await;
        let event = erased?.map(|event| event.id);
        stopped?;
        Ok(event)
    })
}

fn alone(vault: &Path, key: &Key, subject: &Subject) -> Result<Option<EventId>, Stop> {
    let vault = VaultBus::open_sealed(vault, key)?;
    Ok(vault.erase(subject)?.map(|header| header.id))
}

/// Builds the projections without what was erased. The old ones, snapshots among them, can be opened by nobody any more.
fn rebuild(vault: &Path, key: &Key) -> Result<(), Stop> {
    let directory = search::directory(vault);
    if !directory.exists() {
        return Ok(());
    }
    // The journal is held open for its lock.
    let (journal, _, keyring) = seal::open_vault(vault, key)?;
    snapshot::remove_all(&directory)?;
    let key = keyring.projection_key();
    search::build(&journal, &LogId::main(), &directory, Some(&key), Some(&keyring)).map_err(|error| {
        Failure::failed(format!("erased; the search index could not be built again: {error:#}"))
    })?;
    journal.close()?;
    Ok(())
}
