//! Rows of the decision log and the feedback log as plain structs, and how they are written.

use super::rows::{LogRow, len, some_texts, texts};
use crate::schema::{self, LogSchema};
use arrow_array::builder::{Float32Builder, ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, Float32Array, Float64Array, Int32Array, Int64Array, new_null_array};
use std::sync::Arc;

/// One row of a decision log; the fields are its columns (see [`schema::DECISION`]).
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "each field is the column of the same name, documented in the schema")]
pub struct DecisionRow {
    pub decision_id: String,
    pub timestamp_ms: i64,
    pub policy: Arc<str>,
    pub policy_version: Arc<str>,
    pub policy_digest: Arc<str>,
    pub featurizer_digest: Option<String>,
    pub candidates: Arc<[String]>,
    pub propensities: Vec<f32>,
    pub model: String,
    pub propensity: f64,
    pub pass_probability: Option<f32>,
    pub seed: u64,
    pub predicted_score: Option<Vec<f32>>,
    pub predicted_cost_usd: Option<Vec<f32>>,
    pub source: Option<String>,
    pub prompt: Option<String>,
    pub features: Option<Vec<f32>>,
    pub objective: Option<String>,
    pub constraints: Option<String>,
    pub query_text: Option<String>,
    pub session: Option<String>,
    pub episode_id: Option<String>,
    pub step: Option<i32>,
}

impl DecisionRow {
    /// Whether the row continues an episode that another row began.
    pub fn is_later_step(&self) -> bool {
        self.step.is_some_and(|step| step > 0)
    }

    /// Position of the chosen model among the candidates.
    pub fn chosen(&self) -> Option<usize> {
        self.candidates.iter().position(|candidate| *candidate == self.model)
    }

    /// What the row counts for: one over the probability that sampling kept it.
    pub fn weight(&self) -> f64 {
        self.pass_probability.map_or(1.0, |p| 1.0 / f64::from(p))
    }
}

/// One row of a feedback log; the fields are its columns (see [`schema::FEEDBACK`]).
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "each field is the column of the same name, documented in the schema")]
pub struct FeedbackRow {
    pub outcome_id: String,
    pub decision_id: String,
    pub timestamp_ms: i64,
    pub kind: String,
    pub value: Option<f64>,
    pub cost_usd: Option<f64>,
    pub latency_ms: Option<f32>,
}

/// A row of a feedback log with all that a server knows of it.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "each field is the column of the same name, documented in the schema")]
pub struct ReportRow {
    /// The columns that every feedback log has.
    pub outcome: FeedbackRow,
    pub source: Option<String>,
    pub weight: Option<f32>,
    pub occurred_ms: Option<i64>,
    pub late: bool,
}

pub(super) fn floats<'a>(rows: impl Iterator<Item = Option<&'a [f32]>>) -> ArrayRef {
    let mut list = ListBuilder::new(Float32Builder::new());
    for row in rows {
        row.into_iter().for_each(|values| list.values().append_slice(values));
        list.append(row.is_some());
    }
    Arc::new(list.finish())
}

pub(super) fn text_lists<'a>(rows: impl Iterator<Item = &'a [String]>) -> ArrayRef {
    let mut list = ListBuilder::new(StringBuilder::new());
    for row in rows {
        row.iter().for_each(|text| list.values().append_value(text));
        list.append(true);
    }
    Arc::new(list.finish())
}

impl LogRow for DecisionRow {
    fn schema() -> &'static LogSchema {
        &schema::DECISION
    }

    fn n_bytes(&self) -> usize {
        let names: usize = self.candidates.iter().map(String::len).sum();
        len(&self.prompt) + names + 4 * self.features.as_ref().map_or(0, Vec::len)
    }

    fn columns(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            texts(rows.iter().map(|r| r.decision_id.as_str())),
            Arc::new(rows.iter().map(|r| Some(r.timestamp_ms)).collect::<Int64Array>()),
            texts(rows.iter().map(|r| &*r.policy)),
            texts(rows.iter().map(|r| &*r.policy_version)),
            texts(rows.iter().map(|r| &*r.policy_digest)),
            some_texts(rows.iter().map(|r| r.featurizer_digest.as_deref())),
            text_lists(rows.iter().map(|r| &r.candidates[..])),
            floats(rows.iter().map(|r| Some(r.propensities.as_slice()))),
            texts(rows.iter().map(|r| r.model.as_str())),
            Arc::new(rows.iter().map(|r| Some(r.propensity)).collect::<Float64Array>()),
            Arc::new(rows.iter().map(|r| r.pass_probability).collect::<Float32Array>()),
            Arc::new(rows.iter().map(|r| Some(r.seed as i64)).collect::<Int64Array>()),
            floats(rows.iter().map(|r| r.predicted_score.as_deref())),
            floats(rows.iter().map(|r| r.predicted_cost_usd.as_deref())),
            some_texts(rows.iter().map(|r| r.source.as_deref())),
            some_texts(rows.iter().map(|r| r.prompt.as_deref())),
            floats(rows.iter().map(|r| r.features.as_deref())),
            some_texts(rows.iter().map(|r| r.objective.as_deref())),
            some_texts(rows.iter().map(|r| r.constraints.as_deref())),
            some_texts(rows.iter().map(|r| r.query_text.as_deref())),
            some_texts(rows.iter().map(|r| r.session.as_deref())),
            some_texts(rows.iter().map(|r| r.episode_id.as_deref())),
            Arc::new(rows.iter().map(|r| r.step).collect::<Int32Array>()),
        ]
    }
}

/// The columns of [`FeedbackRow`].
fn outcome_columns<'a>(rows: impl Iterator<Item = &'a FeedbackRow> + Clone) -> Vec<ArrayRef> {
    vec![
        texts(rows.clone().map(|r| r.outcome_id.as_str())),
        texts(rows.clone().map(|r| r.decision_id.as_str())),
        Arc::new(rows.clone().map(|r| Some(r.timestamp_ms)).collect::<Int64Array>()),
        texts(rows.clone().map(|r| r.kind.as_str())),
        Arc::new(rows.clone().map(|r| r.value).collect::<Float64Array>()),
        Arc::new(rows.clone().map(|r| r.cost_usd).collect::<Float64Array>()),
        Arc::new(rows.map(|r| r.latency_ms).collect::<Float32Array>()),
    ]
}

impl LogRow for ReportRow {
    fn schema() -> &'static LogSchema {
        &schema::FEEDBACK
    }

    fn n_bytes(&self) -> usize {
        self.outcome.n_bytes() + len(&self.source)
    }

    fn columns(rows: &[Self]) -> Vec<ArrayRef> {
        let mut columns = outcome_columns(rows.iter().map(|r| &r.outcome));
        columns.push(some_texts(rows.iter().map(|r| r.source.as_deref())));
        columns.push(Arc::new(rows.iter().map(|r| r.weight).collect::<Float32Array>()));
        columns.push(Arc::new(rows.iter().map(|r| r.occurred_ms).collect::<Int64Array>()));
        columns.push(Arc::new(rows.iter().map(|r| Some(i32::from(r.late))).collect::<Int32Array>()));
        columns
    }
}

impl LogRow for FeedbackRow {
    fn schema() -> &'static LogSchema {
        &schema::FEEDBACK
    }

    fn n_bytes(&self) -> usize {
        self.outcome_id.len() + self.decision_id.len()
    }

    fn columns(rows: &[Self]) -> Vec<ArrayRef> {
        let mut columns = outcome_columns(rows.iter());
        let unknown = |column: &schema::Column| new_null_array(&column.dtype.arrow(), rows.len());
        columns.extend(schema::FEEDBACK.columns[columns.len()..].iter().map(unknown));
        columns
    }
}
