//! One module for each command.

mod agents;
mod approvals;
mod bundles;
mod cap;
mod compact;
mod completions;
mod config;
mod events;
mod explain;
mod filter;
mod fork;
mod holding;
mod host;
mod init;
mod intents;
mod ledger;
mod migrate;
mod operate;
mod policy;
mod progress;
mod proofs;
mod replay;
mod sealing;
mod search;
mod stat;
mod status;
mod tokens;
mod verify;
mod why;

use crate::args::{Agents, Approvals, Cap, Command, Config, Events, Intents, Ledger, Op, Policy, Vault};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::notes::Chatter;

/// Does what was asked, and hands over all that was printed.
pub(crate) fn dispatch(context: &mut Context, command: Command) -> Outcome {
    let runs = matches!(command, Command::Up { .. } | Command::Run { .. });
    context.log(if runs { Chatter::Running } else { Chatter::Looking })?;
    if context.global.log.is_some() && !reads_any_log(&command) {
        let failure = Failure::usage("this command is not about one log: --log does not go with it");
        return Err(failure
            .hint("`status`, `events`, `agents list`, `ledger accounts`, `ledger statement`, `why`, `verify`, `replay` and `vault` `fork`, `checkpoint`, `prove`, `export` take it")
            .into());
    }
    let exit = match command {
        Command::Up { folder, once } => host::up(context, folder.as_deref(), once),
        Command::Run { file, once } => host::run(context, &file, once),
        Command::Init { seal, store } => init::init(context, seal.as_deref(), store),
        Command::Status => status::status(context),
        Command::Events(Events::List { filter, from, limit }) => events::list(context, &filter, from, limit),
        Command::Events(Events::Show { id }) => events::show(context, &id),
        Command::Events(Events::Tail { filter, from }) => events::tail(context, &filter, from),
        Command::Search(asked) => search::search(context, &asked),
        Command::Intents(Intents::List { period, new, sort }) => intents::list(context, &period, new, sort),
        Command::Intents(Intents::Near { event, limit }) => intents::near(context, &event, limit),
        Command::Intents(Intents::Show { id }) => intents::show(context, &id),
        Command::Vault(Vault::Fork { event, name }) => fork::fork(context, &event, name.as_deref()),
        Command::Vault(Vault::Erase { subject }) => sealing::erase(context, &subject),
        Command::Vault(Vault::Rotate { to, passphrase_file }) => {
            sealing::rotate(context, to.as_deref(), passphrase_file)
        }
        Command::Vault(Vault::Migrate { to, path }) => migrate::migrate(context, to, &path),
        Command::Verify(asked) => verify::verify(context, &asked),
        Command::Vault(Vault::Checkpoint(asked)) => proofs::checkpoint::checkpoint(context, &asked),
        Command::Vault(Vault::Prove(asked)) => proofs::prove::prove(context, &asked),
        Command::Vault(Vault::Export(asked)) => bundles::export::export(context, &asked),
        Command::Vault(Vault::Import(asked)) => bundles::import::import(context, &asked),
        Command::Replay => replay::replay(context),
        Command::Vault(Vault::Stat) => stat::stat(context),
        Command::Vault(Vault::Compact { dry_run }) => compact::compact(context, dry_run),
        Command::Agents(Agents::List) => agents::list(context),
        Command::Agents(Agents::Create(asked)) => operate::create(context, &asked),
        Command::Cap(Cap::Tree) => cap::tree(context),
        Command::Cap(Cap::Explain { code }) => explain::explain(context, &code),
        Command::Cap(Cap::Revoke { grant }) => operate::revoke(context, grant),
        Command::Cap(Cap::Issue(asked)) => tokens::issue(context, &asked),
        Command::Cap(Cap::Show { token }) => tokens::show(context, &token),
        Command::Cap(Cap::Attenuate(asked)) => tokens::attenuate(context, &asked),
        Command::Cap(Cap::Renew(asked)) => operate::renew(context, &asked),
        Command::Cap(Cap::Rotate { overlap }) => tokens::rotate(context, overlap),
        Command::Cap(Cap::Key { file }) => holding::key(context, &file),
        Command::Cap(Cap::HandOn { token, key_file, holder }) => {
            holding::hand_on(context, &token, &key_file, &holder)
        }
        Command::Cap(Cap::Request { token }) => holding::request(context, &token),
        Command::Cap(Cap::Sign(asked)) => holding::sign(context, &asked),
        Command::Cap(Cap::Append { token, block }) => holding::append(context, &token, &block),
        Command::Cap(Cap::Verify { token }) => tokens::verify(context, &token),
        Command::Policy(Policy::Check) => policy::check(context),
        Command::Policy(Policy::Explain(asked)) => policy::explain(context, &asked),
        Command::Approvals(Approvals::List) => approvals::list(context),
        Command::Approvals(Approvals::Allow { id, scope, until }) => {
            approvals::allow(context, &id, scope, until.as_deref())
        }
        Command::Approvals(Approvals::Deny { id, until }) => approvals::deny(context, &id, until.as_deref()),
        Command::Ledger(Ledger::Accounts) => ledger::accounts(context),
        Command::Ledger(Ledger::Statement { account, period }) => {
            ledger::statement(context, &account, &period)
        }
        Command::Ledger(Ledger::Mint(asked)) => ledger::mint(context, &asked),
        Command::Ledger(Ledger::Transfer(asked)) => ledger::transfer(context, &asked),
        Command::Ledger(Ledger::TopUp(asked)) => ledger::top_up(context, &asked),
        Command::Op(Op::Submit(asked)) => operate::submit(context, &asked),
        Command::Why { id } => why::why(context, &id),
        Command::Config(Config::Check) => config::check(context),
        Command::Config(Config::Schema) => config::schema(context),
        Command::Config(Config::Show { origin }) => config::show(context, origin),
        Command::Completions { shell } => completions::completions(context, shell),
    }?;
    context.out.flush()?;
    Ok(exit)
}

/// True for what looks at a log by itself. Search and intents are projections of `main`, which is also what runs.
fn reads_any_log(command: &Command) -> bool {
    match command {
        Command::Status
        | Command::Events(_)
        | Command::Verify(_)
        | Command::Replay
        | Command::Agents(Agents::List)
        | Command::Ledger(Ledger::Accounts | Ledger::Statement { .. })
        | Command::Why { .. }
        | Command::Vault(Vault::Fork { .. } | Vault::Checkpoint(_) | Vault::Prove(_) | Vault::Export(_)) => {
            true
        }
        Command::Up { .. }
        | Command::Run { .. }
        | Command::Init { .. }
        | Command::Search(_)
        | Command::Intents(_)
        | Command::Agents(Agents::Create(_))
        | Command::Cap(_)
        | Command::Policy(_)
        | Command::Approvals(_)
        | Command::Ledger(Ledger::Mint(_) | Ledger::Transfer(_) | Ledger::TopUp(_))
        | Command::Op(_)
        | Command::Vault(
            Vault::Import(_)
            | Vault::Stat
            | Vault::Compact { .. }
            | Vault::Migrate { .. }
            | Vault::Erase { .. }
            | Vault::Rotate { .. },
        )
        | Command::Config(_)
        | Command::Completions { .. } => false,
    }
}
