//! Rows of the fusion log as plain structs, and how they are written.

use super::decision_rows::{floats, text_lists};
use super::rows::{LogRow, len, some_texts, texts};
use crate::schema::{self, LogSchema};
use arrow_array::{ArrayRef, Float32Array, Float64Array, Int32Array, Int64Array};
use std::sync::Arc;

/// One row of a fusion log; the fields are its columns (see [`schema::FUSION`]).
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "each field is the column of the same name, documented in the schema")]
pub struct FusionRow {
    pub answer_id: String,
    pub step: i32,
    pub timestamp_ms: Option<i64>,
    pub system: String,
    pub prompt: Option<String>,
    pub answer: Option<String>,
    pub reward: Option<f32>,
    pub start: i32,
    pub text: String,
    pub models: Vec<String>,
    pub weights: Option<Vec<f32>>,
    pub probabilities: Option<Vec<f32>>,
    pub fused: Option<f32>,
    pub agree: Vec<String>,
    pub winner: Option<String>,
    pub span: Option<i32>,
    pub proposers: Vec<String>,
    pub proposals: Vec<String>,
    pub merits: Vec<f32>,
    pub log_density: Option<f64>,
    pub calls: Option<i64>,
    pub micros: Option<i64>,
}

impl LogRow for FusionRow {
    fn schema() -> &'static LogSchema {
        &schema::FUSION
    }

    fn n_bytes(&self) -> usize {
        let proposals: usize = self.proposals.iter().map(String::len).sum();
        proposals + self.text.len() + len(&self.prompt) + len(&self.answer) + 16 * self.models.len()
    }

    fn columns(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            texts(rows.iter().map(|r| r.answer_id.as_str())),
            Arc::new(rows.iter().map(|r| Some(r.step)).collect::<Int32Array>()),
            Arc::new(rows.iter().map(|r| r.timestamp_ms).collect::<Int64Array>()),
            texts(rows.iter().map(|r| r.system.as_str())),
            some_texts(rows.iter().map(|r| r.prompt.as_deref())),
            some_texts(rows.iter().map(|r| r.answer.as_deref())),
            Arc::new(rows.iter().map(|r| r.reward).collect::<Float32Array>()),
            Arc::new(rows.iter().map(|r| Some(r.start)).collect::<Int32Array>()),
            texts(rows.iter().map(|r| r.text.as_str())),
            text_lists(rows.iter().map(|r| r.models.as_slice())),
            floats(rows.iter().map(|r| r.weights.as_deref())),
            floats(rows.iter().map(|r| r.probabilities.as_deref())),
            Arc::new(rows.iter().map(|r| r.fused).collect::<Float32Array>()),
            text_lists(rows.iter().map(|r| r.agree.as_slice())),
            some_texts(rows.iter().map(|r| r.winner.as_deref())),
            Arc::new(rows.iter().map(|r| r.span).collect::<Int32Array>()),
            text_lists(rows.iter().map(|r| r.proposers.as_slice())),
            text_lists(rows.iter().map(|r| r.proposals.as_slice())),
            floats(rows.iter().map(|r| Some(r.merits.as_slice()))),
            Arc::new(rows.iter().map(|r| r.log_density).collect::<Float64Array>()),
            Arc::new(rows.iter().map(|r| r.calls).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|r| r.micros).collect::<Int64Array>()),
        ]
    }
}
