//! The text of a page, with its structure and the lines it came from.
//!
//! One pass over the markup without a tree: time and memory are linear in the page whatever its nesting, and what is
//! not well formed is read as far as it goes. Scripts, styles, templates, comments and tags are left out; the title
//! is kept.

use super::entities::entity;
use super::extract::{Break, BreakKind};
use super::outline::one_line;

/// Bytes in which the end of a tag is looked for with regard to quotes. A longer tag ends at the first `>`: a missing
/// quote must not swallow the page, and embedded images do not contain that character.
const MAX_TAG_BYTES: usize = 64 * 1024;

/// The text of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The content of the title element, on one line.
    pub title: Option<String>,
    /// The text: blocks on their own lines, spaces collapsed except in preformatted blocks.
    pub text: String,
    /// Where blocks, items and titles begin in the text.
    pub breaks: Vec<Break>,
    /// Which line of the source stands at an offset of the text and all that follow up to the next pair.
    pub lines: Vec<(usize, u32)>,
}

/// Takes the text out of the markup.
pub fn strip(source: &str) -> Page {
    let mut stripper = Stripper {
        source,
        at: 0,
        line: 1,
        page: Page { title: None, text: String::new(), breaks: Vec::new(), lines: Vec::new() },
        pending: Gap::Block,
        preformatted: 0,
        heading: None,
        unclosed: [false; RAW.len()],
        quotes_broken: false,
        comments_broken: false,
    };
    stripper.run();
    stripper.page
}

/// Elements whose content is no text of the page.
const RAW: [&str; 6] = ["script", "style", "template", "noscript", "svg", "iframe"];

/// What separates the next text from the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    None,
    Space,
    Line,
    Part,
    Block,
}

struct Stripper<'a> {
    source: &'a str,
    /// All before this offset is done.
    at: usize,
    /// The line of the source at `at`.
    line: u32,
    page: Page,
    pending: Gap,
    preformatted: usize,
    /// The heading that is open: its level, and where its text begins once there is some.
    heading: Option<(u8, Option<usize>)>,
    /// For each of [`RAW`], whether its end tag is known to be missing in the rest.
    unclosed: [bool; RAW.len()],
    /// Whether a tag was met whose quotes do not end; from then on quotes are not believed.
    quotes_broken: bool,
    /// Whether the rest is known to hold no end of a comment.
    comments_broken: bool,
}

impl Stripper<'_> {
    fn run(&mut self) {
        let bytes = self.source.as_bytes();
        while self.at < bytes.len() {
            let tag =
                bytes[self.at..].iter().position(|&b| b == b'<').map_or(bytes.len(), |found| self.at + found);
            self.text(self.at, tag);
            if tag == bytes.len() {
                break;
            }
            match bytes.get(tag + 1) {
                Some(b'!' | b'?') => self.declaration(),
                Some(b'/') if bytes.get(tag + 2).is_some_and(u8::is_ascii_alphabetic) => {
                    self.tag(tag + 2, true)
                }
                Some(next) if next.is_ascii_alphabetic() => self.tag(tag + 1, false),
                _ => self.text(tag, tag + 1),
            }
        }
        self.close_heading();
    }

    /// A comment, a CDATA section, a document type or a processing instruction.
    fn declaration(&mut self) {
        let rest = &self.source[self.at..];
        if rest.starts_with("<!--") && !self.comments_broken {
            // `<!-->` is a whole comment.
            if let Some(end) = rest[2..].find("-->") {
                return self.skip(self.at + 2 + end + 3);
            }
            self.comments_broken = true;
        }
        if let Some(content) = rest.strip_prefix("<![CDATA[") {
            let begin = self.at + 9;
            let end = content.find("]]>").map_or(self.source.len(), |end| begin + end);
            self.skip(begin);
            self.literal(end);
            return self.skip(self.source.len().min(end + 3));
        }
        self.skip(rest.find('>').map_or(self.source.len(), |end| self.at + end + 1));
    }

    /// A tag whose name begins at `name_at`.
    fn tag(&mut self, name_at: usize, closing: bool) {
        let bytes = self.source.as_bytes();
        let name_end = bytes[name_at..]
            .iter()
            .position(|b| !b.is_ascii_alphanumeric() && *b != b'-')
            .map_or(bytes.len(), |len| name_at + len);
        let Some(end) = self.end_of_tag(name_end) else {
            // The page breaks off within a tag.
            return self.skip(bytes.len());
        };
        // No known name is longer, and unknown ones make no difference.
        let mut name = [0_u8; 12];
        let len = name_end - name_at;
        let name = match name.get_mut(..len) {
            Some(name) => {
                name.copy_from_slice(&bytes[name_at..name_end]);
                name.make_ascii_lowercase();
                &*name
            }
            None => &[],
        };
        self.skip(end);
        if bytes[end - 1] == b'>' && bytes[end - 2] == b'/' && RAW.iter().any(|raw| raw.as_bytes() == name) {
            return;
        }
        if !closing {
            if let Some(raw) = RAW.iter().position(|raw| raw.as_bytes() == name) {
                return self.skip_raw(raw);
            }
            if name == b"title" && self.page.title.is_none() {
                return self.title();
            }
        }
        match name {
            [b'h', level @ b'1'..=b'6'] => {
                self.close_heading();
                self.gap(Gap::Block);
                if !closing {
                    self.heading = Some((level - b'0', None));
                }
            }
            b"pre" | b"textarea" | b"listing" => {
                self.gap(Gap::Block);
                self.preformatted = if closing {
                    self.preformatted.saturating_sub(1)
                } else {
                    self.preformatted.saturating_add(1)
                };
            }
            b"br" => self.gap(Gap::Line),
            b"td" | b"th" | b"option" | b"button" | b"img" | b"input" => self.gap(Gap::Space),
            b"li" | b"tr" | b"dt" | b"dd" | b"figcaption" | b"caption" | b"legend" | b"summary" => {
                self.gap(Gap::Part)
            }
            b"p" | b"div" | b"section" | b"article" | b"main" | b"nav" | b"aside" | b"header" | b"footer"
            | b"ul" | b"ol" | b"dl" | b"menu" | b"table" | b"thead" | b"tbody" | b"tfoot" | b"blockquote"
            | b"figure" | b"hr" | b"form" | b"fieldset" | b"address" | b"details" | b"dialog" | b"center"
            | b"head" | b"body" | b"html" | b"title" | b"select" | b"video" | b"audio" | b"object"
            | b"frameset" => self.gap(Gap::Block),
            _ => {}
        }
    }

    /// The offset behind the `>` that ends the tag.
    fn end_of_tag(&mut self, from: usize) -> Option<usize> {
        let bytes = self.source.as_bytes();
        if !self.quotes_broken {
            let window = &bytes[from..bytes.len().min(from + MAX_TAG_BYTES)];
            let mut quote = None;
            let mut after_equals = false;
            for (i, &byte) in window.iter().enumerate() {
                match quote {
                    Some(open) if byte == open => quote = None,
                    Some(_) => {}
                    None if byte == b'>' => return Some(from + i + 1),
                    // A quote opens a value only behind an equals sign; elsewhere it is part of a name.
                    None if after_equals && matches!(byte, b'"' | b'\'') => quote = Some(byte),
                    None => {}
                }
                after_equals =
                    quote.is_none() && (byte == b'=' || after_equals && byte.is_ascii_whitespace());
            }
            // One missing quote shifts the meaning of all that follow, and looking for the end of each of them would
            // take quadratic time.
            self.quotes_broken = quote.is_some() && window.len() < MAX_TAG_BYTES;
        }
        bytes[from..].iter().position(|&b| b == b'>').map(|at| from + at + 1)
    }

    fn skip_raw(&mut self, raw: usize) {
        if self.unclosed[raw] {
            return;
        }
        match self.find_end_tag(RAW[raw]) {
            Some(end) => self.skip(end),
            // A script without an end runs to the end of the page; of the others the content is better than nothing.
            None if raw < 2 => self.skip(self.source.len()),
            None => self.unclosed[raw] = true,
        }
    }

    fn title(&mut self) {
        let Some(end) = self.find_end_tag("title") else {
            self.page.title = Some(String::new());
            return;
        };
        self.gap(Gap::Block);
        self.heading = Some((0, None));
        let begin = self.page.text.len();
        self.text(self.at, end);
        let title = one_line(&self.page.text[begin..]);
        self.close_heading();
        self.gap(Gap::Block);
        self.page.title = Some(title);
    }

    /// The offset of the next end tag of that name.
    fn find_end_tag(&self, name: &str) -> Option<usize> {
        let mut from = self.at;
        while let Some(found) = self.source[from..].find("</") {
            let at = from + found;
            let rest = &self.source.as_bytes()[at + 2..];
            if rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
                && rest.get(name.len()).is_none_or(|b| !b.is_ascii_alphanumeric())
            {
                return Some(at);
            }
            from = at + 2;
        }
        None
    }

    fn close_heading(&mut self) {
        let Some((level, Some(begin))) = self.heading.take() else {
            return;
        };
        let title = one_line(&self.page.text[begin..]);
        if let Some(opened) = self.page.breaks.iter().rposition(|b| b.at <= begin) {
            self.page.breaks[opened].kind = BreakKind::Heading { level, title };
        }
    }

    fn gap(&mut self, gap: Gap) {
        self.pending = self.pending.max(gap);
    }

    /// Passes over the source up to `end`, counting lines.
    fn skip(&mut self, end: usize) {
        let feeds = self.source.as_bytes()[self.at..end].iter().filter(|&&b| b == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(feeds).unwrap_or(u32::MAX));
        self.at = end;
    }

    /// Takes over the source up to `end` as text without entities.
    fn literal(&mut self, end: usize) {
        let source = self.source;
        let content = &source[self.at..end];
        for line in content.split_inclusive('\n') {
            for (i, word) in line.split_ascii_whitespace().enumerate() {
                if i > 0 {
                    self.gap(Gap::Space);
                }
                self.push(word);
            }
            self.gap(Gap::Space);
            self.skip(self.at + line.len());
        }
    }

    /// Takes over the source between the two offsets as text.
    fn text(&mut self, begin: usize, end: usize) {
        self.skip(begin);
        let source = self.source;
        let bytes = source.as_bytes();
        while self.at < end {
            let byte = bytes[self.at];
            match byte {
                b'\n' => {
                    self.gap(if self.preformatted > 0 { Gap::Line } else { Gap::Space });
                    self.line = self.line.saturating_add(1);
                    self.at += 1;
                }
                b' ' | b'\t' | b'\x0c' => {
                    if self.preformatted > 0 {
                        self.push(&source[self.at..=self.at]);
                    } else {
                        self.gap(Gap::Space);
                    }
                    self.at += 1;
                }
                b'&' => match entity(&source[self.at..end]) {
                    Some((char, len)) => {
                        if char == '\u{a0}' {
                            self.gap(Gap::Space);
                        } else {
                            self.push(char.encode_utf8(&mut [0; 4]));
                        }
                        self.at += len;
                    }
                    None => {
                        self.push("&");
                        self.at += 1;
                    }
                },
                _ => {
                    let stop = bytes[self.at..end]
                        .iter()
                        .position(|b| matches!(b, b'\n' | b' ' | b'\t' | b'\x0c' | b'&'))
                        .map_or(end, |len| self.at + len);
                    self.push(&source[self.at..stop]);
                    self.at = stop;
                }
            }
        }
    }

    /// Appends text that is not blank (or stands in a preformatted block), after what was pending.
    fn push(&mut self, text: &str) {
        let page = &mut self.page;
        let pending = std::mem::replace(&mut self.pending, Gap::None);
        let between = match pending {
            _ if page.text.is_empty() => "",
            Gap::None => "",
            Gap::Space => " ",
            Gap::Line | Gap::Part => "\n",
            Gap::Block => "\n\n",
        };
        page.text.push_str(between);
        let at = page.text.len();
        match pending {
            Gap::Part => page.breaks.push(Break { at, kind: BreakKind::Part }),
            Gap::Block => page.breaks.push(Break { at, kind: BreakKind::Block }),
            _ => {}
        }
        if let Some((_, begin @ None)) = &mut self.heading {
            *begin = Some(at);
        }
        if page.lines.last().is_none_or(|(_, line)| *line != self.line) {
            page.lines.push((at, self.line));
        }
        page.text.push_str(text);
    }
}
