//! Patterns of segments, and the normal forms of paths and hosts.

use alloc::boxed::Box;
use alloc::string::String;
use core::marker::PhantomData;
use core::net::{Ipv4Addr, Ipv6Addr};

/// Longest host name, in bytes (RFC 1035, without the final dot).
pub(super) const MAX_HOST: usize = 253;

/// How a pattern's text falls into segments.
pub(crate) trait Segments: Copy + Ord + core::hash::Hash {
    const SEPARATOR: u8;
    /// True if the empty text has no segments at all, false if it has one empty segment.
    const EMPTY_IS_NONE: bool;
}

/// Segments of actions, kinds and texts. There is always at least one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Dots;
/// Components of a path; the root has none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slashes;

impl Segments for Dots {
    const SEPARATOR: u8 = b'.';
    const EMPTY_IS_NONE: bool = false;
}

/// Segments of labels. There is always at least one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Colons;

impl Segments for Colons {
    const SEPARATOR: u8 = b':';
    const EMPTY_IS_NONE: bool = false;
}

impl Segments for Slashes {
    const SEPARATOR: u8 = b'/';
    const EMPTY_IS_NONE: bool = true;
}

/// Literal segments, `*` for one and a last `**` for any number. The text is checked where it is parsed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pattern<S> {
    text: Box<str>,
    segments: PhantomData<S>,
}

impl<S: Segments> Pattern<S> {
    /// The pattern of `text`, in which `**` is last only and no segment but `*` and `**` holds a `*`.
    pub(crate) fn new(text: &str) -> Self {
        // Where there is always one segment, `*.**` and `**` match the same texts.
        let text = if !S::EMPTY_IS_NONE && text == "*.**" { "**" } else { text };
        Self { text: text.into(), segments: PhantomData }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// True if the pattern has a wildcard, and therefore matches infinitely many texts.
    pub(super) fn is_open(&self) -> bool {
        split::<S>(&self.text).any(|s| s == "*" || s == "**")
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        let mut texts = split::<S>(text);
        for ours in split::<S>(&self.text) {
            if ours == "**" {
                return true;
            }
            match texts.next() {
                Some(theirs) if ours == "*" || ours == theirs => {}
                _ => return false,
            }
        }
        texts.next().is_none()
    }

    /// How many of the first segments of `text` the pattern matches.
    pub(super) fn common(&self, text: &str) -> usize {
        let pairs = split::<S>(&self.text).zip(split::<S>(text));
        pairs.take_while(|(ours, theirs)| *ours == "*" || ours == theirs).count()
    }

    pub(crate) fn covers(&self, other: &Self) -> bool {
        let mut others = split::<S>(&other.text);
        for ours in split::<S>(&self.text) {
            if ours == "**" {
                return true;
            }
            match others.next() {
                Some("**") | None => return false,
                Some(theirs) if ours == "*" || ours == theirs => {}
                Some(_) => return false,
            }
        }
        others.next().is_none()
    }

    /// With how many segments in place of the last `**` of `other` this pattern covers it: that number or, if the second is
    /// true, that many and more. `None` if with no number of them, or if `other` has no `**`.
    pub(super) fn covers_slices(&self, other: &Self) -> Option<(usize, bool)> {
        let mut ours = split::<S>(&self.text);
        let mut others = split::<S>(&other.text);
        loop {
            match (others.next()?, ours.next()) {
                ("**", mut ours_next) => {
                    let mut stars = 0;
                    while ours_next == Some("*") {
                        (stars, ours_next) = (stars + 1, ours.next());
                    }
                    return match ours_next {
                        None => Some((stars, false)),
                        Some("**") => Some((stars, true)),
                        Some(_) => None,
                    };
                }
                (_, Some("**")) => return other.is_endless().then_some((0, true)),
                (theirs, Some(one)) if one == "*" || one == theirs => {}
                _ => return None,
            }
        }
    }

    /// True if any number of segments may follow.
    pub(super) fn is_endless(&self) -> bool {
        split::<S>(&self.text).last() == Some("**")
    }

    /// The fewest segments that can stand in place of its last `**`.
    pub(super) fn fewest(&self) -> usize {
        usize::from(!S::EMPTY_IS_NONE && &*self.text == "**")
    }

    pub(crate) fn intersect(&self, other: &Self) -> Option<Self> {
        let (mut ours, mut theirs) = (split::<S>(&self.text), split::<S>(&other.text));
        let mut both = String::new();
        let mut push = |segment: &str| {
            if !both.is_empty() {
                both.push(char::from(S::SEPARATOR));
            }
            both.push_str(segment);
        };
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => break,
                (Some("**"), None) | (None, Some("**")) => break,
                (Some("**"), Some(first)) => {
                    push(first);
                    theirs.for_each(&mut push);
                    break;
                }
                (Some(first), Some("**")) => {
                    push(first);
                    ours.for_each(&mut push);
                    break;
                }
                (Some("*"), Some(one)) | (Some(one), Some("*")) => push(one),
                (Some(a), Some(b)) if a == b => push(a),
                _ => return None,
            }
        }
        Some(Self::new(&both))
    }
}

/// The segments of `text`. A plain loop over bytes: segments are short, and a search made for long texts
/// costs more to start than it saves.
fn split<S: Segments>(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = (!text.is_empty() || !S::EMPTY_IS_NONE).then_some(text);
    core::iter::from_fn(move || {
        let text = rest?;
        match text.bytes().position(|b| b == S::SEPARATOR) {
            Some(at) => {
                rest = Some(&text[at + 1..]);
                Some(&text[..at])
            }
            None => {
                rest = None;
                Some(text)
            }
        }
    })
}

/// True if `path` is a relative path in normal form: no leading, trailing or double slash, no `.` or `..`,
/// no NUL, and in the text form of [`crate::path`], so that every file has one path and one path one file.
/// The empty path, the root, is normal.
pub fn is_path(path: &str) -> bool {
    let (mut start, mut escaped) = (0, false);
    let bytes = path.as_bytes();
    let whole = |start: usize, end: usize| !matches!(&bytes[start..end], b"" | b"." | b"..");
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'/' if whole(start, at) => start = at + 1,
            b'/' | 0 => return false,
            b'%' => escaped = true,
            _ => {}
        }
    }
    bytes.is_empty() || (whole(start, bytes.len()) && !(escaped && bad_escape(path).is_some()))
}

/// The first `%` in `path` that [`crate::path::encode`] would not have written there.
pub(super) fn bad_escape(path: &str) -> Option<usize> {
    if !path.contains('%') {
        return None;
    }
    // The last escaped bytes in a row, the newest last. If any end of them is a character, it would have been
    // written as that character: UTF-8 synchronises itself, so nothing before it can change this.
    let mut row = [0_u8; 4];
    let mut at = 0;
    while let Some(found) = path[at..].find('%') {
        if found > 0 {
            row = [0; 4];
        }
        at += found;
        let digit = |b: u8| match b {
            b'0'..=b'9' => Some(b - b'0'),
            b'A'..=b'F' => Some(b - b'A' + 10),
            _ => None,
        };
        let byte = match path.as_bytes()[at + 1..] {
            [high, low, ..] => digit(high).zip(digit(low)).map(|(h, l)| h << 4 | l),
            _ => None,
        };
        match byte {
            Some(b'%') => row = [0; 4],
            Some(byte @ 0x80..) => {
                row.rotate_left(1);
                row[3] = byte;
                if (0..3).any(|from| row[from] >= 0xC0 && core::str::from_utf8(&row[from..]).is_ok()) {
                    return Some(at);
                }
            }
            _ => return Some(at),
        }
        at += 3;
    }
    None
}

/// True if `host` is in normal form: an ASCII name in lower case (labels of letters, digits and `-`, at most
/// 63 bytes each and 253 together, no final dot), an IPv4 address, or an IPv6 address in brackets, each in the
/// one way that RFC 5952 and the dotted form give.
pub fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|a| Some((a, a.parse::<Ipv6Addr>().ok()?)));
        return address.is_some_and(|(text, address)| is_written(text, address));
    }
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    if host.len() > MAX_HOST || !host.split('.').all(label) {
        return false;
    }
    // A last label of digits makes a resolver read the whole as an address, in forms such as 127.1 too.
    match host.rsplit('.').next() {
        Some(last) if looks_numeric(last) => host.parse::<Ipv4Addr>().is_ok(),
        _ => true,
    }
}

/// True for a label that URL parsers take for the end of an IPv4 address: decimal digits, or `0x` and hex.
fn looks_numeric(label: &str) -> bool {
    label.bytes().all(|b| b.is_ascii_digit())
        || label.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// True if `address` prints as `text`; compares without allocating.
fn is_written(text: &str, address: Ipv6Addr) -> bool {
    struct Rest<'a>(&'a str);
    impl core::fmt::Write for Rest<'_> {
        fn write_str(&mut self, part: &str) -> core::fmt::Result {
            self.0 = self.0.strip_prefix(part).ok_or(core::fmt::Error)?;
            Ok(())
        }
    }
    let mut rest = Rest(text);
    core::fmt::write(&mut rest, format_args!("{address}")).is_ok() && rest.0.is_empty()
}
