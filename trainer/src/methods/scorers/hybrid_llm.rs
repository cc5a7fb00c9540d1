//! Hybrid LLM (arXiv 2404.14618): the small model where it is likely to be as good as the large one.
//!
//! With `H = q(S) - q(L)` the gap between answers of the small model and of the large one, a classifier learns a label
//! of the query by cross-entropy, and the small model is called where its output reaches a threshold:
//!
//! | `labels` | label of a query |
//! |---|---|
//! | `deterministic` | `1[H >= 0]` of the mean scores |
//! | `probabilistic` | `Pr[H >= 0]` over pairs of answers, one of either model |
//! | `transformed` | `Pr[H >= -t]`, `t` that of the greatest mean `abs(y_i - y_j)` over pairs of queries |
//!
//! Pairs are those of the samples of the log, where it has several answers of a model to a query. Where it has means
//! alone, `cells = "success-rate"` reads a mean as the share of right answers, `Pr[H >= 0] = 1 - (1 - p_S) p_L`.
//!
//! # Deviations from the paper
//! 1. The classifier is a logistic regression on the features of the policy; the paper fine-tunes DeBERTa-v3-large.
//! 2. Quality is the score of the log; the paper takes BART scores of ten answers of either model.
//! 3. With more than two models every other model is a small one with a classifier of its own; of those that reach
//!    the threshold the most likely is called. `small` names the ones that take part.
//! 4. The large model is the best single one unless named.
//! 5. The threshold is chosen on out-of-fold predictions of train: that which calls the large model least among those
//!    within `drop` of the greatest score. The paper limits the drop on a calibration set.
//! 6. `t` is searched on 51 values in [0, 1], the range of scores; on 0/1 scores none changes anything.

use super::logistic;
use super::systems::linear_all;
use crate::evaluate::Tuning;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, Reads};
use crate::methods::baselines::means;
use crate::methods::costs;
use crate::validation::{self, Folds};
use routewright_data::Cells;
use routewright_data::dense::sigmoid;
use routewright_data::suggest::near_names;
use routewright_policy::forms::{Linear, Link};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<HybridLlm>(
    "a small model where it is likely to be as good as the large one",
    Some("2404.14618"),
    Family::Before,
    &[Need::Features],
)
.reading(&[Reads::Outcomes, Reads::Samples]);

/// Values of `t` tried, evenly over [0, 1].
const SHIFTS: usize = 51;
/// Thresholds tried: quantiles of the greatest output of each query.
const THRESHOLDS: usize = 41;
/// Newton steps of a classifier, at most.
const STEPS: usize = 60;
/// Output of a model that takes no part.
const NEVER: f32 = 0.001;

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct HybridLlm;

/// What the classifiers learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Labels {
    /// Whether the mean score of the small model is no worse.
    Deterministic,
    /// How likely its answer is no worse.
    Probabilistic,
    /// How likely its answer is no worse by more than what spreads labels most.
    Transformed,
}

/// What a score is where the log has one a model and query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum CellKind {
    /// The score of an answer.
    Score,
    /// The share of right ones among several.
    SuccessRate,
}

/// Parameters; a list is a grid of which cross-validation picks one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// `deterministic`, `probabilistic` or `transformed`.
    labels: Labels,
    /// `score` or `success-rate`.
    cells: CellKind,
    /// Name of the large model; empty for the best single one.
    large: String,
    /// Names of the small models; empty for all others.
    small: Vec<String>,
    /// Output from which a small model is called, in (0, 1); chosen where null.
    threshold: Option<f32>,
    /// Score that a chosen threshold may give up, at least 0.
    drop: f64,
    /// Penalties to try, each above 0.
    alpha: Vec<f64>,
    /// Folds of the cross-validation, at least 2.
    folds: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            labels: Labels::Probabilistic,
            cells: CellKind::Score,
            large: String::new(),
            small: Vec::new(),
            threshold: None,
            drop: 0.0,
            alpha: vec![30.0, 10.0, 3.0, 1.0],
            folds: 5,
        }
    }
}

impl Params {
    fn check(&self) -> Result<(), FitError> {
        if self.alpha.is_empty() || !self.alpha.iter().all(|alpha| alpha.is_finite() && *alpha > 0.0) {
            return refuse(format!(
                "`alpha` is `{:?}`, expected at least one penalty, each above 0",
                self.alpha
            ));
        }
        if !(self.drop >= 0.0 && self.drop.is_finite()) {
            return refuse(format!("`drop` is `{}`, expected a number of at least 0", self.drop));
        }
        if let Some(threshold) = self.threshold.filter(|t| !(*t > 0.0 && *t < 1.0)) {
            return refuse(format!("`threshold` is `{threshold}`, expected a number in (0, 1), or null"));
        }
        if self.folds < 2 {
            return refuse(format!("`folds` is `{}`, expected at least 2", self.folds));
        }
        Ok(())
    }
}

fn refuse<T>(reason: String) -> Result<T, FitError> {
    Err(FitError::Params { method: HybridLlm::NAME, reason })
}

impl Method for HybridLlm {
    const NAME: &'static str = "hybrid-llm";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        let pool = Pool::of(params, context)?;
        let (labels, shifts) = pool.labels(params, context);
        if labels.n_present() == 0 {
            let large = &context.train.models[pool.large];
            let reason = format!("no query has a score of `{large}` and of a small model; expected some");
            return Err(FitError::Log { method: Self::NAME, reason });
        }
        let folds = Folds::new(context.train, context.seed, params.folds);
        let (alpha, outputs) = choose_alpha(params, &labels, &folds, context)?;
        let frontier = pool.frontier(&outputs, context);
        let point = params.threshold.map_or_else(
            || choose_threshold(&frontier, params.drop),
            |threshold| Point { threshold, ..pool.point(&outputs, threshold, context) },
        );
        let mut weights = fit_labels(alpha, &labels, context)?;
        let dim = context.features.dim();
        // The large model has the threshold for its output, whatever the query.
        let large = &mut weights[pool.large * (dim + 1)..][..dim + 1];
        large.fill(0.0);
        large[dim] = (point.threshold / (1.0 - point.threshold)).ln();
        let cost = costs::fit(Self::NAME, context)?;
        let chosen = Params {
            alpha: vec![alpha],
            threshold: Some(point.threshold),
            large: context.train.models[pool.large].clone(),
            ..params.clone()
        };
        let mut fitted = Fitted::new(Box::new(Linear::new(dim, Link::Logistic, weights, cost)), &chosen);
        fitted.metrics = metrics(&point, &frontier, &shifts);
        let candidates = params.alpha.len() + if params.threshold.is_none() { frontier.len() } else { 0 };
        fitted.tuning = (candidates > 1).then_some(Tuning { candidates, slices: params.folds });
        Ok(fitted)
    }
}

/// Which models take part.
struct Pool {
    large: usize,
    small: Vec<usize>,
}

impl Pool {
    fn of(params: &Params, context: &FitContext<'_>) -> Result<Self, FitError> {
        let models = &context.train.models;
        let find = |key: &str, name: &str| {
            models.iter().position(|model| model == name).map_or_else(
                || {
                    let hint = near_names(name, models.iter().map(String::as_str));
                    refuse(format!("`{key}` names `{name}`, which is no model of the log; {hint}"))
                },
                Ok,
            )
        };
        let large = match params.large.as_str() {
            "" => means::best_single(context.train, context.average).unwrap_or(0),
            name => find("large", name)?,
        };
        let mut small = params.small.iter().map(|name| find("small", name)).collect::<Result<Vec<_>, _>>()?;
        if small.contains(&large) {
            return refuse(format!("`{}` is named as the large model and as a small one", models[large]));
        }
        if params.small.is_empty() {
            small = (0..models.len()).filter(|arm| *arm != large).collect();
        }
        if small.is_empty() {
            let reason = format!("the log has one model, `{}`; expected two or more", models[large]);
            return Err(FitError::Log { method: HybridLlm::NAME, reason });
        }
        Ok(Self { large, small })
    }

    /// Labels `(n_queries, n_arms)`, present for small models where both were scored, and the `t` of each of them.
    fn labels(&self, params: &Params, context: &FitContext<'_>) -> (Cells, Vec<f32>) {
        let table = context.train;
        let mut labels = Cells::missing(table.n_queries(), table.n_arms());
        let mut shifts = Vec::new();
        for &arm in &self.small {
            let gaps: Vec<Option<Gaps>> = (0..table.n_queries())
                .map(|row| Gaps::of(row, arm, self.large, params.cells, context))
                .collect();
            let label = |shift: f32| -> Vec<f32> {
                gaps.iter()
                    .map(|gaps| gaps.as_ref().map_or(f32::NAN, |gaps| gaps.label(params.labels, shift)))
                    .collect()
            };
            let shift = match params.labels {
                Labels::Transformed => widest(label),
                Labels::Deterministic | Labels::Probabilistic => 0.0,
            };
            shifts.push(shift);
            label(shift).into_iter().enumerate().for_each(|(row, label)| labels.set(row, arm, label));
        }
        (labels, shifts)
    }

    /// Outputs with the threshold in the place of the large model's.
    fn with_threshold(&self, outputs: &[f32], threshold: f32, n_arms: usize) -> Vec<f32> {
        let mut scores = outputs.to_vec();
        scores.iter_mut().skip(self.large).step_by(n_arms).for_each(|score| *score = threshold);
        scores
    }

    fn point(&self, outputs: &[f32], threshold: f32, context: &FitContext<'_>) -> Point {
        let n_arms = context.train.n_arms();
        let scores = self.with_threshold(outputs, threshold, n_arms);
        let is_small = |row: &&[f32]| self.small.iter().any(|arm| row[*arm] > threshold);
        let share =
            scores.chunks_exact(n_arms).filter(is_small).count() as f64 / context.train.n_queries() as f64;
        let score = validation::chosen_score(scores, context.train, context.average);
        Point { threshold, share, score }
    }

    /// What thresholds from none of the queries to all of them give out of fold.
    fn frontier(&self, outputs: &[f32], context: &FitContext<'_>) -> Vec<Point> {
        let greatest = outputs.chunks_exact(context.train.n_arms()).map(|row| {
            self.small.iter().map(|arm| row[*arm]).fold(NEVER, f32::max).clamp(NEVER, 1.0 - NEVER)
        });
        let mut greatest: Vec<f32> = greatest.collect();
        greatest.sort_by(f32::total_cmp);
        let last = greatest.len() - 1;
        let mut thresholds: Vec<f32> =
            (0..THRESHOLDS).map(|at| greatest[at * last / (THRESHOLDS - 1)]).collect();
        thresholds.extend([NEVER, 1.0 - NEVER]);
        thresholds.sort_by(f32::total_cmp);
        thresholds.dedup();
        thresholds.into_iter().map(|threshold| self.point(outputs, threshold, context)).collect()
    }
}

/// What a threshold gives: the share of queries that a small model answers, and the mean score.
#[derive(Debug, Clone, Copy)]
struct Point {
    threshold: f32,
    share: f64,
    score: f64,
}

/// Scores of answers of the small model and of the large one to a query.
struct Gaps {
    small: Vec<f32>,
    large: Vec<f32>,
    cells: CellKind,
}

impl Gaps {
    /// Those of the samples of the log, or of its cells; `None` where one of the models has no score.
    fn of(row: usize, small: usize, large: usize, cells: CellKind, context: &FitContext<'_>) -> Option<Self> {
        let means = [context.train.score.get(row, small)?, context.train.score.get(row, large)?];
        let samples = |arm| -> Vec<f32> {
            let answers = context.answers.into_iter().flat_map(|answers| answers.samples(row, arm));
            answers.filter_map(|answer| answer.score).collect()
        };
        let (own, other) = (samples(small), samples(large));
        if own.len() > 1 || other.len() > 1 {
            let or = |samples: Vec<f32>, mean| if samples.is_empty() { vec![mean] } else { samples };
            return Some(Self {
                small: or(own, means[0]),
                large: or(other, means[1]),
                cells: CellKind::Score,
            });
        }
        Some(Self { small: vec![means[0]], large: vec![means[1]], cells })
    }

    fn label(&self, labels: Labels, shift: f32) -> f32 {
        let mean = |scores: &[f32]| scores.iter().sum::<f32>() / scores.len() as f32;
        if labels == Labels::Deterministic {
            return f32::from(mean(&self.small) >= mean(&self.large));
        }
        if self.cells == CellKind::SuccessRate {
            // A right answer is worse than none, a wrong one than a right one, which no shift below 1 forgives.
            return if shift < 1.0 { 1.0 - (1.0 - self.small[0]) * self.large[0] } else { 1.0 };
        }
        let good = |small: &f32| self.large.iter().filter(|large| small - **large >= -shift - 1e-6).count();
        let n = self.small.len() * self.large.len();
        self.small.iter().map(good).sum::<usize>() as f32 / n as f32
    }
}

/// The shift whose labels differ most from each other on average, the least of equals.
fn widest(label: impl Fn(f32) -> Vec<f32>) -> f32 {
    let mut best = (f64::NEG_INFINITY, 0.0);
    for at in 0..SHIFTS {
        let shift = at as f32 / (SHIFTS - 1) as f32;
        let spread = mean_difference(label(shift));
        if spread > best.0 + 1e-12 {
            best = (spread, shift);
        }
    }
    best.1
}

/// Mean of `abs(y_i - y_j)` over all pairs of the labels present, a label with itself among them.
fn mean_difference(mut labels: Vec<f32>) -> f64 {
    labels.retain(|label| !label.is_nan());
    labels.sort_by(f32::total_cmp);
    let n = labels.len() as f64;
    // Of the sorted labels, the one at `i` is the greater of `i` pairs and the lesser of `n - 1 - i`.
    let weighted = |(at, label): (usize, &f32)| (2.0 * at as f64 + 1.0 - n) * f64::from(*label);
    2.0 * labels.iter().enumerate().map(weighted).sum::<f64>() / (n * n).max(1.0)
}

fn fit_labels(alpha: f64, labels: &Cells, context: &FitContext<'_>) -> Result<Vec<f32>, FitError> {
    let start = vec![NEVER; labels.n_cols()];
    logistic::regress(HybridLlm::NAME, (alpha, STEPS), labels, &start, context.features)
}

/// The penalty of the least cross-entropy out of fold, and its outputs `(n_queries, n_arms)`.
fn choose_alpha(
    params: &Params,
    labels: &Cells,
    folds: &Folds,
    context: &FitContext<'_>,
) -> Result<(f64, Vec<f32>), FitError> {
    let mut best: Option<(f64, f64, Vec<f32>)> = None;
    context.progress.start("cross-validation", params.alpha.len() as u64);
    for (at, &alpha) in params.alpha.iter().enumerate() {
        let outputs = folds.out_of_fold(labels.n_cols(), NEVER, |_, slice| {
            let (kept, features) = (labels.select_rows(&slice.fit), context.features.select_rows(&slice.fit));
            let weights = fit_labels(alpha, &kept, &FitContext { features: &features, ..*context })?;
            let held = slice.valid.iter().map(|row| context.features.row(*row));
            Ok::<_, FitError>(held.flat_map(|x| linear_all(&weights, x)).map(sigmoid).collect())
        })?;
        let error = cross_entropy(&outputs, labels);
        context.progress.step(at as u64 + 1, &format!("alpha {alpha}: cross-entropy {error:.4}"));
        if best.as_ref().is_none_or(|(least, ..)| error < *least) {
            best = Some((error, alpha, outputs));
        }
    }
    let (_, alpha, outputs) = best.unwrap_or((f64::NAN, params.alpha[0], Vec::new()));
    Ok((alpha, outputs))
}

fn cross_entropy(outputs: &[f32], labels: &Cells) -> f64 {
    let of_cell = |(p, y): (&f32, &f32)| {
        let (p, y) = (f64::from(p.clamp(1e-6, 1.0 - 1e-6)), f64::from(*y));
        -(y * p.ln() + (1.0 - y) * (1.0 - p).ln())
    };
    let known = outputs.iter().zip(labels.values()).filter(|(_, y)| !y.is_nan());
    known.map(of_cell).sum::<f64>() / labels.n_present().max(1) as f64
}

/// The point that calls the large model least among those within `drop` of the greatest score.
fn choose_threshold(frontier: &[Point], drop: f64) -> Point {
    let greatest = frontier.iter().map(|point| point.score).fold(f64::NEG_INFINITY, f64::max);
    let near = frontier.iter().filter(|point| point.score >= greatest - drop);
    let best = near.max_by(|a, b| a.share.total_cmp(&b.share).then(a.score.total_cmp(&b.score)));
    best.copied().unwrap_or(Point { threshold: 0.5, share: f64::NAN, score: f64::NAN })
}

/// The chosen point and the frontier at tenths of the share of queries that a small model answers.
fn metrics(point: &Point, frontier: &[Point], shifts: &[f32]) -> BTreeMap<String, f64> {
    let mut metrics = BTreeMap::new();
    metrics.insert("cross_validated_score".to_owned(), point.score);
    metrics.insert("share_small".to_owned(), point.share);
    metrics.insert("t_greatest".to_owned(), f64::from(shifts.iter().copied().fold(0.0, f32::max)));
    for tenth in 0..=10_u32 {
        let share = f64::from(tenth) / 10.0;
        let distance = |point: &Point| (point.share - share).abs();
        if let Some(near) = frontier.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))) {
            metrics.insert(format!("frontier_{:03}_threshold", tenth * 10), f64::from(near.threshold));
            metrics.insert(format!("frontier_{:03}_score", tenth * 10), near.score);
        }
    }
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(small: &[f32], large: &[f32], cells: CellKind) -> Gaps {
        Gaps { small: small.to_vec(), large: large.to_vec(), cells }
    }

    #[test]
    fn labels_are_those_of_the_definitions() {
        let pair = gaps(&[0.2, 0.6], &[0.5, 0.1], CellKind::Score);
        // Means 0.4 and 0.3; pairs -0.3, 0.1, 0.1, 0.5.
        assert_eq!(pair.label(Labels::Deterministic, 0.0), 1.0);
        assert_eq!(pair.label(Labels::Probabilistic, 0.0), 0.75);
        assert_eq!(pair.label(Labels::Transformed, 0.3), 1.0);
        let rates = gaps(&[0.4], &[0.9], CellKind::SuccessRate);
        // Worse where the small one is wrong and the large one right: 0.6 * 0.9.
        assert!((rates.label(Labels::Probabilistic, 0.0) - 0.46).abs() < 1e-6);
        assert_eq!(rates.label(Labels::Deterministic, 0.0), 0.0);
    }

    #[test]
    fn the_shift_spreads_labels_most() {
        // |0 - 1| four times of nine pairs over 9, twice: labels 0, 1, 1.
        assert!((mean_difference(vec![1.0, f32::NAN, 0.0, 1.0]) - 4.0 / 9.0).abs() < 1e-12);
        // A large model that is always better by 0.2 or 0.6: without a shift all labels are 0.
        let gaps = [gaps(&[0.3], &[0.5], CellKind::Score), gaps(&[0.1], &[0.7], CellKind::Score)];
        let shift = widest(|shift| gaps.iter().map(|gaps| gaps.label(Labels::Transformed, shift)).collect());
        assert!((shift - 0.2).abs() < 1e-6, "{shift}");
    }

    #[test]
    fn the_threshold_spares_the_large_model_within_the_drop() {
        let point = |threshold, share, score| Point { threshold, share, score };
        let frontier = [point(0.1, 0.9, 0.70), point(0.5, 0.5, 0.74), point(0.9, 0.1, 0.75)];
        assert_eq!(choose_threshold(&frontier, 0.0).threshold, 0.9);
        assert_eq!(choose_threshold(&frontier, 0.02).threshold, 0.5);
        assert_eq!(choose_threshold(&frontier, 0.06).threshold, 0.1);
    }
}
