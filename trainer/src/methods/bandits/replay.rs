//! Fitting a bandit: one pass, or several, over the train rows.

use crate::method::{FitContext, FitError, Fitted};
use crate::preferences::Comparisons;
use crate::simulate::{Bandit, Ground, RunSettings, Stream, preferred, run, shuffled};
use routewright_data::OutcomeTable;
use routewright_policy::online::Experience;
use routewright_policy::{LoadError, SelectorSpec, forms};
use serde::{Deserialize, Serialize};

/// What a bandit learns from the train rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Told {
    /// The reward of the arm it called.
    Bandit,
    /// The reward of every arm that has one: what a log of full outcomes offers.
    Full,
}

/// Lets `bandit` learn from the train rows and makes a policy of it.
///
/// `explores`: whether the exported policy goes on exploring as it did while learning; else it chooses
/// the greatest predicted reward, or draws as it did where its predictions are probabilities.
pub(super) fn fit(
    mut bandit: Bandit,
    told: Told,
    epochs: usize,
    deployed: SelectorSpec,
    params: &impl Serialize,
    context: &FitContext<'_>,
) -> Result<Fitted, FitError> {
    let table = context.train;
    let n_rounds = table.n_queries() * epochs;
    let rows = shuffled(table.n_queries(), n_rounds, context.seed);
    let mut metrics = Vec::new();
    match told {
        Told::Full => full(&mut bandit, &rows, context)?,
        Told::Bandit => {
            let arms = crate::train::arms(table);
            let ground = Ground { table, features: context.features, expected: None, arms: &arms };
            let stream = Stream::prompt(rows, table.n_arms());
            let settings = RunSettings {
                utility: bandit.reward,
                pacing: None,
                trust: 1.0,
                learn_trust: false,
                seed: context.seed,
            };
            let trace = run(&mut bandit, ground, &stream, settings)?;
            metrics = vec![("replay_regret", trace.regret), ("replay_score", trace.score)];
        }
    }
    let mut fitted = exported(&bandit, deployed, params)?;
    fitted.metrics.extend(metrics.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Ok(fitted)
}

/// The policy of what a bandit has learned.
fn exported(bandit: &Bandit, deployed: SelectorSpec, params: &impl Serialize) -> Result<Fitted, FitError> {
    let failed = |error: LoadError| FitError::Numeric { method: "replay", reason: error.to_string() };
    let mut fitted = Fitted::new(forms::restored(bandit.learner.as_ref()).map_err(failed)?, params);
    fitted.selector = deployed;
    Ok(fitted)
}

/// [`fit`] on the train rows without a judgement, or a policy of what `bandit` knows where a pair log is given alone.
pub(super) fn rest(
    bandit: Bandit,
    told: Told,
    epochs: usize,
    deployed: SelectorSpec,
    params: &impl Serialize,
    context: &FitContext<'_>,
) -> Result<Fitted, FitError> {
    let is_judged = |row: usize| context.pairs.is_some_and(|pairs| !pairs.of(row).is_empty());
    let rows: Vec<usize> = (0..context.train.n_queries()).filter(|row| !is_judged(*row)).collect();
    if rows.is_empty() {
        return exported(&bandit, deployed, params);
    }
    let (train, features) = (context.train.select_rows(&rows), context.features.select_rows(&rows));
    let rest = FitContext { train: &train, features: &features, pairs: None, ..*context };
    fit(bandit, told, epochs, deployed, params, &rest)
}

/// Tells a bandit that learns from comparisons every judgement of a pair log, in a random order of the seed.
pub(super) fn judged(
    bandit: &mut Bandit,
    pairs: &Comparisons,
    epochs: usize,
    context: &FitContext<'_>,
) -> Result<(), FitError> {
    let (all, sources) = (pairs.all(), context.train.sources());
    for (time, at) in shuffled(all.len(), all.len() * epochs, context.seed).into_iter().enumerate() {
        let comparison = all[at];
        let experience = Experience {
            features: context.features.row(comparison.row),
            source: sources[comparison.row],
            arm: comparison.a,
            rival: Some(comparison.b),
            reward: f64::from(comparison.share),
            weight: f64::from(comparison.weight),
            time: time as u64,
        };
        let failed = |reason: String| FitError::Numeric { method: "replay", reason };
        bandit.learner.learn(&experience).map_err(|error| failed(error.to_string()))?;
    }
    Ok(())
}

/// Tells the bandit the reward of every arm on the rows given, or how every arm that has one does against the next
/// that has one where it learns from comparisons.
pub(super) fn full(bandit: &mut Bandit, rows: &[usize], context: &FitContext<'_>) -> Result<(), FitError> {
    let table = context.train;
    let sources = table.sources();
    let compares = bandit.learner.compares();
    for (time, &row) in rows.iter().enumerate() {
        let rewards: Vec<(usize, f64)> =
            (0..table.n_arms()).filter_map(|arm| Some((arm, reward(bandit, table, row, arm)?))).collect();
        for (at, &(arm, reward)) in rewards.iter().enumerate() {
            let (rival, other) = rewards[(at + 1) % rewards.len()];
            if compares && rival == arm {
                continue;
            }
            let (rival, reward) =
                if compares { (Some(rival), preferred(reward, other)) } else { (None, reward) };
            let experience = Experience {
                features: context.features.row(row),
                source: sources[row],
                arm,
                rival,
                reward,
                weight: 1.0,
                time: time as u64,
            };
            let failed = |reason: String| FitError::Numeric { method: "replay", reason };
            bandit.learner.learn(&experience).map_err(|error| failed(error.to_string()))?;
        }
    }
    Ok(())
}

/// What the bandit is paid for an arm on a row; `None` for a missing cell.
fn reward(bandit: &Bandit, table: &OutcomeTable, row: usize, arm: usize) -> Option<f64> {
    let score = table.score.get(row, arm)?;
    let latency = table.latency_ms.as_ref().and_then(|cells| cells.get(row, arm));
    let cost = table.cost_usd.get(row, arm).or_else(|| known(bandit.cost.mean_usd()[arm]));
    Some(bandit.lesson(f64::from(score), cost.map(f64::from), latency.map(f64::from)))
}

fn known(cost: f32) -> Option<f32> {
    (!cost.is_nan()).then_some(cost)
}
