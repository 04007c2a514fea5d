//! The control socket: what a second process asks of a runtime that runs on a vault.
//!
//! The socket lies in the vault's directory, which the runtime's user alone can enter; the peer's user is checked all the
//! same. Whoever may open the vault may do as the operator does, so that what comes without a token is the operator's.
//! A request is one line of JSON, the answer is another: `{"v": 1, "operation": {…}}` is answered with `{"v": 1, "events":
//! [{"seq", "id", "kind"}]}`, with the `output` of a call, or `{"v": 1, "error": {"code", "message"}}`.
//!
//! What comes with a token is its subject's, and no more than the token allows: `{"v": 1, "token": "…", "proof": "…",
//! "order": "{\"op_id\": …, \"operation\": {…}}"}`. The order is a text, since it is the bytes of it that the holder of a
//! bound token signs. `{"v": 1, "token": "…", "proof": "…", "renewal": "{\"ttl\": 900}"}` asks for a fresh token in place of
//! one that is valid, and is answered with `{"v": 1, "token": "…"}`.

mod operation;
mod outcome;
mod request;

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toka_agents::{AgentError, Event};
use toka_toolkit_core::{Output, ToolError};
use toka_types::operation::Authority;
use toka_types::{EntityId, Envelope, EventId, GrantId, Kind, Label, Name, OpId, Operation, Timestamp};

use crate::crew::Crew;
use crate::effects::{self, Asker};
use crate::entry::Done;
use crate::kernel_loop::Guard;
use crate::runtime::{Runtime, RuntimeError};

pub use operation::OperationText;
pub use outcome::CallOutcome;
pub use request::{Asked, Order, Presented, Renewal, Terms};

/// The socket's name in the vault.
const SOCKET: &str = "socket";
/// The longest request or answer.
const MAX_LINE: u64 = 4 << 20;
/// So many connections are served at the same time; one more is closed at once.
const MAX_CONNECTIONS: usize = 64;
/// A peer that says nothing for so long has gone.
const SILENCE: Duration = Duration::from_secs(30);

/// How long an operation of the operator's with an id is recognised when it is sent again.
pub const REPEATED: Duration = Duration::from_secs(24 * 60 * 60);

/// What an operation became, or why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The version of this form: 1.
    pub v: u32,
    /// The events that it became; durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<EventLine>>,
    /// What a call gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<CallOutcome>,
    /// The fresh token that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
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
    /// Its labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
}

/// Why an operation was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A stable code: one of `docs/denials.md` or, of tokens, `docs/format/token.md`, or `invalid`, `unknown`, `log`,
    /// `stopped`, `failed`, `approval.pending`.
    pub code: String,
    /// The reason, in words.
    pub message: String,
    /// True if the kernel refused, or the token does not allow it.
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
    pub async fn control(&self, asked: Asked) -> Answer {
        answer(&self.crew, asked).await
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
pub fn ask(vault: &Path, asked: &Asked) -> io::Result<Option<Answer>> {
    let mut stream = match connect(vault) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.write_all(&asked.to_line()?)?;
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
        let answer = match Asked::parse(&line) {
            Ok(asked) => executor.block_on(answer(crew, asked)),
            Err(error) => Answer::refused(&error),
        };
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        writer.write_all(&line)?;
    }
}

async fn answer(crew: &Crew, asked: Asked) -> Answer {
    let mut names = Vec::new();
    let mut answer = match answered(crew, asked, &mut names).await {
        Ok(answer) => answer,
        Err(RuntimeError::Asked(error)) => Answer::refused(&error),
        Err(RuntimeError::Token { code, detail }) => Answer::failed(&code, detail, true),
        Err(error) => Answer::failed("failed", error.to_string(), false),
    };
    // The kernel knows those alone by name who are there.
    if let Some(Refusal { message, denied: true, .. }) = &mut answer.error {
        for name in names {
            *message = message.replace(&EntityId::named(&name).to_string(), &format!("'{name}'"));
        }
    }
    answer
}

/// `names` are those that the operation has.
async fn answered(crew: &Crew, asked: Asked, names: &mut Vec<String>) -> Result<Answer, RuntimeError> {
    match asked {
        Asked::Bearer(presented) => {
            let Order { op_id, operation } = presented.order()?;
            *names = operation.names();
            let proof = presented.proof.as_deref().map(|proof| (proof, presented.digest()));
            let operation = operation.into_operation()?;
            let (events, called) =
                crew.submit_from_outside(&presented.token, proof, op_id, operation).await?;
            Ok(Answer::done(events, called))
        }
        Asked::Renewal(renewal) => {
            let Terms { ttl, only } = renewal.terms()?;
            let proof = renewal.proof.as_deref().map(|proof| (proof, renewal.digest()));
            let fresh = crew.renew_from_outside(&renewal.token, proof, Duration::from_secs(ttl), only);
            Ok(Answer { token: Some(fresh.await?), ..Answer::empty() })
        }
        Asked::Operator { op_id, operation } => {
            *names = operation.names();
            let until = |op_id| (op_id, crew.shared.clock.now().saturating_add(REPEATED));
            let (events, called) = by_operator(crew, op_id.map(until), operation.into_operation()?).await?;
            Ok(Answer::done(events, called))
        }
    }
}

/// Does as the operator asks. A call is performed.
async fn by_operator(
    crew: &Crew,
    op_id: Option<(OpId, Timestamp)>,
    operation: Operation,
) -> Result<Done, RuntimeError> {
    let (origin, authority) = (EntityId::operator(), crew.operator);
    let Operation::Request(request) = operation else {
        let envelope = Envelope { origin, authority, op_id, causes: Vec::new(), operation };
        let events = crew.shared.submit(envelope).await?.committed().await?;
        return Ok((events.into_iter().map(Event::from).collect(), None));
    };
    let prepared = effects::prepare_as_asked(&crew.shared, &request)?;
    let grant = match authority {
        Authority::Grant(grant) | Authority::Signed { grant, .. } => grant,
        Authority::Host => GrantId::default(),
    };
    let name = Name::new("operator").map_err(|error| AgentError::Invalid(error.to_string()))?;
    // A call that was made before is answered, and not made again.
    let repeated: Arc<OnceLock<EventId>> = Arc::default();
    let found = Arc::clone(&repeated);
    let guard: Guard = Box::new(move |world, at| {
        let before = op_id.and_then(|(op_id, _)| world.repeated(origin, op_id, at.max(world.last_at())));
        match before {
            Some(event) => {
                Err(AgentError::Invalid(format!("it was made before: {}", found.get_or_init(|| event))))
            }
            None => Ok(Vec::new()),
        }
    });
    let asker = Asker { agent: origin, authority, causes: Vec::new(), op_id, guard: Some(guard) };
    let performed = effects::request(&crew.host_of(&name, grant, false), asker, prepared).await;
    match repeated.get() {
        Some(event) => Ok((crew.first_answer(*event)?, None)),
        None => Ok(performed?.into_done()),
    }
}

impl Answer {
    fn done(events: Vec<Event>, called: Option<Result<Output, ToolError>>) -> Self {
        let output = CallOutcome::of(&events, called);
        let line = |event: Event| EventLine {
            seq: event.seq,
            id: event.id,
            kind: event.kind.clone(),
            labels: event.labels.iter().cloned().collect(),
        };
        let events = Some(events.into_iter().map(line).collect());
        Self { events, output, ..Self::empty() }
    }

    fn failed(code: &str, message: String, denied: bool) -> Self {
        let error = Refusal { code: code.to_owned(), message, denied };
        Self { error: Some(error), ..Self::empty() }
    }

    fn empty() -> Self {
        Self { v: 1, events: None, output: None, token: None, error: None }
    }

    fn refused(error: &AgentError) -> Self {
        let (code, message, denied) = match error {
            AgentError::Denied { code, rule } => (code.as_str(), rule.clone(), true),
            AgentError::ApprovalPending { .. } => ("approval.pending", error.to_string(), false),
            AgentError::Log(_) => ("log", error.to_string(), false),
            AgentError::Stopped => ("stopped", error.to_string(), false),
            AgentError::Invalid(_) => ("invalid", error.to_string(), false),
            // Such a call was put before nobody.
            AgentError::Tool { code, cause: None, .. } if code == "invalid-input" => {
                ("invalid", error.to_string(), false)
            }
            AgentError::Unknown { .. } => ("unknown", error.to_string(), false),
            _ => ("failed", error.to_string(), false),
        };
        Self::failed(code, message, denied)
    }
}
