//! Fields of everyday English: which words speak of the same thing, as *goalie*, *puck* and *rink* do.
//!
//! A vault of ninety texts does not say that a text of surgeons and one of pills are about the same; to
//! whoever reads them it is plain. The words of a field are counted together beside the words themselves. What is
//! listed is general knowledge of the language, as the stop words and the stemmer are; nothing in it comes from
//! any vault. A field is no intent: which fields matter and how they go together, the vault says.

use std::collections::HashMap;

use super::analyze::Analyzer;

/// One field a line.
const FIELDS: &str = include_str!("fields.txt");

/// The fields of a vault's terms.
pub(super) struct Fields {
    count: usize,
    /// For each term id the fields that it belongs to.
    by_id: Vec<Vec<u16>>,
}

impl Fields {
    /// Looks up the stems of terms, in the order of the terms' ids.
    pub(super) fn of<'a>(stems: impl Iterator<Item = &'a str>) -> Self {
        let analyzer = Analyzer::new();
        let mut by_stem: HashMap<String, Vec<u16>> = HashMap::new();
        for (field, words) in (0u16..).zip(FIELDS.lines()) {
            for word in words.split(' ') {
                let fields = by_stem.entry(analyzer.stem(word)).or_default();
                // Two forms of a word count once.
                if fields.last() != Some(&field) {
                    fields.push(field);
                }
            }
        }
        let by_id = stems.map(|stem| by_stem.get(stem).cloned().unwrap_or_default()).collect();
        Self { count: FIELDS.lines().count(), by_id }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The fields of a term and what it counts in each, in 1/256: a word of several tells less of each.
    pub(super) fn of_term(&self, term: u32) -> impl Iterator<Item = (usize, u64)> + '_ {
        let fields = &self.by_id[term as usize];
        let share = ((256 * 256) / fields.len().max(1) as u64).isqrt();
        fields.iter().map(move |field| (usize::from(*field), share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_sorted_lists_of_lowercase_words() {
        let lines: Vec<&str> = FIELDS.lines().collect();
        assert!(lines.is_sorted());
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            assert!(words.len() > 5 && words.windows(2).all(|pair| pair[0] < pair[1]), "{line}");
            let fine = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase()) && !word.is_empty();
            assert!(words.iter().all(fine), "{line}");
        }
    }

    #[test]
    fn words_of_a_field_meet() {
        let stems = ["surgeon", "pill", "rink", "zzz"];
        let fields = Fields::of(stems.into_iter());
        let of = |term| fields.of_term(term).map(|(field, _)| field).collect::<Vec<_>>();
        assert!(of(0).iter().any(|field| of(1).contains(field)));
        assert!(!of(0).iter().any(|field| of(2).contains(field)));
        assert!(of(3).is_empty());
    }
}
