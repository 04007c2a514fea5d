//! What a copy may lack.

use std::path::Path;

use super::{Check, Opened};
use crate::journal::copied::early_end;
use crate::journal::copied::lacking;
use crate::journal::manifest::Acknowledged;
use crate::journal::segment::Tail;
use crate::store::StoreError;
use crate::verify::What;

impl Check<'_> {
    /// True if the vault is a copy, and the file or directory in it was copied before the manifest was written.
    pub(super) fn precedes(&self, path: &Path) -> bool {
        self.copied.is_some_and(|copied| copied.precedes(&**self.disk, path))
    }

    /// True if the last segment can be what somebody copied too early to have it up to `to`.
    pub(super) fn is_early(&self, last: &Opened, tail: &Tail, to: u64) -> Result<bool, StoreError> {
        early_end((&*last.file, &last.path), tail.end, to)
    }

    /// Tells that the copy does not reach what its manifest names.
    pub(super) fn lacks(&mut self, path: &Path, offset: u64, head: Acknowledged) {
        self.lacking = true;
        self.problem(What::Torn, Some((path, offset)), lacking(head));
    }
}
