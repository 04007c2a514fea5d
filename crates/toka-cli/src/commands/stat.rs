//! `toka vault stat`.

use std::collections::BTreeMap;

use serde::Serialize;
use toka_runtime::clock::{Clock, SystemClock};
use toka_runtime::search;
use toka_types::Gone;
use toka_vault::{Journal, KindUsage};

use crate::commands::compact::{AmountView, keeper, rules};
use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::look::size_of;
use crate::output::{bytes, grouped};
use crate::record::reason;

#[derive(Serialize)]
struct Stat {
    v: u32,
    vault: String,
    events: u64,
    segments: u64,
    rewritten: u64,
    bytes: Bytes,
    saved: Saved,
    gone: u64,
    gone_by: BTreeMap<Gone, AmountView>,
    reclaimable: AmountView,
    kinds: Vec<KindView>,
}

#[derive(Serialize)]
struct Bytes {
    journal: u64,
    framing: u64,
    headers: u64,
    content: u64,
    index: u64,
    projections: u64,
}

#[derive(Serialize)]
struct Saved {
    deduplicated: u64,
    compressed: u64,
}

#[derive(Serialize)]
struct KindView {
    kind: String,
    events: u64,
    headers: u64,
    named: u64,
    content: u64,
    deduplicated: u64,
    compressed: u64,
    gone: u64,
}

impl KindView {
    fn new(kind: String, usage: KindUsage) -> Self {
        let KindUsage { events, headers, named, stored, deduplicated, compressed, gone } = usage;
        Self { kind, events, headers, named, content: stored, deduplicated, compressed, gone }
    }
}

pub(crate) fn stat(context: &mut Context) -> Outcome {
    let rules = rules(context)?;
    let path = context.vault_itself()?;
    let journal = Journal::open_read_only(&path)?;
    let now = SystemClock.now();
    let usage = journal.usage()?;
    let would = journal.reclaimable(Some(&mut keeper(&journal, &rules, now)?), now)?;
    let total = usage.total();
    let mut reclaimable = would.expired;
    reclaimable += would.erased;
    reclaimable += would.twice;
    let stat = Stat {
        v: 1,
        vault: path.canonicalize().unwrap_or_else(|_| path.clone()).to_string_lossy().into_owned(),
        events: total.events,
        segments: usage.segments,
        rewritten: usage.rewritten,
        bytes: Bytes {
            journal: usage.journal,
            framing: usage.framing,
            headers: total.headers,
            content: total.stored,
            index: size_of(&path.join("index")),
            projections: size_of(&search::directory(&path)),
        },
        saved: Saved { deduplicated: total.deduplicated, compressed: total.compressed },
        gone: total.gone,
        gone_by: usage.gone.into_iter().map(|(why, amount)| (why, amount.into())).collect(),
        reclaimable: reclaimable.into(),
        kinds: usage.kinds.into_iter().map(|(kind, usage)| KindView::new(kind, usage)).collect(),
    };
    if context.out.json {
        context.out.object(&stat)?;
        return Ok(Exit::OK);
    }
    let rows = stat.kinds.iter().map(|kind| {
        let size = |count: u64| if count == 0 { "–".to_owned() } else { bytes(count) };
        vec![
            kind.kind.clone(),
            grouped(kind.events),
            size(kind.headers),
            size(kind.content),
            size(kind.deduplicated + kind.compressed),
            size(kind.gone),
        ]
    });
    let rows: Vec<_> = rows.collect();
    context.out.table(&["KIND", "EVENTS", "HEADERS", "CONTENT", "SAVED", "GONE"], rows)?;
    let Stat { bytes: size, saved, .. } = &stat;
    let by = stat.gone_by.iter().map(|(why, amount)| format!("{} {}", bytes(amount.bytes), reason(*why)));
    let by = by.collect::<Vec<_>>().join(", ");
    let by = if by.is_empty() { by } else { format!(": {by}") };
    context.out.pairs(&[
        (
            "journal",
            format!(
                "{} in {} segments: {} headers, {} content, {} framing",
                bytes(size.journal),
                grouped(stat.segments),
                bytes(size.headers),
                bytes(size.content),
                bytes(size.framing)
            ),
        ),
        ("saved", format!("{} shared, {} compressed", bytes(saved.deduplicated), bytes(saved.compressed))),
        ("gone", format!("{}{by}", bytes(stat.gone))),
        ("reclaimable", bytes(reclaimable.bytes)),
        ("indexes", bytes(size.index)),
        ("projections", bytes(size.projections)),
    ])?;
    if stat.reclaimable.any() {
        context.notes.hint("`toka vault compact` drops what is reclaimable");
    }
    Ok(Exit::OK)
}
