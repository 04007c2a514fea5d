//! The kernel at its boundary: envelopes in, events and replies out.

mod approvals;
mod chains;
mod custom;
mod denials;
mod determinism;
mod digests;
mod documents;
mod effects;
mod flow;
mod forks;
mod golden;
mod golden_log;
mod grants;
mod house;
mod labels;
mod meter;
mod metered;
mod money;
mod nonces;
mod operations;
mod people;
mod policy;
mod program;
mod repeats;
mod sealing;
mod tasks;
