//! Models that Toka can be given: embedders that run on this machine, and embedders of a service.
//!
//! Both are [`Embedder`](toka_toolkit_core::Embedder)s. It is **not** the place where vectors are kept or compared, and
//! nothing here asks the kernel: whoever calls a service for an agent does that as a recorded effect.
//!
//! | Module | Feature | Holds |
//! |---|---|---|
//! | [`local`] | `embed-local` | a sentence-transformers folder of the MiniLM class |
//! | [`openai`] | `embed-http` | a service that speaks OpenAI's API of embeddings |
//! | [`testing`] | `embed-local` | a model of a few words, for tests |

#[cfg(feature = "embed-local")]
pub mod local;
#[cfg(feature = "embed-http")]
pub mod openai;
#[cfg(any(feature = "embed-local", feature = "embed-http"))]
mod quantise;
#[cfg(feature = "embed-local")]
pub mod testing;

#[cfg(feature = "embed-local")]
pub use local::{FolderError, LocalEmbedder};
#[cfg(feature = "embed-http")]
pub use openai::{OpenAiEmbedder, OpenAiOptions};
