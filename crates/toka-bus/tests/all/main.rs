//! Feeds from outside: order, catching up, falling behind, closing.

use std::sync::{Arc, Mutex};

use toka_bus::{Event, Feed, Filter, History, HistoryError, RecvError};
use toka_types::{Digest, EntityId, EventHeader, EventId, Kind, Label, Labels, Payload, Timestamp};

fn event(seq: u64) -> Arc<Event> {
    let header = EventHeader {
        seq,
        id: EventId(Digest::of(&seq.to_le_bytes())),
        at: Timestamp(seq as i64),
        kind: Kind::new(if seq.is_multiple_of(2) { "even.one" } else { "odd.one" }).unwrap(),
        author: EntityId::named(if seq.is_multiple_of(3) { "alice" } else { "bob" }),
        prev: None,
        parents: seq
            .checked_sub(1)
            .map(|before| EventId(Digest::of(&before.to_le_bytes())))
            .into_iter()
            .collect(),
        labels: Labels::parse((seq == 5).then_some("secret:five")).unwrap(),
        content: vec![],
        facts: vec![],
    };
    Arc::new(Event { header, content: vec![] })
}

fn events(range: std::ops::Range<u64>) -> Vec<Arc<Event>> {
    range.map(event).collect()
}

/// A log in memory, which can be told to fail.
#[derive(Default)]
struct Log {
    events: Mutex<Vec<Arc<Event>>>,
    broken: Mutex<bool>,
}

impl Log {
    fn commit(&self, feed: &Feed, batch: &[Arc<Event>]) {
        self.events.lock().unwrap().extend_from_slice(batch);
        feed.publish(batch);
    }
}

impl History for Log {
    fn read(&self, from: u64, limit: usize) -> Result<Vec<Arc<Event>>, HistoryError> {
        if *self.broken.lock().unwrap() {
            return Err(HistoryError("the disk is gone".into()));
        }
        Ok(self.events.lock().unwrap().iter().skip(from as usize).take(limit).cloned().collect())
    }
}

fn drain(stream: &mut toka_bus::Subscription) -> Vec<u64> {
    std::iter::from_fn(|| stream.try_recv().unwrap()).map(|event| event.header.seq).collect()
}

#[test]
fn live_subscribers_start_at_the_head() {
    let feed = Feed::new(0, 100);
    feed.publish(&events(0..3));
    let mut stream = feed.handle().subscribe();
    assert_eq!(stream.try_recv().unwrap(), None);
    feed.publish(&events(3..6));
    assert_eq!(drain(&mut stream), [3, 4, 5]);
    assert_eq!(drain(&mut feed.handle().subscribe_from(1, Filter::all())), [1, 2, 3, 4, 5]);
}

#[test]
fn who_falls_behind_without_a_history_is_told_how_far() {
    let feed = Feed::new(0, 4);
    let mut stream = feed.handle().subscribe();
    feed.publish(&events(0..10));
    assert_eq!(stream.try_recv(), Err(RecvError::Lagged(6)));
    assert_eq!(drain(&mut stream), [6, 7, 8, 9]);
}

#[test]
fn who_falls_behind_reads_from_the_history() {
    let log = Arc::new(Log::default());
    let history: Arc<dyn History> = log.clone();
    let feed = Feed::with_history(0, 4, history);
    let mut stream = feed.handle().subscribe();
    for start in (0..600).step_by(20) {
        log.commit(&feed, &events(start..start + 20));
    }
    assert_eq!(drain(&mut stream), (0..600).collect::<Vec<_>>());
    log.commit(&feed, &events(600..620));
    *log.broken.lock().unwrap() = true;
    assert_eq!(stream.try_recv(), Err(RecvError::History(HistoryError("the disk is gone".into()))));
    *log.broken.lock().unwrap() = false;
    assert_eq!(drain(&mut stream), (600..620).collect::<Vec<_>>());
}

#[test]
fn nothing_is_kept_for_nobody() {
    let log = Arc::new(Log::default());
    let history: Arc<dyn History> = log.clone();
    let feed = Feed::with_history(0, 16, history);
    let first = events(0..3);
    log.commit(&feed, &first);
    assert!(first.iter().all(|event| Arc::strong_count(event) == 2), "here and in the log");
    assert_eq!(feed.next_seq(), 3);
    let (mut late, mut from_the_start) =
        (feed.handle().subscribe(), feed.handle().subscribe_from(0, Filter::all()));
    assert_eq!(late.try_recv(), Ok(None));
    log.commit(&feed, &events(3..5));
    assert_eq!(drain(&mut late), [3, 4]);
    drop(late);
    log.commit(&feed, &events(5..6));
    assert_eq!(drain(&mut from_the_start), [0, 1, 2, 3, 4, 5]);
    drop(from_the_start);
    log.commit(&feed, &events(6..8));
    assert_eq!(drain(&mut feed.handle().subscribe_from(4, Filter::all())), [4, 5, 6, 7]);
}

#[test]
fn large_events_leave_the_ring_early() {
    let feed = Feed::new(0, 1000);
    let mut stream = feed.handle().subscribe();
    for seq in 0..5 {
        let mut large = (*event(seq)).clone();
        large.content = vec![Payload::new(vec![0; 10 << 20])];
        feed.publish(&[Arc::new(large)]);
    }
    assert_eq!(stream.try_recv(), Err(RecvError::Lagged(2)));
}

#[test]
fn a_closed_feed_delivers_what_is_left() {
    let feed = Feed::new(7, 10);
    let mut stream = feed.handle().subscribe();
    let handle = feed.handle();
    feed.publish(&events(7..9));
    drop(feed);
    assert_eq!(stream.recv_blocking().unwrap().header.seq, 7);
    assert_eq!(stream.recv_blocking().unwrap().header.seq, 8);
    assert_eq!(stream.recv_blocking(), Err(RecvError::Closed));
    assert_eq!(handle.subscribe().try_recv(), Err(RecvError::Closed));
}

#[test]
fn filters_hold_in_every_part() {
    let feed = Feed::new(0, 100);
    feed.publish(&events(0..12));
    let check = |filter: Filter, expected: &[u64]| {
        assert_eq!(drain(&mut feed.handle().subscribe_from(0, filter)), expected);
    };
    check(Filter::all().kind("even"), &[0, 2, 4, 6, 8, 10]);
    check(Filter::all().kind("even.one").author(EntityId::named("alice")), &[0, 6]);
    check(Filter::all().kind("ev"), &[]);
    check(Filter::all().kind("none").kind("odd").since(Timestamp(6)), &[7, 9, 11]);
    check(Filter::all().since(Timestamp(3)).until(Timestamp(5)), &[3, 4]);
    check(Filter::all().label(Label::new("secret:five").unwrap()), &[5]);
    check(Filter::all().parent(event(8).header.id), &[9]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_gap_and_no_duplicate_while_a_publisher_runs() {
    const EVENTS: u64 = 5000;
    let log = Arc::new(Log::default());
    let history: Arc<dyn History> = log.clone();
    let feed = Feed::with_history(0, 16, history);
    let handle = feed.handle();
    let publisher = std::thread::spawn(move || {
        for start in (0..EVENTS).step_by(5) {
            log.commit(&feed, &events(start..start + 5));
            if start % 200 == 0 {
                std::thread::yield_now();
            }
        }
    });
    let readers: Vec<_> = (0..4u64)
        .map(|n| {
            let mut stream = handle.subscribe_from(n * 10, Filter::all());
            tokio::spawn(async move {
                let mut next = n * 10;
                while next < EVENTS {
                    for event in stream.recv_batch(7).await.unwrap() {
                        assert_eq!(event.header.seq, next);
                        next += 1;
                    }
                    assert_eq!(stream.position(), next);
                }
                assert_eq!(stream.recv().await, Err(RecvError::Closed));
            })
        })
        .collect();
    let blocking = {
        let mut stream = handle.subscribe_from(0, Filter::all().kind("odd"));
        std::thread::spawn(move || {
            for seq in (1..EVENTS).step_by(2) {
                assert_eq!(stream.recv_blocking().unwrap().header.seq, seq);
            }
            assert_eq!(stream.recv_blocking(), Err(RecvError::Closed));
        })
    };
    for reader in readers {
        reader.await.unwrap();
    }
    publisher.join().unwrap();
    blocking.join().unwrap();
}
