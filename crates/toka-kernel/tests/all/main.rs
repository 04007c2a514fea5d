//! The kernel at its boundary: envelopes in, events and replies out.

mod denials;
mod determinism;
mod digests;
mod documents;
mod effects;
mod forks;
mod golden;
mod grants;
mod house;
mod labels;
mod meter;
mod operations;
mod program;
mod repeats;
mod sealing;
mod tasks;
