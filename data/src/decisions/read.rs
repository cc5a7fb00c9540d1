//! Streams a decision log, every row checked.

use crate::log::{
    DecisionRow, LogBatch, LogError, LogReader, NumberColumn, TextColumn, TextListColumn, TimeColumn,
    VectorColumn, required,
};
use crate::schema;
use std::collections::HashSet;
use std::path::Path;

/// How far the probabilities of a row may be from the sum 1, and the chosen one from its place in the list.
const TOLERANCE: f64 = 1e-3;

/// A decision log being read: an iterator of batches of rows.
#[derive(Debug)]
pub struct DecisionReader {
    log: LogReader,
    seen: HashSet<[u8; 16]>,
}

impl DecisionReader {
    /// Opens a decision log: a Parquet file or a directory of them.
    ///
    /// # Errors
    /// If a file is not whole Parquet, lacks a required column or has one of a wrong type; if it is empty.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let columns: Vec<&str> = schema::DECISION.columns.iter().map(|column| column.name).collect();
        Ok(Self { log: LogReader::open(path, &schema::DECISION, &columns)?, seen: HashSet::new() })
    }

    /// Rows of all files together.
    pub fn n_rows(&self) -> u64 {
        self.log.n_rows()
    }

    fn rows(&mut self, batch: &LogBatch) -> Result<Vec<DecisionRow>, LogError> {
        let columns = Columns::new(batch);
        let mut rows = Vec::with_capacity(batch.n_rows());
        for at in 0..batch.n_rows() {
            let row = columns.row(batch, at)?;
            if let Err(reason) = check(&row) {
                return Err(batch.error(at, format!("decision `{}`: {reason}", row.decision_id)));
            }
            if !self.seen.insert(key(&row.decision_id)) {
                let id = &row.decision_id;
                let reason =
                    format!("decision `{id}` stands in an earlier row already; expected one row each");
                return Err(batch.error(at, reason));
            }
            rows.push(row);
        }
        Ok(rows)
    }
}

impl Iterator for DecisionReader {
    type Item = Result<Vec<DecisionRow>, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.log.next()?;
        Some(batch.and_then(|batch| self.rows(&batch)))
    }
}

/// What a text is known by in memory: the first 16 bytes of its hash.
pub(super) fn key(text: &str) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
    key
}

/// The columns of one batch.
struct Columns<'a> {
    texts: [Option<TextColumn<'a>>; 10],
    timestamp_ms: Option<TimeColumn>,
    candidates: Option<TextListColumn<'a>>,
    lists: [Option<VectorColumn<'a>>; 4],
    propensity: Option<NumberColumn>,
    pass_probability: Option<NumberColumn>,
    /// Read as a time because that keeps all 64 bits.
    seed: Option<TimeColumn>,
}

impl<'a> Columns<'a> {
    fn new(batch: &'a LogBatch) -> Self {
        let texts = [
            "decision_id",
            "policy",
            "policy_version",
            "policy_digest",
            "model",
            "featurizer_digest",
            "source",
            "prompt",
            "objective",
            "constraints",
        ];
        let lists = ["propensities", "predicted_score", "predicted_cost_usd", "features"];
        Self {
            texts: texts.map(|name| batch.text(name)),
            timestamp_ms: batch.time("timestamp_ms"),
            candidates: batch.text_list("candidates"),
            lists: lists.map(|name| batch.vector(name)),
            propensity: batch.number("propensity"),
            pass_probability: batch.number("pass_probability"),
            seed: batch.time("seed"),
        }
    }

    fn row(&self, batch: &LogBatch, at: usize) -> Result<DecisionRow, LogError> {
        let [id, policy, version, digest, model, rest @ ..] = self.texts;
        let [featurizer_digest, source, prompt, objective, constraints] = rest;
        let text = |column, name| Ok::<_, LogError>(required(batch, column, name, at)?.to_owned());
        let some = |column: Option<TextColumn<'_>>| column.and_then(|c| c.get(at)).map(str::to_owned);
        let null =
            |name: &str, expected: &str| batch.error(at, format!("`{name}` is null, expected {expected}"));
        let [propensities, scores, costs, features] = self.lists.map(|list| list.and_then(|c| c.get(at)));
        let candidates = self.candidates.and_then(|c| c.get(at));
        let propensity = self.propensity.as_ref().and_then(|c| c.get(at));
        let time = self.timestamp_ms.as_ref().and_then(|c| c.get(at));
        let seed = self.seed.as_ref().and_then(|c| c.get(at));
        Ok(DecisionRow {
            decision_id: text(id, "decision_id")?,
            timestamp_ms: time.ok_or_else(|| null("timestamp_ms", "a time"))?,
            policy: text(policy, "policy")?,
            policy_version: text(version, "policy_version")?,
            policy_digest: text(digest, "policy_digest")?,
            featurizer_digest: some(featurizer_digest),
            candidates: candidates.ok_or_else(|| null("candidates", "a list of models"))?,
            propensities: propensities.ok_or_else(|| null("propensities", "a list of numbers"))?,
            model: text(model, "model")?,
            propensity: propensity.ok_or_else(|| null("propensity", "a number in (0, 1]"))?,
            pass_probability: self.pass_probability.as_ref().and_then(|c| c.get(at)).map(|p| p as f32),
            seed: seed.ok_or_else(|| null("seed", "a whole number"))? as u64,
            predicted_score: scores,
            predicted_cost_usd: costs,
            source: some(source),
            prompt: some(prompt),
            features,
            objective: some(objective),
            constraints: some(constraints),
        })
    }
}

/// What is wrong with a row, in words.
pub(crate) fn check(row: &DecisionRow) -> Result<(), String> {
    for (name, text) in [("objective", &row.objective), ("constraints", &row.constraints)] {
        let is_object = |text: &String| serde_json::from_str::<serde_json::Map<_, _>>(text).is_ok();
        if let Some(text) = text.as_ref().filter(|text| !is_object(text)) {
            return Err(format!("`{name}` is `{text}`, expected a JSON object"));
        }
    }
    let n = row.candidates.len();
    if n == 0 {
        return Err("`candidates` is empty, expected at least one model".to_owned());
    }
    let mut names: Vec<&String> = row.candidates.iter().collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("`candidates` names `{}` twice, expected each model once", twice[0]));
    }
    let lists = [
        ("propensities", Some(row.propensities.len())),
        ("predicted_score", row.predicted_score.as_ref().map(Vec::len)),
        ("predicted_cost_usd", row.predicted_cost_usd.as_ref().map(Vec::len)),
    ];
    if let Some((name, Some(found))) = lists.into_iter().find(|(_, len)| len.is_some_and(|len| len != n)) {
        return Err(format!("`{name}` has `{found}` entries, expected one for each of the {n} candidates"));
    }
    // NaN fails these tests too.
    if let Some(bad) = row.propensities.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        return Err(format!("`propensities` holds `{bad}`, expected numbers in [0, 1]"));
    }
    let total: f64 = row.propensities.iter().map(|p| f64::from(*p)).sum();
    if (total - 1.0).abs() > TOLERANCE {
        return Err(format!("`propensities` sum to `{total}`, expected 1"));
    }
    let p = row.propensity;
    if !(p > 0.0 && p <= 1.0) {
        return Err(format!("`propensity` is `{p}`, expected a number in (0, 1]"));
    }
    let Some(chosen) = row.chosen() else {
        return Err(format!("the chosen model `{}` is none of the candidates", row.model));
    };
    let listed = row.propensities[chosen];
    if (f64::from(listed) - p).abs() > TOLERANCE * p {
        return Err(format!("`propensity` is `{p}`, but `propensities` says `{listed}` for `{}`", row.model));
    }
    match row.pass_probability {
        Some(pass) if !(pass > 0.0 && pass <= 1.0) => {
            Err(format!("`pass_probability` is `{pass}`, expected a number in (0, 1]"))
        }
        _ => Ok(()),
    }
}
