//! Tasks that are due at times: by the calendar or at an interval, and across restarts.
//!
//! When a task is due next stands in the world, not in this process: [`SchedulerAgent`] asks the kernel to fire a
//! task at the due time that the world has, and the kernel refuses any other. So a task does what it shall once
//! for each due time, whenever the process is killed, and a due time that passed in the meantime is seen as missed.
//!
//! | Module | Holds |
//! |---|---|
//! | [`task`] | [`TaskSpec`]: what a task does and when, checked |
//! | `calendar` | the due times of a schedule |
//! | `agent` | [`SchedulerAgent`]: tasks into the world, firing, sleeping |
//!
//! What the agent's grant must hold: `task:schedule`, and for each task `event:emit(kind=KIND)` or
//! `message:send(to=AGENT)`. A task whose event or message is refused is passed over until it is due again.
//!
//! ```
//! use toka_agents::scheduler::{SchedulerAgent, SchedulerOptions, TaskSpec, TaskText};
//!
//! let report = TaskText {
//!     name: "report",
//!     cron: Some("30 7 * * MON-FRI"),
//!     timezone: Some("UTC"),
//!     emit: Some("report.wanted"),
//!     ..TaskText::default()
//! };
//! let mut options = SchedulerOptions::default();
//! options.tasks.push(TaskSpec::parse(&report)?);
//! let agent = SchedulerAgent::new(options)?;
//! # Ok::<(), toka_agents::scheduler::SchedulerError>(())
//! ```

mod agent;
mod calendar;
pub mod task;

pub use agent::{
    DEFAULT_TICK, Firing, LONGEST_PAUSE, MAX_CATCH_UP, MAX_TASKS, MAX_TICK, MIN_TICK, SHORTEST_PAUSE,
    SchedulerAgent, SchedulerOptions,
};
pub use calendar::{check_cron, check_timezone};
pub use task::{
    Action, MAX_EVERY, MAX_SPEC, MIN_EVERY, Missed, Schedule, SchedulerError, TaskSpec, TaskText,
};
