//! Passes a precomputed vector through: embeddings that came with the log or with the request.

use super::{FeatureError, FeatureInput, Featurizer, FeaturizerRow, FeaturizerSpec};
use crate::{FeatureMatrix, Tensors};

pub(super) const ROW: FeaturizerRow = FeaturizerRow {
    name: "column",
    title: "a precomputed vector: a list column of the log, a field of the request",
    restore: |spec, _| Ok(std::sync::Arc::new(Column { spec: spec.clone() })),
    open: None,
};

/// The featurizer that reads [`FeatureInput::vector`].
#[derive(Debug, Clone)]
pub struct Column {
    spec: FeaturizerSpec,
}

impl Column {
    /// Vectors of width `dim` from column `column`.
    pub fn new(column: &str, dim: usize) -> Self {
        let settings = serde_json::json!({ "column": column });
        Self { spec: FeaturizerSpec { name: ROW.name.to_owned(), dim, settings } }
    }
}

impl Featurizer for Column {
    fn spec(&self) -> &FeaturizerSpec {
        &self.spec
    }

    fn tensors(&self) -> Tensors {
        Tensors::new()
    }

    fn reads_vector(&self) -> bool {
        true
    }

    fn featurize(&self, inputs: &[FeatureInput<'_>]) -> Result<FeatureMatrix, FeatureError> {
        let dim = self.spec.dim;
        let mut values = Vec::with_capacity(inputs.len() * dim);
        for (row, input) in inputs.iter().enumerate() {
            let error = |reason: String| FeatureError::Input { row, reason };
            // A vector of width 0 says nothing, given or not.
            let vector = input.vector.or((dim == 0).then_some(&[][..])).ok_or_else(|| {
                error(format!("this policy reads a precomputed vector of width {dim}; none was given"))
            })?;
            if vector.len() != dim {
                return Err(error(format!("its vector has width {}, expected {dim}", vector.len())));
            }
            if let Some(at) = vector.iter().position(|v| !v.is_finite()) {
                return Err(error(format!("its vector is not finite at position {at}")));
            }
            values.extend_from_slice(vector);
        }
        Ok(FeatureMatrix::from_vec(inputs.len(), dim, values))
    }
}
