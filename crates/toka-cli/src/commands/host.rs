//! `toka up` and `toka run`: agents at work on a vault.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use toka_agents::embedder::{EmbedTool, Maker};
use toka_agents::indexer::folder::Kept;
use toka_runtime::behaviour::kept;
use toka_runtime::config::{AgentConfig, RuntimeConfig, SearchEngine, VaultConfig};
use toka_runtime::runtime::Builder;
use toka_runtime::search::{self, SearchProjection};
use toka_runtime::{Ended, Runtime, RuntimeError, WhenAsked, WhenFull};
use toka_types::Name;
use toka_types::Seal;
use toka_types::path::for_terminal;
use toka_vault::StoreError;
use toka_vault::seal::{Key, Keyring};

use crate::commands::progress::{self, LOOK, Reports};
use toka_vault::snapshot::Snapshots;

use crate::context::{Context, absolute, operator_state, snapshot_key, working_directory};
use crate::engine;
use crate::failure::{Exit, Failure, Outcome, Stop};
use crate::keys::{self, Need};
use crate::notes::Notes;
use crate::paths::friendly;
use crate::signals::Signals;

/// The behaviour that indexes a folder, and the name of the agent that `up` gives it to.
const INDEXER: &str = "IndexerAgent";
/// The behaviour that makes vectors of passages where an embedder is configured, and the name of its agent.
const EMBEDDER: &str = "EmbedderAgent";
/// How often a run that watches looks whether its agent has failed.
const PROBLEM_LOOK: Duration = Duration::from_secs(1);

pub(crate) fn up(context: &mut Context, folder: Option<&Path>, once: bool) -> Outcome {
    let began = Instant::now();
    let named = folder.is_some();
    let asked = folder.map_or_else(working_directory, absolute)?;
    let folder = existing_folder(&asked, None)?;
    let text = folder.to_str().ok_or_else(|| {
        Failure::usage(format!("the folder's path {} is not UTF-8", friendly(&folder)))
            .hint("rename it, or reach it by another path")
    })?;
    let mut config = context.load(context.config_file().as_deref())?.config;
    let vault = context.vault_to_write(config.vault.as_ref().and_then(|vault| vault.path.as_deref()))?;
    let key = keys::key_of(context, &vault, Need::Must)?;
    let keyring = match &key {
        Some(key) => Some(Keyring::open_read_only(&vault, key).map_err(StoreError::from)?),
        None => None,
    };
    let seal = keyring.map(|keyring| Arc::new(keyring) as Arc<dyn Seal>);
    let others = add_indexer(&mut config, text, named, &vault, seal.as_ref());
    context.notes.say(format_args!("indexing {} → {}", friendly(&folder), friendly(&vault)));
    for (name, other) in others {
        context.notes.say(format_args!("beside {}, which {name} keeps in this vault", friendly(&other)));
    }
    work(context, config, Job { vault, key, once, began, ends_with_its_agent: true })
}

pub(crate) fn run(context: &mut Context, file: &Path, once: bool) -> Outcome {
    let began = Instant::now();
    let config = context.load(Some(file))?.config;
    let vault = context.vault_to_write(config.vault.as_ref().and_then(|vault| vault.path.as_deref()))?;
    for agent in config.agents.iter().filter(|agent| agent.behaviour == INDEXER) {
        if let Some(folder) = agent.view().path("scan_path") {
            let place = agent.position.map(|at| format!("{}:{}:{}: ", file.display(), at.line, at.column));
            existing_folder(folder, place)?;
        }
    }
    let key = keys::key_of(context, &vault, Need::Must)?;
    context.notes.say(format_args!("running {} → {}", friendly(file), friendly(&vault)));
    work(context, config, Job { vault, key, once, began, ends_with_its_agent: false })
}

/// What is to be run.
struct Job {
    vault: PathBuf,
    /// What opens the vault, if it is sealed.
    key: Option<Key>,
    once: bool,
    began: Instant,
    /// Whether the run is over when an agent has failed, as nothing else is asked for.
    ends_with_its_agent: bool,
}

fn work(context: &mut Context, mut config: RuntimeConfig, job: Job) -> Outcome {
    let vault = config.vault.take().unwrap_or_else(|| VaultConfig::new(&job.vault));
    config.vault = Some(VaultConfig { path: Some(job.vault.clone()), ..vault });
    let state = operator_state()?;
    let folders: Vec<PathBuf> = config
        .agents
        .iter()
        .filter_map(|agent| agent.view().path("scan_path").map(Path::to_path_buf))
        .collect();
    if let Some(folder) = folders.iter().find(|folder| lies_within(folder, &job.vault)) {
        return Err(Failure::config(format!(
            "the folder {} lies within the vault {}, which is never indexed",
            friendly(folder),
            friendly(&job.vault)
        ))
        .hint("name another folder, or keep the vault elsewhere with --vault DIR")
        .into());
    }
    if context.global.no_input && config.approvals.when_asked != Some(WhenAsked::Deny) {
        config.approvals.when_asked = Some(WhenAsked::Fail);
    }
    let reports = Reports::default();
    let maker = crate::embedder::maker(&config.embedder)?;
    if maker.is_some() {
        config.agents.push(AgentConfig::new(EMBEDDER));
    }
    let secret = crate::scheme::secret_file(&config.tokens);
    let snapshots = Snapshots::keyed(search::directory(&job.vault), snapshot_key(&state)?);
    let projections = search::directory(&job.vault);
    let engine = engine::of(config.search.engine, &projections, job.key.is_some(), &context.notes);
    let mut builder =
        builder(config, &job, state, reports.clone(), engine).snapshots(snapshots).protect(secret);
    if let Some(maker) = maker.clone() {
        let reports = reports.clone();
        builder = builder.behaviour(EMBEDDER, move |_, _| {
            let (prepared, report) = toka_runtime::behaviour::embedder(maker.clone())?;
            reports.embeds(report);
            Ok(prepared)
        });
    }
    if let Some(key) = job.key.clone() {
        // What opens the vault is no agent's business, wherever it lies.
        let lies_at = match &key {
            Key::KeyFile(path) => Some(path.clone()),
            _ => keys::passphrase_file(),
        };
        builder = builder.protect(lies_at).key(key);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::failed(format!("cannot start threads: {e}")))?;
    let exit = runtime.block_on(host(context, builder, maker, &job, &reports, &folders));
    // All that was to be recorded is; what a thread still asks or computes is of no use to anybody.
    runtime.shutdown_background();
    let exit = exit?;
    if job.once && exit == Exit::OK {
        progress::print(context, &reports.summary(job.began), &job.vault)?;
    }
    Ok(exit)
}

fn builder(
    config: RuntimeConfig,
    job: &Job,
    state: PathBuf,
    reports: Reports,
    engine: SearchEngine,
) -> Builder {
    let projections = search::directory(&job.vault);
    let builder = Runtime::builder(config);
    #[cfg(feature = "search-tantivy")]
    let builder = match engine {
        SearchEngine::Tantivy => {
            let projections = projections.clone();
            builder.projection(move |log| search::TantivyProjection::open(&projections, log))
        }
        SearchEngine::Builtin => builder,
    };
    builder
        .once(job.once)
        .when_full(if job.once { WhenFull::Fail } else { WhenFull::Wait })
        .protect([state])
        .projection(move |log| {
            if engine == SearchEngine::Builtin {
                search::remove_tantivy(&projections);
            }
            SearchProjection::open(&projections, log)
        })
        .behaviour(INDEXER, move |agent, circumstances| {
            let (prepared, report) = toka_runtime::behaviour::indexer(agent, circumstances)?;
            reports.add(report);
            Ok(prepared)
        })
}

async fn host(
    context: &Context,
    builder: Builder,
    maker: Option<Maker>,
    job: &Job,
    reports: &Reports,
    folders: &[PathBuf],
) -> Outcome {
    let mut signals = Signals::new()?;
    let runtime = tokio::select! {
        built = builder.build() => built.map_err(explained)?,
        exit = signals.first() => return Ok(exit),
    };
    if let Some(Maker::There(service)) = maker {
        let tool = EmbedTool::new(service).map_err(|error| Failure::failed(error.to_string()))?;
        runtime.register_tool(tool).map_err(explained)?;
    }
    crate::scheme::accept(&runtime, &runtime.config().tokens)?;
    let control = runtime.listen(&job.vault).map_err(explained)?;
    let bar = context.notes.progress();
    let ended = tokio::select! {
        ended = runtime.run() => Some(ended),
        () = follow(context, reports, &bar, job) => None,
        () = failed(&runtime), if job.ends_with_its_agent && !job.once => None,
    };
    bar.finish_and_clear();
    drop(control);
    let ended = match ended {
        Some(ended) => ended.map_err(explained)?,
        None => {
            runtime.stop().await.map_err(explained)?;
            Ended::Idle
        }
    };
    let waiting = runtime.pending_approvals();
    if let Some(first) = waiting.first().filter(|_| ended == Ended::Idle) {
        let message = match waiting.len() {
            1 => format!("a call waits for a person's word ({})", first.short()),
            more => format!("{more} calls wait for a person's word"),
        };
        return Err(Failure::pending(message).into());
    }
    let problems = runtime.problems();
    if let Some(problem) = problems.last().filter(|_| ended == Ended::Idle) {
        return Err(because(problem, folders));
    }
    Ok(match ended {
        Ended::Idle | Ended::Terminated => Exit::OK,
        Ended::Interrupted => Exit::INTERRUPTED,
    })
}

/// Shows progress; when the folders have been gone through, says what was found. It has no end of its own.
async fn follow(context: &Context, reports: &Reports, bar: &ProgressBar, job: &Job) {
    while !reports.are_through() || job.once {
        reports.show(bar);
        tokio::time::sleep(LOOK).await;
    }
    bar.finish_and_clear();
    say(&context.notes, reports, job);
    std::future::pending().await
}

fn say(notes: &Notes, reports: &Reports, job: &Job) {
    for line in reports.summary(job.began).lines(&job.vault) {
        notes.say(line);
    }
    notes.say("watching for changes; Ctrl-C to stop");
}

/// Waits until an agent has ended with an error.
async fn failed(runtime: &Runtime) {
    while runtime.problems().is_empty() {
        tokio::time::sleep(PROBLEM_LOOK).await;
    }
}

/// The error of an agent that ended before its time.
fn because(problem: &str, folders: &[PathBuf]) -> Stop {
    let problem = for_terminal(problem);
    match folders.iter().find(|folder| !folder.is_dir()) {
        Some(gone) => Failure::absent(problem)
            .hint(format!("{} is not there any more; restore it, or name another folder", friendly(gone)))
            .into(),
        None => Failure::failed(problem)
            .hint("what was recorded is safe; run the same command again to go on")
            .into(),
    }
}

fn explained(error: RuntimeError) -> Stop {
    Failure::from(error).into()
}

/// True if the folder is the vault's directory or lies in it. One that is to be created holds nothing.
fn lies_within(folder: &Path, vault: &Path) -> bool {
    match (folder.canonicalize(), vault.canonicalize()) {
        (Ok(folder), Ok(vault)) => folder.starts_with(vault),
        _ => false,
    }
}

/// The folder without links and dots; an error if there is none.
fn existing_folder(folder: &Path, place: Option<String>) -> Result<PathBuf, Failure> {
    let place = place.unwrap_or_default();
    let absent = |what: &str| Failure::absent(format!("{place}{what} {}", folder.display()));
    match folder.canonicalize() {
        Ok(found) if found.is_dir() => Ok(found),
        Ok(_) => Err(Failure::absent(format!("{place}{} is no folder", folder.display()))
            .hint("name the folder that it lies in")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(absent("there is no folder").hint("create it, or name the folder to index"))
        }
        Err(error) => {
            Err(Failure::absent(format!("{place}cannot look at the folder {}: {error}", folder.display())))
        }
    }
}

/// Adds an agent that indexes `folder`, unless the configuration has one; `asked` says that this very folder was named.
/// Returns what other folders the vault has been given in the same way, and which agents keep them.
fn add_indexer(
    config: &mut RuntimeConfig,
    folder: &str,
    asked: bool,
    vault: &Path,
    seal: Option<&Arc<dyn Seal>>,
) -> Vec<(String, PathBuf)> {
    let indexers = config.agents.iter().filter(|agent| agent.behaviour == INDEXER);
    let folders: Vec<PathBuf> =
        indexers.filter_map(|agent| agent.view().path("scan_path").map(Path::to_path_buf)).collect();
    let there =
        folders.iter().any(|other| other.canonicalize().is_ok_and(|other| other == Path::new(folder)));
    if there || (!asked && !folders.is_empty()) {
        return Vec::new();
    }
    let taken = |name: &str| config.agents.iter().any(|agent| agent.name == name);
    let names = (1_u32..).map(|number| match number {
        1 => INDEXER.to_owned(),
        more => format!("{INDEXER}-{more}"),
    });
    let mut others = Vec::new();
    let mut free = None;
    for name in names.filter(|name| !taken(name)) {
        let kept = Name::new(&name).map_or(Kept::Nothing, |name| kept(vault, &name, Path::new(folder), seal));
        match kept {
            Kept::This => {
                free = Some(name);
                break;
            }
            Kept::Other(other) => others.push((name, other)),
            // Another one may have this very folder; the first that has none is where the numbers end.
            Kept::Like => free = free.or(Some(name)),
            Kept::Nothing => {
                free = free.or(Some(name));
                break;
            }
        }
    }
    let agent = AgentConfig::new(free.unwrap_or_else(|| INDEXER.to_owned()));
    config.agents.push(agent.behaves_as(INDEXER).option("scan_path", folder));
    others
}
