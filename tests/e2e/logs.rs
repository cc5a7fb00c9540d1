//! Logs for the tests: good ones, ones with exactly one thing wrong, and real ones where they are at hand.

use arrow_array::{ArrayRef, Float32Array, Float64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A real log beside the checkout, or where `ROUTEWRIGHT_SHARED` says; `None`, loudly, where it is not.
pub(crate) fn real(name: &str) -> Option<PathBuf> {
    routewright_data::testing::shared(&format!("data/{name}"))
}

/// Rows of a small log: two topics, three models, every cell present.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    pub(crate) query_id: Vec<String>,
    pub(crate) split: Vec<String>,
    pub(crate) prompt: Vec<String>,
    pub(crate) model: Vec<String>,
    pub(crate) score: Vec<f32>,
    pub(crate) cost_usd: Vec<f64>,
}

impl Rows {
    /// `n` queries; model `math` is right on sums, `prose` on tales, `dear` mostly on both.
    pub(crate) fn good(n: usize) -> Self {
        let mut rows = Self {
            query_id: vec![],
            split: vec![],
            prompt: vec![],
            model: vec![],
            score: vec![],
            cost_usd: vec![],
        };
        for i in 0..n {
            let sum = i % 2 == 0;
            let prompt = if sum {
                format!("What is {i} plus {}?", i + 3)
            } else {
                format!("Tell a tale of dragon {i}.")
            };
            for (model, right, cost) in
                [("dear", i % 5 != 0, 0.01), ("math", sum, 0.001), ("prose", !sum, 0.0005)]
            {
                rows.query_id.push(format!("q{i}"));
                rows.split.push(if i % 4 == 3 { "test" } else { "train" }.to_owned());
                rows.prompt.push(prompt.clone());
                rows.model.push(model.to_owned());
                rows.score.push(if right { 1.0 } else { 0.0 });
                rows.cost_usd.push(cost);
            }
        }
        rows
    }

    /// Keeps the rows for which `keep` holds.
    pub(crate) fn retain(mut self, keep: impl Fn(&Self, usize) -> bool) -> Self {
        let kept: Vec<usize> = (0..self.score.len()).filter(|i| keep(&self, *i)).collect();
        fn pick<T: Clone>(values: &mut Vec<T>, kept: &[usize]) {
            *values = kept.iter().map(|i| values[*i].clone()).collect();
        }
        pick(&mut self.query_id, &kept);
        pick(&mut self.split, &kept);
        pick(&mut self.prompt, &kept);
        pick(&mut self.model, &kept);
        pick(&mut self.score, &kept);
        pick(&mut self.cost_usd, &kept);
        self
    }

    /// The columns, by name.
    pub(crate) fn columns(&self) -> Vec<(String, ArrayRef)> {
        let text = |values: &Vec<String>| -> ArrayRef { Arc::new(StringArray::from(values.clone())) };
        [
            ("query_id", text(&self.query_id)),
            ("split", text(&self.split)),
            ("prompt", text(&self.prompt)),
            ("model", text(&self.model)),
            ("score", Arc::new(Float32Array::from(self.score.clone())) as ArrayRef),
            ("cost_usd", Arc::new(Float64Array::from(self.cost_usd.clone())) as ArrayRef),
        ]
        .map(|(name, column)| (name.to_owned(), column))
        .to_vec()
    }

    /// Writes the log.
    pub(crate) fn write(&self, path: &Path) {
        write(path, &self.columns());
    }
}

/// Writes columns as a Parquet file.
pub(crate) fn write(path: &Path, columns: &[(String, ArrayRef)]) {
    let batch = RecordBatch::try_from_iter(columns.iter().map(|(n, c)| (n.as_str(), Arc::clone(c)))).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}
