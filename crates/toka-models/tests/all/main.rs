//! Embedders at their boundary: folders on disk, and a service behind a socket.

#[cfg(feature = "embed-local")]
mod local;
#[cfg(feature = "embed-http")]
mod openai;
