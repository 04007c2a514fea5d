//! Words that the texts do not hold, and those of theirs that are meant by them.
//!
//! A slip of the finger (`kuberntes`), a letter too few (`acommodation`) and another way to write a sound (`Mueller`)
//! find nothing by themselves. Only a word that occurs nowhere is looked at: one that does is meant as it stands.

use std::collections::BTreeMap;

use super::analyze::{AskedTerm, folded};

/// Shorter words have too many neighbours that mean something else.
const LEAST_LETTERS: usize = 5;
/// From this length on two slips are forgiven instead of one.
const TWO_SLIPS_FROM: usize = 8;
/// Most words that are taken to be meant by one.
const MAX_MEANT: usize = 2;
/// What an occurrence of a word that may be meant is worth for each slip, against one of a word that was asked for.
const SLIP_WORTH: f64 = 0.5;

/// A word that no text holds, and the nearest terms that were offered so far.
pub(super) struct Misspelt {
    term: Form,
    /// A slip in the ending leaves another term, but nearly the same word.
    word: Form,
    /// How many slips away the nearest are, or may be at most, and how often each of them occurs.
    slips: usize,
    nearest: BTreeMap<String, u64>,
}

/// A way to write what was asked, and how many slips may lie in it.
struct Form {
    letters: Vec<char>,
    most: usize,
}

impl Form {
    fn new(text: &str) -> Self {
        let letters: Vec<char> = text.chars().collect();
        let most = match letters.len() {
            0..LEAST_LETTERS => 0,
            LEAST_LETTERS..TWO_SLIPS_FROM => 1,
            _ => 2,
        };
        Self { letters, most }
    }

    fn slips(&self, other: &str, most: usize) -> Option<usize> {
        let most = most.min(self.most);
        // A slip changes the number of letters by one, and a letter has at most four bytes.
        let bytes = self.letters.len().saturating_sub(most)..=(self.letters.len() + most) * 4;
        if !bytes.contains(&other.len()) {
            return None;
        }
        slips(&self.letters, &other.chars().collect::<Vec<_>>(), most)
    }
}

impl Misspelt {
    /// `None` for what no slip explains: short words, numbers, identifiers.
    pub(super) fn new(asked: &AskedTerm) -> Option<Self> {
        let (term, word) = (Form::new(&asked.term), Form::new(&folded(&asked.surface)));
        let most = term.most.max(word.most);
        let is_word =
            asked.surface.chars().all(char::is_alphanumeric) && !asked.term.chars().any(char::is_numeric);
        (most > 0 && is_word).then(|| Self { term, word, slips: most, nearest: BTreeMap::new() })
    }

    /// What every term begins with that can be meant: hardly anyone misses the first letter, and a dictionary need not
    /// be read as a whole.
    pub(super) fn beginning(&self) -> String {
        self.term.letters.iter().take(1).collect()
    }

    /// Offers a term of the texts, the word that stands for it where it is known, and how much it occurs.
    pub(super) fn offer(&mut self, term: &str, word: Option<&str>, occurs: u64) {
        let by_term = self.term.slips(term, self.slips);
        let by_word = word.and_then(|word| self.word.slips(&folded(word), self.slips));
        let Some(slips) = by_term.into_iter().chain(by_word).min() else {
            return;
        };
        if slips < self.slips {
            self.slips = slips;
            self.nearest.clear();
        }
        *self.nearest.entry(term.to_owned()).or_default() += occurs;
    }

    /// The terms that are meant, the most frequent first, and what an occurrence of them is worth.
    pub(super) fn meant(self) -> (Vec<String>, f64) {
        let mut nearest: Vec<(String, u64)> = self.nearest.into_iter().collect();
        // Stable: what occurs as often stays in the order of the alphabet.
        nearest.sort_by_key(|(_, occurs)| std::cmp::Reverse(*occurs));
        nearest.truncate(MAX_MEANT);
        (nearest.into_iter().map(|(term, _)| term).collect(), SLIP_WORTH.powi(self.slips as i32))
    }
}

/// How many letters are missing, too many, others or swapped with their neighbour between the two; `None` if more than
/// `most`.
fn slips(one: &[char], other: &[char], most: usize) -> Option<usize> {
    if one.len().abs_diff(other.len()) > most {
        return None;
    }
    let mut before_last = vec![0; other.len() + 1];
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for row in 1..=one.len() {
        let mut here = vec![row; other.len() + 1];
        for column in 1..=other.len() {
            let differ = usize::from(one[row - 1] != other[column - 1]);
            let mut least = (last[column] + 1).min(here[column - 1] + 1).min(last[column - 1] + differ);
            if row > 1 && column > 1 && one[row - 1] == other[column - 2] && one[row - 2] == other[column - 1]
            {
                least = least.min(before_last[column - 2] + 1);
            }
            here[column] = least;
        }
        if here.iter().all(|&slips| slips > most) {
            return None;
        }
        before_last = std::mem::replace(&mut last, here);
    }
    Some(last[other.len()]).filter(|&slips| slips <= most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::analyze::Analyzer;

    /// Offers words with how often they occur, and shows which terms are meant.
    #[track_caller]
    fn check(word: &str, offered: &[(&str, u64)], expected: &[&str]) {
        let analyzer = Analyzer::new();
        let asked = analyzer.asked(word).remove(0);
        let meant = Misspelt::new(&asked).map(|mut misspelt| {
            for (other, occurs) in offered {
                misspelt.offer(&analyzer.stem(other), Some(other), *occurs);
            }
            misspelt.meant().0
        });
        assert_eq!(meant.unwrap_or_default(), expected, "{word}");
    }

    #[test]
    fn the_nearest_terms_are_meant() {
        check("kuberntes", &[("kubernetes", 1), ("kuber", 90)], &["kubernet"]);
        check("architetcure", &[("architecture", 1), ("architects", 9)], &["architectur"]);
        check("Müller", &[("mueller", 1)], &["mueller"]);
        check("Mueller", &[("müller", 1)], &["muller"]);
        check("σισυφο", &[("σίσυφος", 1)], &["σισυφοσ"]);
        // A slip in what the stemmer takes for an ending, or one that hides it.
        check("certficate", &[("certificates", 1), ("certain", 9)], &["certif"]);
        check("accommodtaion", &[("accommodation", 1)], &["accommod"]);
        check("hoose", &[("house", 1), ("horse", 2), ("hook", 9)], &["hors", "hous"]);
        // One slip beats two, however rare the word is; of several the most frequent ones.
        check("restoraton", &[("restorating", 99), ("restoration", 1)], &["restor"]);
        check("gardem", &[("garde", 3), ("garden", 5), ("warden", 9), ("gardet", 4)], &["garden", "gardet"]);
        // Short words, numbers and identifiers are meant as they stand.
        check("hous", &[("house", 1)], &[]);
        check("qx77191", &[("qx77192", 1)], &[]);
        check("read_fil", &[("read_file", 1)], &[]);
        check("zebra", &[("", 1), ("z", 1), ("cobra", 1)], &[]);
    }

    #[test]
    fn slips_are_counted_to_a_bound() {
        let check = |one: &str, other: &str, most: usize, expected: Option<usize>| {
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            assert_eq!(slips(&letters(one), &letters(other), most), expected, "{one} {other}");
            assert_eq!(slips(&letters(other), &letters(one), most), expected, "{other} {one}");
        };
        check("", "", 0, Some(0));
        check("abc", "acb", 1, Some(1));
        check("abcd", "badc", 2, Some(2));
        check("abcd", "badc", 1, None);
        check("kitten", "sitting", 2, None);
        check("kitten", "sitting", 3, Some(3));
        check("a", "abcdef", 2, None);
    }
}
