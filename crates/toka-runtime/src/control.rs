//! The control socket: what a second process asks of a runtime that runs on a vault.
//!
//! The socket lies in the vault's directory, which the runtime's user alone can enter; the peer's user is checked all the
//! same. Whoever may open the vault may do as the operator does, so that what comes through the socket is the operator's.
//! A request is one line of JSON, the answer is another: `{"v": 1, "operation": {…}}` is answered with `{"v": 1, "events":
//! [{"seq", "id", "kind"}]}` or `{"v": 1, "error": {"code", "message"}}`.

mod operation;

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toka_agents::{AgentError, Event};
use toka_types::{EventId, Kind};

use crate::crew::Crew;
use crate::runtime::{Runtime, RuntimeError};

pub use operation::OperationText;

/// The socket's name in the vault.
const SOCKET: &str = "socket";
/// The longest request or answer.
const MAX_LINE: u64 = 4 << 20;
/// So many connections are served at the same time; one more is closed at once.
const MAX_CONNECTIONS: usize = 64;
/// A peer that says nothing for so long has gone.
const SILENCE: Duration = Duration::from_secs(30);

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    v: u32,
    operation: OperationText,
}

/// What an operation became, or why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The version of this form: 1.
    pub v: u32,
    /// The events that it became; durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<EventLine>>,
    /// Why it became none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refusal>,
}

/// An event in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLine {
    /// Its number in the log.
    pub seq: u64,
    /// Its id.
    pub id: EventId,
    /// Its kind.
    pub kind: Kind,
}

/// Why an operation was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A stable code: one of `docs/denials.md`, or `invalid`, `log`, `stopped`, `failed`.
    pub code: String,
    /// The reason, in words.
    pub message: String,
    /// True if the kernel refused.
    pub denied: bool,
}

/// A socket that is listened on; dropping it ends that.
pub struct Listener {
    path: PathBuf,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    /// Listens on the control socket of the vault in `vault`, until the returned value is dropped. Call it within an
    /// executor.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn listen(&self, vault: &Path) -> Result<Listener, RuntimeError> {
        let failed = |error| RuntimeError::Machine("listen on the control socket", error);
        let listener = bind(vault).map_err(failed)?;
        let (crew, stopping) = (Arc::clone(&self.crew), Arc::new(AtomicBool::new(false)));
        let (stop, executor) = (Arc::clone(&stopping), tokio::runtime::Handle::current());
        let serve = move || serve(&listener, &crew, &executor, &stop);
        let thread = std::thread::Builder::new().name("toka-control".into()).spawn(serve).map_err(failed)?;
        Ok(Listener { path: vault.to_owned(), stopping, thread: Some(thread) })
    }

    /// Answers a request as the socket does.
    pub async fn control(&self, operation: OperationText) -> Answer {
        answer(&self.crew, operation).await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // The thread waits for somebody to come.
        let woken = connect(&self.path).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            drop(thread.join());
        }
        drop(std::fs::remove_file(self.path.join(SOCKET)));
    }
}

/// Asks the runtime that runs on the vault in `vault`; `None` if none listens there.
///
/// # Errors
/// If the connection breaks, or the answer is none.
pub fn ask(vault: &Path, operation: &OperationText) -> io::Result<Option<Answer>> {
    let mut stream = match connect(vault) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let request = Request { v: 1, operation: operation.clone() };
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(MAX_LINE)).read_until(b'\n', &mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, "the runtime closed the connection"));
    }
    Ok(Some(serde_json::from_slice(&answer)?))
}

/// The address of a socket's path has room for some hundred bytes, so that the vault is reached through its descriptor.
fn beneath<T>(vault: &Path, name: &str, then: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let directory = std::fs::File::open(vault)?;
    then(&Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name))
}

fn bind(vault: &Path) -> io::Result<UnixListener> {
    // The vault's lock is held: whoever left these listens no more.
    let (socket, fresh) = (vault.join(SOCKET), format!("{SOCKET}.new"));
    drop(std::fs::remove_file(vault.join(&fresh)));
    let listener = beneath(vault, &fresh, |path| UnixListener::bind(path))?;
    std::fs::set_permissions(vault.join(&fresh), std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(vault.join(&fresh), socket)?;
    Ok(listener)
}

fn connect(vault: &Path) -> io::Result<UnixStream> {
    beneath(vault, SOCKET, |path| UnixStream::connect(path))
}

fn serve(
    listener: &UnixListener,
    crew: &Arc<Crew>,
    executor: &tokio::runtime::Handle,
    stopping: &AtomicBool,
) {
    let served = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if stopping.load(Ordering::SeqCst) {
            return;
        }
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection to the control socket failed");
                // Out of descriptors, it would fail again at once.
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
        };
        if !is_own(&stream) || served.load(Ordering::SeqCst) >= MAX_CONNECTIONS {
            continue;
        }
        served.fetch_add(1, Ordering::SeqCst);
        let (crew, executor, count) = (Arc::clone(crew), executor.clone(), Arc::clone(&served));
        let talk = move || {
            if let Err(error) = talk(&stream, &crew, &executor) {
                tracing::debug!(%error, "a connection to the control socket ended");
            }
            count.fetch_sub(1, Ordering::SeqCst);
        };
        if std::thread::Builder::new().name("toka-control".into()).spawn(talk).is_err() {
            served.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// True if the peer is the user that this process runs as.
fn is_own(stream: &UnixStream) -> bool {
    let peer = rustix::net::sockopt::socket_peercred(stream);
    peer.is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}

fn talk(stream: &UnixStream, crew: &Arc<Crew>, executor: &tokio::runtime::Handle) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut line = Vec::new();
        let read = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        let answer = match request(&line) {
            Ok(operation) => executor.block_on(answer(crew, operation)),
            Err(error) => Answer::refused(&error),
        };
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        writer.write_all(&line)?;
    }
}

fn request(line: &[u8]) -> Result<OperationText, AgentError> {
    let invalid = |error: String| AgentError::Invalid(format!("this is no request: {error}"));
    // It refuses what the other reader would repair: keys given twice, for one.
    toka_toolkit_core::Input::parse(line).map_err(|error| invalid(error.to_string()))?;
    let request: Request = serde_json::from_slice(line).map_err(|error| invalid(error.to_string()))?;
    match request.v {
        1 => Ok(request.operation),
        other => Err(invalid(format!("version {other}; this build speaks version 1"))),
    }
}

async fn answer(crew: &Crew, operation: OperationText) -> Answer {
    let operated = match operation.into_operation() {
        Ok(operation) => crew.operate(operation).await,
        Err(error) => Err(error),
    };
    match operated {
        Ok(events) => Answer::done(events.into_iter().map(Event::from)),
        Err(error) => Answer::refused(&error),
    }
}

impl Answer {
    fn done(events: impl Iterator<Item = Event>) -> Self {
        let line = |event: Event| EventLine { seq: event.seq, id: event.id, kind: event.kind.clone() };
        Self { v: 1, events: Some(events.map(line).collect()), error: None }
    }

    fn refused(error: &AgentError) -> Self {
        let (code, message, denied) = match error {
            AgentError::Denied { code, rule } => (code.as_str(), rule.clone(), true),
            AgentError::ApprovalPending { .. } => ("approval.pending", error.to_string(), false),
            AgentError::Log(_) => ("log", error.to_string(), false),
            AgentError::Stopped => ("stopped", error.to_string(), false),
            AgentError::Invalid(_) => ("invalid", error.to_string(), false),
            _ => ("failed", error.to_string(), false),
        };
        Self { v: 1, events: None, error: Some(Refusal { code: code.to_owned(), message, denied }) }
    }
}
