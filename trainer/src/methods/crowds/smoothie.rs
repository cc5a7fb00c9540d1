//! Smoothie (arXiv 2412.04692): the answer whose vector is nearest to those of the other models; no labels.
//!
//! The vectors of the answers to a query err independently about that of the right one. With `D_ij` the mean squared
//! distance of the vectors of models `i` and `j`, `S_i = sum_j D_ij` and `T = sum_{i<j} D_ij` of `m` models,
//!
//! ```text
//! delta_i = ((m - 1) S_i - T) / ((m - 1)(m - 2))        theta_i = d / (2 delta_i)
//! ```
//!
//! is the paper's estimate averaged over all pairs of other models. It is affine in `S_i`: the greatest `theta` has the
//! least `S_i`, the medoid. *Global*: `D` over all rows of train, one model for all queries. *Local*: over the answers
//! to the query itself and to its `k - 1` nearest queries of train, in the space of queries.
//!
//! # Deviations from the paper and its code (HazyResearch/smoothie)
//! 1. The least `S_i` is chosen; `theta` itself is undefined where a `delta` is not above 0, and is a metric alone.
//! 2. Vectors are lexical, fitted on the answers of train; the code embeds with a sentence encoder.
//! 3. `strongest` keeps the models of the greatest mean score alone, where there are labels; the paper has none.
//! 4. `likeness = "token-f1"` takes the mean F1 of words in place of distances: the medoid of minimum Bayes risk.
//! 5. Missing answers: distances are means over the answers there are.

use super::log::{Asked, Log};
use super::programs::{self, Made};
use super::{folds, programs::level};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, Reads};
use crate::methods::mean_costs;
use crate::methods::votes::weights::Accuracies;
use crate::validation::Folds;
use routewright_data::features::{FeatureInput, Featurizer, Lexical, LexicalSettings};
use routewright_data::{Cells, FeatureMatrix};
use routewright_policy::Router;
use routewright_policy::forms::{Constant, CostModel, Link, Memory, Neighbors, Weighting};
use routewright_policy::programs::select::{
    Block, Grouping, Judges, Panel, Seen, Selection, best_candidates, features, squared_distance,
};
use routewright_policy::search::EngineKind;
use routewright_policy::selectors::Argmax;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Smoothie>(
    "the answer nearest to those of the other models, over the query and its neighbours; no labels",
    Some("2412.04692"),
    Family::After,
    &[Need::Features],
)
.reading(&[Reads::Outcomes, Reads::Answers]);

/// Answers that vectors are fitted on, at most, and folds the figures are taken on.
const ANSWERS_MAX: usize = 8_000;
const FOLDS: usize = 5;
/// Least models that distances say something of.
const MODELS_MIN: usize = 3;

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Smoothie;

/// Whose answers distances are taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Scope {
    /// All of train: one model, called alone.
    Global,
    /// The query and its neighbours; all models are called.
    Local,
}

/// How like two answers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Likeness {
    /// Squared distance of vectors.
    Distance,
    /// F1 of words; of the query alone, whatever `k` says.
    TokenF1,
}

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Models that are asked; all where empty.
    members: Vec<String>,
    /// `local` or `global`.
    scope: Scope,
    /// `distance` or `token-f1`.
    likeness: Likeness,
    /// Queries that local distances are a mean over, the query itself among them; at least 1.
    k: usize,
    /// Models of the greatest mean score on train that are kept, at least 3; 0 keeps all and reads no labels.
    strongest: usize,
    /// Width of the vectors, at least 2.
    dim: usize,
}

impl Default for Params {
    fn default() -> Self {
        let (scope, likeness) = (Scope::Local, Likeness::Distance);
        Self { members: Vec::new(), scope, likeness, k: 1, strongest: 0, dim: 128 }
    }
}

fn refused(reason: String) -> FitError {
    FitError::Params { method: Smoothie::NAME, reason }
}

fn failed(error: impl ToString) -> FitError {
    FitError::Numeric { method: Smoothie::NAME, reason: error.to_string() }
}

/// `theta` of each model from the mean squared distances `(m, m)`; NaN where its `delta` is not above 0, and of fewer
/// than three models. `d` is the width of the vectors.
fn theta(distances: &[f64], m: usize, d: usize) -> Vec<f64> {
    let sums: Vec<f64> = (0..m).map(|i| distances[i * m..(i + 1) * m].iter().sum()).collect();
    let total = sums.iter().sum::<f64>() / 2.0;
    let of = |sum: &f64| {
        let delta = ((m as f64 - 1.0) * sum - total) / ((m as f64 - 1.0) * (m as f64 - 2.0));
        if m >= MODELS_MIN && delta > 0.0 { d as f64 / (2.0 * delta) } else { f64::NAN }
    };
    sums.iter().map(of).collect()
}

/// Distances of the answers of a log.
struct Distances {
    /// Mean of the squared distances of each two members over all rows, `(m, m)`.
    between: Vec<f64>,
    /// Mean squared distance of each member's answer to the others', row by row; NaN where there is none.
    of_rows: Cells,
}

impl Distances {
    fn of(log: &Log<'_>, members: &[usize], featurizer: &dyn Featurizer) -> Result<Self, FitError> {
        let m = members.len();
        let (mut sums, mut counts) = (vec![0.0; m * m], vec![0.0_f64; m * m]);
        let mut of_rows = Cells::missing(log.n_queries(), m);
        for row in 0..log.n_queries() {
            let texts: Vec<&str> = members.iter().map(|member| log.text(row, *member)).collect();
            let inputs: Vec<FeatureInput<'_>> = texts.iter().map(|text| (*text).into()).collect();
            let vectors = featurizer.featurize(&inputs).map_err(failed)?;
            let known: Vec<usize> = (0..m).filter(|at| !texts[*at].trim().is_empty()).collect();
            for a in &known {
                let others = known.iter().filter(|b| *b != a);
                let mut sum = 0.0;
                for b in others.clone() {
                    let distance = squared_distance(vectors.row(*a), vectors.row(*b));
                    sum += distance;
                    sums[a * m + b] += distance;
                    counts[a * m + b] += 1.0;
                }
                of_rows.set(row, *a, (sum / (known.len() as f64 - 1.0).max(1.0)) as f32);
            }
        }
        let between = sums.iter().zip(&counts).map(|(sum, n)| sum / n.max(1.0)).collect();
        Ok(Self { between, of_rows })
    }

    /// The member of the least sum of distances.
    fn nearest(&self) -> usize {
        let m = self.of_rows.n_cols();
        let near: Vec<f64> = (0..m).map(|i| -self.between[i * m..(i + 1) * m].iter().sum::<f64>()).collect();
        Log::strongest(&near)
    }
}

impl Params {
    fn check(&self) -> Result<(), FitError> {
        if self.k == 0 || self.dim < 2 {
            return Err(refused("`k` needs at least 1, `dim` at least 2".to_owned()));
        }
        if self.strongest > 0 && self.strongest < MODELS_MIN {
            return Err(refused(format!("`strongest` is `{}`, expected 0 or at least 3", self.strongest)));
        }
        Ok(())
    }

    /// The members that are asked: the strongest where they are asked for, ascending.
    fn asked(&self, log: &Log<'_>, rows: &[usize]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..log.models.len()).collect();
        if self.strongest > 0 {
            let strengths = Accuracies::fit(&log.votes, rows).overall;
            order.sort_by(|a, b| strengths[*b].total_cmp(&strengths[*a]).then(a.cmp(b)));
            order.truncate(self.strongest);
            order.sort_unstable();
        }
        order
    }

    fn blocks(&self) -> Vec<Block> {
        match (self.likeness, self.k) {
            (Likeness::TokenF1, _) => vec![Block::Medoid { similarity: "token-f1".to_owned() }],
            (Likeness::Distance, 1) => vec![Block::Distance],
            (Likeness::Distance, _) => vec![Block::Distance, Block::Predicted],
        }
    }

    /// What each block counts, and no intercept.
    fn weights(&self) -> Vec<f64> {
        let own = 1.0 / self.k as f64;
        if self.blocks().len() == 1 { vec![1.0, 0.0] } else { vec![own, 1.0 - own, 0.0] }
    }
}

/// Score of the medoid of each row, without neighbours.
fn medoids(log: &Log<'_>, members: &[usize], blocks: &[Block], texts: &dyn Featurizer) -> Vec<f64> {
    let skills = level(log.models.len(), 0.0);
    let standing = skills.standing(None);
    let score = |row: usize| -> Option<f64> {
        let panel: Panel<'_> = log.panel(row, members, Grouping::Apart, standing.own);
        let inputs: Vec<FeatureInput<'_>> = panel.givens.iter().map(|given| given.text.into()).collect();
        let vectors = texts.featurize(&inputs).ok()?;
        let seen = Seen { panel: &panel, standing, vectors: Some(&vectors), predicted: None };
        let found = features(&blocks[..1], &seen);
        let best = best_candidates(&panel, found.values(), standing.own);
        let of = |at: &usize| {
            let member = panel.givens[panel.candidates[*at].best].member;
            log.votes.scores.get(row, member).map(f64::from)
        };
        let scores: Vec<f64> = best.iter().map(of).collect::<Option<_>>()?;
        (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
    };
    (0..log.n_queries()).map(|row| score(row).unwrap_or(f64::NAN)).collect()
}

/// Predicts, for each arm, the distance of its answers to the nearest queries of train, with a minus.
fn prior(
    params: &Params,
    context: &FitContext<'_>,
    log: &Log<'_>,
    members: &[usize],
    distances: &Distances,
) -> Result<Router, FitError> {
    let (n, n_arms) = (log.n_queries(), context.train.n_arms());
    let mut score = Cells::missing(n, n_arms);
    for row in 0..n {
        for (at, member) in members.iter().enumerate() {
            let near = distances.of_rows.get(row, at).map_or(f32::NAN, |distance| -distance);
            score.set(row, log.arms[*member], near);
        }
    }
    let query_ids = context.train.queries.iter().map(|query| query.id.clone()).collect();
    let memory = Memory { query_ids, score, cost_usd: context.train.cost_usd.clone() };
    let weighting =
        Weighting { k: params.k - 1, power: 0.0, prior: 1e-3, gate: -1.0, engine: EngineKind::Exact };
    let features: FeatureMatrix = context.features.clone();
    let form = Neighbors::new(weighting, features, memory).map_err(failed)?;
    Ok(Router {
        featurizer: Arc::clone(context.featurizer),
        predictor: Box::new(form),
        selector: Box::new(Argmax),
    })
}

impl Method for Smoothie {
    const NAME: &'static str = "smoothie";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        let asked = Asked { method: Self::NAME, key: "members", models: &params.members, normalize: "exact" };
        let log = Log::read(&asked, context)?;
        let rows: Vec<usize> = (0..log.n_queries()).collect();
        let members = params.asked(&log, &rows);
        if members.len() < MODELS_MIN {
            let reason = format!("{} models answer, expected at least {MODELS_MIN}", members.len());
            return Err(FitError::Log { method: Self::NAME, reason });
        }
        let texts = texts(params, context, &log, &members)?;
        let distances = Distances::of(&log, &members, &*texts)?;
        let n_arms = context.train.n_arms();
        let made = match params.scope {
            Scope::Global => programs::only(&log, members[distances.nearest()], 0.0, n_arms),
            Scope::Local => local(params, context, &log, &members, &texts, &distances)?,
        };
        let mut fitted = made.fitted(&log, context, params, Self::NAME)?;
        let names = members.iter().map(|member| format!("theta:{}", log.models[*member]));
        let found = theta(&distances.between, members.len(), texts.dim());
        fitted.metrics.extend(names.zip(found).filter(|(_, theta)| theta.is_finite()));
        let dealt = Folds::new(context.train, context.seed, FOLDS);
        let single = folds::best_single(&log, &dealt);
        let ours = match params.scope {
            Scope::Local => medoids(&log, &members, &params.blocks(), &*texts),
            Scope::Global => {
                let member = members[distances.nearest()];
                let score = |row: &usize| log.votes.scores.get(*row, member).map_or(f64::NAN, f64::from);
                rows.iter().map(score).collect()
            }
        };
        fitted.metrics.extend(folds::figures(&ours, &single, context));
        Ok(fitted)
    }
}

/// Vectors of answers, fitted on a sample of those of train.
fn texts(
    params: &Params,
    context: &FitContext<'_>,
    log: &Log<'_>,
    members: &[usize],
) -> Result<Arc<dyn Featurizer>, FitError> {
    let cells = (0..log.n_queries()).flat_map(|row| members.iter().map(move |member| (row, *member)));
    let every = (log.n_queries() * members.len()).div_ceil(ANSWERS_MAX).max(1);
    let texts: Vec<&str> = cells.step_by(every).map(|(row, member)| log.text(row, member)).collect();
    let settings = LexicalSettings { dim: params.dim, ..LexicalSettings::default() };
    Ok(Arc::new(Lexical::fit(&texts, settings, context.seed).map_err(failed)?))
}

fn local(
    params: &Params,
    context: &FitContext<'_>,
    log: &Log<'_>,
    members: &[usize],
    texts: &Arc<dyn Featurizer>,
    distances: &Distances,
) -> Result<Made, FitError> {
    let n_arms = context.train.n_arms();
    let blocks = params.blocks();
    let nothing = || -> Router {
        let cost = CostModel::constant(mean_costs(context.train));
        Router {
            featurizer: Arc::clone(texts),
            predictor: Box::new(Constant::new(vec![0.0; n_arms], Vec::new(), Vec::new(), cost)),
            selector: Box::new(Argmax),
        }
    };
    let prior = match blocks.iter().any(Block::reads_predicted) {
        true => Some(prior(params, context, log, members, distances)?),
        false => None,
    };
    let judges = Judges {
        scorer: programs::linear("candidate", &params.weights(), Link::Identity, n_arms),
        gate: None,
        texts: blocks.iter().any(Block::reads_vectors).then(nothing),
        prior,
    };
    let names: Vec<String> = members.iter().map(|member| log.models[*member].clone()).collect();
    let skills = level(names.len(), 0.0);
    let selection = Selection { skills, blocks, ..programs::selection(log, names, Grouping::Apart) };
    Ok(Made { selection, judges })
}

#[cfg(test)]
mod tests;
