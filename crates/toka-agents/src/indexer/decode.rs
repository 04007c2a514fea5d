//! Bytes to text, whatever the encoding, and the decision whether bytes are text at all.
//!
//! The order of the decisions: a byte order mark; then the signature of a binary format, NUL bytes and control
//! characters; then UTF-8, also with some bad bytes; then what the document says about itself; then a guess from the
//! statistics of the bytes.

use std::borrow::Cow;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::skip::SkipReason;

/// Bytes of which the share of control characters is taken. Binary formats show themselves at once.
const CONTROL_SAMPLE: usize = 64 * 1024;

/// One control character in this many bytes is still text: logs and old printer files have some. Random bytes have
/// one in ten.
const BYTES_PER_CONTROL: usize = 32;

/// Bytes given to the guess of the encoding, from the first one that is not ASCII. More does not make it better, and
/// it runs slower than all else here.
const GUESS_SAMPLE: usize = 64 * 1024;

/// Bytes in which a document's own statement of its encoding is looked for. Browsers look at 1,024; generated pages
/// often begin with long comments.
const DECLARATION_SAMPLE: usize = 4 * 1024;

/// Units examined to find UTF-16 without a byte order mark.
const UTF16_SAMPLE: usize = 4 * 1024;

/// Signatures of formats that may hold no NUL byte. None of them is the begin of a sentence about that format.
const SIGNATURES: &[&[u8]] = &[
    b"%PDF-",
    b"\x89PNG\r\n",
    b"\xff\xd8\xff",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x7fELF",
    b"\x1f\x8b\x08",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"\xca\xfe\xba\xbe",
    b"\xcf\xfa\xed\xfe",
    b"\xce\xfa\xed\xfe",
    b"SQLite format 3\0",
    b"ID3\x03",
    b"ID3\x04",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    b"\0asm",
];

/// A file's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The text; every CR, LF and CRLF has become one LF, so lines count as in the file. Without byte order mark.
    pub text: String,
    /// The name of the encoding in the Encoding Standard, such as `UTF-8` or `windows-1252`.
    pub encoding: &'static str,
    /// Whether some bytes were no text in that encoding; U+FFFD stands for them.
    pub lossy: bool,
}

/// Decodes a file. Empty bytes are empty text.
///
/// # Errors
/// [`SkipReason::Binary`] if the bytes are not text.
pub fn decode(bytes: &[u8]) -> Result<Decoded, SkipReason> {
    decode_as(bytes, false)
}

/// Like [`decode`], for a page or an XML document: an encoding that is declared in its head counts if the bytes are
/// not UTF-8.
///
/// # Errors
/// [`SkipReason::Binary`] if the bytes are not text.
pub fn decode_markup(bytes: &[u8]) -> Result<Decoded, SkipReason> {
    decode_as(bytes, true)
}

fn decode_as(bytes: &[u8], markup: bool) -> Result<Decoded, SkipReason> {
    if bytes.starts_with(b"\xff\xfe\0\0") || bytes.starts_with(b"\0\0\xfe\xff") {
        return decode_utf32(bytes);
    }
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        let rest = &bytes[mark..];
        if encoding == UTF_8 {
            return if is_binary(rest) { Err(SkipReason::Binary) } else { Ok(decode_with(UTF_8, rest)) };
        }
        let decoded = decode_with(encoding, rest);
        // Binary data may begin with the two bytes of a mark by chance.
        let bad = decoded.text.matches(char::REPLACEMENT_CHARACTER).count();
        let is_text = bad <= rest.len() / BYTES_PER_CONTROL && !is_binary(decoded.text.as_bytes());
        return if is_text { Ok(decoded) } else { Err(SkipReason::Binary) };
    }
    // The digit between is the size of blocks.
    let is_bzip2 = bytes.starts_with(b"BZh") && bytes.get(4..10) == Some(b"1AY&SY");
    if is_bzip2 || SIGNATURES.iter().any(|signature| bytes.starts_with(signature)) {
        return Err(SkipReason::Binary);
    }
    if bytes.contains(&0) {
        let encoding = unmarked_utf16(bytes).ok_or(SkipReason::Binary)?;
        let decoded = decode_with(encoding, bytes);
        return if decoded.lossy || decoded.text.contains('\0') {
            Err(SkipReason::Binary)
        } else {
            Ok(decoded)
        };
    }
    if is_binary(bytes) {
        return Err(SkipReason::Binary);
    }
    let declared = if markup { declared(bytes) } else { None };
    if let Ok(text) = std::str::from_utf8(bytes) {
        // The one encoding in common use that looks like ASCII and is not.
        if let Some(encoding) =
            declared.filter(|encoding| encoding.name() == "ISO-2022-JP" && bytes.contains(&0x1b))
        {
            return Ok(decode_with(encoding, bytes));
        }
        return Ok(Decoded {
            text: unify_line_ends(Cow::Borrowed(text)),
            encoding: UTF_8.name(),
            lossy: false,
        });
    }
    let encoding = match (damage(bytes), declared.filter(|encoding| *encoding != UTF_8)) {
        (Damage::Utf8, _) | (Damage::NotText, None) => UTF_8,
        (_, Some(declared)) => declared,
        (Damage::Legacy, None) => guess(bytes),
    };
    Ok(decode_with(encoding, bytes))
}

fn decode_with(encoding: &'static Encoding, bytes: &[u8]) -> Decoded {
    let (text, lossy) = encoding.decode_without_bom_handling(bytes);
    Decoded { text: unify_line_ends(text), encoding: encoding.name(), lossy }
}

/// UTF-32 exists in files only with a byte order mark, and the Encoding Standard leaves it out.
fn decode_utf32(bytes: &[u8]) -> Result<Decoded, SkipReason> {
    let little = bytes.starts_with(b"\xff\xfe");
    let mut text = String::with_capacity(bytes.len() / 4);
    let mut lossy = !bytes.len().is_multiple_of(4);
    for unit in bytes[4..].chunks_exact(4) {
        let unit = [unit[0], unit[1], unit[2], unit[3]];
        let code = if little { u32::from_le_bytes(unit) } else { u32::from_be_bytes(unit) };
        let char = char::from_u32(code);
        lossy |= char.is_none();
        text.push(char.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    if lossy || text.contains('\0') {
        return Err(SkipReason::Binary);
    }
    let encoding = if little { "UTF-32LE" } else { "UTF-32BE" };
    Ok(Decoded { text: unify_line_ends(Cow::Owned(text)), encoding, lossy })
}

fn unify_line_ends(text: Cow<'_, str>) -> String {
    let Some(first) = text.find('\r') else {
        return text.into_owned();
    };
    let mut unified = String::with_capacity(text.len());
    unified.push_str(&text[..first]);
    let mut rest = &text[first..];
    while let Some(at) = rest.find('\r') {
        unified.push_str(&rest[..at]);
        unified.push('\n');
        rest = &rest[at + 1..];
        rest = rest.strip_prefix('\n').unwrap_or(rest);
    }
    unified.push_str(rest);
    unified
}

/// Judges bytes that are no UTF-16: NUL, or control characters beyond what logs contain.
fn is_binary(bytes: &[u8]) -> bool {
    if bytes.contains(&0) {
        return true;
    }
    let sample = &bytes[..bytes.len().min(CONTROL_SAMPLE)];
    // Escape begins the colours of a terminal, form feed and backspace come from printers, 0x1a ended files in DOS.
    let is_odd = |b: &&u8| matches!(b, 0x01..=0x07 | 0x0b | 0x0e..=0x19 | 0x1c..=0x1f | 0x7f);
    let odd = sample.iter().filter(is_odd).count();
    odd > 1 && odd > sample.len() / BYTES_PER_CONTROL
}

/// What bytes that are not valid UTF-8 are.
enum Damage {
    /// UTF-8 with some bad bytes.
    Utf8,
    /// ASCII with bytes that are letters in no common encoding.
    NotText,
    /// Text in a legacy encoding.
    Legacy,
}

/// In damaged UTF-8 most of what is not ASCII is still well formed, which in other encodings happens by chance only
/// (one character in eight at most). Without any such character the damage itself decides.
fn damage(bytes: &[u8]) -> Damage {
    let (mut good, mut bad, mut plausible) = (0_usize, 0_usize, 0_usize);
    for chunk in bytes.utf8_chunks() {
        good += chunk.valid().bytes().filter(|b| *b >= 0xc0).count();
        match chunk.invalid() {
            [] => {}
            [0x81 | 0x8d | 0x8f | 0x90 | 0x9d | 0xfe | 0xff] => bad += 1,
            _ => {
                bad += 1;
                plausible += 1;
            }
        }
    }
    match good {
        0 if plausible == 0 => Damage::NotText,
        0 => Damage::Legacy,
        _ if bad <= good * 2 => Damage::Utf8,
        _ => Damage::Legacy,
    }
}

/// The byte order of UTF-16 without a mark, if the bytes are evidently such: no half of a pair missing, no control
/// characters, some space or line end, and nearly all units from few blocks, as in text of one language.
fn unmarked_utf16(bytes: &[u8]) -> Option<&'static Encoding> {
    if bytes.len() < 2 || !bytes.len().is_multiple_of(2) {
        return None;
    }
    [(UTF_16LE, false), (UTF_16BE, true)]
        .into_iter()
        .find(|(_, big)| is_utf16(bytes, *big))
        .map(|(found, _)| found)
}

fn is_utf16(bytes: &[u8], big: bool) -> bool {
    let unit = |pair: &[u8]| {
        let pair = [pair[0], pair[1]];
        if big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
    };
    let mut blocks = [0_usize; 256];
    let (mut total, mut ascii, mut breaks) = (0_usize, 0_usize, 0_usize);
    for unit in bytes.chunks_exact(2).take(UTF16_SAMPLE).map(unit) {
        match unit {
            0x09 | 0x0a | 0x0d | 0x20 => breaks += 1,
            0x00..=0x1f | 0x7f..=0x9f | 0xe000..=0xf8ff | 0xfff0..=0xffff => return false,
            _ => {}
        }
        total += 1;
        ascii += usize::from(unit < 0x80);
        blocks[usize::from(unit >> 8)] += 1;
    }
    blocks.sort_unstable_by(|a, b| b.cmp(a));
    let common: usize = blocks[..3].iter().sum();
    // ASCII read in the wrong byte order is spread over blocks with no space among them.
    breaks > 0 && common * 10 >= total * 9 || ascii * 10 >= total * 9 && total >= 2
}

/// The encoding that an XML declaration or a `meta` tag names.
fn declared(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = bytes[..bytes.len().min(DECLARATION_SAMPLE)].to_ascii_lowercase();
    let start = head.iter().position(|b| !b.is_ascii_whitespace())?;
    if head[start..].starts_with(b"<?xml") {
        let end = head.iter().position(|&b| b == b'>')?;
        if let Some(found) = label_after(head.get(start..end)?, b"encoding") {
            return Some(found);
        }
    }
    let mut rest = head.as_slice();
    while let Some(at) = find(rest, b"<meta") {
        rest = &rest[at + 5..];
        let end = rest.iter().position(|&b| b == b'>').unwrap_or(rest.len());
        if let Some(found) = label_after(&rest[..end], b"charset") {
            return Some(found);
        }
    }
    None
}

/// The encoding whose label follows `key` and an equals sign, quoted or not.
fn label_after(text: &[u8], key: &[u8]) -> Option<&'static Encoding> {
    let mut rest = text;
    while let Some(at) = find(rest, key) {
        rest = &rest[at + key.len()..];
        let Some(value) = rest.trim_ascii_start().strip_prefix(b"=") else {
            continue;
        };
        let value = value.trim_ascii_start();
        let value = value
            .strip_prefix(b"\"")
            .or_else(|| value.strip_prefix(b"'"))
            .unwrap_or(value)
            .trim_ascii_start();
        let end = value
            .iter()
            .position(|b| matches!(b, b'"' | b'\'' | b';' | b'/' | b'>') || b.is_ascii_whitespace());
        let found = Encoding::for_label(&value[..end.unwrap_or(value.len())])?;
        // A declaration that could be read as ASCII is not in UTF-16, whatever it says.
        return Some(if found == UTF_16LE || found == UTF_16BE { UTF_8 } else { found });
    }
    None
}

fn guess(bytes: &[u8]) -> &'static Encoding {
    let from = bytes.iter().position(|b| !b.is_ascii()).unwrap_or(0);
    // Some ASCII before the first odd byte tells what kind of word it stands in.
    let from = from.saturating_sub(16);
    let sample = &bytes[from..bytes.len().min(from + GUESS_SAMPLE)];
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(sample, true);
    let guessed = detector.guess(None, Utf8Detection::Deny);
    // Fewer odd bytes than this say too little to prefer a rarer encoding over the common one.
    const FEW: usize = 4;
    let odd = sample.iter().filter(|b| !b.is_ascii()).take(FEW).count();
    if odd < FEW && guessed.is_single_byte() { WINDOWS_1252 } else { guessed }
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|window| window == needle)
}
