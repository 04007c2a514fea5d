//! From a file's bytes to a document: its text, and where it may be cut.

use super::decode::{Decoded, decode, decode_markup};
use super::skip::SkipReason;
use super::{html, outline};

/// How a text is structured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Media {
    /// Markdown: sections, paragraphs, lists, fences.
    Markdown,
    /// A page: its text is extracted from the markup.
    Html,
    /// Source code and data formats: blank lines and indentation.
    Source,
    /// All other text: paragraphs, and underlined titles.
    Plain,
}

impl Media {
    /// The stable name: `markdown`, `html`, `source` or `plain`.
    pub fn as_str(self) -> &'static str {
        match self {
            Media::Markdown => "markdown",
            Media::Html => "html",
            Media::Source => "source",
            Media::Plain => "plain",
        }
    }
}

/// A decoded file, ready to be cut into chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The kind of text.
    pub media: Media,
    /// The name of the encoding, such as `UTF-8`.
    pub encoding: &'static str,
    /// Whether some bytes were not valid in that encoding.
    pub lossy: bool,
    /// The title of a page.
    pub title: Option<String>,
    /// The text that is cut into chunks: the file's own, or for a page what is left without the markup.
    pub text: String,
    /// Places where the text may be cut, by rising offset; all at the begin of a line.
    pub breaks: Vec<Break>,
    /// Where lines of the file begin in the text, if that is not after each line feed: pairs of offset and line
    /// number, both rising.
    pub lines: Option<Vec<(usize, u32)>>,
}

/// A place where a text may be cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// Byte offset into the text: what follows begins here.
    pub at: usize,
    /// What begins here.
    pub kind: BreakKind,
}

/// What begins at a break. Between two breaks every line is a place to cut, if a worse one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BreakKind {
    /// A section with its title. Texts of different sections are joined only if they are very short.
    Heading {
        /// 1 is the outermost; 0 is a page's title.
        level: u8,
        /// The title on one line, shortened to [`MAX_TITLE_BYTES`](super::outline::MAX_TITLE_BYTES).
        title: String,
    },
    /// A paragraph, fence, table or top-level definition.
    Block,
    /// A part of a block: a list item, an inner paragraph, an inner definition.
    Part,
}

/// Decodes a file and finds its structure. `path` only serves to tell the kind of text by its extension.
///
/// An empty file is an empty document.
///
/// # Errors
/// [`SkipReason::Binary`] if the bytes are not text.
pub fn extract(path: &[u8], bytes: &[u8]) -> Result<Document, SkipReason> {
    let by_name = media_by_name(path);
    let is_markup = by_name == Some(Media::Html) || looks_like_markup(bytes);
    let Decoded { text, encoding, lossy } = if is_markup { decode_markup(bytes)? } else { decode(bytes)? };
    let media = by_name.unwrap_or_else(|| media_by_content(&text));
    let plain =
        |text: String, breaks| Document { media, encoding, lossy, title: None, text, breaks, lines: None };
    Ok(match media {
        Media::Markdown => {
            let breaks = outline::markdown(&text);
            plain(text, breaks)
        }
        Media::Source => {
            let breaks = outline::source(&text);
            plain(text, breaks)
        }
        Media::Plain => {
            let breaks = outline::plain(&text);
            plain(text, breaks)
        }
        Media::Html => {
            let page = html::strip(&text);
            Document {
                media,
                encoding,
                lossy,
                title: page.title,
                text: page.text,
                breaks: page.breaks,
                lines: Some(page.lines),
            }
        }
    })
}

/// The kind that the extension or name promises; `None` if it says nothing.
fn media_by_name(path: &[u8]) -> Option<Media> {
    let name = path.rsplit(|&b| b == b'/').next()?;
    let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
    match name.as_str() {
        "makefile" | "dockerfile" | "containerfile" | "justfile" | "rakefile" | "gemfile"
        | "cmakelists.txt" => {
            return Some(Media::Source);
        }
        _ => {}
    }
    let (stem, extension) = name.rsplit_once('.')?;
    if stem.is_empty() {
        return None;
    }
    Some(match extension {
        "md" | "markdown" | "mdown" | "mkd" | "mkdn" | "mdx" | "qmd" | "rmd" => Media::Markdown,
        "html" | "htm" | "xhtml" | "xht" | "shtml" => Media::Html,
        "txt" | "text" | "log" | "rst" | "adoc" | "asciidoc" | "org" | "tex" | "csv" | "tsv" | "srt"
        | "vtt" | "eml" => Media::Plain,
        "rs" | "py" | "pyi" | "js" | "mjs" | "cjs" | "jsx" | "ts" | "tsx" | "mts" | "go" | "c" | "h"
        | "cc" | "cpp" | "cxx" | "hh" | "hpp" | "hxx" | "m" | "mm" | "java" | "kt" | "kts" | "scala"
        | "swift" | "rb" | "php" | "pl" | "pm" | "lua" | "r" | "jl" | "hs" | "ml" | "mli" | "fs" | "cs"
        | "vb" | "ex" | "exs" | "erl" | "hrl" | "clj" | "cljs" | "el" | "lisp" | "scm" | "zig" | "nim"
        | "d" | "dart" | "v" | "sv" | "vhd" | "vhdl" | "asm" | "s" | "sh" | "bash" | "zsh" | "fish"
        | "ps1" | "bat" | "cmd" | "awk" | "sed" | "sql" | "proto" | "graphql" | "wit" | "wat" | "css"
        | "scss" | "sass" | "less" | "vue" | "svelte" | "json" | "jsonl" | "json5" | "yaml" | "yml"
        | "toml" | "ini" | "cfg" | "conf" | "properties" | "xml" | "xsd" | "xsl" | "svg" | "tf" | "hcl"
        | "nix" | "cmake" | "mk" | "gradle" | "dockerfile" | "patch" | "diff" | "lock" => Media::Source,
        _ => return None,
    })
}

fn looks_like_markup(bytes: &[u8]) -> bool {
    let start = bytes.iter().position(|b| !b.is_ascii_whitespace() && !matches!(b, 0xef | 0xbb | 0xbf));
    start.is_some_and(|at| bytes[at] == b'<')
}

/// The kind of a text whose name says nothing.
fn media_by_content(text: &str) -> Media {
    // Enough to see a title and a few paragraphs.
    const SAMPLE: usize = 8 * 1024;
    let sample = &text[..text.floor_char_boundary(SAMPLE)];
    let head = sample.trim_start();
    let begins = |what: &str| head.get(..what.len()).is_some_and(|start| start.eq_ignore_ascii_case(what));
    if begins("<!doctype html") || begins("<html") {
        return Media::Html;
    }
    if begins("#!") {
        return Media::Source;
    }
    if begins("<?xml") {
        return if sample.to_ascii_lowercase().contains("<html") { Media::Html } else { Media::Source };
    }
    let (mut titles, mut fences) = (0, 0);
    for line in sample.lines() {
        let depth = line.bytes().take_while(|&b| b == b'#').count();
        titles += usize::from((2..=6).contains(&depth) && line[depth..].starts_with(' '));
        fences += usize::from(line.starts_with("```"));
    }
    if titles > 0 || fences > 1 { Media::Markdown } else { Media::Plain }
}
