//! Doing work on all cores and taking what comes of it in the order in which it was given.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Pieces of work that wait or are under way for each thread: enough that none is idle, and few enough that they take
/// little memory.
const AHEAD: u64 = 3;
/// More threads than this would wait for the one that takes the results.
const MAX_THREADS: usize = 8;

/// Work in order. Whoever gives and takes it works along while it would wait.
pub(super) struct InOrder<'a, J, R> {
    shared: &'a Shared<J, R>,
    work: &'a (dyn Fn(J) -> R + Sync),
    ahead: u64,
    given: u64,
    taken: u64,
}

struct Shared<J, R> {
    queue: Mutex<Queue<J, R>>,
    changed: Condvar,
}

struct Queue<J, R> {
    jobs: VecDeque<(u64, J)>,
    done: BTreeMap<u64, R>,
    closed: bool,
}

/// Ends the other threads, also when this one panics.
struct Close<'a, J, R>(&'a Shared<J, R>);

/// Calls `body` with a way to have `work` done by all cores.
pub(super) fn in_order<J: Send, R: Send, T>(
    work: &(impl Fn(J) -> R + Sync),
    body: impl FnOnce(&mut InOrder<'_, J, R>) -> T,
) -> T {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get()).min(MAX_THREADS);
    let queue = Queue { jobs: VecDeque::new(), done: BTreeMap::new(), closed: false };
    let shared = Shared { queue: Mutex::new(queue), changed: Condvar::new() };
    std::thread::scope(|scope| {
        let close = Close(&shared);
        for _ in 1..threads {
            scope.spawn(|| {
                let _close = Close(&shared);
                while let Some((number, job)) = shared.next() {
                    shared.finish(number, work(job));
                }
            });
        }
        let mut order = InOrder { shared: &shared, work, ahead: AHEAD * threads as u64, given: 0, taken: 0 };
        let result = body(&mut order);
        drop(close);
        result
    })
}

impl<J, R> InOrder<'_, J, R> {
    /// Gives a piece of work.
    pub(super) fn give(&mut self, job: J) {
        self.shared.lock().jobs.push_back((self.given, job));
        self.given += 1;
        self.shared.changed.notify_all();
    }

    /// The oldest result that was not taken yet, if so much is under way that it is time to take one.
    pub(super) fn surplus(&mut self) -> Option<R> {
        (self.given - self.taken > self.ahead).then(|| self.take()).flatten()
    }

    /// The oldest result that was not taken yet; `None` if all were.
    pub(super) fn take(&mut self) -> Option<R> {
        if self.taken == self.given {
            return None;
        }
        let mut queue = self.shared.lock();
        loop {
            if let Some(result) = queue.done.remove(&self.taken) {
                self.taken += 1;
                return Some(result);
            }
            assert!(!queue.closed, "a thread that checks events panicked");
            queue = match queue.jobs.pop_front() {
                Some((number, job)) => {
                    drop(queue);
                    self.shared.finish(number, (self.work)(job));
                    self.shared.lock()
                }
                None => self.shared.wait(queue),
            };
        }
    }
}

impl<J, R> Shared<J, R> {
    fn lock(&self) -> MutexGuard<'_, Queue<J, R>> {
        // Nothing panics while it is locked.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, queue: MutexGuard<'a, Queue<J, R>>) -> MutexGuard<'a, Queue<J, R>> {
        self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next piece of work; `None` if there will be none.
    fn next(&self) -> Option<(u64, J)> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            queue = self.wait(queue);
        }
    }

    fn finish(&self, number: u64, result: R) {
        self.lock().done.insert(number, result);
        self.changed.notify_all();
    }
}

impl<J, R> Drop for Close<'_, J, R> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_work() {
        let work = |number: u64| {
            std::thread::sleep(Duration::from_micros(number * 7919 % 300));
            number
        };
        let mut taken = Vec::new();
        in_order(&work, |order| {
            for number in 0..500 {
                order.give(number);
                taken.extend(order.surplus());
            }
            while let Some(number) = order.take() {
                taken.push(number);
            }
        });
        assert_eq!(taken, (0..500).collect::<Vec<_>>());
    }

    #[test]
    #[should_panic]
    fn a_panic_ends_it() {
        let work = |number: u64| assert!(number < 3, "as the test wants it");
        in_order(&work, |order| {
            (0..10).for_each(|number| order.give(number));
            while order.take().is_some() {}
        });
    }
}
