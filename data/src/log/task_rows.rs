//! Rows of a task list as plain structs, and how they are written.

use super::decision_rows::text_lists;
use super::rows::{LogRow, some_texts, texts};
use crate::schema::{self, LogSchema};
use arrow_array::ArrayRef;

/// One row of a task list; the fields are its columns (see [`schema::TASK`]).
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "each field is the column of the same name, documented in the schema")]
pub struct TaskRow {
    pub task_id: String,
    pub split: Option<String>,
    pub source: Option<String>,
    pub prompt: String,
    pub reference: String,
    pub skills: Vec<String>,
}

impl LogRow for TaskRow {
    fn schema() -> &'static LogSchema {
        &schema::TASK
    }

    fn n_bytes(&self) -> usize {
        self.prompt.len() + self.reference.len()
    }

    fn columns(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            texts(rows.iter().map(|r| r.task_id.as_str())),
            some_texts(rows.iter().map(|r| r.split.as_deref())),
            some_texts(rows.iter().map(|r| r.source.as_deref())),
            texts(rows.iter().map(|r| r.prompt.as_str())),
            texts(rows.iter().map(|r| r.reference.as_str())),
            text_lists(rows.iter().map(|r| r.skills.as_slice())),
        ]
    }
}
