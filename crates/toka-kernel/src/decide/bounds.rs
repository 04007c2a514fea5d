//! What tools are, and bounds that are lower than the kernel's: both are read from the log, never from the binary.

use toka_types::Labels;
use toka_types::facts::{Facts, LogLimited, ToolDeclared};
use toka_types::operation::{ToolOutcome, ToolRequest};

use super::{Asked, Decided, one};
use crate::denial::{Code, Denied};
use crate::limits::*;
use crate::safeguards::Declared;

impl Asked<'_> {
    pub(super) fn declare_tool(&self, declared: &ToolDeclared) -> Result<Vec<Decided>, Denied> {
        let asked = "manifest:declare";
        self.size(asked, "bytes of a version", declared.version.len(), MAX_VERSION)?;
        self.count(asked, "control arguments", declared.control.len(), MAX_CONTROL)?;
        let longest = declared.control.iter().map(String::len).max().unwrap_or(0);
        self.size(asked, "bytes of an argument's name", longest, MAX_ARGUMENT_NAME)?;
        match self.world.tool(&declared.tool, &declared.version) {
            Some(known) if *known == Declared::of(declared) => return Ok(Vec::new()),
            Some(_) => {}
            None => self.count(asked, "versions of tools", self.world.tools().count() + 1, MAX_TOOLS)?,
        }
        Ok(one(Facts::ToolDeclared(declared.clone())))
    }

    /// Bounds are lowered and never raised above the kernel's own.
    pub(super) fn limit_log(&self, limits: &LogLimited) -> Result<Vec<Decided>, Denied> {
        let asked = "log:limit";
        let all = [
            ("agents", limits.agents, MAX_AGENTS),
            ("people", limits.people, MAX_USERS),
            ("tasks of one agent", limits.tasks, MAX_TASKS),
            ("approvals of one agent", limits.approvals, MAX_APPROVALS),
            ("observations", limits.observations, MAX_OBSERVATIONS),
            ("bytes in an observation", limits.observation_bytes, MAX_OBSERVATION),
            ("bytes in a message", limits.message_bytes, MAX_MESSAGE),
            ("bytes in a task", limits.task_bytes, MAX_TASK),
            ("bytes of arguments", limits.argument_bytes, MAX_ARGUMENTS),
            ("seconds to decide", limits.approval_seconds, (APPROVAL_TIME / 1_000_000) as usize),
        ];
        for (what, wanted, most) in all {
            let wanted = wanted.map_or(0, |wanted| usize::try_from(wanted).unwrap_or(usize::MAX));
            self.count(asked, what, wanted, most)?;
        }
        Ok(one(Facts::LogLimited(limits.clone())))
    }

    /// The bound that holds in this log.
    pub(super) fn most(&self, lowered: impl FnOnce(&LogLimited) -> Option<u64>, most: usize) -> usize {
        let lowered = lowered(&self.world.authorities.safeguards.limits);
        lowered.map_or(most, |lowered| usize::try_from(lowered).unwrap_or(most).min(most))
    }

    /// Most bytes in an observation, and in what opcodes emit.
    pub(super) fn largest_observation(&self) -> usize {
        self.most(|limits| limits.observation_bytes, MAX_OBSERVATION)
    }

    /// Checks the sizes of a call that is made or asked about.
    pub(super) fn call_fits(&self, asked: &str, request: &ToolRequest) -> Result<(), Denied> {
        let most = self.most(|limits| limits.argument_bytes, MAX_ARGUMENTS);
        self.size(asked, "bytes of arguments", request.arguments.bytes().len(), most)?;
        self.size(asked, "bytes of a version", request.version.len(), MAX_VERSION)
    }

    /// A call of a tool that was declared is what that says.
    pub(super) fn is_as_declared(&self, request: &ToolRequest) -> Result<(), Denied> {
        let Some(declared) = self.world.tool(&request.tool, &request.version) else { return Ok(()) };
        if (declared.class, declared.sink) == (request.class, request.sink) {
            return Ok(());
        }
        let rule = format!(
            "the call is {} to the sink {}, and {} {} was declared to be {} to the sink {}",
            request.class, request.sink, request.tool, request.version, declared.class, declared.sink
        );
        Err(self.deny(Code::ToolDiffers, &format!("tool:{}", request.tool), rule))
    }

    /// The labels of an outcome: those that it comes with, and those that the tool was declared to give.
    pub(super) fn labels_of(&self, outcome: &ToolOutcome) -> Labels {
        let declared = self.world.tool(&outcome.tool, &outcome.version);
        let joined = declared.map(|declared| outcome.labels.join(&declared.labels));
        // What comes back is recorded whatever it is; more labels than fit are refused with the rest of the event.
        joined.and_then(Result::ok).unwrap_or_else(|| outcome.labels.clone())
    }
}
