//! Checkpoints: what a log amounts to at one size, to be signed, and the proofs that go with them.
//!
//! A checkpoint is the text of a [signed note](crate::note) as in <https://c2sp.org/tlog-checkpoint>: the log's origin,
//! how many events it has, and the root of its tree. Toka adds a line with `fold`, the digest of the world that the
//! events amount to, so that it is signed as well. Whoever keeps a checkpoint can tell whether the log goes on from it.
//!
//! [`LogProof`] is an event's inclusion with the checkpoint that it leads to, as in <https://c2sp.org/tlog-proof>: a file
//! that can be checked without the vault. `docs/format/proofs.md` has all of it with vectors.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use toka_types::Digest;

use crate::hash::TreeHash;
use crate::note::{MAX_NOTE, Note, NoteError, Signed, VerifierKey, check_name, shortened};
use crate::proof::{InclusionProof, MAX_HASHES, ProofError};
#[cfg(feature = "seal")]
use crate::store::ORIGIN_DIGITS;
pub use crate::store::default_origin;

const FOLD: &str = "fold ";
const PROOF: &str = "c2sp.org/tlog-proof@v1";

/// What is signed of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// What the log is called.
    pub origin: String,
    /// How many events it has.
    pub size: u64,
    /// The root of their tree.
    pub root: TreeHash,
    /// Further lines, none of them empty.
    pub extensions: Vec<String>,
}

/// That an event is in a log of which somebody signed a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProof {
    /// The event's number.
    pub index: u64,
    /// From the leaf's sibling up to the root's child.
    pub hashes: Vec<TreeHash>,
    /// What goes with it and is not covered: the event's header bytes, from which the leaf follows.
    pub extra: Option<Vec<u8>>,
    /// The signed checkpoint.
    pub checkpoint: Note,
}

/// Why some text is no checkpoint or no proof, or does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It is no checkpoint.
    #[error("no checkpoint: {0}")]
    Malformed(String),
    /// It is no proof.
    #[error("no proof: {0}")]
    Proof(String),
    /// The note around it, or a key.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The proof does not lead from the leaf to the root.
    #[error(transparent)]
    Tree(#[from] ProofError),
    /// It is another log's.
    #[error("the checkpoint is of the log '{found}', not of '{expected}'")]
    Origin {
        /// The origin that is expected.
        expected: String,
        /// The origin in the checkpoint.
        found: String,
    },
}

/// The parts of an origin that nobody chose: the digits of the first leaf's hash, and the log's name.
#[cfg(feature = "seal")]
pub(crate) fn default_parts(origin: &str) -> Option<(&str, &str)> {
    let (digits, log) = origin.strip_prefix("toka/")?.split_once('/')?;
    let hex = digits.len() == ORIGIN_DIGITS && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    hex.then_some((digits, log))
}

impl Checkpoint {
    /// A checkpoint without further lines.
    ///
    /// # Errors
    /// [`NoteError::Name`] if the origin could not be the name of a key.
    pub fn new(origin: &str, size: u64, root: TreeHash) -> Result<Self, CheckpointError> {
        check_name(origin)?;
        Ok(Self { origin: origin.to_owned(), size, root, extensions: Vec::new() })
    }

    /// With the digest of the world.
    #[must_use]
    pub fn with_fold(mut self, fold: Digest) -> Self {
        self.extensions.push(format!("{FOLD}{fold}"));
        self
    }

    /// The digest of the world that the events amount to, if the checkpoint tells it.
    pub fn fold(&self) -> Option<Digest> {
        self.extensions.iter().find_map(|line| line.strip_prefix(FOLD)?.parse().ok())
    }

    /// Reads the text of a note.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let malformed = |problem: String| CheckpointError::Malformed(problem);
        let Some(lines) = text.strip_suffix('\n') else {
            return Err(malformed("it does not end with a line feed".into()));
        };
        let mut lines = lines.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(malformed("it takes three lines: origin, size and root".into()));
        };
        if check_name(origin).is_err() {
            return Err(malformed(format!("its origin '{}' cannot name a key", shortened(origin))));
        }
        let size = decimal(size).ok_or_else(|| malformed(format!("'{}' is no size", shortened(size))))?;
        let root = hash(root).ok_or_else(|| malformed(format!("'{}' is no root", shortened(root))))?;
        let extensions: Vec<String> = lines.map(str::to_owned).collect();
        if extensions.iter().any(String::is_empty) {
            return Err(malformed("an extension line is empty".into()));
        }
        let folds: Vec<&str> = extensions.iter().filter_map(|line| line.strip_prefix(FOLD)).collect();
        if folds.len() > 1 || folds.iter().any(|fold| fold.parse::<Digest>().is_err()) {
            return Err(malformed("its fold is not one digest of 64 hex digits".into()));
        }
        Ok(Self { origin: origin.to_owned(), size, root, extensions })
    }

    /// Reads a note and verifies that one of `keys` signed it; the checkpoint and the signatures of those keys.
    ///
    /// # Errors
    /// [`CheckpointError::Note`], [`CheckpointError::Malformed`].
    pub fn open(note: &Note, keys: &[VerifierKey]) -> Result<(Self, Vec<Signed>), CheckpointError> {
        let signed = note.verify(keys)?;
        Ok((Self::parse(note.text())?, signed))
    }

    /// The text that is signed.
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.0));
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// The note with the signature of `key`, whose private half `sign` has.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] if the checkpoint's lines cannot stand in a note.
    pub fn sign(
        &self,
        key: &VerifierKey,
        sign: impl FnOnce(&[u8]) -> [u8; 64],
    ) -> Result<Note, CheckpointError> {
        let text = self.to_text();
        Self::parse(&text)?;
        let mut note = Note::new(&text)?;
        note.add(key.sign(&text, 0, sign))?;
        Ok(note)
    }
}

impl LogProof {
    /// Reads a proof. Nothing of it has been verified yet.
    ///
    /// # Errors
    /// [`CheckpointError::Proof`], [`CheckpointError::Note`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let malformed = |problem: String| CheckpointError::Proof(problem);
        // Facts of 64 KiB and what else a header holds, in base64, fit beside the note.
        if bytes.len() > 2 * MAX_NOTE {
            return Err(malformed(format!(
                "it has {} bytes, at most {} are read",
                bytes.len(),
                2 * MAX_NOTE
            )));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8".into()))?;
        let Some((head, note)) = text.split_once("\n\n") else {
            return Err(malformed("no empty line follows the hashes".into()));
        };
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(PROOF) {
            return Err(malformed(format!("its first line is not {PROOF}")));
        }
        let extra = match lines.peek().and_then(|line| line.strip_prefix("extra ")) {
            Some(encoded) => {
                lines.next();
                let bad = |_| malformed("its extra line is not base64".into());
                Some(STANDARD.decode(encoded).map_err(bad)?)
            }
            None => None,
        };
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(decimal);
        let index = index.ok_or_else(|| malformed("a line with the index is missing".into()))?;
        let mut hashes = Vec::new();
        for line in lines {
            let found = hash(line);
            hashes.push(found.ok_or_else(|| malformed(format!("'{}' is no hash", shortened(line))))?);
            if hashes.len() > MAX_HASHES {
                return Err(malformed(format!("it has more than {MAX_HASHES} hashes")));
            }
        }
        Ok(Self { index, hashes, extra, checkpoint: Note::parse(note.as_bytes())? })
    }

    /// Checks that `leaf` is in the log of which one of `keys` signed the checkpoint; that checkpoint and who signed.
    ///
    /// # Errors
    /// [`CheckpointError::Note`], [`CheckpointError::Malformed`], [`CheckpointError::Tree`].
    pub fn verify(
        &self,
        leaf: &TreeHash,
        keys: &[VerifierKey],
    ) -> Result<(Checkpoint, Vec<Signed>), CheckpointError> {
        let (checkpoint, signed) = Checkpoint::open(&self.checkpoint, keys)?;
        let proof = InclusionProof { index: self.index, size: checkpoint.size, hashes: self.hashes.clone() };
        proof.verify(leaf, &checkpoint.root)?;
        Ok((checkpoint, signed))
    }
}

impl fmt::Display for LogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{PROOF}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", STANDARD.encode(hash.0)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for LogProof {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        Self::parse(text.as_bytes())
    }
}

/// A number without a sign and without leading zeros.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let plain = text == "0" || !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// A hash in base64.
fn hash(text: &str) -> Option<TreeHash> {
    let bytes = STANDARD.decode(text).ok()?;
    Some(TreeHash(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    const TEXT: &str =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    #[test]
    fn a_checkpoint_is_what_its_text_says() {
        let checkpoint = Checkpoint::parse(TEXT).expect("a checkpoint");
        assert_eq!(
            (checkpoint.origin.as_str(), checkpoint.size),
            ("example.com/behind-the-sofa", 20_852_163)
        );
        assert_eq!((checkpoint.fold(), checkpoint.to_text()), (None, TEXT.to_owned()));
        let fold = Digest::of(b"a world");
        let with = checkpoint.with_fold(fold);
        let read = Checkpoint::parse(&with.to_text()).expect("a checkpoint");
        assert_eq!((read.fold(), &read), (Some(fold), &with));
        let other = format!("{TEXT}something else\nfold {fold}\n");
        let other = Checkpoint::parse(&other).expect("a checkpoint");
        assert_eq!((other.fold(), other.extensions.len()), (Some(fold), 2));
    }

    #[test]
    fn what_is_no_checkpoint_is_refused() {
        let refused = |text: &str| assert!(Checkpoint::parse(text).is_err(), "{text:?}");
        refused("");
        refused("\n");
        refused(TEXT.trim_end());
        refused(&TEXT.replacen("example.com/behind-the-sofa", "", 1));
        for size in ["", "-1", "+1", "020852163", "0x1", "1 ", "18446744073709551616", "٣"] {
            refused(&TEXT.replacen("20852163", size, 1));
        }
        for root in [
            "",
            "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I",
            "CsUYapGGPo4dkMgI",
            "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2J=",
        ] {
            refused(&TEXT.replacen("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=", root, 1));
        }
        refused(&format!("{TEXT}\n"));
        refused(&format!("{TEXT}a\n\nb\n"));
        refused(&format!("{TEXT}fold 12\n"));
        refused(&format!("{TEXT}fold {0}\nfold {0}\n", Digest::of(b"")));
        assert!(Checkpoint::parse(&TEXT.replacen("20852163", "0", 1)).is_ok());
        assert!(Checkpoint::new("no spaces", 0, TreeHash([0; 32])).is_err());
    }
}
