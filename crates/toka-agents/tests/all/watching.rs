//! Watching real folders. No test depends on how long something takes; each waits for what must come.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use toka_agents::indexer::walk::{DirId, WalkOptions, Walker};
use toka_agents::indexer::watch::{Changed, Watch};

/// Far more than any report takes; only a report that never comes waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

struct Watched {
    dir: TempDir,
    watch: Watch,
    /// All that was reported so far. The events of one change may come in two reports.
    earlier: BTreeSet<String>,
}

impl Watched {
    fn new(exclude: &[&str], prepare: impl FnOnce(&Path)) -> Watched {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("vault")).unwrap();
        prepare(dir.path());
        let options = WalkOptions {
            exclude: exclude.iter().map(|glob| (*glob).to_owned()).collect(),
            excluded_dirs: vec![DirId::of(&dir.path().join("vault")).unwrap()],
            ..WalkOptions::default()
        };
        let walker = Walker::open(dir.path(), options).unwrap();
        Watched { watch: Watch::start(Arc::new(walker)).unwrap(), dir, earlier: BTreeSet::new() }
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Gathers reports until the last of these paths is among them, and checks that they hold no other new path.
    async fn only(&mut self, expected: &[&str]) {
        let earlier = self.earlier.clone();
        let seen = self.until(expected[expected.len() - 1]).await;
        for path in expected {
            assert!(seen.contains(*path), "{path} is not in {seen:?}");
        }
        for path in &seen {
            assert!(expected.contains(&path.as_str()) || earlier.contains(path), "{path} is in {seen:?}");
        }
    }

    /// Gathers reports until `last` is among them.
    async fn until(&mut self, last: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        loop {
            match tokio::time::timeout(PATIENCE, self.watch.changed()).await {
                Ok(Some(Changed::Paths(paths))) => {
                    seen.extend(paths.into_iter().map(|path| String::from_utf8(path).unwrap()));
                }
                Ok(Some(Changed::Rescan)) => {
                    seen.insert("(rescan)".to_owned());
                }
                other => panic!("{other:?} while waiting for {last}, after {seen:?}"),
            }
            if seen.contains(last) {
                self.earlier.extend(seen.iter().cloned());
                return seen;
            }
        }
    }
}

#[tokio::test]
async fn files_that_change_are_reported() {
    let mut watched = Watched::new(&["*.tmp"], |dir| {
        fs::create_dir(dir.join("sub")).unwrap();
        fs::write(dir.join("sub/old"), "1").unwrap();
        fs::write(dir.join("gone"), "1").unwrap();
    });
    // None of these is heard: the vault, hidden and excluded names, and reading.
    watched.write("vault/journal", "x");
    watched.write(".hidden", "x");
    watched.write("sub/a.tmp", "x");
    fs::read(watched.dir.path().join("gone")).unwrap();
    fs::read_dir(watched.dir.path().join("sub")).unwrap().count();
    watched.write("z1", "last");
    watched.only(&["z1"]).await;

    watched.write("sub/old", "2");
    fs::remove_file(watched.dir.path().join("gone")).unwrap();
    watched.write("z2", "last");
    watched.only(&["gone", "sub/old", "z2"]).await;
}

#[tokio::test]
async fn new_folders_are_watched_with_their_content() {
    let mut watched = Watched::new(&[], |_| {});
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir_all(outside.path().join("in/deep")).unwrap();
    fs::write(outside.path().join("in/deep/file"), "x").unwrap();
    fs::rename(outside.path().join("in"), watched.dir.path().join("in")).unwrap();
    assert!(watched.until("in/deep/file").await.contains("in/deep/file"));
    watched.write("in/deep/second", "x");
    watched.only(&["in/deep/second"]).await;

    // Moved within: gone there, here with all content, and still watched.
    fs::rename(watched.dir.path().join("in"), watched.dir.path().join("moved")).unwrap();
    let seen = watched.until("moved/deep/file").await;
    assert!(seen.contains("in") && seen.contains("moved/deep/second"), "{seen:?}");
    watched.write("moved/deep/third", "x");
    watched.only(&["moved/deep/third"]).await;

    fs::remove_dir_all(watched.dir.path().join("moved")).unwrap();
    assert!(watched.until("moved").await.contains("moved"));
}

#[tokio::test]
async fn changed_rules_ask_for_a_rescan() {
    let mut watched = Watched::new(&[], |dir| {
        fs::create_dir(dir.join("out")).unwrap();
    });
    watched.write(".gitignore", "out/\n");
    watched.until("(rescan)").await;
    watched.write("out/a", "x");
    watched.write("z", "last");
    watched.only(&["z"]).await;
    fs::remove_file(watched.dir.path().join(".gitignore")).unwrap();
    watched.until("(rescan)").await;
    watched.write("out/b", "x");
    watched.only(&["out/b"]).await;
}

#[tokio::test]
async fn folders_with_paths_beyond_the_system_limit_are_watched() {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let name = "d".repeat(250);
    let mut end = None;
    let mut watched = Watched::new(&[], |dir| {
        let mut at = openat(CWD, dir, flags, Mode::empty()).unwrap();
        for _ in 0..20 {
            mkdirat(&at, &name, Mode::RWXU).unwrap();
            at = openat(&at, &name, flags, Mode::empty()).unwrap();
        }
        end = Some(at);
    });
    drop(openat(end.unwrap(), "file", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap());
    let path = format!("{}/file", vec![name; 20].join("/"));
    watched.only(&[&path]).await;
}

#[tokio::test]
async fn a_root_that_vanishes_ends_the_watch() {
    let mut watched = Watched::new(&[], |_| {});
    let root = watched.dir.path().to_owned();
    fs::remove_dir_all(&root).unwrap();
    loop {
        match tokio::time::timeout(PATIENCE, watched.watch.changed()).await.unwrap().unwrap() {
            Changed::Failed(error) => {
                assert!(error.to_string().contains(root.to_str().unwrap()), "{error}");
                break;
            }
            Changed::Paths(_) | Changed::Rescan => {}
        }
    }
    assert!(watched.watch.changed().await.is_none());
}
