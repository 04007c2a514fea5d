//! Asking a witness to cosign a checkpoint, as in <https://c2sp.org/tlog-witness>.
//!
//! A witness keeps, of each log that it knows, the latest checkpoint it has seen, and signs the next one only if the
//! log grew from there. With its cosignature nobody, the log's owner included, can show two histories to two people.
//!
//! [`PlainHttp`] speaks HTTP without TLS: to a witness in the same network, or behind a proxy that adds it. What comes
//! back is checked by the witness's key in any case, so that the way there need not be trusted. Anything else is an own
//! [`Transport`].

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{Checkpoint, CheckpointError, decimal};
use crate::note::{Note, NoteError, Signature, Signed, VerifierKey, shortened};
use crate::proof::{ConsistencyProof, ProofError};

/// Most bytes of an answer: a witness says a few lines.
const MAX_ANSWER: u64 = 256 << 10;
/// How often a witness may name another size before it is given up: once is usual, more if others submit as well.
const TRIES: usize = 4;
const CONNECT: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(30);

/// Who cosigns, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The submission prefix: `http://host:port/path`.
    pub url: String,
    /// The key that its cosignatures are verified with.
    pub key: VerifierKey,
}

/// A cosignature that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    /// The line that goes below the checkpoint.
    pub signature: Signature,
    /// When, in seconds since the Unix epoch.
    pub time: u64,
}

/// An answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status, as 200.
    pub status: u16,
    /// What was said.
    pub body: Vec<u8>,
}

/// How a request reaches a witness.
pub trait Transport {
    /// Posts `body` to `url`; what went wrong in words if there is no answer.
    fn post(&mut self, url: &str, body: &[u8]) -> Result<Answer, String>;
}

/// HTTP without TLS, one connection a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainHttp;

/// Why there is no cosignature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    /// It was not reached.
    #[error("the witness at {url} was not reached: {detail}")]
    Unreached {
        /// Where it was looked for.
        url: String,
        /// What went wrong.
        detail: String,
    },
    /// It knows more of the log than there is here.
    #[error(
        "the witness has seen {witnessed} events of the log, here are {size}: this is an older state of it"
    )]
    Ahead {
        /// How many events it has seen.
        witnessed: u64,
        /// How many there are.
        size: u64,
    },
    /// What it has seen of the log is something else.
    #[error("the witness says that the log does not go on from what it has seen at {old} events: {detail}")]
    Inconsistent {
        /// How many events it has seen.
        old: u64,
        /// What it says.
        detail: String,
    },
    /// It does not cosign.
    #[error("the witness answers {status}{}: {detail}", meaning(*status))]
    Refused {
        /// The status.
        status: u16,
        /// What it says.
        detail: String,
    },
    /// What it says is not what the protocol has.
    #[error("the witness's answer is not understood: {0}")]
    Answer(String),
    /// Its signature is none, or not its own.
    #[error("the witness's cosignature does not hold: {0}")]
    Signature(#[from] NoteError),
    /// The checkpoint itself is none.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The proof for it cannot be made.
    #[error(transparent)]
    Proof(Box<ProofError>),
}

impl From<ProofError> for WitnessError {
    fn from(error: ProofError) -> Self {
        Self::Proof(Box::new(error))
    }
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => " (it does not understand the request)",
        403 => " (it does not know the key that signed the checkpoint)",
        404 => " (it does not know the log's origin)",
        _ => "",
    }
}

/// Asks `witness` to cosign `checkpoint`. `known` is how many events of the log it had seen when it was last asked, or
/// zero; where it has seen another number it says so and is asked again. `prove` makes the proof that the log grew from
/// that size to the checkpoint's. What is returned is verified.
///
/// # Errors
/// See [`WitnessError`]. [`Ahead`](WitnessError::Ahead) and [`Inconsistent`](WitnessError::Inconsistent) mean that the
/// log is not what the witness has seen.
pub fn cosign(
    witness: &Witness,
    checkpoint: &Note,
    known: u64,
    mut prove: impl FnMut(u64, u64) -> Result<ConsistencyProof, ProofError>,
    transport: &mut impl Transport,
) -> Result<Cosigned, WitnessError> {
    let size = Checkpoint::parse(checkpoint.text())?.size;
    let url = format!("{}/add-checkpoint", witness.url.trim_end_matches('/'));
    let mut old = known.min(size);
    for _ in 0..TRIES {
        let body = request(&prove(old, size)?, checkpoint);
        let answer = transport.post(&url, body.as_bytes());
        let answer = answer.map_err(|detail| WitnessError::Unreached { url: witness.url.clone(), detail })?;
        let said = || shortened(String::from_utf8_lossy(&answer.body).trim());
        match answer.status {
            200 => return cosignature(witness, checkpoint, &answer.body),
            409 => {
                let text = std::str::from_utf8(&answer.body).unwrap_or_default();
                let witnessed = decimal(text.strip_suffix('\n').unwrap_or(text));
                let witnessed = witnessed
                    .ok_or_else(|| WitnessError::Answer(format!("409 with '{}' for a size", said())))?;
                if witnessed > size {
                    return Err(WitnessError::Ahead { witnessed, size });
                }
                // The protocol's word for another root at the same size: there is nothing to prove, so it is no 422.
                if witnessed == old && old == size {
                    let detail = "it has another root there".to_owned();
                    return Err(WitnessError::Inconsistent { old, detail });
                }
                if witnessed == old {
                    return Err(WitnessError::Answer(format!("409, and {old} is the size it has")));
                }
                old = witnessed;
            }
            422 => return Err(WitnessError::Inconsistent { old, detail: said() }),
            status => return Err(WitnessError::Refused { status, detail: said() }),
        }
    }
    Err(WitnessError::Answer(format!("after {TRIES} tries it has yet another size")))
}

/// The body of an `add-checkpoint` request.
fn request(proof: &ConsistencyProof, checkpoint: &Note) -> String {
    let mut body = format!("old {}\n", proof.old);
    for hash in &proof.hashes {
        body.push_str(&STANDARD.encode(hash.0));
        body.push('\n');
    }
    format!("{body}\n{checkpoint}")
}

/// The line of the witness's key in the body of an answer.
fn cosignature(witness: &Witness, checkpoint: &Note, body: &[u8]) -> Result<Cosigned, WitnessError> {
    let text = std::str::from_utf8(body).map_err(|_| WitnessError::Answer("it is not UTF-8".into()))?;
    let lines = Signature::parse_lines(text)?;
    let keys = [witness.key.clone()];
    for signature in lines {
        let mut note = Note::new(checkpoint.text())?;
        note.add(signature.clone())?;
        match note.verify(&keys) {
            Ok(signed) => {
                if let [Signed { time: Some(time), .. }] = signed[..] {
                    return Ok(Cosigned { signature, time });
                }
            }
            // A witness may sign with other keys as well.
            Err(NoteError::Unsigned(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(WitnessError::Answer(format!("it holds no cosignature of the key {}", witness.key)))
}

impl Transport for PlainHttp {
    fn post(&mut self, url: &str, body: &[u8]) -> Result<Answer, String> {
        let Some(rest) = url.strip_prefix("http://") else {
            return Err("only http:// is spoken; put a proxy that adds TLS before it".to_owned());
        };
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let unusable = |c: char| c.is_whitespace() || c.is_control() || !c.is_ascii();
        if authority.is_empty() || authority.contains('@') || url.contains(unusable) {
            return Err("it is no URL of the form http://host:port/path".to_owned());
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        exchange(&address, authority, path, body).map_err(|error| error.to_string())
    }
}

fn exchange(address: &str, host: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
    let deadline = Instant::now() + PATIENCE;
    let mut stream = connect(address)?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: toka/{}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION"),
        body.len()
    );
    stream.set_write_timeout(Some(PATIENCE))?;
    // A witness may refuse before it has read all; what it says then is the answer.
    let written = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    let mut bytes = Vec::new();
    let mut chunk = [0; 8 << 10];
    let read = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let late = format!("it did not answer within {} seconds", PATIENCE.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, late));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => break Ok(()),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // A read that ran out of its time comes back as either, by platform; the loop's head says so in words.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                continue;
            }
            Err(error) => break Err(error),
        }
        if bytes.len() as u64 > MAX_ANSWER {
            return Err(io::Error::other(format!("its answer has more than {MAX_ANSWER} bytes")));
        }
        // Not every server closes as it is asked to.
        if let Some(answer) = parse_answer(&bytes, false) {
            return Ok(answer);
        }
    };
    let closed = parse_answer(&bytes, read.is_ok());
    closed.map_or_else(
        || {
            written.and(read)?;
            Err(io::Error::new(io::ErrorKind::InvalidData, "its answer is no HTTP, or ends too early"))
        },
        Ok,
    )
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The answer in `bytes` if all of it is there; `closed` says that no more will come.
fn parse_answer(bytes: &[u8], closed: bool) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let rest = &bytes[end + 4..];
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let version = words.next()?;
    let status: u16 = words.next()?.parse().ok()?;
    if !version.starts_with("HTTP/1.") {
        return None;
    }
    // An interim answer precedes the real one.
    if (100..200).contains(&status) {
        return parse_answer(rest, closed);
    }
    let (mut length, mut chunked) = (None, false);
    for line in lines {
        let (name, value) = line.split_once(':')?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = Some(value.trim().parse::<usize>().ok()?),
            "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    let body = match (chunked, length) {
        (true, _) => unchunked(rest)?,
        (false, Some(length)) => rest.get(..length)?.to_vec(),
        (false, None) if closed => rest.to_vec(),
        (false, None) => return None,
    };
    Some(Answer { status, body })
}

fn unchunked(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n")?;
        let line = std::str::from_utf8(&bytes[..end]).ok()?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let count = usize::from_str_radix(digits, 16).ok().filter(|count| *count as u64 <= MAX_ANSWER)?;
        bytes = &bytes[end + 2..];
        if count == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(..count)?);
        bytes = bytes.get(count..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_however_they_end() {
        let answer = |status, body: &[u8]| Some(Answer { status, body: body.to_vec() });
        let check = |bytes: &[u8], closed, expected| assert_eq!(parse_answer(bytes, closed), expected);
        let sized =
            b"HTTP/1.1 409 Conflict\r\ncontent-length: 3\r\nContent-Type: text/x.tlog.size\r\n\r\n12\n";
        check(sized, false, answer(409, b"12\n"));
        check(&sized[..sized.len() - 1], true, None);
        check(b"HTTP/1.0 200 OK\r\n\r\nabc", true, answer(200, b"abc"));
        check(b"HTTP/1.0 200 OK\r\n\r\nabc", false, None);
        check(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
            false,
            answer(200, b"abcd"),
        );
        check(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc", true, None);
        check(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc", true, None);
        check(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
            false,
            answer(404, b""),
        );
        check(b"SSH-2.0-OpenSSH\r\n\r\n", true, None);
        check(b"HTTP/1.1 abc\r\n\r\n", true, None);
        check(b"", true, None);
    }

    #[test]
    fn only_plain_urls_are_spoken_to() {
        for url in [
            "https://w.example/x",
            "http://",
            "http:///x",
            "http://a b/",
            "http://user@host/",
            "ftp://x/",
            "http://h/\r\nx",
        ] {
            assert!(PlainHttp.post(url, b"").is_err(), "{url}");
        }
    }
}
