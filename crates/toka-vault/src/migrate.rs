//! Moving a vault to another store.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use toka_types::{Digest, EventHeader, Gone};

use crate::core::{LogId, Record};
use crate::engine::{self, Engine};
use crate::fork::Base;
use crate::hash::{LogTree, TreeHash};
use crate::journal::segment::failed;
use crate::store::{Head, Part, Room, Store, StoreError};

/// Headers that are looked at to see how much content follows.
const HEADERS: usize = 1024;
/// Content bytes of one batch, so that memory stays bounded whatever the events hold.
const BATCH_BYTES: u64 = 8 << 20;
/// What a vault's directory has that does not move: it is the engine's, or of the moment.
const LEFT: [&str; 6] = ["manifest", "manifest.tmp", "lock", "index", "spare", "compact"];

/// Records, and why what content of theirs is not there.
type Batch = (Vec<Arc<Record>>, HashMap<Digest, Gone>);

/// What was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// How many logs.
    pub logs: usize,
    /// Events of all logs.
    pub events: u64,
    /// The root of the tree of the log `main`, or of the first log if there is no `main`.
    pub root: TreeHash,
}

/// Copies the vault in the directory `from`, with all its logs and all else that lies in it, to a new vault in `to`
/// that `engine` keeps. Every id, number, time, digest and root is what it was, so every proof holds; all of the new
/// vault is verified before it gets its name. `progress` hears how many events are done, and of how many.
///
/// The old vault is only read, and nobody can write to it meanwhile. The new one is there whole or not at all: it is
/// made beside `to` under a name of its own, which a later try takes over if this one dies.
///
/// # Errors
/// [`StoreError::Exists`] if there is anything at `to`; [`StoreError::Locked`] if somebody writes to the old vault;
/// [`StoreError::Engine`] if this build does not have one of the two stores, or the vault is sealed and `engine` is not the
/// journal.
pub fn migrate(
    from: impl AsRef<Path>,
    engine: Engine,
    to: impl AsRef<Path>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Migrated, StoreError> {
    let (from, to) = (from.as_ref(), to.as_ref());
    if !engine.is_built() {
        return Err(engine.not_built(to));
    }
    if to.symlink_metadata().is_ok() {
        return Err(StoreError::Exists { path: to.to_owned() });
    }
    let (source, manifest, _lock) = engine::open_to_move(from)?;
    if manifest.keys.is_some() && engine != Engine::Journal {
        let detail = format!("and is sealed: {engine} keeps no sealed vaults, the journal does");
        return Err(StoreError::Engine { path: from.to_owned(), engine: manifest.engine, detail });
    }
    let work = Work::begin(from, to)?;
    let moved = {
        let target = engine::create_as(&work.path, engine, manifest)?;
        let moved = copy_logs(&*source, &*target, &mut progress)?;
        target.close()?;
        moved
    };
    copy_rest(from, &work.path)?;
    check(&*source, &work.path)?;
    work.finish(to)?;
    Ok(moved)
}

/// The directory in which the new vault is made. Unless it is finished, it is removed.
struct Work {
    path: PathBuf,
    done: bool,
    _lock: File,
    lock_path: PathBuf,
}

impl Work {
    fn begin(from: &Path, to: &Path) -> Result<Self, StoreError> {
        let refused = |detail: &str| StoreError::Io {
            what: "make a vault at",
            path: to.to_owned(),
            detail: detail.into(),
        };
        let absolute = std::path::absolute(to).map_err(|error| failed("make a vault at", to, &error))?;
        let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return Err(refused("it has no name"));
        };
        let parent = parent.canonicalize().map_err(|error| failed("make a vault in", parent, &error))?;
        let from = from.canonicalize().map_err(|error| failed("read", from, &error))?;
        if parent.starts_with(&from) {
            return Err(refused("it lies in the vault that is to be moved; name a place outside of it"));
        }
        let hidden = |end: &str| {
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(end);
            parent.join(hidden)
        };
        let (path, lock_path) = (hidden(".migrating"), hidden(".migrating.lock"));
        // Whoever holds it is making this very vault; what is there without a holder is of a try that died.
        let lock = File::create(&lock_path).map_err(|error| failed("create", &lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { path: path.clone(), pid: None });
            }
            Err(fs::TryLockError::Error(error)) => return Err(failed("lock", &lock_path, &error)),
        }
        let work = Self { path, done: false, _lock: lock, lock_path };
        match fs::remove_dir_all(&work.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &work.path, &error));
            }
            _ => {}
        }
        let mode =
            fs::metadata(&from).map_or(0o700, |data| std::os::unix::fs::MetadataExt::mode(&data) & 0o777);
        let made = DirBuilder::new().mode(mode | 0o700).create(&work.path);
        made.map_err(|error| failed("create", &work.path, &error))?;
        Ok(work)
    }

    /// Gives the vault its name, durably.
    fn finish(mut self, to: &Path) -> Result<(), StoreError> {
        sync_directory(&self.path)?;
        match renameat_with(CWD, &self.path, CWD, to, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST | rustix::io::Errno::NOTEMPTY) => {
                return Err(StoreError::Exists { path: to.to_owned() });
            }
            // Some file systems know no such flag. A directory replaces at most an empty one.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                if to.symlink_metadata().is_ok() {
                    return Err(StoreError::Exists { path: to.to_owned() });
                }
                fs::rename(&self.path, to).map_err(|error| failed("rename", &self.path, &error))?;
            }
            Err(error) => return Err(failed("rename", &self.path, &error.into())),
        }
        self.done = true;
        sync_directory(self.lock_path.parent().unwrap_or(Path::new("/")))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What cannot be removed is removed by the next try.
        if !self.done {
            let _ = fs::remove_dir_all(&self.path);
        }
        let _ = fs::remove_file(&self.lock_path);
    }
}

fn copy_logs(
    source: &dyn Store,
    target: &dyn Store,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Migrated, StoreError> {
    let logs = source.logs()?;
    let heads = logs.iter().map(|log| source.head(log)).collect::<Result<Vec<_>, _>>()?;
    let bases = logs.iter().map(|log| source.base(log)).collect::<Result<Vec<_>, _>>()?;
    let shared = |base: &Option<Base>| base.as_ref().map_or(0, |base| base.size);
    let total = heads.iter().zip(&bases).map(|(head, base)| head.next_seq.saturating_sub(shared(base))).sum();
    let mut done = 0;
    progress(done, total);
    // A fork comes after the log that it was forked from, as in the old vault.
    for ((log, head), base) in logs.iter().zip(&heads).zip(&bases) {
        let own_from = shared(base);
        let mut next = own_from;
        while next < head.next_seq {
            let (batch, gone) = batch(source, log, next)?;
            if batch.is_empty() {
                break;
            }
            let base = base.as_ref().filter(|_| next == own_from);
            let part = Part { log, expected: next, records: &batch, base };
            target.append_gone(&[part], &gone, Room::Ordinary)?;
            next += batch.len() as u64;
            done += batch.len() as u64;
            progress(done, total);
        }
    }
    let main = logs.iter().position(|log| *log == LogId::main()).unwrap_or(0);
    let root = heads.get(main).map_or_else(|| LogTree::new().root(), |head| head.root);
    Ok(Migrated { logs: logs.len(), events: done, root })
}

/// The next records of a log, and why what content of theirs is not there.
fn batch(source: &dyn Store, log: &LogId, from: u64) -> Result<Batch, StoreError> {
    let headers = source.headers(log, from, HEADERS)?;
    let mut bytes = 0;
    let fits = headers.iter().take_while(|header| {
        let before = bytes;
        bytes += header.content_bytes();
        before == 0 || bytes <= BATCH_BYTES
    });
    let count = fits.count();
    let records = source.read(log, from, count)?;
    let mut gone = HashMap::new();
    for record in records.iter().filter(|record| record.content.len() < record.header.content.len()) {
        for digest in missing(record) {
            if let Some(why) = source.gone(&digest)? {
                gone.insert(digest, why);
            }
        }
    }
    Ok((records, gone))
}

fn missing(record: &Record) -> impl Iterator<Item = Digest> {
    let EventHeader { content, .. } = &record.header;
    content
        .iter()
        .enumerate()
        .filter(|(at, _)| record.content_at(*at).is_none())
        .map(|(_, content)| content.digest)
}

/// Copies what is not the engine's: projections, agents' storage, keys, whatever else lies there.
fn copy_rest(from: &Path, to: &Path) -> Result<(), StoreError> {
    let is_left = |name: &std::ffi::OsStr| {
        LEFT.iter().any(|left| name == *left) || Engine::ALL.iter().any(|engine| name == engine.name())
    };
    let entries = fs::read_dir(from).map_err(|error| failed("read", from, &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| failed("read", from, &error))?;
        if !is_left(&entry.file_name()) {
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    let kind = from.symlink_metadata().map_err(|error| failed("read", from, &error))?.file_type();
    let at = |error: io::Error| failed("copy", from, &error);
    if kind.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(from).map_err(at)?, to).map_err(at)
    } else if kind.is_dir() {
        fs::create_dir(to).map_err(at)?;
        fs::set_permissions(to, fs::metadata(from).map_err(at)?.permissions()).map_err(at)?;
        for entry in fs::read_dir(from).map_err(at)? {
            let entry = entry.map_err(at)?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        sync_directory(to)
    } else if kind.is_file() {
        fs::copy(from, to).map_err(at)?;
        File::open(to).and_then(|file| file.sync_all()).map_err(at)
    } else {
        // A socket of a process that runs no more.
        Ok(())
    }
}

/// Verifies the new vault and compares the logs' ends: a root covers all headers, and they name all content.
fn check(source: &dyn Store, path: &Path) -> Result<(), StoreError> {
    let damage = |detail: String| StoreError::Corrupt { file: path.to_owned(), seq: None, detail };
    let report = engine::verify(path)?;
    if let Some(problem) = report.problems.iter().find(|problem| !problem.what.is_harmless()) {
        return Err(damage(format!("the new vault is not what was written: {}", problem.detail)));
    }
    let target = engine::open_read_only(path)?;
    let ends = |store: &dyn Store| -> Result<Vec<(LogId, Head, Option<Base>)>, StoreError> {
        let end = |log: LogId| Ok((log.clone(), store.head(&log)?, store.base(&log)?));
        store.logs()?.into_iter().map(end).collect()
    };
    if ends(source)? != ends(&*target)? || source.dimension()? != target.dimension()? {
        return Err(damage("the new vault's logs are not the old one's".into()));
    }
    Ok(())
}

fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(|error| failed("sync", path, &error))
}
