//! Text in the encodings of the world, and what is no text.

use encoding_rs::{EUC_JP, Encoding, GBK, ISO_8859_2, KOI8_U, SHIFT_JIS, WINDOWS_1251, WINDOWS_1252};
use proptest::prelude::*;
use toka_agents::indexer::decode::{decode, decode_markup};
use toka_agents::indexer::skip::SkipReason;

fn check(bytes: &[u8], text: &str, encoding: &str, lossy: bool) {
    let decoded = decode(bytes).unwrap();
    assert_eq!((decoded.text.as_str(), decoded.encoding, decoded.lossy), (text, encoding, lossy));
}

fn utf16(text: &str, to: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(to).collect()
}

#[test]
fn unicode_with_and_without_mark() {
    check(b"", "", "UTF-8", false);
    check("Grüße, 世界".as_bytes(), "Grüße, 世界", "UTF-8", false);
    check("\u{feff}marked".as_bytes(), "marked", "UTF-8", false);
    for text in ["Hello world, a plain sentence.\n", "Привет, мир! Это обычный текст.\n", "naïve café\r\n"]
    {
        let lines = text.replace("\r\n", "\n");
        check(&[b"\xff\xfe".to_vec(), utf16(text, u16::to_le_bytes)].concat(), &lines, "UTF-16LE", false);
        check(&[b"\xfe\xff".to_vec(), utf16(text, u16::to_be_bytes)].concat(), &lines, "UTF-16BE", false);
        check(&utf16(text, u16::to_le_bytes), &lines, "UTF-16LE", false);
        check(&utf16(text, u16::to_be_bytes), &lines, "UTF-16BE", false);
    }
    let utf32: Vec<u8> = "\u{feff}wide 🦀".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
    check(&utf32, "wide 🦀", "UTF-32LE", false);
}

#[test]
fn legacy_encodings_are_guessed() {
    check(b"caf\xe9", "café", "windows-1252", false);
    check(b"Un na\xefve \x93quoted\x94 caf\xe9 \x80 5", "Un naïve “quoted” café € 5", "windows-1252", false);
    let texts: [(&'static Encoding, &str); 5] = [
        (WINDOWS_1252, "Die größte Übung für schöne Wörter: Straße, Äpfel, Öl und Füße."),
        (WINDOWS_1251, "Съешь же ещё этих мягких французских булок, да выпей чаю."),
        (KOI8_U, "Съешь же ещё этих мягких французских булок, да выпей чаю."),
        (SHIFT_JIS, "これは日本語の文章です。漢字とひらがなが混ざっています。"),
        (GBK, "这是一个用来测试编码检测的中文句子，应该足够长。"),
    ];
    for (encoding, text) in texts {
        check(&encoding.encode(text).0, text, encoding.name(), false);
    }
}

#[test]
fn bad_bytes_spoil_only_themselves() {
    check("é one \u{0}bad\u{0} two é".replace('\u{0}', "?").as_bytes(), "é one ?bad? two é", "UTF-8", false);
    check(b"na\xc3\xafve \xff caf\xc3\xa9", "naïve \u{fffd} café", "UTF-8", true);
    check(
        b"\xe2\x80\x9cquoted\xe2\x80\x9d then \xe9 and \xc3",
        "“quoted” then \u{fffd} and \u{fffd}",
        "UTF-8",
        true,
    );
    check(
        b"plain text \xff\xfe with two bad bytes",
        "plain text \u{fffd}\u{fffd} with two bad bytes",
        "UTF-8",
        true,
    );
}

#[test]
fn line_ends_become_one() {
    check(b"a\r\nb\rc\nd\r\r\ne\n\r", "a\nb\nc\nd\n\ne\n\n", "UTF-8", false);
}

#[test]
fn declared_encodings_count_in_markup() {
    let declared = |head: &str, encoding: &'static Encoding, text: &str| {
        let mut page = head.as_bytes().to_vec();
        page.extend_from_slice(&encoding.encode(text).0);
        let decoded = decode_markup(&page).unwrap();
        assert_eq!(decoded.text, format!("{head}{text}"));
        assert_eq!(decoded.encoding, encoding.name());
    };
    declared("<meta charset=\"windows-1251\">", WINDOWS_1251, "я");
    declared(
        "<html><META http-equiv=Content-Type content='text/html; charset=iso-8859-2'>",
        ISO_8859_2,
        "zażółć",
    );
    declared("<?xml version='1.0' encoding='EUC-JP'?>", EUC_JP, "日本");
    declared("<meta charset = koi8-u >", KOI8_U, "да");
    // What it says is wrong, or not known.
    declared("<meta charset=utf-16le>", encoding_rs::UTF_8, "é");
    declared("<meta charset=windows-1251>", encoding_rs::UTF_8, "größer – é");
    declared("<meta charset=utf-8>", WINDOWS_1252, "schöne Grüße für Äpfel");
    declared("<meta charset=nonsense>", WINDOWS_1252, "schöne Grüße für Äpfel");
}

#[test]
fn binary_is_told_by_content() {
    let random: Vec<u8> = (0_u32..4_000).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 | 1).collect();
    let cases: [&[u8]; 12] = [
        b"\x89PNG\r\n\x1a\n",
        b"%PDF-1.7\n",
        b"PK\x03\x04rest",
        b"\x7fELF\x02",
        b"\x1f\x8b\x08\x08",
        b"BZh91AY&SYabc",
        b"\xff\xfe\x03\xd8\x05\xd9\x06\xda\x07\xdb",
        b"text with \0 in it",
        b"\0\0\0\0",
        b"\x01\x02\x03\x04\x05",
        b"\xff\xfe\x00\x00\xff\xff\xff\xff",
        &random,
    ];
    for bytes in cases {
        assert_eq!(decode(bytes), Err(SkipReason::Binary), "{:?}", &bytes[..bytes.len().min(20)]);
    }
    let sentence = "OggS is a container, GIF89a a picture";
    check(sentence.as_bytes(), sentence, "UTF-8", false);
    check(b"\x1b[31mred\x1b[0m log\n", "\u{1b}[31mred\u{1b}[0m log\n", "UTF-8", false);
    check(b"page one\x0cpage two\x1a", "page one\u{c}page two\u{1a}", "UTF-8", false);
}

proptest! {
    #[test]
    fn any_bytes_are_text_or_binary(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        for decoded in [decode(&bytes), decode_markup(&bytes)].into_iter().flatten() {
            prop_assert!(!decoded.text.contains(['\r', '\0']));
        }
    }

    #[test]
    fn utf8_without_controls_is_unchanged(text in "[\n -~à-ÿЀ-я一-龥]{0,400}") {
        let decoded = decode(text.as_bytes());
        prop_assume!(!text.starts_with("%PDF-"));
        let decoded = decoded.unwrap();
        prop_assert_eq!(decoded.text, text);
        prop_assert!(!decoded.lossy);
    }
}
