//! A tiny checkpoint made by a formula: for tests, and for trying things out where no weights are.

use super::shape::BertShape;
use crate::files::{self, FileError};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// Tokens every vocabulary begins with.
const SPECIAL: [&str; 4] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];

/// Writes a checkpoint of two layers, four heads and width 32 that knows `words`, the letters a to z and
/// their continuations. Value `i` of parameter `p`, in the order of [`BertShape::parameters`], is
/// `((31 i + 17 p) mod 101 - 50) / 250`; scales of layer norms have 1 added.
///
/// # Errors
/// If a file cannot be written.
pub fn write_tiny(dir: &Path, words: &[&str]) -> Result<BertShape, FileError> {
    let mut vocabulary: BTreeMap<String, usize> = BTreeMap::new();
    let letters = ('a'..='z').flat_map(|c| [c.to_string(), format!("##{c}")]);
    for token in
        SPECIAL.iter().copied().map(str::to_owned).chain(letters).chain(words.iter().map(|w| (*w).to_owned()))
    {
        let id = vocabulary.len();
        vocabulary.entry(token).or_insert(id);
    }
    let shape = BertShape {
        vocab_size: vocabulary.len(),
        hidden_size: 32,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        intermediate_size: 64,
        max_position_embeddings: 40,
        type_vocab_size: 2,
        layer_norm_eps: 1e-12,
    };
    let write = |name: &str, value: serde_json::Value| {
        files::write_file(&dir.join(name), format!("{value:#}\n").as_bytes())
    };
    write("config.json", json!(shape))?;
    write("tokenizer.json", tokenizer(&vocabulary))?;
    write("special_tokens_map.json", json!({"pad_token": "[PAD]", "unk_token": "[UNK]"}))?;
    write("tokenizer_config.json", json!({"model_max_length": 40, "pad_token": "[PAD]"}))?;
    files::write_file(&dir.join("model.safetensors"), &weights(&shape))?;
    Ok(shape)
}

fn weights(shape: &BertShape) -> Vec<u8> {
    let parameters = shape.parameters();
    let bytes: Vec<Vec<u8>> = parameters
        .iter()
        .enumerate()
        .map(|(p, (name, shape))| {
            let base = if name.ends_with("LayerNorm.weight") { 1.0 } else { 0.0 };
            let value = |i: usize| base + ((31 * i + 17 * p) % 101) as f32 / 250.0 - 0.2;
            (0..shape.iter().product()).flat_map(|i| value(i).to_le_bytes()).collect()
        })
        .collect();
    let views = parameters.iter().zip(&bytes).filter_map(|((name, shape), bytes)| {
        Some((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).ok()?))
    });
    safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap_or_default()
}

fn tokenizer(vocabulary: &BTreeMap<String, usize>) -> serde_json::Value {
    let special = |token: &str| json!({"id": token, "ids": [vocabulary[token]], "tokens": [token]});
    let piece = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let added = SPECIAL.map(|token| {
        json!({"id": vocabulary[token], "content": token, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false, "special": true})
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [piece("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, piece("[SEP]")],
            "pair": [piece("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, piece("[SEP]"),
                     {"Sequence": {"id": "B", "type_id": 1}}, piece("[SEP]")],
            "special_tokens": {"[CLS]": special("[CLS]"), "[SEP]": special("[SEP]")},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocabulary},
    })
}
