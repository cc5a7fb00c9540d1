//! Decision and feedback logs made of an outcome log: what a policy would have logged, had it decided.
//!
//! Every query is decided among the arms that were observed on it, with exact propensities, and its feedback
//! is the observed outcome of the chosen arm. Because the other outcomes are known too, such logs are what
//! estimators are tried on.

use super::OpeError;
use crate::train::feature_inputs;
use rand::RngExt as _;
use routewright_data::log::{DecisionRow, FeedbackRow, RowWriter, WriteOptions};
use routewright_data::{OutcomeTable, rng, row_keys};
use routewright_policy::{Policy, Request, SelectorSpec, selectors};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// File of the decisions in the folder written.
pub const DECISIONS: &str = "decisions.parquet";
/// File of the feedback.
pub const FEEDBACK: &str = "feedback.parquet";
/// Queries decided at once.
const CHUNK: usize = 2048;
/// When the first query is taken to be asked where the log does not say: 2026-01-01 00:00 UTC.
pub(super) const START_MS: i64 = 1_767_225_600_000;
/// Time between query and outcome where the log has no latency.
const DELAY_MS: f32 = 1000.0;

/// How decisions are logged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogDecisionsOptions {
    /// Seed of every draw.
    pub seed: u64,
    /// Probability with which an arm is drawn uniformly instead of by the policy, in `[0, 1]`.
    pub explore: f64,
    /// Probability with which a decision is kept, in `(0, 1]`.
    pub pass_probability: f32,
}

impl Default for LogDecisionsOptions {
    fn default() -> Self {
        Self { seed: 0, explore: 0.0, pass_probability: 1.0 }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct DecisionsLogged {
    /// The decision log.
    pub decisions: PathBuf,
    /// The feedback log.
    pub feedback: PathBuf,
    /// Decisions, a row of both logs each.
    pub rows: u64,
    /// Queries none of whose observed arms is one of the policy's.
    pub without_arm: u64,
    /// Decisions that sampling left out.
    pub not_kept: u64,
}

/// Decides every query of `table` and writes both logs into folder `dir`.
///
/// # Errors
/// If an option is not valid, the policy cannot decide, or the logs cannot be written.
pub fn log_decisions(
    mut policy: Policy,
    table: &OutcomeTable,
    options: &LogDecisionsOptions,
    dir: &Path,
) -> Result<DecisionsLogged, OpeError> {
    explore(&mut policy, options.explore)?;
    let mut logged = DecisionsLogged {
        decisions: dir.join(DECISIONS),
        feedback: dir.join(FEEDBACK),
        ..DecisionsLogged::default()
    };
    let mut decisions = RowWriter::create(&logged.decisions, WriteOptions::default())?;
    let mut feedback = RowWriter::create(&logged.feedback, WriteOptions::default())?;
    let rows: Vec<usize> = (0..table.n_queries()).collect();
    for rows in rows.chunks(CHUNK) {
        for found in decide(&policy, &table.select_rows(rows), options)? {
            match found {
                Found::Logged(decision, outcome) => {
                    decisions.push(*decision)?;
                    feedback.push(outcome)?;
                }
                Found::NoArm => logged.without_arm += 1,
                Found::NotKept => logged.not_kept += 1,
            }
        }
    }
    logged.rows = decisions.n_rows();
    feedback.finish()?;
    decisions.finish()?;
    Ok(logged)
}

enum Found {
    Logged(Box<DecisionRow>, FeedbackRow),
    NoArm,
    NotKept,
}

/// Mixes uniform draws into the policy's selector, and says so in its name.
fn explore(policy: &mut Policy, share: f64) -> Result<(), OpeError> {
    if !(0.0..=1.0).contains(&share) {
        return Err(OpeError::Option { name: "explore", value: share, expected: "a number in [0, 1]" });
    }
    if share == 0.0 {
        return Ok(());
    }
    let uniform = SelectorSpec::named("uniform");
    policy.manifest.selector = if share < 1.0 {
        let parts = serde_json::json!([
            { "weight": 1.0 - share, "selector": policy.router()?.selector.spec() },
            { "weight": share, "selector": uniform },
        ]);
        SelectorSpec { name: "mixture".to_owned(), settings: serde_json::json!({ "parts": parts }) }
    } else {
        uniform
    };
    policy.router_mut()?.selector = selectors::build(&policy.manifest.selector, &policy.arms)?;
    Ok(())
}

fn decide(
    policy: &Policy,
    table: &OutcomeTable,
    options: &LogDecisionsOptions,
) -> Result<Vec<Found>, OpeError> {
    let pass = options.pass_probability;
    if !(pass > 0.0 && pass <= 1.0) {
        let value = f64::from(pass);
        return Err(OpeError::Option { name: "pass probability", value, expected: "a number in (0, 1]" });
    }
    let is_arm = |model: &String| policy.arms.iter().any(|arm| arm.model == *model);
    let candidates: Vec<Vec<String>> = (0..table.n_queries())
        .map(|row| {
            let models = table.models.iter().enumerate();
            let observed =
                models.filter(|(col, model)| table.score.get(row, *col).is_some() && is_arm(model));
            observed.map(|(_, model)| model.clone()).collect()
        })
        .collect();
    let seed = |row: usize| -> u64 {
        rng::stream(options.seed, &format!("log decision {}", table.queries[row].id)).random()
    };
    let inputs = feature_inputs(table);
    let requests: Vec<Request<'_>> = (0..table.n_queries())
        .map(|row| Request {
            input: inputs[row],
            source: table.queries[row].source.as_deref(),
            candidates: Some(&candidates[row]),
            seed: seed(row),
            ..Request::default()
        })
        .collect();
    let decided = policy.decide_batch(&requests).map_err(|source| OpeError::Decide {
        decision_id: table.queries.first().map_or_else(String::new, |query| query.id.clone()),
        source,
    })?;
    let mut found = Vec::with_capacity(decided.len());
    for (row, decision) in decided.into_iter().enumerate() {
        if candidates[row].is_empty() {
            found.push(Found::NoArm);
            continue;
        }
        let query = &table.queries[row];
        let decision =
            decision.map_err(|source| OpeError::Decide { decision_id: query.id.clone(), source })?;
        let kept: f32 = rng::stream(options.seed, &format!("keep decision {}", query.id)).random();
        if kept >= pass {
            found.push(Found::NotKept);
            continue;
        }
        let mut logged = decision_row(policy, &decision, table, row, &candidates[row]);
        logged.seed = requests[row].seed;
        logged.pass_probability = (pass < 1.0).then_some(pass);
        let outcome = outcome_row(&logged, table, row);
        found.push(Found::Logged(Box::new(logged), outcome));
    }
    Ok(found)
}

fn decision_row(
    policy: &Policy,
    decision: &routewright_policy::Decision,
    table: &OutcomeTable,
    row: usize,
    candidates: &[String],
) -> DecisionRow {
    let query = &table.queries[row];
    let arms: Vec<usize> =
        (0..policy.arms.len()).filter(|arm| candidates.contains(&policy.arms[*arm].model)).collect();
    let of = |arm: &usize| &decision.candidates[*arm];
    DecisionRow {
        decision_id: row_keys::decision_id(&query.id),
        timestamp_ms: query.timestamp_ms.unwrap_or(START_MS),
        policy: policy.manifest.name.as_str().into(),
        policy_version: format!(
            "{}-{}",
            &policy.digest[..12.min(policy.digest.len())],
            policy.manifest.selector.name
        )
        .into(),
        policy_digest: policy.digest.as_str().into(),
        featurizer_digest: Some(policy.manifest.featurizer.digest.clone()),
        candidates: arms.iter().map(|arm| policy.arms[*arm].model.clone()).collect(),
        propensities: arms.iter().map(|arm| of(arm).propensity).collect(),
        model: policy.arms[decision.arm].model.clone(),
        propensity: f64::from(decision.propensity),
        predicted_score: Some(arms.iter().map(|arm| of(arm).score).collect()),
        predicted_cost_usd: Some(arms.iter().map(|arm| of(arm).cost_usd.unwrap_or(f32::NAN)).collect()),
        source: query.source.clone(),
        prompt: Some(query.prompt.clone()),
        features: table.vectors.as_ref().map(|vectors| vectors.row(row).to_vec()),
        query_text: policy.manifest.query_text.map(|rule| rule.name().to_owned()),
        ..DecisionRow::default()
    }
}

pub(super) fn outcome_row(decision: &DecisionRow, table: &OutcomeTable, row: usize) -> FeedbackRow {
    let column = table.models.iter().position(|model| *model == decision.model).unwrap_or_default();
    let latency_ms = table.latency_ms.as_ref().and_then(|cells| cells.get(row, column));
    FeedbackRow {
        outcome_id: format!("o-{}", table.queries[row].id),
        decision_id: decision.decision_id.clone(),
        timestamp_ms: decision.timestamp_ms + latency_ms.unwrap_or(DELAY_MS) as i64,
        kind: "score".to_owned(),
        value: table.score.get(row, column).map(f64::from),
        cost_usd: table.cost_usd.get(row, column).map(f64::from),
        latency_ms,
    }
}
