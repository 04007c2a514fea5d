//! Which chunks are live and wait for a vector.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;
use toka_types::operation::Cause;
use toka_types::{EntityId, Event, EventId};

/// The words of a chunk, as far as they tell it from others.
pub(super) type Words = [u8; 16];

/// A chunk without a vector.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) seq: u64,
    pub(super) cause: Cause,
    pub(super) words: Words,
}

/// What the log says of chunks and vectors, as far as it has been read.
#[derive(Default)]
pub(super) struct Pending {
    waiting: BTreeMap<u64, Chunk>,
    /// Numbers of the waiting chunks by whose and which file they are of.
    files: HashMap<(EntityId, String), Vec<u64>>,
    /// Where the vector of such words is recorded.
    known: HashMap<Words, u64>,
}

/// The content of `file.chunk` that matters here.
#[derive(Deserialize)]
pub(super) struct Text {
    path: String,
    #[serde(default)]
    heading: Option<String>,
    text: String,
}

#[derive(Deserialize)]
struct Path {
    path: String,
}

#[derive(Deserialize)]
struct Moved {
    from: String,
    to: String,
}

/// The content of an event; none if it is gone, or of another form, as somebody else's event of that kind may be.
fn content<'a, T: Deserialize<'a>>(event: &'a Event) -> Option<T> {
    rmp_serde::from_slice(event.payload()?).ok()
}

impl Text {
    pub(super) fn of(event: &Event) -> Option<Self> {
        content(event)
    }

    /// What is embedded: a passage is about what the headings over it say, too.
    pub(super) fn embedded(&self) -> String {
        match &self.heading {
            Some(heading) => format!("{heading}\n{}", self.text),
            None => self.text.clone(),
        }
    }

    pub(super) fn words(&self) -> Words {
        let digest = blake3::hash(self.embedded().as_bytes());
        let mut words = Words::default();
        words.copy_from_slice(&digest.as_bytes()[..16]);
        words
    }
}

impl Pending {
    /// Takes in an event of the family `file`, in the order of the log. `vectors` says which chunks have one already,
    /// and where.
    pub(super) fn follow(&mut self, event: &Arc<Event>, vectors: &HashMap<EventId, u64>) {
        let header = &event.header;
        match header.kind.as_str() {
            "file.chunk" => {
                let Some(text) = Text::of(event) else { return };
                let words = text.words();
                if let Some(vector) = vectors.get(&header.id) {
                    self.known.insert(words, *vector);
                    return;
                }
                let cause = Cause { id: header.id, labels: header.labels.clone() };
                self.waiting.insert(header.seq, Chunk { seq: header.seq, cause, words });
                self.files.entry((header.author, text.path)).or_default().push(header.seq);
            }
            "file.indexed" | "file.removed" => {
                if let Some(Path { path }) = content(event) {
                    self.forget((header.author, path));
                }
            }
            "file.moved" => {
                if let Some(Moved { from, to }) = content(event) {
                    self.forget((header.author, to.clone()));
                    if let Some(chunks) = self.files.remove(&(header.author, from)) {
                        self.files.insert((header.author, to), chunks);
                    }
                }
            }
            _ => {}
        }
    }

    fn forget(&mut self, file: (EntityId, String)) {
        for seq in self.files.remove(&file).unwrap_or_default() {
            self.waiting.remove(&seq);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The newest chunks, at most so many, with the same labels all: what is asked of them together carries these.
    pub(super) fn newest(&self, most: usize) -> Vec<Chunk> {
        let mut newest = self.waiting.values().rev();
        let Some(first) = newest.next() else { return Vec::new() };
        let alike = newest.filter(|chunk| chunk.cause.labels == first.cause.labels);
        // Of chunks with the same words one is enough: the others get its vector.
        let mut seen = HashSet::from([first.words]);
        let others = alike.take(most * LOOK).filter(|chunk| seen.insert(chunk.words)).take(most - 1);
        std::iter::once(first).chain(others).cloned().collect()
    }

    /// Where a vector of such words is recorded.
    pub(super) fn known(&self, words: &Words) -> Option<u64> {
        self.known.get(words).copied()
    }

    /// The chunk has its vector, recorded there; or there is none to be had.
    pub(super) fn done(&mut self, chunk: &Chunk, vector: Option<u64>) {
        self.waiting.remove(&chunk.seq);
        if let Some(vector) = vector {
            self.known.insert(chunk.words, vector);
        }
    }
}

/// Chunks looked at for each one wanted.
const LOOK: usize = 16;

/// The vectors of one embedder: for each chunk that has one, the number of the event that records it.
pub(super) fn take_in(vectors: &mut HashMap<EventId, u64>, event: &Event, embedder: &str) {
    #[derive(Deserialize)]
    struct Vector {
        #[serde(default)]
        embedder: Option<String>,
    }
    let made_by = content::<Vector>(event).and_then(|vector| vector.embedder);
    if made_by.is_some_and(|made_by| made_by == embedder) {
        vectors.extend(event.header.parents.iter().map(|parent| (*parent, event.header.seq)));
    }
}
