//! The log tree's growth, hashed beside the rest of an append: the hashes are in nobody's way while a frame is built
//! and while the disk is at work on it.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::frame::Headers;
use super::nodes::TILE_LEVEL;
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
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

/// Trees that nobody has begun to grow.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    news: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    next: u64,
    closed: bool,
}

struct Job {
    number: u64,
    tree: LogTree,
    headers: Arc<Headers>,
    done: SyncSender<Grown>,
}

/// A tree to which the events of a batch are being added: by whoever asks for it, if no job has begun.
pub(crate) struct Growing {
    tree: LogTree,
    pub(crate) headers: Arc<Headers>,
    job: Option<Pending>,
}

/// A job that somebody may have begun.
pub(crate) struct Pending {
    queue: Arc<Queue>,
    number: u64,
    done: Receiver<Grown>,
}

impl Leaves {
    /// Begins to add the events of a batch to `tree`, beside if that is worth it and `beside` allows it.
    pub(crate) fn grow(&mut self, tree: LogTree, headers: Headers, beside: bool) -> Growing {
        let headers = Arc::new(headers);
        let job = (beside && headers.len() >= BESIDE)
            .then(|| self.worker.get_or_insert_with(Worker::start).send(tree.clone(), Arc::clone(&headers)));
        Growing { tree, headers, job }
    }
}

impl Growing {
    /// The tree with the events of the batch.
    pub(crate) fn done(self) -> Grown {
        // A thread that went away did not finish: the work is done here. So it is if the thread did not come to it yet:
        // on a busy machine it may wait for a processor for longer than the work takes.
        self.job.and_then(Pending::wait).unwrap_or_else(|| grown(self.tree, &self.headers))
    }
}

impl Pending {
    /// The result; `None` if nobody has begun, and nobody will.
    fn wait(self) -> Option<Grown> {
        let begun = {
            let jobs = &mut self.queue.waiting().jobs;
            let at = jobs.iter().position(|job| job.number == self.number);
            at.map(|at| jobs.remove(at)).is_none()
        };
        if begun { self.done.recv().ok() } else { None }
    }
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // It is changed in single steps.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job, once there is one; `None` when there will be none.
    fn next(&self) -> Option<Job> {
        let mut waiting = self.waiting();
        loop {
            match waiting.jobs.pop_front() {
                Some(job) => return Some(job),
                None if waiting.closed => return None,
                None => waiting = self.news.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl Worker {
    fn start() -> Self {
        let queue = Arc::new(Queue::default());
        let jobs = Arc::clone(&queue);
        let work = move || {
            while let Some(Job { tree, headers, done, .. }) = jobs.next() {
                // Who asked may have failed meanwhile; then nobody needs the tree.
                drop(done.send(grown(tree, &headers)));
            }
        };
        let thread = std::thread::Builder::new().name("toka-vault-leaves".into()).spawn(work).ok();
        Self { queue, thread }
    }

    fn send(&self, tree: LogTree, headers: Arc<Headers>) -> Pending {
        let (sender, done) = sync_channel(1);
        let number = {
            let mut waiting = self.queue.waiting();
            let number = waiting.next;
            waiting.next += 1;
            waiting.jobs.push_back(Job { number, tree, headers, done: sender });
            number
        };
        self.queue.news.notify_one();
        Pending { queue: Arc::clone(&self.queue), number, done }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.queue.waiting().closed = true;
        self.queue.news.notify_one();
        if let Some(thread) = self.thread.take() {
            // It owns nothing that a panic could have left half done.
            drop(thread.join());
        }
    }
}

fn grown(mut tree: LogTree, headers: &Headers) -> Grown {
    let mut complete = Vec::new();
    for header in headers.iter() {
        tree.append_noting(leaf_hash(header), TILE_LEVEL, &mut complete);
    }
    (tree, complete)
}
