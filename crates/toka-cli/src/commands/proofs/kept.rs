//! What the operator keeps of the checkpoints that were signed: outside the vault, so that whoever changes the vault
//! does not change it too.

use std::fs::{self, DirBuilder};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use toka_types::Digest;
use toka_vault::checkpoint::Checkpoint;
use toka_vault::hash::TreeHash;
use toka_vault::note::Note;

use super::{Amount, Mark};
use crate::failure::Failure;

/// Hex digits of an origin's digest in the names of files.
const DIGITS: usize = 32;

/// What is kept of one log: `checkpoints/HEX.note`, the last checkpoint with all its signatures, and to tell where a log
/// parts from it `HEX.parts`, the roots over each 256 events that it covers, 32 bytes each, and `HEX.marks`, the first
/// four bytes of the leaf of each of the first million.
pub(super) struct Kept {
    directory: PathBuf,
    name: String,
}

impl Kept {
    pub(super) fn new(state: &Path, origin: &str) -> Self {
        let name = Digest::of(origin.as_bytes()).to_string()[..DIGITS].to_owned();
        Self { directory: state.join("checkpoints"), name }
    }

    /// The last checkpoint that was signed.
    pub(super) fn last(&self) -> Result<Option<(Checkpoint, Note)>, Failure> {
        let path = self.path("note");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(&path, &error)),
        };
        let read = Note::parse(&bytes).map_err(Into::into).and_then(|note| {
            let checkpoint = Checkpoint::parse(note.text())?;
            Ok((checkpoint, note))
        });
        read.map(Some).map_err(|error: toka_vault::checkpoint::CheckpointError| {
            Failure::integrity(format!("'{}' holds no checkpoint: {error}", path.display()))
                .hint("it is the last one that was signed; restore it from a backup, or move it away if you know that the log is whole")
        })
    }

    /// The roots over each 256 events that the last checkpoint covers; none if they cannot be had.
    pub(super) fn parts(&self) -> Vec<TreeHash> {
        let bytes = fs::read(self.path("parts")).unwrap_or_default();
        bytes.as_chunks::<32>().0.iter().map(|root| TreeHash(*root)).collect()
    }

    /// The first bytes of the leaves of the events that the last checkpoint covers; none if they cannot be had.
    pub(super) fn marks(&self) -> Vec<Mark> {
        fs::read(self.path("marks")).unwrap_or_default().as_chunks().0.to_vec()
    }

    /// Keeps a checkpoint, durably.
    pub(super) fn save(&self, note: &Note, amount: &Amount) -> Result<(), Failure> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.directory);
        made.map_err(|error| io(&self.directory, &error))?;
        let parts: Vec<u8> = amount.parts.iter().flat_map(|root| root.0).collect();
        self.write("parts", &parts)?;
        self.write("marks", amount.marks.as_flattened())?;
        self.save_note(note)
    }

    /// Keeps the checkpoint with more signatures, durably.
    pub(super) fn save_note(&self, note: &Note) -> Result<(), Failure> {
        self.write("note", note.to_string().as_bytes())
    }

    fn write(&self, extension: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.path(extension);
        let written = tempfile::NamedTempFile::new_in(&self.directory).and_then(|mut file| {
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            fs::File::open(&self.directory)?.sync_all()
        });
        written.map_err(|error| io(&path, &error))
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.directory.join(format!("{}.{extension}", self.name))
    }
}

fn io(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("'{}': {error}", path.display()))
        .hint("the last signed checkpoint is kept there; set XDG_STATE_HOME to a folder of your own")
}
