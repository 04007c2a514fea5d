//! Every bound of the kernel, with its reason. Whatever exceeds one is refused with `limit.size` or
//! `limit.count`, and the refusal names the value and the bound.

use std::time::Duration;

/// Most bytes of one observation: it is content of one event and is read back whole.
pub const MAX_OBSERVATION: usize = 1 << 20;
/// Most observations in one operation: a file of 64 MiB has some 60,000 chunks and is committed at once.
pub const MAX_OBSERVATIONS: usize = 1 << 17;
/// Most bytes of a message: the receiver's inbox holds many.
pub const MAX_MESSAGE: usize = 1 << 20;
/// Most bytes of a task's description.
pub const MAX_TASK: usize = 4 << 10;
/// Most tasks of one agent: a scheduler that creates tasks in a loop is stopped here.
pub const MAX_TASKS: usize = 10_000;
/// Most agents, stopped ones included: the world remembers each, since its events stay.
pub const MAX_AGENTS: usize = 1_000_000;
/// Most bytes of a tool's version: it stands in facts, and semantic versions are shorter.
pub const MAX_VERSION: usize = 128;
/// Most bytes of a tool's canonical arguments.
pub const MAX_ARGUMENTS: usize = 1 << 20;
/// Most bytes of an outcome's content; the effect runner cuts off what is larger before it gets here.
pub const MAX_OUTCOME: usize = 16 << 20;
/// Most capabilities in one grant, counting what may be used and what may be delegated.
pub const MAX_CAPABILITIES: usize = 256;
/// Most capabilities with limits, in tokens of one grant, that are counted at once. Whoever has a token makes as many
/// narrower ones of it as he likes, and the uses of each are remembered as long as it could be shown; so many take some
/// three megabytes.
pub const MAX_TOKEN_METERS: usize = 8192;
/// Most registers one observation sets.
pub const MAX_REGISTERS: usize = 64;
/// Most keys that one erasure names: they stand in facts.
pub const MAX_ERASED: usize = 1024;
/// How long a caller's `op_id` may be remembered at most: 30 days, in microseconds.
pub const MAX_REPEAT_WINDOW: i64 = 30 * 24 * 3600 * 1_000_000;
/// Most operations of one origin that are remembered by its `op_id`s at once: none is forgotten before its time, so that a
/// retry is safe, and one more is refused instead. With tokens of a quarter of an hour that is 290 operations a second for as
/// long as one likes; so many take some 40 megabytes.
pub const MAX_REMEMBERED: usize = 1 << 18;
/// Refusals of one agent with one code about one argument that are events of their own, per minute. What
/// exceeds it is one counted event.
pub const DENIALS_PER_MINUTE: u32 = 8;
/// Distinct arguments of one agent and code that are told apart in a minute; past it they are counted
/// together, so that a flood of ever new arguments cannot fill the disk.
pub const DENIED_ARGUMENTS: usize = 100_000;
/// Bytes of a refused argument that the refusal shows, escaped.
pub const DENIED_EXCERPT: usize = 128;
/// How far the clock may be from the time that passed and still be believed: an hour. Corrections are smaller, and whatever a
/// jump would end or make due is worth a question.
pub const MAX_CLOCK_JUMP: Duration = Duration::from_secs(3600);
/// Most versions of tools that one world knows: it remembers each.
pub const MAX_TOOLS: usize = 10_000;
/// How long a person's request counts, and the plan for it: a day, in microseconds. Whoever wants more asks again.
pub const REQUEST_TIME: i64 = 24 * 3600 * 1_000_000;
/// Most tokens of a request that count as literals: they stand in facts, and no one asks for so much in one go.
pub const MAX_LITERALS: usize = 1024;
/// Most slots of a plan: a call is compared with each.
pub const MAX_SLOTS: usize = 32;
/// Most calls of one slot.
pub const MAX_SLOT_CALLS: u32 = 1024;
/// Most arguments with a source in one slot, and most elements of a list of sources.
pub const MAX_SOURCES: usize = 32;
/// Most control arguments of a tool: of one that names none, every argument is one.
pub const MAX_CONTROL: usize = 64;
/// Most bytes of an argument's name: it stands in facts.
pub const MAX_ARGUMENT_NAME: usize = 64;
/// Most named slots of a plan: the world remembers what each of them returned.
pub const MAX_READS: usize = 8;
/// Most scalars of one outcome that enter the world.
pub const MAX_LEAVES: usize = 1024;
/// Most bytes of these in facts, which have room for little more beside them.
pub const MAX_LEAF_BYTES: usize = 60 << 10;
/// Most bytes of a plan in words.
pub const MAX_PLAN: usize = 64 << 10;
/// Most people in one world: the world remembers each.
pub const MAX_USERS: usize = 100_000;
/// Most bytes that a registered opcode is handed.
pub const MAX_CUSTOM_INPUT: usize = 64 << 10;
/// Most events of one operation of an opcode.
pub const MAX_CUSTOM_OUTCOMES: usize = 1024;
/// Most approvals of one agent that wait or hold: a person reads them.
pub const MAX_APPROVALS: usize = 64;
/// How long a person has to decide about a call that the policy asks about: a day, in microseconds.
pub const APPROVAL_TIME: i64 = 24 * 3600 * 1_000_000;
/// How long an approval may wait or hold at most: 30 days, in microseconds.
pub const MAX_APPROVAL_TIME: i64 = 30 * 24 * 3600 * 1_000_000;
/// Bits that quarantined agents may tell whoever spawned them in one task: eight letters, too few to spell out an address
/// or an account's number, and enough for as many yes-or-no questions.
pub const MAX_ENDORSED_BITS: u32 = 64;
/// Different answers that an agent is told at most: the world remembers each, since none may say where a call goes.
pub const MAX_ENDORSED_ANSWERS: usize = 1024;
/// Most places (files, and folders above them) whose labels are told apart. What is written from labelled data past them
/// has its labels everywhere.
pub const MAX_PLACES: usize = 100_000;
