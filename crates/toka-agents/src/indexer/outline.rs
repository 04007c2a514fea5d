//! Where a text may be cut: the structure of Markdown, source code and plain text.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::extract::{Break, BreakKind};

/// A title is shortened to this many bytes. It is repeated with each chunk of its section, so a page of text that was
/// marked up as one title must not be.
pub const MAX_TITLE_BYTES: usize = 120;

/// Columns that a tab stands for when indentation is compared.
const TAB_COLUMNS: usize = 4;

/// Indentation up to which an inner block of source code (a method, a nested section) is a good place to cut.
const INNER_COLUMNS: usize = 4;

/// The headings, blocks and list items of a Markdown text. Headings inside quotes and lists do not open sections.
pub fn markdown(text: &str) -> Vec<Break> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_HEADING_ATTRIBUTES
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS
        | Options::ENABLE_PLUSES_DELIMITED_METADATA_BLOCKS;
    let mut breaks = Breaks::new(text);
    let mut depth = 0_usize;
    let mut heading: Option<(usize, u8, String)> = None;
    // Where the block of metadata begins that is being read.
    let mut metadata: Option<usize> = None;
    for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                if depth == 0 {
                    heading = Some((range.start, level_of(level), String::new()));
                }
                depth += 1;
            }
            Event::Start(tag) => {
                match tag {
                    Tag::MetadataBlock(_) => {
                        breaks.add(range.start, BreakKind::Block);
                        metadata = Some(range.start);
                    }
                    Tag::Item => breaks.add(range.start, BreakKind::Part),
                    Tag::Paragraph
                    | Tag::BlockQuote(_)
                    | Tag::CodeBlock(_)
                    | Tag::HtmlBlock
                    | Tag::List(_)
                    | Tag::FootnoteDefinition(_)
                    | Tag::Table(_) => {
                        breaks.add(range.start, if depth == 0 { BreakKind::Block } else { BreakKind::Part });
                    }
                    _ => {}
                }
                depth += 1;
            }
            Event::End(end) => {
                depth = depth.saturating_sub(1);
                if matches!(end, TagEnd::MetadataBlock(_)) {
                    metadata = None;
                }
                if matches!(end, TagEnd::Heading(_))
                    && depth == 0
                    && let Some((at, level, title)) = heading.take()
                {
                    breaks.add(at, BreakKind::Heading { level, title: one_line(&title) });
                }
            }
            Event::Rule if depth == 0 => breaks.add(range.start, BreakKind::Block),
            Event::Text(part) | Event::Code(part) => {
                if let Some(begin) = metadata {
                    if let Some(title) = metadata_title(&part) {
                        breaks.add(begin, BreakKind::Heading { level: 0, title });
                    }
                } else if let Some((_, _, title)) =
                    heading.as_mut().filter(|(_, _, title)| title.len() <= MAX_TITLE_BYTES)
                {
                    title.push_str(&part);
                }
            }
            Event::SoftBreak | Event::HardBreak => {
                if let Some((_, _, title)) = &mut heading {
                    title.push(' ');
                }
            }
            _ => {}
        }
    }
    breaks.list
}

/// The title that a page generator's metadata (YAML or TOML) gives to a text that has no heading of its own for it.
fn metadata_title(metadata: &str) -> Option<String> {
    metadata.lines().find_map(|line| {
        let rest = line.strip_prefix("title")?.trim_start();
        let value = rest.strip_prefix([':', '='])?.trim();
        let quoted = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
        let title = one_line(quoted('"').or_else(|| quoted('\'')).unwrap_or(value));
        // A scalar that continues on the next lines is marked here by one character and its indicators.
        (!title.is_empty() && !title.starts_with(['|', '>'])).then_some(title)
    })
}

/// The top-level and inner blocks of source code, as blank lines and indentation show them.
pub fn source(text: &str) -> Vec<Break> {
    let mut breaks = Vec::new();
    let (mut at, mut after_blank, mut above) = (0, true, 0);
    for line in text.split_inclusive('\n') {
        let content = line.trim();
        if content.is_empty() {
            after_blank = true;
        } else {
            let columns = columns(line);
            let closes =
                content.starts_with(['}', ')', ']']) || content == "end" || content.starts_with("</");
            if !closes {
                if after_blank && columns == 0 {
                    breaks.push(Break { at, kind: BreakKind::Block });
                } else if after_blank && columns <= INNER_COLUMNS || columns == 0 && above > 0 {
                    breaks.push(Break { at, kind: BreakKind::Part });
                }
            }
            after_blank = false;
            above = columns;
        }
        at += line.len();
    }
    breaks
}

/// The paragraphs of a plain text, and the titles in it: lines underlined with punctuation, as reStructuredText has
/// them (each kind of underline is one level, in order of appearance), and lines that begin with equals signs, as
/// AsciiDoc has them (their number is the level).
pub fn plain(text: &str) -> Vec<Break> {
    let mut breaks: Vec<Break> = Vec::new();
    let mut underlines: Vec<u8> = Vec::new();
    let mut after_blank = true;
    // The line above with its offset, if a blank line or an overline stands before it.
    let mut above: Option<(usize, &str)> = None;
    let mut overline: Option<usize> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim();
        if content.is_empty() {
            (after_blank, above, overline) = (true, None, None);
        } else {
            let ruled = rule(content);
            match (ruled, above) {
                (Some(mark), Some((title_at, title))) if content.chars().count() >= title.chars().count() => {
                    let known = underlines.iter().position(|known| *known == mark);
                    let level = known.unwrap_or_else(|| {
                        underlines.push(mark);
                        underlines.len() - 1
                    });
                    let level = u8::try_from(level + 1).unwrap_or(u8::MAX);
                    let kind = BreakKind::Heading { level, title: one_line(title) };
                    match breaks.last_mut().filter(|last| last.at == title_at) {
                        Some(last) => last.kind = kind,
                        None => breaks.push(Break { at: title_at, kind }),
                    }
                    // What follows a title directly is not part of it.
                    (after_blank, above, overline) = (true, None, None);
                }
                _ => {
                    if after_blank {
                        let kind = marked_title(line).unwrap_or(BreakKind::Block);
                        breaks.push(Break { at, kind });
                    }
                    let begins = if after_blank { Some(at) } else { overline };
                    overline = ruled.and(begins);
                    above = if ruled.is_none() { begins.map(|begin| (begin, content)) } else { None };
                    after_blank = false;
                }
            }
        }
        at += line.len();
    }
    breaks
}

/// A line such as `== Name`, or `== Name ==`.
fn marked_title(line: &str) -> Option<BreakKind> {
    /// More signs are a rule with a word in it.
    const MAX_SIGNS: usize = 6;
    let name = line.trim_start_matches('=');
    let signs = line.len() - name.len();
    let name = name.strip_prefix([' ', '\t'])?.trim_end();
    let title = one_line(name.strip_suffix(&line[..signs]).unwrap_or(name));
    let is_title = (1..=MAX_SIGNS).contains(&signs) && title.contains(char::is_alphanumeric);
    is_title.then_some(BreakKind::Heading { level: signs as u8, title })
}

/// A title on one line without surplus spaces, shortened to [`MAX_TITLE_BYTES`].
pub(super) fn one_line(title: &str) -> String {
    let mut line = String::new();
    for word in title.split_whitespace() {
        let space = usize::from(!line.is_empty());
        let room = MAX_TITLE_BYTES.saturating_sub(line.len() + space);
        if word.len() > room {
            // A first word without any space is cut, later ones are left out.
            if line.is_empty() {
                line.push_str(&word[..word.floor_char_boundary(room)]);
            }
            break;
        }
        if space == 1 {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// Breaks under construction; offsets come in rising order and are moved to the begin of their line.
struct Breaks<'a> {
    text: &'a str,
    list: Vec<Break>,
    /// Everything before was searched for line feeds.
    searched: usize,
    line: usize,
}

impl<'a> Breaks<'a> {
    fn new(text: &'a str) -> Self {
        Breaks { text, list: Vec::new(), searched: 0, line: 0 }
    }

    fn add(&mut self, at: usize, kind: BreakKind) {
        if at < self.searched {
            return self.add_at_line(kind);
        }
        if let Some(feed) = self.text.as_bytes()[self.searched..at].iter().rposition(|&b| b == b'\n') {
            self.line = self.searched + feed + 1;
        }
        self.searched = at;
        self.add_at_line(kind);
    }

    fn add_at_line(&mut self, kind: BreakKind) {
        match self.list.last_mut() {
            // Several blocks may begin on one line; the outermost came first, and only a heading outranks it.
            Some(last) if last.at >= self.line => {
                if matches!(kind, BreakKind::Heading { .. }) && last.at == self.line {
                    last.kind = kind;
                }
            }
            _ => self.list.push(Break { at: self.line, kind }),
        }
    }
}

fn level_of(level: HeadingLevel) -> u8 {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}

fn columns(line: &str) -> usize {
    let mut columns = 0;
    for byte in line.bytes() {
        match byte {
            b' ' => columns += 1,
            b'\t' => columns += TAB_COLUMNS,
            _ => break,
        }
    }
    columns
}

/// The punctuation of which the line consists, if it is nothing but three or more of the same.
fn rule(line: &str) -> Option<u8> {
    let first = *line.as_bytes().first()?;
    let is_mark = matches!(first, b'=' | b'-' | b'~' | b'^' | b'"' | b'\'' | b'`' | b'#' | b'*' | b'+');
    (is_mark && line.len() >= 3 && line.bytes().all(|b| b == first)).then_some(first)
}
