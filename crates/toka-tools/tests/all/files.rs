use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use serde_json::json;
use toka_tools::{DEFAULT_READ, FsError, MAX_ENTRIES, Protected, Root};
use toka_types::{Digest, path};

use crate::support::{Desk, Outcome, code};

#[test]
fn echo_says_it_back() -> Outcome {
    let output = Desk::new()?.call("echo", json!({"text": "hello"}))?;
    assert_eq!(output.value, json!({"text": "hello"}));
    Ok(())
}

#[test]
fn a_file_is_read_with_size_and_digest() -> Outcome {
    let desk = Desk::new()?;
    fs::create_dir_all(desk.path().join("docs/deep"))?;
    fs::write(desk.path().join("docs/deep/a.md"), b"\xff\0text")?;
    let output = desk.call("fs.read", json!({"path": "docs/./x/../deep//a.md"}))?;
    assert_eq!(output.bytes.as_deref(), Some(&b"\xff\0text"[..]));
    let digest = Digest::of(b"\xff\0text").to_string();
    assert_eq!(output.value, json!({"path": "docs/deep/a.md", "size": 6, "digest": digest}));

    assert_eq!(desk.read("docs/none"), code("not-found"));
    assert_eq!(desk.read("docs"), code("not-a-file"));
    assert_eq!(desk.read("."), code("not-a-file"));
    assert_eq!(desk.read("docs/deep/a.md/b"), code("not-a-directory"));
    assert_eq!(desk.list("docs/deep/a.md"), code("not-a-directory"));
    assert_eq!(desk.read(&"x".repeat(300)), code("not-found"));
    let no_root = desk.call_in(None, "fs.read", json!({"path": "a"}));
    assert_eq!(no_root.map_err(|e| e.code().to_owned()), code("no-root"));
    Ok(())
}

#[test]
fn a_file_above_the_limit_is_oversized() -> Outcome {
    let desk = Desk::new()?;
    fs::write(desk.path().join("a"), [0; 100])?;
    let read = |max: u64| {
        let output = desk.call("fs.read", json!({"path": "a", "max_bytes": max}));
        output.map(|o| o.bytes.map(|b| b.len())).map_err(|e| e.code().to_owned())
    };
    assert_eq!(read(100), Ok(Some(100)));
    assert_eq!(read(99), code("oversized"));
    fs::File::create(desk.path().join("sparse"))?.set_len(DEFAULT_READ + 1)?;
    assert_eq!(desk.read("sparse"), code("oversized"));
    // A file whose size is not what reading gives, as in /proc.
    let root = Root::open("/proc/self".as_ref(), &Protected::none())?;
    let status = root.read("status", 10, &desk.cancel);
    assert!(matches!(status, Err(FsError::Oversized { limit: 10, .. })), "{status:?}");
    Ok(())
}

#[test]
fn a_cancelled_read_ends() -> Outcome {
    let desk = Desk::new()?;
    fs::write(desk.path().join("a"), b"1")?;
    desk.cancel.cancel();
    assert_eq!(desk.read("a"), code("cancelled"));
    assert_eq!(desk.list("."), code("cancelled"));
    Ok(())
}

#[test]
fn unreadable_is_not_missing() -> Outcome {
    let desk = Desk::new()?;
    fs::create_dir(desk.path().join("closed"))?;
    fs::write(desk.path().join("closed/a"), b"1")?;
    fs::write(desk.path().join("b"), b"1")?;
    fs::set_permissions(desk.path().join("closed"), fs::Permissions::from_mode(0o000))?;
    fs::set_permissions(desk.path().join("b"), fs::Permissions::from_mode(0o000))?;
    let results = (desk.read("b"), desk.read("closed/a"), desk.list("closed"));
    fs::set_permissions(desk.path().join("closed"), fs::Permissions::from_mode(0o700))?;
    if rustix::process::geteuid().is_root() {
        // Nothing is unreadable for this user; the codes are then those of files that are there.
        assert_eq!(results.0, Ok(b"1".to_vec()));
    } else {
        assert_eq!(results, (code("unreadable"), code("unreadable"), code("unreadable")));
    }
    Ok(())
}

#[test]
fn names_are_as_the_world_has_them() -> Outcome {
    let desk = Desk::new()?;
    let names: [&[u8]; 7] = [b"caf\xe9.txt", b"100%", b"%41", b"new\nline", b"\x1b[31m", b"**", &[b'n'; 255]];
    for name in names {
        fs::write(desk.path().join(OsStr::from_bytes(name)), name)?;
    }
    let mut expected: Vec<&[u8]> = names.to_vec();
    expected.sort_unstable();
    let expected: Vec<(String, String)> =
        expected.into_iter().map(|name| (path::encode(name), "file".to_owned())).collect();
    let listed = desk.list(".")?;
    assert_eq!(listed, expected);
    for (text, _) in &listed {
        assert_eq!(desk.read(text).ok(), path::decode(text), "{text}");
    }
    let error = desk.call("fs.read", json!({"path": "\u{1b}[31mred"})).map_err(|e| e.to_string());
    assert_eq!(error.err().as_deref(), Some("'\\u{1b}[31mred' does not exist"));
    Ok(())
}

#[test]
fn a_path_may_be_longer_than_the_system_takes_at_once() -> Outcome {
    let desk = Desk::new()?;
    let name = "d".repeat(250);
    let mut folder = openat(CWD, desk.path(), OFlags::DIRECTORY, Mode::empty())?;
    for _ in 0..40 {
        mkdirat(&folder, &name, Mode::RWXU)?;
        folder = openat(&folder, &name, OFlags::DIRECTORY, Mode::empty())?;
    }
    let file = openat(&folder, "f", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR)?;
    rustix::io::write(file, b"deep")?;
    let path = vec![name; 40].join("/");
    assert!(path.len() > 8192);
    assert_eq!(desk.list(&path)?, [("f".to_owned(), "file".to_owned())]);
    assert_eq!(desk.read(&format!("{path}/f")).as_deref(), Ok(&b"deep"[..]));
    Ok(())
}

#[test]
fn the_folder_that_stands_at_the_path_now_is_read() -> Outcome {
    let desk = Desk::new()?;
    let root = desk.path().join("root");
    let read = |root: &std::path::Path| {
        desk.call_in(Some(root), "fs.read", json!({"path": "a"})).map(|o| o.bytes.unwrap_or_default())
    };
    for (round, other) in (0_u8..3).flat_map(|round| (0_u8..20).map(move |other| (round, other))) {
        if other == 0 && round > 0 {
            fs::rename(&root, desk.path().join(format!("old{round}")))?;
        }
        fs::create_dir_all(&root)?;
        fs::write(root.join("a"), [round])?;
        assert_eq!(read(&root), Ok(vec![round]));
        // More folders than are held open.
        let more = desk.path().join(format!("more{other}"));
        fs::create_dir_all(&more)?;
        fs::write(more.join("a"), [other])?;
        assert_eq!(read(&more), Ok(vec![other]));
    }
    fs::rename(&root, desk.path().join("gone"))?;
    assert_eq!(read(&root).map_err(|e| e.code().to_owned()), code("not-found"));
    Ok(())
}

#[test]
fn a_listing_comes_in_pages() -> Outcome {
    let desk = Desk::new()?;
    let total = MAX_ENTRIES + 500;
    for i in 0..total {
        fs::write(desk.path().join(format!("{i:05}")), b"")?;
    }
    fs::create_dir(desk.path().join("z"))?;
    let mut seen = Vec::new();
    let mut arguments = json!({"path": ".", "limit": 700});
    let mut pages = 0;
    loop {
        let page = desk.call("fs.list", arguments.clone())?.value;
        let names = page["entries"].as_array().into_iter().flatten();
        seen.extend(names.filter_map(|e| e["name"].as_str().map(str::to_owned)));
        pages += 1;
        if page["next"].is_null() {
            break;
        }
        arguments["after"] = page["next"].clone();
    }
    let mut expected: Vec<String> = (0..total).map(|i| format!("{i:05}")).collect();
    expected.push("z".to_owned());
    assert_eq!((pages, seen), (3, expected));
    assert_eq!(desk.list(".")?.len(), MAX_ENTRIES);
    let too_many = desk.call("fs.list", json!({"path": ".", "limit": MAX_ENTRIES + 1}));
    assert_eq!(too_many.map_err(|e| e.code().to_owned()), code("invalid-input"));
    Ok(())
}
