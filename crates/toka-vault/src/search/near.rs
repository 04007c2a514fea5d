//! Going from one passage to those like it, and from intents to when they were.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::RangeBounds;

use super::layout::{self, ChunkRecord};
use super::reader::{IntentRef, Member, NONSENSE, SearchReader};
use crate::intent::fixed::{cosine, dot_i8, quantise};
use crate::intent::{ProjectionError, SIMILARITY_ONE};

/// A passage that is like another.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbour {
    /// The passage; its similarity is to the passages asked about.
    pub passage: Member,
    /// What it is about.
    pub intent: Option<IntentRef>,
}

/// When an intent was, over some stretch of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The intent's id.
    pub intent: u32,
    /// How many passages of it were recorded in the stretch.
    pub events: u32,
    /// Sequence number of the first of them.
    pub first: u64,
    /// Sequence number of the latest of them.
    pub last: u64,
}

impl SearchReader {
    /// The passages most like those of the given events taken together, by what they mean, the most similar first
    /// and none of the given ones among them. The events are given by their numbers in the log, one after the other:
    /// they may be many more than there are passages. `None` if none of them is a live passage. A passage that has
    /// nothing in common with them is no neighbour.
    ///
    /// # Errors
    /// [`ProjectionError::Damaged`] or [`ProjectionError::Io`] if what is needed cannot be read.
    pub fn near(
        &self,
        events: impl IntoIterator<Item = u64>,
        limit: usize,
    ) -> Result<Option<Vec<Neighbour>>, ProjectionError> {
        let records = self.records()?;
        let places: HashMap<u64, usize> = records.iter().map(|record| record.seq).zip(0..).collect();
        let mut wanted = vec![false; records.len()];
        for seq in events {
            if let Some(&place) = places.get(&seq) {
                wanted[place] = true;
            }
        }
        if !wanted.contains(&true) {
            return Ok(None);
        }
        let bytes = self.file.read_all(layout::VECTORS)?;
        let components: Vec<i8> = bytes.iter().map(|byte| *byte as i8).collect();
        let dimension = self.space.dimension;
        let vectors = || components.chunks_exact(dimension.max(1));
        let mut sum = vec![0i64; dimension];
        for (vector, _) in vectors().zip(&wanted).filter(|(_, wanted)| **wanted) {
            let length = i64::from(dot_i8(vector, vector)).isqrt().max(1);
            for (sum, component) in sum.iter_mut().zip(vector) {
                *sum += (i64::from(*component) << 16) / length;
            }
        }
        let mut from = vec![0i8; dimension];
        quantise(&sum, &mut from);
        let square = i64::from(dot_i8(&from, &from));
        let mut found: Vec<(Reverse<i32>, usize)> = vectors()
            .zip(&wanted)
            .enumerate()
            .filter(|(_, (_, wanted))| !**wanted)
            .map(|(chunk, (vector, _))| {
                let dot = i64::from(dot_i8(&from, vector));
                (Reverse(cosine(dot, square, dot_i8(vector, vector).into())), chunk)
            })
            .filter(|(similarity, _)| similarity.0 > 0)
            .collect();
        found.sort_unstable();
        found.truncate(limit);
        let intents = self.intents()?;
        let neighbour = |(Reverse(similarity), chunk): (Reverse<i32>, usize)| {
            let record = &records[chunk];
            let file = self.starts.partition_point(|start| *start as usize <= chunk) - 1;
            let passage = Member {
                event: record.event,
                seq: record.seq,
                path: self.files[file].path.to_string(),
                lines: record.lines,
                similarity: f64::from(similarity) / f64::from(SIMILARITY_ONE),
            };
            let intent = intents.of(chunk);
            let intent = intent.map(|(intent, _)| IntentRef { id: intent.id, name: intent.name.clone() });
            Neighbour { passage, intent }
        };
        Ok(Some(found.into_iter().map(neighbour).collect()))
    }

    /// What the passages of the given events are about; nothing for those that are no live passages.
    ///
    /// # Errors
    /// As [`intents`](Self::intents).
    pub fn intents_of(&self, events: &[[u8; 32]]) -> Result<Vec<Option<IntentRef>>, ProjectionError> {
        let intents = self.intents()?;
        let mut found = vec![None; events.len()];
        for (position, record) in self.records()?.iter().enumerate() {
            if let Some(place) = events.iter().position(|event| *event == record.event) {
                let intent = intents.of(position);
                found[place] =
                    intent.map(|(intent, _)| IntentRef { id: intent.id, name: intent.name.clone() });
            }
        }
        Ok(found)
    }

    /// When each intent was, by the passages whose sequence numbers lie in `stretch`, in the order of
    /// [`intents`](Self::intents). An intent without any there is not among them; `..` is the whole log. Times of events
    /// never fall along a log, so that a stretch of time is a stretch of numbers.
    ///
    /// # Errors
    /// As [`intents`](Self::intents).
    pub fn spans(&self, stretch: impl RangeBounds<u64>) -> Result<Vec<Span>, ProjectionError> {
        let intents = self.intents()?;
        let mut spans: HashMap<u32, Span> = HashMap::new();
        for (position, record) in self.records()?.iter().enumerate() {
            let Some((intent, _)) = intents.of(position).filter(|_| stretch.contains(&record.seq)) else {
                continue;
            };
            let (intent, seq) = (intent.id, record.seq);
            let span = spans.entry(intent).or_insert(Span { intent, events: 0, first: seq, last: seq });
            span.events += 1;
            span.first = span.first.min(seq);
            span.last = span.last.max(seq);
        }
        Ok(intents.list().iter().filter_map(|intent| spans.remove(&intent.id)).collect())
    }

    /// True for each passage, in the order of the log, whose sequence number `accept` accepts.
    pub(super) fn accepted(&self, accept: &dyn Fn(u64) -> bool) -> Result<Vec<bool>, ProjectionError> {
        Ok(self.records()?.iter().map(|record| accept(record.seq)).collect())
    }

    fn records(&self) -> Result<Vec<ChunkRecord>, ProjectionError> {
        let bytes = self.file.read_all(layout::CHUNKS)?;
        let records = bytes.chunks_exact(layout::CHUNK_RECORD).map(ChunkRecord::decode);
        records.collect::<Option<_>>().ok_or_else(|| self.file.damaged(layout::CHUNKS, NONSENSE))
    }
}
