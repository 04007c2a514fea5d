//! Places: where a call writes and what it reads, told by digests, so that a file keeps the labels of what it was made from.
//!
//! A path is written in whole, and each folder above it then holds something new: its name. So whoever reads a folder meets
//! what was written beneath it, and whoever reads a file beneath something that was written as a whole meets that.

use alloc::vec::Vec;

use crate::digest::Digest;

/// Deeper components of a path are not told apart: what lies there is one place.
pub const MAX_DEPTH: usize = 64;

const CONTEXT: &str = "toka 2026 place v1";

/// The places that the paths of a call are about.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Places {
    /// What has other labels, if the call writes.
    pub written: Vec<Digest>,
    /// What has the labels of all that the call may read.
    pub read: Vec<Digest>,
}

impl Places {
    /// Adds a path in normal form, with what its root is named.
    pub fn add(&mut self, path: &[u8]) {
        let mut ends: Vec<usize> = Vec::new();
        for (at, byte) in path.iter().enumerate() {
            if *byte == b'/' {
                ends.push(at);
            }
        }
        ends.push(path.len());
        ends.truncate(MAX_DEPTH);
        let last = ends.len() - 1;
        let at = |end: usize| Digest::of_fields(CONTEXT, [&b"at"[..], &path[..end]]);
        let within = |end: usize| Digest::of_fields(CONTEXT, [&b"in"[..], &path[..end]]);
        for &end in &ends[..last] {
            add(&mut self.written, within(end));
            add(&mut self.read, at(end));
        }
        add(&mut self.written, at(ends[last]));
        add(&mut self.read, at(ends[last]));
        add(&mut self.read, within(ends[last]));
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.written.is_empty() && self.read.is_empty()
    }
}

fn add(digests: &mut Vec<Digest>, digest: Digest) {
    if !digests.contains(&digest) {
        digests.push(digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// True if whoever reads `read` meets what was written to `written`.
    fn meets(written: &str, read: &str) -> bool {
        let of = |path: &str| {
            let mut places = Places::default();
            places.add(path.as_bytes());
            places
        };
        of(written).written.iter().any(|digest| of(read).read.contains(digest))
    }

    #[test]
    fn whoever_reads_meets_what_was_written_there_beneath_and_above() {
        for (written, read, met) in [
            ("/r/docs/a.md", "/r/docs/a.md", true),
            ("/r/docs/a.md", "/r/docs", true),
            ("/r/docs/a.md", "/r", true),
            ("/r/docs/a.md", "", true),
            ("/r/docs", "/r/docs/a.md", true),
            ("/r/docs/a.md", "/r/docs/b.md", false),
            ("/r/docs/a.md", "/r/docs/a.md.txt", false),
            ("/r/docs/a.md", "/r/doc", false),
            ("/r/docs/a.md", "/other/docs/a.md", false),
            ("/r/docs/a.md", "/r/src", false),
        ] {
            assert_eq!(meets(written, read), met, "{written} {read}");
        }
        let deep = "/a".repeat(2 * MAX_DEPTH);
        let other = alloc::format!("{deep}/b");
        assert!(meets(&deep, &other) && meets(&other, &deep), "what is so deep is one place");
    }
}
