//! Outcome tables made of decisions and feedback, for methods to learn from.
//!
//! A decision shows the outcome of one arm. [`TargetKind`] says what the other cells hold:
//!
//! - `observed`: nothing. Every method takes missing cells; what it learns of an arm is learned on the queries
//!   the logging policy sent there.
//! - `ips`: `r / p` on the chosen arm and 0 on the other candidates: each cell has the arm's score as its mean,
//!   with great variance.
//! - `dr`: `q` on every arm, and `q + (r - q) / p` on the chosen one, where `q` is the cross-fitted
//!   [`RewardModel`](super::RewardModel): the same mean, less variance (Dudik, Langford and Li 2011, section 4;
//!   the pseudo-outcome of Kennedy 2023). The table is full, so every method learns from it.
//!
//! Weighted targets are not kept within `[0, 1]`: cut off, they would be biased. Weights `1 / p` are, at
//! [`WEIGHT_MAX`]. A row that sampling kept with `pass_probability` counts once here.
//!
//! Scores are those of the feedback; costs are what was billed, in the chosen cell only.

use super::folds::fold_key;
use super::{ESTIMATED, OpeError, RewardSums};
use crate::train::data_record;
use routewright_data::decisions::{DecisionReader, Outcomes, RewardRule, Rewarded};
use routewright_data::log::DecisionRow;
use routewright_data::{Cells, FeatureMatrix, OutcomeTable, Query, row_keys};
use routewright_policy::artifact::{DataRecord, DecisionsRecord};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

/// Greatest weight of a target.
pub const WEIGHT_MAX: f64 = 100.0;
/// Folds of the reward model.
const FOLDS: usize = 5;

/// What the cells of arms that were not chosen hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetKind {
    /// Nothing.
    Observed,
    /// Zero, and a weighted reward in the chosen cell.
    Ips,
    /// The reward model, corrected in the chosen cell.
    #[default]
    Dr,
}

impl TargetKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Observed, Self::Ips, Self::Dr];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Ips => "ips",
            Self::Dr => "dr",
        }
    }
}

impl std::fmt::Display for TargetKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for TargetKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.map(|kind| format!("`{kind}`")).join(", ");
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| format!("unknown targets `{text}`; known: {known}"))
    }
}

/// One decision as targets are made of it.
#[derive(Debug, Clone)]
struct Choice {
    model: String,
    propensity: f64,
    candidates: Arc<[String]>,
    reward: f64,
    mass: f64,
    fold_key: u64,
}

/// Decisions with feedback as an outcome table with holes: only the chosen cells are present.
#[derive(Debug, Clone)]
pub struct LoggedTable {
    /// One row a decision, its id as query id; columns are all candidates that were logged, sorted.
    pub table: OutcomeTable,
    /// Decisions left out for want of feedback.
    pub without_feedback: u64,
    /// Decisions left out for want of a text or features, such as those on images alone, where others have them.
    pub without_text: u64,
    /// Decisions whose propensities were estimated from the log, see [`ESTIMATED`].
    pub estimated: u64,
    choices: Vec<Choice>,
}

impl LoggedTable {
    /// Reads a decision log and joins it with the outcomes of its decisions.
    ///
    /// # Errors
    /// If the log cannot be read, holds a row that is not valid, or no decision has an outcome.
    pub fn load(
        decisions: &Path,
        outcomes: &Outcomes,
        default_reward: Option<f64>,
    ) -> Result<Self, OpeError> {
        let rule = RewardRule { default: default_reward, cost_weight: 0.0 };
        let (mut rows, mut without_feedback, mut n) = (Vec::new(), 0, 0);
        for batch in DecisionReader::open(decisions)? {
            for row in batch? {
                n += 1;
                match rule.apply(&row, outcomes) {
                    Rewarded::Reward(reward) => rows.push((row, reward)),
                    _ => without_feedback += 1,
                }
            }
        }
        if rows.is_empty() {
            let reasons = format!("{without_feedback} had no feedback of the kind asked for");
            return Err(OpeError::NoRounds { decisions: n, reasons });
        }
        let n_rows = rows.len();
        if rows.iter().any(|(row, _)| has_input(row)) {
            rows.retain(|(row, _)| has_input(row));
        }
        let estimated = rows.iter().filter(|(row, _)| *row.policy_version == *ESTIMATED).count() as u64;
        Ok(Self {
            table: observed(&rows, outcomes),
            without_feedback,
            without_text: (n_rows - rows.len()) as u64,
            estimated,
            choices: rows.into_iter().map(choice).collect(),
        })
    }

    /// Decisions with an outcome.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.choices.len()
    }

    /// What the fold of a row is dealt by.
    pub(super) fn fold_key(&self, row: usize) -> u64 {
        self.choices[row].fold_key
    }

    /// Some of the decisions; the columns stay.
    #[must_use]
    pub fn select_rows(&self, rows: &[usize]) -> Self {
        Self {
            table: self.table.select_rows(rows),
            without_feedback: self.without_feedback,
            without_text: self.without_text,
            estimated: self.estimated,
            choices: rows.iter().map(|row| self.choices[*row].clone()).collect(),
        }
    }

    /// What an artifact keeps of these rows, filled as `train` is.
    #[must_use]
    pub fn record(&self, train: &OutcomeTable, how: DecisionsRecord) -> DataRecord {
        let key = |query: &Query| row_keys::of_decision(&query.id, &query.prompt);
        DataRecord { decisions: Some(how), ..data_record(train, "decisions", key) }
    }

    /// Writes the targets into the scores of `train`: the table of `self`, or some of its arms, with
    /// `features` of shape `(n_queries, dim)`.
    ///
    /// # Errors
    /// If the reward model cannot be fitted.
    pub fn fill(
        &self,
        kind: TargetKind,
        train: &mut OutcomeTable,
        features: &FeatureMatrix,
    ) -> Result<(), OpeError> {
        let columns: HashMap<String, usize> =
            train.models.iter().enumerate().map(|(at, model)| (model.clone(), at)).collect();
        let weight = |choice: &Choice| (1.0 / choice.propensity).min(WEIGHT_MAX);
        let mut score = Cells::missing(train.n_queries(), train.n_arms());
        match kind {
            TargetKind::Observed => return Ok(()),
            TargetKind::Ips => {
                for (row, choice) in self.choices.iter().enumerate() {
                    for column in choice.candidates.iter().filter_map(|model| columns.get(model)) {
                        score.set(row, *column, 0.0);
                    }
                    score.set(row, columns[&choice.model], (choice.reward * weight(choice)) as f32);
                }
            }
            TargetKind::Dr => {
                let mut sums = RewardSums::new(FOLDS);
                for (row, choice) in self.choices.iter().enumerate() {
                    let fold = sums.fold(choice.fold_key);
                    sums.add(columns[&choice.model], fold, features.row(row), choice.reward, choice.mass);
                }
                let model = sums.solve()?;
                for (row, choice) in self.choices.iter().enumerate() {
                    let fold = model.fold(choice.fold_key);
                    for column in 0..train.n_arms() {
                        let mut value = model.predict(column, fold, features.row(row));
                        if column == columns[&choice.model] {
                            value += weight(choice) * (choice.reward - value);
                        }
                        score.set(row, column, value as f32);
                    }
                }
            }
        }
        train.score = score;
        Ok(())
    }
}

/// Whether there is anything a policy could read.
fn has_input(row: &DecisionRow) -> bool {
    row.features.is_some() || row.prompt.as_deref().is_some_and(|prompt| !prompt.is_empty())
}

fn choice((row, reward): (DecisionRow, f64)) -> Choice {
    Choice {
        propensity: row.propensity,
        reward,
        mass: row.weight(),
        fold_key: fold_key(&row),
        model: row.model,
        candidates: row.candidates,
    }
}

/// The chosen cells.
fn observed(rows: &[(DecisionRow, f64)], outcomes: &Outcomes) -> OutcomeTable {
    let models: BTreeSet<&String> = rows.iter().flat_map(|(row, _)| row.candidates.iter()).collect();
    let columns: BTreeMap<&String, usize> =
        models.iter().enumerate().map(|(at, model)| (*model, at)).collect();
    let mut score = Cells::missing(rows.len(), models.len());
    let mut cost_usd = Cells::missing(rows.len(), models.len());
    for (at, (row, reward)) in rows.iter().enumerate() {
        let column = columns[&row.model];
        score.set(at, column, *reward as f32);
        if let Some(cost) = outcomes.cost_usd(&row.decision_id) {
            cost_usd.set(at, column, cost as f32);
        }
    }
    let query = |row: &DecisionRow| Query {
        id: row.decision_id.clone(),
        prompt: row.prompt.clone().unwrap_or_default(),
        source: row.source.clone(),
        split: None,
        timestamp_ms: Some(row.timestamp_ms),
    };
    OutcomeTable {
        queries: rows.iter().map(|(row, _)| query(row)).collect(),
        models: models.into_iter().cloned().collect(),
        score,
        soft_score: None,
        cost_usd,
        latency_ms: None,
        vectors: vectors(rows),
    }
}

/// The logged features, where every row has them and they are of one width.
fn vectors(rows: &[(DecisionRow, f64)]) -> Option<FeatureMatrix> {
    let dim = rows.first()?.0.features.as_ref()?.len();
    let same = |row: &DecisionRow| row.features.as_ref().is_some_and(|x| x.len() == dim);
    if !rows.iter().all(|(row, _)| same(row)) {
        return None;
    }
    let values = rows.iter().flat_map(|(row, _)| row.features.iter().flatten().copied()).collect();
    Some(FeatureMatrix::from_vec(rows.len(), dim, values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use routewright_data::decisions::Combine;
    use routewright_data::log::{FeedbackRow, RowWriter, WriteOptions};

    /// Decisions among `a`, `b` and `c`, all with the same prompt: model, its probability and its score.
    fn logged(rows: &[(&str, f32, f64)]) -> LoggedTable {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("decisions.parquet");
        let mut writer = RowWriter::create(&path, WriteOptions::default()).unwrap();
        let mut feedback = Vec::new();
        for (at, (model, p, score)) in rows.iter().enumerate() {
            let candidates = ["a", "b", "c"].map(str::to_owned).to_vec();
            let rest = (1.0 - p) / 2.0;
            let propensities = candidates.iter().map(|name| if name == model { *p } else { rest }).collect();
            let row = DecisionRow {
                decision_id: format!("d{at}"),
                policy: "p".into(),
                policy_version: "1".into(),
                policy_digest: "0".into(),
                candidates: candidates.into(),
                propensities,
                model: (*model).to_owned(),
                propensity: f64::from(*p),
                prompt: Some(format!("prompt {at}")),
                ..DecisionRow::default()
            };
            writer.push(row).unwrap();
            feedback.push(FeedbackRow {
                outcome_id: format!("o{at}"),
                decision_id: format!("d{at}"),
                kind: "score".to_owned(),
                value: Some(*score),
                cost_usd: Some(0.5),
                ..FeedbackRow::default()
            });
        }
        writer.finish().unwrap();
        // The last decision stays without feedback.
        feedback.pop();
        let outcomes = Outcomes::of_rows(&feedback, "score", Combine::Latest);
        LoggedTable::load(&path, &outcomes, None).unwrap()
    }

    #[test]
    fn cells_are_what_their_kind_says() {
        let logged = logged(&[("a", 0.5, 1.0), ("b", 0.25, 0.5), ("b", 0.001, 1.0), ("a", 0.5, 0.0)]);
        assert_eq!((logged.table.n_queries(), logged.without_feedback), (3, 1));
        assert_eq!(logged.table.models, ["a", "b", "c"]);
        assert_eq!(logged.table.score.row(0)[0], 1.0);
        assert_eq!(logged.table.score.n_present(), 3);
        assert_eq!(logged.table.cost_usd.get(1, 1), Some(0.5));
        // As training sees it: arm `c` was never chosen and is gone.
        let observed = logged.table.select_arms(&[0, 1]);
        let features = FeatureMatrix::zeros(3, 0);
        let mut ips = observed.clone();
        logged.fill(TargetKind::Ips, &mut ips, &features).unwrap();
        assert_eq!(ips.score.values(), [2.0, 0.0, 0.0, 2.0, 0.0, 100.0]);
        let mut dr = observed.clone();
        logged.fill(TargetKind::Dr, &mut dr, &features).unwrap();
        assert_eq!(dr.score.n_present(), 6);
        for row in 0..3 {
            let (at, choice) = (usize::from(row > 0), &logged.choices[row]);
            // The model's value follows from the target: (t - w r) / (1 - w), within the range of rewards.
            let (w, r, t) =
                ((1.0 / choice.propensity).min(100.0), choice.reward, f64::from(dr.score.row(row)[at]));
            let q = (t - w * r) / (1.0 - w);
            assert!((0.5 - 1e-4..=1.0 + 1e-4).contains(&q), "row {row}: {q}");
        }
        let mut same = observed.clone();
        logged.fill(TargetKind::Observed, &mut same, &features).unwrap();
        assert_eq!(same.score.n_present(), 3);
        assert!("drr".parse::<TargetKind>().unwrap_err().contains("`observed`, `ips`, `dr`"));
    }
}
