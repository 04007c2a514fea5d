use std::fs;
use std::path::Path;

use super::*;
use crate::search::{Change, ChunkInput, Options};

const SEA: &str = "The harbour pilot guides ships through the strait; sailors watch tide and wind.";
const BREAD: &str = "Knead the dough, let the yeast rise and bake the loaf in a hot oven.";
const STARS: &str = "The telescope shows a distant galaxy; astronomers measure redshift and orbit.";

fn event(seq: u64) -> [u8; 32] {
    *blake3::hash(&seq.to_le_bytes()).as_bytes()
}

fn position(seq: u64) -> Position {
    Position { seq, head: event(seq) }
}

/// A version of a file with these passages, the first of which has this number.
fn index(writer: &mut TantivyWriter, seq: u64, path: &str, texts: &[&str]) {
    writer.apply(&Change::Indexed(path)).unwrap();
    for (seq, text) in (seq..).zip(texts) {
        let lines = (seq as u32, seq as u32 + 5);
        let chunk = ChunkInput { seq, event: event(seq), path, lines, heading: None, text };
        writer.apply(&Change::Chunk(chunk)).unwrap();
    }
}

fn moved(writer: &mut TantivyWriter, from: &str, to: &str) {
    writer.apply(&Change::Moved { from, to }).unwrap();
}

fn folder(directory: &Path) -> TantivyWriter {
    let mut writer = TantivyWriter::create(directory);
    index(&mut writer, 1, "sea.md", &[SEA, "Anchors and chains."]);
    index(&mut writer, 11, "kitchen/bread.md", &[BREAD]);
    index(&mut writer, 21, "stars.md", &[STARS]);
    writer.persist(position(30)).unwrap();
    writer
}

#[track_caller]
fn paths(directory: &Path, query: &str) -> Vec<String> {
    let hits = TantivyReader::open(directory).unwrap().search(query, &Options::default()).unwrap();
    hits.into_iter().map(|hit| hit.path).collect()
}

#[test]
fn passages_are_found_with_all_that_names_them() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join("projections").join("index");
    fs::create_dir(directory.parent().unwrap()).unwrap();
    drop(folder(&directory));
    let reader = TantivyReader::open(&directory).unwrap();
    assert_eq!(reader.position(), position(30));
    let hits = reader.search("Baking a LOAF", &Options::default()).unwrap();
    assert_eq!((hits.len(), hits[0].path.as_str()), (1, "kitchen/bread.md"));
    assert_eq!((hits[0].seq, hits[0].event, hits[0].lines), (11, event(11), (11, 16)));
    assert_eq!(hits[0].score, 1.0);
    // By the file's name alone; its beginning stands for it.
    let hits = reader.search("kitchen", &Options::default()).unwrap();
    assert_eq!((hits.len(), hits[0].seq), (1, 11));
    assert_eq!(paths(&directory, "sea"), ["sea.md"]);
    assert_eq!(paths(&directory, "qwertzuiop"), [""; 0]);
}

#[test]
fn words_are_found_however_they_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = folder(directory.path());
    index(&mut writer, 31, "köln.md", &["Übergröße einer Straße: der HTTPServer von Müller"]);
    writer.persist(position(40)).unwrap();
    for query in ["ubergrosse", "STRASSE", "Mueller", "server", "U\u{308}bergröße", "koln"] {
        assert_eq!(paths(directory.path(), query), ["köln.md"], "{query}");
    }
    assert_eq!(paths(directory.path(), "astronomres telescop"), ["stars.md"]);
    assert_eq!(paths(directory.path(), "kichen"), ["kitchen/bread.md"]);
    assert_eq!(paths(directory.path(), "ovem"), [""; 0], "a short word has too many neighbours");
}

#[test]
fn conditions_take_no_places() {
    let directory = tempfile::tempdir().unwrap();
    drop(folder(directory.path()));
    let reader = TantivyReader::open(directory.path()).unwrap();
    let query = "harbour loaf galaxy anchors";
    let stars = |path: &str| path.starts_with("stars");
    let hits = reader.search(query, &Options { limit: 1, path: Some(&stars), ..Options::default() }).unwrap();
    assert_eq!((hits.len(), hits[0].path.as_str()), (1, "stars.md"));
    let nothing = |_: &str| false;
    assert_eq!(
        reader.search(query, &Options { limit: 10, path: Some(&nothing), ..Options::default() }).unwrap(),
        []
    );
    assert_eq!(reader.search(query, &Options { limit: 0, ..Options::default() }).unwrap(), []);
    let all = reader.search(query, &Options { limit: usize::MAX, ..Options::default() }).unwrap();
    assert_eq!(all.len(), 4, "{all:?}");
    assert!(all.windows(2).all(|pair| pair[0].score >= pair[1].score));
}

#[test]
fn the_index_follows_edits_moves_and_removals() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let check = |query: &str, expected: &[&str]| assert_eq!(paths(directory, query), expected, "{query}");
    let mut writer = folder(directory);
    index(&mut writer, 41, "sea.md", &["Now about mountains."]);
    writer.apply(&Change::Removed("stars.md")).unwrap();
    moved(&mut writer, "kitchen/bread.md", "rolls.md");
    check("harbour", &["sea.md"]);
    writer.persist(position(50)).unwrap();
    check("harbour", &[]);
    check("mountains", &["sea.md"]);
    check("galaxy", &[]);
    check("yeast", &["rolls.md"]);
    check("rolls", &["rolls.md"]);
    check("kitchen", &[]);
    // In one step: there and moved, over another, and restored where it was.
    index(&mut writer, 61, "new.md", &[STARS]);
    moved(&mut writer, "new.md", "rolls.md");
    moved(&mut writer, "none.md", "sea.md");
    index(&mut writer, 71, "stars.md", &[STARS]);
    writer.persist(position(80)).unwrap();
    check("galaxy", &["rolls.md", "stars.md"]);
    check("yeast", &[]);
    check("mountains", &["sea.md"]);
}

#[test]
fn what_was_not_saved_is_taken_in_again_and_once() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut writer = folder(directory);
    index(&mut writer, 41, "late.md", &[BREAD]);
    // The process ends here.
    drop(writer);
    let mut writer = TantivyWriter::open(directory).unwrap();
    assert_eq!(writer.position(), Some(position(30)));
    assert_eq!(paths(directory, "yeast"), ["kitchen/bread.md"]);
    index(&mut writer, 41, "late.md", &[BREAD]);
    moved(&mut writer, "stars.md", "sky.md");
    writer.persist(position(50)).unwrap();
    assert_eq!(paths(directory, "yeast"), ["kitchen/bread.md", "late.md"]);
    assert_eq!(paths(directory, "galaxy"), ["sky.md"], "files are known after opening");
    drop(writer);
    // What a crash leaves of a beginning is no index.
    drop(TantivyWriter::create(directory));
    let mut writer = TantivyWriter::create(directory);
    index(&mut writer, 1, "only.md", &[SEA]);
    assert!(matches!(TantivyReader::open(directory), Err(ProjectionError::Missing { .. })));
    assert!(matches!(TantivyWriter::open(directory), Err(ProjectionError::Missing { .. })));
    writer.persist(position(2)).unwrap();
    assert_eq!(paths(directory, "harbour loaf"), ["only.md"]);
}

#[test]
fn readers_keep_what_they_see_and_writers_are_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = folder(directory.path());
    let before = TantivyReader::open(directory.path()).unwrap();
    writer.apply(&Change::Removed("sea.md")).unwrap();
    writer.persist(position(40)).unwrap();
    assert_eq!(before.search("harbour", &Options::default()).unwrap().len(), 1);
    assert_eq!(paths(directory.path(), "harbour"), [""; 0]);
    assert!(matches!(TantivyWriter::open(directory.path()), Err(ProjectionError::Io { .. })));
    // Begun anew under a reader.
    drop(writer);
    let mut writer = TantivyWriter::create(directory.path());
    index(&mut writer, 1, "new.md", &[SEA]);
    assert_eq!(before.search("harbour", &Options::default()).unwrap().len(), 1);
}

#[test]
fn damage_is_found_and_ends_no_program() {
    let directory = tempfile::tempdir().unwrap();
    drop(folder(directory.path()));
    let segments = || {
        let entries = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
        entries
            .filter(|path| path.extension().is_some_and(|e| e != "json" && e != "lock"))
            .collect::<Vec<_>>()
    };
    assert!(segments().len() > 3);
    for file in segments() {
        let bytes = fs::read(&file).unwrap();
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 3] ^= 0x55;
        fs::write(&file, flipped).unwrap();
        assert!(TantivyWriter::open(directory.path()).is_err(), "{}", file.display());
        // It may answer, wrongly, or say that it cannot.
        let read = TantivyReader::open(directory.path());
        let _ = read.and_then(|reader| reader.search("harbour loaf", &Options::default()));
        fs::write(&file, bytes).unwrap();
    }
    drop(TantivyWriter::open(directory.path()).unwrap());
    let meta = directory.path().join(META);
    let text = fs::read_to_string(&meta).unwrap();
    fs::write(&meta, text.replace("\"2 30 ", "\"9 30 ")).unwrap();
    let found = TantivyReader::open(directory.path()).err();
    assert!(matches!(found, Some(ProjectionError::Version { found: 9, expected: 2, .. })), "{found:?}");
    fs::write(&meta, "{").unwrap();
    assert!(matches!(TantivyReader::open(directory.path()), Err(ProjectionError::Damaged { .. })));
}

#[test]
fn hostile_queries_and_texts_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = folder(directory.path());
    index(&mut writer, 41, "\u{202e}evil\n\u{1b}[2J.md", &["\u{0}\u{feff}\u{d7ff}", ""]);
    index(&mut writer, 51, "long.md", &[&"a\u{301}b_".repeat(50_000)]);
    let deep = format!("{}.md", "d/".repeat(2_000));
    index(&mut writer, 61, &deep, &[SEA]);
    writer.persist(position(70)).unwrap();
    let reader = TantivyReader::open(directory.path()).unwrap();
    let queries = [
        String::new(),
        "the and of".into(),
        "\u{0}\u{202e}\u{10ffff}".into(),
        "harbour ".repeat(100_000),
        (0..10_000).map(|n| format!("w{n} ")).collect(),
        "\"' OR 1=1 -- text:[a TO *] +(-\\".into(),
        "東京 𝕳𝖆𝖗𝖇𝖔𝖚𝖗 ﷽".into(),
    ];
    for query in &queries {
        let hits = reader.search(query, &Options::default()).unwrap();
        assert!(hits.len() <= 10 && hits.iter().all(|hit| hit.score.is_finite()));
    }
    drop(writer);
    let mut writer = TantivyWriter::open(directory.path()).unwrap();
    writer.apply(&Change::Removed(&deep)).unwrap();
    writer.persist(position(80)).unwrap();
    assert_eq!(paths(directory.path(), "harbour"), ["sea.md"], "a long path can be removed");
}
