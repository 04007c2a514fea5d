//! The walker on folders as the world has them.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, mkfifoat, openat};
use tempfile::TempDir;
use toka_agents::indexer::skip::SkipReason;
use toka_agents::indexer::walk::{
    DirId, EntryKind, Lookup, MAX_DEPTH, MAX_PATH_BYTES, WalkError, WalkOptions, Walker,
};

fn globs(globs: &[&str]) -> Vec<String> {
    globs.iter().map(|glob| (*glob).to_owned()).collect()
}

fn put(root: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), files);
    dir
}

fn open(dir: &Path, options: WalkOptions) -> Walker {
    Walker::open(dir, options).unwrap()
}

/// One line for each entry: the path, and the reason if it is skipped.
fn list(walker: &Walker) -> Vec<String> {
    walker
        .walk()
        .map(|entry| {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            match entry.kind {
                EntryKind::File { .. } => path,
                EntryKind::Skipped(reason) => format!("{path} ({reason})"),
            }
        })
        .collect()
}

/// Checks what a walk reports, and that each path alone is reported as the walk does.
fn check(files: &[(&str, &str)], include: &[&str], exclude: &[&str], expected: &[&str]) {
    let dir = folder(files);
    let options = WalkOptions { include: globs(include), exclude: globs(exclude), ..WalkOptions::default() };
    let walker = open(dir.path(), options);
    assert_eq!(list(&walker), expected, "include {include:?}, exclude {exclude:?}");
    let entries: Vec<_> = walker.walk().collect();
    for (path, _) in files {
        let walked = entries.iter().find(|entry| entry.path == path.as_bytes()).cloned();
        assert_eq!(walker.entry(path.as_bytes()), walked, "{path}");
    }
}

#[test]
fn order_is_that_of_the_whole_path_as_bytes() {
    let files = [("a/z", ""), ("a.txt", ""), ("a-b/c", ""), ("ab", ""), ("B", ""), ("a/b/c", "")];
    check(&files, &[], &[], &["B", "a-b/c", "a.txt", "a/b/c", "a/z", "ab"]);
}

#[test]
fn globs_take_and_leave() {
    let files = [
        ("README.md", ""),
        ("docs/a.md", ""),
        ("docs/deep/b.md", ""),
        ("docs/c.txt", ""),
        ("target/out.md", ""),
        ("x/target/out.md", ""),
        (".github/w.md", ""),
        (".hidden.md", ""),
    ];
    let all = ["README.md", "docs/a.md", "docs/c.txt", "docs/deep/b.md", "target/out.md", "x/target/out.md"];
    check(&files, &[], &[], &all);
    check(
        &files,
        &[],
        &["target/**"],
        &["README.md", "docs/a.md", "docs/c.txt", "docs/deep/b.md", "x/target/out.md"],
    );
    check(&files, &[], &["target"], &["README.md", "docs/a.md", "docs/c.txt", "docs/deep/b.md"]);
    check(&files, &["*.txt"], &[], &["docs/c.txt"]);
    check(&files, &["docs/*.md"], &[], &["docs/a.md"]);
    check(&files, &["docs/**"], &["*.txt"], &["docs/a.md", "docs/deep/b.md"]);
    check(&files, &["docs"], &[], &["docs/a.md", "docs/c.txt", "docs/deep/b.md"]);
    check(&files, &["./docs/deep/"], &[], &["docs/deep/b.md"]);
    check(&files, &["/README.md", "docs/{a,c}.*"], &[], &["README.md", "docs/a.md", "docs/c.txt"]);
    check(&files, &["**/*.md"], &["docs"], &["README.md", "target/out.md", "x/target/out.md"]);
    check(&files, &[".github/**"], &[], &[".github/w.md"]);
    check(&files, &[".hidden.md", "docs/deep"], &[], &[".hidden.md", "docs/deep/b.md"]);
    check(&files, &["nothing"], &[], &[]);
    check(&files, &[], &["**"], &[]);
}

#[test]
fn invalid_globs_are_named() {
    let dir = folder(&[]);
    let options = WalkOptions { exclude: globs(&["a[b"]), ..WalkOptions::default() };
    let error = Walker::open(dir.path(), options).unwrap_err();
    assert!(error.to_string().contains("a[b"), "{error}");
}

#[test]
fn ignore_files_count_outside_a_repository() {
    check(
        &[
            (".gitignore", "*.log\n/build\n!keep.log\nnot [valid\n"),
            ("a.log", ""),
            ("keep.log", ""),
            ("build/x", ""),
            ("sub/build/x", ""),
            ("sub/b.log", ""),
        ],
        &[],
        &[],
        &["keep.log", "sub/build/x"],
    );
    // The nearest file decides, and a folder that is ignored is not entered to be asked.
    check(
        &[
            (".gitignore", "*.log\nout/\n"),
            ("sub/.gitignore", "!*.log\n/only-here\n"),
            ("sub/a.log", ""),
            ("sub/only-here", ""),
            ("sub/x/only-here", ""),
            ("out/.gitignore", "!*\n"),
            ("out/a", ""),
        ],
        &[],
        &[],
        &["sub/a.log", "sub/x/only-here"],
    );
    // `.ignore` comes before `.gitignore`.
    check(
        &[(".gitignore", "a\nb\n"), (".ignore", "!a\nc\n"), ("a", ""), ("b", ""), ("c", ""), ("d", "")],
        &[],
        &[],
        &["a", "d"],
    );
}

#[test]
fn ignore_files_that_are_no_files_do_not_hold() {
    let dir = folder(&[("a", ""), ("sub/b", ""), ("big/c", "")]);
    mkfifoat(CWD, dir.path().join(".gitignore"), Mode::RWXU).unwrap();
    let outside = folder(&[("rules", "*\n")]);
    symlink(outside.path().join("rules"), dir.path().join("sub/.gitignore")).unwrap();
    fs::write(dir.path().join("big/.gitignore"), "c\n".repeat(200 * 1024)).unwrap();
    assert_eq!(list(&open(dir.path(), WalkOptions::default())), ["a", "big/c", "sub/b"]);
}

#[test]
fn what_is_no_file_is_never_opened() {
    let dir = folder(&[("real.txt", "x"), ("inside/a.txt", "a")]);
    let outside = folder(&[("secret.txt", "s")]);
    mkfifoat(CWD, dir.path().join("fifo"), Mode::RWXU).unwrap();
    let _socket = UnixListener::bind(dir.path().join("socket")).unwrap();
    symlink(outside.path(), dir.path().join("out")).unwrap();
    symlink("real.txt", dir.path().join("link.txt")).unwrap();
    symlink(".", dir.path().join("loop")).unwrap();
    symlink("nowhere", dir.path().join("dangling")).unwrap();
    let walker = open(dir.path(), WalkOptions::default());
    let expected = [
        "dangling (symlink)",
        "fifo (special)",
        "inside/a.txt",
        "link.txt (symlink)",
        "loop (symlink)",
        "out (symlink)",
        "real.txt",
        "socket (special)",
    ];
    assert_eq!(list(&walker), expected);
    for entry in walker.walk() {
        assert_eq!(walker.entry(&entry.path).as_ref(), Some(&entry));
    }
    assert_eq!(walker.read(b"real.txt", 10), Ok(Some(b"x".to_vec())));
    assert_eq!(walker.read(b"fifo", 10), Err(SkipReason::Special));
    assert_eq!(walker.read(b"socket", 10), Err(SkipReason::Special));
    assert_eq!(walker.read(b"inside", 10), Err(SkipReason::Special));
    assert_eq!(walker.read(b"link.txt", 10), Err(SkipReason::Symlink));
    for path in [
        "out/secret.txt",
        "loop/real.txt",
        "../x",
        "",
        "inside/../real.txt",
        "./real.txt",
        "/etc/passwd",
        "gone",
        "a\0b",
    ] {
        assert_eq!(walker.read(path.as_bytes(), 10), Ok(None), "{path:?}");
        assert_eq!(walker.entry(path.as_bytes()), None, "{path:?}");
    }
    assert_eq!(walker.lookup(b"out/secret.txt"), Lookup::Gone);
    assert_eq!(walker.lookup(b"inside"), Lookup::Dir);
    assert_eq!(walker.lookup(b"gone"), Lookup::Gone);
    assert_eq!(walker.lookup(b".gone"), Lookup::PassedOver);
}

#[test]
fn oversized_files_are_skipped() {
    let dir = folder(&[("long", "12345"), ("short", "1234")]);
    let walker = open(dir.path(), WalkOptions { max_file_bytes: 4, ..WalkOptions::default() });
    assert_eq!(list(&walker), ["long (oversized)", "short"]);
    assert_eq!(walker.read(b"long", 4), Err(SkipReason::Oversized));
    assert_eq!(walker.read(b"short", 4), Ok(Some(b"1234".to_vec())));
}

#[test]
fn names_may_be_any_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let names: [&[u8]; 6] =
        [b"bad \xff\xfe", b"esc\x1b[31m", b"line\nfeed", b"percent%41", &[b'n'; 255], b"\xc3\xa9"];
    for name in names {
        fs::write(dir.path().join(OsStr::from_bytes(name)), name).unwrap();
    }
    let walker = open(dir.path(), WalkOptions::default());
    let mut expected = names.to_vec();
    expected.sort_unstable();
    let walked: Vec<_> = walker.walk().map(|entry| entry.path).collect();
    assert_eq!(walked, expected);
    for name in names {
        assert!(walker.entry(name).is_some());
        assert_eq!(walker.read(name, 1_000), Ok(Some(name.to_vec())));
    }
}

/// Makes a chain of folders of one name and returns the last one with its path.
fn chain(root: &Path, name: &str, depth: usize) -> (OwnedFd, Vec<u8>) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut dir = openat(CWD, root, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&dir, name, Mode::RWXU).unwrap();
        dir = openat(&dir, name, flags, Mode::empty()).unwrap();
    }
    (dir, vec![name; depth].join("/").into_bytes())
}

fn create(dir: &OwnedFd, name: &str) {
    drop(openat(dir, name, OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap());
}

#[test]
fn paths_beyond_the_system_limit_are_walked_and_read() {
    let dir = folder(&[("zz/last", "")]);
    let (end, path) = chain(dir.path(), &"d".repeat(255), 40);
    assert!(path.len() > 10_000);
    create(&end, "file");
    let walker = open(dir.path(), WalkOptions::default());
    let entries: Vec<_> = walker.walk().collect();
    let file = [path.as_slice(), b"/file"].concat();
    assert_eq!(entries.iter().map(|e| e.path.as_slice()).collect::<Vec<_>>(), [file.as_slice(), b"zz/last"]);
    assert_eq!(walker.entry(&file).as_ref(), entries.first());
    assert_eq!(walker.read(&file, 10), Ok(Some(Vec::new())));
}

#[test]
fn deep_trees_are_walked_with_few_descriptors() {
    let dir = folder(&[("d/.gitignore", "ignored\n"), ("d/after", ""), ("e", "")]);
    // Files on the way back up need the folders above to be opened again.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut at = openat(CWD, dir.path().join("d"), flags, Mode::empty()).unwrap();
    for level in 0..1_999 {
        mkdirat(&at, "d", Mode::RWXU).unwrap();
        if level % 500 == 0 {
            mkdirat(&at, "e", Mode::RWXU).unwrap();
            let sibling = openat(&at, "e", flags, Mode::empty()).unwrap();
            create(&sibling, "late");
        }
        at = openat(&at, "d", flags, Mode::empty()).unwrap();
    }
    create(&at, "bottom");
    create(&at, "ignored");
    let walker = open(dir.path(), WalkOptions::default());
    let depths: Vec<_> = walker.walk().map(|e| e.path.iter().filter(|&&b| b == b'/').count()).collect();
    assert_eq!(depths, [1, 2_000, 1_502, 1_002, 502, 2, 0]);
    remove_deep(dir.path());
}

#[test]
fn bounds_on_depth_and_length_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (end, _) = chain(dir.path(), "d", MAX_DEPTH + 1);
    create(&end, "never");
    let long = tempfile::tempdir().unwrap();
    let components = MAX_PATH_BYTES / 256 + 1;
    chain(long.path(), &"d".repeat(255), components);
    for (dir, at_least) in [(&dir, MAX_DEPTH), (&long, MAX_PATH_BYTES / 256)] {
        let walker = open(dir.path(), WalkOptions::default());
        let entries: Vec<_> = walker.walk().collect();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].kind, EntryKind::Skipped(SkipReason::TooDeep));
        assert_eq!(entries[0].path.iter().filter(|&&b| b == b'/').count(), at_least);
        remove_deep(dir.path());
    }
}

/// `remove_dir_all` recurses; moving the lower half up first keeps it from overflowing the small stack of a test.
fn remove_deep(root: &Path) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let root = openat(CWD, root, flags, Mode::empty()).unwrap();
    let mut parts = 0;
    let mut at = rustix::io::dup(&root).unwrap();
    let mut depth = 0;
    loop {
        let names = rustix::fs::Dir::read_from(&at).unwrap();
        let next = names.flatten().find(|e| e.file_name().to_bytes().starts_with(b"d"));
        let Some(next) = next else { return };
        if depth == 200 {
            let name = format!("part{parts}");
            rustix::fs::renameat(&at, next.file_name(), &root, &name).unwrap();
            (parts, depth) = (parts + 1, 0);
            at = openat(&root, name, flags, Mode::empty()).unwrap();
        } else {
            at = openat(&at, next.file_name(), flags, Mode::empty()).unwrap();
            depth += 1;
        }
    }
}

#[test]
fn excluded_folders_are_known_by_identity() {
    let dir = folder(&[("vault/journal/1.seg", ""), ("notes/a.md", ""), ("notes/vault/b.md", "")]);
    let vault = dir.path().join("vault");
    let options =
        || WalkOptions { excluded_dirs: vec![DirId::of(&vault).unwrap()], ..WalkOptions::default() };
    let walker = open(dir.path(), options());
    assert_eq!(list(&walker), ["notes/a.md", "notes/vault/b.md"]);
    assert_eq!(walker.lookup(b"vault"), Lookup::PassedOver);
    assert_eq!(walker.entry(b"vault/journal/1.seg"), None);
    for inside in ["vault", "vault/journal"] {
        let opened = Walker::open(&dir.path().join(inside), options());
        assert!(matches!(opened, Err(WalkError::Excluded { .. })), "{inside}");
    }
    fs::rename(&vault, dir.path().join("elsewhere")).unwrap();
    assert_eq!(list(&walker), ["notes/a.md", "notes/vault/b.md"]);
}

#[test]
fn the_root_must_be_a_folder() {
    let dir = folder(&[("file", "")]);
    for path in ["file", "missing"] {
        let error = Walker::open(&dir.path().join(path), WalkOptions::default()).unwrap_err();
        assert!(error.to_string().contains(path), "{error}");
    }
}

#[test]
fn a_folder_that_vanishes_during_the_walk_ends_quietly() {
    let dir = folder(&[("a/1", ""), ("b/1", ""), ("c/1", "")]);
    let walker = open(dir.path(), WalkOptions::default());
    let mut walk = walker.walk();
    assert_eq!(walk.next().unwrap().path, b"a/1");
    fs::remove_dir_all(dir.path().join("b")).unwrap();
    fs::remove_dir_all(dir.path().join("c")).unwrap();
    symlink("a", dir.path().join("c")).unwrap();
    assert_eq!(walk.next(), None);
}

#[test]
fn walks_do_not_disturb_each_other() {
    let dir = folder(&[("a/1", ""), ("a/2", ""), ("b", ""), ("c/3", "")]);
    let walker = open(dir.path(), WalkOptions::default());
    let pairs: Vec<_> = walker.walk().zip(walker.walk()).collect();
    assert_eq!(pairs.len(), 4);
    assert!(pairs.iter().all(|(one, other)| one == other));
    assert_eq!(walker.walk().count(), 4);
}

#[test]
fn reasons_have_stable_names() {
    let names: Vec<_> = SkipReason::ALL.map(SkipReason::as_str).to_vec();
    assert_eq!(names, ["binary", "loop", "oversized", "special", "symlink", "too-deep", "unreadable"]);
    for reason in SkipReason::ALL {
        assert_eq!(SkipReason::from_name(reason.as_str()), Some(reason));
    }
    assert_eq!(SkipReason::from_name("other"), None);
}
