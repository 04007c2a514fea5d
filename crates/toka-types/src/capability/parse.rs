//! From text to capability, with the place of whatever is wrong.

use alloc::borrow::{Cow, ToOwned};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::caveat::{Allowed, Caveat, Sort, UNBOUNDED, is_bare, reads_as_number};
use super::limit::{Limits, MAX_USES, Window};
use super::pattern::{MAX_HOST, Pattern, bad_escape, is_host};
use super::when::{When, instant, time_of_day};
use super::{Capability, CapabilityError, MAX_CAPABILITY, MAX_CAVEATS, Problem, Target};
use crate::money::{Amount, Currency, MoneyError, MoneyProblem};

pub(super) fn capability(text: &str) -> Result<Capability, CapabilityError> {
    if text.len() > MAX_CAPABILITY {
        return Err(CapabilityError::TooLong { len: text.len() });
    }
    let malformed = |(at, problem)| CapabilityError::Malformed { text: text.to_owned(), at, problem };
    let mut parser = Parser { text, at: 0 };
    let (target, said) = parser.whole().map_err(malformed)?;
    if said.caveats.len() > MAX_CAVEATS {
        return Err(CapabilityError::TooManyCaveats { count: said.caveats.len() });
    }
    let when = When::new(said.span, said.hours).ok_or_else(|| malformed((said.when, Problem::Never)))?;
    Capability { target, caveats: said.caveats.into(), when, limits: said.limits }.bounded()
}

/// What the caveats say.
#[derive(Default)]
struct Said {
    caveats: Vec<Caveat>,
    span: Option<(Option<i64>, Option<i64>)>,
    hours: Option<(i64, i64)>,
    /// Where the last caveat on the time stands.
    when: usize,
    limits: Limits,
}

/// The byte offset of a problem, and the problem.
type Wrong = (usize, Problem);

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

/// A value as it stands in the text, without its quotes.
struct Word<'t> {
    content: Cow<'t, str>,
    /// Where the content starts in the text.
    start: usize,
}

impl Word<'_> {
    /// The problem at byte `offset` of the content.
    fn wrong<T>(&self, offset: usize, problem: Problem) -> Result<T, Wrong> {
        // Each escape before the place took one more byte in the text than in the content.
        let escapes = match self.content {
            Cow::Borrowed(_) => 0,
            Cow::Owned(_) => self.content[..offset].matches(['"', '\\']).count(),
        };
        Err((self.start + offset + escapes, problem))
    }
}

impl<'t> Parser<'t> {
    fn whole(&mut self) -> Result<(Option<Target>, Said), Wrong> {
        if self.text == "**" {
            return Ok((None, Said::default()));
        }
        let resource = self.take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c));
        if resource.is_empty() {
            let any = self.text.starts_with('*');
            return self.wrong(if any { Problem::AnyResource } else { Problem::Resource });
        }
        if !self.eat(':') {
            return self.wrong(Problem::Colon);
        }
        let start = self.at;
        let action = Word { content: Cow::Borrowed(self.take_while(|c| c != '(')), start };
        dotted(&action, Problem::ActionSegment, |c| c.is_ascii_alphanumeric() || "_-/".contains(c))?;
        let target = Target { resource: resource.into(), action: Pattern::new(&action.content) };
        let said = if self.eat('(') { self.caveats()? } else { Said::default() };
        Ok((Some(target), said))
    }

    fn caveats(&mut self) -> Result<Said, Wrong> {
        let mut said = Said::default();
        let mut names: Vec<&str> = Vec::new();
        loop {
            self.take_while(|c| c == ' ');
            let start = self.at;
            let name = self.take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
                return Err((start, Problem::CaveatName));
            }
            if names.contains(&name) {
                return Err((start, Problem::DuplicateCaveat));
            }
            names.push(name);
            if !self.eat('=') {
                return self.wrong(Problem::Equals);
            }
            match Sort::of(name) {
                Sort::At => (said.span, said.when) = (Some(span(&self.word()?)?), start),
                Sort::Hours => (said.hours, said.when) = (Some(hours(&self.word()?)?), start),
                Sort::Uses => said.limits = said.limits.and(Window::Ever, uses(&self.word()?)?),
                Sort::Rate if self.eat('{') => {
                    for word in self.words()? {
                        let (most, window) = rate(&word)?;
                        said.limits = said.limits.and(window, most);
                    }
                }
                Sort::Rate => {
                    let (most, window) = rate(&self.word()?)?;
                    said.limits = said.limits.and(window, most);
                }
                sort => {
                    let allowed = self.value(sort)?;
                    said.caveats.push(Caveat { name: name.into(), allowed });
                }
            }
            if self.eat(')') {
                break;
            }
            if !self.eat(',') {
                return self.wrong(Problem::AfterCaveat);
            }
        }
        if self.at < self.text.len() {
            return self.wrong(Problem::AfterEnd);
        }
        said.caveats.sort();
        Ok(said)
    }

    fn value(&mut self, sort: Sort) -> Result<Allowed, Wrong> {
        if matches!(sort, Sort::NumberOrText | Sort::Host) && self.eat('{') {
            let words = self.words()?;
            return if sort == Sort::Host { hosts(&words) } else { texts(&words) };
        }
        if matches!(sort, Sort::NumberOrText | Sort::Max)
            && let Some((amounts, currency)) = self.money()
        {
            return money(&amounts, &currency, sort);
        }
        let quoted = self.rest().starts_with('"');
        let word = self.word()?;
        match sort {
            Sort::Path => path(&word),
            Sort::Host => hosts(&[word]),
            Sort::Max => Ok(Allowed::Number(0, number(&word, 0, &word.content)?)),
            Sort::NumberOrText if !quoted && reads_as_number(&word.content) => interval(&word),
            _ => {
                dotted(&word, Problem::EmptySegment, |_| true)?;
                Ok(Allowed::text(Pattern::new(&word.content)))
            }
        }
    }

    /// The elements of a set, after its opening brace.
    fn words(&mut self) -> Result<Vec<Word<'t>>, Wrong> {
        let mut words = Vec::new();
        loop {
            self.take_while(|c| c == ' ');
            // A text may be empty, and where it may not be one, that is said by whoever reads the element.
            words.push(if self.eat('"') { self.quoted()? } else { self.word()? });
            if self.eat('}') {
                return Ok(words);
            }
            if !self.eat(',') {
                return self.wrong(Problem::AfterElement);
            }
        }
    }

    /// An amount or an interval of amounts, a space, and what follows it; nothing is taken if it does not read so.
    fn money(&mut self) -> Option<(Word<'t>, Word<'t>)> {
        let start = self.at;
        let amounts = self.take_while(|c| c.is_ascii_digit() || c == '.');
        if amounts.is_empty() || !self.eat(' ') {
            self.at = start;
            return None;
        }
        let after = self.at;
        let currency = self.take_while(is_bare);
        let word = |text, start| Word { content: Cow::Borrowed(text), start };
        Some((word(amounts, start), word(currency, after)))
    }

    /// A value, bare or in double quotes; never empty.
    fn word(&mut self) -> Result<Word<'t>, Wrong> {
        let start = self.at;
        if self.eat('"') {
            let word = self.quoted()?;
            return if word.content.is_empty() { Err((word.start, Problem::EmptyValue)) } else { Ok(word) };
        }
        let bare = self.take_while(is_bare);
        if let Some(c) = self.rest().chars().next().filter(|c| !matches!(c, ',' | ')' | '}')) {
            return self.wrong(if c.is_control() { Problem::Control } else { Problem::NeedsQuotes });
        }
        if bare.is_empty() {
            return self.wrong(Problem::EmptyValue);
        }
        Ok(Word { content: Cow::Borrowed(bare), start })
    }

    /// The rest of a value in double quotes.
    fn quoted(&mut self) -> Result<Word<'t>, Wrong> {
        let start = self.at;
        let mut content = String::new();
        let mut chars = self.rest().char_indices();
        while let Some((offset, c)) = chars.next() {
            match c {
                '"' => {
                    self.at = start + offset + 1;
                    return Ok(Word { content: Cow::Owned(content), start });
                }
                '\\' => match chars.next() {
                    Some((_, escaped @ ('"' | '\\'))) => content.push(escaped),
                    _ => return Err((start + offset, Problem::Escape)),
                },
                c if c.is_control() => return Err((start + offset, Problem::Control)),
                c => content.push(c),
            }
        }
        Err((start - 1, Problem::OpenQuotes))
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn take_while(&mut self, take: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let len = rest.find(|c| !take(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.rest().starts_with(c);
        self.at += if found { c.len_utf8() } else { 0 };
        found
    }

    fn wrong<T>(&self, problem: Problem) -> Result<T, Wrong> {
        Err((self.at, problem))
    }
}

/// Checks a pattern of segments separated by dots; an empty one is the problem `empty`.
fn dotted(word: &Word<'_>, empty: Problem, ok: impl Fn(char) -> bool) -> Result<(), Wrong> {
    let mut offset = 0;
    for segment in word.content.split('.') {
        if segment.is_empty() {
            return word.wrong(offset, empty);
        }
        wildcards(word, offset, segment)?;
        if !segment.starts_with('*')
            && let Some(bad) = segment.find(|c| !ok(c))
        {
            return word.wrong(offset + bad, empty);
        }
        offset += segment.len() + 1;
    }
    Ok(())
}

/// Checks where `segment`, at `offset` of the word, has its wildcards.
fn wildcards(word: &Word<'_>, offset: usize, segment: &str) -> Result<(), Wrong> {
    match segment.find('*') {
        None => Ok(()),
        Some(_) if segment == "*" => Ok(()),
        Some(_) if segment == "**" && offset + 2 == word.content.len() => Ok(()),
        Some(_) if segment == "**" => word.wrong(offset, Problem::AnyNotLast),
        Some(star) => word.wrong(offset + star, Problem::PartialWildcard),
    }
}

fn path(word: &Word<'_>) -> Result<Allowed, Wrong> {
    if word.content.starts_with('/') {
        return word.wrong(0, Problem::AbsolutePath);
    }
    let mut normal = String::with_capacity(word.content.len());
    let mut offset = 0;
    for component in word.content.split('/') {
        match component {
            "" => return word.wrong(offset, Problem::EmptyComponent),
            ".." => return word.wrong(offset, Problem::ParentPath),
            "." => {}
            _ => {
                wildcards(word, offset, component)?;
                if !normal.is_empty() {
                    normal.push('/');
                }
                normal.push_str(component);
            }
        }
        offset += component.len() + 1;
    }
    if let Some(at) = bad_escape(&word.content) {
        return word.wrong(at, Problem::PathEscape);
    }
    Ok(Allowed::Path(Pattern::new(&normal)))
}

fn hosts(words: &[Word<'_>]) -> Result<Allowed, Wrong> {
    for word in words {
        let name = word.content.strip_prefix("*.");
        let host = name.unwrap_or(&word.content);
        // Nothing lies below an address, nor below a name that leaves no room for a label.
        let address = host.starts_with('[') || host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if !is_host(host) || (name.is_some() && (address || word.content.len() > MAX_HOST)) {
            return word.wrong(0, Problem::Host);
        }
    }
    Ok(Allowed::hosts(words.iter().map(|word| (*word.content).into()))
        .expect("a set in the text is not empty"))
}

fn texts(words: &[Word<'_>]) -> Result<Allowed, Wrong> {
    let mut texts: Vec<Box<str>> = Vec::with_capacity(words.len());
    for word in words {
        if let Some(at) = word.content.find('*') {
            return word.wrong(at, Problem::SetWildcard);
        }
        texts.push((*word.content).into());
    }
    texts.sort();
    texts.dedup();
    Ok(Allowed::Texts(texts.into()))
}

fn money(amounts: &Word<'_>, currency: &Word<'_>, sort: Sort) -> Result<Allowed, Wrong> {
    let one = |offset: usize, text: &str| -> Result<Amount, Wrong> {
        text.parse().or_else(|e: MoneyError| amounts.wrong(offset + e.at, Problem::Money(e.problem)))
    };
    let (first, last) = match amounts.content.split_once("..") {
        Some((first, _)) if sort == Sort::Max => {
            return amounts.wrong(first.len(), Problem::Money(MoneyProblem::Space));
        }
        Some((first, "")) => (one(0, first)?, UNBOUNDED),
        Some((first, last)) => (one(0, first)?, one(first.len() + 2, last)?),
        None => {
            let only = one(0, &amounts.content)?;
            (if sort == Sort::Max { Amount::ZERO } else { only }, only)
        }
    };
    let of = Currency::new(&currency.content);
    let of = of.or_else(|e| currency.wrong(e.at, Problem::Money(e.problem)))?;
    if first > last {
        return amounts.wrong(0, Problem::EmptyInterval);
    }
    Ok(Allowed::Money(of, first, last))
}

fn span(word: &Word<'_>) -> Result<(Option<i64>, Option<i64>), Wrong> {
    let one = |offset: usize, text: &str| match (text, instant(text)) {
        ("", _) => Ok(None),
        (_, None) => word.wrong(offset, Problem::Instant),
        (_, at) => Ok(at),
    };
    match word.content.split_once("..") {
        None | Some(("", "")) => word.wrong(0, Problem::Span),
        Some((from, until)) => match (one(0, from)?, one(from.len() + 2, until)?) {
            (Some(from), Some(until)) if from >= until => word.wrong(0, Problem::EmptySpan),
            span => Ok(span),
        },
    }
}

fn hours(word: &Word<'_>) -> Result<(i64, i64), Wrong> {
    let ends = word.content.split_once("..");
    match ends.and_then(|(opens, closes)| Some((time_of_day(opens)?, time_of_day(closes)?))) {
        None => word.wrong(0, Problem::Hours),
        Some((opens, closes)) if opens >= closes => word.wrong(0, Problem::EmptyHours),
        Some(hours) => Ok(hours),
    }
}

fn uses(word: &Word<'_>) -> Result<u64, Wrong> {
    match number(word, 0, &word.content) {
        Ok(most @ 1..=MAX_USES) => Ok(most),
        _ => word.wrong(0, Problem::Uses),
    }
}

fn rate(word: &Word<'_>) -> Result<(u64, Window), Wrong> {
    let Some((most, window)) = word.content.split_once('/') else {
        return word.wrong(word.content.len(), Problem::Rate);
    };
    let Ok(most @ 1..=MAX_USES) = number(word, 0, most) else {
        return word.wrong(0, Problem::Uses);
    };
    let windows = Window::ALL.into_iter().filter(|window| *window != Window::Ever);
    match windows.into_iter().find(|known| known.as_str() == window) {
        Some(window) => Ok((most, window)),
        None => word.wrong(word.content.len() - window.len(), Problem::Window),
    }
}

fn interval(word: &Word<'_>) -> Result<Allowed, Wrong> {
    let Some((first, last)) = word.content.split_once("..") else {
        if word.content.contains('.') {
            return word.wrong(0, Problem::Interval);
        }
        let only = number(word, 0, &word.content)?;
        return Ok(Allowed::Number(only, only));
    };
    if first.is_empty() || first.contains('.') || last.contains('.') {
        return word.wrong(0, Problem::Interval);
    }
    let start = number(word, 0, first)?;
    let end = if last.is_empty() { u64::MAX } else { number(word, first.len() + 2, last)? };
    if start > end {
        return word.wrong(0, Problem::EmptyInterval);
    }
    Ok(Allowed::Number(start, end))
}

fn number(word: &Word<'_>, offset: usize, digits: &str) -> Result<u64, Wrong> {
    let padded = digits.len() > 1 && digits.starts_with('0');
    // `parse` alone would take a leading plus sign.
    if padded || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return word.wrong(offset, Problem::Number);
    }
    digits.parse().or_else(|_| word.wrong(offset, Problem::Number))
}
