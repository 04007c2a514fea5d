//! From text to terms: what counts as a word, and which words are the same one.
//!
//! A word is a run of letters, digits and underscores, or what Unicode calls a word in scripts that
//! write without spaces. Words are lowercased and stemmed; an identifier (`readFile`, `read_file`, `HTTPServer`)
//! counts as itself and as its parts, so that both who remembers the name and who remembers what it
//! does finds it. Words that are everywhere carry no meaning and are left out.
//!
//! Accents and the forms in which Unicode can write a letter make no other word: a text that a program decomposed, a
//! keyboard without an umlaut and a name in capitals (`STRASSE`) find what they mean.

use rust_stemmers::{Algorithm, Stemmer};
use unicode_normalization::UnicodeNormalization;
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
    let mut start = 0;
    let mut part = |from: usize, to: usize| {
        if to > from + 1 && to - from < bytes.len() {
            each(&word[from..to]);
        }
    };
    for index in 1..bytes.len() {
        if bytes[index] == b'_' {
            part(start, index);
            start = index + 1;
        } else if begins_part(bytes, index) {
            part(start, index);
            start = index;
        }
    }
    part(start.min(bytes.len()), bytes.len());
}

/// Whether a capital begins another part: after a small letter, or as the last one of several where a word follows it.
/// One small letter is none: it is the plural of `URLs`.
fn begins_part(bytes: &[u8], index: usize) -> bool {
    let small = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_lowercase);
    bytes[index].is_ascii_uppercase()
        && (small(index - 1)
            || (bytes[index - 1].is_ascii_uppercase() && small(index + 1) && small(index + 2)))
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
        if !lower.is_ascii() {
            lower = lower.nfc().collect();
        }
        cut(&mut lower);
        (!lower.is_empty() && STOP_WORDS.binary_search(&lower.as_str()).is_err()).then_some(lower)
    }

    /// The term of a lowercase form.
    pub(crate) fn stem(&self, surface: &str) -> String {
        if surface.is_ascii() {
            return self.stem_folded(surface);
        }
        self.stem_folded(&folded(surface))
    }

    fn stem_folded(&self, folded: &str) -> String {
        // The stemmer knows English words; it makes nothing of identifiers and numbers.
        if folded.bytes().all(|byte| byte.is_ascii_lowercase()) {
            self.stemmer.stem(folded).into_owned()
        } else {
            folded.to_owned()
        }
    }

    /// The distinct terms of a query in order, each with how often it occurs.
    pub(crate) fn query(&self, text: &str) -> Vec<(String, u32)> {
        self.asked(text).into_iter().map(|asked| (asked.term, asked.count)).collect()
    }

    /// The distinct terms of a query in order, each with the word that it was asked by.
    pub(crate) fn asked(&self, text: &str) -> Vec<AskedTerm> {
        let mut terms: Vec<AskedTerm> = Vec::new();
        words(text, |word| {
            let Some(surface) = self.surface(word) else {
                return;
            };
            let term = self.stem(&surface);
            if let Some(found) = terms.iter_mut().find(|found| found.term == term) {
                found.count += 1;
            } else if terms.len() < MAX_QUERY_TERMS {
                terms.push(AskedTerm { term, surface, count: 1 });
            }
        });
        terms
    }
}

/// A term of a query.
pub(crate) struct AskedTerm {
    pub(crate) term: String,
    /// The lowercase form of the first word that it was asked by.
    pub(crate) surface: String,
    /// How often it was asked.
    pub(crate) count: u32,
}

fn cut(term: &mut String) {
    term.truncate(term.floor_char_boundary(MAX_TERM));
}

/// A lowercase form without accents, and with one letter where Unicode has several for it. Marks of other scripts, as
/// those that make a `か` a `が`, stay: they make another letter.
pub(crate) fn folded(surface: &str) -> String {
    let marked = |c: &char| !('\u{300}'..='\u{36f}').contains(c);
    let mut folded = String::with_capacity(surface.len());
    for letter in surface.nfkd().filter(marked).nfc() {
        match letter {
            'ß' => folded.push_str("ss"),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            'ø' => folded.push('o'),
            'đ' | 'ð' => folded.push('d'),
            'ł' => folded.push('l'),
            'ı' => folded.push('i'),
            'þ' => folded.push_str("th"),
            'ς' => folded.push('σ'),
            // What is compatible with a capital (`ℌ`) was no capital before.
            other => folded.extend(other.to_lowercase()),
        }
    }
    cut(&mut folded);
    folded
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
        check("HTTPServer2", "HTTPServer2 HTTP Server2");
        check("XMLParser IOError", "XMLParser XML Parser IOError IO Error");
        check("URLs APIs IPv6 HTTP", "URLs APIs IPv6 HTTP");
        check("parseURLs", "parseURLs parse URLs");
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

    #[test]
    fn accents_and_forms_of_letters_make_no_other_term() {
        let check = |texts: &[&str], expected: &str| {
            for text in texts {
                let terms: Vec<_> = Analyzer::new().query(text).into_iter().map(|(term, _)| term).collect();
                assert_eq!(terms.join(" "), expected, "{text}");
            }
        };
        check(&["Straße", "STRASSE", "strasse"], "strass");
        check(&["Übergröße", "U\u{308}bergro\u{308}ße", "ÜBERGRÖSSE"], "ubergross");
        check(&["café", "cafe\u{301}", "CAFÉ", "cafe"], "cafe");
        check(&["naïve", "naive"], "naiv");
        check(&["ﬁle", "ｆｉｌｅ", "file"], "file");
        check(&["Łódź", "lodz"], "lodz");
        check(&["ΣΊΣΥΦΟΣ", "Σίσυφος", "σισυφος"], "σισυφοσ");
        check(&["ガ", "カ\u{3099}"], "ガ");
        check(&["カ"], "カ");
        // However long a form becomes, the term is bounded.
        let long = Analyzer::new().query(&"ﷺ".repeat(9));
        assert!(long.iter().all(|(term, _)| term.len() <= MAX_TERM), "{long:?}");
    }
}
