//! What plans know of values: the literals of a request, the leaves of an outcome, and what stands in the arguments of a
//! call, as digests of typed canonical values ([`Scalar`]).
//!
//! Values are compared whole. A token of a request is what stands between two spaces, with and without the punctuation at
//! its ends; what stands between quotation marks is one token too, and so is an amount with its currency. A leaf of an
//! outcome is a text, a number, yes, no or null. Nothing is ever a part of these.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;
use toka_types::plan::{self, Leaf, Scalar, Traced};
use toka_types::quarantine::MAX_LITERAL;
use toka_types::{Answer, Digest, Money, PointerId};

use crate::input::{Input, decimal};
use crate::manifest::Manifest;

/// Most tokens of a request that count: as many as the kernel takes.
const MAX_LITERALS: usize = 1024;
/// Most leaves of an outcome that are handed in: one more than the kernel takes, so that it sees that there are more.
const MAX_LEAVES: usize = 1024 + 1;
/// Most elements of a list that are compared one by one.
const MAX_ELEMENTS: usize = 1024;
/// The longest leaf that is found in the middle of a text, in the places where it could end: eight words or so. A longer one
/// is found if it is a whole line or all of the text.
const MAX_ENDS: usize = 16;
/// Most pieces of a call's data that are looked at: those of a text of some two thousand words. A person is asked about more.
const MAX_PHRASES: usize = 32_768;
/// Characters of a text, and digits of a number, below which a leaf says so little that it stands in many texts by chance.
const TELLING: usize = 4;
/// Bytes of the longest quotation that counts as a token.
const MAX_QUOTED: usize = 1024;

/// What quotations begin and end with.
const QUOTES: [(char, char); 8] = [
    ('"', '"'),
    ('\u{201c}', '\u{201d}'),
    ('\u{201e}', '\u{201c}'),
    ('\u{ab}', '\u{bb}'),
    ('\u{2018}', '\u{2019}'),
    ('\u{201a}', '\u{2018}'),
    ('`', '`'),
    ('\'', '\''),
];

/// A value without parts, and the digest of that.
pub fn scalar(value: &Value) -> Option<Digest> {
    Some(match value {
        Value::Null => Scalar::Null.digest(),
        Value::Bool(flag) => Scalar::Bool(*flag).digest(),
        Value::Number(number) => Scalar::Number(&canonical(&number.to_string())?).digest(),
        Value::String(text) => Scalar::Text(text).digest(),
        Value::Array(_) | Value::Object(_) => return None,
    })
}

/// The value of an argument.
pub fn value(value: &Value) -> plan::Value {
    let whole = || {
        let json = serde_json::to_vec(value).unwrap_or_default();
        plan::Value::One(Digest::of_fields("toka 2026 json v1", [&json[..]]))
    };
    match value {
        Value::Array(items) if items.len() <= MAX_ELEMENTS => {
            items.iter().map(scalar).collect::<Option<Vec<_>>>().map_or_else(whole, plan::Value::List)
        }
        one => scalar(one).map_or_else(whole, plan::Value::One),
    }
}

/// The whole tokens of a request: of a text, or of all texts in something larger.
pub fn literals_of(request: &Value) -> Vec<Digest> {
    let mut found = Found::at_most(MAX_LITERALS);
    found.tokens_of(request);
    found.all
}

/// The scalars in what a tool returned, in the order of their places. `minted` are the patterns of the fields that the
/// server itself wrote.
pub fn leaves(value: &Value, minted: &[String]) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    walk(value, &mut String::new(), &mut Vec::new(), minted, &mut leaves);
    leaves
}

/// What a plan has to know of the arguments of a call, which have been through [`Manifest::prepare`].
pub fn trace(manifest: &Manifest, input: &Input) -> Traced {
    let given = input.arguments().as_object();
    let given: Vec<(&String, &Value)> = given.into_iter().flatten().collect();
    let mut control = manifest.control_arguments();
    if manifest.controls_all() {
        let more = given.iter().filter(|(name, _)| !control.contains(*name)).map(|(name, _)| (*name).clone());
        control.extend(more.collect::<Vec<_>>());
    }
    let mut texts = Texts::default();
    for (_, data) in given.iter().filter(|(name, _)| !control.contains(*name)) {
        texts.look_through(data);
    }
    let Texts { mut phrases, mut mentions, cut } = texts;
    for found in [&mut phrases, &mut mentions] {
        found.sort_unstable();
        found.dedup();
    }
    let arguments = given.iter().map(|(name, one)| ((*name).clone(), self::value(one))).collect();
    let mut controls = Vec::new();
    for (name, value) in given.iter().filter(|(name, _)| control.contains(*name) && !manifest.is_money(name))
    {
        let mut answers = BTreeSet::new();
        answers_in(value, &mut answers);
        controls.extend(answers.into_iter().map(|answer| ((*name).clone(), answer)));
    }
    Traced { arguments, control, mentions, phrases, cut, controls }
}

/// The texts and whole numbers in a value that somebody quarantined could answer; a number that is written as a text is both.
fn answers_in(value: &Value, answers: &mut BTreeSet<Answer>) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => answers.extend(whole(&number.to_string()).map(Answer::Integer)),
        Value::String(text) => {
            let written = text.parse().ok().or_else(|| is_decimal(text).then(|| whole(text))?);
            answers.extend(written.map(Answer::Integer));
            if text.len() <= MAX_LITERAL {
                answers.insert(Answer::Literal(text.clone()));
            }
        }
        Value::Array(items) => items.iter().for_each(|item| answers_in(item, answers)),
        Value::Object(members) => {
            for (key, value) in members {
                answers_in(&Value::String(key.clone()), answers);
                answers_in(value, answers);
            }
        }
    }
}

/// A decimal as a whole number, if it is one: `7`, `7.0` and `7e0` are the same.
fn whole(text: &str) -> Option<i64> {
    let (negative, digits, power) = decimal(text)?;
    // The longest whole number has nineteen digits.
    let zeros = usize::try_from(power).ok().filter(|zeros| *zeros < 19)?;
    let sign = if negative { "-" } else { "" };
    format!("{sign}{digits}{}", "0".repeat(zeros)).parse().ok().or_else(|| digits.is_empty().then_some(0))
}

/// The one text of a number.
fn canonical(text: &str) -> Option<String> {
    let (negative, digits, power) = decimal(text)?;
    let sign = if negative { "-" } else { "" };
    Some(if digits.is_empty() { "0".to_owned() } else { format!("{sign}{digits}e{power}") })
}

/// A text as a number, if it is written as one: digits, perhaps with a sign in front and a point among them.
fn number(text: &str) -> Option<Digest> {
    is_decimal(text).then(|| canonical(text))?.map(|text| Scalar::Number(&text).digest())
}

fn is_decimal(text: &str) -> bool {
    let plain = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && digits(fraction)
}

/// Digests, each once, and not more than there may be.
struct Found {
    all: Vec<Digest>,
    seen: BTreeSet<Digest>,
    most: usize,
    cut: bool,
}

impl Found {
    fn at_most(most: usize) -> Self {
        Self { all: Vec::new(), seen: BTreeSet::new(), most, cut: false }
    }

    fn add(&mut self, digest: Digest) {
        if self.seen.contains(&digest) {
            return;
        }
        if self.all.len() == self.most {
            self.cut = true;
            return;
        }
        self.seen.insert(digest);
        self.all.push(digest);
    }

    fn tokens_of(&mut self, value: &Value) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => self.text_and_number(&number.to_string()),
            Value::String(text) => self.tokens(text),
            Value::Array(items) => items.iter().for_each(|item| self.tokens_of(item)),
            Value::Object(members) => members.values().for_each(|member| self.tokens_of(member)),
        }
    }

    fn tokens(&mut self, text: &str) {
        let words: Vec<&str> = text.split_whitespace().collect();
        for (i, word) in words.iter().enumerate() {
            for token in stripped(word) {
                self.text_and_number(token);
            }
            let currency = words.get(i + 1).map(|next| next.trim_end_matches(is_closing));
            let amount = currency.and_then(|currency| {
                let text = format!("{} {currency}", word.trim_start_matches(is_opening));
                text.parse::<Money>().ok()
            });
            if let Some(money) = amount {
                self.add(Scalar::Text(&money.to_string()).digest());
            }
        }
        for quotation in quotations(text) {
            self.text_and_number(quotation);
        }
    }

    fn text_and_number(&mut self, text: &str) {
        self.add(Scalar::Text(text).digest());
        if let Some(number) = number(text) {
            self.add(number);
        }
    }
}

fn is_opening(c: char) -> bool {
    "([{<\"'`\u{201c}\u{201e}\u{2018}\u{201a}\u{ab}\u{bf}\u{a1}".contains(c)
}

fn is_closing(c: char) -> bool {
    ".,;:!?)]}>\"'`\u{201d}\u{201c}\u{2019}\u{2018}\u{bb}\u{2026}".contains(c)
}

/// A word as it is, and without the punctuation at either end and at both.
fn stripped(word: &str) -> impl Iterator<Item = &str> {
    let (left, right) = (word.trim_start_matches(is_opening), word.trim_end_matches(is_closing));
    let both = left.trim_end_matches(is_closing);
    let all = [
        Some(word),
        Some(left).filter(|l| *l != word),
        Some(right).filter(|r| *r != word),
        Some(both).filter(|b| *b != left && *b != right),
    ];
    all.into_iter().flatten().filter(|token| !token.is_empty())
}

/// What stands between quotation marks. A mark opens where no letter or digit is before it, so that an apostrophe does not.
fn quotations(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut before = None;
    for (at, c) in text.char_indices() {
        let free = !before.is_some_and(char::is_alphanumeric);
        before = Some(c);
        let Some((_, close)) = QUOTES.iter().find(|(open, _)| *open == c && free) else { continue };
        let inside = &text[at + c.len_utf8()..];
        let end = inside.char_indices().find(|(end, c)| {
            let after = inside[*end + c.len_utf8()..].chars().next();
            c == close && !after.is_some_and(char::is_alphanumeric)
        });
        if let Some((end, _)) = end
            && (1..=MAX_QUOTED).contains(&end)
        {
            found.push(&inside[..end]);
        }
    }
    found
}

/// Adds a member to a pointer. `*` is a place in a list, so a key that is a star is written otherwise.
pub(crate) fn push_key(pattern: &mut String, key: &str) {
    pattern.push('/');
    pattern.push_str(&key.replace('~', "~0").replace('/', "~1").replace('*', "~2"));
}

fn walk(value: &Value, pattern: &mut String, at: &mut Vec<u32>, minted: &[String], leaves: &mut Vec<Leaf>) {
    let long = pattern.len();
    match value {
        _ if leaves.len() >= MAX_LEAVES => {}
        Value::Object(members) => {
            // The map's own order depends on how serde_json was built.
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            for (key, member) in members {
                push_key(pattern, key);
                walk(member, pattern, at, minted, leaves);
                pattern.truncate(long);
            }
        }
        Value::Array(items) => {
            // Scalars among other things are no list that could be compared element by element.
            let mixed = items.iter().any(is_scalar) && !items.iter().all(is_scalar);
            pattern.push_str("/*");
            for (index, item) in (0..).zip(items).filter(|(_, item)| !(mixed && is_scalar(item))) {
                at.push(index);
                walk(item, pattern, at, minted, leaves);
                at.pop();
            }
            pattern.truncate(long);
        }
        one => {
            if let Some(digest) = scalar(one) {
                let (pointer, at) = (PointerId::of(pattern), at.clone());
                let trusted = minted.iter().any(|place| place == pattern);
                leaves.push(Leaf { pointer, at, value: digest, trusted, telling: is_telling(one) });
            }
        }
    }
}

fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::Array(_) | Value::Object(_))
}

fn is_telling(value: &Value) -> bool {
    match value {
        Value::String(text) => text.chars().count() >= TELLING,
        Value::Number(number) => number.to_string().bytes().filter(u8::is_ascii_digit).count() >= TELLING,
        _ => false,
    }
}

/// What stands in the data of a call.
#[derive(Default)]
struct Texts {
    phrases: Vec<Digest>,
    mentions: Vec<Digest>,
    cut: bool,
}

impl Texts {
    fn look_through(&mut self, value: &Value) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => {
                self.phrase(&number.to_string());
                // However it is written: `4.711e3` is 4711.
                self.phrases.extend(scalar(value));
            }
            Value::String(text) => self.text(text),
            Value::Array(items) => items.iter().for_each(|item| self.look_through(item)),
            Value::Object(members) => {
                for (key, member) in members {
                    self.text(key);
                    self.look_through(member);
                }
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.phrase(text);
        for line in text.lines() {
            self.phrase(line);
            self.phrase(line.trim());
        }
        let Edges { starts, ends, signs } = edges(text);
        for from in starts {
            let next = ends.partition_point(|end| *end <= from);
            let ends = &ends[next..ends.len().min(next + MAX_ENDS)];
            let last = ends.last().copied().unwrap_or(from);
            let next = signs.partition_point(|end| *end <= from);
            let signs = signs[next..].iter().take_while(|end| **end <= last);
            for to in ends.iter().chain(signs) {
                if self.cut {
                    return;
                }
                self.phrase(&text[from..*to]);
            }
        }
        for part in text.split(is_between) {
            let part = part.trim_matches(|c| is_opening(c) || is_closing(c));
            if let Some(mention) = mention(part) {
                self.mentions.push(Scalar::Text(mention).digest());
            }
        }
    }

    fn phrase(&mut self, text: &str) {
        if self.phrases.len() >= MAX_PHRASES {
            self.cut = true;
            return;
        }
        self.phrases.push(Scalar::Text(text).digest());
        self.phrases.extend(number(text));
    }
}

/// Where something in a text may begin and end that was put into it.
#[derive(Default)]
struct Edges {
    starts: Vec<usize>,
    /// The ends of words, and of runs of letters and digits in them.
    ends: Vec<usize>,
    /// Behind a sign at the end of such a run, if another sign follows.
    signs: Vec<usize>,
}

/// Finds the ends of words, and of runs of letters and digits in them, so that `PIN=4711-0815` has `4711-0815` in it and
/// `14711-0815` has not. A run may have a sign of its own at either end: `tel:+49` has `+49` in it, and `"hunter2!"` has
/// `hunter2!`.
fn edges(text: &str) -> Edges {
    let mut found = Edges::default();
    let (mut second, mut before, mut at_before) = (' ', ' ', 0);
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        let is_sign = |c: char| !c.is_whitespace() && !c.is_alphanumeric();
        let (space, letter) = (c.is_whitespace(), c.is_alphanumeric());
        if letter && is_sign(before) && !second.is_whitespace() {
            found.starts.push(at_before);
        }
        if !space && (before.is_whitespace() || (letter && !before.is_alphanumeric())) {
            found.starts.push(at);
        }
        if !before.is_whitespace() && (space || (before.is_alphanumeric() && !letter)) {
            found.ends.push(at);
        }
        if is_sign(c) && is_sign(before) && second.is_alphanumeric() {
            found.signs.push(at);
        }
        (second, before, at_before) = (before, c, at);
    }
    found
}

/// What no URL and no address goes past.
fn is_between(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || "<>\"'`()[]{}|\\^,;\u{201c}\u{201d}\u{201e}\u{ab}\u{bb}".contains(c)
}

/// The URL, the address of a mailbox or the name of a host in a word: the word from where that begins.
fn mention(part: &str) -> Option<&str> {
    let scheme = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    };
    let is_url = part.split_once(':').is_some_and(|(before, rest)| scheme(before) && !rest.is_empty());
    let is_mailbox = part.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    if is_url || is_mailbox || part.parse::<IpAddr>().is_ok() {
        return Some(part);
    }
    // A host may stand behind other signs: `//a.example`, `site=a.example`, `*a.example*`.
    let mut rest = part;
    loop {
        let end = rest.find(|c| !is_of_host(c)).unwrap_or(rest.len());
        if is_host(&rest[..end]) {
            return Some(rest);
        }
        let sign = rest[end..].chars().next()?;
        rest = &rest[end + sign.len_utf8()..];
    }
}

/// What the name of a host consists of, also in other scripts, with marks that are not seen, and with signs that are written
/// as numbers.
fn is_of_host(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.%".contains(c) || !c.is_ascii()
}

/// True for segments separated by dots, of which the last is letters: `example.com`; and for four numbers.
fn is_host(name: &str) -> bool {
    // Other characters that are read as a dot in the name of a host.
    let name = name.replace(['\u{3002}', '\u{ff0e}', '\u{ff61}'], ".");
    let name = name.trim_matches('.');
    if name.parse::<Ipv4Addr>().is_ok() {
        return true;
    }
    let Some((before, last)) = name.rsplit_once('.') else { return false };
    let is_letter = |c: char| c.is_ascii_alphabetic() || !c.is_ascii();
    let is_top = last.chars().count() > 1 && last.chars().all(is_letter);
    before.split('.').all(|segment| !segment.is_empty())
        && (is_top || last.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("xn--")))
}
