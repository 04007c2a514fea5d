//! Histories with forks, batches across logs, content that is gone when it comes, and compactions in between.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::Arc;

use toka_types::{ContentRef, Digest, EventHeader, Gone, Payload, Timestamp};

use super::super::super::disk::Disk;
use super::super::super::{Compaction, Journal, open, verify};
use super::super::sim::{Failure, SimDisk};
use super::super::{open_on, path};
use super::Tally;
use crate::core::{LogId, Record};
use crate::fork::Base;
use crate::hash::{LogTree, leaf_hash};
use crate::retention::{Fate, Retention};
use crate::store::{Part, Room, Store, StoreError};
use crate::testing::{Random, fault_runs, forked_record, record};
use crate::verify::What;

/// Runs of the short form: a few seconds in a debug build.
const SHORT_RUNS: u64 = 80;

/// What happens to a vault, and what its logs hold in the end.
#[derive(Default)]
struct Story {
    steps: Vec<Step>,
    logs: Vec<Told>,
    /// How many events each log has before the first step, and after each.
    ends: Vec<Vec<usize>>,
    /// Content that was handed in.
    stored: Vec<Payload>,
    /// Content that never was.
    lost: Vec<Payload>,
    /// Why it was not.
    reasons: HashMap<Digest, Gone>,
}

enum Step {
    Append(Vec<Batch>),
    Compact,
}

/// What an append adds to one log.
struct Batch {
    log: LogId,
    base: Option<Base>,
    records: Vec<Arc<Record>>,
}

impl Batch {
    fn part(&self) -> Part<'_> {
        let expected = self.records[0].header.seq;
        Part { log: &self.log, expected, records: &self.records, base: self.base.as_ref() }
    }
}

struct Told {
    id: LogId,
    base: Option<Base>,
    /// With the events that it shares, and with all content.
    records: Vec<Arc<Record>>,
}

/// Lets some content go, whoever names it.
struct SomeGo;

fn may_go(digest: &Digest) -> bool {
    digest.0[0] < 100
}

impl Retention for SomeGo {
    fn see(&mut self, _: &LogId, _: &EventHeader) {}

    fn fate(&self, _: &LogId, _: &EventHeader, content: &ContentRef) -> Fate {
        if may_go(&content.digest) { Fate::Drop(Gone::Expired) } else { Fate::Keep }
    }
}

impl Story {
    fn random(random: &mut Random) -> Self {
        let mut story = Self { ends: vec![Vec::new()], ..Self::default() };
        for _ in 0..4 + random.below(9) {
            let step = match random.below(4) {
                0 if !story.logs.is_empty() => Step::Compact,
                _ => Step::Append(story.batches(random)),
            };
            story.steps.push(step);
            story.ends.push(story.logs.iter().map(|log| log.records.len()).collect());
        }
        story
    }

    fn batches(&mut self, random: &mut Random) -> Vec<Batch> {
        let before = self.ends[self.ends.len() - 1].clone();
        let mut batches: Vec<Batch> = Vec::new();
        for number in 0..self.logs.len() {
            if random.below(2) == 0 {
                batches.push(self.batch(number, None, random));
            }
        }
        if batches.is_empty() || random.below(4) == 0 {
            let number = self.logs.len();
            let id = if number == 0 { LogId::main() } else { LogId::new(&format!("log-{number}")).unwrap() };
            let (mut base, mut records, mut first) = (None, Vec::new(), None);
            if number > 0 && random.below(3) > 0 {
                let from = random.below(before.len() as u64) as usize;
                let size = 1 + random.below(before[from] as u64);
                records = self.logs[from].records[..size as usize].to_vec();
                let of = self.logs[from].id.clone();
                first = Some(forked_record(&of, &records[records.len() - 1].header, id.as_str().as_bytes()));
                base = Some(Base { log: of, size });
            }
            self.logs.push(Told { id, base, records });
            batches.push(self.batch(number, first, random));
        }
        batches
    }

    fn batch(&mut self, number: usize, first: Option<Arc<Record>>, random: &mut Random) -> Batch {
        let mut records = Vec::new();
        if let Some(first) = &first {
            self.logs[number].records.push(Arc::clone(first));
            records.push(Arc::clone(first));
        }
        for _ in 0..1 + random.below(4) {
            records.push(self.event(number, random));
        }
        let Told { id, base, .. } = &self.logs[number];
        Batch { log: id.clone(), base: base.clone().filter(|_| first.is_some()), records }
    }

    /// The next event of a log, as it is handed in.
    fn event(&mut self, number: usize, random: &mut Random) -> Arc<Record> {
        let mut named: Vec<(Payload, bool)> = Vec::new();
        for _ in 0..random.below(4) {
            let solid = |payload: &&Payload| !may_go(&payload.digest());
            let one = match random.below(8) {
                0 if !self.lost.is_empty() => (pick(random, &self.lost).clone(), false),
                1 => {
                    let payload = Payload::new(random.bytes(600));
                    let reasons = [Gone::Redacted, Gone::Erased, Gone::Expired, Gone::Sealed];
                    let reason = *pick(random, &reasons);
                    self.reasons.insert(payload.digest(), reason);
                    self.lost.push(payload.clone());
                    (payload, false)
                }
                2 if !self.stored.is_empty() => (pick(random, &self.stored).clone(), true),
                3 if self.stored.iter().any(|payload| solid(&payload)) => {
                    let known: Vec<_> = self.stored.iter().filter(solid).collect();
                    ((*pick(random, &known)).clone(), false)
                }
                _ => {
                    let most = if random.below(8) == 0 { 90_000 } else { 2_000 };
                    let size = 20 + random.below(most) as usize;
                    let payload = Payload::new(random.bytes(size));
                    self.stored.push(payload.clone());
                    (payload, true)
                }
            };
            if !named.iter().any(|(payload, _)| payload.digest() == one.0.digest()) {
                named.push(one);
            }
        }
        let log = &mut self.logs[number].records;
        let parent = log.last().map(|last| last.header.id);
        let contents: Vec<&[u8]> = named.iter().map(|(payload, _)| payload.bytes()).collect();
        let whole = record(log.len() as u64, parent.as_slice(), &contents);
        log.push(Arc::clone(&whole));
        let given = named.into_iter().filter(|(_, given)| *given).map(|(payload, _)| payload);
        Arc::new(Record { header: whole.header.clone(), content: given.collect() })
    }

    fn append(&self, journal: &Journal, batches: &[Batch]) -> Result<(), StoreError> {
        let parts: Vec<Part<'_>> = batches.iter().map(Batch::part).collect();
        journal.append_gone(&parts, &self.reasons, Room::Ordinary)
    }

    /// Goes through the steps from number `from` on, mending what a failure asks for; the step that did not work, or the
    /// number of all steps.
    fn run(&self, journal: &Journal, from: usize) -> usize {
        for (at, step) in self.steps.iter().enumerate().skip(from) {
            let Step::Append(batches) = step else {
                // Whatever stops it, the vault is as it was.
                let _ = journal.compact(Some(&mut SomeGo), &Compaction::thorough(Timestamp(at as i64)));
                continue;
            };
            let done = self.append(journal, batches).or_else(|error| match error {
                StoreError::Full { .. } => self.append(journal, batches),
                StoreError::Poisoned { .. } => journal.recover().and_then(|()| self.append(journal, batches)),
                other => Err(other),
            });
            if done.is_err() {
                return at;
            }
        }
        self.steps.len()
    }

    /// The vault is as it was after some step, `done` or a later one, which is returned: all events of that are there,
    /// with all content but what may be gone.
    fn check(&self, store: &Journal, done: usize, what: &str) -> usize {
        let logs = store.logs().unwrap();
        let sizes: Vec<usize> = logs.iter().map(|log| store.head(log).unwrap().next_seq as usize).collect();
        let at = (done..self.ends.len()).find(|&at| self.ends[at] == sizes);
        let at = at.unwrap_or_else(|| panic!("{what}: after step {done} there are {sizes:?} events"));
        for ((log, told), size) in logs.iter().zip(&self.logs).zip(sizes) {
            assert_eq!((log, &store.base(log).unwrap()), (&told.id, &told.base), "{what}");
            let found = store.read(log, 0, usize::MAX).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(found.len(), size, "{what}");
            let mut tree = LogTree::new();
            for (found, whole) in found.iter().zip(&told.records) {
                tree.append(leaf_hash(&whole.header.to_bytes()));
                assert_eq!(found.header, whole.header, "{what}: {log}");
                self.check_content(store, found, whole, what);
            }
            assert_eq!(store.head(log).unwrap().root, tree.root(), "{what}: {log}");
        }
        at
    }

    fn check_content(&self, store: &Journal, found: &Record, whole: &Record, what: &str) {
        for (at, content) in whole.header.content.iter().enumerate() {
            let digest = content.digest;
            match found.content_at(at) {
                Some(payload) => assert_eq!(Some(payload), whole.content_at(at), "{what}"),
                None => {
                    let expired = may_go(&digest).then_some(Gone::Expired);
                    let expected = self.reasons.get(&digest).copied().or(expired);
                    let gone = store.gone(&digest).unwrap();
                    assert!(gone.is_some() && gone == expected, "{what}: {digest} is lost, {gone:?}");
                }
            }
        }
    }
}

fn pick<'a, T>(random: &mut Random, among: &'a [T]) -> &'a T {
    &among[random.below(among.len() as u64) as usize]
}

fn failure(random: &mut Random, tally: &mut Tally) -> Failure {
    let kind = if random.below(2) == 0 { ErrorKind::StorageFull } else { ErrorKind::Other };
    let failure = match random.below(6) {
        0 | 1 => Failure::Once(kind),
        2 => Failure::Each(2 + random.below(40), kind),
        _ => return Failure::Stop,
    };
    match kind {
        ErrorKind::StorageFull => tally.full += 1,
        _ => tally.errors += 1,
    }
    failure
}

#[test]
fn forks_batches_across_logs_and_compactions_are_whole_or_not_there() {
    let mut tally = Tally::default();
    let (mut compactions, mut forks) = (0, 0);
    let runs = fault_runs(SHORT_RUNS);
    for seed in 0..runs {
        let what = format!("seed {seed}");
        let mut random = Random::new(seed ^ 0x5707);
        let story = Story::random(&mut random);
        compactions += story.steps.iter().filter(|step| matches!(step, Step::Compact)).count();
        forks += story.logs.iter().filter(|log| log.base.is_some()).count();
        let whole = SimDisk::default();
        let journal = open_on(&whole).unwrap();
        assert_eq!(story.run(&journal, 0), story.steps.len(), "{what}");
        story.check(&journal, story.steps.len(), &what);
        drop(journal);

        let disk = SimDisk::failing(random.below(whole.calls()), failure(&mut random, &mut tally));
        let mut done = 0;
        if let Ok(journal) = open_on(&disk) {
            done = story.run(&journal, 0);
            // In this process nothing is seen that was not acknowledged.
            let seen = story.check(&journal, done, &what);
            assert_eq!(story.ends[seen], story.ends[done], "{what}");
        }
        let after = tally.cut_perhaps_twice(&disk, &mut random);
        match open::reader(Arc::new(after.clone()), path()) {
            Ok(reader) => drop(story.check(&reader, done, &what)),
            Err(error) => assert_eq!(story.ends[done].len(), 0, "{what}: {error}"),
        }
        let journal = open_on(&after).unwrap_or_else(|error| panic!("{what}: {error}"));
        let at = story.check(&journal, done, &what);
        assert_eq!(story.run(&journal, at), story.steps.len(), "{what}");
        story.check(&journal, story.steps.len(), &what);
        journal.close().unwrap();
        drop(journal);
        let disk: Arc<dyn Disk> = Arc::new(after.clone());
        let report = verify::verify_on(&disk, path()).unwrap();
        // An index that could not be written is made by the next opening that needs it.
        let real: Vec<_> = report.problems.iter().filter(|p| p.what != What::Projection).collect();
        assert!(report.ok && real.is_empty(), "{what}: {real:?}");
        let journal = open_on(&after).unwrap_or_else(|error| panic!("{what}: {error}"));
        story.check(&journal, story.steps.len(), &what);
        tally.acknowledged += story.ends[done].iter().sum::<usize>();
    }
    tally.print(runs);
    println!("with {forks} forks and {compactions} compactions");
}
