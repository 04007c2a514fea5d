//! From text to terms: what counts as a word, and which words are the same one.
//!
//! A word is a run of letters, digits and underscores, or what Unicode calls a word in scripts that
//! write without spaces. Words are lowercased and stemmed; an identifier (`readFile`, `read_file`)
//! counts as itself and as its parts, so that both who remembers the name and who remembers what it
//! does finds it. Words that are everywhere carry no meaning and are left out.

use rust_stemmers::{Algorithm, Stemmer};
use unicode_segmentation::UnicodeSegmentation;

/// Longest term in bytes; longer words are cut. No word of a language is longer, and encoded data must
/// not fill the dictionary.
pub(crate) const MAX_TERM: usize = 40;

/// A run of letters and digits longer than this is encoded data (keys, hashes, images), not a word.
const MAX_WORD: usize = 64;

/// Most terms taken from one text. A chunk has a few hundred; the bound protects a query, which comes
/// from outside.
pub(crate) const MAX_QUERY_TERMS: usize = 64;

/// English words without a subject of their own. Sorted, lowercase, unstemmed.
const STOP_WORDS: &[&str] = &[
    "a",
    "about",
    "above",
    "after",
    "again",
    "all",
    "also",
    "am",
    "an",
    "and",
    "any",
    "are",
    "aren",
    "as",
    "at",
    "be",
    "because",
    "been",
    "before",
    "being",
    "below",
    "between",
    "both",
    "but",
    "by",
    "can",
    "cannot",
    "could",
    "couldn",
    "d",
    "did",
    "didn",
    "do",
    "does",
    "doesn",
    "doing",
    "don",
    "down",
    "during",
    "each",
    "etc",
    "every",
    "few",
    "for",
    "from",
    "further",
    "get",
    "gets",
    "had",
    "hadn",
    "has",
    "hasn",
    "have",
    "haven",
    "having",
    "he",
    "her",
    "here",
    "hers",
    "herself",
    "him",
    "himself",
    "his",
    "how",
    "however",
    "i",
    "if",
    "in",
    "into",
    "is",
    "isn",
    "it",
    "its",
    "itself",
    "just",
    "let",
    "ll",
    "m",
    "may",
    "me",
    "might",
    "more",
    "most",
    "must",
    "my",
    "myself",
    "no",
    "nor",
    "not",
    "now",
    "of",
    "off",
    "on",
    "once",
    "only",
    "or",
    "other",
    "ought",
    "our",
    "ours",
    "ourselves",
    "out",
    "over",
    "own",
    "re",
    "s",
    "same",
    "shall",
    "she",
    "should",
    "shouldn",
    "so",
    "some",
    "such",
    "t",
    "than",
    "that",
    "the",
    "their",
    "theirs",
    "them",
    "themselves",
    "then",
    "there",
    "these",
    "they",
    "this",
    "those",
    "through",
    "thus",
    "to",
    "too",
    "under",
    "until",
    "up",
    "upon",
    "us",
    "ve",
    "very",
    "via",
    "was",
    "wasn",
    "we",
    "were",
    "weren",
    "what",
    "when",
    "where",
    "which",
    "while",
    "who",
    "whom",
    "whose",
    "why",
    "will",
    "with",
    "within",
    "without",
    "won",
    "would",
    "wouldn",
    "yet",
    "you",
    "your",
    "yours",
    "yourself",
    "yourselves",
];

/// Calls `each` with every word of the text, as it is written, in order: identifiers first whole, then
/// in their parts.
pub(crate) fn words(text: &str, mut each: impl FnMut(&str)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80 {
            let start = at;
            let mut ascii = true;
            while at < bytes.len() {
                let byte = bytes[at];
                if byte >= 0x80 {
                    ascii = false;
                } else if !byte.is_ascii_alphanumeric() && byte != b'_' {
                    break;
                }
                at += 1;
            }
            // A run starts and ends beside ASCII bytes, so both are character boundaries.
            let run = &text[start..at];
            if ascii {
                identifier(run, &mut each);
            } else {
                for word in run.unicode_words() {
                    identifier(word, &mut each);
                }
            }
        } else {
            at += 1;
        }
    }
}

fn identifier(word: &str, each: &mut impl FnMut(&str)) {
    let word = word.trim_matches('_');
    if word.is_empty() || word.len() > MAX_WORD {
        return;
    }
    each(word);
    let bytes = word.as_bytes();
    let compound = bytes
        .windows(2)
        .any(|pair| pair[0] == b'_' || (pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase()));
    if !compound {
        return;
    }
    let mut start = 0;
    let mut part = |from: usize, to: usize| {
        if to > from + 1 {
            each(&word[from..to]);
        }
    };
    for index in 1..bytes.len() {
        let (before, here) = (bytes[index - 1], bytes[index]);
        if here == b'_' {
            part(start, index);
            start = index + 1;
        } else if here.is_ascii_uppercase()
            && (before.is_ascii_lowercase()
                || (before.is_ascii_uppercase() && bytes.get(index + 1).is_some_and(u8::is_ascii_lowercase)))
        {
            part(start, index);
            start = index;
        }
    }
    part(start.min(bytes.len()), bytes.len());
}

/// Brings words to terms.
pub(crate) struct Analyzer {
    stemmer: Stemmer,
}

impl Analyzer {
    pub(crate) fn new() -> Self {
        Self { stemmer: Stemmer::create(Algorithm::English) }
    }

    /// The lowercase form of a word, cut to [`MAX_TERM`]; `None` for a stop word.
    pub(crate) fn surface(&self, word: &str) -> Option<String> {
        let mut lower = word.to_lowercase();
        let mut end = lower.len().min(MAX_TERM);
        while !lower.is_char_boundary(end) {
            end -= 1;
        }
        lower.truncate(end);
        (!lower.is_empty() && STOP_WORDS.binary_search(&lower.as_str()).is_err()).then_some(lower)
    }

    /// The term of a lowercase form.
    pub(crate) fn stem(&self, surface: &str) -> String {
        // The stemmer knows English words; it makes nothing of identifiers and numbers.
        if surface.bytes().all(|byte| byte.is_ascii_lowercase()) {
            self.stemmer.stem(surface).into_owned()
        } else {
            surface.to_owned()
        }
    }

    /// The distinct terms of a query in order, each with how often it occurs.
    pub(crate) fn query(&self, text: &str) -> Vec<(String, u32)> {
        let mut terms: Vec<(String, u32)> = Vec::new();
        words(text, |word| {
            let Some(surface) = self.surface(word) else {
                return;
            };
            let term = self.stem(&surface);
            if let Some(found) = terms.iter_mut().find(|found| found.0 == term) {
                found.1 += 1;
            } else if terms.len() < MAX_QUERY_TERMS {
                terms.push((term, 1));
            }
        });
        terms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_words_are_sorted() {
        assert!(STOP_WORDS.is_sorted());
    }

    #[test]
    fn words_and_parts() {
        let check = |text: &str, expected: &str| {
            let mut found = Vec::new();
            words(text, |word| found.push(word.to_owned()));
            assert_eq!(found.join(" "), expected, "{text}");
        };
        check("", "");
        check("Hello, world!", "Hello world");
        check("don't", "don t");
        check("read_file(x)", "read_file read file x");
        check("readFile", "readFile read File");
        check("HTTPServer2", "HTTPServer2");
        check("parseHTTPHeader", "parseHTTPHeader parse HTTP Header");
        check("__init__ _", "init");
        check("a__b_cd", "a__b_cd cd");
        check("naïve café", "naïve café");
        check("東京 и Москва", "東 京 и Москва");
        check("\u{202e}\u{0}x\u{2028}y", "x y");
        check(&"x".repeat(MAX_WORD + 1), "");
    }

    #[test]
    fn terms_are_stems_without_stop_words() {
        let check = |text: &str, expected: &str| {
            let terms = Analyzer::new().query(text);
            let shown: Vec<_> = terms.iter().map(|(term, n)| format!("{term}:{n}")).collect();
            assert_eq!(shown.join(" "), expected, "{text}");
        };
        check("the and of", "");
        check("Configuring configured CONFIGURE", "configur:3");
        check("utf8 v3.5", "utf8:1 v3:1 5:1");
    }
}
