//! The options in force: the configuration, and where the vault is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use toka_agents::indexer::rules::Globs;
use toka_auth::{KeyError, OperatorKey};
use toka_runtime::config::{BuildInfo, EmbedderConfig, Loaded, Loader, SyntaxChecks, TokensConfig};

use crate::args::{Colour, Global};
use crate::failure::{Failure, Stop};
use crate::notes::{Chatter, Notes};
use crate::output::Out;

/// The directory that a vault has where nothing else is said.
pub(crate) const VAULT_DIRECTORY: &str = ".toka";
/// The program's own directory in the user's state directory.
const STATE_DIRECTORY: &str = "toka";
/// What the key of snapshots is derived for.
const SNAPSHOT_KEY: &str = "toka 2026 world snapshot key v1";

/// What a command works with.
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) out: Out,
    pub(crate) notes: Notes,
}

impl Context {
    pub(crate) fn new(global: &Global) -> Result<Self, Stop> {
        match global.color {
            Colour::Auto => anstream::ColorChoice::Auto,
            Colour::Always => anstream::ColorChoice::Always,
            Colour::Never => anstream::ColorChoice::Never,
        }
        .write_global();
        Ok(Self { global: global.clone(), out: Out::new(global.json), notes: Notes::new(global) })
    }

    /// Sends what is logged to standard error.
    pub(crate) fn log(&self, chatter: Chatter) -> Result<(), Stop> {
        Ok(self.notes.log(&self.global, chatter)?)
    }

    /// The configuration file that `--config` or `TOKA_CONFIG` names.
    pub(crate) fn config_file(&self) -> Option<PathBuf> {
        self.global.config.clone().or_else(|| variable("TOKA_CONFIG"))
    }

    /// The configuration of that file, or of the environment alone. What it ignores is said.
    pub(crate) fn load(&self, file: Option<&Path>) -> Result<Loaded, Failure> {
        let loaded = read(file)?;
        for warning in &loaded.warnings {
            // The note says itself that it is a warning.
            let text = warning.to_string().replacen("warning: ", "", 1).replace("\n  hint: ", "; ");
            self.notes.warn(toka_types::path::for_terminal(&text));
        }
        Ok(loaded)
    }

    /// What makes vectors, as configured. Warnings are for those who run agents.
    pub(crate) fn embedder(&self) -> Result<EmbedderConfig, Failure> {
        Ok(read(self.config_file().as_deref())?.config.embedder)
    }

    /// What carries grants, as configured. Warnings are for those who run agents.
    pub(crate) fn tokens(&self) -> Result<TokensConfig, Failure> {
        Ok(read(self.config_file().as_deref())?.config.tokens)
    }

    /// The vault to look at, or the bundle.
    pub(crate) fn vault(&self) -> Result<PathBuf, Failure> {
        let named = match self.named_vault() {
            Some(path) => Some(path),
            None => self.load(self.config_file().as_deref())?.config.vault.and_then(|vault| vault.path),
        };
        let looked_at = |path: PathBuf| match toka_vault::bundle::is_bundle(&path) {
            true => Ok(Some(path)),
            false => directory(path).map(Some),
        };
        let Some(vault) = named.map_or_else(nearest_vault, looked_at)? else {
            return Err(Failure::absent(format!("there is no vault here: no {VAULT_DIRECTORY} in this directory or above it"))
                .hint("create one with `toka init`, or with `toka up FOLDER`, which indexes a folder too; --vault DIR names another one"));
        };
        Ok(vault)
    }

    /// The vault, for a command that a bundle is nothing for.
    pub(crate) fn vault_itself(&self) -> Result<PathBuf, Failure> {
        let vault = self.vault()?;
        if !toka_vault::bundle::is_bundle(&vault) {
            return Ok(vault);
        }
        let shown = crate::paths::friendly(&vault);
        Err(Failure::usage(format!("{shown} is a bundle, and this command is about a vault")).hint(
            "name the vault's directory with --vault DIR; `toka vault import` makes a vault of a bundle",
        ))
    }

    /// The vault to write to, which need not exist yet.
    pub(crate) fn vault_to_write(&self, configured: Option<&Path>) -> Result<PathBuf, Failure> {
        let named = self.named_vault().or_else(|| configured.map(Path::to_path_buf));
        match named.map_or_else(nearest_vault, |path| Ok(Some(path)))? {
            Some(path) => directory(absolute(&path)?),
            None => self.vault_here(),
        }
    }

    /// The vault of `init`: where it is told, else in the working directory, whatever lies above.
    pub(crate) fn vault_to_create(&self, configured: Option<&Path>) -> Result<PathBuf, Failure> {
        match self.named_vault().or_else(|| configured.map(Path::to_path_buf)) {
            Some(path) => directory(absolute(&path)?),
            None => self.vault_here(),
        }
    }

    /// The vault that a command without options finds where no configuration names one.
    pub(crate) fn vault_found(&self) -> Option<PathBuf> {
        variable("TOKA_VAULT").or_else(|| nearest_vault().ok().flatten())
    }

    fn vault_here(&self) -> Result<PathBuf, Failure> {
        Ok(working_directory()?.join(VAULT_DIRECTORY))
    }

    fn named_vault(&self) -> Option<PathBuf> {
        self.global.vault.clone().or_else(|| variable("TOKA_VAULT"))
    }
}

/// The secret, of the operator's in the directory `state`, with which snapshots of the world are authenticated: whoever
/// can write to a vault alone cannot make a world up.
pub(crate) fn snapshot_key(state: &Path) -> Result<[u8; 32], Failure> {
    let key = OperatorKey::load_or_create(state).map_err(|error| Failure::failed(error.to_string()))?;
    Ok(key.derive(SNAPSHOT_KEY))
}

/// The same for whoever only reads: `None` where nobody wrote a snapshot under a key of this user's.
pub(crate) fn existing_snapshot_key() -> Option<[u8; 32]> {
    let key = OperatorKey::load_existing(&state_directory().ok()?).ok()??;
    Some(key.derive(SNAPSHOT_KEY))
}

/// The operator's state directory, whether it is there or not.
pub(crate) fn state_directory() -> Result<PathBuf, Failure> {
    let base = etcetera::base_strategy::Xdg::new().map_err(|error| {
        Failure::config(format!("there is no home directory for the operator's key: {error}"))
            .hint("set HOME or XDG_STATE_HOME")
    })?;
    Ok(base.state_dir().unwrap_or_else(|| base.data_dir()).join(STATE_DIRECTORY))
}

/// The operator's state directory with the operator's key in it, which is made the first time.
pub(crate) fn operator_state() -> Result<PathBuf, Failure> {
    let directory = state_directory()?;
    OperatorKey::load_or_create(&directory).map_err(|error| {
        let failure = Failure::failed(error.to_string());
        match error {
            KeyError::Io { .. } => {
                failure.hint("the operator's key lies there; set XDG_STATE_HOME to a folder of your own")
            }
            _ => failure,
        }
    })?;
    Ok(directory)
}

/// The absolute path, without a look at what is there.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|e| Failure::usage(format!("'{}' is no path: {e}", path.display())))
}

/// The path of a vault, which is a directory or nothing yet.
fn directory(vault: PathBuf) -> Result<PathBuf, Failure> {
    if !vault.exists() || vault.is_dir() {
        return Ok(vault);
    }
    let shown = toka_types::path::for_terminal(&vault.to_string_lossy());
    Err(Failure::absent(format!(
        "there is no vault at {shown}: that is no directory, and no bundle to look at"
    ))
    .hint("name the vault's directory with --vault DIR"))
}

/// The configuration of a file, or of the environment alone, without a word about what it ignores.
pub(crate) fn read(file: Option<&Path>) -> Result<Loaded, Failure> {
    Ok(match file {
        Some(file) => loader().load(file)?,
        None => loader().without_file()?,
    })
}

/// A loader that knows what this program can do.
pub(crate) fn loader() -> Loader {
    let glob = |text: &str| Globs::new(&[text.to_owned()], &[]).map(drop).map_err(|e| e.to_string());
    let build = BuildInfo::default();
    let features = build.features.iter().cloned().chain(crate::embedder::features()).collect();
    Loader::new(BuildInfo { features, ..build }).checks(SyntaxChecks {
        cron: Some(toka_agents::scheduler::check_cron),
        timezone: Some(toka_agents::scheduler::check_timezone),
        glob: Some(glob),
    })
}

fn nearest_vault() -> Result<Option<PathBuf>, Failure> {
    let here = working_directory()?;
    Ok(here.ancestors().map(|above| above.join(VAULT_DIRECTORY)).find(|vault| vault.is_dir()))
}

pub(crate) fn working_directory() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|e| Failure::absent(format!("the working directory is gone: {e}")))
}

/// An empty variable counts as unset.
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| value != OsStr::new("")).map(PathBuf::from)
}
