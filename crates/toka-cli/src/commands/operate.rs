//! What changes the vault through the kernel: handed to the runtime that runs on it, or done here where none does.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use toka_auth::Proof;
use toka_runtime::clock::{Clock, SystemClock};
use toka_runtime::config::{RuntimeConfig, VaultConfig};
use toka_runtime::control::{
    self, Answer, Asked, CallOutcome, EventLine, OperationText, Order, Presented, Refusal, Renewal, Terms,
};
use toka_runtime::{Runtime, search};
use toka_types::capability::CapabilityError;
use toka_types::nonce::Nonce;
use toka_types::path::for_terminal;
use toka_types::{Capability, Digest, GrantId, Money, Name, OpId};
use toka_vault::snapshot::Snapshots;
use toka_vault::{Journal, StoreError};

use super::{holding, tokens};
use crate::args::{Create, Renew, Submit};
use crate::context::{Context, operator_state, snapshot_key};
use crate::failure::{Exit, Failure, Outcome, Stop};
use crate::keys::{self, Need};
use crate::output::KEY;
use crate::scheme;

/// The longest operation that is read from a file.
const MAX_OPERATION: u64 = 2 << 20;
/// How long a signature under an operation may wait to be seen.
const SIGNED_FOR: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Done<'a> {
    v: u32,
    events: &'a [EventLine],
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a CallOutcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    op_id: Option<OpId>,
}

/// `toka op submit`.
pub(crate) fn submit(context: &mut Context, asked: &Submit) -> Outcome {
    let file = &asked.file;
    if asked.token.as_deref() == Some("-") && file == Path::new("-") {
        let failure = Failure::usage("standard input can be the operation or the token, and not both");
        return Err(failure.hint("write the operation to a file").into());
    }
    let mut json = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(MAX_OPERATION + 1).read_to_end(&mut json)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(MAX_OPERATION + 1).read_to_end(&mut json))
    };
    read.map_err(|error| Failure::absent(format!("cannot read {}: {error}", file.display())))?;
    if json.len() as u64 > MAX_OPERATION {
        let failure = Failure::usage(format!("{} has more than {MAX_OPERATION} bytes", file.display()));
        return Err(failure
            .hint("an operation is one JSON object; large content belongs into storage")
            .into());
    }
    let operation = OperationText::parse(&json).map_err(|error| {
        Failure::usage(error.to_string())
            .hint("docs/cli.md lists the operations with their keys, and how values are written")
    })?;
    let op_id = match asked.op_id.as_deref() {
        Some(text) => Some(text.parse::<OpId>().map_err(|error| Failure::usage(error.to_string()))?),
        None if asked.token.is_some() => Some(random()?),
        None => None,
    };
    let request = match (&asked.token, op_id) {
        (Some(token), Some(op_id)) => {
            let token = tokens::read(token)?;
            Asked::Bearer(present(token, asked.key_file.as_deref(), Order { op_id, operation })?)
        }
        _ => Asked::Operator { op_id, operation },
    };
    let (events, output) = done(ask_as(context, &request)?)?;
    print_with(context, &events, output.as_ref(), op_id)?;
    match output {
        Some(CallOutcome { status, detail, .. }) if status != "ok" => {
            let detail = detail.map_or_else(String::new, |detail| format!(": {detail}"));
            let failure = Failure::failed(format!("the call failed ({status}){detail}"));
            Err(failure.hint("its outcome is recorded all the same").into())
        }
        _ => Ok(Exit::OK),
    }
}

/// The operation under a token, signed if there is a key.
fn present(token: String, key_file: Option<&Path>, order: Order) -> Result<Presented, Failure> {
    let order = serde_json::to_string(&order).map_err(|error| Failure::usage(error.to_string()))?;
    let mut presented = Presented { token, proof: None, order };
    presented.proof = proof(&presented.token, key_file, &presented.digest())?;
    Ok(presented)
}

/// The signature under what is asked with a token, if there is a key.
fn proof(token: &str, key_file: Option<&Path>, asked: &Digest) -> Result<Option<String>, Failure> {
    let Some(file) = key_file else { return Ok(None) };
    let key = holding::load(file)?;
    let audience = toka_auth::inspect(token).map_err(tokens::unreadable)?.audience;
    let ends = SystemClock.now().saturating_add(SIGNED_FOR);
    let (token, nonce) = (Digest::of(token.as_bytes()), Nonce(random()?.0));
    Ok(Some(Proof::sign(&key, &token, asked, &audience, nonce, ends).to_string()))
}

/// `toka cap renew`.
pub(crate) fn renew(context: &mut Context, asked: &Renew) -> Outcome {
    let only = (!asked.only.is_empty()).then(|| tokens::set(&asked.only)).transpose()?;
    let terms = serde_json::to_string(&Terms { ttl: asked.ttl, only });
    let terms = terms.map_err(|error| Failure::usage(error.to_string()))?;
    let mut renewal = Renewal { token: tokens::read(&asked.token)?, proof: None, terms };
    renewal.proof = proof(&renewal.token, asked.key_file.as_deref(), &renewal.digest())?;
    let answer = ask_as(context, &Asked::Renewal(renewal))?;
    let token = answer.token.ok_or_else(|| Failure::failed("the runtime answered without a token"))?;
    holding::print_token(context, token)
}

fn random() -> Result<OpId, Failure> {
    toka_auth::token::random_number().map_err(|error| Failure::failed(error.to_string()))
}

/// `toka agents create`.
pub(crate) fn create(context: &mut Context, asked: &Create) -> Outcome {
    let name = name(&asked.name)?;
    let behaviour = self::name(&asked.behaviour)?;
    let (uses, delegates) = (capabilities(&asked.grant)?, capabilities(&asked.delegate)?);
    let expires = asked.expires.as_deref().map(super::filter::time).transpose()?;
    if let Some(text) = asked.expires.as_ref().filter(|_| expires <= Some(SystemClock.now())) {
        let failure =
            Failure::usage(format!("{} is past: the grant would allow nothing", for_terminal(text)));
        return Err(failure.hint("leave --expires out for a grant without an end").into());
    }
    let budget = asked.budget.as_deref().map(money).transpose()?;
    let operation =
        OperationText::SpawnAgent { name, behaviour, uses, delegates, expires, budget, quarantine: None };
    let events = ask(context, &operation)?;
    print(context, &events)
}

/// `toka cap revoke`.
pub(crate) fn revoke(context: &mut Context, grant: u64) -> Outcome {
    let events = ask(context, &OperationText::RevokeGrant { grant: GrantId(grant) })?;
    print(context, &events)
}

/// Asks for an operation as the operator; the events that it became.
pub(crate) fn ask(context: &Context, operation: &OperationText) -> Result<Vec<EventLine>, Stop> {
    let asked = Asked::Operator { op_id: None, operation: operation.clone() };
    done(ask_as(context, &asked)?).map(|(events, _)| events)
}

fn done(answer: Answer) -> Result<(Vec<EventLine>, Option<CallOutcome>), Stop> {
    let events = answer.events.ok_or_else(|| Failure::failed("the runtime answered without events"))?;
    Ok((events, answer.output))
}

/// What the runtime on the vault answers, or this process where none runs; a refusal is a failure.
fn ask_as(context: &Context, asked: &Asked) -> Result<Answer, Stop> {
    let vault = context.vault_itself()?;
    let answer = match control::ask(&vault, asked) {
        Ok(Some(answer)) => answer,
        Ok(None) => alone(context, &vault, asked)?,
        Err(error) => {
            let failure = Failure::failed(format!("the runtime on this vault did not answer: {error}"));
            return Err(failure.hint("what was asked may have happened: look at `toka events tail`").into());
        }
    };
    match answer {
        Answer { error: Some(Refusal { code, message, .. }), .. } if is_unfit(&code) => {
            Err(Failure::usage(message).into())
        }
        Answer { error: Some(refusal), .. } if refusal.denied => {
            Err(Failure::refused(&refusal.code, &refusal.message).into())
        }
        Answer { error: Some(refusal), .. } if refusal.code == "approval.pending" => {
            Err(Failure::pending(refusal.message).into())
        }
        Answer { error: Some(refusal), .. } if refusal.code == "invalid" => {
            Err(Failure::usage(refusal.message).into())
        }
        Answer { error: Some(refusal), .. } if refusal.code == "unknown" => {
            Err(Failure::unknown(refusal.message).into())
        }
        Answer { error: Some(refusal), .. } => Err(Failure::failed(refusal.message).into()),
        answered => Ok(answered),
    }
}

/// True if a token cannot be made as it is wanted.
fn is_unfit(code: &str) -> bool {
    ["token-cannot-issue", "token-too-long"].contains(&code)
}

/// Opens the vault for this one operation. No agent starts.
fn alone(context: &Context, vault: &Path, asked: &Asked) -> Result<Answer, Stop> {
    // Whatever opens a vault for writing makes one where there is none.
    drop(toka_vault::open_read_only(vault)?);
    if let Some(pid) = Journal::writer_pid(vault) {
        return Err(StoreError::Locked { path: vault.to_owned(), pid: Some(pid) }.into());
    }
    let key = keys::key_of(context, vault, Need::Must)?;
    let config = RuntimeConfig { vault: Some(VaultConfig::new(vault)), ..RuntimeConfig::default() };
    let state = operator_state()?;
    let snapshots = Snapshots::keyed(search::directory(vault), snapshot_key(&state)?);
    let tokens = match asked {
        Asked::Bearer(_) | Asked::Renewal(_) => Some(context.tokens()?),
        Asked::Operator { .. } => None,
    };
    let mut builder = Runtime::builder(config).snapshots(snapshots).protect([state]);
    builder = builder.protect(tokens.as_ref().and_then(scheme::secret_file));
    if let Some(key) = key {
        builder = builder.key(key);
    }
    let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let executor = executor.map_err(|e| Failure::failed(format!("cannot start threads: {e}")))?;
    executor.block_on(async {
        let host = builder.build().await?;
        if let Some(tokens) = &tokens {
            scheme::accept(&host, tokens)?;
        }
        let answer = host.control(asked.clone()).await;
        host.stop().await?;
        Ok(answer)
    })
}

pub(crate) fn print(context: &mut Context, events: &[EventLine]) -> Outcome {
    print_with(context, events, None, None)
}

/// What a call gave stands below its events: what there is to say about it as JSON, and then raw data, if it is a text.
fn print_with(
    context: &mut Context,
    events: &[EventLine],
    output: Option<&CallOutcome>,
    op_id: Option<OpId>,
) -> Outcome {
    if context.out.json {
        context.out.object(&Done { v: 1, events, output, op_id })?;
        return Ok(Exit::OK);
    }
    for EventLine { seq, id, kind, labels } in events {
        let labels: String = labels.iter().map(|label| format!(" {label}")).collect();
        context.out.line(format_args!("{KEY}{kind}{KEY:#} {} (number {seq}){labels}", id.short()))?;
    }
    let Some(CallOutcome { value, bytes, left_out, .. }) = output else { return Ok(Exit::OK) };
    if !value.is_null() {
        context.out.line(for_terminal(&value.to_string()))?;
    }
    match bytes {
        Some(Value::String(text)) => {
            text.lines().try_for_each(|line| context.out.line(for_terminal(line)))?;
        }
        Some(_) => context.notes.hint("its raw data is no text: `--json` prints it"),
        None => {}
    }
    if let Some(left_out) = left_out {
        context.notes.hint(format_args!("what it gave is not here: {left_out}"));
    }
    Ok(Exit::OK)
}

pub(crate) fn name(text: &str) -> Result<Name, Failure> {
    Name::new(text).map_err(|error| Failure::usage(error.to_string()))
}

pub(crate) fn money(text: &str) -> Result<Money, Failure> {
    text.parse().map_err(|error| Failure::usage(format!("{error}")).hint("as in \"0.50 USD\""))
}

fn capabilities(texts: &[String]) -> Result<Vec<Capability>, Failure> {
    let parse = |text: &String| {
        text.parse().map_err(|error: CapabilityError| {
            Failure::usage(error.to_string()).hint("as in tool:fs.read(path=docs/**): docs/capabilities.md")
        })
    };
    texts.iter().map(parse).collect()
}
