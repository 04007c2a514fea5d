//! The commands of `toka cap`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(crate) enum Cap {
    /// Show every grant under the one it was cut from
    Tree,
    /// What a refusal means, and what would have allowed it
    Explain {
        /// The code, as in `capability.missing`, or the id of the event of a refusal
        code: String,
    },
    /// Void a grant and all cut from it
    Revoke {
        /// The grant's number, as in `toka cap tree`
        grant: u64,
    },
    /// Issue a token with which somebody outside acts under a grant
    Issue(Issue),
    /// Show what a token says; nothing of it is checked
    Show {
        /// The token; `-` reads standard input
        token: String,
    },
    /// Take something away from a token, without asking anybody
    Attenuate(Narrow),
    /// Replace a token that is still valid by a fresh one, as narrow
    Renew(Renew),
    /// Show the public half of a key in a file, and make the key the first time
    Key {
        /// The file, which only its owner may read
        file: PathBuf,
    },
    /// Bind a token to another key, as the holder of the one it is bound to
    HandOn {
        /// The token; `-` reads standard input
        token: String,
        /// The file of the key that it is bound to
        #[arg(long, value_name = "FILE")]
        key_file: PathBuf,
        /// The Ed25519 key of the next holder, in hex
        #[arg(long, value_name = "KEY")]
        holder: String,
    },
    /// What a third party has to see of a token to sign it
    Request {
        /// The token; `-` reads standard input
        token: String,
    },
    /// Sign a request as a third party
    Sign(Countersign),
    /// Put the block that a third party signed behind its token
    Append {
        /// The token; `-` reads standard input
        token: String,
        /// The block
        block: String,
    },
    /// Replace the operator's key; what the old one signed stays valid for a time
    Rotate {
        /// How long the old key is accepted, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 24 * 60 * 60)]
        overlap: u64,
    },
    /// Check a token and its grant
    Verify {
        /// The token; `-` reads standard input
        token: String,
    },
}

#[derive(Args)]
pub(crate) struct Issue {
    /// The agent or user as whom its bearer acts, or `operator`
    pub(crate) subject: String,
    /// A capability: those given are all that the token allows [default: all of the grant]
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) only: Vec<String>,
    /// How long it lives, in seconds; a day at most
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    pub(crate) ttl: u64,
    /// The Ed25519 key of the one who may show it, in hex [default: whoever has it]
    #[arg(long, value_name = "KEY")]
    pub(crate) holder: Option<String>,
}

#[derive(Args)]
pub(crate) struct Renew {
    /// The token; `-` reads standard input
    pub(crate) token: String,
    /// How long the new one lives, in seconds; a day at most
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    pub(crate) ttl: u64,
    /// A capability: of what the token allows, those given are all that stays
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) only: Vec<String>,
    /// The file of the key that the token is bound to, which signs the request
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Narrow {
    /// The token; `-` reads standard input
    pub(crate) token: String,
    /// A capability: of what the token allows, those given are all that stays
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) only: Vec<String>,
    /// An end (RFC 3339, or a date in UTC)
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<String>,
    /// The Ed25519 key of the one who may show it, in hex
    #[arg(long, value_name = "KEY")]
    pub(crate) holder: Option<String>,
    /// The Ed25519 key of a third party that must sign it, in hex
    #[arg(long, value_name = "KEY")]
    pub(crate) require: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Countersign {
    /// The request, as `toka cap request` printed it; `-` reads standard input
    pub(crate) request: String,
    /// The file of the third party's key
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: PathBuf,
    /// A capability: of what the token allows, those given are all that stays
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) only: Vec<String>,
    /// An end (RFC 3339, or a date in UTC)
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<String>,
}
