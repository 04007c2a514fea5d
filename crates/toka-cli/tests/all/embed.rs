//! Vectors that a model makes, from the configuration to the hits.

use serde_json::Value;

use crate::toka::{Place, text};

/// The paths of the hits, best first.
fn paths(answer: &Value) -> Vec<String> {
    answer["hits"].as_array().expect("hits").iter().map(|hit| text(&hit["path"])).collect()
}

/// The vectors in the log: the words of each one's chunk, the embedder, the vector.
fn vectors(place: &Place, arguments: &str) -> Vec<(String, String, String)> {
    let chunks = place.list(&format!("{arguments} events list --kind file.chunk --from 0 --limit 100000"));
    let of = |vector: &Value| {
        let parents: Vec<&Value> = vector["parents"].as_array().expect("parents").iter().collect();
        let chunk =
            chunks.iter().find(|chunk| parents.contains(&&chunk["id"])).expect("a chunk is its cause");
        let content = &vector["content"];
        let values = content["values"].to_string();
        (text(&chunk["content"]["text"]), text(&content["embedder"]), values)
    };
    let listed = place.list(&format!("{arguments} events list --kind vector --from 0 --limit 100000"));
    listed.iter().map(of).collect()
}

#[cfg(feature = "embed-local")]
mod local {
    use std::fs;

    use super::{paths, vectors};
    use crate::crash::{end, wait_until};
    use crate::toka::{Place, Ran};

    const CONFIG: &str = "[embedder]\nkind = \"local\"\npath = \"model\"\n";

    fn place() -> Place {
        let place = Place::new();
        toka_models::testing::write_model(&place.path().join("model"), 7).expect("a model");
        place.write("toka.toml", CONFIG);
        for (name, words) in
            [("one", "the car"), ("two", "the tide"), ("three", "bread"), ("four", "the doctor")]
        {
            place.write(format!("docs/{name}.md"), format!("{words}\n"));
        }
        place
    }

    #[test]
    fn a_model_in_a_folder_finds_what_is_meant() {
        let place = place();
        let summary = place.ok("--config toka.toml up docs --once --json").lines().pop().expect("a summary");
        assert_eq!((&summary["files"], &summary["vectors"]), (&4.into(), &4.into()));
        let made = vectors(&place, "");
        assert_eq!(made.len(), 4);
        assert!(made.iter().all(|(_, embedder, _)| embedder.starts_with("bert/1:")), "{made:?}");
        assert_eq!(place.answer("verify")["ok"], true);
        assert_eq!(place.answer("replay")["matches"], true);
        // No word of these stands anywhere.
        for (query, path) in
            [("automobile", "one.md"), ("ebb", "two.md"), ("loaf", "three.md"), ("physician", "four.md")]
        {
            let found = paths(&place.answer(&format!("--config toka.toml search {query}")));
            assert_eq!(found.first().map(String::as_str), Some(path), "{query}: {found:?}");
            assert_eq!(paths(&place.answer(&format!("search {query}"))), Vec::<String>::new(), "{query}");
        }
        // What has its vector gets no other one, also where the same words come again: in a file that was changed, and in a new one.
        place.write("docs/one.md", "the river\n");
        place.write("docs/five.md", "the tide\n");
        let summary = place.ok("--config toka.toml up docs --once --json").lines().pop().expect("a summary");
        assert_eq!(summary["files"], 2);
        let now = vectors(&place, "");
        assert_eq!(now[..4], made[..]);
        let tides: Vec<_> = now.iter().filter(|(text, ..)| text.trim() == "the tide").collect();
        assert_eq!(tides.len(), 2);
        assert_eq!(tides[0].2, tides[1].2);
        let found = paths(&place.answer("--config toka.toml search stream"));
        assert_eq!(found[0], "one.md", "{found:?}");
        // The projection made anew from the log has the same vectors.
        fs::remove_dir_all(place.vault().join("projections")).expect("removed");
        assert_eq!(paths(&place.answer("--config toka.toml search stream")), found);
    }

    #[test]
    fn a_killed_run_goes_on_where_it_was() {
        let place = place();
        for number in 0..400 {
            let words = ["the car", "a tide", "an ebb", "bread", "loaf river", "stream"][number % 6];
            place.write(
                format!("docs/d/f{number}.md"),
                format!("{words} {}\n", "car ".repeat(number / 6 % 29)),
            );
        }
        let mut child = place.start("--config toka.toml up docs --once");
        let count = || {
            let listed = place.run("events list --kind vector --from 0 --limit 100000 --json");
            if listed.code == Some(0) { listed.lines().len() } else { 0 }
        };
        wait_until(|| count() > 0);
        let _ = child.kill();
        child.wait().expect("it ends");
        let before = vectors(&place, "");
        place.ok("--config toka.toml up docs --once");
        let after = vectors(&place, "");
        assert_eq!(after.len(), 404);
        assert_eq!(after[..before.len()], before[..]);
        let chunks = place.list("events list --kind vector --from 0 --limit 100000");
        let parents: std::collections::BTreeSet<String> =
            chunks.iter().map(|v| v["parents"].to_string()).collect();
        assert_eq!(parents.len(), 404, "each chunk has one vector");
        assert_eq!(place.answer("verify")["ok"], true);
    }

    #[test]
    fn a_run_that_watches_embeds_what_comes() {
        let place = place();
        let child = place.start("--config toka.toml up docs");
        let found = |query: &str| -> Vec<String> {
            let ran = place.run(&format!("--config toka.toml search {query} --json"));
            if ran.code == Some(0) { paths(&ran.answer()) } else { Vec::new() }
        };
        wait_until(|| found("automobile").first().is_some_and(|path| path == "one.md"));
        place.write("docs/new.md", "river\n");
        wait_until(|| found("stream").first().is_some_and(|path| path == "new.md"));
        fs::remove_file(place.path().join("docs/new.md")).expect("removed");
        wait_until(|| found("stream").first().is_some_and(|path| path != "new.md"));
        assert_eq!(end(child).code, Some(0));
    }

    #[test]
    fn a_sealed_vault_seals_vectors_and_they_go_with_their_subject() {
        let place = place();
        place.write("passphrase", "correct horse\n");
        let indexer = "[[agents]]\nname = \"IndexerAgent\"\nscan_path = \"docs\"\nsubjects = [{ glob = \"two.md\", subject = \"ada\" }]\n";
        place.write("toka.toml", format!("{CONFIG}\n{indexer}"));
        let run = |arguments: &str| {
            let mut command = place.command(arguments.split_whitespace());
            command.env("TOKA_PASSPHRASE_FILE", place.path().join("passphrase"));
            let ran = Ran::of(command.output().expect("the program runs"));
            assert_eq!(ran.code, Some(0), "{arguments}: {}{}", ran.stdout, ran.stderr);
            ran
        };
        run("init --seal passphrase");
        run("--config toka.toml up docs --once");
        let found = paths(&run("--config toka.toml search ebb --json").answer());
        assert_eq!(found[0], "two.md");
        let shown = place.list("events list --kind vector --from 0 --limit 100");
        assert_eq!(shown.len(), 4);
        assert!(shown.iter().all(|vector| vector["gone"] == "sealed"), "{shown:?}");
        let opened = run("events list --kind vector --from 0 --limit 100 --json").lines();
        assert!(opened.iter().all(|vector| vector["content"]["embedder"].is_string()), "{opened:?}");
        for file in walk(&place.vault()) {
            let bytes = fs::read(&file).expect("a file");
            assert!(!bytes.windows(7).any(|window| window == b"bert/1:"), "{}", file.display());
        }
        run("vault erase --subject subject:ada");
        let left = run("events list --kind vector --from 0 --limit 100 --json").lines();
        let gone = left.iter().filter(|vector| vector["gone"] == "erased").count();
        assert_eq!((left.len(), gone), (4, 1), "{left:?}");
        let found = paths(&run("--config toka.toml search ebb --json").answer());
        assert!(!found.contains(&"two.md".to_owned()), "{found:?}");
    }

    fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
        let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
    }

    #[test]
    fn a_model_that_cannot_be_had_is_told_of() {
        let place = place();
        place.ok("--config toka.toml up docs --once");
        fs::rename(place.path().join("model/tokenizer.json"), place.path().join("elsewhere")).expect("moved");
        let error = place.fails(2, "--config toka.toml up docs --once");
        assert_eq!(error["code"], "config");
        assert!(
            error["message"].as_str().is_some_and(|m| m.contains("tokenizer.json is missing")),
            "{error}"
        );
        let ran = place.ok("--config toka.toml search tide --json");
        assert_eq!(paths(&ran.answer())[0], "two.md");
        assert!(
            ran.stderr.contains("tokenizer.json is missing") && ran.stderr.contains("does without"),
            "{}",
            ran.stderr
        );
        // Another model has made none of these vectors.
        fs::remove_dir_all(place.path().join("model")).expect("removed");
        toka_models::testing::write_model(&place.path().join("model"), 8).expect("a model");
        let ran = place.ok("--config toka.toml search tide --json");
        assert!(ran.stderr.contains("the passages have vectors, but none of bert/1:"), "{}", ran.stderr);
        place.ok("--config toka.toml up docs --once");
        assert_eq!(vectors(&place, "").len(), 8, "the two embedders lie side by side");
        let found = paths(&place.answer("--config toka.toml search automobile"));
        assert_eq!(found[0], "one.md");
    }
}

#[cfg(feature = "embed-http")]
mod service {
    use std::collections::BTreeMap;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};

    use super::{paths, vectors};
    use crate::crash::{end, wait_until};
    use crate::toka::{Place, text};

    /// A service that knows four subjects, and how often it was asked for each text.
    #[derive(Clone, Default)]
    struct Service(Arc<Mutex<Asked>>);

    #[derive(Default)]
    struct Asked {
        texts: BTreeMap<String, usize>,
        requests: usize,
        /// What it answers instead of vectors, so many times.
        refusals: usize,
        status: u16,
    }

    impl Service {
        fn start(&self) -> String {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
            let service = self.clone();
            std::thread::spawn(move || {
                listener.incoming().for_each(|stream| service.answer(stream.expect("a stream")))
            });
            url
        }

        fn answer(&self, mut stream: TcpStream) {
            let Some((authorised, body)) = read(&stream) else { return };
            let (status, answer) = self.reply(authorised, &body);
            let answer = answer.to_string();
            let head = format!(
                "HTTP/1.1 {status} Said\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            let _ = stream.write_all(format!("{head}{answer}").as_bytes());
        }

        fn reply(&self, authorised: bool, body: &Value) -> (u16, Value) {
            let mut asked = self.0.lock().expect("nobody panicked");
            asked.requests += 1;
            if asked.refusals > 0 || !authorised {
                asked.refusals = asked.refusals.saturating_sub(1);
                let status = if authorised { asked.status } else { 401 };
                return (status, json!({"error": {"message": "not now"}}));
            }
            let mut data = Vec::new();
            for (index, input) in body["input"].as_array().expect("texts").iter().enumerate() {
                let input = text(input);
                let about =
                    |words: &[&str]| f32::from(u8::from(words.iter().any(|word| input.contains(word))));
                let vector = [
                    about(&["installer", "setup"]),
                    about(&["archive", "rescue"]),
                    about(&["port", "wall"]),
                    0.1,
                ];
                data.push(json!({"index": index, "embedding": vector}));
                *asked.texts.entry(input).or_default() += 1;
            }
            (200, json!({"data": data}))
        }
    }

    fn read(stream: &TcpStream) -> Option<(bool, Value)> {
        let mut reader = BufReader::new(stream);
        let (mut length, mut authorised) = (0, false);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().ok()?;
            }
            authorised |= line == "authorization: bearer sk-of-a-test";
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        Some((authorised, serde_json::from_slice(&body).ok()?))
    }

    fn place(url: &str) -> Place {
        let place = Place::with_docs();
        let config = format!(
            "[embedder]\nkind = \"openai\"\nbase_url = \"{url}\"\nmodel = \"small\"\napi_key = \"${{KEY:-sk-of-a-test}}\"\n"
        );
        place.write("toka.toml", config);
        place
    }

    #[test]
    fn a_service_is_asked_once_for_each_text_and_every_request_is_recorded_first() {
        let service = Service::default();
        let place = place(&service.start());
        let summary = place.ok("--config toka.toml up docs --once --json").lines().pop().expect("a summary");
        assert_eq!(summary["vectors"], summary["chunks"]);
        let asked = service.0.lock().expect("it").texts.clone();
        assert!(
            asked.len() as u64 == summary["chunks"] && asked.values().all(|count| *count == 1),
            "{asked:?}"
        );
        let found = paths(&place.answer("--config toka.toml search setup"));
        assert_eq!(found[0], "install.md", "{found:?}");
        place.ok("--config toka.toml up docs --once");
        assert_eq!(vectors(&place, "").len() as u64, summary["chunks"]);
        assert!(
            asked.keys().all(|text| service.0.lock().expect("it").texts[text] == 1),
            "nothing is asked again"
        );

        let requests = place.list("events list --kind tool.requested --from 0 --limit 1000");
        let requests: Vec<&Value> =
            requests.iter().filter(|event| event["facts"]["tool"] == "embed").collect();
        assert!(!requests.is_empty());
        for request in requests {
            assert_eq!(request["facts"]["class"], "read", "{request}");
            assert!(request["facts"]["arguments"].is_string(), "{request}");
            assert!(!request["content"].to_string().contains("installer"), "no text stands in a request");
        }
        // The key is in no event and in nothing that is shown.
        let all = place.ok("events list --from 0 --limit 100000 --json").stdout;
        let shown = place.ok("--config toka.toml config show --json").stdout;
        assert!(shown.contains("embedder.api_key") && !shown.contains("sk-of-a-test"), "{shown}");
        assert!(!all.contains("sk-of-a-test"));
        let granted = place.ok("events list --kind agent.spawned --from 0 --json").stdout;
        assert!(granted.contains("tool:embed(host=127.0.0.1)"), "{granted}");
        assert_eq!(place.answer("verify")["ok"], true);
        assert_eq!(place.answer("replay")["matches"], true);
    }

    #[test]
    fn a_service_that_refuses_ends_a_run_that_ends_and_search_goes_on() {
        let service = Service::default();
        let place = place(&service.start());
        *service.0.lock().expect("it") = Asked { refusals: 1, status: 400, ..Asked::default() };
        let error = place.fails(1, "--config toka.toml up docs --once");
        let message = text(&error["message"]);
        assert!(
            message.contains("EmbedderAgent") && message.contains("127.0.0.1 answered 400: not now"),
            "{message}"
        );
        place.ok("--config toka.toml up docs --once");
        *service.0.lock().expect("it") = Asked { refusals: 1, status: 400, ..Asked::default() };
        let ran = place.ok("--config toka.toml search installer --json");
        assert_eq!(paths(&ran.answer())[0], "install.md");
        assert!(
            ran.stderr.contains("answered 400: not now; this answer does without the model"),
            "{}",
            ran.stderr
        );
    }

    #[test]
    fn a_run_that_watches_waits_for_a_busy_service() {
        let service = Service::default();
        let place = place(&service.start());
        *service.0.lock().expect("it") = Asked { refusals: 1, status: 503, ..Asked::default() };
        let child = place.start("--config toka.toml up docs");
        wait_until(|| place.run("events list --kind vector --from 0 --json").stdout.lines().count() >= 5);
        assert_eq!(end(child).code, Some(0));
    }

    #[test]
    fn what_cannot_be_asked_is_an_error_of_the_configuration() {
        let place = Place::with_docs();
        let check = |config: &str, expected: &str| {
            place.write("toka.toml", format!("[embedder]\nkind = \"openai\"\nmodel = \"small\"\n{config}"));
            let error = place.fails(2, "--config toka.toml up docs --once");
            let said = error.to_string();
            assert!(said.contains(expected), "{config}: {said}");
        };
        check("api_key = \"sk\"\nbase_url = \"http://embeddings.lan/v1\"", "would send the key in the clear");
        check("base_url = \"embeddings.lan\"", "begins neither with https://");
        check("api_key = \"${NOWHERE_TO_BE_FOUND}\"", "NOWHERE_TO_BE_FOUND");
        assert!(!place.vault().exists(), "a wrong configuration creates nothing");
    }
}
