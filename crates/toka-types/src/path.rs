//! The text form of relative paths: `/` between components, and lossless.
//!
//! A byte that is not part of valid UTF-8 is written `%XX`, and a `%` is written `%25`, so that every
//! name a file system can hold has exactly one text and the text gives the name back.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

/// The text of `path`, given as the bytes of its components joined by `/`.
pub fn encode(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for part in path.utf8_chunks() {
        for c in part.valid().chars() {
            match c {
                '%' => text.push_str("%25"),
                _ => text.push(c),
            }
        }
        for byte in part.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The bytes of the path that [`encode`] wrote as `text`, or `None` if it wrote no such text.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = core::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    (encode(&bytes) == text).then_some(bytes)
}

/// The normal form of a relative path: no empty, `.` or `..` component, no leading slash. `None` if the
/// path is absolute or would leave its root; the empty string is the root itself.
pub fn normalise(path: &str) -> Option<String> {
    if path.starts_with('/') || path.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// `path` as a terminal may show it: control characters, and the marks that reorder or hide text, are
/// written as escapes.
pub fn for_terminal(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let hidden = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        if c.is_control() || hidden {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_one_text() {
        let check = |bytes: &[u8], text: &str| {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text).as_deref(), Some(bytes));
        };
        check(b"docs/a.md", "docs/a.md");
        check(b"100%", "100%25");
        check(b"caf\xe9.txt", "caf%E9.txt");
        check("caf\u{e9}\n".as_bytes(), "caf\u{e9}\n");
        for wrong in ["%", "%2", "%41", "%e9", "%zz", "%C3%A9"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn nothing_normal_leaves_the_root() {
        let check =
            |path: &str, normal: Option<&str>| assert_eq!(normalise(path).as_deref(), normal, "{path}");
        check("docs/./a//b.md", Some("docs/a/b.md"));
        check("docs/../src", Some("src"));
        check("..", None);
        check("docs/../../etc/passwd", None);
        check("/etc/passwd", None);
        check("a\0b", None);
        check(".", Some(""));
    }
}
