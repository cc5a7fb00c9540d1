//! Rows with a vector of the query: the outcome log and one column more.

use crate::log::{LogRow, OutcomeRow};
use crate::schema::{self, Column, ColumnType, LogSchema, Presence};
use arrow_array::ArrayRef;
use arrow_array::builder::{Float32Builder, ListBuilder};
use std::sync::{Arc, LazyLock};

/// Name of the column; featurizer `column` reads it.
pub(super) const EMBEDDING: &str = "embedding";

static SCHEMA: LazyLock<LogSchema> = LazyLock::new(|| {
    let embedding = Column {
        name: EMBEDDING,
        dtype: ColumnType::FloatList,
        need: Presence::Optional,
        unit: "",
        doc: "Vector of the prompt.",
    };
    let columns: Vec<Column> = schema::OUTCOME.columns.iter().copied().chain([embedding]).collect();
    LogSchema { columns: columns.leak(), ..schema::OUTCOME }
});

/// A row of an outcome log with the vector of its query.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct EmbeddedRow {
    pub(super) row: OutcomeRow,
    pub(super) embedding: Option<Vec<f32>>,
}

impl LogRow for EmbeddedRow {
    fn schema() -> &'static LogSchema {
        &SCHEMA
    }

    fn n_bytes(&self) -> usize {
        self.row.n_bytes() + 4 * self.embedding.as_ref().map_or(0, Vec::len)
    }

    fn columns(rows: &[Self]) -> Vec<ArrayRef> {
        let plain: Vec<OutcomeRow> = rows.iter().map(|row| row.row.clone()).collect();
        let mut vectors = ListBuilder::new(Float32Builder::new());
        for row in rows {
            row.embedding.iter().flatten().for_each(|value| vectors.values().append_value(*value));
            vectors.append(row.embedding.is_some());
        }
        let vectors: ArrayRef = Arc::new(vectors.finish());
        OutcomeRow::columns(&plain).into_iter().chain([vectors]).collect()
    }
}
