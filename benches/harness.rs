// What every benchmark of this workspace shares: how long it runs, where its files lie, and the line it prints.
// It is included by path, so a target that uses a part of it leaves the rest unused.
#![allow(dead_code, reason = "each benchmark uses a part of this file")]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Rounds of ours and baseline in turn; the median counts.
pub fn rounds() -> usize {
    number("TOKA_BENCH_ROUNDS").map_or(5, |n| (n as usize).max(5))
}

/// How long one side of one round runs.
pub fn seconds(default: f64) -> Duration {
    Duration::from_secs_f64(number("TOKA_BENCH_SECONDS").unwrap_or(default))
}

fn number(name: &str) -> Option<f64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A new folder for a benchmark's files, below `TOKA_BENCH_DIR` or the build's own folder. Removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let base = std::env::var_os("TOKA_BENCH_DIR").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
        std::fs::create_dir_all(&base).expect("the folder for benchmarks can be made");
        let base = base.canonicalize().expect("the folder for benchmarks is there");
        assert!(
            file_system(&base) != "tmpfs",
            "{} lies on a tmpfs, where a sync costs nothing: set TOKA_BENCH_DIR to a folder on a disk",
            base.display()
        );
        let path = base.join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder for this benchmark can be made");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn file_system(path: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let holding = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (_, point, kind) = (fields.next()?, fields.next()?, fields.next()?);
        path.starts_with(point).then(|| (point.len(), kind.to_owned()))
    });
    holding.max().map(|(_, kind)| kind).unwrap_or_default()
}

/// A file of `bytes` zeros, synced, open for writing at its start: what a baseline appends to.
pub fn zero_filled(path: &Path, bytes: usize) -> File {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path).expect("a baseline's file");
    let zeros = vec![0; 1 << 20];
    for _ in 0..bytes.div_ceil(zeros.len()) {
        file.write_all(&zeros).expect("zeros fit on the disk");
    }
    file.sync_all().expect("the disk syncs");
    file
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints one figure as the line that `docs/cli.md` describes.
pub fn report(bench: &str, case: &str, unit: &str, ours: f64, baseline: Option<(f64, &str)>) {
    let (value, against, ratio) = match baseline {
        Some((value, against)) => (round(value), format!("\"{against}\""), round(ours / value)),
        None => ("null".into(), "null".into(), "null".into()),
    };
    let ours = round(ours);
    let line = format!(
        "{{\"bench\": \"{bench}\", \"case\": \"{case}\", \"unit\": \"{unit}\", \"ours\": {ours}, \"baseline\": {value}, \"against\": {against}, \"ratio\": {ratio}}}\n"
    );
    std::io::stdout().write_all(line.as_bytes()).expect("stdout takes the figure");
}

fn round(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}
