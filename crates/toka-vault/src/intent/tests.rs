use super::fixed::Mix;
use super::*;

/// Vectors around `subjects` directions of 24, `each` of them, mixed.
fn vectors(subjects: usize, each: usize, noise: i64) -> (Vec<i8>, Vec<usize>) {
    let mut mix = Mix(7);
    let mut vectors = Vec::new();
    let mut truth = Vec::new();
    for index in 0..subjects * each {
        let subject = index % subjects;
        truth.push(subject);
        for component in 0..24 {
            let at = if component == subject { 100 } else { 0 };
            let stray = (mix.next() % (2 * noise as u64 + 1)) as i64 - noise;
            vectors.push((at + stray).clamp(-127, 127) as i8);
        }
    }
    (vectors, truth)
}

fn events(count: usize) -> Vec<[u8; 32]> {
    (0..count).map(|index| *blake3::hash(&index.to_le_bytes()).as_bytes()).collect()
}

fn build(vectors: &[i8]) -> Intents {
    Intents::build(vectors, 24, &events(vectors.len() / 24), |members| {
        vec![format!("about{}", members[0]), "x".into(), "y".into(), "z".into()]
    })
}

#[test]
fn subjects_are_told_apart() {
    let check = |subjects: usize, each: usize| {
        let (vectors, truth) = vectors(subjects, each, 20);
        let intents = build(&vectors);
        assert_eq!(intents.list().len(), subjects, "{subjects} subjects of {each}");
        for (position, subject) in truth.iter().enumerate() {
            let (intent, similarity) = intents.of(position).unwrap();
            let (first, _) = intents.of(*subject).unwrap();
            assert_eq!(intent.id, first.id);
            assert!(similarity > SIMILARITY_ONE / 2);
        }
        let vector = &vectors[..24];
        assert_eq!(intents.assign(vector).unwrap().0, intents.of(0).unwrap().0);
    };
    check(2, 20);
    check(3, 30);
    check(12, 40);
    check(20, 200);
}

#[test]
fn more_vectors_than_groups_stay_bounded() {
    let mut mix = Mix(3);
    let vectors: Vec<i8> = (0..24 * 2500).map(|_| (mix.next() % 255) as i8).collect();
    let intents = build(&vectors);
    assert!(intents.list().len() < 200, "{}", intents.list().len());
    let members: u32 = intents.list().iter().map(|intent| intent.events).sum();
    assert_eq!(members, 2500);
}

#[test]
fn ids_and_names_come_from_members() {
    let (vectors, _) = vectors(3, 30, 20);
    let intents = build(&vectors);
    let first = &intents.list()[0];
    let event = events(1)[0];
    assert_eq!(first.id.to_be_bytes(), event[..4]);
    assert_eq!(first.name, "about0, x, y");
    assert_eq!(first.events, 30);
    // More of the same later changes no id.
    let (longer, _) = self::vectors(3, 60, 20);
    assert_eq!(&longer[..vectors.len()], vectors);
    let ids = |intents: &Intents| intents.list().iter().map(|i| i.id).collect::<Vec<_>>();
    assert_eq!(ids(&build(&longer)), ids(&intents));
}

#[test]
fn saved_intents_are_the_same() {
    let (mut vectors, _) = vectors(4, 10, 10);
    vectors.extend([0; 24]);
    let intents = build(&vectors);
    assert_eq!(intents.of(40), None, "the zero vector is about nothing");
    let bytes = intents.encode();
    assert_eq!(Intents::decode(&bytes, 41), Some(intents));
    for length in 0..bytes.len() {
        assert_eq!(Intents::decode(&bytes[..length], 41), None, "cut to {length}");
    }
    assert_eq!(Intents::decode(&bytes, 40), None);
}

#[test]
fn a_file_of_intents_is_whole_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let position = Position { seq: 40, head: [9; 32] };
    assert!(matches!(Intents::open(directory.path()), Err(ProjectionError::Missing { .. })));
    let intents = build(&vectors(4, 10, 10).0);
    intents.save(directory.path(), position).unwrap();
    assert_eq!(Intents::open(directory.path()), Ok((intents, position)));
    assert_eq!(verify(directory.path()), []);
    let file = directory.path().join(FILE);
    let good = std::fs::read(&file).unwrap();
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&file, bad).unwrap();
        assert!(!verify(directory.path()).is_empty(), "byte {at}");
        assert!(Intents::open(directory.path()).is_err(), "byte {at}");
    }
}

#[test]
fn nothing_has_no_intents() {
    for (vectors, dimension) in [(vec![], 24), (vec![0; 48], 24), (vec![], 0)] {
        let events = events(2);
        let intents = Intents::build(&vectors, dimension, &events, |_| vec![]);
        assert!(intents.list().is_empty());
        assert_eq!(intents.assign(&[1; 24]), None);
        assert_eq!(intents.members(0), None);
    }
    let one = build(&[5; 24]);
    assert_eq!(one.list().len(), 1);
    assert_eq!(one.members(one.list()[0].id).unwrap().len(), 1);
}
