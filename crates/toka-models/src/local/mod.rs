//! A sentence-transformers folder of the MiniLM class: BERT, computed on this machine's processor.
//!
//! The folder holds what the Python library saves: `modules.json`, `config.json`, `model.safetensors`, `tokenizer.json`,
//! the pooling's `config.json`, and perhaps `sentence_bert_config.json`. What this module does not compute as that library
//! would is refused when the folder is opened, with the file and the value.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::BertModel;
use toka_toolkit_core::{EmbedError, Embedder, Embedding};
use tokenizers::Tokenizer;

use crate::quantise::direction;

mod folder;

use folder::{Folder, Pooling};
pub use folder::{FolderError, MAX_WEIGHTS};

/// Names how vectors are computed here; another number is another embedder.
const METHOD: &str = "bert/1";

/// An [`Embedder`] that computes a model from a folder.
///
/// Its id names the files by their content, so that another model, or the same one retrained, never mixes with it. The
/// last bits of a vector differ between processors, which is why vectors are recorded. A text longer than the
/// model reads is cut off.
pub struct LocalEmbedder {
    id: String,
    dimension: usize,
    pooling: Pooling,
    lower_case: bool,
    tokenizer: Tokenizer,
    /// One text at a time: the processor's threads share the work on it, and two at once would only take more memory.
    model: Mutex<BertModel>,
}

impl std::fmt::Debug for LocalEmbedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalEmbedder")
            .field("id", &self.id)
            .field("dimension", &self.dimension)
            .finish_non_exhaustive()
    }
}

impl LocalEmbedder {
    /// Reads the folder and computes one word, so that weights which give no numbers are found now.
    ///
    /// # Errors
    /// [`FolderError`] names the file that is missing, or is not what this module computes.
    pub fn open(folder: &Path) -> Result<Self, FolderError> {
        let Folder { config, weights, tokenizer, pooling, lower_case, digest } = Folder::read(folder)?;
        let unfit = |reason: String| FolderError::Unfit { path: folder.join(folder::WEIGHTS), reason };
        let variables = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)
            .map_err(|error| unfit(error.to_string()))?;
        let model = BertModel::load(variables, &config).map_err(|error| unfit(error.to_string()))?;
        let embedder = Self {
            id: format!("{METHOD}:{digest}"),
            dimension: config.hidden_size,
            pooling,
            lower_case,
            tokenizer,
            model: Mutex::new(model),
        };
        embedder.vector("word").map_err(unfit)?;
        Ok(embedder)
    }

    fn vector(&self, text: &str) -> Result<Embedding, String> {
        let lowered;
        let text = if self.lower_case {
            lowered = text.to_lowercase();
            lowered.as_str()
        } else {
            text
        };
        let tokens = self.tokenizer.encode_fast(text, true).map_err(|error| error.to_string())?;
        // Begin and end alone are no text.
        if tokens.get_special_tokens_mask().iter().all(|special| *special == 1) {
            return Ok(Embedding::Bits16(vec![0; self.dimension]));
        }
        let values = self.computed(tokens.get_ids()).map_err(|error| error.to_string())?;
        direction(&values).ok_or_else(|| "the model gives values that are not finite".to_owned())
    }

    fn computed(&self, ids: &[u32]) -> candle_core::Result<Vec<f32>> {
        let ids = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
        let types = ids.zeros_like()?;
        let states = {
            let model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
            model.forward(&ids, &types, None)?.squeeze(0)?
        };
        let pooled = match self.pooling {
            Pooling::Mean => states.mean(0)?,
            Pooling::First => states.get(0)?,
        };
        let length = pooled.sqr()?.sum(D::Minus1)?.sqrt()?.to_scalar::<f32>()?;
        let pooled = pooled.to_vec1::<f32>()?;
        Ok(pooled.into_iter().map(|value| value / length.max(f32::MIN_POSITIVE)).collect())
    }
}

impl Embedder for LocalEmbedder {
    fn id(&self) -> &str {
        &self.id
    }

    fn dimension(&self) -> usize {
        self.dimension
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, EmbedError> {
        let unavailable = |reason| EmbedError::Unavailable { id: self.id.clone(), reason };
        texts.iter().map(|text| self.vector(text).map_err(unavailable)).collect()
    }
}
