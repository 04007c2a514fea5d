//! What a store, and whoever writes to one, can fail with.

use std::path::PathBuf;

use toka_types::{Digest, EventId, KeyId, RecordError, Timestamp};

use crate::core::{LogId, PayloadError};
use crate::fork::MAX_DEPTH;

/// Why a vault did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another writer appended in between, or the caller's idea of the head is wrong.
    #[error(
        "log '{log}' ends at event {head}, not at {expected}: somebody else wrote to it; read the head again"
    )]
    Conflict {
        /// The log.
        log: LogId,
        /// The next number that the caller expected.
        expected: u64,
        /// The next number there is.
        head: u64,
    },
    /// A log of that name is there already.
    #[error("there is a log '{log}' already; give the fork another name")]
    LogExists {
        /// The log.
        log: LogId,
    },
    /// A log cannot be forked there.
    #[error("log '{log}' has no event {seq} to be forked at: its next event gets number {head}")]
    ForkPoint {
        /// The log.
        log: LogId,
        /// The number of the event that was to be the last shared one.
        seq: u64,
        /// The number that the log's next event gets.
        head: u64,
    },
    /// A log is a fork of too many forks.
    #[error(
        "log '{log}' would be forked from {depth} logs, one from the other; at most {MAX_DEPTH} are allowed"
    )]
    ForkDepth {
        /// The fork.
        log: LogId,
        /// How many logs lie before it.
        depth: usize,
    },
    /// A vault has too many logs.
    #[error("log '{log}' would be one more than the {limit} logs that a vault can have")]
    TooManyLogs {
        /// The log.
        log: LogId,
        /// The most there can be.
        limit: usize,
    },
    /// One batch cannot go to two stores.
    #[error(
        "log '{log}' lies in another store than the first log of the batch; a batch across logs is one of one vault"
    )]
    OtherStore {
        /// The log.
        log: LogId,
    },
    /// An append names a log twice.
    #[error("log '{log}' has two parts in one append; join them")]
    TwoParts {
        /// The log.
        log: LogId,
    },
    /// An event of a fork goes on from one that lies before the fork.
    #[error(
        "event {event} in the fork '{log}' follows {}; the first event of an author in it has {forked} as its `prev`, with which the fork begins",
        before(*prev)
    )]
    BeforeFork {
        /// The fork.
        log: LogId,
        /// The event.
        event: EventId,
        /// What it names as its author's previous event.
        prev: Option<EventId>,
        /// The fork's first own event.
        forked: EventId,
    },
    /// Another process has the vault open for writing.
    #[error("the vault {} is being written by {}; stop that process, or read beside it", path.display(), writer(*pid))]
    Locked {
        /// The vault's directory.
        path: PathBuf,
        /// The process that holds the lock, if it said so.
        pid: Option<u32>,
    },
    /// There is no room for the batch. Nothing of it is stored, and a later try may succeed.
    #[error("the disk is full: {needed} bytes do not fit below {}; make room and try again, nothing is lost", path.display())]
    Full {
        /// The vault's directory.
        path: PathBuf,
        /// How many bytes the batch needs.
        needed: u64,
    },
    /// The vault has a format of another version of this program.
    #[error(
        "the vault has format {found}, this build knows format {known}: use the build that wrote it, or a newer one"
    )]
    Format {
        /// The version of the vault.
        found: u32,
        /// The version of this build.
        known: u32,
    },
    /// The bundle has a format of another version of this program.
    #[error(
        "the bundle has format {found}, this build knows format {known}: use the build that wrote it, or a newer one"
    )]
    BundleFormat {
        /// The version of the bundle.
        found: u32,
        /// The version of this build.
        known: u32,
    },
    /// There is no vault.
    #[error("there is no vault at {}", path.display())]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Stored bytes are not what was written.
    #[error("{} is damaged at byte {offset}{}: {detail}; restore it from a copy, `verify` lists all damage", file.display(), event_note(*seq))]
    Damage {
        /// The file.
        file: PathBuf,
        /// The byte offset in it.
        offset: u64,
        /// The event that lies there, where that is known.
        seq: Option<u64>,
        /// What is wrong.
        detail: String,
    },
    /// Stored bytes are not what was written, in a store that does not know where in its files they lie.
    #[error("{} is damaged{}: {detail}; restore it from a copy, `verify` lists all damage", file.display(), event_note(*seq))]
    Corrupt {
        /// The file or directory.
        file: PathBuf,
        /// The event that is concerned, where that is known.
        seq: Option<u64>,
        /// What is wrong.
        detail: String,
    },
    /// The vault is kept by a store that cannot be used here.
    #[error("the vault {} is kept by {engine}, {detail}", path.display())]
    Engine {
        /// The vault's directory.
        path: PathBuf,
        /// The store's name in the manifest.
        engine: String,
        /// Why it cannot be used, and the way out.
        detail: String,
    },
    /// Another process has the vault open, and its store lets nobody read beside that.
    #[cfg(feature = "journal")]
    #[error("the vault {} is open in {}, and {engine} lets nobody read beside it; stop that process", path.display(), writer(*pid))]
    Exclusive {
        /// The vault's directory.
        path: PathBuf,
        /// The store.
        engine: crate::engine::Engine,
        /// The process that holds the lock, if it said so.
        pid: Option<u32>,
    },
    /// A vault was to be made where something is already.
    #[error("there is something at {} already; name a place where nothing is", path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// A write or a sync failed earlier; nothing has been acknowledged since.
    #[error("writing has stopped since {reason}; nothing after it was stored: open the vault again")]
    Poisoned {
        /// What failed.
        reason: String,
    },
    /// The operating system refused something.
    #[error("cannot {what} {}: {detail}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// The vault was opened for reading.
    #[error("the vault {} is open for reading only", path.display())]
    ReadOnly {
        /// The vault's directory.
        path: PathBuf,
    },
    /// The bus was opened for reading, whatever its store can do.
    #[error(
        "this bus is for reading only; `VaultBus::open` and `VaultBus::with_store` make one that commits"
    )]
    Reading,
    /// The vault was closed.
    #[error("the vault is closed")]
    Closed,
    /// An event is out of bounds or malformed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A payload cannot be encoded.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// A kind, a log or another name is malformed.
    #[error(transparent)]
    Name(#[from] toka_types::NameError),
    /// An event's number is not the one that follows.
    #[error("event {id} has number {found}, {expected} follows in log '{log}'")]
    Sequence {
        /// The log.
        log: LogId,
        /// The event.
        id: EventId,
        /// The number that follows.
        expected: u64,
        /// The number it has.
        found: u64,
    },
    /// An event's time lies before its predecessor's.
    #[error("event {id} is dated {} µs, its predecessor {} µs: time does not go back in a log", found.0, previous.0)]
    Time {
        /// The event.
        id: EventId,
        /// Its predecessor's time.
        previous: Timestamp,
        /// Its own.
        found: Timestamp,
    },
    /// An event's id is not its causal digest.
    #[error("event {seq} claims the id {claimed}, its causal digest is {computed}")]
    Id {
        /// The event's number.
        seq: u64,
        /// The id in the header.
        claimed: EventId,
        /// The id that follows from the header.
        computed: EventId,
    },
    /// The event is in the log already.
    #[error("event {id} is in log '{log}' already, as number {seq}")]
    Duplicate {
        /// The log.
        log: LogId,
        /// The event.
        id: EventId,
        /// Its number.
        seq: u64,
    },
    /// A cause, or the author's previous event, is not in the log.
    #[error(
        "event {event} names {missing} as its {role}, which is not in log '{log}'; commit that one first"
    )]
    MissingEvent {
        /// The log.
        log: LogId,
        /// The event that names it.
        event: EventId,
        /// What is missing.
        missing: EventId,
        /// `parent` or `prev`.
        role: &'static str,
    },
    /// A log does not have an event.
    #[error("log '{log}' has no event {id}")]
    NoEvent {
        /// The log.
        log: LogId,
        /// The event.
        id: EventId,
    },
    /// Content that a header names was neither handed in nor stored before.
    #[error("event {event} names content {digest}, which is neither stored nor handed in")]
    MissingContent {
        /// The event.
        event: EventId,
        /// The content's digest.
        digest: Digest,
    },
    /// Content does not match what the header says of it.
    #[error("event {event} names content {digest} with {claimed} bytes, it has {found}")]
    ContentSize {
        /// The event.
        event: EventId,
        /// The content's digest.
        digest: Digest,
        /// The size in the header.
        claimed: u64,
        /// The size of what was handed in.
        found: u64,
    },
    /// A vector has another number of dimensions than the vault's.
    #[error("a vector of {found} dimensions; the vault's first vector fixed {expected}")]
    Dimension {
        /// What the vault's vectors have.
        expected: u32,
        /// What this one has.
        found: u32,
    },
    /// The vault is sealed, and was opened without its key by somebody who would write to it.
    #[error("the vault {} is sealed; open it with its key", path.display())]
    Sealed {
        /// The vault's directory.
        path: PathBuf,
    },
    /// The vault is not sealed under these keys.
    #[error("the vault {} is {}, not under the keys {given}", path.display(), sealed_under(*found))]
    OtherKeys {
        /// The vault's directory.
        path: PathBuf,
        /// The keys that the vault is sealed under.
        found: Option<KeyId>,
        /// The keys that were given.
        given: KeyId,
    },
    /// Content is stored as it is: what is sealed under some keys cannot go where other keys, or none, are used.
    #[error("{} is {}, and the vault {}", path.display(), sealed_under(*found), is_sealed_under(*given))]
    OtherSealing {
        /// Where the content comes from.
        path: PathBuf,
        /// The keys that it is sealed under.
        found: Option<KeyId>,
        /// The keys of the vault.
        given: Option<KeyId>,
    },
    /// Content cannot be sealed. Nothing of the batch is stored.
    #[error(transparent)]
    Seal(#[from] toka_types::SealError),
    /// The keys of a sealed vault cannot be had.
    #[cfg(feature = "seal")]
    #[error(transparent)]
    Keys(#[from] crate::seal::SealingError),
    /// A vector is no vector.
    #[error("a vector {0}")]
    Vector(String),
}

fn writer(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".into(), |pid| format!("process {pid}"))
}

fn before(prev: Option<EventId>) -> String {
    prev.map_or_else(|| "no event".into(), |prev| format!("{prev}, which lies before the fork"))
}

fn sealed_under(found: Option<KeyId>) -> String {
    found.map_or_else(|| "not sealed".into(), |keys| format!("sealed under the keys {keys}"))
}

fn is_sealed_under(given: Option<KeyId>) -> String {
    given.map_or_else(|| "is not".into(), |keys| format!("is sealed under the keys {keys}"))
}

fn event_note(seq: Option<u64>) -> String {
    seq.map(|seq| format!(", in event {seq}")).unwrap_or_default()
}
