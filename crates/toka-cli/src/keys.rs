//! The key of a sealed vault: from a file, from the terminal, or from where the vault was told it lies.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use toka_types::KeyId;
use toka_vault::StoreError;
use toka_vault::seal::{Key, Keyring, KeysInfo, Passphrase, SealingError, Source, keys_path};
use zeroize::Zeroizing;

use crate::context::{Context, absolute};
use crate::failure::{Failure, Stop};

/// Where the passphrase lies.
pub(crate) const PASSPHRASE_FILE: &str = "TOKA_PASSPHRASE_FILE";
/// Where a key file lies that is not where the vault was told.
const KEY_FILE: &str = "TOKA_KEY_FILE";
/// What a terminal sends for Ctrl-C and Ctrl-D while it shows nothing.
const INTERRUPT: u8 = 3;
const END: u8 = 4;

/// How much a command needs the key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// It does without, and shows less; whoever is there is not asked.
    AtHand,
    /// It does without if nobody can be asked.
    Wanted,
    /// It cannot do without.
    Must,
}

/// The key of the vault in `vault`; `None` if it is not sealed, or the key is not needed and not there.
pub(crate) fn key_of(context: &Context, vault: &Path, need: Need) -> Result<Option<Key>, Stop> {
    let Some(info) = KeysInfo::read(vault).map_err(StoreError::from)? else { return Ok(None) };
    let mut unasked = None;
    let key = match &info.source {
        Source::Passphrase => match variable(PASSPHRASE_FILE) {
            Some(file) => Some(Key::Passphrase(Passphrase::from_file(&file).map_err(StoreError::from)?)),
            None if need != Need::AtHand && may_ask(context) => Some(Key::Passphrase(ask("passphrase: ")?)),
            None => None,
        },
        Source::KeyFile(path) => match variable(KEY_FILE) {
            Some(file) => Some(Key::KeyFile(file)),
            None if path.exists() => Some(Key::KeyFile(path.clone())),
            None => None,
        },
        Source::Keyring if need == Need::Must => Some(Key::Keyring),
        // What else is wrong with it is said where it is opened.
        Source::Keyring => match Keyring::open_read_only(vault, &Key::Keyring) {
            Err(SealingError::NoKeyring(reason)) => {
                unasked = Some(reason);
                None
            }
            _ => Some(Key::Keyring),
        },
    };
    if key.is_some() || need == Need::AtHand {
        return Ok(key);
    }
    let hint = match &info.source {
        Source::Passphrase => format!("{PASSPHRASE_FILE} names a file that holds the passphrase"),
        Source::KeyFile(path) => {
            format!("there is no file at {}; {KEY_FILE} names another place", path.display())
        }
        Source::Keyring => unasked.unwrap_or_default(),
    };
    let message = format!("the vault is sealed with {}, which is not at hand", info.source);
    if need == Need::Must {
        return Err(Failure::sealed(message).hint(hint).into());
    }
    context.notes.warn(format_args!("{message}: content is not shown"));
    context.notes.hint(hint);
    Ok(None)
}

/// Where the keys lie that open a bundle of a sealed vault: beside it, or in the vault that is found without it.
pub(crate) fn home_of(context: &Context, bundle: &Path, keys: KeyId) -> Result<Option<PathBuf>, Stop> {
    if let Some(beside) = KeysInfo::read(bundle).map_err(StoreError::from)? {
        if beside.id != keys {
            let (path, found) = (keys_path(bundle), beside.id);
            return Err(StoreError::from(SealingError::OtherVault { path, found, wanted: keys }).into());
        }
        return Ok(Some(bundle.to_owned()));
    }
    // Keys of another vault, or damaged ones, are none of this bundle's.
    let its_own = |vault: &PathBuf| matches!(KeysInfo::read(vault), Ok(Some(info)) if info.id == keys);
    Ok(context.vault_found().filter(its_own))
}

/// The key with which a vault is to be sealed, as `--seal` says it: `passphrase`, `key-file=PATH` or `keyring`. `named` is
/// what names the `file` with a passphrase.
pub(crate) fn new_key(
    context: &Context,
    text: &str,
    file: Option<PathBuf>,
    named: &str,
) -> Result<Key, Stop> {
    match text.split_once('=') {
        None if text == "passphrase" => Ok(Key::Passphrase(new_passphrase(context, file, named)?)),
        None if text == "keyring" => Ok(Key::Keyring),
        Some(("key-file", path)) if !path.is_empty() => Ok(Key::KeyFile(absolute(Path::new(path))?)),
        _ => Err(Failure::usage(format!("'{text}' is nothing to seal a vault with"))
            .hint("passphrase, key-file=PATH or keyring")
            .into()),
    }
}

fn new_passphrase(context: &Context, file: Option<PathBuf>, named: &str) -> Result<Passphrase, Stop> {
    if let Some(file) = file {
        return Ok(Passphrase::from_file(&file).map_err(StoreError::from)?);
    }
    if !may_ask(context) {
        return Err(Failure::sealed("there is nobody to ask for a passphrase")
            .hint(format!("{named} names a file that holds it"))
            .into());
    }
    let (first, second) = (read_hidden("new passphrase: ")?, read_hidden("once more: ")?);
    if *first != *second {
        return Err(Failure::usage("the two passphrases differ; nothing was changed").into());
    }
    Ok(Passphrase::new(first.as_slice()).map_err(StoreError::from)?)
}

/// The file that the environment names for the passphrase.
pub(crate) fn passphrase_file() -> Option<PathBuf> {
    variable(PASSPHRASE_FILE)
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| value != OsStr::new("")).map(PathBuf::from)
}

fn may_ask(context: &Context) -> bool {
    !context.global.no_input && io::stdin().is_terminal()
}

fn ask(question: &str) -> Result<Passphrase, Stop> {
    Ok(Passphrase::new(read_hidden(question)?.as_slice()).map_err(StoreError::from)?)
}

/// A terminal that shows nothing of what is typed until this is dropped.
struct Hidden<'a>(&'a std::fs::File, Termios);

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // If this fails the terminal is gone.
        let _ = tcsetattr(self.0, OptionalActions::Flush, &self.1);
    }
}

/// A line from the terminal, which is not shown.
fn read_hidden(question: &str) -> Result<Zeroizing<Vec<u8>>, Stop> {
    let failed =
        |error: io::Error| Stop::from(Failure::failed(format!("cannot ask for a passphrase: {error}")));
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(failed)?;
    let before = tcgetattr(&terminal).map_err(|error| failed(error.into()))?;
    let mut quiet = before.clone();
    // Ctrl-C comes as a byte, so that the terminal is left as it was.
    quiet.local_modes &= !(LocalModes::ECHO | LocalModes::ISIG | LocalModes::ICANON);
    tcsetattr(&terminal, OptionalActions::Flush, &quiet).map_err(|error| failed(error.into()))?;
    terminal.write_all(question.as_bytes()).map_err(failed)?;
    let handle = terminal.try_clone().map_err(failed)?;
    let hidden = Hidden(&handle, before);
    // All at once, so that no copy is left behind where it grew.
    let mut line = Zeroizing::new(Vec::with_capacity(8 << 10));
    let mut byte = [0];
    let ended = loop {
        match terminal.read(&mut byte).map_err(failed)? {
            0 => break false,
            _ => match byte[0] {
                b'\n' | b'\r' => break true,
                INTERRUPT => break false,
                END => break !line.is_empty(),
                // Backspace, by either of its names.
                8 | 127 => drop(line.pop()),
                byte if line.len() < line.capacity() => line.push(byte),
                _ => {}
            },
        }
    };
    drop(hidden);
    terminal.write_all(b"\n").map_err(failed)?;
    if ended { Ok(line) } else { Err(Failure::usage("no passphrase was given").into()) }
}
