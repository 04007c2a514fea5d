//! The Agent trait, its context, and the reference behaviours: Logger, SchedulerAgent, IndexerAgent.
