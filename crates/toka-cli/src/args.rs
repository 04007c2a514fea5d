//! The commands and their options.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Agents on an append-only vault: index folders, search them by words and meaning, see everything that happened.
#[derive(Parser)]
#[command(
    name = "toka",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What may stand before or after any command.
#[derive(Args, Clone)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The vault's directory [env: TOKA_VAULT] [default: the configuration's, else the nearest .toka]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) vault: Option<PathBuf>,
    /// The configuration file [env: TOKA_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON: one object for an answer, one a line for a listing
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print nothing but data and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Log what is done
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub(crate) color: Colour,
    /// Never ask; what would ask fails
    #[arg(long, global = true)]
    pub(crate) no_input: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On terminals, unless NO_COLOR is set
    Auto,
    Always,
    Never,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Index a folder into the vault and follow its changes
    Up {
        /// The folder [default: the working directory]
        folder: Option<PathBuf>,
        /// End when there is nothing left to do
        #[arg(long)]
        once: bool,
    },
    /// Run the agents of a configuration
    Run {
        /// The configuration file
        #[arg(value_name = "CONFIG")]
        file: PathBuf,
        /// End when there is nothing left to do
        #[arg(long)]
        once: bool,
    },
    /// Create a vault
    Init {
        /// Encrypt what it will hold: passphrase, key-file=PATH or keyring
        #[arg(long, value_name = "WITH")]
        seal: Option<String>,
    },
    /// What the vault holds and who writes to it
    Status,
    /// Look at the events of the log
    #[command(subcommand)]
    Events(Events),
    /// Find passages by words and meaning
    Search(Search),
    /// What the indexed texts are about
    #[command(subcommand)]
    Intents(Intents),
    /// Check every byte of the vault
    Verify,
    /// Fold the log anew from empty memory and compare
    Replay,
    /// Keep the vault
    #[command(subcommand)]
    Vault(Vault),
    /// Look at the agents
    #[command(subcommand)]
    Agents(Agents),
    /// Look at the configuration
    #[command(subcommand)]
    Config(Config),
    /// Print completions for a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

#[derive(Subcommand)]
pub(crate) enum Events {
    /// List events, the newest 100 in log order
    List {
        #[command(flatten)]
        filter: Filters,
        /// Begin at this position instead of showing the newest
        #[arg(long, value_name = "SEQ")]
        from: Option<u64>,
        /// The most to show
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,
    },
    /// Show one event with its content and its children
    Show {
        /// The event's id, or at least the first six digits of it
        id: String,
    },
    /// Follow the log from its end
    Tail {
        #[command(flatten)]
        filter: Filters,
        /// Begin at this position instead of the end
        #[arg(long, value_name = "SEQ")]
        from: Option<u64>,
    },
}

/// Which events to show; all that are given must hold.
#[derive(Args)]
pub(crate) struct Filters {
    /// Events of this kind and those below it: `file`, `file.chunk`
    #[arg(long, value_name = "PREFIX")]
    pub(crate) kind: Option<String>,
    /// Events of this author, by name or id
    #[arg(long)]
    pub(crate) author: Option<String>,
    /// Events that carry this label
    #[arg(long)]
    pub(crate) label: Option<String>,
    /// Events of the passages that belong to this intent
    #[arg(long, value_name = "ID")]
    pub(crate) intent: Option<String>,
    /// Events about files whose path matches
    #[arg(long, value_name = "GLOB")]
    pub(crate) path: Option<String>,
    /// Events at or after this time (RFC 3339, or a date in UTC)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Events before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
}

#[derive(Args)]
pub(crate) struct Search {
    /// What to look for
    #[arg(required = true, value_name = "TEXT")]
    pub(crate) text: Vec<String>,
    /// The most passages
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) limit: usize,
    /// Only files whose path matches
    #[arg(long, value_name = "GLOB")]
    pub(crate) path: Option<String>,
    /// Only passages recorded by events of this kind or below it
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum Intents {
    /// List all intents
    List,
    /// Show an intent with its passages
    Show {
        /// The intent's id
        id: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Vault {
    /// Make all content of a subject unreadable for good, by destroying its keys
    Erase {
        /// An author, by name or id, or a label: subject:NAME
        #[arg(long, value_name = "SUBJECT")]
        subject: String,
    },
    /// Replace the keys of a sealed vault, or what opens them
    Rotate {
        /// What opens it from now on: passphrase, key-file=PATH or keyring [default: what does now]
        #[arg(long, value_name = "WITH")]
        to: Option<String>,
        /// A file that holds the new passphrase; else it is asked for
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub(crate) enum Agents {
    /// List the agents of the vault
    List,
}

#[derive(Subcommand)]
pub(crate) enum Config {
    /// Report every problem of the configuration
    Check,
    /// Print the JSON Schema of configuration files
    Schema,
    /// Print the values in force
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
    },
}
