//! The seed's interface, on both stores.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toka_bus::{Filter, RecvError};
use toka_types::{EventHeader, Kind};
use toka_vault::bus::{TypedError, VECTOR_KIND, vector_of};
use toka_vault::core::decode;
use toka_vault::{LogId, MemoryStore, NewEvent, Store, StoreError, VaultBus};

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Note {
    text: String,
}

fn note(text: &str) -> Note {
    Note { text: text.into() }
}

/// Runs `check` on a vault of each kind.
fn on_each(check: impl AsyncFn(VaultBus)) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(check(VaultBus::in_memory()));
    #[cfg(feature = "journal")]
    {
        let directory = tempfile::tempdir().unwrap();
        runtime.block_on(check(VaultBus::open(directory.path()).unwrap()));
        let report = toka_vault::verify(directory.path()).unwrap();
        assert!(report.ok && report.problems.is_empty(), "closed when the last handle was dropped");
    }
}

#[test]
fn commits_reads_and_causes() {
    on_each(async |vault| {
        let first = vault.commit(&note("a"), &[], "note.taken", ()).await.unwrap();
        let second = vault.commit(&note("b"), std::slice::from_ref(&first), "note.taken", ()).await.unwrap();
        let third = vault.commit_after(&note("c"), &[first.id, second.id], "note.kept", ()).await.unwrap();
        assert_eq!((first.seq, second.seq, third.seq), (0, 1, 2));
        assert_eq!(vault.commit(&note("a"), &[], "note.taken", ()).await.unwrap(), first);
        assert_eq!(decode::<Note>(&vault.get(&second.id).unwrap().unwrap()).unwrap(), note("b"));
        assert_eq!(vault.get_seq(2).unwrap().unwrap().header, third);
        let seqs = |filter| vault.scan(0, filter).map(|r| r.unwrap().header.seq).collect::<Vec<_>>();
        assert_eq!(seqs(Filter::all()), [0, 1, 2]);
        assert_eq!(seqs(Filter::all().kind("note.taken")), [0, 1]);
        assert_eq!(seqs(Filter::all().parent(first.id)), [1, 2]);
        assert_eq!(seqs(Filter::all().among([third.id, Default::default(), first.id])), [0, 2]);
        assert_eq!(seqs(Filter::all().among([third.id, second.id]).parent(first.id).kind("note.kept")), [2]);
        let back = vault.scan_at(toka_vault::scan::Cursor::END, Filter::all().among([first.id, third.id]));
        assert_eq!(back.map(|r| r.unwrap().header.seq).collect::<Vec<_>>(), [2, 0]);
        assert_eq!(seqs(Filter::all().since(third.at).kind("note.kept")), [2]);
        assert!(seqs(Filter::all().until(first.at)).is_empty());
        assert_eq!(vault.children(&second.id).unwrap()[0].header, third);
        let missing = EventHeader { id: Default::default(), ..first.clone() };
        let refused = vault.commit(&note("d"), &[missing], "note.taken", ()).await;
        assert!(matches!(refused, Err(StoreError::MissingEvent { .. })));
        assert!(matches!(vault.commit(&1, &[], "Bad Kind", ()).await, Err(StoreError::Name(_))));
        assert_eq!(vault.len().unwrap(), 3);
    });
}

#[test]
fn vectors_are_events_of_one_dimension() {
    on_each(async |vault| {
        let header = vault.commit(&note("a"), &[], "note.taken", [0.5f32, -1.0, 0.25]).await.unwrap();
        let recorded = vault.children(&header.id).unwrap();
        assert_eq!(recorded[0].header.kind, VECTOR_KIND);
        let vector = vector_of(&recorded[0]).unwrap().unwrap();
        for (got, wanted) in vector.iter().zip([0.5, -1.0, 0.25]) {
            assert!((got - wanted).abs() < 1e-4, "{vector:?}");
        }
        let refused = vault.commit(&note("b"), &[], "note.taken", vec![1.0; 4]).await;
        assert_eq!(refused, Err(StoreError::Dimension { expected: 3, found: 4 }));
        for bad in [vec![], vec![f32::NAN; 3]] {
            let refused = vault.commit(&note("b"), &[], "note.taken", bad).await;
            assert!(matches!(refused, Err(StoreError::Vector(_))));
        }
        assert_eq!(vault.len().unwrap(), 2, "nothing of a refused commit is stored");
        vault.commit(&note("a"), &[], "note.taken", [0.5f32, -1.0, 0.25]).await.unwrap();
        assert_eq!(vault.len().unwrap(), 2, "the same vector of the same event is the same event");
    });
}

#[test]
fn subscribers_get_everything_once() {
    on_each(async |vault| {
        let mut live = vault.subscribe();
        let mut typed = vault.subscribe_as::<Note>("note");
        let writers: Vec<_> = (0..20)
            .map(|task| {
                let vault = vault.clone();
                tokio::spawn(async move {
                    for n in 0..50 {
                        vault.commit(&note(&format!("{task} {n}")), &[], "note.taken", ()).await.unwrap();
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(3)).await;
        let mut late = vault.subscribe_from(0, Filter::all());
        for writer in writers {
            writer.await.unwrap();
        }
        for seq in 0..1000 {
            assert_eq!(live.recv().await.unwrap().seq, seq);
            assert_eq!(late.recv().await.unwrap().header.seq, seq);
            assert_eq!(typed.recv().await.unwrap().0.seq, seq);
        }
        vault.commit(&7, &[], "note.taken", ()).await.unwrap();
        assert!(matches!(typed.recv().await, Err(TypedError::Payload(_))));
        let mut again = vault.subscribe_from(990, Filter::all());
        drop(vault);
        for seq in 990..=1000 {
            assert_eq!(again.recv().await.unwrap().header.seq, seq);
        }
        assert_eq!(again.recv().await.unwrap_err(), RecvError::Closed);
    });
}

#[test]
fn batches_are_atomic_and_blocking_works() {
    let vault = VaultBus::in_memory();
    let kind = || Kind::new("note.taken").unwrap();
    let good = NewEvent::new(kind()).payload(&note("a")).unwrap();
    let orphan = NewEvent::new(kind()).parents([Default::default()]);
    assert!(vault.blocking().commit_batch(vec![good.clone(), orphan]).is_err());
    assert!(vault.is_empty().unwrap());
    let committed = vault.blocking().commit_batch(vec![good.clone(), good]).unwrap();
    assert_eq!((committed[0].new, committed[1].new), (true, false));
    assert_eq!(vault.blocking().commit(&note("a"), &[], "note.taken", ()).unwrap().seq, 0);
}

#[test]
fn a_bus_goes_on_behind_another_writer() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let open = || VaultBus::with_store(Arc::clone(&store), LogId::main()).unwrap();
    let (one, other) = (open(), open());
    let commit = |vault: &VaultBus, text: &str| vault.blocking().commit(&note(text), &[], "note.taken", ());
    let mut seen = one.subscribe();
    commit(&one, "a").unwrap();
    let missed = commit(&other, "b");
    assert!(matches!(missed, Err(StoreError::Conflict { expected: 0, head: 1, .. })), "{missed:?}");
    assert_eq!(store.head(&LogId::main()).unwrap().next_seq, 1, "nothing of a refused commit is stored");
    assert_eq!(commit(&other, "b").unwrap().seq, 1);
    assert_eq!(commit(&other, "a").unwrap().seq, 0, "what the other one committed is known");

    // Who has read the head gets it at once.
    let batch = vec![NewEvent::new(Kind::new("note.taken").unwrap()).payload(&note("c")).unwrap()];
    assert_eq!(one.blocking().commit_batch_at(2, batch).unwrap()[0].record.header.seq, 2);
    for seq in 0..3 {
        assert_eq!(seen.recv_blocking().unwrap().seq, seq, "others' events are no gap");
    }
}
