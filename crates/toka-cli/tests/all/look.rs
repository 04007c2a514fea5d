//! Looking at a vault.

use serde_json::{Value, json};
use toka_vault::{Kind, NewEvent, VaultBus};

use crate::toka::{Place, text};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn check_keys(value: &Value, names: &[&str]) {
    for name in names {
        assert!(keys(value).contains(name), "no {name} in {value}");
    }
}

#[test]
fn status_and_replay_agree() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let status = place.answer("status");
    check_keys(
        &status,
        &[
            "v", "vault", "log", "events", "head", "root", "fold", "world", "agents", "intents", "writer",
            "bytes",
        ],
    );
    check_keys(&status["bytes"], &["log", "index", "saved"]);
    assert_eq!(status["head"]["seq"].as_u64().map(|seq| seq + 1), status["events"].as_u64());
    let replay = place.answer("replay");
    for key in ["events", "fold", "world"] {
        assert_eq!(status[key], replay[key], "{key}");
    }
    assert_eq!(replay["matches"], true);
    let verify = place.answer("verify");
    assert_eq!((&verify["root"], &verify["events"]), (&status["root"], &status["events"]));
}

#[test]
fn an_empty_vault_is_a_vault() {
    let place = Place::new();
    place.ok("init");
    let status = place.answer("status");
    assert_eq!(
        (&status["events"], &status["head"], &status["intents"]),
        (&json!(0), &Value::Null, &json!(0))
    );
    assert_eq!(place.answer("replay")["matches"], true);
    assert_eq!(place.answer("verify")["ok"], true);
    assert_eq!(place.answer("search anything")["hits"], json!([]));
    for listing in ["events list", "agents list", "intents list"] {
        let ran = place.ok(&format!("{listing} --json"));
        assert_eq!(
            (ran.stdout.as_str(), ran.stderr.contains("warning")),
            ("", false),
            "{listing}: {}",
            ran.stderr
        );
        assert_eq!(place.ok(listing).stdout, "", "{listing}");
    }
}

#[test]
fn events_have_their_shape() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let events = place.list("events list --from 0 --limit 1000");
    for (seq, event) in events.iter().enumerate() {
        check_keys(
            event,
            &[
                "seq", "id", "log", "kind", "author", "prev", "parents", "at", "labels", "facts", "content",
                "digest", "size",
            ],
        );
        assert_eq!(event["seq"], seq);
        assert_eq!((text(&event["id"]).len(), &event["log"]), (64, &json!("main")));
        let at = text(&event["at"]);
        assert!(at.len() == "2026-01-01T00:00:00.000000Z".len() && at.ends_with('Z'), "{at}");
    }
    let chunk = events.iter().find(|event| event["kind"] == "file.chunk").expect("a chunk");
    assert_eq!(chunk["author"], "IndexerAgent");
    check_keys(&chunk["content"], &["path", "lines", "text"]);
    assert!(chunk["size"].as_u64() > Some(0) && chunk["digest"].is_string(), "{chunk}");
    let spawned = events.iter().find(|event| event["kind"] == "agent.spawned").expect("an agent");
    assert_eq!(
        (&spawned["content"], &spawned["digest"], &spawned["facts"]["name"]),
        (&Value::Null, &Value::Null, &json!("IndexerAgent"))
    );
    assert_eq!(spawned["facts"]["agent"].as_str().map(str::len), Some(32), "ids are hex: {spawned}");
}

#[test]
fn filters_choose_events() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let all = place.list("events list --from 0 --limit 1000");
    let check = |filter: &str, holds: &dyn Fn(&Value) -> bool| {
        let wanted: Vec<&Value> = all.iter().filter(|event| holds(event)).collect();
        let found = place.list(&format!("events list --limit 1000 {filter}"));
        assert_eq!(found.iter().collect::<Vec<_>>(), wanted, "{filter}");
        assert!(!found.is_empty(), "{filter} shows nothing");
    };
    check("--kind file", &|event| text(&event["kind"]).starts_with("file."));
    check("--kind file.chunk", &|event| event["kind"] == "file.chunk");
    check("--author IndexerAgent", &|event| event["author"] == "IndexerAgent");
    check("--author operator", &|event| event["author"] == "operator");
    check("--path src/main.rs --kind file", &|event| event["content"]["path"] == "src/main.rs");
    check("--path network/** --kind file.chunk", &|event| {
        event["kind"] == "file.chunk" && text(&event["content"]["path"]).starts_with("network/")
    });
    let labels = all.iter().find_map(|event| event["labels"][0].as_str()).expect("a label");
    check(&format!("--label {labels}"), &|event| {
        event["labels"].as_array().is_some_and(|own| own.iter().any(|l| l == labels))
    });
    let middle = text(&all[all.len() / 2]["at"]);
    check(&format!("--since {middle}"), &|event| text(&event["at"]) >= middle);
    check(&format!("--until {middle}"), &|event| text(&event["at"]) < middle);
    let without_offset = middle.trim_end_matches('Z');
    check(&format!("--since {without_offset}"), &|event| text(&event["at"]) >= middle);
    check("--since 2001-01-01", &|_| true);
    let agent =
        text(&all.iter().find(|event| event["kind"] == "agent.spawned").expect("an agent")["facts"]["agent"]);
    for id in [agent.as_str(), &agent[..12], &agent[..6]] {
        check(&format!("--author {id}"), &|event| event["author"] == "IndexerAgent");
    }
    for wrong in ["--since yesterday", "--label a,b", "--path a[", "--intent xyz", "--limit few"] {
        place.fails(2, &format!("events list {wrong}"));
    }
}

#[test]
fn the_newest_events_are_shown_and_the_others_counted() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let all = place.list("events list --from 0 --limit 1000");
    let ran = place.ok("events list --limit 3 --json");
    assert_eq!(ran.lines(), all[all.len() - 3..]);
    assert!(ran.stderr.contains(&format!("newest 3 of {}", all.len())), "{}", ran.stderr);
    assert_eq!(place.list("events list --from 2 --limit 3"), all[2..5]);
    assert_eq!(place.ok("events list --limit 1000").stderr, "");
}

#[test]
fn an_event_is_named_by_its_id_or_its_beginning() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let file = place.list("events list --kind file.indexed --path install.md").remove(0);
    let id = text(&file["id"]);
    let shown = place.list(&format!("events show {}", &id[..6])).remove(0);
    for (key, value) in file.as_object().expect("an object") {
        assert_eq!(&shown[key], value, "{key}");
    }
    let chunk = place.list("events list --kind file.chunk --path install.md").remove(0);
    assert_eq!(shown["children"], json!([chunk["id"]]));
    assert!(place.ok(&format!("events show {id}")).stdout.contains("install.md"));
    assert_eq!(place.fails(1, &format!("events show {}", "0".repeat(64)))["code"], "unknown");
    for malformed in ["abc", "xyzxyz", &id.to_uppercase(), &format!("{id}0")] {
        assert_eq!(place.fails(2, &format!("events show {malformed}"))["code"], "usage", "{malformed}");
    }
}

#[test]
fn intents_are_listed_with_their_passages() {
    let place = Place::new();
    let topics = [
        ("garden", "tulip rose soil compost watering bloom petal greenhouse seed pruning"),
        ("boats", "sail mast harbour anchor keel rudder tide regatta hull mooring"),
        ("bread", "flour yeast dough oven crust knead loaf sourdough baking proofing"),
    ];
    for (topic, words) in topics {
        let words: Vec<&str> = words.split(' ').collect();
        for number in 0..12 {
            let turned: Vec<&str> =
                (0..30).map(|i| words[(i * (number % 3 + 1) + number) % words.len()]).collect();
            place.write(format!("docs/{topic}{number}.md"), turned.join(" "));
        }
    }
    place.ok("up docs --once");
    let intents = place.list("intents list");
    assert!(intents.len() >= 2, "{intents:?}");
    assert_eq!(place.answer("status")["intents"], intents.len());
    for intent in &intents {
        check_keys(intent, &["id", "name", "terms", "events", "total", "first", "last"]);
        assert_eq!(intent["events"], intent["total"]);
        assert!(text(&intent["first"]) <= text(&intent["last"]));
        let id = text(&intent["id"]);
        let shown = place.answer(&format!("intents show {id}"));
        for key in ["id", "name", "terms"] {
            assert_eq!(shown[key], intent[key]);
        }
        let members = shown["members"].as_array().expect("members");
        assert_eq!(Some(members.len() as u64), intent["events"].as_u64());
        let events: Vec<&Value> = members.iter().map(|member| &member["event"]).collect();
        for member in members {
            check_keys(member, &["event", "path", "lines", "similarity"]);
        }
        let listed = place.list(&format!("events list --limit 1000 --intent {id}"));
        assert_eq!(listed.len(), members.len());
        assert!(listed.iter().all(|event| events.contains(&&event["id"])));
    }
    let hit = place.answer("search sourdough")["hits"][0].clone();
    let named = intents.iter().find(|intent| intent["id"] == hit["intent"]["id"]).expect("the hit's intent");
    assert_eq!(named["name"], hit["intent"]["name"]);
    let event = text(&hit["event"]);
    let near = place.answer(&format!("intents near {event} --limit 5"));
    let neighbours = near["neighbours"].as_array().expect("neighbours");
    assert_eq!((&near["event"], neighbours.len()), (&hit["event"], 5));
    for neighbour in neighbours {
        check_keys(neighbour, &["event", "path", "lines", "similarity", "intent"]);
        assert!(text(&neighbour["path"]).starts_with("bread"), "{neighbour}");
        assert_ne!(neighbour["event"], hit["event"]);
    }
    // A file's event stands for its passages.
    let file = place.list(&format!("events show {event}"))[0]["parents"][0].clone();
    assert_eq!(
        place.answer(&format!("intents near {} --limit 5", text(&file)))["neighbours"],
        near["neighbours"]
    );
    assert!(place.ok(&format!("intents near {event}")).stdout.contains("bread"));
    let first = place.list("events list --from 0 --limit 1")[0].clone();
    place.fails(1, &format!("intents near {}", text(&first["id"])));
    place.fails(2, "intents near zzzzzzzz");
    let rare = place.list("intents list --sort rare");
    assert!(rare.is_sorted_by_key(|intent| intent["events"].as_u64()));
    let new = place.list("intents list --sort new");
    assert!(new.is_sorted_by(|one, other| text(&one["first"]) >= text(&other["first"])));
    place.fails(2, "intents show abc");
    place.fails(2, "intents show zzzzzzzz");
    assert!(place.ok("intents list").stdout.contains(&text(&intents[0]["id"])));
}

/// Twelve files of a subject each, then twelve of another one, and the time between.
fn two_subjects() -> (Place, String) {
    let place = Place::new();
    let write = |topic: &str, words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        for number in 0..12 {
            let turned: Vec<&str> =
                (0..30).map(|i| words[(i * (number % 3 + 1) + number) % words.len()]).collect();
            place.write(format!("docs/{topic}{number}.md"), turned.join(" "));
        }
    };
    write("garden", "tulip rose soil compost watering bloom petal greenhouse seed pruning");
    place.ok("up docs --once");
    let before = place.answer("status")["events"].as_u64().expect("a number");
    write("boats", "sail mast harbour anchor keel rudder tide regatta hull mooring seed");
    place.ok("up docs --once");
    let between = place.list(&format!("events list --from {before} --limit 1"))[0]["at"].clone();
    (place, text(&between))
}

#[test]
fn intents_are_listed_over_time() {
    let (place, between) = two_subjects();
    let sums = |arguments: &str| -> Vec<(String, u64)> {
        let row = |intent: &Value| (text(&intent["id"]), intent["events"].as_u64().expect("a number"));
        place.list(&format!("intents list {arguments}")).iter().map(row).collect()
    };
    let all = sums("");
    let (before, since) = (sums(&format!("--until {between}")), sums(&format!("--since {between}")));
    assert!(!before.is_empty() && !since.is_empty());
    for (id, events) in &all {
        let of = |period: &[(String, u64)]| period.iter().find(|(own, _)| own == id).map_or(0, |own| own.1);
        assert_eq!(of(&before) + of(&since), *events, "{id}");
        // Its passages can be seen in the same way.
        let listed = place.list(&format!("events list --intent {id} --since {between} --limit 1000"));
        assert_eq!(listed.len() as u64, of(&since));
    }
    assert!(before.iter().chain(&since).all(|(_, events)| *events > 0), "only intents with some");
    let new = place.list(&format!("intents list --new --since {between}"));
    let first = |intent: &Value| text(&intent["first"]);
    assert!(new.iter().all(|intent| first(intent) >= between), "{new:?}");
    assert_eq!(
        new.len(),
        place.list("intents list").iter().filter(|intent| first(intent) >= between).count()
    );
    assert_eq!(sums("--new"), all, "all of it is of today");
    place.ok(&format!("intents list --new --since {between}"));
    assert_eq!(sums("--since 2990-01-01"), []);
    assert_eq!(sums("--since 2001-01-01 --sort size").len(), all.len());
    place.fails(2, "intents list --since yesterday");
}

#[test]
fn search_takes_the_filters_of_events() {
    let (place, between) = two_subjects();
    let hits = |filter: &str| -> Vec<Value> {
        place.answer(&format!("search seed --limit 100 {filter}"))["hits"].as_array().expect("hits").clone()
    };
    let all = hits("");
    let check = |filter: &str, holds: &dyn Fn(&Value) -> bool| {
        let found = hits(filter);
        assert!(found.iter().all(holds), "{filter}: {found:?}");
        let (found, wanted) = (found.len(), all.iter().filter(|hit| holds(hit)).count());
        assert!(found >= wanted && wanted > 0, "{filter}: {found} of {wanted}");
    };
    let of = |hit: &Value, topic: &str| text(&hit["path"]).starts_with(topic);
    check(&format!("--since {between}"), &|hit| of(hit, "boats"));
    check(&format!("--until {between}"), &|hit| of(hit, "garden"));
    check("--author IndexerAgent", &|_| true);
    check("--kind file.chunk", &|_| true);
    check(&format!("--since {between} --path boats1.md"), &|hit| of(hit, "boats1.md"));
    let intent = all[0]["intent"]["id"].clone();
    check(&format!("--intent {}", text(&intent)), &|hit| hit["intent"]["id"] == intent);
    let event = place.list(&format!("events show {}", text(&all[0]["event"])))[0].clone();
    let label = text(&event["labels"][0]);
    check(&format!("--label {label}"), &|_| true);
    let file = text(&event["parents"][0]);
    check(&format!("--cause {file}"), &|hit| {
        place.list(&format!("events show {}", text(&hit["event"])))[0]["parents"][0] == json!(file)
    });
    for none in ["--author operator", "--kind file.indexed", "--label nobody:has-it", "--since 2990-01-01"] {
        assert_eq!(hits(none), Vec::<Value>::new(), "{none}");
    }
    for wrong in ["--since yesterday", "--label a,b", "--path a[", "--intent xyz"] {
        place.fails(2, &format!("search seed {wrong}"));
    }
}

#[test]
fn a_vault_that_a_program_used_alone_is_looked_at_whatever_its_events_are_called() {
    let place = Place::with_docs();
    place.ok("init");
    let vault = VaultBus::open(place.vault()).expect("a vault");
    let event = |kind: &str, facts: &[u8]| {
        let event = NewEvent::new(Kind::new(kind).expect("a kind")).facts(facts.into());
        event.payload(&kind.to_owned()).expect("a payload")
    };
    // Kinds of the kernel's among them, and facts that are no map.
    let events = vec![
        event("user.login", b""),
        event("message.sent", b""),
        event("grant.issued", b"\x91\x01"),
        event("note.taken", b"\x93\x01\x02\x03"),
    ];
    vault.blocking().commit_batch(events).expect("committed");
    drop(vault);
    let listed = place.list("events list");
    let kinds: Vec<&Value> = listed.iter().map(|event| &event["kind"]).collect();
    assert_eq!(kinds, ["user.login", "message.sent", "grant.issued", "note.taken"]);
    assert_eq!((&listed[1]["content"], &listed[3]["facts"]), (&json!("message.sent"), &json!([1, 2, 3])));
    let status = place.answer("status");
    assert_eq!((&status["events"], &status["agents"]), (&json!(4), &json!(0)));
    assert_eq!(place.answer("replay")["matches"], true);
    assert_eq!(place.answer("vault stat")["events"], 4);
    assert!(place.list("cap tree").is_empty());
    // A runtime goes on from there.
    place.ok("up docs --once");
    assert_eq!(place.answer("search installer daemon")["hits"][0]["path"], "install.md");
    assert_eq!(place.answer("replay")["matches"], true);
    assert_eq!(place.list("events list --kind log")[0]["seq"], 4);
}

#[test]
fn an_event_with_many_children_shows_all_of_them() {
    const CHILDREN: usize = 2_500;
    let place = Place::new();
    place.ok("init");
    let vault = VaultBus::open(place.vault()).expect("a vault");
    let note = |number: usize| {
        NewEvent::new(Kind::new("note.taken").expect("a kind")).payload(&number).expect("a payload")
    };
    let parent = vault.blocking().commit_batch(vec![note(0)]).expect("committed")[0].record.header.id;
    let children: Vec<NewEvent> = (1..=CHILDREN).map(|number| note(number).parents([parent])).collect();
    let children = vault.blocking().commit_batch(children).expect("committed");
    let children: Vec<Value> =
        children.iter().map(|child| json!(child.record.header.id.to_string())).collect();
    drop(vault);

    let shown = place.answer_of(&format!("events show {parent}"));
    assert_eq!(shown["children"].as_array(), Some(&children));
    assert_eq!(shown["kind"], "note.taken");
    let last = text(&children[CHILDREN - 1]);
    assert_eq!(place.answer_of(&format!("events show {last}"))["children"], json!([]));
    let told = place.ok(&format!("events show {parent}")).stdout;
    assert!(
        told.contains(&text(&children[19])[..12]) && !told.contains(&text(&children[20])[..12]),
        "{told}"
    );
    assert!(told.contains("and 2,480 more"), "{told}");

    let listed = place.list(&format!("events list --cause {parent} --from 1001 --limit 1000"));
    let ids: Vec<Value> = listed.iter().map(|event| event["id"].clone()).collect();
    assert_eq!(ids, children[1000..2000]);
    assert_eq!(place.list(&format!("events list --cause {last}")), Vec::<Value>::new());
    assert_eq!(place.fails(1, "events list --cause 0123456789ab")["code"], "unknown");
}

#[test]
fn agents_have_their_shape() {
    let place = Place::with_docs();
    place.ok("up docs --once");
    let agents = place.list("agents list");
    assert_eq!(agents.len(), 1);
    check_keys(&agents[0], &["id", "name", "behaviour", "state", "step", "waiting_on", "spent", "budget"]);
    assert_eq!((&agents[0]["behaviour"], &agents[0]["state"]), (&json!("IndexerAgent"), &json!("running")));
}
