//! Comparing the index beside a segment with what the segment's events say.

use std::mem::take;

use toka_types::{Digest, HeaderView};

use super::{Check, Job, Opened, Order};
use crate::journal::index::prefix;
use crate::journal::segment::{Tail, index_path};
use crate::journal::sidecar::Sidecar;
use crate::journal::tables::{Body, Shape, Table};
use crate::verify::What;

const OTHER_SEGMENT: &str = "it describes another segment";

/// What the index of some events has to say, in their order. Where they lie in a segment is a number of 32 bits there.
#[derive(Default)]
pub(super) struct Part {
    /// First bytes of the ids, and where the events lie.
    events: Vec<(u64, u32)>,
    links: Vec<(u64, u32)>,
    contents: Vec<(Digest, u32)>,
    /// Content that is gone, and where the events lie with which it lay.
    gone: Vec<(Digest, u32)>,
}

/// An index as its file has it, and as the events say.
pub(super) struct Comparison {
    sidecar: Sidecar,
    expected: Vec<Part>,
}

impl Part {
    pub(super) fn with_capacity(events: usize) -> Self {
        Self {
            events: Vec::with_capacity(events),
            links: Vec::with_capacity(events),
            contents: Vec::with_capacity(events),
            gone: Vec::new(),
        }
    }

    pub(super) fn event(&mut self, at: u64, header: &HeaderView<'_>) {
        self.events.push((prefix(header.id.as_bytes()), at as u32));
        for (number, parent) in header.parents().enumerate() {
            if !header.parents().take(number).any(|earlier| earlier == parent) {
                self.links.push((prefix(parent.as_bytes()), at as u32));
            }
        }
    }

    pub(super) fn content(&mut self, digest: Digest, at: u64) {
        self.contents.push((digest, at as u32));
    }

    pub(super) fn gone(&mut self, digest: Digest, at: u64) {
        self.gone.push((digest, at as u32));
    }
}

impl Comparison {
    pub(super) fn add(&mut self, part: Part) {
        self.expected.push(part);
    }

    /// What is wrong with the file.
    pub(super) fn compare(mut self) -> Result<(), String> {
        match self.expected().and_then(|expected| self.sidecar.equals(&expected))? {
            true => Ok(()),
            false => Err("its tables are not the segment's".to_owned()),
        }
    }

    /// The tables as the events say, up to where the file goes.
    fn expected(&mut self) -> Result<Body, String> {
        let end = self.sidecar.meta.end;
        let mut all = Part::default();
        for part in take(&mut self.expected) {
            all.events.extend(part.events.into_iter().filter(|&(_, at)| u64::from(at) < end));
            all.links.extend(part.links.into_iter().filter(|&(_, at)| u64::from(at) < end));
            all.contents.extend(part.contents.into_iter().filter(|&(_, at)| u64::from(at) < end));
            all.gone.extend(part.gone.into_iter().filter(|&(_, at)| u64::from(at) < end));
        }
        // What lies in a segment more than once is found where it lies first.
        for contents in [&mut all.contents, &mut all.gone] {
            contents.sort_unstable();
            contents.dedup_by_key(|(digest, _)| *digest);
        }
        let shape = Shape {
            events: all.events.len() as u32,
            contents: (all.contents.len() + all.gone.len()) as u32,
            links: all.links.len() as u32,
        };
        Body::new(shape, all.events.iter().map(|&(_, at)| at), |table| {
            Ok(match table {
                Table::Ids => all.events.clone(),
                Table::Contents => {
                    let contents = all.contents.iter().chain(&all.gone);
                    contents.map(|&(digest, at)| (prefix(digest.as_bytes()), at)).collect()
                }
                _ => all.links.clone(),
            })
        })
    }
}

impl Check<'_> {
    /// Opens the index of the segment, if there is one.
    pub(super) fn begin_index(&mut self, opened: &Opened) {
        self.index = None;
        let path = index_path(self.path, opened.number);
        if self.disk.open(&path, false).is_err() {
            return;
        }
        let sidecar = Sidecar::open(self.disk, &path, (&opened.path, &opened.file));
        let belongs = |sidecar: &Sidecar| {
            sidecar.meta.vault == opened.header.vault && sidecar.meta.segment == opened.number
        };
        match sidecar {
            Ok(sidecar) if belongs(&sidecar) => {
                self.index = Some(Comparison { sidecar, expected: Vec::new() });
            }
            Ok(_) => self.problem(What::Projection, Some((&path, 0)), OTHER_SEGMENT),
            Err(detail) => self.problem(What::Projection, Some((&path, 0)), detail),
        }
    }

    /// Has the index compared with what the segment says, if that is whole.
    pub(super) fn end_index(&mut self, opened: &Opened, tail: &Tail, order: &mut Order<'_>) {
        let Some(comparison) = self.index.take() else { return };
        let path = index_path(self.path, opened.number);
        if self.problems.iter().any(|problem| problem.file.as_ref() == Some(&opened.path)) {
            return;
        }
        if comparison.sidecar.meta.end > tail.end {
            return self.problem(What::Projection, Some((&path, 0)), OTHER_SEGMENT);
        }
        order.give(Job::Index(path, Box::new(comparison)));
    }
}
