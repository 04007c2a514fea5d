//! Sealed vaults on the command line.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::toka::{Place, Ran, text};

/// Words of the documents, of their paths, and of the terms and names that an index makes of them.
pub(crate) const WORDS: [&str; 8] =
    ["installer", "archive", "firewall", "potatoes", "greeting", "docs/", "network", "instal"];

/// A place whose passphrase lies in a file.
pub(crate) struct Sealed {
    pub(crate) place: Place,
    pub(crate) passphrase: PathBuf,
}

impl Sealed {
    pub(crate) fn new() -> Self {
        let place = Place::with_docs();
        for number in 0..30 {
            place.write(
                format!("docs/notes/n{number}.md"),
                format!("Note {number} of the archive of potatoes.\n"),
            );
        }
        place.write("passphrase", "correct horse\n");
        place.write("wrong", "wrong horse\n");
        let passphrase = place.path().join("passphrase");
        Self { place, passphrase }
    }

    pub(crate) fn run_with(&self, passphrase: Option<&Path>, arguments: &str) -> Ran {
        let mut command = self.place.command(arguments.split_whitespace());
        if let Some(file) = passphrase {
            command.env("TOKA_PASSPHRASE_FILE", file);
        }
        Ran::of(command.output().expect("the program runs"))
    }

    pub(crate) fn ok(&self, arguments: &str) -> Ran {
        let ran = self.run_with(Some(&self.passphrase), arguments);
        assert_eq!(ran.code, Some(0), "{arguments}: {}{}", ran.stdout, ran.stderr);
        ran
    }

    pub(crate) fn fails(&self, passphrase: Option<&Path>, code: i32, arguments: &str) -> Value {
        let ran = self.run_with(passphrase, &format!("{arguments} --json"));
        assert_eq!(ran.code, Some(code), "{arguments}: {}{}", ran.stdout, ran.stderr);
        ran.error()
    }

    fn hits(&self, query: &str) -> Vec<String> {
        let found = self.ok(&format!("search {query} --json")).answer();
        found["hits"].as_array().expect("hits").iter().map(|hit| text(&hit["path"])).collect()
    }
}

/// The files below `folder` that hold `word`, whatever its letters' case, or bear it in their names.
fn files_with(folder: &Path, word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_with(&path, word));
            continue;
        }
        let bytes = fs::read(&path).expect("a file").to_ascii_lowercase();
        if bytes.windows(word.len()).any(|window| window == word.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn nothing_of_a_sealed_vault_can_be_read_without_its_key() {
    let sealed = Sealed::new();
    sealed.fails(None, 2, "init --seal passphrase");
    sealed.fails(None, 2, "init --seal magic");
    sealed.fails(None, 2, "init --seal keyring");
    sealed.place.write("short.key", "too short");
    sealed.fails(None, 2, "init --seal key-file=short.key");
    sealed.fails(None, 2, "init --seal key-file=.toka/inside.key");
    assert!(!sealed.place.vault().exists(), "nothing is made without a key");
    let made = sealed.ok("init --seal passphrase --json").answer();
    assert!(made["sealed"].is_string(), "{made}");
    sealed.ok("up docs --once");
    assert_eq!(sealed.hits("installer daemon")[0], "install.md");
    let again = sealed.ok("up docs --once --json").lines().pop().expect("a summary");
    assert_eq!((&again["files"], &again["moved"]), (&0.into(), &0.into()), "{again}");
    fs::rename(sealed.place.path().join("docs/page.html"), sealed.place.path().join("docs/moved.html"))
        .expect("moved");
    let moved = sealed.ok("up docs --once --json").lines().pop().expect("a summary");
    assert_eq!((&moved["files"], &moved["moved"]), (&0.into(), &1.into()), "{moved}");
    for word in WORDS {
        assert_eq!(files_with(&sealed.place.vault(), word), Vec::<String>::new(), "{word}");
    }
    // What is checked needs no key.
    for command in ["verify", "replay", "status", "agents list"] {
        let ran = sealed.run_with(None, command);
        assert_eq!(ran.code, Some(0), "{command}: {}", ran.stderr);
    }
    let shown = sealed.run_with(None, "events list --kind file.chunk --limit 1 --json").lines().remove(0);
    assert_eq!((&shown["content"], &shown["gone"]), (&Value::Null, &"sealed".into()));
    for (passphrase, command) in [
        (None, "search installer"),
        (None, "intents list"),
        (None, "up docs --once"),
        (None, "vault rotate"),
        (Some("wrong"), "search installer"),
        (Some("wrong"), "events list"),
        (Some("wrong"), "up docs --once"),
    ] {
        let passphrase = passphrase.map(|file| sealed.place.path().join(file));
        let error = sealed.fails(passphrase.as_deref(), 2, command);
        assert_eq!(error["code"], "sealed", "{command}: {error}");
        assert!(error["hint"].is_string(), "{command}: {error}");
    }
}

#[test]
fn a_subject_is_erased_and_the_rest_stands() {
    let sealed = Sealed::new();
    sealed.place.write("docs/people/alice/diary.md", "# Diary\n\nI keep a heffalump in the cellar.\n");
    let config = "[[agents]]\nname = \"IndexerAgent\"\nscan_path = \"docs\"\nwatch = false\n\
                  subjects = [{ glob = \"people/alice/**\", subject = \"alice\" }]\n";
    sealed.place.write("toka.toml", config);
    sealed.ok("init --seal passphrase");
    sealed.ok("run toka.toml --once");
    assert_eq!(sealed.hits("heffalump cellar")[0], "people/alice/diary.md");
    let of_alice = "events list --kind file --label subject:alice --json";
    let labelled = sealed.ok(of_alice).lines();
    assert!(labelled.len() == 2 && labelled.iter().all(|event| event["content"].is_object()), "{labelled:?}");
    // A text that comes to her is hers: it is recorded again, under her keys.
    let docs = sealed.place.path().join("docs");
    fs::rename(docs.join("network/firewall.md"), docs.join("people/alice/firewall.md")).expect("moved");
    let moved = sealed.ok("run toka.toml --once --json").lines().pop().expect("a summary");
    let counts = ["files", "moved", "removed"].map(|key| moved[key].as_u64());
    assert_eq!(counts, [Some(1), Some(0), Some(1)], "{moved}");
    let before = sealed.ok("status --json").answer();
    let error = sealed.fails(Some(&sealed.passphrase), 1, "vault erase --subject nobody");
    assert_eq!(error["code"], "unknown", "{error}");
    let erased = sealed.ok("vault erase --subject subject:alice --json").answer();
    let receipt = sealed.ok(&format!("events show {} --json", text(&erased["event"]))).answer_of_event();
    assert_eq!(receipt["kind"], "subject.erased");
    assert_eq!(receipt["facts"]["keys"].as_array().map(Vec::len), Some(1));

    for event in sealed.ok(of_alice).lines() {
        assert_eq!((&event["content"], &event["gone"]), (&Value::Null, &"erased".into()), "{event}");
    }
    assert!(!sealed.hits("heffalump cellar").contains(&"people/alice/diary.md".to_owned()));
    assert!(!sealed.hits("firewall port").contains(&"people/alice/firewall.md".to_owned()));
    assert_eq!(sealed.hits("installer daemon")[0], "install.md");
    assert_eq!(sealed.ok("verify --json").answer()["ok"], true);
    let after = sealed.ok("status --json").answer();
    assert_eq!(before["world"], after["world"], "erasing content never changes the world");

    // What nobody can read any more still takes room, until a compaction, which needs no key.
    let amount = |answer: &Value, key: &str| answer[key]["contents"].as_u64().expect("a number");
    let stat = sealed.place.answer("vault stat");
    assert!(amount(&stat, "reclaimable") >= 4 && stat["gone"] == 0, "{stat}");
    let compacted = sealed.place.answer("vault compact");
    assert_eq!(amount(&compacted, "erased"), amount(&stat, "reclaimable"), "{compacted}");
    assert_eq!((amount(&compacted, "expired"), amount(&compacted, "twice")), (0, 0), "{compacted}");
    let dropped = sealed.place.answer("vault stat");
    assert_eq!(
        (amount(&dropped, "reclaimable"), &dropped["gone_by"]["erased"]["contents"]),
        (0, &compacted["erased"]["contents"])
    );
    assert!(sealed.place.ok("vault stat").stdout.contains(" erased"));
    for event in sealed.place.ok(of_alice).lines() {
        assert_eq!((&event["content"], &event["gone"]), (&Value::Null, &"erased".into()), "{event}");
    }
    let again = sealed.ok("status --json").answer();
    for key in ["head", "root", "fold", "world"] {
        assert_eq!(again[key], after[key], "{key}");
    }
    assert_eq!(sealed.ok("verify --json").answer()["ok"], true);
    assert_eq!(sealed.hits("installer daemon")[0], "install.md", "the index stays");
    fs::remove_dir_all(sealed.place.path().join("docs/people")).expect("removed");
    let next = sealed.ok("run toka.toml --once --json").lines().pop().expect("a summary");
    assert_eq!(next["files"], 0, "{next}");
}

#[test]
fn keys_are_rotated_and_another_kind_of_key_takes_their_place() {
    let sealed = Sealed::new();
    sealed.ok("init --seal passphrase");
    sealed.ok("up docs --once");
    let wrong = sealed.place.path().join("wrong");
    let error = sealed.fails(Some(&sealed.passphrase), 2, "vault rotate --to passphrase");
    assert!(text(&error["hint"]).starts_with("--passphrase-file FILE"), "{error}");
    let rotated = sealed.ok("vault rotate --to passphrase --passphrase-file wrong --json").answer();
    assert_eq!((&rotated["epoch"], &rotated["source"]), (&2.into(), &"passphrase".into()));
    sealed.fails(Some(&sealed.passphrase), 2, "search installer");
    assert_eq!(sealed.run_with(Some(&wrong), "search installer").code, Some(0));
    let ran = sealed.run_with(Some(&wrong), "vault rotate --to key-file=../outside.key");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    // Now nothing has to be said: the vault knows where its key lies.
    let again = sealed.run_with(None, "up docs --once --json");
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(again.lines().pop().expect("a summary")["files"], 0);
    fs::remove_file(sealed.place.path().join("../outside.key")).expect("removed");
    sealed.fails(None, 2, "search installer");
    sealed.fails(None, 2, "vault rotate --to keyring");
}

#[test]
fn what_came_back_with_older_keys_is_neither_disclosed_nor_wrapped_anew() {
    let sealed = Sealed::new();
    sealed.ok("init --seal passphrase");
    let keys = sealed.place.vault().join("keys");
    let before = fs::read(&keys).expect("the keys");
    sealed.ok("up docs --once");
    let older = fs::read(&keys).expect("the keys");
    sealed.ok("vault erase --subject IndexerAgent");
    let events = || sealed.ok("events list --kind file --limit 1000 --json").lines();
    let count = events().len();
    let gone = |reason: &str| events().iter().take(count).all(|event| event["gone"] == reason);
    assert!(gone("erased"));

    fs::write(&keys, &older).expect("written");
    assert!(events().iter().all(|event| event["gone"].is_null()), "the keys are back");
    let error = sealed.fails(Some(&sealed.passphrase), 2, "vault export --disclose all.bundle --unsigned");
    assert!(text(&error["message"]).contains("older than an erasure"), "{error}");
    assert!(!sealed.place.path().join("all.bundle").exists());
    let rotated = sealed.ok("vault rotate");
    assert!(rotated.stderr.contains("1 subjects were erased"), "{}", rotated.stderr);
    assert!(gone("erased"));
    sealed.ok("vault export --disclose all.bundle --unsigned");

    // Keys from before the subject came are told what became of it.
    fs::write(&keys, &before).expect("written");
    assert!(gone("sealed"));
    sealed.place.write("empty/keep", "");
    sealed.ok("up empty --once");
    assert!(gone("erased"));
}

#[test]
fn tasks_of_a_sealed_vault_survive_restarts_and_other_keys() {
    let sealed = Sealed::new();
    sealed.place.write(
        "tasks.toml",
        r#"
        [[agents]]
        name = "SchedulerAgent"
        [[agents.tasks]]
        name = "soon"
        every = "1s"
        missed = "once"
        emit = "garden.watered"
        message = "the potatoes"
        [[agents.tasks]]
        name = "later"
        every = "52w"
        emit = "garden.rested"
        message = "the archive of potatoes"
        "#,
    );
    sealed.ok("init --seal passphrase");
    let events = |kind: &str| sealed.ok(&format!("events list --kind {kind} --json")).lines();
    let fired = |times: usize| {
        crate::crash::wait_until(|| {
            sealed.ok("run tasks.toml --once");
            events("garden.watered").len() >= times
        });
    };
    sealed.ok("run tasks.toml --once");
    assert_eq!(events("task.scheduled").len(), 2, "each task is scheduled by the first run");
    fired(1);
    sealed.ok("vault rotate --to passphrase --passphrase-file passphrase");
    // The first run after it makes a key of the new epoch, the next one compares with what an older one sealed.
    fired(2);
    fired(3);
    assert_eq!(events("task.scheduled").len(), 2, "no later run takes a task for another one");
    assert!(events("task.cancelled").is_empty() && events("garden.rested").is_empty());
    let watered = events("garden.watered");
    assert!(watered.iter().all(|event| event["content"]["message"] == "the potatoes"), "{watered:?}");
    for word in ["potatoes", "archive"] {
        assert_eq!(files_with(&sealed.place.vault(), word), Vec::<String>::new(), "{word}");
    }
}

#[test]
fn what_is_not_sealed_has_no_keys() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    assert_eq!(place.fails(2, "vault erase --subject IndexerAgent")["code"], "sealed");
    let error = place.fails(2, "vault rotate");
    assert_eq!((&error["code"], error["hint"].is_string()), (&"sealed".into(), true), "{error}");
    assert_eq!(place.fails(2, "init --seal key-file=../outside.key")["code"], "sealed");
    assert!(!place.path().join("../outside.key").exists(), "nothing is made where nothing can be sealed");
}

#[test]
fn erasing_waits_for_whoever_writes() {
    let sealed = Sealed::new();
    sealed.ok("init --seal key-file=../outside.key");
    let mut up = sealed.place.start("up docs");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while sealed.ok("status --json").answer()["writer"].is_null() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let error = sealed.fails(None, 1, "vault erase --subject IndexerAgent");
    assert_eq!(error["code"], "locked");
    assert!(text(&error["message"]).contains(&up.id().to_string()), "{error}");
    up.kill().expect("killed");
    up.wait().expect("ended");
}

#[test]
fn files_of_a_sealed_vault_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let sealed = Sealed::new();
    sealed.ok("init --seal passphrase");
    sealed.ok("up docs --once");
    let mut files = 0;
    for folder in ["", "journal", "index", "projections"] {
        for entry in fs::read_dir(sealed.place.vault().join(folder)).expect("a folder") {
            let entry = entry.expect("an entry");
            let metadata = entry.metadata().expect("metadata");
            if metadata.is_file() {
                files += 1;
                assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{}", entry.path().display());
            }
        }
    }
    assert!(files > 4, "{files}");
}

#[test]
fn keys_of_a_newer_format_are_refused_and_named() {
    let sealed = Sealed::new();
    sealed.ok("init --seal passphrase");
    let path = sealed.place.vault().join("keys");
    let keys = fs::read_to_string(&path).expect("the keys");
    let (_, rest) = keys.split_once('\n').expect("lines");
    let digest = toka_types::Digest::of(b"toka-keys 9").to_string();
    fs::write(&path, format!("toka-keys 9 {}\n{rest}", &digest[..16])).expect("written");
    for command in ["verify", "events list", "up docs --once"] {
        let error = sealed.fails(Some(&sealed.passphrase), 2, command);
        let message = text(&error["message"]);
        assert_eq!(error["code"], "format", "{command}: {error}");
        assert!(message.contains("format 9") && message.contains("format 1"), "{command}: {message}");
    }
    fs::write(&path, format!("toka-keys 9 {}\n{rest}", &digest[1..17])).expect("written");
    sealed.fails(Some(&sealed.passphrase), 6, "events list");
    fs::remove_file(&path).expect("removed");
    for command in ["search archive", "up docs --once"] {
        let error = sealed.fails(Some(&sealed.passphrase), 2, command);
        assert!(text(&error["message"]).contains("there are no keys at"), "{command}: {error}");
    }
}

#[test]
fn nothing_can_be_read_after_a_life_of_crashes_compaction_erasure_and_rotation() {
    let sealed = Sealed::new();
    let write = |name: String, text: String| sealed.place.write(name, text);
    for number in 0..60 {
        write(
            format!("docs/sub/qwixname{number}.md"),
            format!(
                "# Wumbelkirk {number}\n\nThe zorbelfluxing of number {number} eats qwandryl, grobnatz{number}.\n"
            ),
        );
    }
    write("docs/people/alice/plimdiary.md".into(), "# Diary\n\nThe heffalump lives in the cellar.\n".into());
    let config = "[vault]\npath = '.toka'\nretain = [{ kind = 'file.chunk', age = '0s' }]\n\
                  [[agents]]\nname = 'IndexerAgent'\nscan_path = 'docs'\nwatch = false\n\
                  subjects = [{ glob = 'people/alice/**', subject = 'alice' }]\n";
    sealed.place.write("toka.toml", config);
    sealed.ok("init --seal key-file=../crashed.key");
    // It dies at several moments, and goes on each time.
    for events in [5, 40, 90] {
        let mut run = sealed.place.start("run toka.toml");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while sealed.ok("status --json").answer()["events"].as_u64() < Some(events)
            && std::time::Instant::now() < deadline
        {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        run.kill().expect("killed");
        run.wait().expect("ended");
    }
    sealed.ok("run toka.toml --once");
    let plain = Sealed::new();
    fs::remove_dir_all(plain.place.path().join("docs")).expect("removed");
    fs::rename(sealed.place.path().join("docs"), plain.place.path().join("docs")).expect("moved");
    plain.ok("up docs --once");
    fs::rename(plain.place.path().join("docs"), sealed.place.path().join("docs")).expect("moved");
    assert_eq!(
        sealed.place.outcome().0,
        plain.place.outcome().0,
        "the same content as if it were not sealed"
    );
    assert!(!files_with(&plain.place.vault(), "zorbel").is_empty(), "what is not sealed is found");

    sealed.place.write("docs/sub/qwixname1.md", "# Changed\n\nNow the brillowax eats.\n");
    sealed.ok("run toka.toml --once");
    let facts = |ran: &Value| ["events", "root", "fold", "world"].map(|key| ran[key].clone());
    let before = facts(&sealed.ok("status --json").answer());
    let compacted = sealed.ok("vault compact --json --config toka.toml").answer();
    assert_eq!(compacted["expired"]["contents"], 1, "{compacted}");
    assert_eq!(facts(&sealed.ok("status --json").answer()), before);
    sealed.ok("run toka.toml --once");
    sealed.ok("vault erase --subject subject:alice");
    sealed.ok("vault compact --config toka.toml");
    sealed.ok("vault rotate");
    assert_eq!(sealed.ok("verify --json").answer()["problems"], serde_json::json!([]));
    assert_eq!(sealed.ok("status --json").answer()["world"], before[3]);
    for event in sealed.ok("events list --kind file --label subject:alice --json").lines() {
        assert_eq!((&event["content"], &event["gone"]), (&Value::Null, &"erased".into()), "{event}");
    }
    assert_eq!(sealed.hits("heffalump cellar").iter().find(|path| path.contains("alice")), None);
    for intent in sealed.ok("intents list --json").lines() {
        assert!(!intent.to_string().contains("heffalump"), "{intent}");
    }
    assert!(!sealed.hits("zorbelfluxing").is_empty());
    for word in [
        "zorbel",
        "qwixname",
        "wumbel",
        "grobnatz",
        "qwandryl",
        "brillowax",
        "heffalump",
        "plimdiary",
        "cellar",
    ] {
        assert_eq!(files_with(&sealed.place.vault(), word), Vec::<String>::new(), "{word}");
    }
}

#[test]
fn damaged_keys_are_damage_and_a_wrong_passphrase_is_none() {
    let sealed = Sealed::new();
    sealed.ok("init --seal passphrase");
    sealed.ok("up docs --once");
    let path = sealed.place.vault().join("keys");
    let keys = fs::read(&path).expect("keys");
    let mut flipped = keys.clone();
    flipped[keys.len() / 2] ^= 1;
    for damaged in [flipped, keys[..300].to_vec(), Vec::new()] {
        fs::write(&path, &damaged).expect("written");
        for command in
            ["events list", "search installer", "up docs --once", "vault rotate", "vault export a.bundle"]
        {
            let error = sealed.fails(Some(&sealed.passphrase), 6, command);
            assert_eq!(error["code"], "integrity", "{command}: {error}");
        }
        assert_eq!(fs::read(&path).expect("keys"), damaged, "nothing is mended");
    }
    fs::write(&path, &keys).expect("written");
    let wrong = sealed.place.path().join("wrong");
    let error = sealed.fails(Some(&wrong), 2, "events list");
    assert!(error["code"] == "sealed" && error["hint"].is_string(), "{error}");
    // Nothing that is logged tells of the passphrase.
    let mut command = sealed.place.command(["up", "docs", "--once"]);
    command.env("TOKA_PASSPHRASE_FILE", &sealed.passphrase).env("TOKA_LOG", "trace");
    let logged = Ran::of(command.output().expect("the program runs"));
    assert!(logged.code == Some(0) && !logged.stderr.contains("correct horse"), "{}", logged.stderr);
}
