//! What goes wrong: a stable code, an exit code, a message and the way out.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use serde::Serialize;
use toka_agents::AgentError;
use toka_runtime::config::{ConfigError, Diagnostic, Severity};
use toka_runtime::{LogError, RuntimeError};
use toka_types::path::for_terminal;
use toka_vault::StoreError;
use toka_vault::intent::ProjectionError;
use toka_vault::seal::{SealingError, keys_path};

/// What a command ends with.
pub(crate) type Outcome = Result<Exit, Stop>;

/// The exit code of the process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(u8);

impl Exit {
    pub(crate) const OK: Self = Self(0);
    pub(crate) const FAILED: Self = Self(1);
    pub(crate) const USAGE: Self = Self(2);
    pub(crate) const DENIED: Self = Self(3);
    pub(crate) const APPROVAL: Self = Self(4);
    pub(crate) const BUDGET: Self = Self(5);
    pub(crate) const INTEGRITY: Self = Self(6);
    pub(crate) const INTERRUPTED: Self = Self(130);
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

/// Why a command ended early.
pub(crate) enum Stop {
    /// Whoever read standard output has gone: that is the end, and no error.
    Pipe,
    /// Something went wrong.
    Failed(Box<Failure>),
}

/// What went wrong.
pub(crate) struct Failure {
    code: &'static str,
    exit: Exit,
    message: String,
    /// Of what was refused, the code of the refusal.
    denial: Option<String>,
    hint: Option<String>,
    problems: Vec<Diagnostic>,
}

impl Failure {
    fn new(code: &'static str, exit: Exit, message: impl Into<String>) -> Self {
        Self { code, exit, message: message.into(), denial: None, hint: None, problems: Vec::new() }
    }

    /// The command line is not understood, or names something malformed.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new("usage", Exit::USAGE, message)
    }

    /// The configuration cannot be used.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new("config", Exit::USAGE, message)
    }

    /// A folder, a file or a vault does not exist.
    pub(crate) fn absent(message: impl Into<String>) -> Self {
        Self::new("absent", Exit::USAGE, message)
    }

    /// A well-formed id names nothing.
    pub(crate) fn unknown(message: impl Into<String>) -> Self {
        Self::new("unknown", Exit::FAILED, message)
    }

    /// It did not work.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new("failed", Exit::FAILED, message)
    }

    /// Stored bytes are not what was written.
    pub(crate) fn integrity(message: impl Into<String>) -> Self {
        Self::new("integrity", Exit::INTEGRITY, message)
            .hint("`toka verify` lists all damage; restore the vault from a copy")
    }

    /// The vault is sealed, and the key does not open it or is not there.
    pub(crate) fn sealed(message: impl Into<String>) -> Self {
        Self::new("sealed", Exit::USAGE, message)
    }

    fn locked(message: impl Into<String>) -> Self {
        Self::new("locked", Exit::FAILED, message)
            .hint("stop that process, or use `status`, `events`, `search` beside it; another vault is chosen with --vault DIR")
    }

    fn full(message: impl Into<String>) -> Self {
        Self::new("disk-full", Exit::FAILED, message)
            .hint("make room and run the same command again: it goes on where it stopped")
    }

    /// A person has to allow it first.
    pub(crate) fn pending(message: impl Into<String>) -> Self {
        Self::new("approval", Exit::APPROVAL, message)
            .hint("`toka approvals list` shows what waits; allow it, and ask again")
    }

    /// Refused, with a code: for want of money, or for want of a right.
    pub(crate) fn refused(code: &str, rule: &str) -> Self {
        let message = format!("denied ({code}): {rule}");
        let failure = match code {
            "ledger.funds" | "ledger.budget" | "ledger.exhausted" | "ledger.debt" => {
                Self::new("budget", Exit::BUDGET, message)
                    .hint("`toka ledger accounts` shows what there is and what is kept back")
            }
            "ledger.account-unknown" => Self::new("denied", Exit::DENIED, message)
                .hint("`toka ledger mint MONEY --to NAME` opens an account and issues money to it"),
            token if token.starts_with("token-") => Self::new("denied", Exit::DENIED, message)
                .hint("`toka cap show TOKEN` shows what it says of itself"),
            _ => Self::new("denied", Exit::DENIED, message)
                .hint(format!("`toka cap explain {code}` says what it means and what would have allowed it")),
        };
        Self { denial: Some(code.to_owned()), ..failure }
    }

    /// This failure, or the other one if that one is of integrity.
    pub(crate) fn worse(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.exit == Exit::INTEGRITY => other,
            _ => self,
        }
    }

    /// What went wrong.
    #[must_use]
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Adds the way out.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

impl Stop {
    /// What a failed write to standard output means.
    pub(crate) fn of_output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Pipe,
            _ => Failure::failed(format!("cannot write to standard output: {error}")).into(),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Locked { .. } => Self::locked(message),
            StoreError::Full { .. } => Self::full(message),
            StoreError::Format { .. } | StoreError::BundleFormat { .. } => Self::new("format", Exit::USAGE, message),
            StoreError::Engine { .. } => Self::new("store", Exit::USAGE, message),
            StoreError::Exclusive { .. } => Self::new("locked", Exit::FAILED, message)
                .hint("a vault that is kept by another store can be read beside its writer: `toka vault migrate --to sqlite PATH`"),
            StoreError::Exists { .. } => Self::usage(message),
            StoreError::NotFound { .. } => Self::absent(message)
                .hint("create it with `toka init` or `toka up`, or name another one with --vault DIR"),
            StoreError::Io { .. } => Self::failed(message)
                .hint("see who may use that place, or name another vault with --vault DIR"),
            // What would open the keys is of no use where there are none.
            StoreError::Sealed { path } if !keys_path(&path).exists() => {
                StoreError::Keys(SealingError::Missing { path: keys_path(&path) }).into()
            }
            StoreError::Sealed { .. } => {
                Self::sealed(message).hint("TOKA_PASSPHRASE_FILE names a file that holds its passphrase")
            }
            StoreError::OtherKeys { .. } => Self::sealed(message),
            StoreError::Keys(SealingError::Damage { .. }) => Self::integrity(message),
            StoreError::Keys(SealingError::Format { .. }) => Self::new("format", Exit::USAGE, message),
            StoreError::Keys(SealingError::NoKeyring(_)) => Self::sealed(message).hint(
                "it has to run, unlocked, in this session; a new vault can be sealed with a passphrase or a key file instead",
            ),
            StoreError::Keys(SealingError::WrongKey { .. }) => {
                Self::sealed(message).hint("TOKA_PASSPHRASE_FILE or TOKA_KEY_FILE names the file that holds the right one")
            }
            StoreError::Keys(SealingError::Io { what: "create" | "write" | "replace", .. }) => {
                Self::failed(message)
            }
            StoreError::Keys(SealingError::NotSealed { .. }) => {
                Self::sealed(message).hint("a vault is sealed when it is created: `toka init --seal WITH --vault DIR`")
            }
            StoreError::Keys(_) => Self::sealed(message),
            StoreError::Damage { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Record(_)
            | StoreError::Sequence { .. }
            | StoreError::Time { .. }
            | StoreError::Id { .. }
            | StoreError::MissingEvent { .. }
            | StoreError::MissingContent { .. }
            | StoreError::ContentSize { .. } => Self::integrity(message),
            StoreError::NoEvent { .. } | StoreError::ForkPoint { .. } => Self::unknown(message),
            _ => Self::failed(message),
        }
    }
}

impl From<ProjectionError> for Failure {
    fn from(error: ProjectionError) -> Self {
        let message = error.to_string();
        match error {
            ProjectionError::Io { kind, .. } if is_full(kind) => Self::full(message),
            _ => Self::failed(message),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let hint = "`toka config schema` describes every key";
        if error.failure != toka_runtime::config::Failure::Invalid {
            let code =
                if error.failure == toka_runtime::config::Failure::Absent { "absent" } else { "config" };
            let (message, hint) = match error.diagnostics.as_slice() {
                [only] => (
                    Diagnostic { hint: None, ..only.clone() }.to_string(),
                    only.hint.clone().unwrap_or_else(|| hint.to_owned()),
                ),
                _ => (error.to_string(), hint.to_owned()),
            };
            return Self::new(code, Exit::USAGE, message).hint(hint);
        }
        let errors = error.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
        let message = match errors {
            1 => "the configuration has an error".to_owned(),
            more => format!("the configuration has {more} errors"),
        };
        Self { problems: error.diagnostics, ..Self::config(message).hint(hint) }
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Full(message) => Self::full(message),
            LogError::Failed(message) => Self::failed(message),
            LogError::Damaged(message) => Self::integrity(message),
        }
    }
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::Config(error) => error.into(),
            RuntimeError::Agent(error) => Self::config(format!("{error:#}")),
            RuntimeError::Asked(AgentError::Denied { code, rule }) => Self::refused(&code, &rule),
            RuntimeError::Asked(error @ AgentError::ApprovalPending { .. }) => {
                Self::pending(error.to_string())
            }
            RuntimeError::Token { code, detail } => Self::refused(&code, &detail),
            RuntimeError::Name(_) | RuntimeError::Tool(_) => Self::config(error.to_string()),
            RuntimeError::Log(error) => error.into(),
            RuntimeError::Vault(error) => error.into(),
            RuntimeError::Facts(error) => Self::integrity(error.to_string()),
            RuntimeError::Projection(ref cause) if of_full_disk(cause.chain()) => {
                Self::full(error.to_string())
            }
            other => Self::failed(other.to_string()),
        }
    }
}

/// Whether a projection stopped because the disk is full.
fn of_full_disk<'a>(mut causes: impl Iterator<Item = &'a (dyn Error + 'static)>) -> bool {
    causes.any(|cause| match cause.downcast_ref() {
        Some(ProjectionError::Io { kind, .. }) => is_full(*kind),
        _ => false,
    })
}

fn is_full(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

macro_rules! stops {
    ($($error:ty),*) => {$(
        impl From<$error> for Stop {
            fn from(error: $error) -> Self {
                Failure::from(error).into()
            }
        }
    )*};
}
stops!(StoreError, ProjectionError, ConfigError, RuntimeError);

#[derive(Serialize)]
struct Told<'a> {
    error: ToldError<'a>,
}

#[derive(Serialize)]
struct ToldError<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    denial: Option<&'a str>,
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    problems: &'a [Diagnostic],
}

/// Says on standard error why the command ended, and gives its exit code.
pub(crate) fn report(stop: &Stop, json: bool) -> Exit {
    let failure = match stop {
        Stop::Pipe => return Exit::OK,
        Stop::Failed(failure) => failure,
    };
    let mut text = Vec::new();
    if json {
        let (code, message, hint) = (failure.code, &failure.message[..], failure.hint.as_deref());
        let (denial, problems) = (failure.denial.as_deref(), &failure.problems[..]);
        crate::output::write_json(
            &mut text,
            &Told { error: ToldError { code, message, denial, hint, problems } },
        );
    } else {
        let _ = failure.write(&mut text);
    }
    // There is nobody left to tell if this fails.
    let _ = anstream::stderr().lock().write_all(&text);
    failure.exit
}

impl Failure {
    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let (red, cyan) = (crate::output::BAD, crate::output::HINT);
        writeln!(to, "{red}error:{red:#} {}", shown(&self.message))?;
        for problem in &self.problems {
            writeln!(to, "{}", shown(&problem.to_string()))?;
        }
        if let Some(hint) = &self.hint {
            writeln!(to, "{cyan}hint:{cyan:#} {}", shown(hint))?;
        }
        Ok(())
    }
}

/// The text as a terminal may show it, in its lines.
fn shown(text: &str) -> String {
    text.split('\n').map(for_terminal).collect::<Vec<_>>().join("\n")
}
