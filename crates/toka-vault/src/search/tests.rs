use std::fs;
use std::path::Path;

use toka_toolkit_core::{COSINE_ONE, Embedder, Embedding};

use super::*;
use crate::intent::{Position, ProjectionError};

const SEA: &str =
    "The harbour pilot guides ships through the strait; sailors watch tide, wind and anchor chain.";
const BREAD: &str =
    "Knead the dough, let the yeast rise and bake the loaf in a hot oven until the crust is brown.";
const STARS: &str =
    "The telescope shows a distant galaxy; astronomers measure redshift, orbit and the light of stars.";

/// One event of a little log.
#[derive(Clone)]
enum Step {
    Indexed(&'static str, Vec<String>),
    Moved(&'static str, &'static str),
    Removed(&'static str),
}
use Step::{Indexed, Moved, Removed};

fn indexed(path: &'static str, texts: &[&str]) -> Step {
    Indexed(path, texts.iter().map(|text| (*text).to_owned()).collect())
}

/// Forty files about three subjects, then changes of every kind.
fn log() -> Vec<Step> {
    let paths: Vec<&'static str> =
        (0..40).map(|number| &*Box::leak(format!("notes/file{number:02}.md").into_boxed_str())).collect();
    let mut steps: Vec<Step> = (0..40usize)
        .map(|number| {
            let subject = [SEA, BREAD, STARS][number % 3];
            let mut words: Vec<&str> = subject.split(' ').collect();
            let turn = number % words.len();
            words.rotate_left(turn);
            words.truncate(12);
            let first = format!("{} number{}", words.join(" "), number % 7);
            Indexed(paths[number], vec![first, subject.to_owned()])
        })
        .collect();
    steps.push(Moved("notes/file03.md", "archive/old harbour.md"));
    steps.push(Removed("notes/file04.md"));
    steps.push(indexed("notes/file05.md", &["Rewritten: rye and sourdough crust."]));
    steps.push(indexed("notes/file04.md", &[BREAD]));
    steps.push(indexed("copy.md", &[STARS]));
    steps.push(Moved("copy.md", "notes/file06.md"));
    steps
}

fn apply(writer: &mut SearchWriter, steps: &[Step], from: usize) {
    for (number, step) in steps.iter().enumerate() {
        let seq = (from + number) as u64 * 100;
        match step {
            Indexed(path, texts) => {
                writer.file_indexed(path);
                for (index, text) in texts.iter().enumerate() {
                    let seq = seq + 1 + index as u64;
                    writer.add_chunk(&ChunkInput {
                        seq,
                        event: event(seq),
                        path,
                        lines: (index as u32 * 10 + 1, index as u32 * 10 + 9),
                        // Some have a title, for others the first line is it.
                        heading: (index == 0 && !path.contains('7')).then_some("Notes"),
                        text,
                    });
                }
            }
            Moved(from, to) => writer.file_moved(from, to),
            Removed(path) => writer.file_removed(path),
        }
    }
}

fn event(seq: u64) -> [u8; 32] {
    *blake3::hash(&seq.to_le_bytes()).as_bytes()
}

fn position(seq: u64) -> Position {
    Position { seq, head: event(seq) }
}

fn built(directory: &Path, steps: &[Step]) -> SearchReader {
    let mut writer = SearchWriter::create(directory);
    apply(&mut writer, steps, 0);
    writer.persist(position(9)).unwrap();
    SearchReader::open(directory).unwrap()
}

fn paths(reader: &SearchReader, query: &str) -> Vec<String> {
    let hits = reader.search(query, &Options::default()).unwrap();
    let mut paths: Vec<String> = hits.into_iter().map(|hit| hit.path).collect();
    paths.dedup();
    paths
}

#[test]
fn the_same_bytes_however_they_came_about() {
    let steps = log();
    let whole = tempfile::tempdir().unwrap();
    built(whole.path(), &steps);
    let expected = fs::read(whole.path().join(layout::FILE)).unwrap();
    for every in [1, 3, 17] {
        let parts = tempfile::tempdir().unwrap();
        let mut from = 0;
        for part in steps.chunks(every) {
            // A new writer each time: nothing survives but what was saved.
            let mut writer = match SearchWriter::open(parts.path()) {
                Ok(writer) => writer,
                Err(ProjectionError::Missing { .. }) => SearchWriter::create(parts.path()),
                Err(error) => panic!("{error}"),
            };
            apply(&mut writer, part, from);
            from += part.len();
            writer.persist(position(9)).unwrap();
        }
        let found = fs::read(parts.path().join(layout::FILE)).unwrap();
        assert!(found == expected, "saved after every {every} events");
    }
}

#[test]
fn every_flipped_byte_is_found() {
    let directory = tempfile::tempdir().unwrap();
    built(directory.path(), &log());
    assert_eq!(verify(directory.path()), []);
    let file = directory.path().join(layout::FILE);
    let good = fs::read(&file).unwrap();
    let mut at = 0;
    while at < good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        fs::write(&file, &bad).unwrap();
        let problems = verify(directory.path());
        assert!(!problems.is_empty(), "byte {at} of {}", good.len());
        assert!(problems.iter().all(|problem| problem.file == file));
        // Whatever is wrong, reading ends in an error or in an answer, never in a panic.
        if let Ok(reader) = SearchReader::open(directory.path()) {
            let _ = reader.search("harbour bread galaxy", &Options::default());
            let _ = reader.intents();
        }
        at += 131;
    }
    for length in [0, 1, 4095, 4096, good.len() - 1] {
        fs::write(&file, &good[..length]).unwrap();
        assert!(!verify(directory.path()).is_empty(), "cut to {length}");
        assert!(SearchWriter::open(directory.path()).is_err(), "cut to {length}");
    }
    fs::write(&file, [&good[..], b"x"].concat()).unwrap();
    assert!(!verify(directory.path()).is_empty(), "one byte more");
    fs::remove_file(&file).unwrap();
    assert_eq!(verify(directory.path()), []);
    assert!(matches!(SearchReader::open(directory.path()), Err(ProjectionError::Missing { .. })));
}

#[test]
fn hits_follow_the_files() {
    let check = |steps: &[Step], query: &str, expected: &[&str]| {
        let directory = tempfile::tempdir().unwrap();
        let reader = built(directory.path(), steps);
        assert_eq!(paths(&reader, query), expected, "{query}");
    };
    let base =
        || vec![indexed("sea.md", &[SEA]), indexed("bread.md", &[BREAD]), indexed("stars.md", &[STARS])];
    let with = |more: &[Step]| [&base()[..], more].concat();
    check(&base(), "yeast", &["bread.md"]);
    check(&with(&[Removed("bread.md")]), "yeast", &[]);
    check(&with(&[Moved("bread.md", "kitchen/loaf.md")]), "yeast", &["kitchen/loaf.md"]);
    check(&with(&[Moved("bread.md", "sea.md")]), "yeast harbour", &["sea.md"]);
    check(&with(&[indexed("bread.md", &["rye"])]), "yeast", &[]);
    check(&with(&[indexed("bread.md", &[])]), "yeast", &[]);
    check(&with(&[Removed("bread.md"), indexed("bread.md", &[BREAD])]), "yeast", &["bread.md"]);
    check(&with(&[indexed("copy.md", &[BREAD])]), "yeast dough", &["bread.md", "copy.md"]);
    check(&with(&[Removed("absent"), Moved("absent", "x")]), "yeast", &["bread.md"]);
    // Names count too.
    check(&with(&[indexed("zebra.md", &["black, white"])]), "zebra", &["zebra.md"]);
}

#[test]
fn words_are_found_however_they_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = SearchWriter::create(directory.path());
    apply(&mut writer, &log(), 1);
    let steps = [
        indexed("köln.md", &["Die Übergröße der Straße: ein HTTPServer bei Müller."]),
        indexed("cafe\u{301}.md", &["Das Cafe\u{301} am U\u{308}berweg."]),
        indexed(
            "cluster.md",
            &["The accommodation of the kubernetes cluster, described in the architecture."],
        ),
        indexed("sun.md", &["An accomodatin word of one text."]),
    ];
    apply(&mut writer, &steps, 900);
    writer.persist(position(99)).unwrap();
    let reader = SearchReader::open(directory.path()).unwrap();
    let check = |query: &str, expected: &[&str]| {
        let hits = reader.search(query, &Options::default()).unwrap();
        let paths: Vec<&str> = hits.iter().map(|hit| hit.path.as_str()).collect();
        assert_eq!(paths.get(..expected.len().max(paths.len().min(1))), Some(expected), "{query}: {paths:?}");
    };
    check("übergröße", &["köln.md"]);
    check("Ubergrosse", &["köln.md"]);
    check("STRASSE", &["köln.md"]);
    check("Mueller", &["köln.md"]);
    check("koln", &["köln.md"]);
    check("http server", &["köln.md"]);
    check("server", &["köln.md"]);
    check("café überweg", &["cafe\u{301}.md"]);
    check("kuberntes", &["cluster.md"]);
    check("architetcure", &["cluster.md"]);
    check("clusetr archtecture", &["cluster.md"]);
    check("accommodtaion", &["cluster.md"]);
    // The nearest is meant, and what stands in a text is meant as it stands.
    check("acommodation", &["cluster.md"]);
    check("accomodatin", &["sun.md"]);
    check("huse", &[]);
    check("ber", &[]);
}

#[test]
fn what_is_called_so_comes_first() {
    let check = |title: Option<&'static str>, text: &'static str, path: &'static str| {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = SearchWriter::create(directory.path());
        let mut seq = 0;
        let mut add = |path: &str, heading: Option<&str>, text: &str| {
            seq += 1;
            writer.file_indexed(path);
            let (event, lines) = (event(seq), (1, 9));
            writer.add_chunk(&ChunkInput { seq, event, path, lines, heading, text });
        };
        for (number, text) in [SEA, BREAD, STARS].into_iter().cycle().take(12).enumerate() {
            let aside = format!("{text} A grain elevator, and once more: the elevator for grain.");
            add(&format!("part{number}.md"), Some("Sundry > Grain elevator"), &aside);
        }
        add(path, title, text);
        writer.persist(position(99)).unwrap();
        let reader = SearchReader::open(directory.path()).unwrap();
        assert_eq!(paths(&reader, "grain elevator")[0], path, "{title:?} {text}");
    };
    let text = "How the elevator lifts what the farmers bring, and why its bins are round; grain and more.";
    check(Some("Grain elevator > History"), text, "q.md");
    check(
        None,
        "Grain elevator\n\nIt lifts what the farmers bring, for the price that the town has set.",
        "q.md",
    );
    check(None, text, "grain-elevator.md");
}

#[test]
fn related_words_find_what_they_keep_company_with() {
    let directory = tempfile::tempdir().unwrap();
    let mut steps = log();
    steps.push(indexed("quiet.md", &["Astronomers measure the orbit and the light of distant stars."]));
    let reader = built(directory.path(), &steps);
    let hits = reader.search("redshift", &Options { limit: 200, ..Options::default() }).unwrap();
    let quiet = hits.iter().find(|hit| hit.path == "quiet.md");
    assert!(quiet.is_some(), "no word in common, but the company");
}

#[test]
fn hits_say_where_and_what() {
    let directory = tempfile::tempdir().unwrap();
    let reader = built(directory.path(), &log());
    let only = |path: &str| path.starts_with("archive/");
    let options = Options { limit: 5, path: Some(&only), ..Options::default() };
    let hits = reader.search("harbour pilot", &options).unwrap();
    assert_eq!(hits.len(), 2, "{hits:?}");
    for hit in &hits {
        assert_eq!(hit.path, "archive/old harbour.md");
        assert_eq!(hit.event, event(hit.seq));
        assert!(hit.score > 0.0 && hit.score <= 1.0);
    }
    assert!(hits.iter().any(|hit| hit.lines == (1, 9)));
    let intent = hits[0].intent.as_ref().unwrap();
    let (found, members) = reader.members(intent.id).unwrap().unwrap();
    assert_eq!(found.events as usize, members.len());
    let member = members.iter().find(|member| member.event == hits[0].event);
    assert_eq!(member.unwrap().path, hits[0].path);
    assert_eq!(reader.members(intent.id ^ 1).unwrap(), None);
}

#[test]
fn passages_are_chosen_by_their_events() {
    let directory = tempfile::tempdir().unwrap();
    let reader = built(directory.path(), &log());
    let all = reader.search("knead the dough", &Options { limit: 200, ..Options::default() }).unwrap();
    // The second passages of the files that were there first.
    let second = |seq: u64| seq % 100 == 2 && seq < 4000;
    assert!(all.iter().any(|hit| second(hit.seq)) && !all.iter().all(|hit| second(hit.seq)), "{all:?}");
    let found = |limit| {
        let options = Options { limit, event: Some(&second), ..Options::default() };
        reader.search("knead the dough", &options).unwrap()
    };
    let few = found(3);
    assert_eq!(few.len(), 3, "what is refused takes no place");
    assert!(few.iter().all(|hit| second(hit.seq)), "{few:?}");
    assert!(found(200).len() >= all.iter().filter(|hit| second(hit.seq)).count());
    let options = Options { event: Some(&|_| false), ..Options::default() };
    assert_eq!(reader.search("knead the dough", &options).unwrap(), []);

    let (intents, spans) = (reader.intents().unwrap(), reader.spans(..).unwrap());
    assert_eq!(spans.iter().map(|span| span.intent).collect::<Vec<_>>(), ids(&intents));
    for (intent, span) in intents.list().iter().zip(&spans) {
        let (_, members) = reader.members(intent.id).unwrap().unwrap();
        let seqs: Vec<u64> = members.iter().map(|member| member.seq).collect();
        let ends = (*seqs.iter().min().unwrap(), *seqs.iter().max().unwrap());
        assert_eq!((span.events, span.first, span.last), (intent.events, ends.0, ends.1));
        let later = reader.spans(ends.1..).unwrap();
        let own = later.iter().find(|own| own.intent == intent.id).unwrap();
        assert_eq!((own.events, own.first, own.last), (1, ends.1, ends.1));
    }
    assert_eq!(reader.spans(9_999..).unwrap(), []);
}

fn ids(intents: &crate::intent::Intents) -> Vec<u32> {
    intents.list().iter().map(|intent| intent.id).collect()
}

#[test]
fn subjects_become_intents() {
    let directory = tempfile::tempdir().unwrap();
    let reader = built(directory.path(), &log());
    let intents = reader.intents().unwrap();
    let listed: u32 = intents.list().iter().map(|intent| intent.events).sum();
    assert_eq!(listed, 77, "every live chunk is about something");
    for (text, path) in [("sailors and tide", SEA), ("oven and loaf", BREAD)] {
        let (intent, similarity) = reader.assign(text).unwrap().unwrap();
        assert!(similarity > 0.5, "{text}: {similarity}");
        let telling = intent.terms.iter().any(|term| path.to_lowercase().contains(term));
        assert!(telling, "{text}: {:?}", intent.terms);
    }
    assert_eq!(reader.assign("zzz qqq").unwrap(), None);
}

#[test]
fn the_embedder_places_like_with_like() {
    let directory = tempfile::tempdir().unwrap();
    let reader = built(directory.path(), &log());
    let embedder: &dyn Embedder = &reader;
    let vectors =
        embedder.embed(&["ships in the harbour", "anchor and tide", "bake a loaf", "unknownword"]).unwrap();
    assert!(vectors.iter().all(|vector| vector.dimension() == embedder.dimension()));
    let alike = vectors[0].cosine(&vectors[1]);
    let unlike = vectors[0].cosine(&vectors[2]);
    assert!(alike > COSINE_ONE / 2 && alike > 2 * unlike, "{alike} {unlike}");
    assert_eq!(vectors[3], Embedding::Bits8(vec![0; embedder.dimension()]));
    assert!(embedder.id().starts_with("lexical/1:"));
}

#[test]
fn hostile_queries_and_texts_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    let mut steps = log();
    steps.push(indexed("\u{202e}evil\n\u{1b}[2J.md", &["\u{0}\u{feff}\u{d7ff}", ""]));
    let long: &'static str = Box::leak("a\u{301}b_".repeat(50_000).into_boxed_str());
    steps.push(indexed("long.md", &[long]));
    let reader = built(directory.path(), &steps);
    let queries = [
        String::new(),
        "the and of".into(),
        "qwertzuiop".into(),
        "\u{0}\u{202e}\u{10ffff}".into(),
        "harbour ".repeat(100_000),
        (0..10_000).map(|n| format!("w{n} ")).collect(),
        "\"' OR 1=1 --".into(),
        "_".repeat(10_000),
        "東京 𝕳𝖆𝖗𝖇𝖔𝖚𝖗 ﷽".into(),
    ];
    for query in &queries {
        let hits = reader.search(query, &Options::default()).unwrap();
        assert!(hits.len() <= 10);
        assert!(hits.iter().all(|hit| hit.score.is_finite()));
    }
    assert_eq!(reader.search("", &Options::default()).unwrap(), []);
    let none = Options { limit: 0, ..Options::default() };
    assert_eq!(reader.search("harbour", &none).unwrap(), []);
}

#[test]
fn intents_of_events_are_those_of_the_hits() {
    let directory = tempfile::tempdir().unwrap();
    let reader = built(directory.path(), &log());
    let hits = reader.search("yeast harbour galaxy", &Options { limit: 40, ..Options::default() }).unwrap();
    let mut events: Vec<[u8; 32]> = hits.iter().map(|hit| hit.event).collect();
    let mut intents: Vec<Option<IntentRef>> = hits.into_iter().map(|hit| hit.intent).collect();
    assert!(intents.iter().flatten().count() > 10);
    events.push([7; 32]);
    intents.push(None);
    assert_eq!(reader.intents_of(&events).unwrap(), intents);
}

#[test]
fn an_empty_vault_has_an_empty_projection() {
    let directory = tempfile::tempdir().unwrap();
    let reader = built(directory.path(), &[]);
    assert_eq!(reader.search("anything", &Options::default()).unwrap(), []);
    assert!(reader.intents().unwrap().list().is_empty());
    assert_eq!(reader.position(), position(9));
    let writer = SearchWriter::open(directory.path()).unwrap();
    assert_eq!((writer.chunks(), writer.position()), (0, Some(position(9))));
}

#[test]
fn an_open_reader_keeps_what_it_sees() {
    let directory = tempfile::tempdir().unwrap();
    let before = built(directory.path(), &[indexed("a.md", &[SEA])]);
    let after = built(directory.path(), &[indexed("b.md", &[SEA])]);
    assert_eq!(paths(&before, "harbour"), ["a.md"]);
    assert_eq!(paths(&after, "harbour"), ["b.md"]);
}

#[cfg(feature = "seal")]
#[test]
fn a_sealed_projection_says_nothing_without_its_key() {
    let keyring = crate::seal::Keyring::in_memory().unwrap();
    let key = keyring.projection_key();
    let directory = tempfile::tempdir().unwrap();
    let position = Position { seq: 99, head: [9; 32] };
    let save = || {
        let mut writer = SearchWriter::create_sealed(directory.path(), Some(key.clone()));
        apply(&mut writer, &log(), 0);
        writer.persist(position).unwrap();
        fs::read(directory.path().join(layout::FILE)).unwrap()
    };
    let bytes = save();
    assert_eq!(bytes, save(), "the same log gives the same file");
    for term in ["harbour", "sourdough", "telescop", "file06", "archive"] {
        assert!(!bytes.windows(term.len()).any(|window| window == term.as_bytes()), "{term}");
    }
    assert_eq!(verify(directory.path()), [], "checking needs no key");
    assert!(matches!(SearchReader::open(directory.path()), Err(ProjectionError::Sealed { .. })));
    let plain = tempfile::tempdir().unwrap();
    let expected = paths(&built(plain.path(), &log()), "yeast harbour galaxy");
    let reader = SearchReader::open_sealed(directory.path(), Some(&key)).unwrap();
    assert_eq!(paths(&reader, "yeast harbour galaxy"), expected);
    let writer = SearchWriter::open_sealed(directory.path(), Some(key.clone())).unwrap();
    assert_eq!(writer.position(), Some(position));
    let damaged = |key| {
        matches!(SearchReader::open_sealed(directory.path(), key), Err(ProjectionError::Damaged { .. }))
    };
    keyring.destroy(&[toka_types::KeyId([1; 16])]).unwrap();
    let other = keyring.projection_key();
    assert!(damaged(Some(&other)), "after an erasure the old file is of no use");
    fs::copy(plain.path().join(layout::FILE), directory.path().join(layout::FILE)).unwrap();
    assert!(damaged(Some(&key)), "nor is a plain one in a sealed vault");
    let mut flipped = bytes.clone();
    flipped[5000] ^= 1;
    fs::write(directory.path().join(layout::FILE), flipped).unwrap();
    assert!(!verify(directory.path()).is_empty());
}

/// A vector that says of a text which of three subjects it is about, as a model would that knows their words.
fn subject_of(text: &str) -> Embedding {
    let about = |words: &[&str]| if words.iter().any(|word| text.contains(word)) { 100 } else { 1 };
    Embedding::Bits16(vec![
        about(&["harbour", "sailors"]),
        about(&["dough", "rye"]),
        about(&["telescope", "orbit"]),
    ])
}

/// As [`apply`], with a vector of each chunk by each of the embedders.
fn apply_embedded(writer: &mut SearchWriter, steps: &[Step], from: usize, embedders: &[&str]) {
    for (number, step) in steps.iter().enumerate() {
        apply(writer, std::slice::from_ref(step), from + number);
        let Indexed(_, texts) = step else { continue };
        for (index, text) in texts.iter().enumerate() {
            let chunk = event((from + number) as u64 * 100 + 1 + index as u64);
            for embedder in embedders {
                writer.add_vector(embedder, chunk, &subject_of(text));
            }
        }
    }
}

#[test]
fn vectors_of_a_model_are_kept_by_embedder_for_as_long_as_their_chunks_live() {
    let steps = log();
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut writer = SearchWriter::create(whole.path());
    apply_embedded(&mut writer, &steps, 0, &["model/1:a", "model/1:b"]);
    // None of these is the vector of a live chunk.
    writer.add_vector("model/1:a", [7; 32], &Embedding::Bits8(vec![1, 2, 3]));
    writer.add_vector("model/1:a", event(401), &Embedding::Bits8(vec![1, 2, 3]));
    writer.add_vector("model/1:c", event(1), &Embedding::Bits8(vec![0, 0, 0]));
    writer.add_vector("", event(1), &Embedding::Bits8(vec![1, 2, 3]));
    writer.add_vector("model/1:a", event(1), &Embedding::Bits8(vec![1, 2]));
    writer.persist(position(9)).unwrap();
    let mut from = 0;
    for part in steps.chunks(5) {
        let mut writer = match SearchWriter::open(parts.path()) {
            Ok(writer) => writer,
            Err(ProjectionError::Missing { .. }) => SearchWriter::create(parts.path()),
            Err(error) => panic!("{error}"),
        };
        apply_embedded(&mut writer, part, from, &["model/1:b", "model/1:a"]);
        writer.persist(position(9)).unwrap();
        from += part.len();
    }
    let read = |directory: &Path| fs::read(directory.join(layout::FILE)).unwrap();
    assert!(read(whole.path()) == read(parts.path()), "the same bytes however they came about");
    let reader = SearchReader::open(whole.path()).unwrap();
    assert!(reader.has_vectors());
    let chunks = reader.embedded("model/1:a").1;
    assert_eq!(reader.embedded("model/1:a"), (chunks, chunks));
    assert_eq!(reader.embedded("model/1:b"), (chunks, chunks));
    assert_eq!(reader.embedded("model/1:c"), (0, chunks));
}

#[test]
fn a_model_finds_what_no_word_of_the_query_stands_in() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = SearchWriter::create(directory.path());
    apply_embedded(&mut writer, &log(), 0, &["model/1:a"]);
    writer.persist(position(9)).unwrap();
    let reader = SearchReader::open(directory.path()).unwrap();
    let search = |query: &str, asked: Option<(&str, Vec<i8>)>| {
        let vector = asked.map(|(embedder, vector)| (embedder, Embedding::Bits8(vector)));
        let asked = vector.as_ref().map(|(embedder, vector)| Asked { embedder, vector });
        reader.search(query, &Options { asked, ..Options::default() }).unwrap()
    };
    let bread = |hits: &[Hit]| {
        let number = |hit: &Hit| hit.path[hit.path.len() - 5..hit.path.len() - 3].parse::<u32>().unwrap();
        hits.iter().all(|hit| number(hit) % 3 == 1 || number(hit) == 5)
    };
    assert_eq!(search("patisserie", None), []);
    let found = search("patisserie", Some(("model/1:a", vec![0, 127, 0])));
    assert!(found.len() == 10 && bread(&found[..5]), "{found:#?}");
    assert!(found.iter().all(|hit| hit.score > 0.0 && hit.score <= 1.0));
    // Words and model together: of the files about bread the one that the word is in leads.
    let both = search("sourdough", Some(("model/1:a", vec![0, 127, 0])));
    assert_eq!(both[0].path, "notes/file05.md");
    // A vector that is not to be compared with these is none.
    for (embedder, vector) in
        [("model/1:b", vec![0, 127, 0]), ("model/1:a", vec![0, 127]), ("model/1:a", vec![0, 0, 0])]
    {
        assert_eq!(search("patisserie", Some((embedder, vector))), []);
    }
    let only = |path: &str| path == "notes/file00.md";
    let vector = Embedding::Bits8(vec![0, 127, 0]);
    let asked = Some(Asked { embedder: "model/1:a", vector: &vector });
    let hits =
        reader.search("patisserie", &Options { asked, path: Some(&only), ..Options::default() }).unwrap();
    assert!(!hits.is_empty() && hits.iter().all(|hit| hit.path == "notes/file00.md"), "{hits:?}");
}

#[test]
fn beside_a_model_words_count_as_far_as_one_passage_holds_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = SearchWriter::create(directory.path());
    let file = |path, text: &str| Indexed(path, vec![text.into()]);
    let steps = [
        file("quay.md", "Grease the winch on the quay before winter."),
        file("galley.md", "In the galley the stove stays lit; there rye is baked."),
        file("lamp.md", "A lamp stands at the pier."),
        file("rope.md", "Coil every rope by hand."),
        file("bread.md", "Dough needs rest and warmth."),
    ];
    apply_embedded(&mut writer, &steps, 0, &["model/1:a"]);
    writer.persist(position(9)).unwrap();
    let reader = SearchReader::open(directory.path()).unwrap();
    let vector = subject_of("dough");
    let asked = Some(Asked { embedder: "model/1:a", vector: &vector });
    let first =
        |query: &str| reader.search(query, &Options { asked, ..Options::default() }).unwrap()[0].path.clone();
    // Words that one passage holds all of are meant as they stand, whatever the model takes them for.
    assert_eq!(first("grease the winch on the quay"), "quay.md");
    // Of those that lie about, none says where the answer is.
    let found = first("winch lamp rope warmly");
    assert!(found == "bread.md" || found == "galley.md", "{found}");
    // A passage that is good by both leads those that are by one.
    assert_eq!(first("rye"), "galley.md");
}
