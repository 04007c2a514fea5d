//! The toka command line: runs agents on a vault, and looks at what they recorded.
//!
//! Standard output carries data alone; progress, logs and errors go to standard error. `docs/cli.md` describes every
//! command with its shapes and exit codes.
//!
//! | Module | Holds |
//! |---|---|
//! | [`args`] | the commands and their options |
//! | [`context`] | the options in force, the configuration, where the vault is |
//! | [`embedder`] | what makes vectors, as configured |
//! | [`engine`] | what finds words, as configured |
//! | [`keys`] | the key of a sealed vault |
//! | [`look`] | a vault open for reading |
//! | [`record`] | events as JSON |
//! | [`scheme`] | the tokens of a vault, as configured |
//! | [`output`], [`notes`] | standard output, standard error |
//! | [`failure`] | what goes wrong, its exit code and its way out |
//! | [`commands`] | one module for each command |

mod args;
mod commands;
mod context;
mod embedder;
mod engine;
mod failure;
mod keys;
mod look;
mod notes;
mod output;
mod paths;
mod record;
mod scheme;
mod signals;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::args::Cli;
use crate::context::Context;
use crate::failure::{Exit, Failure};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error),
    };
    let json = cli.global.json;
    allow_many_files();
    let outcome =
        Context::new(&cli.global).and_then(|mut context| commands::dispatch(&mut context, cli.command));
    match outcome {
        Ok(exit) => exit.into(),
        Err(stop) => failure::report(&stop, json).into(),
    }
}

/// A reader of a large vault in RocksDB has all its tables open: more files than a process may by default. The journal
/// needs few.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it is refused, a large vault says what it lacks.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Help and version are answers; anything else that clap says is an error of usage.
fn misunderstood(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that went away has seen enough of the help.
            let _ = error.print();
            Exit::OK.into()
        }
        _ if std::env::args_os().any(|arg| arg == "--json") => {
            let text = error.to_string();
            let mut lines = text
                .lines()
                .map(|line| line.trim().trim_start_matches("error: "))
                .filter(|line| !line.is_empty());
            let mut message = lines.next().unwrap_or("the command line is not understood").to_owned();
            let mut hints: Vec<&str> = lines.collect();
            if message.ends_with(':') {
                // What is listed after a colon stands on lines of its own.
                let listed = hints.iter().take_while(|line| !line.contains(": ")).count();
                for argument in hints.drain(..listed) {
                    message.push(' ');
                    message.push_str(argument);
                }
            }
            let hint = hints.join("; ");
            let failure = Failure::usage(message).hint(if hint.is_empty() {
                "try `toka --help`".to_owned()
            } else {
                hint
            });
            failure::report(&failure.into(), true).into()
        }
        _ => {
            let _ = error.print();
            Exit::USAGE.into()
        }
    }
}
