//! A checkpoint folder as Hugging Face publishes it: `config.json`, `model.safetensors`, `tokenizer.json`.

use super::shape::BertShape;
use crate::features::FeatureError;
use crate::{Tensor, TensorData, Tensors, files};
use safetensors::tensor::{Dtype, SafeTensors};
use serde::Deserialize;
use std::path::Path;

/// Sizes, weights and tokenizer of an encoder.
#[derive(Debug, Clone)]
pub struct BertCheckpoint {
    /// Sizes.
    pub shape: BertShape,
    /// Weights by name, those of [`BertShape::parameters`] and no others.
    pub weights: Tensors,
    /// Content of `tokenizer.json`.
    pub tokenizer: Vec<u8>,
}

/// What of `config.json` decides whether this code computes what the checkpoint means.
#[derive(Debug, Deserialize)]
struct Config {
    #[serde(flatten)]
    shape: BertShape,
    #[serde(default)]
    model_type: Option<String>,
    #[serde(default)]
    hidden_act: Option<String>,
    #[serde(default)]
    position_embedding_type: Option<String>,
}

impl Config {
    fn check(&self) -> Result<(), String> {
        let fixed = [
            ("model_type", &self.model_type, "bert"),
            ("hidden_act", &self.hidden_act, "gelu"),
            ("position_embedding_type", &self.position_embedding_type, "absolute"),
        ];
        for (key, found, expected) in fixed {
            if let Some(found) = found.as_ref().filter(|found| *found != expected) {
                return Err(format!("`{key}` is `{found}`, expected `{expected}`"));
            }
        }
        self.shape.check()
    }
}

impl BertCheckpoint {
    /// Reads a folder.
    ///
    /// # Errors
    /// If a file is missing, malformed or of another architecture.
    pub fn open(dir: &Path) -> Result<Self, FeatureError> {
        let error = |file: &str, reason: String| FeatureError::Setup {
            name: super::ROW.name.to_owned(),
            reason: format!("`{}`: {reason}", dir.join(file).display()),
        };
        let read = |file: &str| {
            let read = files::read_up_to(&dir.join(file), u64::MAX - 1);
            read.map_err(|e| error(file, format!("cannot {} it: {}", e.action, e.source)))
        };
        let config = read("config.json")?;
        let config: Config =
            serde_json::from_slice(&config).map_err(|e| error("config.json", e.to_string()))?;
        config.check().map_err(|reason| error("config.json", reason))?;
        let weights = weights(&config.shape, &read("model.safetensors")?)
            .map_err(|reason| error("model.safetensors", reason))?;
        Ok(Self { shape: config.shape, weights, tokenizer: read("tokenizer.json")? })
    }
}

/// The parameters of a shape out of a safetensors file; whatever else it holds (poolers, heads of other
/// tasks, position ids) is left out.
fn weights(shape: &BertShape, bytes: &[u8]) -> Result<Tensors, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let expected = shape.parameters();
    let mut tensors = Tensors::new();
    for (stored, view) in file.tensors() {
        let name = current_name(&stored);
        let Some((_, shape)) = expected.iter().find(|(expected, _)| *expected == name) else { continue };
        if view.shape() != shape {
            return Err(format!("tensor `{stored}` has shape {:?}, expected {shape:?}", view.shape()));
        }
        let values = floats(view.dtype(), view.data())
            .ok_or_else(|| format!("tensor `{stored}` has type {:?}, expected a float", view.dtype()))?;
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(format!("tensor `{stored}` is not finite at position {at}"));
        }
        tensors.insert(&name, Tensor { shape: shape.clone(), data: TensorData::F32(values) });
    }
    match expected.iter().find(|(name, _)| tensors.shape(name).is_err()) {
        Some((name, _)) => Err(format!("tensor `{name}` is missing")),
        None => Ok(tensors),
    }
}

/// Without the prefix of models that have BERT as a part, and with today's names of the layer norms.
fn current_name(stored: &str) -> String {
    let name = stored.strip_prefix("bert.").unwrap_or(stored);
    name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
}

fn floats(dtype: Dtype, raw: &[u8]) -> Option<Vec<f32>> {
    let (twos, fours) = (raw.as_chunks::<2>().0, raw.as_chunks::<4>().0);
    match dtype {
        Dtype::F32 => Some(fours.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        Dtype::F16 => Some(twos.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect()),
        Dtype::BF16 => Some(twos.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect()),
        _ => None,
    }
}
