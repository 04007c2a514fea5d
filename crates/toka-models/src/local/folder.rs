//! The files of a sentence-transformers folder, read and checked.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use candle_transformers::models::bert::{Config, HiddenAct, PositionEmbeddingType};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokenizers::Tokenizer;
use tokenizers::utils::truncation::TruncationParams;

/// The weights.
pub(super) const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";
const MODULES: &str = "modules.json";
const TOKENIZER: &str = "tokenizer.json";
const LENGTHS: &str = "sentence_bert_config.json";

/// Most bytes of weights: they are held in memory, and an embedder past this is too slow for a machine without a GPU.
pub const MAX_WEIGHTS: u64 = 2 << 30;
/// Most bytes of every other file; a tokenizer of a hundred languages takes 17 MB.
const MAX_DESCRIPTION: u64 = 64 << 20;
/// Most layers and components of what is described: no BERT comes near, and each is allocated for.
const MAX_LAYERS: usize = 256;
const MAX_COMPONENTS: usize = 16_384;
/// Least tokens of a text: begin, end, and one between them.
const LEAST_TOKENS: usize = 3;

/// Why a folder is no model that can be computed here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FolderError {
    /// A file is not there.
    #[error(
        "{} is missing; a sentence-transformers folder holds modules.json, config.json, model.safetensors, tokenizer.json \
         and the pooling's config.json",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// A file is larger than is read.
    #[error("{} has {size} bytes; at most {limit} are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// A file does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The model is sound, but of a sort that is not computed here.
    #[error("{}: {what} is {found}; {supported}", path.display())]
    Unsupported {
        /// The file that says so.
        path: PathBuf,
        /// What it is about.
        what: &'static str,
        /// Its value.
        found: String,
        /// What could be computed.
        supported: &'static str,
    },
}

/// How the states of a text's tokens become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    /// Their mean.
    Mean,
    /// The first one's.
    First,
}

/// What a folder holds.
pub(super) struct Folder {
    pub(super) config: Config,
    pub(super) weights: Vec<u8>,
    pub(super) tokenizer: Tokenizer,
    pub(super) pooling: Pooling,
    pub(super) lower_case: bool,
    /// Of everything that a vector depends on.
    pub(super) digest: String,
}

#[derive(Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// What has to be known before [`Config`] can be read: it has no place for other architectures.
#[derive(Deserialize)]
struct Architecture {
    #[serde(default)]
    model_type: String,
    #[serde(default)]
    hidden_act: String,
    #[serde(default)]
    position_embedding_type: Option<String>,
}

/// The part of the configuration that the computation needs.
#[derive(Deserialize)]
struct Shape {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "two")]
    type_vocab_size: usize,
    #[serde(default = "tiny")]
    layer_norm_eps: f64,
}

#[derive(Default, Deserialize)]
struct Lengths {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

impl Folder {
    pub(super) fn read(folder: &Path) -> Result<Self, FolderError> {
        let mut hasher = Hasher(blake3::Hasher::new());
        let modules: Vec<Module> = hasher.parsed(&folder.join(MODULES))?;
        let pooling = pooling(folder, &modules, &mut hasher)?;
        let config = config(&folder.join(CONFIG), &mut hasher)?;
        let lengths = match hasher.parsed::<Lengths>(&folder.join(LENGTHS)) {
            Err(FolderError::Missing { .. }) => Lengths::default(),
            read => read?,
        };
        let most = config.max_position_embeddings;
        let tokens = lengths.max_seq_length.unwrap_or(most).min(most);
        if tokens < LEAST_TOKENS {
            let reason = format!("max_seq_length is {tokens}; at least {LEAST_TOKENS} tokens make a text");
            return Err(FolderError::Unfit { path: folder.join(LENGTHS), reason });
        }
        let tokenizer = tokenizer(&folder.join(TOKENIZER), &config, tokens, &mut hasher)?;
        let weights = hasher.bytes(&folder.join(WEIGHTS), MAX_WEIGHTS)?;
        let digest = hasher.0.finalize().to_hex()[..16].to_owned();
        Ok(Self { config, weights, tokenizer, pooling, lower_case: lengths.do_lower_case, digest })
    }
}

fn pooling(folder: &Path, modules: &[Module], hasher: &mut Hasher) -> Result<Pooling, FolderError> {
    let path = folder.join(MODULES);
    let mut found = None;
    for module in modules {
        match module.kind.rsplit('.').next().unwrap_or_default() {
            // A vector's length says nothing here, so a normalisation changes nothing.
            "Transformer" | "Normalize" => {}
            "Pooling" => found = Some(module),
            _ => {
                return Err(FolderError::Unsupported {
                    path,
                    what: "a module",
                    found: module.kind.clone(),
                    supported: "Transformer, Pooling and Normalize are computed here",
                });
            }
        }
    }
    let unfit = |reason: &str| FolderError::Unfit { path: path.clone(), reason: reason.to_owned() };
    let module = found.ok_or_else(|| unfit("it names no Pooling"))?;
    // The files of a model lie in its folder, whatever it says.
    if !Path::new(&module.path).components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(unfit("the path of Pooling leads out of the folder"));
    }
    let path = folder.join(&module.path).join(CONFIG);
    let modes: serde_json::Map<String, serde_json::Value> = hasher.parsed(&path)?;
    let on = |(name, value): (&String, &serde_json::Value)| {
        let on = name.starts_with("pooling_mode_") && value.as_bool() == Some(true);
        on.then(|| name.clone())
    };
    let modes: Vec<String> = modes.iter().filter_map(on).collect();
    match modes.as_slice() {
        [mode] if mode == "pooling_mode_mean_tokens" => Ok(Pooling::Mean),
        [mode] if mode == "pooling_mode_cls_token" => Ok(Pooling::First),
        _ => Err(FolderError::Unsupported {
            path,
            what: "the pooling",
            found: if modes.is_empty() { "none".to_owned() } else { modes.join(" and ") },
            supported: "pooling_mode_mean_tokens or pooling_mode_cls_token alone is computed here",
        }),
    }
}

fn config(path: &Path, hasher: &mut Hasher) -> Result<Config, FolderError> {
    let value: serde_json::Value = hasher.parsed(path)?;
    let unfit = |reason: String| FolderError::Unfit { path: path.to_owned(), reason };
    let parsed = |error: serde_json::Error| unfit(error.to_string());
    let architecture = Architecture::deserialize(&value).map_err(parsed)?;
    let unsupported = |what, found: String, supported| {
        Err(FolderError::Unsupported { path: path.to_owned(), what, found, supported })
    };
    if architecture.model_type != "bert" {
        return unsupported("model_type", quoted(&architecture.model_type), "\"bert\" is computed here");
    }
    let hidden_act = match architecture.hidden_act.as_str() {
        "gelu" => HiddenAct::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" => HiddenAct::GeluApproximate,
        "relu" => HiddenAct::Relu,
        other => {
            let supported = "\"gelu\", \"gelu_new\", \"gelu_pytorch_tanh\" and \"relu\" are computed here";
            return unsupported("hidden_act", quoted(other), supported);
        }
    };
    match architecture.position_embedding_type.as_deref() {
        None | Some("absolute") => {}
        Some(other) => {
            return unsupported("position_embedding_type", quoted(other), "\"absolute\" is computed here");
        }
    }
    let shape = Shape::deserialize(&value).map_err(parsed)?;
    let bounded = [
        ("hidden_size", shape.hidden_size, MAX_COMPONENTS),
        ("num_hidden_layers", shape.num_hidden_layers, MAX_LAYERS),
        ("num_attention_heads", shape.num_attention_heads, MAX_COMPONENTS),
        ("intermediate_size", shape.intermediate_size, 16 * MAX_COMPONENTS),
        ("max_position_embeddings", shape.max_position_embeddings, MAX_COMPONENTS),
        ("type_vocab_size", shape.type_vocab_size, MAX_COMPONENTS),
    ];
    for (name, value, most) in bounded {
        if value == 0 || value > most {
            return Err(unfit(format!("{name} is {value}; 1 to {most} is possible")));
        }
    }
    if !shape.hidden_size.is_multiple_of(shape.num_attention_heads) {
        let (size, heads) = (shape.hidden_size, shape.num_attention_heads);
        return Err(unfit(format!("hidden_size {size} cannot be shared by {heads} num_attention_heads")));
    }
    Ok(Config {
        vocab_size: shape.vocab_size,
        hidden_size: shape.hidden_size,
        num_hidden_layers: shape.num_hidden_layers,
        num_attention_heads: shape.num_attention_heads,
        intermediate_size: shape.intermediate_size,
        hidden_act,
        max_position_embeddings: shape.max_position_embeddings,
        type_vocab_size: shape.type_vocab_size,
        layer_norm_eps: shape.layer_norm_eps,
        position_embedding_type: PositionEmbeddingType::Absolute,
        model_type: Some("bert".to_owned()),
        // What is left matters to training alone.
        ..Config::default()
    })
}

fn tokenizer(
    path: &Path,
    config: &Config,
    tokens: usize,
    hasher: &mut Hasher,
) -> Result<Tokenizer, FolderError> {
    let unfit = |reason: String| FolderError::Unfit { path: path.to_owned(), reason };
    let bytes = hasher.bytes(path, MAX_DESCRIPTION)?;
    let mut tokenizer = Tokenizer::from_bytes(&bytes).map_err(|error| unfit(error.to_string()))?;
    // The file's own cut and padding are those of some training; the model reads as much as it says elsewhere.
    tokenizer.with_padding(None);
    let cut = TruncationParams { max_length: tokens, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(cut)).map_err(|error| unfit(error.to_string()))?;
    let largest = tokenizer.get_vocab(true).into_values().max().unwrap_or_default();
    if largest as usize >= config.vocab_size {
        let known = config.vocab_size;
        return Err(unfit(format!("it knows a token {largest}, and the model's vocab_size is {known}")));
    }
    Ok(tokenizer)
}

/// Reads files, and digests what it reads.
struct Hasher(blake3::Hasher);

impl Hasher {
    fn bytes(&mut self, path: &Path, limit: u64) -> Result<Vec<u8>, FolderError> {
        let failed = |error: std::io::Error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => FolderError::Missing { path: path.to_owned() },
            _ => FolderError::Unreadable { path: path.to_owned(), reason: error.to_string() },
        };
        let file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let too_large = |size| FolderError::TooLarge { path: path.to_owned(), size, limit };
        if size > limit {
            return Err(too_large(size));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
        let size = bytes.len() as u64;
        if size > limit {
            return Err(too_large(size));
        }
        self.0.update(&size.to_le_bytes());
        self.0.update(&bytes);
        Ok(bytes)
    }

    fn parsed<T: DeserializeOwned>(&mut self, path: &Path) -> Result<T, FolderError> {
        let bytes = self.bytes(path, MAX_DESCRIPTION)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| FolderError::Unfit { path: path.to_owned(), reason: error.to_string() })
    }
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn two() -> usize {
    2
}

fn tiny() -> f64 {
    1e-12
}
