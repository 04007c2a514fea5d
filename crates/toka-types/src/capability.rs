//! The language in which power is granted.
/// One capability.
pub struct Capability;
