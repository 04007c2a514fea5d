//! Near misses: what a mistyped name was probably meant to be.

/// Most edits between a name and what it was meant to be; three turn most short words into each other.
const MAX_EDITS: usize = 2;

/// The candidate that `word` most likely meant, if one is near: the same but for case, `-`, `_` and a
/// plural, or within [`MAX_EDITS`] insertions, deletions, substitutions and swaps of neighbours, or its first
/// words. Short candidates allow fewer edits, since any two letters are two edits from any other two.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best: Option<(usize, &'a str)> = None;
    for candidate in candidates {
        let Some(edits) = distance(word, candidate) else {
            continue;
        };
        if best.is_none_or(|(least, _)| edits < least) {
            best = Some((edits, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn distance(word: &str, candidate: &str) -> Option<usize> {
    if plain(word) == plain(candidate) {
        return Some(0);
    }
    if !word.is_empty() && candidate.strip_prefix(word).is_some_and(|rest| rest.starts_with('_')) {
        return Some(MAX_EDITS);
    }
    let length = candidate.chars().count();
    // The distance is quadratic, and a word much longer than the candidate cannot be near it.
    if word.len() > candidate.len() * 4 + MAX_EDITS {
        return None;
    }
    let edits = strsim::osa_distance(&word.to_lowercase(), &candidate.to_lowercase());
    (edits <= MAX_EDITS.min(length / 2).min(length.saturating_sub(2))).then_some(edits)
}

/// The letters of a name that tell it from others: neither case nor separators nor a plural's ending.
fn plain(name: &str) -> String {
    let mut letters: String =
        name.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect();
    if letters.len() > 1 && letters.ends_with('s') {
        letters.pop();
    }
    letters
}
