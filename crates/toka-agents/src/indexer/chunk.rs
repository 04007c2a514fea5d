//! Cutting a document into passages.
//!
//! Chunks follow each other without overlap, and all that is not blank lies in exactly one of them. The same document
//! always gives the same chunks.

use super::extract::{Break, BreakKind, Document};

/// The size that a chunk should have, in bytes. Search is best on passages of 100 to 250 words, and a hit of this
/// size still fits on a screen.
pub const TARGET_BYTES: usize = 1_200;

/// No chunk is longer. Twice the target leaves room to reach the end of a paragraph or function.
pub const MAX_BYTES: usize = 2 * TARGET_BYTES;

/// Chunks shorter than this are joined with a neighbour under the same parent where that is possible: a passage of
/// two lines matches by accident. No cut leaves less before it.
pub const MIN_BYTES: usize = TARGET_BYTES / 3;

/// A section this short is little more than its title and goes with what follows, even beyond the target.
const TITLE_ONLY_BYTES: usize = 160;

/// A rest up to this size is not cut any more: better one chunk somewhat beyond the target than a small remainder.
const WHOLE_BYTES: usize = TARGET_BYTES + MIN_BYTES;

/// How far from the target, in bytes, a cut may lie to be at a better place.
const BLOCK_WORTH: i64 = 900;
const PART_WORTH: i64 = 500;
const BLANK_WORTH: i64 = 300;

/// What a cut loses that leaves less than [`MIN_BYTES`] after it.
const REMAINDER_COST: i64 = 400;

/// A passage of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// First and last line in the original file, counted from 1.
    pub lines: (u32, u32),
    /// The titles of the sections it lies in, outermost first, joined with ` > `.
    pub heading: Option<String>,
    /// The text, without blank lines around it. Never empty, at most [`MAX_BYTES`] long.
    pub text: String,
}

/// Cuts the document at its structure. A document without text has no chunks.
pub fn chunks(document: &Document) -> Vec<Chunk> {
    let text = document.text.as_str();
    let mut headings = Headings::default();
    let mut pieces: Vec<Piece> = Vec::new();
    let mut begin = 0;
    let mut breaks = document.breaks.as_slice();
    loop {
        // The section goes up to the next heading; its first break may be the heading that opened it.
        let next = breaks.iter().position(|b| b.at > begin && matches!(b.kind, BreakKind::Heading { .. }));
        let (inside, rest) = breaks.split_at(next.unwrap_or(breaks.len()));
        if let Some(Break { at, kind: BreakKind::Heading { level, title } }) = inside.first()
            && *at == begin
        {
            headings.open(*level, title);
        }
        let end = rest.first().map_or(text.len(), |b| b.at);
        split(text, inside, begin, end, |begin, end| {
            let piece = Piece { begin, end, trail: headings.trail.clone() };
            match pieces.last_mut().and_then(|last| last.joined(&piece).map(|joined| (last, joined))) {
                Some((last, joined)) => *last = joined,
                None => pieces.push(piece),
            }
        });
        if rest.is_empty() {
            break;
        }
        (begin, breaks) = (end, rest);
    }
    let mut lines = Lines::new(document);
    pieces.iter().map(|piece| piece.chunk(text, &headings, &mut lines)).collect()
}

/// The headings met so far and the sections open now.
#[derive(Default)]
struct Headings<'a> {
    all: Vec<(u8, &'a str)>,
    /// Indices into `all`, outermost first.
    trail: Vec<usize>,
}

impl<'a> Headings<'a> {
    fn open(&mut self, level: u8, title: &'a str) {
        self.trail.retain(|&open| self.all[open].0 < level);
        self.trail.push(self.all.len());
        self.all.push((level, title));
    }

    fn join(&self, trail: &[usize]) -> Option<String> {
        let mut joined = String::new();
        let mut above = "";
        for title in trail.iter().map(|&heading| self.all[heading].1) {
            // A page's title and its first heading are often the same.
            if title.is_empty() || title == above {
                continue;
            }
            if !joined.is_empty() {
                joined.push_str(" > ");
            }
            joined.push_str(title);
            above = title;
        }
        (!joined.is_empty()).then_some(joined)
    }
}

/// A chunk to be: no blank lines around it.
struct Piece {
    begin: usize,
    end: usize,
    trail: Vec<usize>,
}

impl Piece {
    fn len(&self) -> usize {
        self.end - self.begin
    }

    /// Both in one, if one of them is too short to stand alone and they have the same parent.
    fn joined(&self, next: &Piece) -> Option<Piece> {
        let together = next.end - self.begin;
        let shorter = self.len().min(next.len());
        let limit = if shorter < TITLE_ONLY_BYTES { MAX_BYTES } else { TARGET_BYTES };
        if shorter >= MIN_BYTES || together > limit {
            return None;
        }
        let common = self.trail.iter().zip(&next.trail).take_while(|(a, b)| a == b).count();
        if common + 1 < self.trail.len().min(next.trail.len()) {
            return None;
        }
        // What stands before the first title goes under that title, and a title with hardly any text of its own only
        // introduces the section below it.
        let introduces = self.len() < TITLE_ONLY_BYTES && next.trail.starts_with(&self.trail);
        let trail = if self.trail.is_empty() || introduces {
            next.trail.clone()
        } else {
            self.trail[..common].to_vec()
        };
        Some(Piece { begin: self.begin, end: next.end, trail })
    }

    fn chunk(&self, text: &str, headings: &Headings<'_>, lines: &mut Lines<'_>) -> Chunk {
        let first = lines.at(self.begin);
        let last = lines.at(self.end - 1);
        Chunk {
            lines: (first, last),
            heading: headings.join(&self.trail),
            text: text[self.begin..self.end].to_owned(),
        }
    }
}

/// Cuts one section into pieces of which none is longer than [`MAX_BYTES`], and hands over those that are not blank.
fn split(text: &str, breaks: &[Break], begin: usize, end: usize, mut piece: impl FnMut(usize, usize)) {
    let mut hand_over = |begin: usize, end: usize| {
        let range = &text[begin..end];
        let content = range.trim_end();
        if content.is_empty() {
            return;
        }
        // Blank lines go, the indentation of the first line with content stays.
        let blank = content.len() - content.trim_start().len();
        let line = content[..blank].rfind('\n').map_or(0, |feed| feed + 1);
        piece(begin + line, begin + content.len());
    };
    let mut begin = begin;
    let mut breaks = breaks;
    while end - begin > WHOLE_BYTES {
        let passed = breaks.iter().take_while(|b| b.at <= begin).count();
        breaks = &breaks[passed..];
        let cut = best_line(text, breaks, begin, end).unwrap_or_else(|| within_line(text, begin, end));
        hand_over(begin, cut);
        begin = cut;
    }
    hand_over(begin, end);
}

/// The best begin of a line to cut at, if there is one between the least and the greatest size.
fn best_line(text: &str, breaks: &[Break], begin: usize, end: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let limit = end.min(begin + MAX_BYTES);
    let mut breaks = breaks.iter().peekable();
    let mut best: Option<(i64, usize)> = None;
    for at in begin + MIN_BYTES..=limit {
        if bytes[at - 1] != b'\n' {
            continue;
        }
        while breaks.next_if(|b| b.at < at).is_some() {}
        let worth = match breaks.peek() {
            Some(Break { at: here, kind }) if *here == at => match kind {
                BreakKind::Part => PART_WORTH,
                BreakKind::Block | BreakKind::Heading { .. } => BLOCK_WORTH,
            },
            _ if bytes[at - 2] == b'\n' => BLANK_WORTH,
            _ => 0,
        };
        let distance = TARGET_BYTES.abs_diff(at - begin) as i64;
        let remainder = if end - at < MIN_BYTES { REMAINDER_COST } else { 0 };
        let score = worth - distance - remainder;
        if best.is_none_or(|(known, _)| score > known) {
            best = Some((score, at));
        }
    }
    best.map(|(_, at)| at)
}

/// A cut within a long line: after a sentence, else after a word, else anywhere between two characters.
fn within_line(text: &str, begin: usize, end: usize) -> usize {
    let low = text.floor_char_boundary(begin + TARGET_BYTES / 2);
    let high = text.floor_char_boundary(end.min(begin + TARGET_BYTES));
    let window = &text[low..high];
    for sentence_end in [". ", "! ", "? ", "。"] {
        if let Some(at) = window.rfind(sentence_end) {
            return low + at + sentence_end.len();
        }
    }
    match window.rfind(char::is_whitespace) {
        // The space stays before the cut; it is at least one byte long, so the cut lies behind `begin`.
        Some(at) => text.ceil_char_boundary(low + at + 1),
        None => high,
    }
}

/// From offsets, asked for in rising order, to lines of the file.
struct Lines<'a> {
    document: &'a Document,
    seen: usize,
    line: u32,
}

impl<'a> Lines<'a> {
    fn new(document: &'a Document) -> Self {
        Lines { document, seen: 0, line: 1 }
    }

    /// The line in which the byte at that offset lies.
    fn at(&mut self, offset: usize) -> u32 {
        if let Some(lines) = &self.document.lines {
            let after = lines.partition_point(|(at, _)| *at <= offset);
            return after.checked_sub(1).map_or(1, |i| lines[i].1);
        }
        let between = &self.document.text.as_bytes()[self.seen..offset];
        let feeds = between.iter().filter(|&&b| b == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(feeds).unwrap_or(u32::MAX));
        self.seen = offset;
        self.line
    }
}
