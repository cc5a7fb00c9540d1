//! A BERT sentence encoder with its weights in the artifact: neither burn nor onnxruntime is needed to serve.
//!
//! A text becomes tokens, the tokens vectors (see [`forward`]), their mean (or the first of them) the vector
//! of the text, brought to unit length. Read from a checkpoint folder as it is, or fine-tuned by `routerdc`.
//! An empty text is `[CLS] [SEP]` and has a vector like any other.

mod checkpoint;
mod forward;
mod product;
mod shape;
mod tiny;
mod tokens;

pub use checkpoint::BertCheckpoint;
pub use forward::BertNetwork;
pub use shape::{BertShape, layer_prefix};
pub use tiny::write_tiny;
pub use tokens::BertTokenizer;

use super::{
    EncoderSettings, FeatureError, FeatureInput, Featurizer, FeaturizerRow, FeaturizerSpec, Pooling,
};
use crate::{FeatureMatrix, Tensors};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

pub(super) const ROW: FeaturizerRow = FeaturizerRow {
    name: "bert",
    title: "a BERT sentence encoder, frozen or fine-tuned, its weights in the artifact",
    restore: |spec, tensors| Ok(Arc::new(Bert::restore(spec, tensors)?)),
    open: Some(|dir, settings| Ok(Arc::new(Bert::open(dir, settings)?))),
};

/// Lengths below this count as zero.
const NORM_MIN: f32 = 1e-12;
/// Name of the tensor that holds `tokenizer.json`.
const TOKENIZER: &str = "tokenizer.json";

/// The featurizer: tokenizer and network.
#[derive(Debug, Clone)]
pub struct Bert {
    spec: FeaturizerSpec,
    pooling: Pooling,
    tokenizer: BertTokenizer,
    network: BertNetwork,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    shape: BertShape,
    encoder: EncoderSettings,
}

impl Bert {
    /// The encoder of a checkpoint folder as it is.
    ///
    /// # Errors
    /// If a file is missing, malformed or of another architecture.
    pub fn open(dir: &Path, settings: EncoderSettings) -> Result<Self, FeatureError> {
        Self::new(BertCheckpoint::open(dir)?, settings)
    }

    /// The encoder of a checkpoint in memory. Texts are cut to the positions the checkpoint has.
    ///
    /// # Errors
    /// If a weight is missing or misshapen, or the tokenizer does not belong to the weights.
    pub fn new(checkpoint: BertCheckpoint, settings: EncoderSettings) -> Result<Self, FeatureError> {
        let error = |reason: String| FeatureError::Setup { name: ROW.name.to_owned(), reason };
        let shape = checkpoint.shape;
        shape.check().map_err(error)?;
        let settings = settings.within(shape.max_position_embeddings);
        let tokenizer = BertTokenizer::new(checkpoint.tokenizer, settings)?;
        let known = shape.vocab_size;
        if let Some(id) = tokenizer.greatest_id().filter(|id| *id as usize >= known) {
            return Err(error(format!("the tokenizer knows token `{id}`, the weights only {known} tokens")));
        }
        let network = BertNetwork::new(&shape, checkpoint.weights)
            .map_err(|source| FeatureError::Tensor { name: ROW.name.to_owned(), source })?;
        let (dim, pooling) = (shape.hidden_size, settings.pooling);
        let settings = serde_json::to_value(Settings { shape, encoder: settings });
        let settings = settings.map_err(|e| error(e.to_string()))?;
        let spec = FeaturizerSpec { name: ROW.name.to_owned(), dim, settings };
        Ok(Self { spec, pooling, tokenizer, network })
    }

    fn restore(spec: &FeaturizerSpec, mut tensors: Tensors) -> Result<Self, FeatureError> {
        let error = |reason: String| FeatureError::Setup { name: ROW.name.to_owned(), reason };
        let wrap = |source| FeatureError::Tensor { name: ROW.name.to_owned(), source };
        let Settings { shape, encoder } =
            serde_json::from_value(spec.settings.clone()).map_err(|e| error(e.to_string()))?;
        if spec.dim != shape.hidden_size {
            let (dim, h) = (spec.dim, shape.hidden_size);
            return Err(error(format!("its width is `{dim}`, expected `hidden_size`, which is `{h}`")));
        }
        let length = tensors.shape(TOKENIZER).map_err(wrap)?;
        let tokenizer = tensors.take_u8(TOKENIZER, &length).map_err(wrap)?;
        Self::new(BertCheckpoint { shape, weights: tensors, tokenizer }, encoder)
    }

    fn vector(&self, row: usize, text: &str) -> Result<Vec<f32>, FeatureError> {
        let ids = self.tokenizer.encode(row, text)?;
        Ok(pooled(&self.network.forward(&ids), self.spec.dim, self.pooling))
    }
}

/// The vector of a text from those of its tokens `(n, h)`, at unit length.
fn pooled(tokens: &[f32], h: usize, pooling: Pooling) -> Vec<f32> {
    let mut out = vec![0.0_f32; h];
    let n = match pooling {
        Pooling::Mean => tokens.len() / h,
        Pooling::Cls => 1,
    };
    for token in tokens.chunks_exact(h).take(n) {
        out.iter_mut().zip(token).for_each(|(out, x)| *out += x);
    }
    out.iter_mut().for_each(|x| *x /= n.max(1) as f32);
    let length = out.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt() as f32;
    out.iter_mut().for_each(|x| *x /= length.max(NORM_MIN));
    out
}

impl Featurizer for Bert {
    fn spec(&self) -> &FeaturizerSpec {
        &self.spec
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = self.network.weights();
        let json = self.tokenizer.json().to_vec();
        tensors.insert_u8(TOKENIZER, &[json.len()], json);
        tensors
    }

    fn featurize(&self, inputs: &[FeatureInput<'_>]) -> Result<FeatureMatrix, FeatureError> {
        let vectors: Result<Vec<Vec<f32>>, FeatureError> = match inputs {
            // One request must not wake the other threads.
            [input] => self.vector(0, input.text).map(|vector| vec![vector]),
            _ => inputs.par_iter().enumerate().map(|(row, input)| self.vector(row, input.text)).collect(),
        };
        Ok(FeatureMatrix::from_vec(inputs.len(), self.spec.dim, vectors?.concat()))
    }
}

#[cfg(test)]
mod tests;
