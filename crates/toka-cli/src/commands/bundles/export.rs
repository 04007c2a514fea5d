//! `toka vault export`.

use std::cell::Cell;

use serde::Serialize;
use toka_types::{EntityId, EventHeader, EventId, Label};
use toka_vault::bundle::{Choice, Exported, Range, Sealed};
use toka_vault::core::Filter;
use toka_vault::seal::{self, Locked, SealingError};
use toka_vault::{LogId, StoreError};

use crate::args::ExportArgs;
use crate::commands::proofs::{proof_failure, sign_head};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome, Stop};
use crate::keys::Need;
use crate::look::Look;
use crate::output::{bytes, grouped};

#[derive(Serialize)]
struct ExportView {
    v: u32,
    file: String,
    log: String,
    from: u64,
    to: u64,
    events: u64,
    contents: u64,
    gone: u64,
    /// Of a sealed vault: how many of the contents everybody can read.
    disclosed: Option<u64>,
    root: String,
    origin: Option<String>,
    key: Option<String>,
    bytes: u64,
}

/// Which events an option means.
struct Selector<'a> {
    text: &'a str,
    means: Means,
    /// True once there was such an event.
    met: Cell<bool>,
}

enum Means {
    /// By kind, author or label.
    Filter(Box<Filter>),
    /// One of them, by the beginning of its id.
    Named(String),
    Event(EventId),
}

pub(crate) fn export(context: &mut Context, asked: &ExportArgs) -> Outcome {
    let mut redacted =
        asked.redact.iter().map(|text| Selector::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let kept = Filter { kinds: asked.kind.clone(), ..Filter::default() };
    let look = if asked.disclose { Look::open_content(context, Need::Must)? } else { Look::open(context)? };
    if look.bundle.is_some() {
        return Err(Failure::usage(format!("{} is a bundle already", look.name()))
            .hint("export from the vault that it came from, or import it first")
            .into());
    }
    // What cannot be found cannot be left out.
    redacted.iter_mut().try_for_each(|selector| selector.find(&look))?;
    let head = look.head()?.next_seq;
    let end = asked.to.map_or(Ok(head), |to| {
        let end = to.checked_add(1).filter(|end| *end <= head);
        end.ok_or_else(|| {
            Failure::usage(format!("the log has no event {to}")).hint(match head {
                0 => "it has none at all".to_owned(),
                _ => format!("its last one is {}", head - 1),
            })
        })
    })?;
    if asked.from >= end {
        return Err(Failure::usage(format!("there is no event from {} on to be exported", asked.from))
            .hint(format!(
                "--from is the first event's number, --to the last one's; the log has {head} events"
            ))
            .into());
    }
    let signed = match asked.unsigned {
        true => None,
        false => Some(sign_head(context, &look, &look.log, asked.origin.as_deref())?),
    };
    let kind_met = Cell::new(asked.kind.is_empty());
    let choose = |header: &EventHeader| {
        kind_met.set(kind_met.get() || kept.matches(header));
        // Each is asked, since each takes note.
        let redacting = redacted.iter().filter(|selector| selector.means(header)).count();
        match () {
            () if redacting > 0 => Choice::Redact,
            () if kept.matches(header) => Choice::Keep,
            () => Choice::Leave,
        }
    };
    if let Some(keyring) = look.keyring().filter(|_| asked.disclose) {
        let erased = seal::erased_in(&look.store, &LogId::main())?;
        if erased.iter().any(|key| keyring.has(*key)) {
            return Err(Failure::sealed(
                "the keys are older than an erasure, and still open what was erased",
            )
            .hint("`toka vault rotate` and the next `toka up` destroy those keys again")
            .into());
        }
    }
    let locked = Locked::look(&look.path).map_err(StoreError::from)?;
    let sealed = match look.store.sealed()? {
        None if asked.disclose => {
            return Err(StoreError::from(SealingError::NotSealed { vault: look.path }).into());
        }
        None => None,
        Some(_) => Some(look.keyring().map_or(Sealed::Kept(&locked), Sealed::Disclosed)),
    };
    let range = Range { from: asked.from, end: Some(end) };
    let note = signed.as_ref().map(|signed| &signed.note);
    let exported =
        toka_vault::bundle::export(&*look.store, &look.log, range, choose, sealed, note, &asked.file);
    let Exported { description, events, disclosed, bytes: size } = exported.map_err(proof_failure)?;
    if !kind_met.get() {
        context.notes.warn("--kind selects none of these events: all content is left out");
    }
    for selector in redacted.iter().filter(|selector| !selector.met.get()) {
        let text = toka_types::path::for_terminal(selector.text);
        context.notes.warn(format_args!("--redact {text} selects none of these events"));
    }
    let view = ExportView {
        v: 1,
        file: asked.file.to_string_lossy().into_owned(),
        log: description.log,
        from: description.from,
        to: description.end - 1,
        events,
        contents: description.contents,
        gone: description.gone,
        disclosed: description.keys.map(|_| disclosed),
        root: description.root,
        origin: signed.as_ref().map(|signed| signed.checkpoint.origin.clone()),
        key: signed.as_ref().map(|signed| signed.key.to_string()),
        bytes: size,
    };
    if context.out.json {
        context.out.object(&view)?;
        return Ok(Exit::OK);
    }
    let sealed = match view.disclosed {
        None => String::new(),
        Some(disclosed) => format!(", {} of them sealed", grouped(view.contents - disclosed)),
    };
    context.out.pairs(&[
        ("bundle", toka_types::path::for_terminal(&view.file)),
        ("events", format!("{}, {} to {}", grouped(events), view.from, view.to)),
        ("contents", format!("{}{sealed}, {} left out", grouped(view.contents), grouped(view.gone))),
        ("root", view.root),
        ("key", view.key.unwrap_or_else(|| "–".to_owned())),
        ("bytes", bytes(size)),
    ])?;
    context.notes.hint("`toka verify --vault FILE` checks it; give its reader the key");
    Ok(Exit::OK)
}

impl<'a> Selector<'a> {
    /// `KIND`, `author:NAME`, `label:LABEL` or `event:ID`. No kind has a colon.
    fn parse(text: &'a str) -> Result<Self, Failure> {
        let selector = |means| Self { text, means, met: Cell::new(false) };
        let filter = match text.split_once(':') {
            None if text.is_empty() => {
                return Err(
                    Failure::usage("nothing is named to be redacted").hint("as in --redact file.chunk")
                );
            }
            None => Filter { kinds: vec![text.to_owned()], ..Filter::default() },
            Some(("author", name)) => {
                let author = name.parse().unwrap_or_else(|_| EntityId::named(name));
                Filter { author: Some(author), ..Filter::default() }
            }
            Some(("label", label)) => {
                let label = Label::new(label).map_err(|error| Failure::usage(error.to_string()))?;
                Filter { label: Some(label), ..Filter::default() }
            }
            Some(("event", id)) => {
                crate::look::check_hex(id, 64, "an event")?;
                return Ok(selector(Means::Named(id.to_owned())));
            }
            Some((other, _)) => {
                return Err(Failure::usage(format!("'{other}:' selects nothing"))
                    .hint("a kind, author:NAME, label:LABEL or event:ID"));
            }
        };
        Ok(selector(Means::Filter(Box::new(filter))))
    }

    /// Looks up an event that is meant.
    fn find(&mut self, look: &Look) -> Result<(), Stop> {
        if let Means::Named(id) = &self.means {
            self.means = Means::Event(look.resolve(id)?.0);
        }
        Ok(())
    }

    fn means(&self, header: &EventHeader) -> bool {
        let means = match &self.means {
            Means::Filter(filter) => filter.matches(header),
            Means::Named(id) => header.id.to_string().starts_with(id),
            Means::Event(id) => header.id == *id,
        };
        self.met.set(self.met.get() || means);
        means
    }
}
