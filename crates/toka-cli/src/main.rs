//! The toka command line.
fn main() {}
