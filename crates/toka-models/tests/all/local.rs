//! A folder on disk: what it gives, and what is refused.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use tempfile::TempDir;
use toka_models::testing::{DIMENSION, HEADS, LAYERS, TOKENS, vocabulary, write_model};
use toka_models::{FolderError, LocalEmbedder};
use toka_toolkit_core::{COSINE_ONE, Embedder, Embedding};

fn model() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path(), 7).unwrap();
    folder
}

fn cosine(embedder: &LocalEmbedder, one: &str, other: &str) -> f64 {
    let found = embedder.embed(&[one, other]).unwrap();
    f64::from(found[0].cosine(&found[1])) / f64::from(COSINE_ONE)
}

#[test]
fn texts_become_directions() {
    let folder = model();
    let embedder = LocalEmbedder::open(folder.path()).unwrap();
    assert_eq!(embedder.dimension(), DIMENSION);
    assert!(embedder.id().starts_with("bert/1:"), "{}", embedder.id());
    assert!(cosine(&embedder, "the car", "An AUTOMOBILE") > 0.999);
    assert!(cosine(&embedder, "the car", "the tide") < 0.95);
    // What the tokenizer's own file would cut off still counts.
    assert!(cosine(&embedder, "car car car car bread", "car car car car tide") < 0.9999);
    // What is longer than the model reads is cut off, and no error.
    let long = "tide ".repeat(10 * TOKENS);
    assert!(cosine(&embedder, &long, &"tide ".repeat(TOKENS - 2)) > 0.9999);
    for nothing in ["", "  \n"] {
        assert_eq!(embedder.embed(&[nothing]).unwrap(), [Embedding::Bits16(vec![0; DIMENSION])]);
    }
    // One by one or together: a text's vector is its own.
    let together = embedder.embed(&["the car", "bread"]).unwrap();
    assert_eq!(together[1], embedder.embed(&["bread"]).unwrap()[0]);
}

#[test]
fn the_id_names_what_the_files_hold() {
    let (one, same, other) = (model(), model(), tempfile::tempdir().unwrap());
    write_model(other.path(), 8).unwrap();
    let id = |folder: &TempDir| LocalEmbedder::open(folder.path()).unwrap().id().to_owned();
    assert_eq!(id(&one), id(&same));
    assert_ne!(id(&one), id(&other));
    fs::write(one.path().join("sentence_bert_config.json"), r#"{"max_seq_length": 16}"#).unwrap();
    assert_ne!(id(&one), id(&same));
    fs::write(one.path().join("README.md"), "of no consequence").unwrap();
    fs::remove_file(same.path().join("sentence_bert_config.json")).unwrap();
    let (lengths_given, lengths_of_the_model) = (id(&one), id(&same));
    assert_ne!(lengths_given, lengths_of_the_model);
}

#[test]
fn a_folder_that_is_no_model_is_refused_by_file_and_value() {
    let check = |what: &str, harm: &dyn Fn(&Path), expected: &str| {
        let folder = model();
        harm(folder.path());
        let error = LocalEmbedder::open(folder.path()).expect_err(what).to_string();
        assert!(error.contains(expected), "{what}: {error}");
    };
    for name in
        ["modules.json", "config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"]
    {
        check(name, &|folder| fs::remove_file(folder.join(name)).unwrap(), &format!("{name} is missing"));
        check(name, &|folder| fs::write(folder.join(name), "{").unwrap(), name);
    }
    let replaced = |name: &'static str, from: &'static str, to: &'static str| {
        move |folder: &Path| {
            let text = fs::read_to_string(folder.join(name)).unwrap();
            assert!(text.contains(from), "{name}: {from}");
            fs::write(folder.join(name), text.replace(from, to)).unwrap();
        }
    };
    let config = |from, to| replaced("config.json", from, to);
    check(
        "an architecture",
        &config("\"bert\"", "\"roberta\""),
        "model_type is \"roberta\"; \"bert\" is computed here",
    );
    check("an activation", &config("\"gelu\"", "\"silu\""), "hidden_act is \"silu\"");
    check(
        "positions",
        &config("\"absolute\"", "\"relative_key\""),
        "position_embedding_type is \"relative_key\"",
    );
    check(
        "heads",
        &config("\"num_attention_heads\": 4", "\"num_attention_heads\": 5"),
        "64 cannot be shared by 5",
    );
    check(
        "no heads",
        &config("\"num_attention_heads\": 4", "\"num_attention_heads\": 0"),
        "num_attention_heads is 0",
    );
    check("another size", &config("\"hidden_size\": 64", "\"hidden_size\": 128"), "model.safetensors");
    check(
        "a huge size",
        &config("\"hidden_size\": 64", "\"hidden_size\": 1000000000000"),
        "hidden_size is 1000000000000",
    );
    check("fewer words", &config("\"vocab_size\": 19", "\"vocab_size\": 18"), "it knows a token 18");
    let modules = |from, to| replaced("modules.json", from, to);
    check(
        "a module",
        &modules("models.Normalize", "models.Dense"),
        "models.Dense; Transformer, Pooling and Normalize",
    );
    check("no pooling", &modules("models.Pooling", "models.Normalize"), "it names no Pooling");
    check("a way out", &modules("1_Pooling", "../1_Pooling"), "leads out of the folder");
    let pooling = |to| replaced("1_Pooling/config.json", "pooling_mode_mean_tokens", to);
    check("pooling", &pooling("pooling_mode_max_tokens"), "the pooling is pooling_mode_max_tokens");
    check("no mode", &pooling("mean_tokens"), "the pooling is none");
    let lengths = |to| replaced("sentence_bert_config.json", "32", to);
    check("a length", &lengths("2"), "max_seq_length is 2; at least 3");
    let weights = |folder: &Path| folder.join("model.safetensors");
    check(
        "half",
        &|folder| {
            let bytes = fs::read(weights(folder)).unwrap();
            fs::write(weights(folder), &bytes[..bytes.len() / 2]).unwrap();
        },
        "model.safetensors",
    );
    check(
        "not finite",
        &|folder| {
            let mut tensors = candle_core::safetensors::load(weights(folder), &Device::Cpu).unwrap();
            let name = "embeddings.word_embeddings.weight";
            let shape = tensors[name].shape().clone();
            tensors.insert(name.to_owned(), Tensor::full(f32::NAN, shape, &Device::Cpu).unwrap());
            candle_core::safetensors::save(&tensors, weights(folder)).unwrap();
        },
        "not finite",
    );
    let gone = LocalEmbedder::open(Path::new("/nowhere/at/all")).unwrap_err();
    assert!(matches!(gone, FolderError::Missing { .. }), "{gone}");
}

#[test]
fn the_model_computes_what_its_definition_says() {
    let folder = model();
    let tensors =
        candle_core::safetensors::load(folder.path().join("model.safetensors"), &Device::Cpu).unwrap();
    let vocabulary = vocabulary();
    let id = |word: &str| vocabulary.iter().position(|known| *known == word).unwrap();
    let ids = [id("[CLS]"), id("the"), id("doctor"), id("[UNK]"), id("river"), id("[SEP]")];
    let by_hand = Reference(&tensors).vector(&ids);
    for (mode, expected) in [("mean", by_hand.mean), ("cls", by_hand.first)] {
        let name = if mode == "mean" { "pooling_mode_mean_tokens" } else { "pooling_mode_cls_token" };
        fs::write(folder.path().join("1_Pooling/config.json"), format!(r#"{{"{name}": true}}"#)).unwrap();
        let embedder = LocalEmbedder::open(folder.path()).unwrap();
        let Embedding::Bits16(found) = embedder.embed(&["The doctor crosses river"]).unwrap().remove(0)
        else {
            panic!("16 bits")
        };
        let largest = expected.iter().fold(0f64, |max, value| max.max(value.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            let expected = expected / largest * f64::from(i16::MAX);
            assert!((f64::from(*found) - expected).abs() < 2.0, "{mode}: {found} {expected}");
        }
    }
}

/// BERT by its definition, in loops over 64-bit numbers.
struct Reference<'a>(&'a HashMap<String, Tensor>);

struct Pooled {
    mean: Vec<f64>,
    first: Vec<f64>,
}

type Rows = Vec<Vec<f64>>;

impl Reference<'_> {
    fn rows(&self, name: &str) -> Rows {
        let rows = self.0[name].to_vec2::<f32>().unwrap();
        rows.into_iter().map(|row| row.into_iter().map(f64::from).collect()).collect()
    }

    fn row(&self, name: &str) -> Vec<f64> {
        self.0[name].to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect()
    }

    fn linear(&self, name: &str, input: &Rows) -> Rows {
        let (weight, bias) = (self.rows(&format!("{name}.weight")), self.row(&format!("{name}.bias")));
        let one = |row: &Vec<f64>| weight.iter().zip(&bias).map(|(w, b)| dot(w, row) + b).collect();
        input.iter().map(one).collect()
    }

    fn norm(&self, name: &str, input: &Rows) -> Rows {
        let weight = self.row(&format!("{name}.LayerNorm.weight"));
        let bias = self.row(&format!("{name}.LayerNorm.bias"));
        let one = |row: &Vec<f64>| {
            let mean = row.iter().sum::<f64>() / row.len() as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
            let scaled = row.iter().map(|x| (x - mean) / (variance + 1e-12).sqrt());
            scaled.zip(weight.iter().zip(&bias)).map(|(x, (w, b))| x * w + b).collect()
        };
        input.iter().map(one).collect()
    }

    fn vector(&self, ids: &[usize]) -> Pooled {
        let words = self.rows("embeddings.word_embeddings.weight");
        let places = self.rows("embeddings.position_embeddings.weight");
        let types = self.rows("embeddings.token_type_embeddings.weight");
        let sums =
            ids.iter().enumerate().map(|(place, id)| sum(&sum(&words[*id], &places[place]), &types[0]));
        let mut states = self.norm("embeddings", &sums.collect());
        for layer in 0..LAYERS {
            let name = |part: &str| format!("encoder.layer.{layer}.{part}");
            let [query, key, value] = ["query", "key", "value"]
                .map(|part| self.linear(&name(&format!("attention.self.{part}")), &states));
            let size = DIMENSION / HEADS;
            let mut attended: Rows = vec![Vec::new(); ids.len()];
            for head in 0..HEADS {
                let part = |row: &Vec<f64>| row[head * size..][..size].to_vec();
                for (place, row) in query.iter().enumerate() {
                    let scores = key.iter().map(|key| dot(&part(row), &part(key)) / (size as f64).sqrt());
                    let scores: Vec<f64> = scores.map(f64::exp).collect();
                    let all: f64 = scores.iter().sum();
                    let mut mixed = vec![0.0; size];
                    for (score, value) in scores.iter().zip(&value) {
                        mixed.iter_mut().zip(part(value)).for_each(|(m, v)| *m += score / all * v);
                    }
                    attended[place].extend(mixed);
                }
            }
            let dense = self.linear(&name("attention.output.dense"), &attended);
            states = self.norm(&name("attention.output"), &sums_of(&dense, &states));
            let mut inner = self.linear(&name("intermediate.dense"), &states);
            inner.iter_mut().flatten().for_each(|x| *x = gelu(*x));
            let dense = self.linear(&name("output.dense"), &inner);
            states = self.norm(&name("output"), &sums_of(&dense, &states));
        }
        let mut mean = vec![0.0; DIMENSION];
        states.iter().for_each(|row| mean.iter_mut().zip(row).for_each(|(m, x)| *m += x / ids.len() as f64));
        Pooled { mean, first: states[0].clone() }
    }
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

fn sum(one: &[f64], other: &[f64]) -> Vec<f64> {
    one.iter().zip(other).map(|(a, b)| a + b).collect()
}

fn sums_of(one: &Rows, other: &Rows) -> Rows {
    one.iter().zip(other).map(|(a, b)| sum(a, b)).collect()
}

/// x Φ(x), with Φ from the series of the error function.
fn gelu(x: f64) -> f64 {
    let z = x / 2f64.sqrt();
    let (mut term, mut erf) = (z, z);
    for n in 1..200 {
        term *= -z * z / f64::from(n);
        erf += term / f64::from(2 * n + 1);
    }
    x * 0.5 * (1.0 + erf * 2.0 / std::f64::consts::PI.sqrt())
}

/// With `TOKA_MINILM` naming a folder of all-MiniLM-L6-v2; without it there is nothing to try.
#[test]
fn a_real_model_knows_what_sentences_mean() {
    let Some(folder) = std::env::var_os("TOKA_MINILM") else { return };
    let embedder = LocalEmbedder::open(Path::new(&folder)).unwrap();
    assert_eq!(embedder.dimension(), 384);
    let check = |one: &str, other: &str, expected: f64| {
        let found = cosine(&embedder, one, other);
        assert!((found - expected).abs() < 0.005, "{one:?} and {other:?}: {found}, not {expected}");
    };
    // As a computation of the same weights by other means gives them.
    check("a man is eating food", "a man eats a meal", 0.900);
    check("a man is eating food", "the stock market fell", -0.032);
    check("a man eats a meal", "the stock market fell", -0.029);
}
