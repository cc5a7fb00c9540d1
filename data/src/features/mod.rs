//! From a query to a vector. Training and serving call the same function, named in the artifact.
//!
//! A [`Featurizer`] is fitted once on the train split, described by a [`FeaturizerSpec`] and a set of
//! tensors, and restored from them bit for bit. Its digest stands in the artifact: a policy refuses
//! features made by another featurizer.

use crate::suggest::near_names;
use crate::{FeatureMatrix, TensorError, Tensors};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::sync::Arc;

mod bag;
mod column;
mod lexical;
pub mod ngrams;
mod sparse;

pub use bag::{BITS_MAX, BagVocabulary, HashedBag};
pub use column::Column;
pub use lexical::{Lexical, LexicalSettings};

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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
}

/// Every featurizer, in the order of the documentation.
pub static ALL: &[FeaturizerRow] = &[lexical::ROW, column::ROW, bag::ROW];

/// Restores a featurizer from what an artifact stores.
///
/// # Errors
/// If its name is unknown or its weights are not valid.
pub fn restore(spec: &FeaturizerSpec, tensors: Tensors) -> Result<Arc<dyn Featurizer>, FeatureError> {
    match ALL.iter().find(|row| row.name == spec.name) {
        Some(row) => (row.restore)(spec, tensors),
        None => {
            let hint = near_names(&spec.name, ALL.iter().map(|row| row.name));
            Err(FeatureError::Setup {
                name: spec.name.clone(),
                reason: format!("this build does not know it; {hint}"),
            })
        }
    }
}
