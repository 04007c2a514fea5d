//! Signed notes: text with signatures below it, as in <https://c2sp.org/signed-note>.
//!
//! A note's text means nothing until a key that one trusts has signed it: [`Note::verify`] takes those keys and says
//! which of them did. Two sorts of signatures are known: plain Ed25519, which a log makes, and the timestamped
//! cosignature of a witness (<https://c2sp.org/tlog-cosignature>).

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature as Ed25519, VerifyingKey};
use sha2::{Digest as _, Sha256};

/// Most bytes of a note: checkpoints have some hundred, signatures up to five thousand each.
pub const MAX_NOTE: usize = 1 << 20;
/// Most signatures of a note. The specification asks for sixteen at least.
pub const MAX_SIGNATURES: usize = 64;
/// What a signature line begins with: an em dash and a space.
const DASH: &str = "\u{2014} ";
const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;
const TIME_BYTES: usize = 8;

/// How a key signs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// Ed25519 over the text: `0x01`.
    Ed25519,
    /// Ed25519 over a time and the text, as witnesses sign: `0x04`.
    Cosignature,
}

/// A public key with its name, as `name+id+key`.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    algorithm: Algorithm,
    key: VerifyingKey,
}

/// Text and the signatures below it, of which none has been verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

/// A signature line.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

/// A signature that was verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signed {
    /// The key that made it.
    pub key: VerifierKey,
    /// When, in seconds since the Unix epoch, if the signature says so.
    pub time: Option<u64>,
}

/// Why some bytes are no note, no key, or not signed by a key that counts.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoteError {
    /// It is no note.
    #[error("no signed note: {0}")]
    Malformed(String),
    /// It is no verifier key.
    #[error("'{text}' is no verifier key: {problem}")]
    Key {
        /// What was given.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It cannot be the name of a key or a log.
    #[error(
        "'{0}' cannot name a key or a log: it must not be empty nor hold spaces, '+' or control characters"
    )]
    Name(String),
    /// No key that counts has signed it.
    #[error("none of the keys that count has signed it; it is signed by {}", list(.0))]
    Unsigned(Vec<String>),
    /// A key that counts is named, and the signature is not its own.
    #[error("the signature of '{0}' does not match: the text or the signature was changed")]
    Forged(String),
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

impl Algorithm {
    fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::Cosignature => 0x04,
        }
    }

    fn of(byte: u8) -> Option<Self> {
        match byte {
            0x01 => Some(Self::Ed25519),
            0x04 => Some(Self::Cosignature),
            _ => None,
        }
    }
}

impl VerifierKey {
    /// The key `bytes` under a name.
    ///
    /// # Errors
    /// [`NoteError::Name`], and [`NoteError::Key`] if the bytes are no point of the curve.
    pub fn new(name: &str, algorithm: Algorithm, bytes: &[u8; KEY_BYTES]) -> Result<Self, NoteError> {
        check_name(name)?;
        let key = VerifyingKey::from_bytes(bytes).ok().filter(|key| !key.is_weak());
        let problem = "its bytes are no Ed25519 public key";
        let key = key.ok_or_else(|| NoteError::Key { text: shortened(name), problem })?;
        Ok(Self { name: name.to_owned(), algorithm, key })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The first four bytes of the SHA-256 of name, line feed, algorithm and key: with the name, what a signature says
    /// of the key that made it.
    pub fn id(&self) -> [u8; 4] {
        let hash = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([b'\n', self.algorithm.byte()])
            .chain_update(self.key.as_bytes())
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// The signature of this key over `text`, made by `sign`, which has the private half. `time` is what a
    /// cosignature says; a plain signature has none.
    pub fn sign(
        &self,
        text: &str,
        time: u64,
        sign: impl FnOnce(&[u8]) -> [u8; SIGNATURE_BYTES],
    ) -> Signature {
        let mut bytes = Vec::with_capacity(TIME_BYTES + SIGNATURE_BYTES);
        match self.algorithm {
            Algorithm::Ed25519 => bytes.extend_from_slice(&sign(text.as_bytes())),
            Algorithm::Cosignature => {
                bytes.extend_from_slice(&time.to_be_bytes());
                bytes.extend_from_slice(&sign(cosigned(text, time).as_bytes()));
            }
        }
        Signature { name: self.name.clone(), id: self.id(), bytes }
    }

    fn made(&self, signature: &Signature) -> bool {
        signature.name == self.name && signature.id == self.id()
    }

    /// Checks a signature over `text`; the time that it tells.
    fn check(&self, text: &str, signature: &Signature) -> Result<Option<u64>, NoteError> {
        let forged = || NoteError::Forged(self.name.clone());
        let (time, bytes) = match self.algorithm {
            Algorithm::Ed25519 => (None, &signature.bytes[..]),
            Algorithm::Cosignature => {
                let (time, bytes) = signature.bytes.split_first_chunk::<TIME_BYTES>().ok_or_else(forged)?;
                let time = u64::from_be_bytes(*time);
                // A witness that says nothing of the time, or a time that no clock shows, says nothing at all.
                if time == 0 || time > i64::MAX as u64 {
                    return Err(forged());
                }
                (Some(time), bytes)
            }
        };
        let bytes: &[u8; SIGNATURE_BYTES] = bytes.try_into().map_err(|_| forged())?;
        let signature = Ed25519::from_bytes(bytes);
        let verified = match time {
            None => self.key.verify_strict(text.as_bytes(), &signature),
            Some(time) => self.key.verify_strict(cosigned(text, time).as_bytes(), &signature),
        };
        verified.map(|()| time).map_err(|_| forged())
    }
}

/// What a witness signs.
fn cosigned(text: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let wrong = |problem| NoteError::Key { text: shortened(text), problem };
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong("it has to be name+hash+key"));
        };
        let key = STANDARD.decode(key).map_err(|_| wrong("its key is not base64"))?;
        let Some((&algorithm, bytes)) = key.split_first() else { return Err(wrong("its key is empty")) };
        let Some(algorithm) = Algorithm::of(algorithm) else {
            return Err(wrong("its algorithm is neither Ed25519 (1) nor a timestamped cosignature (4)"));
        };
        let bytes: &[u8; KEY_BYTES] = bytes.try_into().map_err(|_| wrong("its key has not 32 bytes"))?;
        let key = Self::new(name, algorithm, bytes)?;
        match hex(&key.id()) == id {
            true => Ok(key),
            false => Err(wrong("its hash is not that of name and key")),
        }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![self.algorithm.byte()];
        key.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, hex(&self.id()), STANDARD.encode(key))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Note {
    /// A note of `text` without signatures yet. It has to end with a line feed.
    ///
    /// # Errors
    /// [`NoteError::Malformed`].
    pub fn new(text: &str) -> Result<Self, NoteError> {
        let malformed = |problem: &str| Err(NoteError::Malformed(problem.to_owned()));
        if text.len() > MAX_NOTE {
            return malformed("it is longer than a mebibyte");
        }
        if text.bytes().any(|byte| byte < b' ' && byte != b'\n') {
            return malformed("it holds control characters");
        }
        if !text.ends_with('\n') {
            return malformed("its text does not end with a line feed");
        }
        Ok(Self { text: text.to_owned(), signatures: Vec::new() })
    }

    /// Reads a note. Nothing of it has been verified yet.
    ///
    /// # Errors
    /// [`NoteError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        let malformed = |problem: String| NoteError::Malformed(problem);
        if bytes.len() > MAX_NOTE {
            return Err(malformed(format!("it has {} bytes, at most {MAX_NOTE} are read", bytes.len())));
        }
        let all = std::str::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8".into()))?;
        let Some(at) = all.rfind("\n\n") else {
            return Err(malformed("no empty line parts text and signatures".into()));
        };
        let (text, lines) = (&all[..=at], &all[at + 2..]);
        let mut note = Self::new(text)?;
        note.signatures = Signature::parse_lines(lines)?;
        if note.signatures.is_empty() {
            return Err(malformed("it has no signatures".into()));
        }
        Ok(note)
    }

    /// The text, which means nothing until it has been [verified](Self::verify).
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds a signature, unless it is there.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] if there are too many.
    pub fn add(&mut self, signature: Signature) -> Result<(), NoteError> {
        if self.signatures.contains(&signature) {
            return Ok(());
        }
        if self.signatures.len() >= MAX_SIGNATURES {
            return Err(NoteError::Malformed(format!("more than {MAX_SIGNATURES} signatures")));
        }
        self.signatures.push(signature);
        Ok(())
    }

    /// The signatures that `keys` made. Those of other keys are ignored.
    ///
    /// # Errors
    /// [`NoteError::Forged`] if a signature says that one of the keys made it and it did not, [`NoteError::Unsigned`]
    /// if none of them made any.
    pub fn verify(&self, keys: &[VerifierKey]) -> Result<Vec<Signed>, NoteError> {
        let mut signed: Vec<Signed> = Vec::new();
        for signature in &self.signatures {
            for key in keys.iter().filter(|key| key.made(signature)) {
                let time = key.check(&self.text, signature)?;
                if !signed.iter().any(|known| known.key == *key) {
                    signed.push(Signed { key: key.clone(), time });
                }
            }
        }
        if signed.is_empty() {
            let names = self.signatures.iter().map(|signature| shortened(&signature.name)).collect();
            return Err(NoteError::Unsigned(names));
        }
        Ok(signed)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

impl Signature {
    /// Reads signature lines, each with its line feed.
    ///
    /// # Errors
    /// [`NoteError::Malformed`].
    pub fn parse_lines(lines: &str) -> Result<Vec<Self>, NoteError> {
        let malformed = |problem: String| NoteError::Malformed(problem);
        let mut signatures = Vec::new();
        if !lines.is_empty() && !lines.ends_with('\n') {
            return Err(malformed("it does not end with a line feed".into()));
        }
        for line in lines.split_terminator('\n') {
            let signature = Self::parse(line);
            signatures.push(
                signature.ok_or_else(|| malformed(format!("'{}' is no signature line", shortened(line))))?,
            );
            if signatures.len() > MAX_SIGNATURES {
                return Err(malformed(format!("more than {MAX_SIGNATURES} signatures")));
            }
        }
        Ok(signatures)
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(DASH)?.split_once(' ')?;
        check_name(name).ok()?;
        let bytes = STANDARD.decode(encoded).ok()?;
        let (id, bytes) = bytes.split_first_chunk::<4>()?;
        (!bytes.is_empty()).then(|| Self { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
    }

    /// The name of the key that made it, as it says.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.id[..], &self.bytes].concat();
        write!(f, "{DASH}{} {}", self.name, STANDARD.encode(bytes))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Refuses what cannot be the name of a key.
pub(crate) fn check_name(name: &str) -> Result<(), NoteError> {
    let bad = |c: char| c.is_whitespace() || c == '+' || c.is_control();
    match name.is_empty() || name.contains(bad) {
        true => Err(NoteError::Name(shortened(name))),
        false => Ok(()),
    }
}

/// The beginning of what somebody gave, for a message.
pub(crate) fn shortened(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    #[test]
    fn the_example_of_the_specification_is_verified() {
        let key: VerifierKey = KEY.parse().expect("a key");
        assert_eq!(key.to_string(), KEY);
        let note = Note::parse(NOTE.as_bytes()).expect("a note");
        assert_eq!((note.to_string(), note.text()), (NOTE.to_owned(), "This is an example message.\n"));
        let keys = [key.clone()];
        assert_eq!(note.verify(&keys), Ok(vec![Signed { key: key.clone(), time: None }]));
        let changed = Note::parse(NOTE.replacen("example m", "Example m", 1).as_bytes()).expect("a note");
        assert_eq!(changed.verify(&[key]), Err(NoteError::Forged("example.com/foo".into())));
        assert_eq!(note.verify(&[]), Err(NoteError::Unsigned(vec!["example.com/foo".into()])));
    }

    #[test]
    fn what_is_no_note_is_refused() {
        let (_, signature) = NOTE.split_once("\n\n").expect("a signature");
        let refused = |text: String| assert!(Note::parse(text.as_bytes()).is_err(), "{text:?}");
        refused(String::new());
        refused("text\n".into());
        refused("text\n\n".into());
        refused(format!("text\n{signature}"));
        refused(format!("text\n\n{}", signature.trim_end()));
        refused(format!("te\txt\n\n{signature}"));
        refused(format!("text\r\n\n{signature}"));
        refused(format!("text\n\n{signature}trailing\n"));
        refused(format!("text\n\n{}", signature.replacen('\u{2014}', "-", 1)));
        refused(format!("text\n\n{}", signature.replacen("com/foo", "com/fo+o", 1)));
        refused(format!("text\n\n{}", signature.replacen("com/foo", "", 1).replacen("example.", "", 1)));
        refused(format!("text\n\n{}", signature.replacen("aQM=", "aQN=", 1)));
        refused("text\n\n\u{2014} a AAAA\n".into());
        refused(format!("text\n\n{}", signature.repeat(MAX_SIGNATURES + 1)));
        assert!(Note::parse(b"text\n\n\xff\n").is_err());
        assert!(Note::parse(format!("text\n\n{}", signature.repeat(16)).as_bytes()).is_ok());
        assert!(Note::parse(format!("two\n\nparts\n\n{signature}").as_bytes()).is_ok());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let check = |text: &str, problem: &str| {
            let error = text.parse::<VerifierKey>().expect_err(text).to_string();
            assert!(error.contains(problem), "{error}");
        };
        check("example.com/foo", "name+hash+key");
        check(&KEY.replacen("530d903a", "530d903b", 1), "hash");
        check(&KEY.replacen("530d903a", "530D903A", 1), "hash");
        check(&KEY.replacen("AekyeRrm", "BOkyeRrm", 1), "hash");
        check(&KEY.replacen("AekyeRrm", "CekyeRrm", 1), "algorithm");
        check(&KEY[..KEY.len() - 4], "32 bytes");
        check(&KEY.replacen("AekyeRrm", "!", 1), "base64");
        check(&KEY.replacen("example.com/foo", "", 1), "cannot name");
        check("a+00000000+", "empty");
        // A point of small order: every signature would be its own.
        check("a+00000000+AQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "no Ed25519");
    }
}
