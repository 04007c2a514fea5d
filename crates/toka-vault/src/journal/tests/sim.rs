//! A disk in memory that knows what was synced.

use std::any::Any;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::super::disk::{Disk, DiskFile};
use crate::testing::Random;

/// What a power cut may tear: unsynced writes survive in any subset of these.
const SECTOR: usize = 512;

/// What happens at the chosen call.
#[derive(Clone, Copy)]
pub(crate) enum Failure {
    /// This call and all later ones fail: the process is gone.
    Stop,
    /// This call fails, half done; later ones work.
    Once(ErrorKind),
    /// From this call on, each so many calls one fails.
    Each(u64, ErrorKind),
}

#[derive(Clone, Default)]
pub(crate) struct SimDisk(Arc<Mutex<Sim>>);

#[derive(Clone, Default)]
struct Sim {
    names: BTreeMap<PathBuf, u64>,
    /// By number; a file whose name another one took is still read by whoever has it open.
    files: BTreeMap<u64, SimFile>,
    /// Files that were given another name since their directory was last synced, with whose name it was.
    renamed: Vec<(PathBuf, PathBuf, Option<u64>)>,
    /// Files that were made, or whose names were removed, since their directory was last synced.
    made: Vec<(PathBuf, u64)>,
    removed: Vec<(PathBuf, u64)>,
    calls: u64,
    failure: Option<(u64, Failure)>,
    fail_sync: bool,
    limit: Option<u64>,
}

#[derive(Clone, Default)]
struct SimFile {
    data: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

struct Handle {
    disk: SimDisk,
    file: u64,
}

impl SimDisk {
    pub(crate) fn failing(call: u64, failure: Failure) -> Self {
        let disk = Self::default();
        disk.fail_at(call, failure);
        disk
    }

    /// Lets the call after `call` others from now on fail.
    pub(crate) fn fail_at(&self, call: u64, failure: Failure) {
        let mut sim = self.0.lock().unwrap();
        sim.failure = Some((sim.calls + call, failure));
    }

    /// Lets the next sync fail.
    pub(crate) fn fail_sync(&self) {
        self.0.lock().unwrap().fail_sync = true;
    }

    /// Lets the files grow to `bytes` together.
    pub(crate) fn limit(&self, bytes: u64) {
        self.0.lock().unwrap().limit = Some(bytes);
    }

    pub(crate) fn calls(&self) -> u64 {
        self.0.lock().unwrap().calls
    }

    /// The disk as another process finds it after this one was killed.
    pub(crate) fn after_kill(&self) -> Self {
        let mut sim = self.0.lock().unwrap().clone();
        sim.failure = None;
        Self(Arc::new(Mutex::new(sim)))
    }

    /// The disk after a power cut: what was synced, and a random part of what was not.
    pub(crate) fn after_power_cut(&self, seed: u64) -> Self {
        let mut sim = self.0.lock().unwrap().clone();
        let mut random = Random::new(seed);
        for (from, to, before) in std::mem::take(&mut sim.renamed).into_iter().rev() {
            if seed == 0 || seed != 1 && random.below(2) == 0 {
                let Some(file) = sim.names.remove(&to) else { continue };
                sim.names.insert(from, file);
                sim.names.extend(before.map(|before| (to, before)));
            }
        }
        // Seed 1 keeps every change, whose order is that of the calls.
        let lost = |random: &mut Random| seed == 0 || seed != 1 && random.below(2) == 0;
        for (path, file) in std::mem::take(&mut sim.made) {
            if sim.names.get(&path) == Some(&file) && lost(&mut random) {
                sim.names.remove(&path);
            }
        }
        for (path, file) in std::mem::take(&mut sim.removed) {
            if lost(&mut random) {
                sim.names.entry(path).or_insert(file);
            }
        }
        for file in sim.files.values_mut() {
            let mut data = std::mem::take(&mut file.durable);
            for change in file.pending.drain(..) {
                match change {
                    Change::Length(len) if random.below(2) == 0 => data.resize(len, 0),
                    Change::Length(_) => {}
                    Change::Write(at, bytes) => {
                        let mut from = 0;
                        while from < bytes.len() {
                            let to = bytes.len().min(((at + from) / SECTOR + 1) * SECTOR - at);
                            // Seed 0 keeps nothing, seed 1 everything, others about half.
                            if seed == 1 || seed != 0 && random.below(2) == 0 {
                                let end = data.len().max(at + to);
                                data.resize(end, 0);
                                data[at + from..at + to].copy_from_slice(&bytes[from..to]);
                            }
                            from = to;
                        }
                    }
                }
            }
            file.durable.clone_from(&data);
            file.data = data;
        }
        sim.failure = None;
        sim.calls = 0;
        Self(Arc::new(Mutex::new(sim)))
    }

    /// The files that have bytes, with their lengths.
    pub(crate) fn files(&self) -> Vec<(PathBuf, u64)> {
        let sim = self.0.lock().unwrap();
        let files = sim.names.iter();
        let files = files.map(|(path, file)| (path.clone(), sim.files[file].data.len() as u64));
        files.filter(|(_, len)| *len > 0).collect()
    }

    /// Flips one bit of a file.
    pub(crate) fn flip(&self, path: &Path, at: usize, bit: u8) {
        let mut sim = self.0.lock().unwrap();
        let file = sim.named(path).unwrap();
        sim.file(file).unwrap().data[at] ^= 1 << bit;
    }

    /// Counts a call that changes something; the error if it is the chosen one.
    fn call(&self, sim: &mut Sim) -> io::Result<()> {
        sim.calls += 1;
        match sim.failure {
            Some((call, Failure::Stop)) if sim.calls > call => Err(ErrorKind::Other.into()),
            Some((call, Failure::Once(kind))) if sim.calls == call + 1 => Err(kind.into()),
            Some((call, Failure::Each(n, kind)))
                if sim.calls > call && (sim.calls - call).is_multiple_of(n) =>
            {
                Err(kind.into())
            }
            _ => Ok(()),
        }
    }
}

impl Sim {
    fn named(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn file(&mut self, file: u64) -> io::Result<&mut SimFile> {
        self.files.get_mut(&file).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn add(&mut self, path: &Path, file: SimFile) -> u64 {
        let number = self.files.last_key_value().map_or(1, |(last, _)| last + 1);
        self.files.insert(number, file);
        self.names.insert(path.to_owned(), number);
        number
    }

    fn check_room(&self, file: u64, len: usize) -> io::Result<()> {
        let others = self.names.values().filter(|other| **other != file);
        let others = others.filter_map(|other| self.files.get(other)).map(|file| file.data.len());
        match self.limit {
            Some(limit) if (others.sum::<usize>() + len) as u64 > limit => Err(ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

impl SimFile {
    fn set_len(&mut self, len: usize) {
        self.data.resize(len, 0);
        self.pending.push(Change::Length(len));
    }

    fn write(&mut self, bytes: &[u8], at: usize) {
        let end = self.data.len().max(at + bytes.len());
        self.data.resize(end, 0);
        self.data[at..at + bytes.len()].copy_from_slice(bytes);
        self.pending.push(Change::Write(at, bytes.to_vec()));
    }

    fn sync(&mut self) {
        self.pending.clear();
        self.durable.clone_from(&self.data);
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, _write: bool) -> io::Result<Box<dyn DiskFile>> {
        let file = self.0.lock().unwrap().named(path)?;
        Ok(Box::new(Handle { disk: self.clone(), file }))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut sim = self.0.lock().unwrap();
        self.call(&mut sim)?;
        if sim.names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let file = sim.add(path, SimFile::default());
        sim.made.push((path.to_owned(), file));
        Ok(Box::new(Handle { disk: self.clone(), file }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let sim = self.0.lock().unwrap();
        let inside = sim.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn create_directory(&self, _directory: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut sim = self.0.lock().unwrap();
        self.call(&mut sim)?;
        let file = sim.named(from)?;
        sim.names.remove(from);
        let before = sim.names.insert(to.to_owned(), file);
        sim.renamed.push((from.to_owned(), to.to_owned(), before));
        Ok(())
    }

    fn works_beside(&self) -> bool {
        // A second thread would make the order of calls, and so the failures, a matter of chance.
        false
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut sim = self.0.lock().unwrap();
        self.call(&mut sim)?;
        let file = sim.named(path)?;
        sim.names.remove(path);
        sim.removed.push((path.to_owned(), file));
        Ok(())
    }

    fn replace(&self, path: &Path, parts: &[&[u8]], sync: bool) -> io::Result<()> {
        let bytes = &parts.concat()[..];
        let mut sim = self.0.lock().unwrap();
        self.call(&mut sim)?;
        let mut file = SimFile::default();
        file.write(bytes, 0);
        if sync {
            file.sync();
        }
        sim.add(path, file);
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut sim = self.0.lock().unwrap();
        let file = sim.named(path)?;
        Ok(sim.file(file)?.data.clone())
    }

    fn id(&self, path: &Path) -> io::Result<u64> {
        self.0.lock().unwrap().named(path)
    }

    fn identity(&self, _directory: &Path) -> Option<String> {
        None
    }

    fn stamp(&self, _path: &Path) -> Option<u64> {
        None
    }

    fn clock(&self, _path: &Path) -> Option<u64> {
        None
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut sim = self.0.lock().unwrap();
        self.call(&mut sim)?;
        sim.renamed.retain(|(_, to, _)| to.parent() != Some(directory));
        sim.made.retain(|(path, _)| path.parent() != Some(directory));
        sim.removed.retain(|(path, _)| path.parent() != Some(directory));
        Ok(())
    }

    fn lock(&self, _path: &Path) -> io::Result<Result<Box<dyn Any + Send + Sync>, Option<u32>>> {
        Ok(Ok(Box::new(())))
    }

    fn lock_holder(&self, _path: &Path) -> Option<u32> {
        None
    }
}

impl DiskFile for Handle {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut sim = self.disk.0.lock().unwrap();
        let data = &sim.file(self.file)?.data;
        let from = (offset as usize).min(data.len());
        let count = buffer.len().min(data.len() - from);
        buffer[..count].copy_from_slice(&data[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut sim = self.disk.0.lock().unwrap();
        let failed = self.disk.call(&mut sim);
        sim.check_room(self.file, offset as usize + bytes.len())?;
        let file = sim.file(self.file)?;
        // A write that fails may have been done in part.
        let done = if failed.is_ok() { bytes.len() } else { bytes.len() / 2 };
        file.write(&bytes[..done], offset as usize);
        failed
    }

    fn sync(&self) -> io::Result<()> {
        let mut sim = self.disk.0.lock().unwrap();
        self.disk.call(&mut sim)?;
        if std::mem::take(&mut sim.fail_sync) {
            return Err(ErrorKind::Other.into());
        }
        sim.file(self.file)?.sync();
        Ok(())
    }

    fn id(&self) -> io::Result<u64> {
        Ok(self.file)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().unwrap().file(self.file)?.data.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut sim = self.disk.0.lock().unwrap();
        self.disk.call(&mut sim)?;
        sim.file(self.file)?.set_len(len as usize);
        Ok(())
    }

    fn allocate(&self, _from: u64, end: u64) -> io::Result<()> {
        let mut sim = self.disk.0.lock().unwrap();
        self.disk.call(&mut sim)?;
        sim.check_room(self.file, end as usize)?;
        let file = sim.file(self.file)?;
        let len = file.data.len().max(end as usize);
        file.set_len(len);
        Ok(())
    }
}
