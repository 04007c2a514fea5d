//! Facts.
/// Facts.
pub struct Facts;
