//! Decision and feedback logs from a log that has one model a prompt and no propensities, as gateways write it.
//!
//! The probability of each model is estimated from what can be seen of the query: multinomial logistic regression
//! (penalty `alpha / 2 |W|^2`, the `C = 1 / alpha` of scikit-learn) of the chosen model on lexical features and the
//! source. A row is predicted by what the other folds taught, folds are dealt by question, and no probability is
//! below a floor (before the row is normalised again). Costs and scores play no part.
//!
//! What this can do: remove the confounding that text or source shows (harder prompts sent to a stronger model).
//! What it cannot: see a rule that looked at something else. So the log says of itself that it is estimated
//! ([`ESTIMATED`] as `policy_version`); `ope` then rests on SNIPS, where errors of the propensities cancel in part, and
//! warns, and `policy promote` refuses. Measured in `experiments/record/2026-11-30-ope-coverage.md`.

use super::folds::fold;
use super::log_decisions::{START_MS, outcome_row};
use super::{DECISIONS, FEEDBACK, OpeError};
use crate::train::{feature_inputs, observed_arms};
use routewright_data::features::{Featurizer as _, Lexical, LexicalSettings, Posterior};
use routewright_data::log::{DecisionRow, RowWriter, WriteOptions};
use routewright_data::{FeatureMatrix, OutcomeTable, QueryText, row_keys};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The `policy_version` of decisions whose propensities were estimated.
pub const ESTIMATED: &str = "estimated-propensities";
/// The `policy` of such decisions.
const POLICY: &str = "unknown";
/// Sources told apart, at most; the most frequent ones.
const SOURCES_MAX: usize = 64;

/// How propensities are estimated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PropensityOptions {
    /// Width of the lexical features.
    pub dim: usize,
    /// Penalty of the squared weights, above 0.
    pub alpha: f64,
    /// Folds, at least 2.
    pub folds: usize,
    /// Least probability of a model, before the row is normalised again.
    pub floor: f64,
    /// Seed of the features.
    pub seed: u64,
    /// Rule that made the prompts of the log, where it names one; the decision log names it as well.
    pub query_text: Option<QueryText>,
}

impl Default for PropensityOptions {
    fn default() -> Self {
        Self { dim: 64, alpha: 10.0, folds: 3, floor: 0.005, seed: 0, query_text: None }
    }
}

/// How far the log covers a policy that always takes one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmOverlap {
    /// The model.
    pub model: String,
    /// Rows it answered.
    pub rows: usize,
    /// Mean estimated probability on the rows it answered, and on the others.
    pub propensity: [f64; 2],
    /// The 5 % quantile of its estimated probability over all rows.
    pub propensity_low: f64,
    /// Share of all rows on which its probability is the floor.
    pub floored: f64,
    /// Effective sample size of the policy that always takes it.
    pub ess: f64,
}

/// What was written, and how much of the choices the features explain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EstimatedLog {
    /// The decision log.
    pub decisions: PathBuf,
    /// The feedback log.
    pub feedback: PathBuf,
    /// Decisions, a row of both logs each.
    pub rows: usize,
    /// Queries left out: no model has a score.
    pub without_score: u64,
    /// Queries left out: several models have one, so that no single choice was made.
    pub with_several: u64,
    /// Mean of `-ln p` of the chosen model, held out.
    pub log_loss: f64,
    /// The same of the shares of the models, which know nothing of the query.
    pub log_loss_of_shares: f64,
    /// Overlap of each model, the most frequent first.
    pub arms: Vec<ArmOverlap>,
}

/// Estimates the propensities of an outcome log of one model a query and writes both logs into folder `dir`.
///
/// # Errors
/// If an option is not valid, fewer than two models or too few rows are left, or the logs cannot be written.
pub fn estimate_decisions(
    table: OutcomeTable,
    options: &PropensityOptions,
    dir: &Path,
) -> Result<EstimatedLog, OpeError> {
    let (kept, without_score, with_several) = single_rows(&table);
    let table = observed_arms(table.select_rows(&kept));
    check(&table, options)?;
    let chosen: Vec<u32> = (0..table.n_queries())
        .map(|row| (0..table.n_arms()).find(|arm| table.score.get(row, *arm).is_some()).unwrap_or(0) as u32)
        .collect();
    let propensities = propensities(&table, &chosen, options)?;
    let (decisions, feedback) = (dir.join(DECISIONS), dir.join(FEEDBACK));
    write(&table, &chosen, &propensities, options.query_text, [&decisions, &feedback])?;
    let (log_loss, log_loss_of_shares) = log_losses(&chosen, &propensities, table.n_arms());
    Ok(EstimatedLog {
        decisions,
        feedback,
        rows: table.n_queries(),
        without_score,
        with_several,
        log_loss,
        log_loss_of_shares,
        arms: overlaps(&table, &chosen, &propensities, options.floor),
    })
}

/// Rows with a score of exactly one model; how many have none and how many several.
fn single_rows(table: &OutcomeTable) -> (Vec<usize>, u64, u64) {
    let (mut kept, mut none, mut several) = (Vec::new(), 0, 0);
    for row in 0..table.n_queries() {
        match (0..table.n_arms()).filter(|arm| table.score.get(row, *arm).is_some()).count() {
            0 => none += 1,
            1 => kept.push(row),
            _ => several += 1,
        }
    }
    (kept, none, several)
}

fn check(table: &OutcomeTable, options: &PropensityOptions) -> Result<(), OpeError> {
    let n_arms = table.n_arms();
    let wrong = |name, value, expected| Err(OpeError::Option { name, value, expected });
    if options.folds < 2 {
        return wrong("folds", options.folds as f64, "a whole number of at least 2");
    }
    if !(options.alpha > 0.0 && options.alpha.is_finite()) {
        return wrong("alpha", options.alpha, "a number above 0");
    }
    if !(options.floor > 0.0 && options.floor * (n_arms as f64) < 1.0) {
        return wrong("floor", options.floor, "a number above 0 and below one over the number of models");
    }
    if n_arms < 2 || table.n_queries() < 2 * options.folds {
        let n = table.n_queries();
        return Err(OpeError::Propensities {
            reason: format!(
                "{n} queries have a score of exactly one model, of {n_arms} models in all; expected at least \
                 {} queries and 2 models. A log with several models a query needs no estimate: \
                 use `--policy`",
                2 * options.folds
            ),
        });
    }
    Ok(())
}

/// Probabilities of shape `(n_queries, n_arms)`, each row predicted by what the other folds taught.
fn propensities(
    table: &OutcomeTable,
    chosen: &[u32],
    options: &PropensityOptions,
) -> Result<Vec<f32>, OpeError> {
    let features = features(table, options)?;
    let n_arms = table.n_arms();
    let fold_of = |row: usize| {
        let query = &table.queries[row];
        let vector = table.vectors.as_ref().map(|vectors| vectors.row(row));
        let key = row_keys::of_text(&query.prompt, vector);
        fold(key.unwrap_or_else(|| row_keys::of_outcome(&query.id, &query.prompt)), options.folds)
    };
    let mut out = vec![0.0_f32; table.n_queries() * n_arms];
    for held in 0..options.folds {
        let (valid, fit): (Vec<usize>, Vec<usize>) =
            (0..table.n_queries()).partition(|row| fold_of(*row) == held);
        if valid.is_empty() {
            continue;
        }
        if fit.is_empty() {
            let reason = "every query asks the same, so none can be held out".to_owned();
            return Err(OpeError::Propensities { reason });
        }
        let labels: Vec<u32> = fit.iter().map(|row| chosen[*row]).collect();
        let x = features.select_rows(&fit).into_values();
        let fitted = Posterior::fit(x, features.dim(), &labels, n_arms, options.alpha)
            .map_err(|error| OpeError::Propensities { reason: error.to_string() })?;
        let mut p = vec![0.0_f32; valid.len() * n_arms];
        fitted.of(features.select_rows(&valid).values(), &mut p);
        for (row, p) in valid.iter().zip(p.chunks_exact_mut(n_arms)) {
            p.iter_mut().for_each(|p| *p = p.max(options.floor as f32));
            let total: f32 = p.iter().sum();
            p.iter_mut().for_each(|p| *p /= total);
            out[row * n_arms..(row + 1) * n_arms].copy_from_slice(p);
        }
    }
    Ok(out)
}

/// Lexical features of the prompts (or the vectors of the log where it has no prompts) and a column a source.
fn features(table: &OutcomeTable, options: &PropensityOptions) -> Result<FeatureMatrix, OpeError> {
    let has_prompts = table.queries.iter().any(|query| !query.prompt.is_empty());
    let text = match (&table.vectors, has_prompts) {
        (_, true) => {
            let settings = LexicalSettings { dim: options.dim, ..LexicalSettings::default() };
            Lexical::fit(&table.prompts(), settings, options.seed)?.featurize(&feature_inputs(table))?
        }
        (Some(vectors), false) => vectors.clone(),
        (None, false) => FeatureMatrix::zeros(table.n_queries(), 0),
    };
    let mut counts = BTreeMap::<&str, usize>::new();
    table.sources().into_iter().flatten().for_each(|source| *counts.entry(source).or_default() += 1);
    let mut sources: Vec<(&str, usize)> = counts.into_iter().collect();
    sources.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    sources.truncate(SOURCES_MAX);
    let width = text.dim() + sources.len();
    if width == 0 {
        let reason = "the log has neither prompts, nor vectors, nor sources".to_owned();
        return Err(OpeError::Propensities { reason });
    }
    let mut values = Vec::with_capacity(table.n_queries() * width);
    for (row, query) in table.queries.iter().enumerate() {
        values.extend_from_slice(text.row(row));
        let is_it = |(name, _): &(&str, usize)| query.source.as_deref() == Some(*name);
        values.extend(sources.iter().map(|source| f32::from(u8::from(is_it(source)))));
    }
    Ok(FeatureMatrix::from_vec(table.n_queries(), width, values))
}

fn write(
    table: &OutcomeTable,
    chosen: &[u32],
    propensities: &[f32],
    query_text: Option<QueryText>,
    [decisions, feedback]: [&Path; 2],
) -> Result<(), OpeError> {
    let candidates: Arc<[String]> = table.models.clone().into();
    let mut decisions = RowWriter::create(decisions, WriteOptions::default())?;
    let mut feedback = RowWriter::create(feedback, WriteOptions::default())?;
    for (row, p) in propensities.chunks_exact(table.n_arms()).enumerate() {
        let (query, arm) = (&table.queries[row], chosen[row] as usize);
        let decision = DecisionRow {
            decision_id: row_keys::decision_id(&query.id),
            timestamp_ms: query.timestamp_ms.unwrap_or(START_MS),
            policy: POLICY.into(),
            policy_version: ESTIMATED.into(),
            policy_digest: "0".repeat(64).into(),
            candidates: Arc::clone(&candidates),
            propensities: p.to_vec(),
            model: table.models[arm].clone(),
            propensity: f64::from(p[arm]),
            source: query.source.clone(),
            prompt: (!query.prompt.is_empty()).then(|| query.prompt.clone()),
            features: table.vectors.as_ref().map(|vectors| vectors.row(row).to_vec()),
            query_text: query_text.map(|rule| rule.name().to_owned()),
            ..DecisionRow::default()
        };
        feedback.push(outcome_row(&decision, table, row))?;
        decisions.push(decision)?;
    }
    feedback.finish()?;
    decisions.finish()?;
    Ok(())
}

/// Mean of `-ln p` of the chosen models, by the estimate and by the shares of the models.
fn log_losses(chosen: &[u32], propensities: &[f32], n_arms: usize) -> (f64, f64) {
    let n = chosen.len() as f64;
    let mut counts = vec![0.0_f64; n_arms];
    chosen.iter().for_each(|arm| counts[*arm as usize] += 1.0);
    let rows = propensities.chunks_exact(n_arms).zip(chosen);
    let estimated: f64 = rows.map(|(p, arm)| -f64::from(p[*arm as usize]).ln()).sum();
    let of_shares: f64 = counts.iter().filter(|c| **c > 0.0).map(|c| -c * (c / n).ln()).sum();
    (estimated / n, of_shares / n)
}

fn overlaps(table: &OutcomeTable, chosen: &[u32], propensities: &[f32], floor: f64) -> Vec<ArmOverlap> {
    let (n, n_arms) = (chosen.len(), table.n_arms());
    let overlap = |arm: usize| {
        let of_row = |row: usize| f64::from(propensities[row * n_arms + arm]);
        let (own, others): (Vec<usize>, Vec<usize>) = (0..n).partition(|row| chosen[*row] as usize == arm);
        let mean = |rows: &[usize]| rows.iter().map(|row| of_row(*row)).sum::<f64>() / rows.len() as f64;
        let weights = || own.iter().map(|row| 1.0 / of_row(*row));
        let mut ascending: Vec<f64> = (0..n).map(of_row).collect();
        ascending.sort_by(f64::total_cmp);
        ArmOverlap {
            model: table.models[arm].clone(),
            rows: own.len(),
            propensity: [mean(&own), mean(&others)],
            propensity_low: ascending[n / 20],
            floored: ascending.iter().filter(|p| **p <= floor).count() as f64 / n as f64,
            ess: weights().sum::<f64>().powi(2) / weights().map(|w| w * w).sum::<f64>(),
        }
    };
    let mut arms: Vec<ArmOverlap> = (0..n_arms).map(overlap).collect();
    arms.sort_by(|a, b| b.rows.cmp(&a.rows).then(a.model.cmp(&b.model)));
    arms
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt as _;
    use routewright_data::decisions::DecisionReader;
    use routewright_data::{Cells, Query, rng};

    /// Queries of three sources; `strong` answers a share that depends on the source, `a` and `b` the others.
    fn gateway(n: usize) -> OutcomeTable {
        let mut rng = rng::stream(6, "propensities test");
        let shares = [0.9, 0.6, 0.3];
        let mut score = Cells::missing(n, 3);
        let queries = (0..n).map(|row| {
            let source = row % 3;
            let arm = match rng.random::<f64>() {
                p if p < shares[source] => 2,
                _ => rng.random_range(0..2),
            };
            score.set(row, arm, f32::from(rng.random_bool(0.5)));
            Query {
                id: row.to_string(),
                prompt: format!("{} number {row}", ["prove", "translate", "draw"][source]),
                source: Some(["math", "words", "art"][source].to_owned()),
                ..Query::default()
            }
        });
        let queries = queries.collect();
        OutcomeTable {
            queries,
            models: ["a", "b", "strong"].map(str::to_owned).to_vec(),
            score,
            soft_score: None,
            cost_usd: Cells::missing(n, 3),
            latency_ms: None,
            vectors: None,
        }
    }

    #[test]
    fn the_shares_of_each_source_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let mut table = gateway(3000);
        // A query without a score, and one that two models answered.
        table.score.set(0, 0, f32::NAN);
        table.score.set(0, 1, f32::NAN);
        table.score.set(0, 2, f32::NAN);
        (0..3).for_each(|arm| table.score.set(1, arm, 1.0));
        let found = estimate_decisions(table, &PropensityOptions::default(), dir.path()).unwrap();
        assert_eq!((found.rows, found.without_score, found.with_several), (2998, 1, 1));
        assert!(found.log_loss < found.log_loss_of_shares - 0.05, "{found:?}");
        assert_eq!(found.arms[0].model, "strong");
        let mut sums = BTreeMap::<String, (f64, f64)>::new();
        for row in DecisionReader::open(&found.decisions).unwrap().flat_map(Result::unwrap) {
            let sum = sums.entry(row.source.clone().unwrap()).or_default();
            *sum = (sum.0 + 1.0, sum.1 + f64::from(row.propensities[2]));
            assert_eq!(&*row.policy_version, ESTIMATED);
        }
        for (source, share) in [("math", 0.9), ("words", 0.6), ("art", 0.3)] {
            let (n, sum) = sums[source];
            assert!((sum / n - share).abs() < 0.05, "{source}: {} for {share}", sum / n);
        }
    }

    #[test]
    fn a_log_that_needs_no_estimate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut table = gateway(20);
        table.score = Cells::from_vec(20, 3, vec![1.0; 60]);
        let refused = |table, options: &PropensityOptions| {
            estimate_decisions(table, options, dir.path()).unwrap_err().to_string()
        };
        assert!(refused(table, &PropensityOptions::default()).contains("several models a query"));
        let wide = PropensityOptions { floor: 0.4, ..PropensityOptions::default() };
        assert!(refused(gateway(200), &wide).contains("`floor` is `0.4`"));
    }
}
