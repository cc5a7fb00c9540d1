//! The files of a model folder and their digest.

use super::error;
use crate::features::FeatureError;
use crate::files;
use fastembed::{TokenizerFiles, UserDefinedEmbeddingModel};
use std::path::Path;

/// What is read of a folder, in the order of the digest. Weights in a file beside `model.onnx` (external
/// data) are not supported.
const FILES: [&str; 5] =
    ["model.onnx", "tokenizer.json", "config.json", "special_tokens_map.json", "tokenizer_config.json"];

/// blake3 over names, lengths and contents of the files of a folder, 64 hex digits.
pub(super) fn digest(dir: &Path) -> Result<String, FeatureError> {
    read(dir).map(|(digest, _)| digest)
}

/// The model of a folder whose digest must be `expected`.
pub(super) fn load(dir: &Path, expected: &str) -> Result<UserDefinedEmbeddingModel, FeatureError> {
    let (found, files) = read(dir)?;
    if found != expected {
        let dir = dir.display();
        return Err(error(format!("`{dir}` holds model {found}, expected {expected}")));
    }
    let [onnx, tokenizer_file, config_file, special_tokens_map_file, tokenizer_config_file] = files;
    let tokenizer =
        TokenizerFiles { tokenizer_file, config_file, special_tokens_map_file, tokenizer_config_file };
    Ok(UserDefinedEmbeddingModel::new(onnx, tokenizer))
}

fn read(dir: &Path) -> Result<(String, [Vec<u8>; 5]), FeatureError> {
    let mut hasher = blake3::Hasher::new();
    let mut contents = [const { Vec::new() }; 5];
    for (name, content) in FILES.iter().zip(&mut contents) {
        let read = files::read_up_to(&dir.join(name), u64::MAX - 1);
        *content = read.map_err(|e| {
            let (action, path, source) = (e.action, e.path, e.source);
            error(format!("cannot {action} `{path}`: {source}; a model folder holds {}", FILES.join(", ")))
        })?;
        hasher.update(name.as_bytes());
        hasher.update(&(content.len() as u64).to_le_bytes());
        hasher.update(content);
    }
    Ok((hasher.finalize().to_hex().to_string(), contents))
}
