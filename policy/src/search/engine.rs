//! The engines behind one name: which one a policy searches with, and how it is stored.

use super::{ApproximateIndex, ExactIndex, GraphOptions, LowDimIndex, Neighbor, SearchError};
use crate::LoadError;
use routewright_data::{FeatureMatrix, Tensors};
use serde::{Deserialize, Serialize};

/// Which engine searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// Every row is looked at; recall 1 by construction.
    #[default]
    Exact,
    /// A graph over 8-bit codes: for single queries over tens of thousands of rows. The rows themselves are
    /// not kept.
    Graph,
    /// Exact trees, for at most 16 dimensions.
    Trees,
}

/// A built index over the features of the training queries.
#[derive(Debug)]
pub enum Engine {
    /// See [`EngineKind::Exact`].
    Exact(ExactIndex),
    /// See [`EngineKind::Graph`].
    Graph(Box<ApproximateIndex>),
    /// See [`EngineKind::Trees`].
    Trees(LowDimIndex),
}

impl Engine {
    /// Indexes `features`, shape `(n, dim)`, unit norm.
    ///
    /// # Errors
    /// If the engine cannot index such features.
    pub fn new(kind: EngineKind, features: FeatureMatrix) -> Result<Self, SearchError> {
        let dim = features.dim();
        Ok(match kind {
            EngineKind::Exact => Self::Exact(ExactIndex::new(features.into_values(), dim)?),
            EngineKind::Graph => {
                let index = ApproximateIndex::new(features.values(), dim, GraphOptions::default())?;
                Self::Graph(Box::new(index))
            }
            EngineKind::Trees => Self::Trees(LowDimIndex::new(features.into_values(), dim)?),
        })
    }

    /// Which engine this is.
    pub fn kind(&self) -> EngineKind {
        match self {
            Self::Exact(_) => EngineKind::Exact,
            Self::Graph(_) => EngineKind::Graph,
            Self::Trees(_) => EngineKind::Trees,
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Exact(index) => index.len(),
            Self::Graph(index) => index.len(),
            Self::Trees(index) => index.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Width of the rows.
    pub fn dim(&self) -> usize {
        match self {
            Self::Exact(index) => index.dim(),
            Self::Graph(index) => index.dim(),
            Self::Trees(index) => index.dim(),
        }
    }

    /// The `k` nearest rows of each query of `(m, dim)`, best first.
    ///
    /// # Errors
    /// If the queries are ragged or not finite.
    pub fn search(&self, queries: &[f32], k: usize) -> Result<Vec<Vec<Neighbor>>, SearchError> {
        match self {
            Self::Exact(index) => index.search(queries, k),
            Self::Graph(index) => index.search(queries, k),
            Self::Trees(index) => index.search(queries, k),
        }
    }

    /// Stores the rows, or the graph where the rows are not kept.
    pub fn store(&self, tensors: &mut Tensors) {
        match self {
            Self::Exact(index) => {
                tensors.insert_f32("features", &[index.len(), index.dim()], index.rows().to_vec())
            }
            Self::Trees(index) => {
                tensors.insert_f32("features", &[index.len(), index.dim()], index.rows().to_vec())
            }
            Self::Graph(index) => {
                let bytes = index.to_bytes();
                tensors.insert_u8("graph", &[bytes.len()], bytes);
            }
        }
    }

    /// Restores what [`Engine::store`] stored.
    ///
    /// # Errors
    /// If a tensor is missing or the rows or the graph are not valid; `form` is named.
    pub fn restore(kind: EngineKind, tensors: &mut Tensors, form: &'static str) -> Result<Self, LoadError> {
        let refuse = |error: SearchError| LoadError::Config { form, reason: error.to_string() };
        if kind == EngineKind::Graph {
            let shape = tensors.shape("graph")?;
            let bytes = tensors.take_u8("graph", &shape)?;
            return Ok(Self::Graph(Box::new(ApproximateIndex::from_bytes(&bytes).map_err(refuse)?)));
        }
        let shape = tensors.shape("features")?;
        let (n, dim) = (shape.first().copied().unwrap_or(0), shape.get(1).copied().unwrap_or(0));
        let rows = tensors.take_f32("features", &[n, dim])?;
        Self::new(kind, FeatureMatrix::from_vec(n, dim, rows)).map_err(refuse)
    }
}
