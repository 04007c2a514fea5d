//! One request over HTTP.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde::Deserialize;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue, RETRY_AFTER};
use ureq::http::{Response, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};
use zeroize::Zeroizing;

use super::{OpenAiOptions, OptionsError};

/// Most bytes of an answer: a full batch of the largest vectors, each number at its longest.
const MAX_ANSWER: u64 = 64 << 20;
/// Most bytes of an error's text that are read, and most characters that are shown.
const MAX_ERROR: u64 = 64 << 10;
const SHOWN: usize = 300;

/// Why a request was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// The service will not answer it, or nothing that could be understood.
    Refused(String),
    /// It may answer another time.
    Later {
        /// What happened.
        reason: String,
        /// How long the service asks to wait.
        after: Option<Duration>,
    },
}

#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    url: String,
    /// The address without the scheme.
    address: String,
    host: String,
    key: Option<Key>,
}

/// The key, and the header that carries it.
struct Key {
    text: Zeroizing<String>,
    header: HeaderValue,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(***)")
    }
}

impl Client {
    pub(super) fn new(options: &OpenAiOptions) -> Result<Self, OptionsError> {
        let base = options.base_url.trim().trim_end_matches('/');
        let wrong = |problem| OptionsError::Url { url: without_userinfo(base), problem };
        let uri: Uri = base.parse().map_err(|_| wrong("is no address"))?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("names no host"))?;
        let is_here = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
        match uri.scheme_str() {
            Some("https") => {}
            // A key sent in the clear is anybody's.
            Some("http") if options.api_key.is_none() || is_here => {}
            Some("http") => return Err(wrong("would send the key in the clear; write https")),
            _ => return Err(wrong("begins neither with https:// nor with http://")),
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(wrong("holds a user's name; give the key as api_key"));
        }
        if uri.query().is_some() {
            return Err(wrong("holds a query; only the path before /embeddings can be given"));
        }
        let key = match &options.api_key {
            None => None,
            Some(text) => {
                let bearer = Zeroizing::new(format!("Bearer {}", text.as_str()));
                let mut header = HeaderValue::from_str(&bearer).map_err(|_| OptionsError::Key)?;
                header.set_sensitive(true);
                Some(Key { text: text.clone(), header })
            }
        };
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder();
        // What runs on this machine is reached without the proxy that leads out of it.
        let config = if is_here { config.proxy(None) } else { config };
        let agent = config
            .tls_config(tls)
            .http_status_as_error(false)
            // Where the texts go is what was configured, and no other place.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(options.timeout))
            .user_agent(concat!("toka/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let address = base.split_once("://").map_or(base, |(_, address)| address).to_owned();
        Ok(Self { agent, url: format!("{base}/embeddings"), address, host: host.to_owned(), key })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Sends one request; the body of a good answer.
    pub(super) fn post(&self, body: &[u8]) -> Result<Vec<u8>, Attempt> {
        let mut request = self.agent.post(&self.url).header(CONTENT_TYPE, "application/json");
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key.header.clone());
        }
        let mut response = request.send(body).map_err(|error| self.failed(&error))?;
        let status = response.status();
        if status.is_success() {
            let read = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
            return read.map_err(|error| self.failed(&error));
        }
        let reason = format!("{} answered {}{}", self.host, status.as_u16(), self.words_of(&mut response));
        let again = status.is_server_error() || [408, 425, 429].contains(&status.as_u16());
        Err(if again { Attempt::Later { reason, after: pause(&response) } } else { Attempt::Refused(reason) })
    }

    fn failed(&self, error: &ureq::Error) -> Attempt {
        let reason = format!("{}: {error}", self.host);
        match error {
            ureq::Error::Io(_)
            | ureq::Error::Timeout(_)
            | ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Protocol(_) => Attempt::Later { reason, after: None },
            _ => Attempt::Refused(reason),
        }
    }

    /// What an error's body says. It is another's text: its control characters are left out, and the key if it is in it.
    fn words_of(&self, response: &mut Response<Body>) -> String {
        #[derive(Deserialize)]
        struct Outer {
            error: Inner,
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Inner {
            Object { message: String },
            Text(String),
        }
        let Ok(body) = response.body_mut().with_config().limit(MAX_ERROR).lossy_utf8(true).read_to_string()
        else {
            return String::new();
        };
        let mut words = match serde_json::from_str(&body) {
            Ok(Outer { error: Inner::Object { message } | Inner::Text(message) }) => message,
            Err(_) => body,
        };
        if let Some(key) = self.key.as_ref().filter(|key| !key.text.is_empty()) {
            words = words.replace(key.text.as_str(), "***");
        }
        let shown = words.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
        let shown: String = shown.take(SHOWN).collect();
        if shown.is_empty() { shown } else { format!(": {shown}") }
    }
}

/// How long the service asks to wait: seconds, or until a date. What is neither, or a date that is not ahead, leaves the
/// pause as it is.
fn pause(response: &Response<Body>) -> Option<Duration> {
    let text = |name| response.headers().get(name)?.to_str().ok().map(str::trim);
    let asked = text(RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = rfc2822::parse(asked).ok()?.timestamp();
    // Its own clock is what the service means.
    let now = text(DATE).and_then(|date| rfc2822::parse(date).ok());
    let now = now.map_or_else(Timestamp::now, |date| date.timestamp());
    Duration::try_from(until.duration_since(now)).ok().filter(|wait| !wait.is_zero())
}

/// An address as it may be shown: what stands before an `@` may be a password.
fn without_userinfo(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}***{}", &url[..scheme + 3], &url[at..]),
        _ => url.to_owned(),
    }
}
