//! The command line as others see it: the real program on real folders.

mod config;
mod crash;
mod damage;
mod documented;
mod index;
mod look;
mod output;
mod sealing;
mod signals;
mod toka;
