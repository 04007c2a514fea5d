//! A small witness, for tests: it listens on a socket and keeps to the protocol.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};

use crate::checkpoint::{Checkpoint, decimal};
use crate::hash::TreeHash;
use crate::note::{Algorithm, Note, VerifierKey};
use crate::proof::ConsistencyProof;

/// A witness that listens as long as the process lives.
pub struct WitnessServer {
    state: Arc<Mutex<State>>,
    url: String,
    key: VerifierKey,
}

/// What it has seen, and how it misbehaves.
#[derive(Default)]
struct State {
    /// The keys of the logs, by origin.
    logs: HashMap<String, VerifierKey>,
    latest: HashMap<String, (u64, TreeHash)>,
    requests: Vec<String>,
    mood: Mood,
}

/// How a witness answers what it would cosign.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Mood {
    /// As it should.
    #[default]
    Good,
    /// With a signature over another text.
    Forging,
    /// With the signature of another key alone.
    Stranger,
    /// Without a time.
    Timeless,
    /// With bytes that are none of the protocol's.
    Babbling,
    /// Not at all.
    Silent,
}

/// The time at which it signs.
pub const WITNESS_TIME: u64 = 1_767_225_600;

impl WitnessServer {
    /// A witness with a key that follows from `seed`, which knows no log yet.
    pub fn start(seed: u8) -> Self {
        let secret = SigningKey::from_bytes(&[seed; 32]);
        let name = format!("witness.example/w{seed}");
        let key = VerifierKey::new(&name, Algorithm::Cosignature, secret.verifying_key().as_bytes());
        let key = key.expect("a key");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/some/prefix", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, own) = (Arc::clone(&state), key.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away is no concern of a witness.
                let _ = serve(stream, &shared, &own, &secret);
            }
        });
        Self { state, url, key }
    }

    /// Its submission prefix.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its key.
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Lets it know a log.
    pub fn know(&self, origin: &str, key: VerifierKey) {
        self.state.lock().expect("no panic").logs.insert(origin.to_owned(), key);
    }

    /// Changes how it answers.
    pub fn be(&self, mood: Mood) {
        self.state.lock().expect("no panic").mood = mood;
    }

    /// The first lines of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.state.lock().expect("no panic").requests.clone()
    }

    /// What it has seen of a log.
    pub fn latest(&self, origin: &str) -> Option<(u64, TreeHash)> {
        self.state.lock().expect("no panic").latest.get(origin).copied()
    }
}

fn serve(
    stream: TcpStream,
    state: &Mutex<State>,
    key: &VerifierKey,
    secret: &SigningKey,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let wanted = line.starts_with("POST /some/prefix/add-checkpoint HTTP/1.1");
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let mut state = state.lock().expect("no panic");
    state.requests.push(body.lines().next().unwrap_or_default().to_owned());
    let (status, kind, said) = match state.mood {
        Mood::Silent => return Ok(()),
        Mood::Babbling => (200, "text/plain", "\u{2014} nonsense\n\u{0}".to_owned()),
        _ if !wanted => (404, "text/plain", "no such page\n".to_owned()),
        mood => match judge(&mut state, &body) {
            Ok(text) => (200, "text/plain", cosign(key, secret, &text, mood)),
            Err((409, size)) => (409, "text/x.tlog.size", size),
            Err((status, said)) => (status, "text/plain", said),
        },
    };
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{said}",
        said.len()
    )
}

fn cosign(key: &VerifierKey, secret: &SigningKey, text: &str, mood: Mood) -> String {
    let other = SigningKey::from_bytes(&[250; 32]);
    let stranger =
        VerifierKey::new("witness.example/other", Algorithm::Cosignature, other.verifying_key().as_bytes());
    let stranger = stranger.expect("a key");
    // Others may sign too, before it.
    let first = stranger.sign(text, WITNESS_TIME, |message| other.sign(message).to_bytes());
    let (text, time) = match mood {
        Mood::Stranger => return format!("{first}\n"),
        Mood::Forging => (format!("another {text}"), WITNESS_TIME),
        Mood::Timeless => (text.to_owned(), 0),
        _ => (text.to_owned(), WITNESS_TIME),
    };
    let own = key.sign(&text, time, |message| secret.sign(message).to_bytes());
    format!("{first}\n{own}\n")
}

/// The text to cosign, or a status and what is said with it.
fn judge(state: &mut State, body: &str) -> Result<String, (u16, String)> {
    let bad = |what: &str| (400, format!("{what}\n"));
    let (head, note) = body.split_once("\n\n").ok_or_else(|| bad("no empty line"))?;
    let mut lines = head.split('\n');
    let old = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(decimal);
    let old = old.ok_or_else(|| bad("no old size"))?;
    let hashes = lines.map(|line| {
        let bytes = STANDARD.decode(line).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(TreeHash).ok_or_else(|| bad("no hash"))
    });
    let hashes = hashes.collect::<Result<Vec<_>, _>>()?;
    let note = Note::parse(note.as_bytes()).map_err(|error| bad(&error.to_string()))?;
    let claimed = Checkpoint::parse(note.text()).map_err(|error| bad(&error.to_string()))?;
    let key = state.logs.get(&claimed.origin).cloned().ok_or((404, "unknown log\n".to_owned()))?;
    let (checkpoint, _) = Checkpoint::open(&note, &[key]).map_err(|error| (403, format!("{error}\n")))?;
    if old > checkpoint.size {
        return Err(bad("old is larger"));
    }
    let latest = state.latest.get(&checkpoint.origin).copied();
    let (size, root) = latest.unwrap_or((0, crate::hash::LogTree::new().root()));
    if size != old {
        return Err((409, format!("{size}\n")));
    }
    if old == checkpoint.size && old > 0 && root != checkpoint.root {
        return Err((409, format!("{size}\n")));
    }
    let proof = ConsistencyProof { old, size: checkpoint.size, hashes };
    proof.verify(&root, &checkpoint.root).map_err(|error| (422, format!("{error}\n")))?;
    state.latest.insert(checkpoint.origin, (checkpoint.size, checkpoint.root));
    Ok(note.text().to_owned())
}
