//! The embedder that is configured, for `up`, `run` and `search`.

use toka_agents::embedder::Maker;
use toka_runtime::config::EmbedderConfig;

use crate::failure::Failure;

/// The features of this build that have an embedder.
pub(crate) fn features() -> Vec<String> {
    let built =
        [("embed-local", cfg!(feature = "embed-local")), ("embed-http", cfg!(feature = "embed-http"))];
    built.into_iter().filter(|(_, built)| *built).map(|(name, _)| name.to_owned()).collect()
}

/// What makes vectors as configured; none where the vault alone teaches them.
pub(crate) fn maker(config: &EmbedderConfig) -> Result<Option<Maker>, Failure> {
    match config {
        EmbedderConfig::Lexical => Ok(None),
        #[cfg(feature = "embed-local")]
        EmbedderConfig::Local { path } => {
            let embedder = toka_models::LocalEmbedder::open(path).map_err(|error| {
                let failure = Failure::config(format!("the model of [embedder] cannot be used: {error}"));
                failure.hint(
                    "name the folder of a sentence-transformers model as `path`, as of all-MiniLM-L6-v2",
                )
            })?;
            Ok(Some(Maker::Here(std::sync::Arc::new(embedder))))
        }
        #[cfg(feature = "embed-http")]
        EmbedderConfig::OpenAi(service) => of_service(service).map(Some),
        // The configuration is refused before, with the feature that is missing; here is for what is built without it.
        #[allow(unreachable_patterns, reason = "with both features there is nothing left")]
        _ => Err(Failure::config("this build has no embedder of that kind")),
    }
}

#[cfg(feature = "embed-http")]
fn of_service(service: &toka_runtime::config::OpenAiConfig) -> Result<Maker, Failure> {
    use toka_agents::embedder::Service;
    use toka_models::{OpenAiEmbedder, OpenAiOptions};
    use toka_toolkit_core::Embedder;
    let mut options = OpenAiOptions::new(&service.base_url, &service.model);
    options.api_key = service.api_key.as_ref().map(|key| key.clone().into());
    options.dimensions = service.dimensions;
    let embedder = OpenAiEmbedder::new(options)
        .map_err(|error| Failure::config(format!("the service of [embedder] cannot be asked: {error}")))?;
    let (id, host) = (embedder.id().to_owned(), embedder.host().to_owned());
    Ok(Maker::There(Service::new(id, host, move |texts, stopped| embedder.embed_until(texts, stopped))))
}
