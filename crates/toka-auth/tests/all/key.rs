use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use toka_auth::key::KEY_FILE;
use toka_auth::{KeyError, KeyId, OperatorKey};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn load(state: &Path) -> Result<KeyId, KeyError> {
    OperatorKey::load_or_create(state).map(|key| key.id())
}

fn chmod(path: &Path, mode: u32) -> std::io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[test]
fn the_key_is_made_once_and_is_the_owners_alone() -> Outcome {
    let home = tempfile::tempdir()?;
    let state = home.path().join("state/toka");
    let id = load(&state)?;
    assert_eq!(load(&state)?, id);
    assert_eq!(fs::metadata(&state)?.mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(state.join(KEY_FILE))?.mode() & 0o777, 0o600);
    let names: Vec<_> = fs::read_dir(&state)?.filter_map(|e| e.ok().map(|e| e.file_name())).collect();
    assert_eq!(names, [KEY_FILE]);
    let text = fs::read_to_string(state.join(KEY_FILE))?;
    assert!(!format!("{:?}", OperatorKey::load_or_create(&state)?).contains(text.trim()));
    Ok(())
}

#[test]
fn a_key_that_others_could_use_is_refused() -> Outcome {
    let home = tempfile::tempdir()?;
    let state = home.path().join("toka");
    let id = load(&state)?;
    let file = state.join(KEY_FILE);
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o666] {
        chmod(&file, mode)?;
        let error = load(&state);
        assert_eq!(error, Err(KeyError::Permissions { path: file.clone(), mode, wanted: 0o600 }));
        let message = error.map_err(|e| e.to_string()).err().unwrap_or_default();
        assert!(message.ends_with(&format!("run: chmod 600 '{}'", file.display())), "{message}");
        assert_eq!(fs::metadata(&file)?.mode() & 0o777, mode);
    }
    chmod(&file, 0o400)?;
    assert_eq!(load(&state), Ok(id));
    for mode in [0o720, 0o702, 0o777] {
        chmod(&state, mode)?;
        assert_eq!(load(&state), Err(KeyError::Permissions { path: state.clone(), mode, wanted: 0o700 }));
    }
    chmod(&state, 0o755)?;
    assert_eq!(load(&state), Ok(id));
    Ok(())
}

#[test]
fn what_is_no_key_is_not_taken_for_one_and_not_replaced() -> Outcome {
    let home = tempfile::tempdir()?;
    let state = home.path().join("toka");
    load(&state)?;
    let file = state.join(KEY_FILE);
    let good = fs::read_to_string(&file)?;
    let upper = format!("{}\n", good.trim().to_uppercase().replace(|c: char| c.is_ascii_digit(), "A"));
    for text in ["", "x", &good[1..], &format!("{good} "), &upper, &"g".repeat(65), good.trim()] {
        fs::write(&file, text)?;
        assert_eq!(load(&state).map_err(|e| e.code()), Err("key-malformed"), "{text:?}");
        assert_eq!(fs::read_to_string(&file)?, text);
    }
    fs::remove_file(&file)?;
    fs::write(home.path().join("elsewhere"), &good)?;
    chmod(&home.path().join("elsewhere"), 0o600)?;
    symlink(home.path().join("elsewhere"), &file)?;
    assert_eq!(load(&state).map_err(|e| e.code()), Err("key-malformed"));
    fs::remove_file(&file)?;
    fs::create_dir(&file)?;
    assert_eq!(load(&state).map_err(|e| e.code()), Err("key-malformed"));
    fs::write(home.path().join("file"), "")?;
    assert_eq!(load(&home.path().join("file")).map_err(|e| e.code()), Err("key-io"));
    Ok(())
}

#[test]
fn a_key_of_another_user_is_refused() -> Outcome {
    // Only the superuser can give a file away; for others there is nothing to see here.
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let home = tempfile::tempdir()?;
    let state = home.path().join("toka");
    load(&state)?;
    std::os::unix::fs::chown(state.join(KEY_FILE), Some(12345), None)?;
    assert_eq!(load(&state).map_err(|e| e.code()), Err("key-owner"));
    std::os::unix::fs::chown(&state, Some(12345), None)?;
    assert_eq!(load(&state), Err(KeyError::Owner { path: state.clone(), owner: 12345, user: 0 }));
    Ok(())
}

#[test]
fn processes_that_start_at_once_get_the_same_key() -> Outcome {
    for _ in 0..20 {
        let home = tempfile::tempdir()?;
        let state = home.path().join("toka");
        let ids: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| load(&state))).collect();
            starts.into_iter().map(|start| start.join().map_err(|_| "panicked")).collect()
        });
        let first = load(&state)?;
        for id in ids {
            assert_eq!(id??, first);
        }
    }
    Ok(())
}
