//! The outcome log in memory: queries, models, and what each model did on each query.

use crate::{Cells, FeatureMatrix};

/// One request of a user, as logged.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Query {
    /// Key of the query in the log.
    pub id: String,
    /// Text that is routed on, see [`crate::query_text`].
    pub prompt: String,
    /// Task or origin, where the log says so.
    pub source: Option<String>,
    /// Split the log assigns, where it does.
    pub split: Option<String>,
    /// When it was asked, milliseconds since the epoch, where known.
    pub timestamp_ms: Option<i64>,
}

/// Queries x models with their outcomes; the common input of every method.
///
/// `models` is sorted by name, so that a log with shuffled rows gives the same table. Every matrix has
/// shape `(queries.len(), models.len())`.
#[derive(Debug, Clone, PartialEq)]
pub struct OutcomeTable {
    /// One entry a row of the matrices, in order of first appearance in the log.
    pub queries: Vec<Query>,
    /// One entry a column of the matrices, sorted.
    pub models: Vec<String>,
    /// What an evaluation counts, in `[0, 1]`.
    pub score: Cells,
    /// Graded training signal in `[0, 1]`, where the log has one.
    pub soft_score: Option<Cells>,
    /// Price of the call in US dollars; all missing where the log has no costs.
    pub cost_usd: Cells,
    /// Latency of the call in milliseconds, where the log has it.
    pub latency_ms: Option<Cells>,
    /// Features that came with the log, shape `(n_queries, dim)`, where asked for.
    pub vectors: Option<FeatureMatrix>,
}

impl OutcomeTable {
    /// Number of queries.
    pub fn n_queries(&self) -> usize {
        self.queries.len()
    }

    /// Number of arms (models).
    pub fn n_arms(&self) -> usize {
        self.models.len()
    }

    /// The literal texts, in row order.
    pub fn prompts(&self) -> Vec<&str> {
        self.queries.iter().map(|q| q.prompt.as_str()).collect()
    }

    /// The sources, in row order.
    pub fn sources(&self) -> Vec<Option<&str>> {
        self.queries.iter().map(|q| q.source.as_deref()).collect()
    }

    /// Whether any cost is known.
    pub fn has_costs(&self) -> bool {
        self.cost_usd.n_present() > 0
    }

    /// The rows named, in that order.
    #[must_use]
    pub fn select_rows(&self, rows: &[usize]) -> Self {
        Self {
            queries: rows.iter().map(|&row| self.queries[row].clone()).collect(),
            models: self.models.clone(),
            score: self.score.select_rows(rows),
            soft_score: self.soft_score.as_ref().map(|c| c.select_rows(rows)),
            cost_usd: self.cost_usd.select_rows(rows),
            latency_ms: self.latency_ms.as_ref().map(|c| c.select_rows(rows)),
            vectors: self.vectors.as_ref().map(|v| v.select_rows(rows)),
        }
    }

    /// The arms named by column, in that order.
    #[must_use]
    pub fn select_arms(&self, cols: &[usize]) -> Self {
        Self {
            queries: self.queries.clone(),
            models: cols.iter().map(|&col| self.models[col].clone()).collect(),
            score: self.score.select_cols(cols),
            soft_score: self.soft_score.as_ref().map(|c| c.select_cols(cols)),
            cost_usd: self.cost_usd.select_cols(cols),
            latency_ms: self.latency_ms.as_ref().map(|c| c.select_cols(cols)),
            vectors: self.vectors.clone(),
        }
    }

    /// Digest of everything a method can learn from (texts, models, outcomes), as 64 hex digits.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut text = |s: &str| {
            hasher.update(&(s.len() as u64).to_le_bytes());
            hasher.update(s.as_bytes());
        };
        for query in &self.queries {
            text(&query.id);
            text(&query.prompt);
            text(query.source.as_deref().unwrap_or("\0"));
        }
        for model in &self.models {
            text(model);
        }
        let matrices = [Some(&self.score), self.soft_score.as_ref(), Some(&self.cost_usd)];
        for cells in matrices.into_iter().flatten() {
            for value in cells.values() {
                // Every NaN is the same missing cell, whatever its bits.
                let bits = if value.is_nan() { u32::MAX } else { value.to_bits() };
                hasher.update(&bits.to_le_bytes());
            }
        }
        hasher.finalize().to_hex().to_string()
    }
}
