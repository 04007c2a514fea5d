//! Which content a runtime's log keeps: the rules of the configuration, without what somebody still needs.
//!
//! Whatever the rules say, these stay: arguments of calls without an outcome, descriptions of tasks, values of registers
//! (artefacts of `storage("vault")` are such), and messages that their agent has not dealt with. Of files, the last
//! event of each path stays, by which the indexer knows it, and the passages of those that are still there, unless a
//! rule says `live = true`.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use toka_kernel::WorldState;
use toka_kernel::world::AgentState;
use toka_types::facts::{MessageSent, kinds};
use toka_types::{ContentRef, Digest, EntityId, EventHeader, EventId, Timestamp};
use toka_vault::{Fate, LogId, Policy, Retention, Rule};

use crate::config::RetainRule;

/// The kinds of the indexer's events.
const FILES: &str = "file";
const CHUNK: &str = "file.chunk";
const INDEXED: &str = "file.indexed";
const MOVED: &str = "file.moved";

/// What the world needs of the log's content.
#[derive(Clone, Debug, Default)]
pub struct Needed {
    contents: HashSet<Digest>,
    /// The first event that each agent has not dealt with.
    upto: HashMap<EntityId, u64>,
}

/// The rules of a configuration, as they apply at some time to the log of a world.
#[derive(Debug)]
pub struct Keeper {
    needed: Needed,
    /// Rules for everything, and those that spare the files that are there.
    strict: Policy,
    sparing: Policy,
    files: Files,
}

/// The last events of paths, by headers alone: an event of the indexer about a path names the path's previous one among
/// its causes.
#[derive(Debug, Default)]
struct Files {
    /// The last event of each path, with the events that hold the passages.
    last: HashMap<EventId, Vec<EventId>>,
    /// The events that hold passages of files that are there.
    there: HashSet<EventId>,
}

impl Needed {
    /// What this world needs.
    pub fn by(world: &WorldState) -> Self {
        let mut contents: HashSet<Digest> = world.registers().collect();
        contents.extend(world.effects().map(|(_, effect)| effect.arguments));
        let mut upto = HashMap::new();
        for (id, agent) in world.agents().filter(|(_, agent)| agent.state != AgentState::Stopped) {
            upto.insert(id, agent.upto);
            contents.extend(world.tasks_of(id).map(|(_, task)| task.spec));
        }
        Self { contents, upto }
    }
}

impl Keeper {
    /// These rules at `now`, over a log whose world needs that.
    pub fn new(rules: &[RetainRule], needed: Needed, now: Timestamp) -> Self {
        let of = |live: bool| {
            let rules = rules.iter().filter(|rule| rule.live == live);
            let rules = rules.map(|r| Rule { kind: r.kind.clone(), age: r.age, size: r.size });
            Policy::new(rules.collect(), now)
        };
        Self { needed, strict: of(true), sparing: of(false), files: Files::default() }
    }

    fn is_needed(&self, header: &EventHeader, content: &ContentRef) -> bool {
        if self.needed.contents.contains(&content.digest) {
            return true;
        }
        if header.kind.as_str() != kinds::MESSAGE_SENT {
            return false;
        }
        let mut facts = rmp_serde::Deserializer::from_read_ref(&header.facts);
        let sent = MessageSent::deserialize(&mut facts).ok();
        sent.and_then(|sent| self.needed.upto.get(&sent.to)).is_some_and(|&upto| header.seq >= upto)
    }
}

impl Retention for Keeper {
    fn see(&mut self, log: &LogId, header: &EventHeader) {
        self.strict.see(log, header);
        self.sparing.see(log, header);
        self.files.see(header);
    }

    fn fate(&self, log: &LogId, header: &EventHeader, content: &ContentRef) -> Fate {
        if self.is_needed(header, content) {
            return Fate::Later;
        }
        match (self.strict.fate(log, header, content), self.sparing.fate(log, header, content)) {
            (Fate::Drop(reason), _) => Fate::Drop(reason),
            (_, Fate::Drop(_)) if self.files.spare(header) => Fate::Later,
            (_, Fate::Drop(reason)) => Fate::Drop(reason),
            (Fate::Keep, Fate::Keep) => Fate::Keep,
            _ => Fate::Later,
        }
    }
}

impl Files {
    fn see(&mut self, header: &EventHeader) {
        if !header.kind.has_prefix(FILES) || header.kind.as_str() == CHUNK {
            return;
        }
        let before: Vec<EventId> =
            header.parents.iter().filter_map(|parent| self.last.remove(parent)).flatten().collect();
        // Which of its causes it is that has moved, the header does not say: what it names stays there.
        let moved = header.kind.as_str() == MOVED;
        if !moved {
            for ended in &before {
                self.there.remove(ended);
            }
        }
        let passages = match header.kind.as_str() {
            INDEXED => vec![header.id],
            _ if moved => before,
            _ => Vec::new(),
        };
        self.there.extend(&passages);
        self.last.insert(header.id, passages);
    }

    /// True if the event tells of a file as it is now.
    fn spare(&self, header: &EventHeader) -> bool {
        if !header.kind.has_prefix(FILES) {
            return false;
        }
        match header.kind.as_str() {
            CHUNK => header.parents.iter().any(|parent| self.there.contains(parent)),
            _ => self.last.contains_key(&header.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use toka_types::{Kind, Labels, Payload};

    use super::*;

    fn header(seq: u64, kind: &str, parents: &[&EventHeader]) -> EventHeader {
        let content = Payload::new(seq.to_le_bytes().to_vec());
        let mut header = EventHeader {
            seq,
            id: EventId::default(),
            at: Timestamp::EPOCH,
            kind: Kind::new(kind).expect("a kind"),
            author: EntityId::named("indexer"),
            prev: None,
            parents: parents.iter().map(|parent| parent.id).collect(),
            labels: Labels::none(),
            content: vec![content.content_ref()],
            facts: Vec::new(),
        };
        header.id = header.causal_digest();
        header
    }

    fn dropped(needed: Needed, live: bool, headers: &[EventHeader]) -> Vec<u64> {
        let rule = RetainRule { kind: None, age: Some(Duration::ZERO), size: None, live };
        let (mut keeper, log) = (Keeper::new(&[rule], needed, Timestamp(1)), LogId::main());
        headers.iter().for_each(|header| keeper.see(&log, header));
        let gone = headers.iter().filter(|h| matches!(keeper.fate(&log, h, &h.content[0]), Fate::Drop(_)));
        gone.map(|header| header.seq).collect()
    }

    #[test]
    fn files_that_are_there_are_spared() {
        let first = header(0, "file.indexed", &[]);
        let passage = header(1, "file.chunk", &[&first]);
        let other = header(2, "file.indexed", &[]);
        let others = header(3, "file.chunk", &[&other]);
        let changed = header(4, "file.indexed", &[&first]);
        let new = header(5, "file.chunk", &[&changed]);
        let moved = header(6, "file.moved", &[&changed]);
        let removed = header(7, "file.removed", &[&other]);
        let note = header(8, "note.taken", &[]);
        let all = [first, passage, other, others, changed, new, moved, removed, note];
        assert_eq!(dropped(Needed::default(), false, &all[..4]), [0_u64; 0]);
        // The event of a changed file that has moved since tells nothing any more, but its passages do.
        assert_eq!(dropped(Needed::default(), false, &all), [0, 1, 2, 3, 4, 8]);
        assert_eq!(dropped(Needed::default(), true, &all), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn what_the_world_needs_stays() {
        let note = header(0, "note.taken", &[]);
        let (to, from) = (EntityId::named("reader"), EntityId::named("writer"));
        let message = |seq: u64| EventHeader {
            facts: rmp_serde::to_vec_named(&MessageSent { from, to, literals: None }).expect("facts"),
            ..header(seq, "message.sent", &[])
        };
        let all = [note, message(1), message(2)];
        let contents = [all[0].content[0].digest].into();
        let needed = Needed { contents, upto: [(to, 2)].into() };
        assert_eq!(dropped(needed, true, &all), [1]);
    }
}
