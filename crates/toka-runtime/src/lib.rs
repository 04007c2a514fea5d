//! The host that runs agents on the log: configuration, kernel loop, effects, lifecycle.
