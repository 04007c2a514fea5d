use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
use toka_toolkit_core::{Cancel, EffectClass};
use toka_tools::{FsError, FsTools, Protected, Root};

use crate::support::{Desk, Outcome, code};

#[test]
fn no_path_leaves_the_root() -> Outcome {
    let desk = Desk::new()?;
    fs::create_dir(desk.path().join("docs"))?;
    for path in [
        "/etc/passwd",
        "..",
        "../x",
        "docs/../../etc/passwd",
        "a\0b",
        "docs/%2e%2e/a",
        "docs/%2E%2E/a",
        "%2Fetc",
        "docs/%00",
        "docs/%",
    ] {
        assert_eq!(desk.read(path), code("path-escape"), "{path}");
        assert_eq!(desk.list(path), code("path-escape"), "{path}");
        let root = Root::open(desk.path(), &Protected::none())?;
        assert!(matches!(root.file(path), Err(FsError::PathEscape(_))), "{path}");
    }
    Ok(())
}

#[test]
fn links_are_not_followed_anywhere() -> Outcome {
    let outside = tempfile::tempdir()?;
    fs::write(outside.path().join("secret"), b"outside")?;
    let desk = Desk::new()?;
    fs::create_dir(desk.path().join("docs"))?;
    fs::write(desk.path().join("docs/a"), b"inside")?;
    symlink(outside.path(), desk.path().join("docs/out"))?;
    symlink(outside.path().join("secret"), desk.path().join("docs/file"))?;
    symlink("docs", desk.path().join("inner"))?;
    symlink("loop", desk.path().join("loop"))?;
    symlink("nowhere", desk.path().join("dangling"))?;
    for path in ["docs/out/secret", "docs/out", "docs/file", "inner/a", "inner", "loop", "dangling"] {
        assert_eq!(desk.read(path), code("symlink"), "{path}");
        assert_eq!(desk.list(path), code("symlink"), "{path}");
    }
    let kinds = desk.list("docs")?;
    let expected = [("a", "file"), ("file", "symlink"), ("out", "symlink")];
    assert_eq!(kinds, expected.map(|(n, k)| (n.to_owned(), k.to_owned())));
    Ok(())
}

#[test]
fn a_root_that_is_a_link_is_the_operators_choice() -> Outcome {
    let desk = Desk::new()?;
    fs::create_dir(desk.path().join("real"))?;
    fs::write(desk.path().join("real/a"), b"1")?;
    symlink("real", desk.path().join("link"))?;
    let root = Root::open(&desk.path().join("link"), &Protected::none())?;
    assert_eq!(root.read("a", 10, &Cancel::default())?, b"1");
    let file = Root::open(&desk.path().join("real/a"), &Protected::none()).map_err(|e| e.code());
    assert_eq!(file.err(), Some("not-a-directory"));
    Ok(())
}

#[test]
fn what_is_no_file_is_never_opened() -> Outcome {
    let desk = Desk::new()?;
    // Opening a pipe for reading would wait for a writer for ever.
    mknodat(CWD, desk.path().join("pipe"), FileType::Fifo, Mode::RWXU, 0)?;
    let _socket = UnixListener::bind(desk.path().join("socket"))?;
    for name in ["pipe", "socket"] {
        assert_eq!(desk.read(name), code("not-a-file"), "{name}");
        assert_eq!(desk.list(name), code("not-a-directory"), "{name}");
    }
    let expected = [("pipe", "fifo"), ("socket", "socket")];
    assert_eq!(desk.list(".")?, expected.map(|(n, k)| (n.to_owned(), k.to_owned())));
    let devices = Root::open("/dev".as_ref(), &Protected::none())?;
    let zero = devices.read("zero", 10, &Cancel::default()).map_err(|e| e.code());
    assert_eq!(zero, Err("not-a-file"));
    Ok(())
}

#[test]
fn a_link_swapped_in_after_the_check_leads_nowhere() -> Outcome {
    let outside = tempfile::tempdir()?;
    fs::create_dir(outside.path().join("deep"))?;
    fs::write(outside.path().join("deep/f"), b"outside")?;
    let desk = Desk::new()?;
    fs::create_dir_all(desk.path().join("docs/deep"))?;
    fs::write(desk.path().join("docs/deep/f"), b"inside")?;
    fs::write(desk.path().join("file"), b"inside")?;
    symlink(outside.path(), desk.path().join("swap"))?;
    symlink(outside.path().join("deep/f"), desk.path().join("swapfile"))?;

    let done = AtomicBool::new(false);
    let exchange = |a: &str, b: &str| {
        renameat_with(CWD, desk.path().join(a), CWD, desk.path().join(b), RenameFlags::EXCHANGE)
    };
    let (mut inside, mut refused) = (0, 0);
    std::thread::scope(|scope| -> Outcome {
        let swapping = scope.spawn(|| -> rustix::io::Result<()> {
            while !done.load(Ordering::Relaxed) {
                exchange("docs", "swap")?;
                exchange("file", "swapfile")?;
            }
            Ok(())
        });
        let root = Root::open(desk.path(), &Protected::none())?;
        let mut rounds = 0;
        let verdict = loop {
            for path in ["docs/deep/f", "file"] {
                match root.read(path, 100, &Cancel::default()) {
                    Ok(content) if content == b"inside" => inside += 1,
                    Ok(content) => {
                        done.store(true, Ordering::Relaxed);
                        return Err(format!("read {:?}", String::from_utf8_lossy(&content)).into());
                    }
                    Err(FsError::Symlink(_)) => refused += 1,
                    Err(error) => {
                        done.store(true, Ordering::Relaxed);
                        return Err(error.into());
                    }
                }
            }
            rounds += 1;
            if rounds > 20_000 && inside > 200 && refused > 200 {
                break Ok(());
            }
            if rounds > 1_000_000 {
                break Err("the swaps were never seen from both sides".into());
            }
        };
        done.store(true, Ordering::Relaxed);
        swapping.join().map_err(|_| "the swapping thread panicked")??;
        verdict
    })
}

#[test]
fn protected_places_are_closed_whatever_the_path() -> Outcome {
    let folder = tempfile::tempdir()?;
    fs::create_dir_all(folder.path().join(".toka/journal"))?;
    fs::write(folder.path().join(".toka/journal/0.seg"), b"log")?;
    fs::write(folder.path().join("secrets.age"), b"secret")?;
    fs::write(folder.path().join("open"), b"1")?;
    let desk = Desk::protecting(folder, &[".toka", "secrets.age", "later", "missing/folder"])?;
    for path in [".toka", ".toka/journal", ".toka/journal/0.seg", "secrets.age", ".toka/none", "x/../.toka"] {
        assert_eq!(desk.read(path), code("protected"), "{path}");
        assert_eq!(desk.list(path), code("protected"), "{path}");
    }
    let expected = [(".toka", "protected"), ("open", "file"), ("secrets.age", "protected")];
    assert_eq!(desk.list(".")?, expected.map(|(n, k)| (n.to_owned(), k.to_owned())));

    // Under another name, by a hard link, replaced by a new file, or created later.
    fs::hard_link(desk.path().join("secrets.age"), desk.path().join("alias"))?;
    assert_eq!(desk.read("alias"), code("protected"));
    fs::rename(desk.path().join("secrets.age"), desk.path().join("moved"))?;
    assert_eq!(desk.read("moved"), code("protected"));
    fs::write(desk.path().join("secrets.age"), b"new secret")?;
    assert_eq!(desk.read("secrets.age"), code("protected"));
    fs::write(desk.path().join("later"), b"secret")?;
    assert_eq!(desk.read("later"), code("protected"));
    fs::rename(desk.path().join(".toka"), desk.path().join("vault"))?;
    assert_eq!(desk.read("vault/journal/0.seg"), code("protected"));
    assert_eq!(desk.read("open"), Ok(b"1".to_vec()));

    // A root inside a protected place.
    for root in ["vault", "vault/journal"] {
        let read =
            desk.call_in(Some(&desk.path().join(root)), "fs.read", serde_json::json!({"path": "0.seg"}));
        assert_eq!(read.map_err(|e| e.code().to_owned()), code("protected"), "{root}");
    }
    Ok(())
}

#[test]
fn the_file_tools_say_what_they_are() -> Outcome {
    use toka_toolkit_core::{Record, Tool};
    let tools = FsTools::new(Protected::none());
    let (list, read) = (tools.list()?, tools.read()?);
    assert_eq!(read.manifest().effect(), EffectClass::Read { local: true });
    assert_eq!((list.manifest().record(), read.manifest().record()), (Record::Content, Record::Digest));
    Ok(())
}
