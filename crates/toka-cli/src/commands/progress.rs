//! How far the indexers are, while they work and when they are done.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use toka_agents::embedder::{EmbedReport, EmbedSnapshot};
use toka_agents::indexer::{IndexReport, IndexSnapshot, Phase};
use toka_types::path::for_terminal;
use toka_vault::search::SearchReader;

use crate::context::Context;
use crate::failure::Stop;
use crate::output::{DIM, STRONG, bytes, grouped};
use crate::paths::friendly;

/// How often progress is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(100);
/// Terms of an intent that make a query to try.
const QUERY_TERMS: usize = 2;

/// The reports of the indexers of this run, and of its embedder.
#[derive(Clone, Default)]
pub(crate) struct Reports(Arc<Mutex<Vec<Arc<IndexReport>>>>, Arc<Mutex<Option<Arc<EmbedReport>>>>);

/// What the indexers of a run did, together.
#[derive(Serialize)]
pub(crate) struct Summary {
    v: u32,
    files: u64,
    chunks: u64,
    unchanged: u64,
    moved: u64,
    removed: u64,
    skipped: BTreeMap<String, u64>,
    denied: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    vectors: Option<u64>,
    ms: u64,
}

impl Reports {
    pub(crate) fn add(&self, report: Arc<IndexReport>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(report);
    }

    pub(crate) fn embeds(&self, report: Arc<EmbedReport>) {
        *self.1.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
    }

    fn embedded(&self) -> Option<EmbedSnapshot> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|report| report.snapshot())
    }

    fn snapshots(&self) -> Vec<IndexSnapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|report| report.snapshot()).collect()
    }

    /// True if every indexer has been through its folder; false if there is none.
    pub(crate) fn are_through(&self) -> bool {
        let snapshots = self.snapshots();
        !snapshots.is_empty() && snapshots.iter().all(|s| matches!(s.phase, Phase::Watching | Phase::Ended))
    }

    /// What was done so far.
    pub(crate) fn summary(&self, since: Instant) -> Summary {
        let mut sum = Summary {
            v: 1,
            files: 0,
            chunks: 0,
            unchanged: 0,
            moved: 0,
            removed: 0,
            skipped: BTreeMap::new(),
            denied: 0,
            bytes: 0,
            vectors: self.embedded().map(|embedded| embedded.recorded),
            ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        for snapshot in self.snapshots() {
            sum.files += snapshot.files;
            sum.chunks += snapshot.chunks;
            sum.unchanged += snapshot.unchanged;
            sum.moved += snapshot.moved;
            sum.removed += snapshot.removed;
            sum.denied += snapshot.denied;
            sum.bytes += snapshot.bytes;
            for (reason, count) in snapshot.skipped {
                *sum.skipped.entry(reason).or_default() += count;
            }
        }
        sum
    }

    /// Moves the bar to where the indexers are.
    pub(crate) fn show(&self, bar: &ProgressBar) {
        let snapshots = self.snapshots();
        let found: u64 = snapshots.iter().map(|s| s.total_files_found).sum();
        let dealt: u64 = snapshots.iter().map(|s| s.dealt_with).sum();
        let message = match snapshots
            .iter()
            .map(|s| s.phase)
            .find(|phase| !matches!(phase, Phase::Watching | Phase::Ended))
        {
            Some(Phase::Recalling) => "recalling",
            Some(Phase::Listing) => "listing",
            Some(Phase::Reading) => "reading",
            Some(_) => "starting",
            None => match self.embedded().filter(|embedded| embedded.waiting > 0) {
                Some(EmbedSnapshot { recorded, waiting, .. }) => {
                    return show(bar, "making vectors", recorded + waiting, recorded);
                }
                None => "saving the index",
            },
        };
        show(bar, message, found, dealt);
    }
}

/// Moves the bar; without a known end it only turns.
fn show(bar: &ProgressBar, message: &'static str, all: u64, done: u64) {
    let template =
        if all == 0 { "{spinner} {msg}" } else { "{spinner} {msg} {wide_bar} {human_pos}/{human_len} {eta}" };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(message);
    bar.set_length(all);
    bar.set_position(done);
    bar.tick();
}

impl Summary {
    /// Text of the summary, a line each.
    pub(crate) fn lines(&self, vault: &Path) -> Vec<String> {
        let seconds = Duration::from_millis(self.ms).as_secs_f64();
        let (files, chunks) = (grouped(self.files), grouped(self.chunks));
        let mut lines = vec![format!(
            "{STRONG}{files} {} indexed{STRONG:#} in {chunks} {}, {} read, {seconds:.1} s",
            noun(self.files, "file"),
            noun(self.chunks, "passage"),
            bytes(self.bytes)
        )];
        let mut pair = |name: &str, value: String| lines.push(format!("  {DIM}{name:9}{DIM:#}  {value}"));
        pair("unchanged", grouped(self.unchanged));
        if self.moved > 0 {
            pair("moved", grouped(self.moved));
        }
        if self.removed > 0 {
            pair("removed", grouped(self.removed));
        }
        if !self.skipped.is_empty() {
            let reasons = self.skipped.iter().map(|(reason, count)| format!("{} {reason}", grouped(*count)));
            pair("skipped", reasons.collect::<Vec<_>>().join(", "));
        }
        if let Some(vectors) = self.vectors {
            pair("vectors", grouped(vectors));
        }
        if self.denied > 0 {
            pair("denied", format!("{} outside the grant", grouped(self.denied)));
        }
        pair("vault", friendly(vault));
        lines
    }
}

fn noun(count: u64, one: &str) -> String {
    if count == 1 { one.to_owned() } else { format!("{one}s") }
}

/// A command that shows what the index can do: it asks for what most of the texts are about.
pub(crate) fn next_command(context: &Context, vault: &Path) -> String {
    let reader = SearchReader::open(&toka_runtime::search::directory(vault));
    let intents = reader.and_then(|reader| reader.intents()).unwrap_or_default();
    let largest = intents.list().iter().max_by_key(|intent| intent.events);
    let terms =
        largest.map(|intent| intent.terms.iter().take(QUERY_TERMS).cloned().collect::<Vec<_>>().join(" "));
    let query = terms.filter(|terms| !terms.is_empty()).unwrap_or_else(|| "what you look for".to_owned());
    let vault = match context.vault_found() {
        Some(found) if same(&found, vault) => String::new(),
        _ => format!(" --vault '{}'", vault.display().to_string().replace('\'', r"'\''")),
    };
    for_terminal(&format!("toka search \"{}\"{vault}", query.replace(['"', '\\', '$', '`'], "")))
}

fn same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// Prints the summary of a run that is over.
pub(crate) fn print(context: &mut Context, summary: &Summary, vault: &Path) -> Result<(), Stop> {
    if context.out.json {
        return context.out.object(summary);
    }
    for line in summary.lines(vault) {
        context.out.line(line)?;
    }
    context.out.line(format_args!("  {DIM}next{DIM:#}       {}", next_command(context, vault)))
}
