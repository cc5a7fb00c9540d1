//! Methods that learn from a pair log, judged on its held-out judgements beside the yardsticks.

use super::judge::{self, Forecast, PairScore};
use super::logistic::{self, Observation};
use super::table::of_pairs;
use super::yardsticks::{self, Yardstick};
use crate::evaluate::Average;
use crate::method::{Device, FitError, Fitted, MethodRow};
use crate::progress::Progress;
use crate::train::{FeatureChoice, Prepared, RunOptions, TrainError, feature_inputs};
use crate::validation::Folds;
use routewright_data::linalg::LinalgError;
use routewright_data::{OutcomeTable, PairTable, Winner};
use serde::Serialize;

/// Precision of the slope from margins to log-odds a priori; margins are scaled to a root mean square of 1.
const SLOPE_PRIOR: f64 = 0.01;

/// How methods are fitted.
#[derive(Debug, Clone)]
pub struct PairsOptions {
    /// How features are made.
    pub features: FeatureChoice,
    /// The average hyper-parameters are chosen by.
    pub average: Average,
    /// Seed of every random choice.
    pub seed: u64,
    /// Folds of train on which the log-odds are scaled; below 2 none are stated.
    pub folds: usize,
    /// Where tensors are computed.
    pub device: Device,
}

/// The table of `compare --pairs`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairsCompared {
    /// Prompts judged on.
    pub n_prompts: usize,
    /// Judgements with a winner.
    pub n_decided: usize,
    /// Judgements without.
    pub n_ties: usize,
    /// Models of train with their strengths in log-odds, mean 0, greatest first.
    pub strengths: Vec<(String, f64)>,
    /// Yardsticks, then methods.
    pub rows: Vec<PairScore>,
    /// Methods that could not be fitted, with the reason.
    pub refused: Vec<(String, String)>,
}

impl PairsCompared {
    /// The yardsticks on `test`, fitted on `train`; and what the others are to beat.
    ///
    /// # Errors
    /// If a system cannot be solved.
    pub fn yardsticks(train: &PairTable, test: &PairTable) -> Result<(Self, Option<Forecast>), LinalgError> {
        let mut forecasts = Vec::new();
        for yardstick in Yardstick::ALL {
            if let Some(forecast) = yardsticks::forecast(yardstick, train, test)? {
                forecasts.push((yardstick.name(), forecast));
            }
        }
        let mut strengths: Vec<(String, f64)> =
            train.models.iter().cloned().zip(yardsticks::strengths(train)?).collect();
        strengths.sort_by(|a, b| b.1.total_cmp(&a.1));
        let n_ties = test.pairs.iter().filter(|pair| pair.winner == Winner::Tie).count();
        let mut prompts: Vec<&str> = test.queries.iter().map(|query| query.prompt.as_str()).collect();
        prompts.sort_unstable();
        prompts.dedup();
        let compared = Self {
            n_prompts: prompts.len(),
            n_decided: test.pairs.len() - n_ties,
            n_ties,
            strengths,
            rows: forecasts.iter().map(|(name, f)| judge::judge(name, f, test, None)).collect(),
            refused: Vec::new(),
        };
        Ok((compared, forecasts.pop().map(|(_, forecast)| forecast)))
    }
}

/// A method fitted on the pair log.
#[derive(Debug)]
pub struct FittedOnPairs {
    /// Its name.
    pub name: &'static str,
    /// What it learned.
    pub fitted: Fitted,
}

/// Fits every method on `train` and judges it on `test`; a method that cannot be fitted is listed as refused.
///
/// # Errors
/// If features cannot be made or a fitted policy cannot predict.
pub fn compare_pairs(
    train: &PairTable,
    test: &PairTable,
    methods: &[(&'static MethodRow, serde_json::Value)],
    options: &PairsOptions,
    progress: &dyn Progress,
) -> Result<(PairsCompared, Prepared, Vec<FittedOnPairs>), TrainError> {
    let numeric = |error: LinalgError| {
        TrainError::Fit(FitError::Numeric { method: "bradley-terry", reason: error.to_string() })
    };
    let (mut compared, rival) = PairsCompared::yardsticks(train, test).map_err(numeric)?;
    let joined = of_pairs(train.clone());
    let prepared = Prepared::with_pairs(joined, &options.features, options.seed)?;
    let judged = of_pairs(test.clone());
    let features = prepared.featurizer.featurize(&feature_inputs(&judged.table))?;
    let run = RunOptions {
        average: options.average,
        seed: options.seed,
        device: options.device,
        progress,
        checkpoint: None,
    };
    let mut kept = Vec::new();
    for (at, (method, params)) in methods.iter().enumerate() {
        progress.step(at as u64, method.name);
        let fitted = match prepared.fit(method, params, &run) {
            Ok(fitted) => fitted,
            Err(error) => {
                compared.refused.push((method.name.to_owned(), error.to_string()));
                continue;
            }
        };
        let prediction = prepared.predict(&fitted, &judged.table, &features)?;
        let margins = margins(&prediction.score, &prepared.train.models, test);
        let slope = slope(method, params, &prepared, &run, options.folds)?;
        let logits = slope.map(|slope| margins.iter().map(|margin| slope * margin).collect());
        let forecast = Forecast { margins, logits };
        compared.rows.push(judge::judge(method.name, &forecast, test, rival.as_ref()));
        kept.push(FittedOnPairs { name: method.name, fitted });
    }
    Ok((compared, prepared, kept))
}

/// Judges scores predicted for the queries of `test` `(n_queries, models.len())`, as of a stored policy; log-odds are
/// scaled on the scores of the queries of `train`, where given.
///
/// # Errors
/// If the scale cannot be fitted.
pub fn judge_prediction(
    name: &str,
    models: &[String],
    (test, scores): (&PairTable, &[f32]),
    train: Option<(&PairTable, &[f32])>,
    rival: Option<&Forecast>,
) -> Result<PairScore, LinalgError> {
    let forecast_margins = margins(scores, models, test);
    let slope = match train {
        Some((train, scores)) => {
            let outcome = |pair: &routewright_data::Pair| (pair.winner.share_of_a(), pair.weight);
            scale(&margins(scores, models, train), train.pairs.iter().map(outcome))?
        }
        None => None,
    };
    let logits = slope.map(|slope| forecast_margins.iter().map(|margin| slope * margin).collect());
    Ok(judge::judge(name, &Forecast { margins: forecast_margins, logits }, test, rival))
}

/// Score of the first arm less that of the second; 0 where `models` lacks one.
fn margins(scores: &[f32], models: &[String], pairs: &PairTable) -> Vec<f64> {
    let column = |model: &String| models.iter().position(|known| known == model);
    let columns: Vec<Option<usize>> = pairs.models.iter().map(column).collect();
    let score = |query: usize, arm: usize| f64::from(scores[query * models.len() + arm]);
    let of = |pair: &routewright_data::Pair| match (columns[pair.model_a], columns[pair.model_b]) {
        (Some(a), Some(b)) => score(pair.query, a) - score(pair.query, b),
        _ => 0.0,
    };
    pairs.pairs.iter().map(of).collect()
}

/// Slope from margins to log-odds on judgements of train that each fit has not seen.
fn slope(
    method: &MethodRow,
    params: &serde_json::Value,
    prepared: &Prepared,
    run: &RunOptions<'_>,
    n_folds: usize,
) -> Result<Option<f64>, TrainError> {
    let (Some(comparisons), true) = (&prepared.pairs, n_folds >= 2) else { return Ok(None) };
    let folds = Folds::new(&prepared.train, run.seed, n_folds);
    let (mut held_out, mut outcomes) = (Vec::new(), Vec::new());
    for slice in (0..n_folds).filter_map(|fold| folds.slice(fold)) {
        let of_fold = prepared.select_rows(&slice.fit);
        // A fold may be too small for a method that the whole log can carry.
        let Ok(fitted) = of_fold.fit(method, params, run) else { continue };
        let table: OutcomeTable = prepared.train.select_rows(&slice.valid);
        let features = prepared.features.select_rows(&slice.valid);
        let prediction = prepared.predict(&fitted, &table, &features)?;
        let n_arms = prediction.n_arms;
        for c in comparisons.select_rows(&slice.valid).all() {
            let score = |arm: usize| f64::from(prediction.score[c.row * n_arms + arm]);
            held_out.push(score(c.a) - score(c.b));
            outcomes.push((c.share, c.weight));
        }
    }
    let failed = |error: LinalgError| FitError::Numeric { method: method.name, reason: error.to_string() };
    Ok(scale(&held_out, outcomes.into_iter()).map_err(failed)?)
}

/// The slope of log-odds on margins; `None` without margins, 0 where they foretell the opposite.
fn scale(margins: &[f64], outcomes: impl Iterator<Item = (f32, f32)>) -> Result<Option<f64>, LinalgError> {
    let size = (margins.iter().map(|m| m * m).sum::<f64>() / margins.len().max(1) as f64).sqrt();
    if margins.is_empty() || size <= 0.0 {
        return Ok(None);
    }
    let observation = |(margin, (share, weight)): (&f64, (f32, f32))| Observation {
        x: vec![margin / size],
        y: f64::from(share),
        weight: f64::from(weight),
    };
    let observations: Vec<Observation> = margins.iter().zip(outcomes).map(observation).collect();
    Ok(Some((logistic::fit(&observations, &[SLOPE_PRIOR])?[0] / size).max(0.0)))
}
