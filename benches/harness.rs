//! What every bench target shares: rounds, directories, medians, and the output line.
//!
//! A bench includes it with `#[path = "../../../benches/harness.rs"] mod harness;`.
#![allow(dead_code, unreachable_pub, reason = "each bench includes the file as a module and uses a part")]
#![allow(clippy::print_stdout, reason = "the figures are the output")]

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Rounds of which the median counts, unless `TOKA_BENCH_ROUNDS` says more.
const ROUNDS: usize = 5;
/// Seconds of one case, ours and baseline together, unless `TOKA_BENCH_SECONDS` says otherwise.
const SECONDS: f64 = 4.0;

/// How long and where a bench runs.
pub struct Bench {
    name: &'static str,
    rounds: usize,
    seconds: f64,
    directory: PathBuf,
}

/// A file that was filled with zeros and synced, to which bytes are appended with one write and one
/// `fdatasync` each time. At its end it begins anew.
pub struct PlainLog {
    file: File,
    path: PathBuf,
    size: u64,
    at: u64,
}

impl Bench {
    /// Reads the environment. Ends the process if the directory lies on a tmpfs, where a sync costs nothing.
    pub fn new(name: &'static str) -> Self {
        let number = |variable| std::env::var(variable).ok().and_then(|text| text.parse::<f64>().ok());
        let rounds = number("TOKA_BENCH_ROUNDS").map_or(ROUNDS, |rounds| rounds as usize).max(ROUNDS);
        let seconds = number("TOKA_BENCH_SECONDS").unwrap_or(SECONDS);
        let base = std::env::var_os("TOKA_BENCH_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
        let directory = base.join(format!("toka-bench-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("the bench directory can be made");
        if file_system(&directory).as_deref() == Some("tmpfs") {
            let _ = fs::remove_dir_all(&directory);
            eprintln!(
                "{} is a tmpfs, where a sync costs nothing; set TOKA_BENCH_DIR to a disk",
                base.display()
            );
            std::process::exit(2);
        }
        Self { name, rounds, seconds, directory }
    }

    /// True if the case was asked for: `cargo bench … -- CASE…` runs only those.
    pub fn wants(&self, case: &str) -> bool {
        let mut asked = std::env::args().skip(1).filter(|argument| argument != "--bench").peekable();
        asked.peek().is_none() || asked.any(|asked| asked == case)
    }

    /// A directory for the bench's files; removed with the bench.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// How long one side of one round runs.
    pub fn slice(&self) -> Duration {
        Duration::from_secs_f64(self.seconds / (2 * self.rounds) as f64)
    }

    /// Runs both sides in turn, after one round that does not count; the medians.
    pub fn interleave(&self, mut ours: impl FnMut() -> f64, mut baseline: impl FnMut() -> f64) -> (f64, f64) {
        ours();
        baseline();
        let mut figures = (Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            figures.0.push(ours());
            figures.1.push(baseline());
        }
        (median(&mut figures.0), median(&mut figures.1))
    }

    /// Runs all sides in turn, after one round that does not count; their medians.
    pub fn interleave_all(&self, sides: &mut [Box<dyn FnMut() -> f64 + '_>]) -> Vec<f64> {
        for side in sides.iter_mut() {
            side();
        }
        let mut figures = vec![Vec::new(); sides.len()];
        for _ in 0..self.rounds {
            for (side, figures) in sides.iter_mut().zip(&mut figures) {
                figures.push(side());
            }
        }
        figures.iter_mut().map(|figures| median(figures)).collect()
    }

    /// Runs one side; the median.
    pub fn alone(&self, mut ours: impl FnMut() -> f64) -> f64 {
        ours();
        median(&mut (0..self.rounds).map(|_| ours()).collect::<Vec<_>>())
    }

    /// Prints one figure.
    pub fn line(&self, case: &str, unit: &str, ours: f64, baseline: Option<(f64, &str)>) {
        let number = |value: f64| if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") };
        let (baseline, against, ratio) = baseline.map_or_else(
            || ("null".into(), "null".into(), "null".into()),
            |(figure, against)| (number(figure), format!("{against:?}"), format!("{:.2}", ours / figure)),
        );
        println!(
            "{{\"bench\": {:?}, \"case\": {case:?}, \"unit\": {unit:?}, \"ours\": {}, \"baseline\": {baseline}, \"against\": {against}, \"ratio\": {ratio}}}",
            self.name,
            number(ours)
        );
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl PlainLog {
    /// A file of `size` bytes in `directory`.
    pub fn new(directory: &Path, name: &str, size: u64) -> Self {
        let path = directory.join(name);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.expect("the bench file can be made");
        let zeros = vec![0; 1 << 20];
        for at in (0..size).step_by(zeros.len()) {
            let count = zeros.len().min((size - at) as usize);
            file.write_all_at(&zeros[..count], at).expect("the bench file can be filled");
        }
        file.sync_all().expect("the bench file can be synced");
        Self { file, path, size, at: 0 }
    }

    /// Writes `bytes` behind what was written before, durably.
    pub fn append(&mut self, bytes: &[u8]) {
        if self.at + bytes.len() as u64 > self.size {
            self.at = 0;
        }
        self.file.write_all_at(bytes, self.at).expect("the bench file can be written");
        self.file.sync_data().expect("the bench file can be synced");
        self.at += bytes.len() as u64;
    }
}

impl Drop for PlainLog {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// How many times a second `run` does its `units` while `slice` lasts.
pub fn rate(slice: Duration, units: u64, mut run: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut done = 0;
    while done == 0 || start.elapsed() < slice {
        run();
        done += units;
    }
    done as f64 / start.elapsed().as_secs_f64()
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The type of the file system on which `path` lies: the mount with the longest path above it.
fn file_system(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((PathBuf::from(fields.next()?), fields.next()?.to_owned()))
    });
    let above = mounts.filter(|(mount, _)| path.starts_with(mount));
    above.max_by_key(|(mount, _)| mount.as_os_str().len()).map(|(_, kind)| kind)
}
