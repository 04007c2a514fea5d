//! What an agent is to the host.

use std::future::Future;
use std::pin::Pin;

use crate::context::AgentContext;
use crate::event::{Event, EventKind};

/// A future that can be kept in a list.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A long-lived program. Implement [`handle`](Agent::handle) for one that only looks, [`handle_with`](Agent::handle_with)
/// for one that acts, [`run`](Agent::run) for one that has something to do by itself.
///
/// # Contract
/// Delivery is at least once: after a crash an agent may be handed again what it dealt with since its last
/// recorded turn. What it does through its context before then is in the log, and its effects can be told by it.
/// An error returned is logged and the next event is delivered; an agent that cannot go on stops itself.
pub trait Agent: Send + Sync + 'static {
    /// The events it wants; none by default.
    fn interest(&self) -> Vec<EventKind> {
        Vec::new()
    }

    /// Deals with one event.
    fn handle(&self, ev: Event) -> impl Future<Output = anyhow::Result<()>> + Send {
        let _ = ev;
        async { Ok(()) }
    }

    /// Deals with one event and acts through `ctx`; what it does there has the event as its cause.
    fn handle_with(&self, ev: Event, ctx: AgentContext) -> impl Future<Output = anyhow::Result<()>> + Send {
        let _ = ctx;
        self.handle(ev)
    }

    /// Works of its own accord until it is done or [`AgentContext::stopped`]. With
    /// [`AgentContext::is_once`] it ends when there is nothing left to do.
    fn run(&self, ctx: AgentContext) -> impl Future<Output = anyhow::Result<()>> + Send {
        let _ = ctx;
        async { Ok(()) }
    }
}

/// [`Agent`] as an object. Every agent is one.
pub trait DynAgent: Send + Sync + 'static {
    /// See [`Agent::interest`].
    fn interest(&self) -> Vec<EventKind>;
    /// See [`Agent::handle_with`].
    fn handle_with(&self, ev: Event, ctx: AgentContext) -> BoxFuture<'_, anyhow::Result<()>>;
    /// See [`Agent::run`].
    fn run(&self, ctx: AgentContext) -> BoxFuture<'_, anyhow::Result<()>>;
}

impl<A: Agent> DynAgent for A {
    fn interest(&self) -> Vec<EventKind> {
        Agent::interest(self)
    }

    fn handle_with(&self, ev: Event, ctx: AgentContext) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(Agent::handle_with(self, ev, ctx))
    }

    fn run(&self, ctx: AgentContext) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(Agent::run(self, ctx))
    }
}
