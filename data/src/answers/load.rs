//! Reads the answers of an outcome log.

use super::confidence::LISTS;
use super::{AnswerRow, AnswerTable, AnswerTableBuilder};
use crate::OutcomeTable;
use crate::log::{
    LogBatch, LogError, LogReader, NumberColumn, Range, RowKeys, number, repeated, required, sample_of,
};
use crate::schema;
use std::collections::HashMap;
use std::path::Path;

const TEXTS: [&str; 4] = ["variant", "response", "answer", "finish"];
const POSITIVE: Range = (0.0, f64::INFINITY);
const SHARE: Range = (0.0, 1.0);
const NATS: Range = (f64::NEG_INFINITY, 0.0);
const NUMBERS: [(&str, Range); 8] = [
    ("score", SHARE),
    ("cost_usd", POSITIVE),
    ("latency_ms", POSITIVE),
    ("input_tokens", POSITIVE),
    ("output_tokens", POSITIVE),
    ("logprob_mean", NATS),
    ("logprob_min", NATS),
    ("verifier_rate", SHARE),
];

impl AnswerTable {
    /// Reads the answers of the log that `table` was loaded from: those of its queries and models, in their order.
    ///
    /// # Errors
    /// If the log cannot be read, or a row that is read repeats a key or has a value `data validate` calls an error
    /// (the row is named).
    pub fn load(path: &Path, table: &OutcomeTable) -> Result<Self, LogError> {
        let mut columns = vec!["query_id", "model", "sample"];
        columns.extend(TEXTS);
        columns.extend(NUMBERS.map(|(name, _)| name));
        columns.extend(LISTS.map(|(name, _)| name));
        // A table may have a query in several rows, as a resample does.
        let mut queries = HashMap::new();
        let mut rows = Vec::new();
        for query in &table.queries {
            let next = queries.len();
            rows.push(*queries.entry(query.id.as_str()).or_insert(next));
        }
        let arms = table.models.iter().enumerate().map(|(arm, model)| (model.as_str(), arm)).collect();
        let builder = AnswerTableBuilder::new(queries.len(), table.n_arms());
        let mut loading = Loading { queries, arms, keys: RowKeys::default(), builder };
        for batch in LogReader::open(path, &schema::OUTCOME, &columns)? {
            loading.add(&batch?)?;
        }
        Ok(loading.builder.finish().select_rows(&rows))
    }
}

#[derive(Debug)]
struct Loading<'a> {
    queries: HashMap<&'a str, usize>,
    arms: HashMap<&'a str, usize>,
    keys: RowKeys,
    builder: AnswerTableBuilder,
}

impl Loading<'_> {
    fn add(&mut self, batch: &LogBatch) -> Result<(), LogError> {
        let [id, model] = ["query_id", "model"].map(|name| batch.text(name));
        let texts = TEXTS.map(|name| batch.text(name));
        let sample = batch.number("sample");
        let numbers: [Option<NumberColumn>; 8] = NUMBERS.map(|(name, _)| batch.number(name));
        let lists = LISTS.map(|(name, _)| batch.vector(name));
        for row in 0..batch.n_rows() {
            let (id, model) = (required(batch, id, "query_id", row)?, required(batch, model, "model", row)?);
            let (Some(&query), Some(&arm)) = (self.queries.get(id), self.arms.get(model)) else { continue };
            let sample = sample_of(batch, sample.as_ref(), row)?;
            if !self.keys.insert_sample(id, model, sample) {
                return Err(batch.error(row, repeated(id, model, sample)));
            }
            let [variant, text, answer, finish] = texts.map(|column| column.and_then(|c| c.get(row)));
            let mut values = [None; 8];
            for ((value, column), (name, range)) in values.iter_mut().zip(&numbers).zip(NUMBERS) {
                *value = number(batch, column.as_ref(), name, row, range)?;
            }
            let [score, cost_usd, latency_ms, input_tokens, output_tokens, mean, least, verifier_rate] =
                values;
            let lists = lists.map(|column| column.and_then(|c| c.get(row)));
            for (list, (_, check)) in lists.iter().zip(LISTS) {
                list.as_ref()
                    .map_or(Ok(()), |list| check(list))
                    .map_err(|reason| batch.error(row, reason))?;
            }
            let [logprob_quantiles, option_probs] = lists.each_ref().map(|list| list.as_deref());
            let float = |value: Option<f64>| value.map(|value| value as f32);
            let count = |value: Option<f64>| value.map(|value| value as u32);
            self.builder.push(
                query,
                arm,
                &AnswerRow {
                    sample,
                    variant,
                    text,
                    answer,
                    score: float(score),
                    cost_usd,
                    latency_ms: float(latency_ms),
                    input_tokens: count(input_tokens),
                    output_tokens: count(output_tokens),
                    finish,
                    logprob_mean: float(mean),
                    logprob_min: float(least),
                    logprob_quantiles,
                    option_probs,
                    verifier_rate: float(verifier_rate),
                },
            );
        }
        Ok(())
    }
}
