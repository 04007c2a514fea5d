//! What is live, in memory: the chunks of every file's current version with their terms.
//!
//! The collection is a function of the log alone: the same events in the same order give the same
//! collection, however many times it was saved and opened in between. Texts are not kept, only which
//! term occurs how often (about 2 bytes a term and chunk).

use std::collections::{BTreeMap, HashMap};

use super::analyze::{Analyzer, words};
use super::embedded::Embedded;
use crate::intent::blockfile::{Input, put};

/// Forms of words remembered with their terms. The cache is emptied when it is full: it saves time only.
const MAX_KNOWN_WORDS: usize = 400_000;

/// What stands between the titles of nested sections in a chunk's heading.
const HEADING_SEPARATOR: &str = " > ";
/// So much of a first line can be a title; what is longer is text.
const MAX_TITLE_LINE: usize = 80;

/// The live files in the order in which their current versions entered the log.
pub(super) struct Collection {
    pub(super) terms: Terms,
    pub(super) files: BTreeMap<u64, FileEntry>,
    pub(super) embedded: Embedded,
    orders: HashMap<String, u64>,
    next: u64,
}

/// A file and its chunks in the order in which they were added.
#[derive(Default)]
pub(super) struct FileEntry {
    pub(super) path: String,
    /// The distinct terms of its title, sorted by id.
    pub(super) title: Vec<u32>,
    pub(super) chunks: Vec<ChunkEntry>,
}

/// One chunk: where it came from and its terms.
pub(super) struct ChunkEntry {
    pub(super) seq: u64,
    pub(super) event: [u8; 32],
    pub(super) lines: (u32, u32),
    /// Words counted in body and heading.
    pub(super) length: u32,
    occurrences: Box<[u8]>,
}

/// One term in one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Occurrence {
    pub(super) term: u32,
    /// Times in the body.
    pub(super) count: u32,
    /// Whether it stands in the heading.
    pub(super) heading: bool,
}

impl Collection {
    pub(super) fn new() -> Self {
        let (files, orders) = (BTreeMap::new(), HashMap::new());
        Self { terms: Terms::new(), files, embedded: Embedded::default(), orders, next: 0 }
    }

    /// Starts a new version of the file: its former chunks leave, and it becomes the newest file.
    pub(super) fn start(&mut self, path: &str) {
        self.remove(path);
        self.insert(FileEntry { path: path.to_owned(), ..FileEntry::default() });
    }

    /// Appends a file as it was saved; later additions to its path go to it.
    pub(super) fn insert(&mut self, entry: FileEntry) {
        entry.chunks.iter().for_each(|chunk| self.embedded.insert(chunk.event));
        self.orders.insert(entry.path.clone(), self.next);
        self.files.insert(self.next, entry);
        self.next += 1;
    }

    pub(super) fn remove(&mut self, path: &str) {
        let Some(entry) = self.orders.remove(path).and_then(|order| self.files.remove(&order)) else {
            return;
        };
        for chunk in &entry.chunks {
            self.embedded.remove(&chunk.event);
            for occurrence in chunk.occurrences() {
                self.terms.release(occurrence.term);
            }
        }
    }

    /// Renames a file in place; what lay under the new name is replaced.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        if from == to || !self.orders.contains_key(from) {
            return;
        }
        self.remove(to);
        if let Some(order) = self.orders.remove(from) {
            if let Some(entry) = self.files.get_mut(&order) {
                to.clone_into(&mut entry.path);
            }
            self.orders.insert(to.to_owned(), order);
        }
    }

    /// Adds a chunk to the current version of the file, which begins here if there is none.
    pub(super) fn add(
        &mut self,
        path: &str,
        (seq, event, lines): (u64, [u8; 32], (u32, u32)),
        heading: Option<&str>,
        text: &str,
    ) {
        if !self.orders.contains_key(path) {
            self.start(path);
        }
        let (length, occurrences) = self.terms.count(heading, text);
        let chunk = ChunkEntry::new(seq, event, lines, length, &occurrences);
        self.embedded.insert(event);
        if let Some(entry) = self.orders.get(path).and_then(|order| self.files.get_mut(order)) {
            if entry.chunks.is_empty() {
                entry.title = self.terms.of(title(heading, text));
            }
            entry.chunks.push(chunk);
        }
    }

    /// All live chunks in order.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &ChunkEntry> {
        self.files.values().flat_map(|file| &file.chunks)
    }
}

/// What a file is called, given the begin of its first chunk: the outermost heading over it, or its first line.
pub(super) fn title<'a>(heading: Option<&'a str>, text: &'a str) -> &'a str {
    match heading {
        Some(heading) => heading.split(HEADING_SEPARATOR).next().unwrap_or(heading),
        None => {
            let line = text.trim_start().lines().next().unwrap_or("");
            &line[..line.floor_char_boundary(MAX_TITLE_LINE)]
        }
    }
}

impl ChunkEntry {
    /// A chunk with its occurrences sorted by term.
    pub(super) fn new(
        seq: u64,
        event: [u8; 32],
        lines: (u32, u32),
        length: u32,
        occurrences: &[Occurrence],
    ) -> Self {
        let mut bytes = Vec::with_capacity(occurrences.len() * 3);
        let mut last = 0;
        for occurrence in occurrences {
            put(&mut bytes, u64::from(occurrence.term - last));
            put(&mut bytes, occurrence.packed());
            last = occurrence.term;
        }
        Self { seq, event, lines, length, occurrences: bytes.into_boxed_slice() }
    }

    /// The chunk's terms, sorted by id.
    pub(super) fn occurrences(&self) -> impl Iterator<Item = Occurrence> + '_ {
        let mut input = Input(&self.occurrences);
        let mut term = 0;
        std::iter::from_fn(move || {
            term += input.small()?;
            Some(Occurrence::unpacked(term, input.number()?))
        })
    }
}

impl Occurrence {
    /// Count and heading mark in one number.
    pub(super) fn packed(self) -> u64 {
        u64::from(self.count) << 1 | u64::from(self.heading)
    }

    pub(super) fn unpacked(term: u32, packed: u64) -> Self {
        Self { term, count: u32::try_from(packed >> 1).unwrap_or(u32::MAX), heading: packed & 1 == 1 }
    }
}

/// The terms that occur, numbered as they came.
pub(super) struct Terms {
    analyzer: Analyzer,
    ids: HashMap<String, u32>,
    entries: Vec<TermEntry>,
    known: HashMap<String, Option<Known>>,
    counts: HashMap<u32, Occurrence>,
}

/// One term.
#[derive(Default)]
pub(super) struct TermEntry {
    pub(super) stem: String,
    /// The form in which the term mostly occurred since it last came into use (majority vote): what a
    /// person is shown.
    pub(super) shown: String,
    /// How far that form is ahead of all others.
    pub(super) lead: u8,
    /// Live chunks that hold the term.
    pub(super) chunks: u32,
}

struct Known {
    term: u32,
    surface: Box<str>,
}

impl Terms {
    fn new() -> Self {
        Self {
            analyzer: Analyzer::new(),
            ids: HashMap::new(),
            entries: Vec::new(),
            known: HashMap::new(),
            counts: HashMap::new(),
        }
    }

    /// All terms by id, those no longer in use among them.
    pub(super) fn entries(&self) -> &[TermEntry] {
        &self.entries
    }

    /// The distinct terms of a text that is not part of the collection.
    pub(super) fn analyze(&self, text: &str) -> Vec<(String, u32)> {
        self.analyzer.query(text)
    }

    /// Takes up a term as it was saved.
    pub(super) fn restore(&mut self, entry: TermEntry) -> u32 {
        let id = self.entries.len() as u32;
        self.ids.insert(entry.stem.clone(), id);
        self.entries.push(entry);
        id
    }

    fn release(&mut self, term: u32) {
        let entry = &mut self.entries[term as usize];
        entry.chunks -= 1;
        if entry.chunks == 0 {
            entry.shown.clear();
            entry.lead = 0;
        }
    }

    fn count(&mut self, heading: Option<&str>, text: &str) -> (u32, Vec<Occurrence>) {
        let mut length = 0;
        for (source, in_heading) in [(heading.unwrap_or(""), true), (text, false)] {
            words(source, |word| {
                if let Some(term) = self.term(word) {
                    length += 1;
                    let found =
                        self.counts.entry(term).or_insert(Occurrence { term, count: 0, heading: false });
                    if in_heading {
                        found.heading = true;
                    } else {
                        found.count += 1;
                    }
                }
            });
        }
        let mut occurrences: Vec<_> = self.counts.drain().map(|(_, found)| found).collect();
        occurrences.sort_unstable_by_key(|found| found.term);
        for occurrence in &occurrences {
            self.entries[occurrence.term as usize].chunks += 1;
        }
        (length, occurrences)
    }

    /// The distinct terms of a text whose words were counted already, sorted by id.
    fn of(&self, text: &str) -> Vec<u32> {
        let mut terms: Vec<u32> =
            self.analyze(text).iter().filter_map(|(term, _)| self.ids.get(term).copied()).collect();
        terms.sort_unstable();
        terms
    }

    fn term(&mut self, word: &str) -> Option<u32> {
        if !self.known.contains_key(word) {
            if self.known.len() >= MAX_KNOWN_WORDS {
                self.known.clear();
            }
            let known = self.analyzer.surface(word).map(|surface| {
                let stem = self.analyzer.stem(&surface);
                let term = match self.ids.get(&stem) {
                    Some(&id) => id,
                    None => self.restore(TermEntry { stem, ..TermEntry::default() }),
                };
                Known { term, surface: surface.into() }
            });
            self.known.insert(word.to_owned(), known);
        }
        let known = self.known.get(word)?.as_ref()?;
        let entry = &mut self.entries[known.term as usize];
        if entry.lead == 0 {
            entry.shown.clear();
            entry.shown.push_str(&known.surface);
            entry.lead = 1;
        } else if *entry.shown == *known.surface {
            entry.lead = entry.lead.saturating_add(1);
        } else {
            entry.lead -= 1;
        }
        Some(known.term)
    }
}
