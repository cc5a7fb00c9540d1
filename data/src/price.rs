//! Prices for a log that has none: list prices times tokens, written as column `cost_usd` of a new log.
//!
//! Tokens are those billed (columns `input_tokens`, `output_tokens`). Where a row has none, they are estimated as a
//! quarter of the characters of `prompt` and `response`: within a third or so for English text, worse for other
//! scripts. The summary counts such rows.

use crate::log::{
    LogBatch, LogError, LogReader, LogWriter, WriteOptions, common_schema, in_schema, required,
};
use crate::schema;
use crate::suggest::near_names;
use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, cast::AsArray};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

const COST: &str = "cost_usd";
/// Characters of a token, where tokens are not known.
const CHARS_PER_TOKEN: f64 = 4.0;
/// Rows written at once.
const CHUNK_ROWS: usize = 4096;

/// List price of a model, US dollars per million tokens, each at least 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListPrice {
    /// Of the request.
    pub input: f64,
    /// Of the answer.
    pub output: f64,
}

/// What was priced.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct PriceSummary {
    /// Rows of the log.
    pub rows: u64,
    /// Rows that had a price, which stays.
    pub kept: u64,
    /// Rows priced by billed tokens.
    pub by_tokens: u64,
    /// Rows priced by an estimate from the texts.
    pub by_texts: u64,
    /// Rows of models without a price.
    pub unpriced: u64,
}

/// Writes an outcome log as the file `out` with the price of every call of a model in `prices`. A price that the log
/// has stays; all other columns are kept.
///
/// # Errors
/// If a price is no number of at least 0, names a model that the log does not have, the log cannot be read, or the new
/// one cannot be written (nothing is left behind then).
pub fn price_log(
    log: &Path,
    out: &Path,
    prices: &BTreeMap<String, ListPrice>,
) -> Result<PriceSummary, LogError> {
    for (model, price) in prices {
        // NaN is in no range.
        if let Some(value) = [price.input, price.output].into_iter().find(|v| !(0.0..=1e6).contains(v)) {
            return Err(LogError::Options(format!(
                "the price of `{model}` is `{value}`, expected US dollars per million tokens in [0, 1e6]"
            )));
        }
    }
    let reader = LogReader::open_all(log, &schema::OUTCOME)?;
    let common = common_schema(&reader, &schema::OUTCOME)?;
    let target = with_cost_field(&common);
    let mut writer = LogWriter::create(out, Arc::clone(&target), WriteOptions::default())?
        .with_query_text(reader.query_text());
    let (mut summary, mut seen) = (PriceSummary::default(), BTreeSet::new());
    for batch in reader {
        let batch = batch?;
        let costs = costs(&batch, prices, &mut summary, &mut seen)?;
        let columns = in_schema(&batch.batch, &common).map_err(|e| LogError::write(out, e))?;
        for start in (0..batch.n_rows()).step_by(CHUNK_ROWS) {
            let n = CHUNK_ROWS.min(batch.n_rows() - start);
            let slice = with_costs(&columns.slice(start, n), &target, &costs[start..start + n]);
            writer.write(&slice.map_err(|e| LogError::write(out, e))?)?;
        }
    }
    if let Some(unknown) = prices.keys().find(|model| !seen.contains(*model)) {
        let hint = near_names(unknown, seen.iter().map(String::as_str));
        return Err(LogError::Options(format!(
            "there is a price of `{unknown}`, no model of the log; {hint}"
        )));
    }
    writer.finish()?;
    Ok(summary)
}

/// The price of each row of a batch, `None` where it stays unknown.
fn costs(
    batch: &LogBatch,
    prices: &BTreeMap<String, ListPrice>,
    summary: &mut PriceSummary,
    seen: &mut BTreeSet<String>,
) -> Result<Vec<Option<f64>>, LogError> {
    let (model, prompt, response) = (batch.text("model"), batch.text("prompt"), batch.text("response"));
    let (cost, input, output) =
        (batch.number(COST), batch.number("input_tokens"), batch.number("output_tokens"));
    let mut out = Vec::with_capacity(batch.n_rows());
    for row in 0..batch.n_rows() {
        let name = required(batch, model, "model", row)?;
        if !seen.contains(name) {
            seen.insert(name.to_owned());
        }
        summary.rows += 1;
        if let Some(known) = cost.as_ref().and_then(|column| column.get(row)) {
            summary.kept += 1;
            out.push(Some(known));
            continue;
        }
        let Some(price) = prices.get(name) else {
            summary.unpriced += 1;
            out.push(None);
            continue;
        };
        let billed = |column: &Option<crate::log::NumberColumn>| column.as_ref().and_then(|c| c.get(row));
        let guess =
            |text: Option<&str>| text.map_or(0.0, |text| text.chars().count() as f64 / CHARS_PER_TOKEN);
        let tokens = match (billed(&input), billed(&output)) {
            (Some(input), Some(output)) => {
                summary.by_tokens += 1;
                [input, output]
            }
            _ => {
                summary.by_texts += 1;
                [prompt.and_then(|c| c.get(row)), response.and_then(|c| c.get(row))].map(guess)
            }
        };
        out.push(Some((price.input * tokens[0] + price.output * tokens[1]) / 1e6));
    }
    Ok(out)
}

/// The schema with `cost_usd` last.
fn with_cost_field(schema: &SchemaRef) -> SchemaRef {
    let plain = |field: &Arc<Field>| match field.data_type() {
        DataType::Utf8View => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)),
        _ => Arc::clone(field),
    };
    let mut fields: Vec<Arc<Field>> =
        schema.fields().iter().filter(|field| field.name() != COST).map(plain).collect();
    fields.push(Arc::new(Field::new(COST, DataType::Float64, true)));
    Arc::new(Schema::new(fields))
}

fn with_costs(
    batch: &RecordBatch,
    target: &SchemaRef,
    costs: &[Option<f64>],
) -> Result<RecordBatch, ArrowError> {
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if field.name() == COST {
            continue;
        }
        columns.push(match column.as_string_view_opt() {
            Some(views) => Arc::new(views.iter().collect::<StringArray>()),
            None => Arc::clone(column),
        });
    }
    columns.push(Arc::new(Float64Array::from_iter(costs.iter().copied())));
    RecordBatch::try_new(Arc::clone(target), columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{OutcomeRow, RowWriter};
    use crate::{LoadOptions, OutcomeTable};

    fn row(model: &str, response: Option<&str>, cost_usd: Option<f64>) -> OutcomeRow {
        OutcomeRow {
            query_id: "q".to_owned(),
            prompt: "12345678".to_owned(),
            model: model.to_owned(),
            score: Some(1.0),
            response: response.map(str::to_owned),
            cost_usd,
            ..OutcomeRow::default()
        }
    }

    #[test]
    fn known_prices_stay_and_others_are_tokens_times_list_price() {
        let dir = tempfile::tempdir().unwrap();
        let (log, out) = (dir.path().join("log.parquet"), dir.path().join("priced.parquet"));
        let mut writer = RowWriter::<OutcomeRow>::create(&log, WriteOptions::default()).unwrap();
        let billed = OutcomeRow { input_tokens: Some(100), output_tokens: Some(10), ..row("b", None, None) };
        for row in [row("a", Some("1234"), None), billed, row("c", None, Some(0.5)), row("d", None, None)] {
            writer.push(row).unwrap();
        }
        writer.finish().unwrap();
        let price = ListPrice { input: 2.0, output: 8.0 };
        let prices = ["a", "b", "c"].map(|model| (model.to_owned(), price)).into();
        let summary = price_log(&log, &out, &prices).unwrap();
        let expected = PriceSummary { rows: 4, kept: 1, by_tokens: 1, by_texts: 1, unpriced: 1 };
        assert_eq!(summary, expected);
        let table = OutcomeTable::load(&out, &LoadOptions::default()).unwrap();
        // (2 tokens * 2 + 1 token * 8) / 1e6; (100 * 2 + 10 * 8) / 1e6
        let costs = [Some(12e-6), Some(280e-6), Some(0.5), None];
        for (arm, expected) in costs.iter().enumerate() {
            let found = table.cost_usd.get(0, arm).map(f64::from);
            assert!(found.is_some() == expected.is_some(), "{arm}");
            assert!(found.zip(*expected).is_none_or(|(a, b)| (a / b - 1.0).abs() < 1e-6), "{arm}: {found:?}");
        }
        let unknown = [("e".to_owned(), price)].into();
        let error = price_log(&log, &dir.path().join("no"), &unknown).unwrap_err().to_string();
        assert!(error.contains("`e`, no model of the log") && !dir.path().join("no").exists(), "{error}");
        let negative = [("a".to_owned(), ListPrice { input: -1.0, output: 0.0 })].into();
        assert!(price_log(&log, &out, &negative).unwrap_err().to_string().contains("`-1`"));
    }
}
