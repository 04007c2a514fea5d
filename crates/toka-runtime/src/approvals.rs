//! A call that the policy asks a person about: it waits for the person's word, and goes on with it or not at all.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use toka_agents::{AgentError, Observed};
use toka_bus::{Filter, RecvError};
use toka_kernel::codec;
use toka_toolkit_core::Cancel;
use toka_types::facts::{ApprovalRequested, kinds};
use toka_types::{Envelope, Event, EventId, Operation};

use crate::host::Shared;

/// How often a call that waits looks whether whoever asked for it has gone.
const LOOK: Duration = Duration::from_millis(200);

/// The code of a call that needs a person where none is asked.
const UNATTENDED: &str = "approval.unattended";

/// What a call that a person has to allow does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenAsked {
    /// It waits for the person, as long as the question stands or the configuration lets it.
    Wait,
    /// It ends with [`AgentError::ApprovalPending`]; asked for again once it is allowed, it is made.
    Fail,
    /// It is refused with the code `approval.unattended`, and the question is taken back.
    Deny,
}

/// The question that a person was asked instead of the call's being made.
pub(crate) fn question(events: &Observed) -> Option<(&Arc<Event>, ApprovalRequested)> {
    let event = events.first().filter(|event| event.header.kind == kinds::APPROVAL_REQUESTED)?;
    Some((event, codec::decode_as(&event.header).ok()?))
}

/// Submits a call until it was made, waiting for a person in between. `first` is what it became at first.
pub(crate) async fn made(
    shared: &Shared,
    envelope: &Envelope,
    cancel: &Cancel,
    first: Observed,
) -> Result<Observed, AgentError> {
    let mut became = first;
    while let Some((event, asked)) = question(&became) {
        let id = event.header.id;
        match shared.when_asked {
            WhenAsked::Wait => {}
            WhenAsked::Fail => {
                shared.pending.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
                return Err(AgentError::ApprovalPending { approval: id });
            }
            WhenAsked::Deny => {
                take_back(shared, envelope, id).await?;
                let rule = format!(
                    "a call of '{}' needs a person's word, and this runtime is configured to ask nobody",
                    asked.tool
                );
                return Err(AgentError::Denied { code: UNATTENDED.to_owned(), rule });
            }
        }
        // Said to those too who want to hear of errors alone: nothing goes on until somebody answers.
        tracing::error!(
            "a call of '{}' waits for a person: `toka approvals allow {}`, or deny",
            asked.tool,
            id.short()
        );
        word(shared, event, &asked, envelope, cancel).await?;
        became = shared.submit(envelope.clone()).await?.committed().await?;
    }
    Ok(became)
}

/// Takes a question back that nobody needs an answer to any more.
async fn take_back(shared: &Shared, envelope: &Envelope, approval: EventId) -> Result<(), AgentError> {
    let operation = Operation::CancelApproval(approval);
    let envelope = Envelope { operation, causes: Vec::new(), op_id: None, ..envelope.clone() };
    shared.submit(envelope).await.map(drop)
}

/// Waits until something was said about the call, or its time is over.
async fn word(
    shared: &Shared,
    event: &Event,
    asked: &ApprovalRequested,
    envelope: &Envelope,
    cancel: &Cancel,
) -> Result<(), AgentError> {
    let id = event.header.id;
    let ended = |code: &str, rule: &str| AgentError::Denied { code: code.to_owned(), rule: rule.to_owned() };
    let mut events = shared.feed.subscribe_from(event.header.seq + 1, Filter::all().kind("approval"));
    let patience = shared.asking_ends.map(|limit| shared.clock.now().saturating_add(limit));
    let ends = patience.map_or(asked.expires, |end| end.min(asked.expires));
    loop {
        let left = ends.since(shared.clock.now());
        let heard = tokio::select! {
            heard = events.recv() => heard,
            () = shared.stopped() => return Err(AgentError::Stopped),
            () = tokio::time::sleep(LOOK.min(left)) => {
                if cancel.is_cancelled() {
                    take_back(shared, envelope, id).await?;
                    return Err(AgentError::Stopped);
                }
                if left.is_zero() {
                    if ends < asked.expires {
                        take_back(shared, envelope, id).await?;
                    }
                    return Err(ended("approval.expired", "nobody decided about the call in time"));
                }
                continue;
            }
        };
        match heard {
            Ok(event) => match of(&event, id) {
                Some(Word::Said) => return Ok(()),
                Some(Word::Expired) => {
                    return Err(ended("approval.expired", "nobody decided about the call in time"));
                }
                Some(Word::Cancelled) => {
                    return Err(ended("approval.cancelled", "the question about the call was taken back"));
                }
                None => {}
            },
            Err(RecvError::Lagged(_)) => {}
            Err(_) => return Err(AgentError::Stopped),
        }
    }
}

/// Which question an event is about.
#[derive(Deserialize)]
struct About {
    approval: EventId,
}

/// What was said about a question.
enum Word {
    Said,
    Expired,
    Cancelled,
}

fn of(event: &Event, id: EventId) -> Option<Word> {
    let word = match event.header.kind.as_str() {
        kinds::APPROVAL_DECIDED => Word::Said,
        kinds::APPROVAL_EXPIRED => Word::Expired,
        kinds::APPROVAL_CANCELLED => Word::Cancelled,
        _ => return None,
    };
    let about: About = codec::decode_as(&event.header).ok()?;
    (about.approval == id).then_some(word)
}
