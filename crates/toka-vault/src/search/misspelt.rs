//! Words that the texts do not hold, and those of theirs that are meant by them.
//!
//! A slip of the finger (`kuberntes`), a letter too few (`acommodation`) and another way to write a sound (`Mueller`)
//! find nothing by themselves. Only a word that occurs nowhere is looked at: one that does is meant as it stands.

use std::collections::BTreeMap;

/// Shorter words have too many neighbours that mean something else.
const LEAST_LETTERS: usize = 5;
/// From this length on two slips are forgiven instead of one.
const TWO_SLIPS_FROM: usize = 8;
/// Most words that are taken to be meant by one.
const MAX_MEANT: usize = 2;
/// What an occurrence of a word that may be meant is worth for each slip, against one of a word that was asked for.
const SLIP_WORTH: f64 = 0.5;

/// A term that no text holds, and the nearest ones that were offered so far.
pub(super) struct Misspelt {
    letters: Vec<char>,
    /// How many slips away the nearest are, or may be at most, and how often each of them occurs.
    slips: usize,
    nearest: BTreeMap<String, u64>,
}

impl Misspelt {
    /// `None` for what no slip explains: short words, numbers, identifiers.
    pub(super) fn new(term: &str) -> Option<Self> {
        let letters: Vec<char> = term.chars().collect();
        if letters.len() < LEAST_LETTERS || !letters.iter().all(|letter| letter.is_alphabetic()) {
            return None;
        }
        let most = if letters.len() < TWO_SLIPS_FROM { 1 } else { 2 };
        Some(Self { letters, slips: most, nearest: BTreeMap::new() })
    }

    /// What every term begins with that can be meant: hardly anyone misses the first letter, and a dictionary need not
    /// be read as a whole.
    pub(super) fn beginning(&self) -> String {
        self.letters.iter().take(1).collect()
    }

    /// Offers a term of the texts and how much it occurs.
    pub(super) fn offer(&mut self, term: &str, occurs: u64) {
        // A slip changes the number of letters by one, and a letter has at most four bytes.
        let bytes = self.letters.len().saturating_sub(self.slips)..=(self.letters.len() + self.slips) * 4;
        if !bytes.contains(&term.len()) {
            return;
        }
        let letters: Vec<char> = term.chars().collect();
        let Some(slips) = slips(&self.letters, &letters, self.slips) else {
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

    #[test]
    fn the_nearest_terms_are_meant() {
        let check = |term: &str, offered: &[(&str, u64)], expected: &[&str]| {
            let meant = Misspelt::new(term).map(|mut misspelt| {
                for (other, occurs) in offered {
                    misspelt.offer(other, *occurs);
                }
                misspelt.meant().0
            });
            assert_eq!(meant.unwrap_or_default(), expected, "{term}");
        };
        check("kubernt", &[("kubernet", 1), ("kuber", 90)], &["kubernet"]);
        check("architetcur", &[("architectur", 1), ("architect", 9)], &["architectur"]);
        check("muller", &[("mueller", 1)], &["mueller"]);
        // One slip beats two, however rare the word is; of several the most frequent ones.
        check("certifct", &[("certif", 99), ("certifict", 1)], &["certifict"]);
        check("housd", &[("house", 3), ("hound", 5), ("houst", 4), ("hous", 9)], &["hous", "hound"]);
        check("garden", &[("garde", 1), ("warden", 0), ("gradent", 1)], &["garde", "warden"]);
        check("σισυφο", &[("σισυφοσ", 1)], &["σισυφοσ"]);
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
