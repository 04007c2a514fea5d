//! What is under way: the count by which a runtime knows that nothing is left to do.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Counts what is under way, and how often something began.
///
/// Whatever causes something else to begin ends after that has begun. So if the count was 0 at some moment between
/// two looks, and nothing began between them, then nothing is under way at the second one.
#[derive(Default)]
pub(crate) struct Activity {
    under_way: AtomicUsize,
    begun: AtomicU64,
}

/// Counts something as under way until it is dropped.
pub(crate) struct Busy(Arc<Activity>);

/// A task's future that is under way while it is polled and from when it is woken until it is polled, and that ends
/// with the text of a panic instead of spreading it.
pub(crate) struct Watched<F> {
    future: Pin<Box<F>>,
    pulse: Arc<Pulse>,
    waker: Waker,
}

struct Pulse {
    state: AtomicU8,
    activity: Arc<Activity>,
    outer: Mutex<Option<Waker>>,
}

/// The future waits, and nothing has woken it.
const WAITING: u8 = 0;
const WOKEN: u8 = 1;
const POLLED: u8 = 2;
/// It was woken while it was polled, and is polled again.
const POLLED_AND_WOKEN: u8 = 3;
const ENDED: u8 = 4;

impl Activity {
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    pub(crate) fn is_none(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) == 0
    }

    fn begin(&self) {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        self.begun.fetch_add(1, Ordering::SeqCst);
    }

    fn end(&self) {
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Busy {
    pub(crate) fn new(activity: &Arc<Activity>) -> Self {
        activity.begin();
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl<F: Future> Watched<F> {
    pub(crate) fn new(activity: &Arc<Activity>, future: F) -> Self {
        // It is to be polled for the first time.
        activity.begin();
        let pulse =
            Pulse { state: AtomicU8::new(WOKEN), activity: Arc::clone(activity), outer: Mutex::new(None) };
        let pulse = Arc::new(pulse);
        let waker = Waker::from(Arc::clone(&pulse));
        Self { future: Box::pin(future), pulse, waker }
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.pulse.forward_to(context.waker());
        if this.pulse.state.swap(POLLED, Ordering::SeqCst) == WAITING {
            this.pulse.activity.begin();
        }
        let mut context = Context::from_waker(&this.waker);
        let future = this.future.as_mut();
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| future.poll(&mut context)));
        match polled {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => {
                let waits =
                    this.pulse.state.compare_exchange(POLLED, WAITING, Ordering::SeqCst, Ordering::SeqCst);
                match waits {
                    Ok(_) => this.pulse.activity.end(),
                    Err(_) => this.pulse.state.store(WOKEN, Ordering::SeqCst),
                }
                Poll::Pending
            }
            Err(panic) => Poll::Ready(Err(words_of(&*panic))),
        }
    }
}

impl<F> Drop for Watched<F> {
    fn drop(&mut self) {
        if self.pulse.state.swap(ENDED, Ordering::SeqCst) != WAITING {
            self.pulse.activity.end();
        }
    }
}

impl Pulse {
    fn forward_to(&self, waker: &Waker) {
        let mut outer = self.outer.lock().unwrap_or_else(PoisonError::into_inner);
        if !outer.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *outer = Some(waker.clone());
        }
    }
}

impl Wake for Pulse {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // It counts before it can be seen to be woken, so that no look falls between the two.
        self.activity.begin();
        let next = |state| match state {
            WAITING => Some(WOKEN),
            POLLED => Some(POLLED_AND_WOKEN),
            _ => None,
        };
        if self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next) != Ok(WAITING) {
            self.activity.end();
        }
        let outer = self.outer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = outer {
            waker.wake();
        }
    }
}

/// What a panic said.
pub(crate) fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("it panicked: {}", text.as_deref().unwrap_or("without a word"))
}
