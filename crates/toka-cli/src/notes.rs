//! Standard error: logs, progress and remarks.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anstream::AutoStream;
use indicatif::{ProgressBar, ProgressDrawTarget};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::args::Global;
use crate::failure::Failure;
use crate::output::{HINT, WARN};

/// Standard error. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Notes {
    quiet: bool,
    json: bool,
    bar: Arc<Mutex<Option<ProgressBar>>>,
}

/// What is logged unless something else is said.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chatter {
    /// What looks at a vault warns.
    Looking,
    /// What runs agents says what they log.
    Running,
}

impl Notes {
    pub(crate) fn new(global: &Global) -> Self {
        Self { quiet: global.quiet, json: global.json, bar: Arc::default() }
    }

    /// Sends what is logged to standard error from now on.
    pub(crate) fn log(&self, global: &Global, chatter: Chatter) -> Result<(), Failure> {
        let usual = match (global.quiet, global.verbose, chatter) {
            (true, _, _) => "error",
            (_, true, _) => "warn,toka=debug",
            (_, _, Chatter::Looking) => "warn",
            (_, _, Chatter::Running) => "warn,toka=info",
        };
        let said = std::env::var("TOKA_LOG").ok().filter(|text| !text.is_empty());
        let filter = EnvFilter::try_new(said.as_deref().unwrap_or(usual)).map_err(|error| {
            Failure::usage(format!("TOKA_LOG is no filter: {error}"))
                .hint("as in TOKA_LOG=warn,toka_runtime=debug")
        })?;
        let ansi = AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
        let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(self.clone());
        let format = std::env::var("TOKA_LOG_FORMAT").ok();
        match format.as_deref().unwrap_or_default() {
            // There is one logger in this process, and this is where it is made.
            "" | "text" => logger.with_ansi(ansi).with_target(false).without_time().init(),
            "json" => logger.json().init(),
            other => {
                return Err(
                    Failure::usage(format!("TOKA_LOG_FORMAT is '{other}'")).hint("it may be text or json")
                );
            }
        }
        Ok(())
    }

    /// Says something that people may want to know.
    pub(crate) fn say(&self, text: impl Display) {
        if !self.quiet {
            self.print(format_args!("{text}\n"));
        }
    }

    /// Says that something is not as it should be.
    pub(crate) fn warn(&self, text: impl Display) {
        self.say(format_args!("{WARN}warning:{WARN:#} {text}"));
    }

    /// Says what may be done next.
    pub(crate) fn hint(&self, text: impl Display) {
        self.say(format_args!("{HINT}hint:{HINT:#} {text}"));
    }

    fn print(&self, text: impl Display) {
        let text = text.to_string();
        // If nobody reads what is said, the work goes on all the same.
        let _ = self.beside_the_bar(|| anstream::stderr().lock().write_all(text.as_bytes()));
    }

    /// Shows progress where somebody watches it; otherwise it is a bar that nobody sees.
    pub(crate) fn progress(&self) -> ProgressBar {
        let watched = !self.quiet && !self.json && io::stderr().is_terminal();
        let target = if watched { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        bar
    }

    fn beside_the_bar<R>(&self, print: impl FnOnce() -> R) -> R {
        let bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match bar {
            Some(bar) if !bar.is_finished() => bar.suspend(print),
            _ => print(),
        }
    }
}

impl Write for Notes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.beside_the_bar(|| io::stderr().lock().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for Notes {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
