//! The smallest useful Toka binary.
fn main() {}
