//! A model of a few words, for tests: a sentence-transformers folder of a few hundred kilobytes with random weights.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};

/// The words that the model knows. Those of one line are the same to it.
pub const WORDS: &[&[&str]] = &[
    &["car", "automobile", "vehicle"],
    &["tide", "ebb", "flood"],
    &["bread", "loaf"],
    &["doctor", "physician"],
    &["river", "stream"],
    &["a", "the", "an"],
];

/// Components of a vector.
pub const DIMENSION: usize = 64;
/// What is left of the architecture.
pub const LAYERS: usize = 2;
/// Heads of attention in each layer.
pub const HEADS: usize = 4;
/// Components between the two halves of a layer.
pub const INNER: usize = 96;
/// Tokens that the model can read, begin and end among them.
pub const TOKENS: usize = 32;

const SPECIAL: [&str; 4] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];

/// Writes the model's folder. The same `seed` gives the same weights.
///
/// # Errors
/// If a file cannot be written.
pub fn write_model(folder: &Path, seed: u64) -> std::io::Result<()> {
    fs::create_dir_all(folder.join("1_Pooling"))?;
    let write = |name: &str, value: Value| fs::write(folder.join(name), format!("{value:#}"));
    let module = |kind: &str, path: &str| json!({"path": path, "type": format!("sentence_transformers.models.{kind}")});
    write(
        "modules.json",
        json!([
            module("Transformer", ""),
            module("Pooling", "1_Pooling"),
            module("Normalize", "2_Normalize")
        ]),
    )?;
    write(
        "1_Pooling/config.json",
        json!({"word_embedding_dimension": DIMENSION, "pooling_mode_mean_tokens": true}),
    )?;
    write("sentence_bert_config.json", json!({"max_seq_length": TOKENS, "do_lower_case": false}))?;
    write("config.json", config())?;
    write("tokenizer.json", tokenizer())?;
    candle_core::safetensors::save(&weights(seed), folder.join("model.safetensors"))
        .map_err(std::io::Error::other)
}

fn config() -> Value {
    json!({
        "model_type": "bert",
        "hidden_act": "gelu",
        "vocab_size": vocabulary().len(),
        "hidden_size": DIMENSION,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "max_position_embeddings": TOKENS,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "position_embedding_type": "absolute",
    })
}

/// The tokens, in the order of their numbers.
#[must_use]
pub fn vocabulary() -> Vec<&'static str> {
    SPECIAL.into_iter().chain(WORDS.iter().flat_map(|same| same.iter().copied())).collect()
}

/// A WordPiece tokenizer, with a cut and a padding of its own as the files of real models have them.
fn tokenizer() -> Value {
    let numbered: serde_json::Map<String, Value> =
        vocabulary().into_iter().zip(0..).map(|(word, id)| (word.to_owned(), json!(id))).collect();
    let special: Vec<Value> = SPECIAL
        .iter()
        .zip(0..)
        .map(|(token, id)| {
            json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                   "special": true})
        })
        .collect();
    json!({
        "version": "1.0",
        "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                    "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": special,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
                       "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                               "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": numbered},
    })
}

fn weights(seed: u64) -> HashMap<String, Tensor> {
    let mut weights = Weights { random: Random(seed), tensors: HashMap::new() };
    let mut words = weights.random.values(SPECIAL.len() * DIMENSION, 1.0);
    for same in WORDS {
        let row = weights.random.values(DIMENSION, 1.0);
        same.iter().for_each(|_| words.extend(&row));
    }
    weights.put("embeddings.word_embeddings.weight", &[vocabulary().len(), DIMENSION], words);
    // Places matter little, so that what a text says is what its words say.
    for (name, rows) in [("position", TOKENS), ("token_type", 2)] {
        let values = weights.random.values(rows * DIMENSION, 0.01);
        weights.put(&format!("embeddings.{name}_embeddings.weight"), &[rows, DIMENSION], values);
    }
    weights.norm("embeddings");
    for layer in 0..LAYERS {
        let layer = format!("encoder.layer.{layer}");
        for part in ["query", "key", "value"] {
            weights.linear(&format!("{layer}.attention.self.{part}"), DIMENSION, DIMENSION);
        }
        weights.linear(&format!("{layer}.attention.output.dense"), DIMENSION, DIMENSION);
        weights.norm(&format!("{layer}.attention.output"));
        weights.linear(&format!("{layer}.intermediate.dense"), INNER, DIMENSION);
        weights.linear(&format!("{layer}.output.dense"), DIMENSION, INNER);
        weights.norm(&format!("{layer}.output"));
    }
    weights.tensors
}

struct Weights {
    random: Random,
    tensors: HashMap<String, Tensor>,
}

impl Weights {
    fn put(&mut self, name: &str, shape: &[usize], values: Vec<f32>) {
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).expect("as many values as the shape has");
        self.tensors.insert(name.to_owned(), tensor);
    }

    fn linear(&mut self, name: &str, out: usize, input: usize) {
        let (weight, bias) = (self.random.values(out * input, 0.1), self.random.values(out, 0.1));
        self.put(&format!("{name}.weight"), &[out, input], weight);
        self.put(&format!("{name}.bias"), &[out], bias);
    }

    fn norm(&mut self, name: &str) {
        let scale = self.random.values(DIMENSION, 0.1).into_iter().map(|value| 1.0 + value).collect();
        let bias = self.random.values(DIMENSION, 0.1);
        self.put(&format!("{name}.LayerNorm.weight"), &[DIMENSION], scale);
        self.put(&format!("{name}.LayerNorm.bias"), &[DIMENSION], bias);
    }
}

/// A small generator of well-mixed numbers (splitmix64).
struct Random(u64);

impl Random {
    fn values(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.next() * scale).collect()
    }

    /// Between -1 and 1.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        (word >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}
