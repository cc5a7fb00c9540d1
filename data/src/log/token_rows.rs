//! Rows of a token log as plain structs, and how they are written.

use super::decision_rows::floats;
use super::rows::{LogRow, some_texts, texts};
use crate::schema::{self, LogSchema};
use arrow_array::{ArrayRef, Float32Array};
use std::sync::Arc;

/// One row of a token log; the fields are its columns (see [`schema::TOKEN`]).
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "each field is the column of the same name, documented in the schema")]
pub struct TokenRow {
    pub query_id: String,
    pub split: Option<String>,
    pub source: Option<String>,
    pub prompt: String,
    pub model: String,
    pub score: Option<f32>,
    pub features: Vec<f32>,
}

impl LogRow for TokenRow {
    fn schema() -> &'static LogSchema {
        &schema::TOKEN
    }

    fn n_bytes(&self) -> usize {
        self.prompt.len() + 4 * self.features.len()
    }

    fn columns(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            texts(rows.iter().map(|r| r.query_id.as_str())),
            some_texts(rows.iter().map(|r| r.split.as_deref())),
            some_texts(rows.iter().map(|r| r.source.as_deref())),
            texts(rows.iter().map(|r| r.prompt.as_str())),
            texts(rows.iter().map(|r| r.model.as_str())),
            Arc::new(rows.iter().map(|r| r.score).collect::<Float32Array>()),
            floats(rows.iter().map(|r| Some(r.features.as_slice()))),
        ]
    }
}
