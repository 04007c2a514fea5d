//! Operations.
/// Operation.
pub struct Operation;
/// Envelope.
pub struct Envelope;
