//! The live feed of a log: subscriptions that catch up and go on live without a gap or a duplicate.
