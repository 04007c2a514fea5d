use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use toka_auth::key::KEY_FILE;
use toka_auth::rotation::RETIRED_FILE;
use toka_auth::{KeyError, KeyId, Operator, OperatorKey, TokenScheme};

use crate::support::{NOW, claims, later};

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

#[test]
fn a_rotated_key_is_accepted_until_its_end() -> Outcome {
    let home = tempfile::tempdir()?;
    let state = home.path().join("toka");
    let scheme = || -> Result<Operator, Box<dyn std::error::Error>> {
        let scheme = Operator::new(OperatorKey::load_or_create(&state)?, "vault-1")?;
        Ok(scheme.accepting(&OperatorKey::retired(&state)?))
    };
    let first = load(&state)?;
    let token = scheme()?.issue(&claims())?;
    let new = OperatorKey::rotate(&state, NOW, later(600))?;
    assert_ne!(new.id(), first);
    assert_eq!(load(&state)?, new.id());
    for file in [KEY_FILE, RETIRED_FILE] {
        assert_eq!(fs::metadata(state.join(file))?.mode() & 0o777, 0o600);
    }
    assert!(
        !fs::read_to_string(state.join(RETIRED_FILE))?
            .contains(fs::read_to_string(state.join(KEY_FILE))?.trim())
    );
    let check = |at| -> Result<Option<&str>, Box<dyn std::error::Error>> {
        Ok(scheme()?.verify(&token, at).err().map(|e| e.code()))
    };
    assert_eq!((check(NOW)?, check(later(600))?), (None, Some("token-retired-key")));

    // A crash after the old key was retired and before the new one was there: it is still the key, without an end.
    let kept = fs::read(state.join(KEY_FILE))?;
    OperatorKey::rotate(&state, NOW, later(300))?;
    fs::write(state.join(KEY_FILE), kept)?;
    let second = scheme()?.issue(&claims())?;
    assert!(scheme()?.verify(&second, later(600)).is_ok());
    assert_eq!(check(NOW)?, None);

    // What has ended is forgotten, and each key is listed once.
    OperatorKey::rotate(&state, later(500), later(700))?;
    assert_eq!(fs::read_to_string(state.join(RETIRED_FILE))?.lines().count(), 2);
    OperatorKey::rotate(&state, later(650), later(900))?;
    assert_eq!(fs::read_to_string(state.join(RETIRED_FILE))?.lines().count(), 2);
    assert_eq!(check(NOW)?, Some("token-unknown-key"));
    assert!(scheme()?.verify(&second, later(650)).is_ok());
    Ok(())
}

#[test]
fn rotations_at_once_lose_no_key() -> Outcome {
    let home = tempfile::tempdir()?;
    let state = home.path().join("toka");
    let first = load(&state)?;
    let mut ids: Vec<_> = std::thread::scope(|scope| {
        let rotate = || OperatorKey::rotate(&state, NOW, later(600)).map(|key| key.id());
        let all: Vec<_> = (0..8).map(|_| scope.spawn(rotate)).collect();
        all.into_iter()
            .map(|one| one.join().map_err(|_| "panicked"))
            .collect::<Result<Result<Vec<_>, _>, _>>()
    })??;
    ids.push(first);
    let present = load(&state)?;
    let retired = OperatorKey::retired(&state)?;
    for id in ids {
        assert!(id == present || retired.get(&id.to_string()).is_some());
    }
    Ok(())
}

#[test]
fn a_list_that_others_could_write_to_is_refused() -> Outcome {
    let home = tempfile::tempdir()?;
    let state = home.path().join("toka");
    OperatorKey::rotate(&state, NOW, later(600))?;
    let list = state.join(RETIRED_FILE);
    chmod(&list, 0o666)?;
    assert_eq!(OperatorKey::retired(&state).err().map(|e| e.code()), Some("key-permissions"));
    assert_eq!(OperatorKey::rotate(&state, NOW, later(600)).err().map(|e| e.code()), Some("key-permissions"));
    chmod(&list, 0o600)?;
    let good = fs::read_to_string(&list)?;
    for text in ["x", &good[1..], &good.replace(' ', "  "), &good.to_uppercase(), &good.repeat(65), "00 1"] {
        fs::write(&list, text)?;
        assert_eq!(OperatorKey::retired(&state).err().map(|e| e.code()), Some("key-retired"), "{text:?}");
    }
    fs::write(&list, "")?;
    assert!(OperatorKey::retired(&state).is_ok());
    Ok(())
}
