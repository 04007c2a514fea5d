//! Bundles: a stretch of a log in one file, for somebody who does not have the vault.
//!
//! A bundle holds the headers of all events of the stretch, so that ids, the log tree and every proof can be checked;
//! the content that its maker did not leave out; the frontier of the tree before the stretch; and, where it was signed, a
//! checkpoint to which the stretch leads. The same stretch of the same log with the same choices gives the same bytes. A
//! digest at the end covers every byte before it. `docs/format/bundle.md` describes the bytes.
//!
//! Content of a sealed log is there as it is stored, so that ids and proofs hold. Who has the vault's keys reads it; to
//! others its maker may disclose it, with a key for each content that opens that one alone.
//!
//! [`export`] writes one, [`check`] finds everything that is wrong with one, and [`Bundle`] reads one as a [`Store`](crate::Store) that
//! nobody can write to. [`import`] takes its events over into a store.

mod import;
mod read;
mod store;
mod write;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use toka_types::{Gone, KeyId};

pub use import::{Imported, import};
pub use read::{Checked, check};
pub use store::Bundle;
pub use write::{Choice, Exported, Range, Sealed, export};

const MAGIC: &[u8; 8] = b"TOKABND\n";
const FORMAT: u32 = 1;
/// The format of a bundle of a sealed log.
const SEALED_FORMAT: u32 = 2;
/// Magic, format, zeros.
const FIXED: usize = 16;
const CHECKSUM: usize = 32;
/// Bounds of the sections that are read whole; more is damage, and no reason to allocate.
const MAX_DESCRIPTION: u64 = 64 << 10;
const MAX_ANCHOR: u64 = 64 * 32;
const MAX_CONSISTENCY: u64 = 32 * crate::proof::MAX_HASHES as u64;
const MAX_NOTE: u64 = crate::note::MAX_NOTE as u64;
/// An event's header is never longer: 64 KiB of facts, 64 parents, 32 labels.
const MAX_HEADER: u32 = 128 << 10;
/// Bytes before a content: its digest and its length.
const CONTENT_HEAD: u64 = 36;
/// Bytes of an entry that discloses a content: its digest and its key.
const DISCLOSED_ENTRY: u64 = 64;
/// Bytes of an entry that says why a content is not there.
const GONE_ENTRY: u64 = 33;

/// What a bundle says of itself: JSON with these keys in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The log.
    pub log: String,
    /// The number of the first event.
    pub from: u64,
    /// The number after that of the last event.
    pub end: u64,
    /// The root of the log's tree at `end`, in hex.
    pub root: String,
    /// How many contents it holds.
    pub contents: u64,
    /// How many contents it does not hold.
    pub gone: u64,
    /// The number of dimensions of the vault's vectors.
    pub dimension: Option<u32>,
    /// The keys under which the content of a sealed log is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeyId>,
}

/// True if a file lies at `path` that begins as a bundle does, or nearly so: one with a flipped byte there is a damaged
/// bundle, and nothing else.
pub fn is_bundle(path: &Path) -> bool {
    // A pipe or a device is not opened: that could wait for ever.
    if !path.is_file() {
        return false;
    }
    let mut beginning = [0; MAGIC.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut beginning));
    let same = beginning.iter().zip(MAGIC).filter(|(found, expected)| found == expected).count();
    read.is_ok() && same + 2 >= MAGIC.len()
}

/// The byte for a reason.
fn reason_byte(gone: Gone) -> u8 {
    match gone {
        Gone::Redacted => 1,
        Gone::Erased => 2,
        Gone::Expired => 3,
        Gone::Sealed => 4,
    }
}

fn reason_of(byte: u8) -> Option<Gone> {
    match byte {
        1 => Some(Gone::Redacted),
        2 => Some(Gone::Erased),
        3 => Some(Gone::Expired),
        4 => Some(Gone::Sealed),
        _ => None,
    }
}
