//! The operating system's keyring, where this build has one.

use super::SealingError;
use super::crypto::Secret;

/// The wrapping key under `account`; `create` makes one if there is none.
#[cfg(feature = "os-keyring")]
pub(super) fn key(account: &str, create: bool) -> Result<Secret, SealingError> {
    use super::crypto::{hex, unhex};
    use zeroize::Zeroizing;
    const SERVICE: &str = "toka-vault";
    let failed = |error: keyring::Error| {
        // Why there is no store, as on a server, is said elsewhere.
        let reason = keyring::Entry::store_status().as_ref().err().map(ToString::to_string);
        SealingError::NoKeyring(reason.unwrap_or_else(|| error.to_string()))
    };
    let entry = keyring::Entry::new(SERVICE, account).map_err(failed)?;
    match entry.get_password() {
        Ok(text) => {
            let bytes = unhex(&Zeroizing::new(text)).map(Zeroizing::new);
            let secret = bytes.as_deref().and_then(|bytes| Secret::from_slice(bytes));
            secret.ok_or_else(|| SealingError::NoKeyring("what lies there is no key of a vault".into()))
        }
        Err(keyring::Error::NoEntry) if create => {
            let secret = Secret::random()?;
            entry.set_password(&Zeroizing::new(hex(&secret.0))).map_err(failed)?;
            Ok(secret)
        }
        Err(keyring::Error::NoEntry) => {
            Err(SealingError::NoKeyring(format!("it has no key called {account} of {SERVICE}")))
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(not(feature = "os-keyring"))]
pub(super) fn key(_: &str, _: bool) -> Result<Secret, SealingError> {
    Err(SealingError::NoKeyring("this build has no feature `os-keyring`".into()))
}
