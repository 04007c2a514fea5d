//! Projections of a sealed vault: encrypted block by block, so that a query opens only what it reads.

use super::crypto::{NONCE, Secret, TAG, decrypt_in_place, encrypt_in_place, keyed};

const SALT_CONTEXT: &str = "toka 2026 seal projection salt v1";
const FILE_CONTEXT: &str = "toka 2026 seal projection file v1";

/// The key of a vault's projections. Erasing a subject replaces it, so that what a deleted projection said of the
/// subject is gone with it. Shown by nothing.
#[derive(Clone, Debug)]
pub struct ProjectionKey(pub(super) Secret);

/// The key of one projection file.
#[derive(Clone, Debug)]
pub(crate) struct FileKey(Secret);

impl ProjectionKey {
    /// What tells the file apart whose content is `parts`: equal content gives the same file.
    pub(crate) fn salt<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
        let digests: Vec<u8> = parts.into_iter().flat_map(|part| *blake3::hash(part).as_bytes()).collect();
        keyed(&self.0, SALT_CONTEXT, &[&digests])
    }

    /// The key of the file with this salt.
    pub(crate) fn file(&self, salt: &[u8; 32]) -> FileKey {
        FileKey(Secret(keyed(&self.0, FILE_CONTEXT, &[salt])))
    }
}

impl FileKey {
    /// Encrypts the block with this number in place; returns its tag. Under one file's key a number comes once.
    pub(crate) fn seal(&self, number: u64, block: &mut [u8]) -> [u8; TAG] {
        encrypt_in_place(&self.0, &nonce(number), block)
            .expect("a block is far smaller than a cipher's bound")
    }

    /// Undoes [`seal`](Self::seal); false if the key is another one, or anything was changed.
    pub(crate) fn open(&self, number: u64, block: &mut [u8], tag: &[u8; TAG]) -> bool {
        decrypt_in_place(&self.0, &nonce(number), block, tag)
    }
}

fn nonce(number: u64) -> [u8; NONCE] {
    let mut nonce = [0; NONCE];
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    nonce
}
