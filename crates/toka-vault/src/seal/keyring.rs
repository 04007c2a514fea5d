//! The keys of a sealed vault, open.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use toka_types::{Digest, EntityId, Gone, KeyId, Label, Payload, Seal, SealError, Subject};
use zeroize::Zeroizing;

use super::SealingError;
use super::crypto::{self, NONCE, SealedHead, Secret, random, unwrap, wrap};
use super::disclosed::PayloadKey;
use super::file::{KeysFile, Stamp, Wrapped, append_subject, keys_path};
use super::projection::ProjectionKey;
use super::source::{Derivation, Key, Source};

const MASTER_CONTEXT: &[u8] = b"toka 2026 seal master v1";
const PROJECTIONS_CONTEXT: &[u8] = b"toka 2026 seal projections v1";
const SUBJECT_CONTEXT: &[u8] = b"toka 2026 seal subject v1";
const OF_AUTHOR: u8 = 0;
const OF_LABEL: u8 = 1;

/// The keys of a sealed vault, open. Shared by all who commit and read; keys of a new subject are made, and are
/// durable, when its first content is sealed.
pub struct Keyring {
    /// The vault's directory; `None`: the keys live and die with the process.
    vault: Option<PathBuf>,
    writable: bool,
    state: RwLock<State>,
}

struct State {
    /// As the file has it.
    file: KeysFile,
    /// Up to where the file was read, and is sound.
    len: u64,
    /// The file as it was then.
    stamp: Option<Stamp>,
    wrapping: Secret,
    master: Secret,
    projections: ProjectionKey,
    keys: HashMap<KeyId, SubjectKeys>,
    ids: HashMap<Subject, KeyId>,
}

struct SubjectKeys {
    subject: Subject,
    nonce: Secret,
    /// By epoch.
    data: BTreeMap<u32, Secret>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("vault", &self.vault).finish_non_exhaustive()
    }
}

impl Keyring {
    /// Makes the keys of a new vault in the directory `vault`, which exists, durably. A key file that does not exist
    /// is made too.
    ///
    /// # Errors
    /// If there are keys already, or the key cannot be one.
    pub fn create(vault: &Path, key: &Key) -> Result<Self, SealingError> {
        let path = keys_path(vault);
        if path.exists() {
            return Err(SealingError::Exists { path });
        }
        keep_outside(vault, key)?;
        let mut state = State::new(key)?;
        state.len = state.file.create(&path)?;
        state.stamp = Stamp::of(&path);
        Ok(Self { vault: Some(vault.to_owned()), writable: true, state: RwLock::new(state) })
    }

    /// Keys that live and die with the process.
    pub fn in_memory() -> Result<Self, SealingError> {
        let derivation = Derivation::KeyFile { path: PathBuf::new() };
        let state = State::with_id(KeyId(random()?), derivation, Secret::random()?)?;
        Ok(Self { vault: None, writable: true, state: RwLock::new(state) })
    }

    /// Opens the keys of the vault in the directory `vault` for the process that writes to it. Nothing is written
    /// until a new subject needs keys.
    ///
    /// # Errors
    /// [`SealingError::WrongKey`], or that there are no keys, or that they are damaged.
    pub fn open(vault: &Path, key: &Key) -> Result<Self, SealingError> {
        Self::open_as(vault, key, true)
    }

    /// Opens them for a process that reads beside the writer.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_read_only(vault: &Path, key: &Key) -> Result<Self, SealingError> {
        Self::open_as(vault, key, false)
    }

    fn open_as(vault: &Path, key: &Key, writable: bool) -> Result<Self, SealingError> {
        let path = keys_path(vault);
        // Taken first: what changes while it is read has another one.
        let stamp = Stamp::of(&path);
        let (file, len) = KeysFile::read(&path)?;
        let wrapping = file.derivation.wrapping_key(key, false)?;
        let wrong = || SealingError::WrongKey {
            vault: vault.to_owned(),
            source_name: match key {
                Key::Passphrase(_) => "the passphrase".to_owned(),
                other => other.source().to_string(),
            },
        };
        let mut state = State::unlock(file, len, wrapping).ok_or_else(wrong)?;
        state.stamp = stamp;
        Ok(Self { vault: Some(vault.to_owned()), writable, state: RwLock::new(state) })
    }

    /// The id of these keys, which the vault's manifest names.
    pub fn id(&self) -> KeyId {
        self.state().file.id
    }

    /// What opens them.
    pub fn source(&self) -> Source {
        self.state().file.derivation.source()
    }

    /// The key of the vault's projections.
    pub fn projection_key(&self) -> ProjectionKey {
        self.state().projections.clone()
    }

    /// The id of a subject's keys, if it has any.
    pub fn key_of(&self, subject: &Subject) -> Option<KeyId> {
        self.state().ids.get(subject).copied()
    }

    /// All subjects that have keys, in order.
    pub fn subjects(&self) -> BTreeSet<Subject> {
        self.state().ids.keys().cloned().collect()
    }

    /// True if these keys are there.
    pub fn has(&self, key: KeyId) -> bool {
        self.state().keys.contains_key(&key)
    }

    /// Destroys these keys, durably: what is sealed under them can be read by nobody any more, and what a projection
    /// said of it neither, since the projections' key is replaced. How many there were.
    ///
    /// # Errors
    /// If the keys file cannot be replaced; the keys are then as before, or destroyed already, which trying again
    /// shows.
    pub fn destroy(&self, keys: &[KeyId]) -> Result<usize, SealingError> {
        let mut state = self.state_mut()?;
        self.catch_up(&mut state)?;
        let mut file = state.file.clone();
        let mut count = 0;
        for key in keys {
            count += usize::from(file.subjects.remove(key).is_some());
            file.erased.insert(*key);
        }
        if file.erased == state.file.erased && count == 0 {
            return Ok(0);
        }
        let projections = Secret::random()?;
        file.projections = wrapped(&state.master, PROJECTIONS_CONTEXT, file.id, &projections.0)?;
        self.replace(&mut state, file)?;
        state.projections = ProjectionKey(projections);
        for key in keys {
            if let Some(gone) = state.keys.remove(key) {
                state.ids.remove(&gone.subject);
            }
        }
        Ok(count)
    }

    /// Puts a new master key in the place of the old one and wraps all keys with it; with `key`, another passphrase
    /// or source opens them from now on. What is sealed from now on is sealed under new keys, in a new epoch, and
    /// nothing that is stored changes. Returns the epoch.
    ///
    /// # Errors
    /// If the key cannot be one, or the keys file cannot be replaced; then the old keys stand.
    pub fn rotate(&self, key: Option<&Key>) -> Result<u32, SealingError> {
        let mut state = self.state_mut()?;
        self.catch_up(&mut state)?;
        let mut file = state.file.clone();
        let mut wrapping = state.wrapping.clone();
        if let Some(key) = key {
            if let Some(vault) = &self.vault {
                keep_outside(vault, key)?;
            }
            // Another account each time: the keyring's old key stays what it is, for older copies of the keys.
            file.derivation = Derivation::new(key, KeyId(random()?))?;
            wrapping = file.derivation.wrapping_key(key, true)?;
        }
        let master = Secret::random()?;
        file.epoch += 1;
        let associated = master_associated(file.id, file.epoch, &file.derivation);
        file.master = wrapped_with(&wrapping, &associated, &master.0)?;
        file.projections = wrapped(&master, PROJECTIONS_CONTEXT, file.id, &state.projections.0.0)?;
        for (key, keys) in &state.keys {
            file.subjects.insert(*key, keys.wrapped(&master, file.id, *key)?);
        }
        self.replace(&mut state, file)?;
        (state.master, state.wrapping) = (master, wrapping);
        Ok(state.file.epoch)
    }

    fn replace(&self, state: &mut State, file: KeysFile) -> Result<(), SealingError> {
        if let Some(vault) = &self.vault {
            let path = keys_path(vault);
            state.len = file.replace(&path)?;
            state.stamp = Stamp::of(&path);
        }
        state.file = file;
        Ok(())
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        // The state changes only after everything that can fail has been done.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> Result<RwLockWriteGuard<'_, State>, SealingError> {
        if !self.writable {
            return Err(SealingError::ReadOnly);
        }
        Ok(self.state.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads what another process wrote since; the vault's lock keeps two from writing at the same time.
    fn catch_up(&self, state: &mut State) -> Result<(), SealingError> {
        let Some(vault) = &self.vault else { return Ok(()) };
        let path = keys_path(vault);
        let stamp = Stamp::of(&path);
        if stamp.is_some() && stamp == state.stamp {
            return Ok(());
        }
        let (file, len) = KeysFile::read(&path)?;
        if file == state.file {
            (state.len, state.stamp) = (len, stamp);
            return Ok(());
        }
        let wrapping = state.wrapping.clone();
        *state = State::unlock(file, len, wrapping).ok_or(SealingError::Replaced { path })?;
        state.stamp = stamp;
        Ok(())
    }

    /// Looks again at the file for keys that a reader does not know: those of a subject that is new.
    fn look_again(&self, key: KeyId) -> bool {
        let Some(path) = self.vault.as_deref().map(keys_path).filter(|_| !self.writable) else {
            return false;
        };
        if Stamp::of(&path) == self.state().stamp {
            return false;
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        self.catch_up(&mut state).is_ok() && state.keys.contains_key(&key)
    }

    /// Calls `work` with the keys of `subject` in this epoch, which are made if there are none.
    fn with_keys<R>(
        &self,
        subject: &Subject,
        work: impl FnOnce(KeyId, u32, &Secret, &Secret) -> R,
    ) -> Result<R, SealingError> {
        {
            let state = self.state();
            if let Some((key, epoch, keys)) = state.current(subject)
                && let Some(data) = keys.data.get(&epoch)
            {
                return Ok(work(key, epoch, &keys.nonce, data));
            }
        }
        let mut state = self.state_mut()?;
        if state.current(subject).is_none_or(|(_, epoch, keys)| !keys.data.contains_key(&epoch)) {
            self.add_keys(&mut state, subject)?;
        }
        let (key, epoch, keys) = state.current(subject).expect("these keys have just been made");
        Ok(work(key, epoch, &keys.nonce, &keys.data[&epoch]))
    }

    /// Makes the keys of `subject` for this epoch durable, then known.
    fn add_keys(&self, state: &mut State, subject: &Subject) -> Result<(), SealingError> {
        self.catch_up(state)?;
        let epoch = state.file.epoch;
        let (key, mut keys) = match state.current(subject) {
            Some((_, _, keys)) if keys.data.contains_key(&epoch) => return Ok(()),
            Some((key, _, keys)) => (key, keys.clone()),
            None => {
                let keys =
                    SubjectKeys { subject: subject.clone(), nonce: Secret::random()?, data: BTreeMap::new() };
                (KeyId(random()?), keys)
            }
        };
        keys.data.insert(epoch, Secret::random()?);
        let wrapped = keys.wrapped(&state.master, state.file.id, key)?;
        if let Some(vault) = &self.vault {
            let path = keys_path(vault);
            state.len = append_subject(&path, state.len, key, &wrapped)?;
            state.stamp = Stamp::of(&path);
        }
        state.file.subjects.insert(key, wrapped);
        state.ids.insert(subject.clone(), key);
        state.keys.insert(key, keys);
        Ok(())
    }

    /// The key that opens the sealed payload `stored` and no other.
    ///
    /// # Errors
    /// As [`Seal::open`] has them.
    pub fn disclose(&self, stored: &Payload) -> Result<PayloadKey, Gone> {
        self.open_stored(stored.bytes()).map(|(_, key)| PayloadKey(key))
    }

    fn open_stored(&self, bytes: &[u8]) -> Result<(Vec<u8>, Secret), Gone> {
        let head = SealedHead::read(bytes).ok_or(Gone::Sealed)?;
        let open = || {
            let state = self.state();
            let Some(keys) = state.keys.get(&head.key) else {
                let erased = state.file.erased.contains(&head.key);
                return Err(if erased { Gone::Erased } else { Gone::Sealed });
            };
            let data = keys.data.get(&head.epoch).ok_or(Gone::Sealed)?;
            crypto::open(&keys.nonce, data, bytes).ok_or(Gone::Sealed)
        };
        match open() {
            Err(Gone::Sealed) if self.look_again(head.key) => open(),
            opened => opened,
        }
    }
}

impl Seal for Keyring {
    fn seal(&self, subject: &Subject, content: &Payload) -> Result<Payload, SealError> {
        if content.is_open() {
            return Err(SealError("it was read from a vault and is stored already".into()));
        }
        let sealed = self.with_keys(subject, |key, epoch, nonce, data| {
            crypto::seal(nonce, data, key, epoch, content.bytes())
        });
        sealed.map(Payload::new).map_err(|error| SealError(error.to_string()))
    }

    fn open(&self, stored: &Payload) -> Result<Payload, Gone> {
        if stored.is_open() {
            return Ok(stored.clone());
        }
        self.open_stored(stored.bytes()).map(|(plain, _)| Payload::opened(stored.content_ref(), plain))
    }

    fn blind(&self, subject: &Subject, digest: &Digest) -> Result<Digest, SealError> {
        let blind = self.with_keys(subject, |_, _, nonce, _| Digest(crypto::blind(nonce, &digest.0)));
        blind.map_err(|error| SealError(error.to_string()))
    }

    fn is_stored_as(&self, subject: &Subject, content: &Payload, stored: &Digest) -> bool {
        let state = self.state();
        let Some((key, _, keys)) = state.current(subject) else { return false };
        let seal =
            |(epoch, data): (&u32, &Secret)| crypto::seal(&keys.nonce, data, key, *epoch, content.bytes());
        keys.data.iter().map(seal).any(|sealed| Digest::of(&sealed) == *stored)
    }

    fn overhead(&self) -> usize {
        super::OVERHEAD
    }
}

impl State {
    fn new(key: &Key) -> Result<Self, SealingError> {
        let id = KeyId(random()?);
        let derivation = Derivation::new(key, id)?;
        let wrapping = derivation.wrapping_key(key, true)?;
        Self::with_id(id, derivation, wrapping)
    }

    fn with_id(id: KeyId, derivation: Derivation, wrapping: Secret) -> Result<Self, SealingError> {
        let (master, projections) = (Secret::random()?, Secret::random()?);
        let epoch = 1;
        let file = KeysFile {
            id,
            epoch,
            master: wrapped_with(&wrapping, &master_associated(id, epoch, &derivation), &master.0)?,
            projections: wrapped(&master, PROJECTIONS_CONTEXT, id, &projections.0)?,
            derivation,
            subjects: BTreeMap::new(),
            erased: BTreeSet::new(),
        };
        let projections = ProjectionKey(projections);
        Ok(Self {
            file,
            len: 0,
            stamp: None,
            wrapping,
            master,
            projections,
            keys: HashMap::new(),
            ids: HashMap::new(),
        })
    }

    /// The keys in `file`; `None` if the wrapping key is another one, or anything was changed.
    fn unlock(file: KeysFile, len: u64, wrapping: Secret) -> Option<Self> {
        let associated = master_associated(file.id, file.epoch, &file.derivation);
        let master = unwrap(&wrapping, &file.master.nonce, &associated, &file.master.bytes)?;
        let master = Secret::from_slice(&master)?;
        let associated = [PROJECTIONS_CONTEXT, &file.id.0].concat();
        let projections = unwrap(&master, &file.projections.nonce, &associated, &file.projections.bytes)?;
        let projections = ProjectionKey(Secret::from_slice(&projections)?);
        let (mut keys, mut ids) = (HashMap::new(), HashMap::new());
        for (key, wrapped) in &file.subjects {
            let subject = SubjectKeys::unwrapped(&master, file.id, *key, wrapped)?;
            ids.insert(subject.subject.clone(), *key);
            keys.insert(*key, subject);
        }
        Some(Self { file, len, stamp: None, wrapping, master, projections, keys, ids })
    }

    /// The keys of `subject` with their id, and the epoch.
    fn current(&self, subject: &Subject) -> Option<(KeyId, u32, &SubjectKeys)> {
        let key = *self.ids.get(subject)?;
        Some((key, self.file.epoch, self.keys.get(&key)?))
    }
}

impl Clone for SubjectKeys {
    fn clone(&self) -> Self {
        Self { subject: self.subject.clone(), nonce: self.nonce.clone(), data: self.data.clone() }
    }
}

impl SubjectKeys {
    fn wrapped(&self, master: &Secret, id: KeyId, key: KeyId) -> Result<Wrapped, SealingError> {
        let subject = match &self.subject {
            Subject::Author(_) => 16,
            Subject::Label(label) => label.as_str().len(),
        };
        // All at once, so that no copy of a secret is left behind where a vector grew.
        let room = 32 + 4 + self.data.len() * 36 + 1 + subject;
        let mut plain = Zeroizing::new(Vec::with_capacity(room));
        plain.extend_from_slice(&self.nonce.0);
        plain.extend_from_slice(&(self.data.len() as u32).to_le_bytes());
        for (epoch, data) in &self.data {
            plain.extend_from_slice(&epoch.to_le_bytes());
            plain.extend_from_slice(&data.0);
        }
        match &self.subject {
            Subject::Author(author) => {
                plain.push(OF_AUTHOR);
                plain.extend_from_slice(&author.0);
            }
            Subject::Label(label) => {
                plain.push(OF_LABEL);
                plain.extend_from_slice(label.as_str().as_bytes());
            }
        }
        wrapped_with(master, &subject_associated(id, key), &plain)
    }

    fn unwrapped(master: &Secret, id: KeyId, key: KeyId, wrapped: &Wrapped) -> Option<Self> {
        let plain = unwrap(master, &wrapped.nonce, &subject_associated(id, key), &wrapped.bytes)?;
        let (nonce, rest) = plain.split_at_checked(32)?;
        let (count, mut rest) = rest.split_at_checked(4)?;
        let mut data = BTreeMap::new();
        for _ in 0..u32::from_le_bytes(count.try_into().ok()?) {
            let (entry, after) = rest.split_at_checked(36)?;
            let epoch = u32::from_le_bytes(entry[..4].try_into().ok()?);
            data.insert(epoch, Secret::from_slice(&entry[4..])?);
            rest = after;
        }
        let subject = match rest.split_first()? {
            (&OF_AUTHOR, author) => Subject::Author(EntityId(author.try_into().ok()?)),
            (&OF_LABEL, label) => Subject::Label(Label::new(std::str::from_utf8(label).ok()?).ok()?),
            _ => return None,
        };
        Some(Self { subject, nonce: Secret::from_slice(nonce)?, data })
    }
}

fn master_associated(id: KeyId, epoch: u32, derivation: &Derivation) -> Vec<u8> {
    [MASTER_CONTEXT, &id.0, &epoch.to_le_bytes(), derivation.to_words().as_bytes()].concat()
}

fn subject_associated(id: KeyId, key: KeyId) -> Vec<u8> {
    [SUBJECT_CONTEXT, &id.0, &key.0].concat()
}

fn wrapped(master: &Secret, context: &[u8], id: KeyId, plain: &[u8]) -> Result<Wrapped, SealingError> {
    wrapped_with(master, &[context, &id.0].concat(), plain)
}

fn wrapped_with(key: &Secret, associated: &[u8], plain: &[u8]) -> Result<Wrapped, SealingError> {
    let nonce: [u8; NONCE] = random()?;
    Ok(Wrapped { nonce, bytes: wrap(key, &nonce, associated, plain)? })
}

/// A key beside what it opens would open it for whoever copies both.
fn keep_outside(vault: &Path, key: &Key) -> Result<(), SealingError> {
    let Key::KeyFile(path) = key else { return Ok(()) };
    let folder = std::path::absolute(path).ok().and_then(|path| path.parent()?.canonicalize().ok());
    let vault = vault.canonicalize().ok();
    match (folder, vault) {
        (Some(folder), Some(vault)) if folder.starts_with(&vault) => {
            Err(SealingError::KeyInVault { path: path.clone() })
        }
        _ => Ok(()),
    }
}
