//! The log tree's growth, hashed beside the rest of an append: the hashes are in nobody's way while a frame is built
//! and while the disk is at work on it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::nodes::TILE_LEVEL;
use crate::core::Record;
use crate::hash::{LogTree, TreeHash, leaf_hash};

/// From this many events on the leaves are hashed beside: waking the thread costs as much as some of them.
const BESIDE: usize = 24;

/// A tree that has grown, and the subtrees that its new leaves completed.
pub(crate) type Grown = (LogTree, Vec<TreeHash>);

/// A thread that hashes leaves, from the first batch on that is worth it.
#[derive(Default)]
pub(crate) struct Leaves {
    worker: Option<Worker>,
}

struct Worker {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

struct Job {
    tree: LogTree,
    batch: Vec<Arc<Record>>,
    done: SyncSender<Grown>,
}

/// A tree to which the events of a batch are being added.
pub(crate) enum Growing<'a> {
    /// They are added when it is asked for.
    Later { tree: LogTree, batch: &'a [Arc<Record>] },
    /// They are being added.
    Beside { tree: LogTree, batch: &'a [Arc<Record>], done: Receiver<Grown> },
}

impl Leaves {
    /// Begins to add the events of `batch` to `tree`, beside if that is worth it and `beside` allows it.
    pub(crate) fn grow<'a>(&mut self, tree: LogTree, batch: &'a [Arc<Record>], beside: bool) -> Growing<'a> {
        if beside && batch.len() >= BESIDE {
            let (sender, done) = sync_channel(1);
            let job = Job { tree: tree.clone(), batch: batch.to_vec(), done: sender };
            let worker = self.worker.get_or_insert_with(Worker::start);
            if worker.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok()) {
                return Growing::Beside { tree, batch, done };
            }
        }
        Growing::Later { tree, batch }
    }
}

impl Growing<'_> {
    /// The tree with the events of the batch.
    pub(crate) fn done(self) -> Grown {
        match self {
            Self::Later { tree, batch } => grown(tree, batch),
            // A thread that went away did not finish: the work is done here.
            Self::Beside { tree, batch, done } => done.recv().unwrap_or_else(|_| grown(tree, batch)),
        }
    }
}

impl Worker {
    fn start() -> Self {
        let (jobs, queue) = sync_channel::<Job>(1);
        let work = move || {
            while let Ok(Job { tree, batch, done }) = queue.recv() {
                // Who asked may have failed meanwhile; then nobody needs the tree.
                drop(done.send(grown(tree, &batch)));
            }
        };
        let thread = std::thread::Builder::new().name("toka-vault-leaves".into()).spawn(work).ok();
        Self { jobs: Some(jobs), thread }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It owns nothing that a panic could have left half done.
            drop(thread.join());
        }
    }
}

fn grown(mut tree: LogTree, batch: &[Arc<Record>]) -> Grown {
    let mut complete = Vec::new();
    let mut bytes = Vec::with_capacity(256);
    for record in batch {
        bytes.clear();
        record.header.encode(&mut bytes);
        tree.append_noting(leaf_hash(&bytes), TILE_LEVEL, &mut complete);
    }
    (tree, complete)
}
