//! The tokens of a vault, as configured: who issues them, and which are accepted.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use toka_auth::key::KEY_FILE;
use toka_auth::rotation::RETIRED_FILE;
use toka_auth::{
    Claims, Hs256, KeyError, Operator, OperatorKey, SharedSecret, TokenError, TokenScheme, Verified,
};
use toka_runtime::Runtime;
use toka_runtime::config::TokensConfig;
use toka_types::Timestamp;

use crate::context::operator_state;
use crate::failure::{Failure, Stop};

/// Longest life that a person may give a token. A program renews one instead.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The tokens of the vault that is called `audience`.
pub(crate) fn scheme(config: &TokensConfig, audience: &str) -> Result<Box<dyn TokenScheme>, Failure> {
    let state = operator_state()?;
    Ok(match config {
        TokensConfig::Operator => Box::new(operator(&state, audience, false)?),
        TokensConfig::EdDsa => Box::new(operator(&state, audience, true)?),
        TokensConfig::Hs256 { secret } => {
            let secret = SharedSecret::load(secret).map_err(no_key)?;
            Box::new(Hs256::new(secret, audience).map_err(unfit)?.with_longest_ttl(LONGEST))
        }
    })
}

/// The file of the secret that tokens are signed with, if it is one of its own: no agent's business, wherever it lies.
pub(crate) fn secret_file(config: &TokensConfig) -> Option<PathBuf> {
    match config {
        TokensConfig::Operator | TokensConfig::EdDsa => None,
        TokensConfig::Hs256 { secret } => Some(secret.clone()),
    }
}

/// Lets the runtime accept the tokens of its vault, also those that are signed with keys that come later.
pub(crate) fn accept(runtime: &Runtime, config: &TokensConfig) -> Result<(), Stop> {
    let Some(audience) = runtime.origin()? else { return Ok(()) };
    let files = match config {
        TokensConfig::Hs256 { secret } => vec![secret.clone()],
        TokensConfig::Operator | TokensConfig::EdDsa => {
            let state = operator_state()?;
            [KEY_FILE, RETIRED_FILE].map(|name| state.join(name)).to_vec()
        }
    };
    let loaded = Mutex::new((stamps(&files), Arc::from(scheme(config, &audience)?)));
    runtime.accept_tokens(Arc::new(Current { config: config.clone(), audience, files, loaded }));
    Ok(())
}

fn operator(state: &Path, audience: &str, issues_jwts: bool) -> Result<Operator, Failure> {
    let key = OperatorKey::load_or_create(state).map_err(no_key)?;
    let retired = OperatorKey::retired(state).map_err(no_key)?;
    let scheme = Operator::new(key, audience).map_err(unfit)?.accepting(&retired).with_longest_ttl(LONGEST);
    Ok(if issues_jwts { scheme.issuing_jwts() } else { scheme })
}

pub(crate) fn no_key(error: KeyError) -> Failure {
    match error {
        KeyError::Absent { .. } => Failure::absent(error.to_string()),
        KeyError::Exists { .. } | KeyError::Secret { .. } | KeyError::Malformed { .. } => {
            Failure::usage(error.to_string())
        }
        _ => Failure::failed(error.to_string()),
    }
}

fn unfit(error: TokenError) -> Failure {
    Failure::usage(error.to_string())
}

/// The tokens by the keys that lie in their files now: a runtime outlives a rotation.
struct Current {
    config: TokensConfig,
    audience: String,
    files: Vec<PathBuf>,
    loaded: Mutex<(Vec<Stamp>, Arc<dyn TokenScheme>)>,
}

/// What tells two states of a file of keys apart, which is replaced as a whole.
type Stamp = Option<(u64, i64, i64)>;

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let data = std::fs::metadata(file).ok()?;
        Some((data.ino(), data.mtime(), data.mtime_nsec()))
    };
    files.iter().map(stamp).collect()
}

impl Current {
    fn scheme(&self) -> Result<Arc<dyn TokenScheme>, TokenError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamps(&self.files);
        if loaded.0 != now {
            let fresh = scheme(&self.config, &self.audience);
            let fresh = fresh.map_err(|failure| TokenError::Keys(failure.message().to_owned()))?;
            *loaded = (now, Arc::from(fresh));
        }
        Ok(Arc::clone(&loaded.1))
    }
}

impl TokenScheme for Current {
    fn name(&self) -> &'static str {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).1.name()
    }

    fn audience(&self) -> &str {
        &self.audience
    }

    fn issue(&self, claims: &Claims) -> Result<String, TokenError> {
        self.scheme()?.issue(claims)
    }

    fn verify(&self, token: &str, at: Timestamp) -> Result<Verified, TokenError> {
        self.scheme()?.verify(token, at)
    }
}
