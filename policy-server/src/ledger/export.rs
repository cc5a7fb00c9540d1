//! From the store to Parquet: the decision log, the feedback log, and where prompts are kept the pair log.
//!
//! Files are named by the day of the *decision*, `decisions/2026-11-26.00000.parquet`, and written whole: an
//! export of the same store repeats them. Since decisions expire by whole days with all their feedback, a
//! day is exported whole or left as an earlier export wrote it.
//!
//! A decision without feedback of a metric gets the metric's default value once the reward window is over;
//! late feedback counts as feedback. Deferred decisions that nobody acted upon are left out.

use crate::ledger::{DecisionRecord, FeedbackRecord, Found, Measure, Store, StoreError};
use crate::settings::StoreConfig;
use routewright_data::Winner;
use routewright_data::calendar;
use routewright_data::files::{self, FileError};
use routewright_data::log::{
    DecisionRow, FeedbackRow, LogError, LogRow, PairRow, ReportRow, RowWriter, WriteOptions,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Decisions read at a time.
const PAGE: usize = 512;
/// Kind of feedback that names no metric.
const REPORT: &str = "report";
/// Source of a default value.
const DEFAULT: &str = "default";

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A log could not be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A file of an earlier export could not be removed.
    #[error(transparent)]
    File(#[from] FileError),
}

/// How to export.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// Metrics with default values and the reward window; `None` writes no default values.
    pub config: Option<StoreConfig>,
    /// Rows of a file at most, about: the feedback of a decision is not split.
    pub rows_per_file: u64,
    /// The present, ms since 1970: windows that are over by now are over.
    pub now_ms: i64,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportSummary {
    /// Rows of the decision log.
    pub decisions: u64,
    /// Rows of the feedback log.
    pub feedback: u64,
    /// Rows of the feedback log that are default values.
    pub defaults: u64,
    /// Rows of the pair log.
    pub pairs: u64,
    /// Deferred decisions left out because nobody acted upon them.
    pub inactive: u64,
    /// Decisions and reports left out because their records cannot be read.
    pub unreadable: u64,
    /// Files, in the order written.
    pub files: Vec<PathBuf>,
}

/// Writes a store as Parquet under `out`.
///
/// # Errors
/// If the store cannot be read or a file cannot be written; files written until then stay.
pub fn export(
    store: &mut dyn Store,
    out: &Path,
    options: &ExportOptions,
) -> Result<ExportSummary, ExportError> {
    let mut summary = ExportSummary::default();
    for day in store.days()? {
        let date = calendar::date(day.unsigned_abs());
        let mut decisions = Day::<DecisionRow>::new(&out.join("decisions"), &date, options.rows_per_file);
        let mut feedback = Day::<ReportRow>::new(&out.join("feedback"), &date, options.rows_per_file);
        let mut pairs = Day::<PairRow>::new(&out.join("pairs"), &date, options.rows_per_file);
        let mut after = 0;
        loop {
            let page = store.of_day(day, after, PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            for (_, found) in page {
                let Some(found) = found else {
                    summary.unreadable += 1;
                    continue;
                };
                summary.unreadable += found.unreadable;
                if found.decision.deferred && !found.feedback.iter().any(|f| f.activates) {
                    summary.inactive += 1;
                    continue;
                }
                // A metric that nobody reported is missing from the episode, not from each of its steps.
                let is_later = found.decision.episode.as_ref().is_some_and(|episode| episode.step > 0);
                let defaults = if is_later { Vec::new() } else { defaults(&found, options) };
                summary.defaults += defaults.len() as u64;
                let reported = found.feedback.iter().filter(|f| !f.is_default);
                feedback.push_all(reported.map(|f| report(f, &found.decision)).chain(defaults))?;
                pairs.push_all(found.feedback.iter().flat_map(|f| comparisons(f, &found.decision)))?;
                decisions.push_all([decision(found.decision)])?;
            }
        }
        summary.decisions += decisions.finish(&mut summary.files)?;
        summary.feedback += feedback.finish(&mut summary.files)?;
        summary.pairs += pairs.finish(&mut summary.files)?;
    }
    Ok(summary)
}

/// The files of one log on one day.
#[derive(Debug)]
struct Day<R> {
    folder: PathBuf,
    date: String,
    rows_max: u64,
    part: usize,
    open: Option<RowWriter<R>>,
    files: Vec<PathBuf>,
    n_rows: u64,
}

fn part_path(folder: &Path, date: &str, part: usize) -> PathBuf {
    folder.join(format!("{date}.{part:05}.parquet"))
}

impl<R: LogRow> Day<R> {
    fn new(folder: &Path, date: &str, rows_max: u64) -> Self {
        let (folder, date) = (folder.to_path_buf(), date.to_owned());
        Self { folder, date, rows_max, part: 0, open: None, files: Vec::new(), n_rows: 0 }
    }

    fn push_all(&mut self, rows: impl IntoIterator<Item = R>) -> Result<(), LogError> {
        for row in rows {
            let writer = match &mut self.open {
                Some(writer) => writer,
                none => {
                    let path = part_path(&self.folder, &self.date, self.part);
                    none.insert(RowWriter::create(&path, WriteOptions::default())?)
                }
            };
            writer.push(row)?;
            self.n_rows += 1;
        }
        if self.open.as_ref().is_some_and(|writer| writer.n_rows() >= self.rows_max) {
            self.close()
        } else {
            Ok(())
        }
    }

    fn close(&mut self) -> Result<(), LogError> {
        if let Some(writer) = self.open.take() {
            self.files.extend(writer.finish()?);
            self.part += 1;
        }
        Ok(())
    }

    /// Publishes the last file, and removes what an earlier export of this day left beyond it.
    fn finish(mut self, files: &mut Vec<PathBuf>) -> Result<u64, ExportError> {
        self.close()?;
        let mut part = self.part;
        while part_path(&self.folder, &self.date, part).exists() {
            files::remove_file(&part_path(&self.folder, &self.date, part))?;
            part += 1;
        }
        files.append(&mut self.files);
        Ok(self.n_rows)
    }
}

fn decision(record: DecisionRecord) -> DecisionRow {
    let scores = record.predicted_score.iter().copied().collect::<Option<Vec<f32>>>();
    // An unknown price is NaN, as in predictions; steps of several calls predict none.
    let costs: Vec<f32> = record.predicted_cost_usd.iter().map(|cost| cost.unwrap_or(f32::NAN)).collect();
    // Plain structs of numbers and texts: writing them cannot fail.
    let text = |value: serde_json::Result<String>| value.unwrap_or_default();
    DecisionRow {
        objective: record.objective.map(|objective| text(serde_json::to_string(&objective))),
        constraints: record.constraints.map(|constraints| text(serde_json::to_string(&constraints))),
        decision_id: record.decision_id,
        timestamp_ms: record.timestamp_ms,
        policy: record.policy.into(),
        policy_version: record.policy_version.into(),
        policy_digest: record.policy_digest.into(),
        featurizer_digest: Some(record.featurizer_digest),
        candidates: record.candidates.into(),
        propensities: record.propensities,
        model: record.model,
        propensity: f64::from(record.propensity),
        pass_probability: Some(record.pass_probability),
        seed: record.seed,
        predicted_score: scores.filter(|scores| !scores.is_empty()),
        predicted_cost_usd: Some(costs).filter(|costs| !costs.is_empty()),
        source: record.source,
        prompt: record.prompt,
        features: record.features,
        query_text: record.query_text.map(|rule| rule.name().to_owned()),
        session: record.session,
        step: record.episode.as_ref().map(|episode| i32::try_from(episode.step).unwrap_or(i32::MAX)),
        episode_id: record.episode.map(|episode| episode.episode_id),
    }
}

fn report(record: &FeedbackRecord, decision: &DecisionRecord) -> ReportRow {
    ReportRow {
        outcome: FeedbackRow {
            outcome_id: record.outcome_id(),
            decision_id: record.decision_id.clone(),
            timestamp_ms: record.received_at_ms,
            kind: record.metric.clone().unwrap_or_else(|| REPORT.to_owned()),
            value: record.value_of(&decision.model),
            cost_usd: record.cost_usd,
            latency_ms: record.latency_ms.map(|ms| ms as f32),
        },
        source: Some(record.source.clone()),
        weight: Some(record.weight),
        occurred_ms: record.occurred_at_ms,
        late: record.late,
    }
}

/// The default values of the metrics that nobody reported: those in the log, and those due where the window is over.
fn defaults(found: &Found, options: &ExportOptions) -> Vec<ReportRow> {
    let decision = &found.decision;
    let is_reported = |name: &str| {
        found
            .feedback
            .iter()
            .any(|f| !f.is_default && f.measure.is_some() && f.metric.as_deref() == Some(name))
    };
    let logged = found.feedback.iter().filter(|f| f.is_default);
    let logged = logged.filter_map(|f| Some((f.metric.clone()?, f.measure.as_ref()?.value_of("")?)));
    let mut due: BTreeMap<String, f64> = logged.collect();
    let window_ms = options.config.as_ref().map_or(0, |config| config.window_ms());
    // A deferred decision counts from its activation.
    let activation = found.feedback.iter().find(|f| f.activates).filter(|_| decision.deferred);
    let from_ms = activation.map_or(decision.timestamp_ms, |f| f.received_at_ms);
    let over_ms = from_ms.saturating_add(window_ms);
    if let Some(config) = options.config.as_ref().filter(|_| over_ms < options.now_ms) {
        for (name, value) in config.metrics.iter().filter_map(|(name, metric)| Some((name, metric.default?)))
        {
            due.entry(name.clone()).or_insert(value);
        }
    }
    let row = |(name, value): (String, f64)| ReportRow {
        outcome: FeedbackRow {
            outcome_id: format!("{DEFAULT}/{name}/{}", decision.decision_id),
            decision_id: decision.decision_id.clone(),
            timestamp_ms: over_ms,
            kind: name,
            value: Some(value),
            ..FeedbackRow::default()
        },
        source: Some(DEFAULT.to_owned()),
        ..ReportRow::default()
    };
    due.into_iter().filter(|(name, _)| !is_reported(name)).map(row).collect()
}

/// What feedback says of two models at a time; a pair log needs the prompt.
fn comparisons(feedback: &FeedbackRecord, decision: &DecisionRecord) -> Vec<PairRow> {
    let Some(prompt) = decision.prompt.as_ref().filter(|prompt| !prompt.is_empty()) else {
        return Vec::new();
    };
    let pair = |winner: &String, loser: &String| PairRow {
        query_id: decision.decision_id.clone(),
        split: None,
        source: decision.source.clone(),
        prompt: prompt.clone(),
        model_a: winner.clone(),
        model_b: loser.clone(),
        winner: Winner::A,
        judge: Some(feedback.outcome_id()),
        weight: Some(feedback.weight),
        timestamp_ms: Some(feedback.at_ms()),
        response_a: None,
        response_b: None,
    };
    match &feedback.measure {
        Some(Measure::Preference { winner, loser }) => vec![pair(winner, loser)],
        Some(Measure::Ranking(models)) => {
            let beaten = |(at, winner)| models[at + 1..].iter().map(move |loser| pair(winner, loser));
            models.iter().enumerate().flat_map(beaten).collect()
        }
        _ => Vec::new(),
    }
}
