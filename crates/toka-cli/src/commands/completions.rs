//! `toka completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::context::Context;
use crate::failure::{Exit, Outcome};

pub(crate) fn completions(context: &mut Context, shell: Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "toka", &mut script);
    context.out.bytes(&script)?;
    Ok(Exit::OK)
}
