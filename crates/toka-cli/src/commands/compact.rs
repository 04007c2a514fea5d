//! `toka vault compact`.

use std::time::Instant;

use serde::Serialize;
use toka_kernel::Kernel;
use toka_runtime::clock::{Clock, SystemClock};
use toka_runtime::config::RetainRule;
use toka_runtime::retention::{Keeper, Needed};
use toka_runtime::search;
use toka_types::Timestamp;
use toka_vault::{Amount, Compaction, CompactionReport, Journal, LogId, Store};

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome, Stop};
use crate::look::fold;
use crate::output::{bytes, grouped};

/// Headers read at once.
const HEADERS: usize = 4096;

#[derive(Serialize)]
struct Compacted {
    v: u32,
    dry_run: bool,
    segments: u64,
    rewritten: u64,
    expired: AmountView,
    erased: AmountView,
    twice: AmountView,
    before: u64,
    after: u64,
    ms: u64,
}

/// Pieces of content and their bytes as stored.
#[derive(Serialize)]
pub(crate) struct AmountView {
    contents: u64,
    pub(crate) bytes: u64,
}

impl AmountView {
    pub(crate) fn any(&self) -> bool {
        self.contents > 0
    }
}

impl From<Amount> for AmountView {
    fn from(amount: Amount) -> Self {
        Self { contents: amount.contents, bytes: amount.bytes }
    }
}

pub(crate) fn compact(context: &mut Context, dry_run: bool) -> Outcome {
    let began = Instant::now();
    let rules = rules(context)?;
    let vault = context.vault_itself()?;
    let now = SystemClock.now();
    let report = if dry_run {
        let journal = Journal::open_read_only(&vault)?;
        journal.reclaimable(Some(&mut keeper(&journal, &rules, now)?), now)?
    } else {
        // A vault is not created here.
        drop(Journal::open_read_only(&vault)?);
        let (journal, _) = Journal::open(&vault)?;
        let mut keeper = keeper(&journal, &rules, now)?;
        let would = journal.reclaimable(Some(&mut keeper), now)?;
        if would.expired.contents > 0 {
            // What is derived from content that goes must not stay; the next run makes it anew.
            forget(&search::directory(&vault))?;
        }
        let mut keeper = self::keeper(&journal, &rules, now)?;
        let report = journal.compact(Some(&mut keeper), &Compaction::thorough(now))?;
        journal.close()?;
        report
    };
    print(context, &report, dry_run, began)?;
    if rules.is_empty() {
        context.notes.hint("content is kept for ever unless the configuration has rules: [vault] retain");
    } else if report.expired.contents > 0 && !dry_run {
        context.notes.hint("the search index is made anew by the next `toka up --once`");
    }
    Ok(Exit::OK)
}

/// The rules of the configuration.
pub(crate) fn rules(context: &Context) -> Result<Vec<RetainRule>, Failure> {
    let config = context.load(context.config_file().as_deref())?.config;
    Ok(config.vault.map(|vault| vault.retain).unwrap_or_default())
}

/// The rules as they apply to this vault at `now`.
pub(crate) fn keeper(journal: &Journal, rules: &[RetainRule], now: Timestamp) -> Result<Keeper, Stop> {
    let (mut kernel, mut next) = (Kernel::new(), 0);
    loop {
        let headers = journal.headers(&LogId::main(), next, HEADERS)?;
        for header in &headers {
            fold(&mut kernel, header)?;
        }
        match headers.last() {
            Some(last) => next = last.seq + 1,
            None => return Ok(Keeper::new(rules, Needed::by(kernel.world()), now)),
        }
    }
}

fn forget(directory: &std::path::Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::failed(format!("cannot remove {}: {error}", directory.display()))
                .hint("it holds what follows from content that is to be dropped; remove it and try again"))
        }
        _ => Ok(()),
    }
}

fn print(
    context: &mut Context,
    report: &CompactionReport,
    dry_run: bool,
    began: Instant,
) -> Result<(), Stop> {
    let &CompactionReport { segments, rewritten, expired, erased, twice, before, after, .. } = report;
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    if context.out.json {
        let (expired, erased, twice) = (expired.into(), erased.into(), twice.into());
        return context.out.object(&Compacted {
            v: 1,
            dry_run,
            segments,
            rewritten,
            expired,
            erased,
            twice,
            before,
            after,
            ms,
        });
    }
    let amount = |amount: Amount| format!("{}, {}", grouped(amount.contents), bytes(amount.bytes));
    context.out.pairs(&[
        (if dry_run { "would expire" } else { "expired" }, amount(expired)),
        ("erased", amount(erased)),
        ("stored twice", amount(twice)),
        ("segments", format!("{} of {}", grouped(rewritten), grouped(segments))),
        ("journal", format!("{} → {}", bytes(before), bytes(after))),
    ])
}
