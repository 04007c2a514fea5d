//! Contracts for the outside world: tools and their manifests, the registry, drivers, embedders.
