//! A service behind a real socket: what it is sent, and what is made of its answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use toka_models::openai::{MAX_BATCH, OptionsError};
use toka_models::{OpenAiEmbedder, OpenAiOptions};
use toka_toolkit_core::{Embedder, Embedding};

/// A request as it arrived.
#[derive(Clone, Debug)]
struct Request {
    line: String,
    headers: Vec<(String, String)>,
    body: Value,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What the service answers: a status, a header, a body.
type Reply = (u16, &'static str, String);

/// A service on a port of its own that answers the nth request with `reply(n, request)`, and keeps what it got.
struct Service {
    url: String,
    got: Arc<Mutex<Vec<Request>>>,
}

impl Service {
    fn start(reply: impl Fn(usize, &Request) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let got = Arc::new(Mutex::new(Vec::new()));
        let requests = Arc::clone(&got);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(request) = read(&stream) else { continue };
                let count = requests.lock().unwrap().len();
                let (status, header, body) = reply(count, &request);
                requests.lock().unwrap().push(request);
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status} Said\r\nconnection: close\r\ncontent-length: {length}\r\n");
                let _ = write!(stream, "{head}{header}\r\n{body}");
            }
        });
        Self { url, got }
    }

    fn options(&self) -> OpenAiOptions {
        let mut options = OpenAiOptions::new(&self.url, "small");
        options.first_pause = Duration::from_millis(1);
        options
    }

    fn embedder(&self) -> OpenAiEmbedder {
        OpenAiEmbedder::new(self.options()).unwrap()
    }

    fn got(&self) -> Vec<Request> {
        self.got.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let request = Request { line: line.trim().to_owned(), headers, body: Value::Null };
    let mut body = vec![0; request.header("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Request { body: serde_json::from_slice(&body).ok()?, ..request })
}

/// Vectors that tell how long each text was, in the order of `order`.
fn lengths(request: &Request, order: impl Fn(usize) -> usize) -> Reply {
    let input = request.body["input"].as_array().unwrap();
    let data: Vec<Value> = (0..input.len())
        .map(|place| {
            let index = order(place);
            let length = input[index].as_str().unwrap().len() as f32;
            json!({"object": "embedding", "index": index, "embedding": [length, 100.0, 0.0]})
        })
        .collect();
    (200, "", json!({"object": "list", "data": data, "model": "small"}).to_string())
}

fn vector(length: f32) -> Embedding {
    let largest = length.max(100.0);
    let scaled = |value: f32| (value / largest * f32::from(i16::MAX)).round() as i16;
    Embedding::Bits16(vec![scaled(length), scaled(100.0), 0])
}

#[test]
fn texts_are_sent_in_batches_and_answers_are_put_in_their_order() {
    let service = Service::start(|_, request| {
        let count = request.body["input"].as_array().unwrap().len();
        lengths(request, |place| count - 1 - place)
    });
    let mut options = service.options();
    options.base_url.push('/');
    options.api_key = Some("sk-of-a-test".to_owned().into());
    let embedder = OpenAiEmbedder::new(options).unwrap();
    assert_eq!(embedder.dimension(), 0);
    let texts: Vec<String> = (0..=MAX_BATCH).map(|n| "x".repeat(n)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let found = embedder.embed(&texts).unwrap();
    assert_eq!(embedder.dimension(), 3);
    assert_eq!(found[0], Embedding::Bits16(vec![0, 0, 0]), "a text without a word is not sent");
    for (length, found) in found.iter().enumerate().skip(1) {
        assert_eq!(*found, vector(length as f32));
    }
    // A hundred thousand bytes each: what is sent is cut, and no request is too large.
    let long = "ä".repeat(50_000);
    embedder.embed(&vec![long.as_str(); 20]).unwrap();
    let got = service.got();
    let counts: Vec<usize> =
        got.iter().map(|request| request.body["input"].as_array().unwrap().len()).collect();
    assert_eq!(counts, [MAX_BATCH, 16, 4]);
    assert_eq!(got[0].line, "POST /v1/embeddings HTTP/1.1");
    assert_eq!(got[0].header("authorization"), Some("Bearer sk-of-a-test"));
    assert_eq!(got[0].body["model"], "small");
    assert_eq!(got[0].body.get("dimensions"), None);
    assert!(!format!("{embedder:?}").contains("sk-of-a-test"));
}

#[test]
fn a_refusal_for_the_moment_is_tried_again() {
    let past = "retry-after: Wed, 21 Oct 2015 07:28:00 GMT\r\n";
    let waits = ["", "retry-after: 0\r\n", past];
    let service = Service::start(move |n, request| match n {
        0 => (429, waits[0], json!({"error": {"message": "slow down"}}).to_string()),
        1 => (503, waits[1], String::new()),
        2 => (500, waits[2], "<html>".to_owned()),
        _ => lengths(request, |place| place),
    });
    assert_eq!(service.embedder().embed(&["four"]).unwrap(), [vector(4.0)]);
    assert_eq!(service.got().len(), 4);
}

#[test]
fn what_stays_refused_is_an_error_that_says_why() {
    let check = |reply: fn(usize, &Request) -> Reply, requests: usize, expected: &str| {
        let service = Service::start(reply);
        let mut options = service.options();
        options.api_key = Some("sk-of-a-test".to_owned().into());
        let embedder = OpenAiEmbedder::new(options).unwrap();
        let error = embedder.embed(&["one", "two"]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("sk-of-a-test"), "{error}");
        assert_eq!(service.got().len(), requests, "{expected}");
    };
    let refused = |_: usize, _: &Request| {
        let words =
            json!({"error": {"message": "the key sk-of-a-test\u{1b}[31m is wrong", "code": "invalid"}});
        (401, "", words.to_string())
    };
    check(refused, 1, "127.0.0.1 answered 401: the key *** [31m is wrong");
    check(|_, _| (429, "", json!({"error": "quota"}).to_string()), 6, "answered 429: quota; tried 6 times");
    check(
        |_, _| (503, "retry-after: 3600\r\n", String::new()),
        1,
        "asks to wait for 3600 s, and at most 60 s",
    );
    const DATED: &str =
        "date: Wed, 21 Oct 2015 07:28:00 GMT\r\nretry-after: Wed, 21 Oct 2015 07:29:30 GMT\r\n";
    check(|_, _| (503, DATED, String::new()), 1, "asks to wait for 90 s, and at most 60 s");
    check(
        |_, _| (429, "retry-after: Tue, 31 Dec 2999 23:59:59 GMT\r\n", String::new()),
        1,
        "s, and at most 60 s are waited",
    );
    check(|_, _| (503, "retry-after: Wed, 21 Oct\r\n", String::new()), 6, "tried 6 times");
    check(|_, _| (302, "location: http://127.0.0.1:1/\r\n", String::new()), 1, "answered 302");
    check(|_, _| (200, "", "no JSON".to_owned()), 1, "not that of an embeddings API");
    check(|_, _| (200, "", json!({"data": []}).to_string()), 1, "0 vectors for 2 texts");
    check(
        |_, _| {
            (
                200,
                "",
                json!({"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}).to_string(),
            )
        },
        1,
        "the index 0 twice",
    );
    check(
        |_, _| {
            (
                200,
                "",
                json!({"data": [{"index": 0, "embedding": [1]}, {"index": 2, "embedding": [1]}]}).to_string(),
            )
        },
        1,
        "the index 2 twice, or for no text",
    );
    check(
        |_, _| {
            (
                200,
                "",
                json!({"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1, 2]}]})
                    .to_string(),
            )
        },
        1,
        "2 dimensions; 1 are expected",
    );
    check(
        |_, _| {
            (
                200,
                "",
                json!({"data": [{"index": 0, "embedding": []}, {"index": 1, "embedding": []}]}).to_string(),
            )
        },
        1,
        "a vector of 0 dimensions",
    );
    check(
        |_, _| {
            (
                200,
                "",
                r#"{"data": [{"index": 0, "embedding": [1e99]}, {"index": 1, "embedding": [1]}]}"#.to_owned(),
            )
        },
        1,
        "not finite",
    );
}

#[test]
fn dimensions_that_are_asked_for_are_what_is_expected() {
    let service = Service::start(|_, request| lengths(request, |place| place));
    let mut options = service.options();
    options.dimensions = Some(4);
    let embedder = OpenAiEmbedder::new(options).unwrap();
    assert_eq!(embedder.dimension(), 4);
    assert!(embedder.id().ends_with("#4"), "{}", embedder.id());
    let error = embedder.embed(&["one"]).unwrap_err().to_string();
    assert!(error.contains("3 dimensions; 4 are expected"), "{error}");
    assert_eq!(service.got()[0].body["dimensions"], 4);
}

#[test]
fn nobody_is_asked_once_nobody_waits() {
    let stopped = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stopped);
    let service = Service::start(move |_, _| {
        seen.store(true, Ordering::SeqCst);
        (503, "retry-after: 60\r\n", String::new())
    });
    let error = service.embedder().embed_until(&["one"], &|| stopped.load(Ordering::SeqCst)).unwrap_err();
    assert!(error.to_string().contains("nobody waits any more"), "{error}");
    assert_eq!(service.got().len(), 1);
}

#[test]
fn nobody_there_is_an_error_and_so_is_no_answer_in_time() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut options = OpenAiOptions::new(format!("http://{closed}/v1"), "small");
    options.first_pause = Duration::from_millis(1);
    let error = OpenAiEmbedder::new(options).unwrap().embed(&["one"]).unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:") && error.contains("tried 6 times"), "{error}");

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = OpenAiOptions::new(format!("http://{}/v1", silent.local_addr().unwrap()), "small");
    options.first_pause = Duration::from_millis(1);
    options.timeout = Duration::from_millis(20);
    let error = OpenAiEmbedder::new(options).unwrap().embed(&["one"]).unwrap_err().to_string();
    assert!(error.contains("timeout") && error.contains("tried 6 times"), "{error}");
}

#[test]
fn an_address_that_cannot_be_or_betrays_the_key_is_refused() {
    let check = |url: &str, key: bool, expected: Option<&str>| {
        let mut options = OpenAiOptions::new(url, "small");
        options.api_key = key.then(|| "sk-of-a-test".to_owned().into());
        match (OpenAiEmbedder::new(options), expected) {
            (Ok(embedder), None) => assert!(!embedder.host().is_empty()),
            (Err(error), Some(expected)) => assert!(error.to_string().contains(expected), "{url}: {error}"),
            (found, _) => panic!("{url}: {found:?}"),
        }
    };
    check("https://api.openai.com/v1", true, None);
    check("http://localhost:11434/v1", true, None);
    check("http://[::1]:8080", true, None);
    check("http://embeddings.lan/v1", false, None);
    check("http://embeddings.lan/v1", true, Some("would send the key in the clear; write https"));
    check("ftp://api.openai.com", false, Some("begins neither with https://"));
    check("api.openai.com/v1", false, Some("base_url 'api.openai.com/v1'"));
    check("https:///v1", false, Some("base_url 'https:///v1'"));
    check(
        "https://user:secret@api.openai.com/v1",
        false,
        Some("'https://***@api.openai.com/v1' holds a user's name"),
    );
    check("https://api.openai.com/v1?x=1", false, Some("holds a query"));
    let new = |change: fn(&mut OpenAiOptions)| {
        let mut options = OpenAiOptions::new("https://api.openai.com/v1", "small");
        change(&mut options);
        OpenAiEmbedder::new(options).unwrap_err()
    };
    assert_eq!(new(|options| options.model = " ".to_owned()), OptionsError::Model);
    assert_eq!(new(|options| options.api_key = Some("two\nlines".to_owned().into())), OptionsError::Key);
    assert_eq!(new(|options| options.dimensions = Some(0)), OptionsError::Dimensions(0));
}
