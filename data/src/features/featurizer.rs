//! What a featurizer is, and the row it is registered by.

use super::encoder::EncoderSettings;
use crate::{FeatureMatrix, TensorError, Tensors};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

/// What features are made of: the text, or a vector that came with the query.
#[derive(Debug, Clone, Copy, Default)]
pub struct FeatureInput<'a> {
    /// Literal text of the query.
    pub text: &'a str,
    /// Precomputed vector, for the featurizer that passes a column through.
    pub vector: Option<&'a [f32]>,
}

impl<'a> From<&'a str> for FeatureInput<'a> {
    fn from(text: &'a str) -> Self {
        Self { text, vector: None }
    }
}

/// Name, width and settings of a featurizer; with its tensors, all there is to know about it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FeaturizerSpec {
    /// Registered name, e.g. `lexical`.
    pub name: String,
    /// Width of the vectors it makes.
    pub dim: usize,
    /// Settings as resolved when it was fitted.
    pub settings: serde_json::Value,
}

/// Why features could not be made or a featurizer not be restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// The query lacks what the featurizer needs.
    #[error("cannot make features of query {row}: {reason}")]
    Input {
        /// Position in the batch.
        row: usize,
        /// What is wrong and what would be accepted.
        reason: String,
    },
    /// Fitting or restoring failed.
    #[error("cannot set up featurizer `{name}`: {reason}")]
    Setup {
        /// Registered name.
        name: String,
        /// What is wrong and what would be accepted.
        reason: String,
    },
    /// A stored tensor is not what the spec promises.
    #[error("cannot restore featurizer `{name}`")]
    Tensor {
        /// Registered name.
        name: String,
        /// The tensor at fault.
        #[source]
        source: TensorError,
    },
}

/// A function from queries to vectors.
pub trait Featurizer: Send + Sync + Debug {
    /// Name, width and settings.
    fn spec(&self) -> &FeaturizerSpec;

    /// Weights, for the artifact.
    fn tensors(&self) -> Tensors;

    /// Vectors of shape `(inputs.len(), dim)`, every value finite.
    ///
    /// # Errors
    /// If an input lacks what this featurizer reads (row and reason are named).
    fn featurize(&self, inputs: &[FeatureInput<'_>]) -> Result<FeatureMatrix, FeatureError>;

    /// Whether it reads [`FeatureInput::vector`]; all others read the text.
    fn reads_vector(&self) -> bool {
        false
    }

    /// Width of the vectors.
    fn dim(&self) -> usize {
        self.spec().dim
    }
}

/// Restores a featurizer from its spec and weights.
pub type Restore = fn(&FeaturizerSpec, Tensors) -> Result<Arc<dyn Featurizer>, FeatureError>;

/// A registered featurizer: how it is restored from an artifact.
#[derive(Debug, Clone, Copy)]
pub struct FeaturizerRow {
    /// Name in manifests and on the command line.
    pub name: &'static str,
    /// What it computes, in one line.
    pub title: &'static str,
    /// Restores it from its spec and weights.
    pub restore: Restore,
    /// Opens a model folder as it is, for those that are not fitted.
    pub open: Option<OpenFolder>,
}

/// Makes a featurizer of a model folder.
pub type OpenFolder = fn(&Path, EncoderSettings) -> Result<Arc<dyn Featurizer>, FeatureError>;
