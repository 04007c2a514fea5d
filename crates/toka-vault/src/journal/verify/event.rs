//! Checking events in the order of their log, once each was looked at by itself.

use std::path::Path;

use toka_types::HeaderView;

use super::Check;
use super::checked::{CheckedContent, CheckedEvent, ContentState, Group, Said};
use crate::verify::What;

/// The lists of a group that belong to the events that come next.
pub(super) struct Lists<'a> {
    pub(super) causes: &'a [u64],
    pub(super) named: &'a [u64],
    pub(super) contents: &'a [CheckedContent],
}

/// What belongs to one event.
struct Own<'a> {
    said: &'a Said,
    causes: &'a [u64],
    named: &'a [u64],
    contents: &'a [CheckedContent],
}

/// What is wrong with an event, and where in the file.
type Wrong = (What, u64, String);

impl<'a> Lists<'a> {
    fn of(&mut self, said: &'a Said) -> Own<'a> {
        let (causes, named, contents);
        (causes, self.causes) = self.causes.split_at(said.causes);
        (named, self.named) = self.named.split_at(said.named);
        (contents, self.contents) = self.contents.split_at(said.contents);
        Own { said, causes, named, contents }
    }
}

impl Check<'_> {
    pub(super) fn event<'a>(
        &mut self,
        path: &Path,
        group: &Group,
        event: &'a CheckedEvent,
        lists: &mut Lists<'a>,
    ) {
        let (at, number) = (event.at, usize::from(event.log));
        let own = event.said.as_ref().map(|said| lists.of(said));
        let Some(log) = self.logs.get(number) else {
            return self.problem(What::Event, Some((path, at)), format!("there is no log {number}"));
        };
        let own = match own {
            Ok(own) => own,
            Err(detail) => {
                let place = Some((log.id.clone(), log.tree.size(), None));
                return self.event_problem(What::Event, Some((path, at)), place, detail);
            }
        };
        let mut wrong = Vec::new();
        let bytes = group.bytes(event.header.clone());
        self.header(number, at, bytes, &own, &mut wrong);
        self.content(at, bytes, &own, &mut wrong);
        let Said { seq, time, id, fingerprint, .. } = *own.said;
        for (what, at, detail) in wrong {
            let place = Some((self.logs[number].id.clone(), seq, Some(id)));
            self.event_problem(what, Some((path, at)), place, detail);
        }
        self.seen[number].insert(fingerprint, seq);
        self.events += 1;
        self.logs[number].push(id, time, event.leaf);
        self.note_root(number);
    }

    fn header(&mut self, number: usize, at: u64, bytes: &[u8], own: &Own<'_>, wrong: &mut Vec<Wrong>) {
        let (said, log) = (own.said, &self.logs[number]);
        let expected = log.tree.size();
        if said.seq != expected && !self.broken {
            let detail = format!("event {} stands where event {expected} belongs", said.seq);
            wrong.push((What::Event, at, detail));
        }
        if said.time < log.last_at {
            wrong.push((What::Event, at, "its time lies before its predecessor's".into()));
        }
        if said.wrong_id {
            let detail = shown(bytes, |view| format!("its causal digest is {}", view.causal_digest()));
            wrong.push((What::Event, at, detail));
        }
        for (place, _) in
            own.causes.iter().enumerate().filter(|(_, cause)| !self.broken && !self.holds(number, **cause))
        {
            let detail = shown(bytes, |view| {
                let cause = view.parents().chain(view.prev).nth(place).map(|id| id.to_string());
                format!("it names {}, which is not before it in the log", cause.unwrap_or_default())
            });
            wrong.push((What::Cause, at, detail));
        }
        if self.begins_fork(number, said.seq)
            && let Ok(view) = HeaderView::decode(bytes)
            && let Some(detail) = self.first_of_fork(number, &view.to_header(None))
        {
            wrong.push((What::Event, at, detail));
        }
    }

    fn content(&mut self, at: u64, bytes: &[u8], own: &Own<'_>, wrong: &mut Vec<Wrong>) {
        let digest = |reference| {
            shown(bytes, |view| {
                view.content().nth(reference).map(|content| content.digest.to_string()).unwrap_or_default()
            })
        };
        if !own.said.names_contents {
            wrong.push((What::Content, at, "it comes with content that it does not name".into()));
        }
        for content in own.contents {
            // Whoever names what is gone later finds here that it was there.
            self.contents.insert(content.fingerprint);
            let detail = match content.state {
                ContentState::Gone if !self.may_have_gaps => {
                    "is gone from a segment that was neither imported nor rewritten"
                }
                ContentState::Wrong => "does not match its digest",
                _ => continue,
            };
            let detail = format!("content {} {detail}", digest(content.reference));
            wrong.push((What::Content, content.at, detail));
        }
        for (reference, _) in
            own.named.iter().enumerate().filter(|(_, named)| !self.broken && !self.contents.contains(named))
        {
            let detail = format!("content {} is nowhere in the vault", digest(reference));
            wrong.push((What::Content, at, detail));
        }
    }

    /// Keeps the root that the manifest can be compared with.
    fn note_root(&mut self, number: usize) {
        let log = &self.logs[number];
        let named = self.manifest.iter().flat_map(|manifest| &manifest.logs);
        if named.filter(|named| named.events == log.tree.size()).any(|named| named.name == log.id.as_str()) {
            self.roots.insert(log.id.to_string(), (log.tree.size(), log.tree.root().to_string()));
        }
    }
}

/// What is to be said of a header that was read before.
fn shown(bytes: &[u8], show: impl FnOnce(&HeaderView<'_>) -> String) -> String {
    HeaderView::decode(bytes).map_or_else(|error| error.to_string(), |view| show(&view))
}
