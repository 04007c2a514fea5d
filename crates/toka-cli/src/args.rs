//! The commands and their options.

mod cap;

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use toka_types::Sink;
use toka_vault::Engine;

pub(crate) use cap::{Cap, Countersign, Issue, Narrow, Renew};

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
    /// The vault's directory, or a bundle to look at [env: TOKA_VAULT] [default: the configuration's, else the nearest .toka]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) vault: Option<PathBuf>,
    /// The configuration file [env: TOKA_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The log to look at or to fork, where it is not `main`
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) log: Option<String>,
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
        /// What keeps the vault [default: journal]
        #[arg(long, value_name = "KIND", value_parser = store())]
        store: Option<Engine>,
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
    Verify(Verify),
    /// Prove, keep, move and erase what the vault holds
    #[command(subcommand)]
    Vault(Vault),
    /// Fold the log anew from empty memory and compare
    Replay,
    /// Look at the agents
    #[command(subcommand)]
    Agents(Agents),
    /// Who may do what
    #[command(subcommand)]
    Cap(Cap),
    /// Look at the policy of the configuration or of the vault
    #[command(subcommand)]
    Policy(Policy),
    /// Calls that wait for a person's word
    #[command(subcommand)]
    Approvals(Approvals),
    /// Money: accounts, and what moves between them
    #[command(subcommand)]
    Ledger(Ledger),
    /// Operations of the kernel
    #[command(subcommand)]
    Op(Op),
    /// The chain from an act back to the request that it goes back to
    Why {
        /// The event's id, or at least the first six digits of it
        id: String,
    },
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

/// Which events to show, or passages of which to find; all that are given must hold.
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
    /// Events that name this one as a cause: its children
    #[arg(long, value_name = "EVENT")]
    pub(crate) cause: Option<String>,
    /// Events about files whose path matches
    #[arg(long, value_name = "GLOB")]
    pub(crate) path: Option<String>,
    #[command(flatten)]
    pub(crate) period: Period,
}

/// A stretch of time.
#[derive(Args)]
pub(crate) struct Period {
    /// At or after this time (RFC 3339, or a date in UTC)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Before this time
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
    #[command(flatten)]
    pub(crate) filter: Filters,
}

#[derive(Subcommand)]
pub(crate) enum Intents {
    /// List all intents, or those of a period
    List {
        #[command(flatten)]
        period: Period,
        /// Only intents whose first passage lies in the period [default: the day before the log's last event]
        #[arg(long)]
        new: bool,
        /// Which come first
        #[arg(long, value_enum)]
        sort: Option<IntentOrder>,
    },
    /// Show an intent with its passages
    Show {
        /// The intent's id
        id: String,
    },
    /// Passages that mean the same as an event
    Near {
        /// The id of a passage's or a file's event
        event: String,
        /// Most passages shown
        #[arg(long, default_value_t = 10)]
        limit: usize,
    },
}

/// The order of a listing of intents.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum IntentOrder {
    /// Those with most passages
    Size,
    /// Those whose first passage is the latest
    New,
    /// Those with fewest passages
    Rare,
}

#[derive(Args)]
pub(crate) struct Verify {
    /// Compare the log with this checkpoint too; `-` reads it from standard input
    #[arg(long, value_name = "CHECKPOINT")]
    pub(crate) against: Option<PathBuf>,
    /// A key that has to have signed the checkpoint, as NAME+HASH+KEY [default: the operator's own]
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Vec<String>,
}

#[derive(Subcommand)]
pub(crate) enum Vault {
    /// Sign what the log amounts to now
    Checkpoint(CheckpointArgs),
    /// Prove that an event is in the log
    Prove(ProveArgs),
    /// Write a stretch of the log to one file that can be checked anywhere
    Export(ExportArgs),
    /// Take the events of such a file over into a vault
    Import(ImportArgs),
    /// What the vault's bytes are, by kinds of events
    Stat,
    /// Drop content that the configuration's rules let go, and content that is stored twice
    Compact {
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Make a new log that shares everything up to an event and goes its own way from there
    Fork {
        /// The last event that both logs have: its id, or at least the first six digits of it
        event: String,
        /// The new log's name [default: fork- and the beginning of the event's id]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Copy the vault to a new one that another store keeps
    Migrate {
        /// What is to keep it
        #[arg(long, value_name = "STORE", value_parser = store())]
        to: Engine,
        /// Where the new vault is made; nothing may be there
        #[arg(value_name = "PATH")]
        path: PathBuf,
    },
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

#[derive(Args)]
pub(crate) struct CheckpointArgs {
    /// What the log is called [default: toka/, digits of its first event, its name]
    #[arg(long, value_name = "NAME")]
    pub(crate) origin: Option<String>,
    /// Write the signed note to this file too
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Ask the witness at this URL to cosign it
    #[arg(long, value_name = "URL")]
    pub(crate) witness: Vec<String>,
    /// The key of that witness, as NAME+HASH+KEY; one for each --witness, in the same order
    #[arg(long, value_name = "KEY")]
    pub(crate) witness_key: Vec<String>,
}

#[derive(Args)]
pub(crate) struct ExportArgs {
    /// The file to write
    pub(crate) file: PathBuf,
    /// The number of the first event
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    pub(crate) from: u64,
    /// The number of the last event [default: the log's last]
    #[arg(long, value_name = "SEQ")]
    pub(crate) to: Option<u64>,
    /// Only content of events of this kind and those below it; every event's header stays
    #[arg(long, value_name = "PREFIX")]
    pub(crate) kind: Vec<String>,
    /// Leave content out: of a kind, author:NAME, label:LABEL or event:ID
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) redact: Vec<String>,
    /// Let everybody read what is in it, though the vault is sealed: with a key for each content
    #[arg(long)]
    pub(crate) disclose: bool,
    /// Put no signed checkpoint into it
    #[arg(long)]
    pub(crate) unsigned: bool,
    /// What the log is called in the checkpoint
    #[arg(long, value_name = "NAME", conflicts_with = "unsigned")]
    pub(crate) origin: Option<String>,
}

#[derive(Args)]
pub(crate) struct ImportArgs {
    /// The file that `export` wrote
    pub(crate) file: PathBuf,
    /// A key that has to have signed it, as NAME+HASH+KEY
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Vec<String>,
}

#[derive(Args)]
pub(crate) struct ProveArgs {
    /// The event's id, or at least the first six digits of it
    #[arg(value_name = "EVENT")]
    pub(crate) event: String,
    /// Prove it by this checkpoint instead of a new one
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// What the log is called
    #[arg(long, value_name = "NAME", conflicts_with = "checkpoint")]
    pub(crate) origin: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum Agents {
    /// List the agents of the vault
    List,
    /// Create an agent with a part of the operator's grant
    Create(Create),
}

#[derive(Args)]
pub(crate) struct Create {
    /// Its name
    pub(crate) name: String,
    /// The program it runs
    #[arg(long)]
    pub(crate) behaviour: String,
    /// A capability that it may use
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) grant: Vec<String>,
    /// A capability that it may hand on
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) delegate: Vec<String>,
    /// What it may spend, from the operator's account: "0.50 USD" [default: nothing]
    #[arg(long, value_name = "MONEY")]
    pub(crate) budget: Option<String>,
    /// When its grant ends (RFC 3339, or a date in UTC) [default: never]
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum Policy {
    /// Find rules of the policy that do nothing, or contradict each other
    Check,
    /// What the policy says about a call, and why
    Explain(ExplainPolicy),
}

#[derive(Args)]
pub(crate) struct ExplainPolicy {
    /// The call as a capability with one value for each argument: `tool:http.post(host=api.example.com)`
    #[arg(value_name = "OP")]
    pub(crate) operation: String,
    /// A label of its data
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Vec<String>,
    /// Take the labels of this event too: its id, or at least the first six digits of it
    #[arg(long, value_name = "EVENT")]
    pub(crate) because: Option<String>,
    /// Where its arguments go: none, write or external
    #[arg(long, default_value_t = Sink::External, value_name = "SINK")]
    pub(crate) sink: Sink,
    /// When it is asked for (RFC 3339, or a date in UTC) [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum Approvals {
    /// List what waits, what ends first at the top
    List,
    /// Let a call be made
    Allow {
        /// The approval's id, or at least the first six digits of it
        id: String,
        /// How much is allowed
        #[arg(long, value_enum, default_value_t = Scope::Once)]
        scope: Scope,
        /// Until when that holds (RFC 3339, or a date in UTC) [default: as the agent asked]
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
    /// Refuse a call
    Deny {
        /// The approval's id, or at least the first six digits of it
        id: String,
        /// Until when that holds [default: as the agent asked]
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
}

/// How much an approval allows.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    /// The call, once
    Once,
    /// The tool with these very arguments, as often as the agent likes
    Arguments,
    /// The tool with any arguments
    Tool,
}

#[derive(Subcommand)]
pub(crate) enum Ledger {
    /// List all accounts
    Accounts,
    /// What an account held, what moved, and what it holds
    Statement {
        /// Its owner, by name or id, and where there are several of the owner's, the currency: operator:USD
        account: String,
        #[command(flatten)]
        period: Period,
    },
    /// Issue money
    Mint(Mint),
    /// Pay
    Transfer(Transfer),
    /// Hand money down to an account, from the one above it
    TopUp(TopUp),
}

#[derive(Args)]
pub(crate) struct Mint {
    /// How much: "10 USD"
    pub(crate) money: String,
    /// Who gets it: an agent or a user by name, or operator
    #[arg(long, value_name = "NAME")]
    pub(crate) to: String,
    /// Open an account, if there is none, for a name that no agent and no user has
    #[arg(long)]
    pub(crate) open: bool,
}

#[derive(Args)]
pub(crate) struct Transfer {
    /// How much: "0.50 USD"
    pub(crate) money: String,
    /// Who is paid, by name
    #[arg(long, value_name = "NAME")]
    pub(crate) to: String,
    /// Who pays, by name [default: operator]
    #[arg(long, value_name = "NAME")]
    pub(crate) from: Option<String>,
    /// Open an account, if there is none, for a name that no agent and no user has
    #[arg(long)]
    pub(crate) open: bool,
}

#[derive(Args)]
pub(crate) struct TopUp {
    /// Whose account it is
    pub(crate) name: String,
    /// How much: "0.50 USD"
    pub(crate) money: String,
}

#[derive(Subcommand)]
pub(crate) enum Op {
    /// Ask the kernel for an operation, as the operator or with a token
    Submit(Submit),
}

#[derive(Args)]
pub(crate) struct Submit {
    /// A file with the operation as JSON; `-` reads standard input
    pub(crate) file: PathBuf,
    /// Ask as the token's subject, by what it allows; `-` reads it from standard input
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// The file of the key that the token is bound to: the operation is signed with it
    #[arg(long, value_name = "FILE", requires = "token")]
    pub(crate) key_file: Option<PathBuf>,
    /// An id for the operation, 32 hex digits: sent again with it, it is answered and not done again [default: with a
    /// token, a random one]
    #[arg(long, value_name = "ID")]
    pub(crate) op_id: Option<String>,
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

/// Reads the name of a store, of one that this build does not have too: then the error says what would bring it.
fn store() -> impl TypedValueParser<Value = Engine> {
    PossibleValuesParser::new(Engine::ALL.map(Engine::name))
        .map(|name| Engine::named(&name).unwrap_or_default())
}
