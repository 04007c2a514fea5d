//! The deterministic core: decide and apply over a world.
