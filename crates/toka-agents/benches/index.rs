//! Indexing a folder through the whole runtime: walk, governed reads, decoding, chunking, durable commits. Against
//! reading and hashing the same files, both with the files in the page cache.

#[path = "../../../benches/harness.rs"]
mod harness;

use std::path::Path;
use std::time::Instant;

use toka_runtime::config::{AgentConfig, VaultConfig};
use toka_runtime::{Runtime, RuntimeConfig};

const FILES: usize = 2_000;
const PARAGRAPHS: usize = 12;

/// Words enough that paragraphs differ; the numbers among them keep any two from being equal.
const WORDS: [&str; 24] = [
    "vault", "ledger", "river", "compiler", "garden", "signal", "proof", "kernel", "harbour", "budget",
    "lantern", "segment", "orchard", "digest", "window", "copper", "journal", "meadow", "thread", "anchor",
    "recipe", "engine", "valley", "token",
];

/// Writes the folder and says how many bytes are in it.
fn write_folder(folder: &Path) -> usize {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        // xorshift64: Marsaglia, "Xorshift RNGs", 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = 0;
    for file in 0..FILES {
        let mut text = format!("# Chapter {file}\n\n");
        for paragraph in 0..PARAGRAPHS {
            text.push_str(&format!("## Part {paragraph}\n\n"));
            for _ in 0..100 {
                text.push_str(WORDS[(next() % 24) as usize]);
                text.push(' ');
            }
            text.push_str(&format!("{}\n\n", next() % 1_000_000));
        }
        let shelf = folder.join(format!("shelf-{:02}", file % 40));
        std::fs::create_dir_all(&shelf).expect("a folder");
        std::fs::write(shelf.join(format!("{file}.md")), &text).expect("a file");
        bytes += text.len();
    }
    bytes
}

fn read_and_hash(folder: &Path) -> f64 {
    fn visit(folder: &Path, seen: &mut u64) {
        for entry in std::fs::read_dir(folder).expect("the folder opens") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                visit(&path, seen);
            } else {
                let digest = blake3::hash(&std::fs::read(&path).expect("the file opens"));
                *seen += u64::from(digest.as_bytes()[0]);
            }
        }
    }
    let (start, mut seen) = (Instant::now(), 0);
    visit(folder, &mut seen);
    assert!(seen > 0);
    start.elapsed().as_secs_f64()
}

fn index(executor: &tokio::runtime::Runtime, folder: &Path, vault: &Path) -> f64 {
    let agent = AgentConfig::new("IndexerAgent").option("scan_path", folder.to_str().expect("a plain path"));
    let vault = Some(VaultConfig::new(vault));
    let config = RuntimeConfig { vault, ..RuntimeConfig::default() }.agent(agent);
    let start = Instant::now();
    executor.block_on(async {
        let runtime = Runtime::builder(config).once(true).build().await.expect("a runtime");
        runtime.run().await.expect("the folder is indexed");
    });
    start.elapsed().as_secs_f64()
}

fn main() {
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("an executor");
    let bench = harness::Bench::new("index");
    let folder = bench.directory().join("folder");
    let vault = bench.directory().join("vault");
    let megabytes = write_folder(&folder) as f64 / 1e6;
    let ours = || {
        let seconds = index(&executor, &folder, &vault);
        std::fs::remove_dir_all(&vault).expect("the vault was made");
        megabytes / seconds
    };
    let (ours, baseline) = bench.interleave(ours, || megabytes / read_and_hash(&folder));
    bench.line("folder", "MB/s", ours, Some((baseline, "read + BLAKE3 of the same files")));
}
