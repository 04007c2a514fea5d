//! A call that the policy asks a person about: it waits for the person's word, and goes on with it or not at all.

use std::sync::Arc;
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

/// What a call that a person has to allow does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenAsked {
    /// It waits for the person, as long as the approval does.
    Wait,
    /// It ends with [`AgentError::ApprovalPending`]; asked for again once it is allowed, it is made.
    Fail,
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
        if shared.when_asked == WhenAsked::Fail {
            return Err(AgentError::ApprovalPending { approval: id });
        }
        tracing::warn!(
            "a call of '{}' waits for a person: `toka approvals allow {}`, or deny",
            asked.tool,
            id.short()
        );
        word(shared, event, &asked, envelope, cancel).await?;
        became = shared.submit(envelope.clone()).await?.committed().await?;
    }
    Ok(became)
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
    loop {
        let left = asked.expires.since(shared.clock.now());
        let heard = tokio::select! {
            heard = events.recv() => heard,
            () = shared.stopped() => return Err(AgentError::Stopped),
            () = tokio::time::sleep(LOOK.min(left)) => {
                if cancel.is_cancelled() {
                    // Nobody needs it any more, so nobody shall be bothered with it.
                    let operation = Operation::CancelApproval(id);
                    shared.submit(Envelope { operation, causes: Vec::new(), op_id: None, ..envelope.clone() }).await?;
                    return Err(AgentError::Stopped);
                }
                if left.is_zero() {
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
