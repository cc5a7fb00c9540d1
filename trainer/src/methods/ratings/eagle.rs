//! Eagle (arXiv 2409.15518): Elo ratings over all comparisons, mixed with those of the nearest queries' comparisons.
//!
//! See [`routewright_policy::forms::Ratings`] for the rule. Trains from a pair log, from outcomes (every two arms of a
//! query, the greater score wins), or both, in a random order of the seed. Neighbors, local step and the weight of
//! the global ratings are chosen by cross-validation on the train split, folds cut by prompt hash. A preference
//! reported while serving is one step of the ratings and one more query to look up.
//!
//! Deviations from the paper: (1) `K` of the local ratings, neighbors and `P` are cross-validated, the paper has 32, 20
//! and 0.5; (2) the comparisons of the farthest neighbor come first, those of the nearest last; (3) only neighbors of
//! positive cosine count; (4) the score is the chance to win against an arm of mean rating on a line to the scores of
//! the log, so that any selector may follow; the paper takes the greatest rating within a budget; (5) the global rating
//! is the mean over the history of all comparisons from the first on.

use super::Battles;
use crate::calibration;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, OnlineMethod, Reads};
use crate::methods::costs;
use crate::methods::mean_costs;
use crate::simulate::Bandit;
use crate::validation::{self, Choice, Folds, Slice};
use routewright_data::FeatureMatrix;
use routewright_policy::forms::{CostModel, RatingShape, Ratings};
use routewright_policy::online::Reward;
use routewright_policy::search::SearchError;
use routewright_policy::{Batch, PredictError, Predictor, SelectorSpec};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Eagle>(
    "Elo ratings over all comparisons and over the nearest queries'",
    Some("2409.15518"),
    Family::Before,
    &[Need::Features, Need::Preferences],
)
.online::<Eagle>()
.reading(&[Reads::Outcomes, Reads::Pairs]);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Eagle;

/// Parameters; a list is a grid of which cross-validation picks one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Numbers of neighbors to try, each at least 1.
    neighbors: Vec<usize>,
    /// Steps `K` of the local ratings to try, each in `(0, 400]`.
    local_step: Vec<f64>,
    /// Weights `P` of the global ratings to try, each in `[0, 1]`.
    global: Vec<f64>,
    /// Step `K` of the global ratings, in `(0, 400]`.
    step: f64,
    /// Comparisons made of the scores of one query, at most; at least 1.
    pairs: usize,
    /// Queries kept, at most, at least 1; the oldest are forgotten first.
    memory: usize,
    /// Folds of the cross-validation, at least 2.
    folds: usize,
    /// Chance that a bandit calls an arm at random, see `epsilon-greedy`.
    epsilon: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            neighbors: vec![100, 20],
            local_step: vec![8.0, 32.0, 2.0],
            global: vec![0.5, 0.0],
            step: 32.0,
            pairs: 32,
            memory: 100_000,
            folds: 5,
            epsilon: 0.1,
        }
    }
}

/// One value of the grid: neighbors, local step, weight of the global ratings.
type Setting = (usize, f64, f64);

impl Params {
    fn check(&self) -> Result<(), FitError> {
        let error = |reason: String| Err(FitError::Params { method: Eagle::NAME, reason });
        let is_step = |step: f64| step > 0.0 && step <= 400.0;
        if self.neighbors.is_empty() || self.neighbors.contains(&0) {
            return error("`neighbors` needs at least one number of neighbors, each at least 1".to_owned());
        }
        let steps = self.local_step.iter().chain([&self.step]);
        if let Some(step) = steps.clone().find(|step| !is_step(**step)) {
            return error(format!("a step is `{step}`, expected a number above 0, at most 400"));
        }
        if let Some(share) = self.global.iter().find(|share| !(0.0..=1.0).contains(*share)) {
            return error(format!("`global` has `{share}`, expected numbers in [0, 1]"));
        }
        if self.local_step.is_empty() || self.global.is_empty() {
            return error("`local_step` and `global` need at least one number each".to_owned());
        }
        if self.folds < 2 || self.pairs == 0 || self.memory == 0 {
            return error("`folds` must be at least 2, `pairs` and `memory` at least 1".to_owned());
        }
        if !(0.0..=1.0).contains(&self.epsilon) {
            return error(format!("`epsilon` is `{}`, expected a number in [0, 1]", self.epsilon));
        }
        Ok(())
    }

    fn grid(&self) -> Vec<Setting> {
        let mut grid = Vec::new();
        for global in &self.global {
            for step in &self.local_step {
                grid.extend(self.neighbors.iter().map(|neighbors| (*neighbors, *step, *global)));
            }
        }
        grid
    }

    fn shape(&self, dim: usize) -> RatingShape {
        let &Params { step, memory, .. } = self;
        RatingShape {
            dim,
            neighbors: self.neighbors[0],
            step,
            local_step: self.local_step[0],
            global: self.global[0],
            memory,
        }
    }
}

impl Method for Eagle {
    const NAME: &'static str = "eagle";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        let battles = Battles::of(Self::NAME, params.pairs, context)?;
        let held = HeldOut::new(params, &battles, context)?;
        let choice = held.choose(params, context)?;
        let raw = held.predict(choice.value, context)?;
        let calibration = calibration::within_queries(&raw, &context.train.score);
        let (neighbors, local_step, global) = choice.value;
        let cost = costs::fit(Self::NAME, context)?;
        let form = build(params, &battles, cost, context)?;
        let form = form.mixed(neighbors, local_step, global).calibrated(calibration);
        let chosen = Params {
            neighbors: vec![neighbors],
            local_step: vec![local_step],
            global: vec![global],
            ..params.clone()
        };
        let mut fitted = Fitted::new(Box::new(form), &chosen);
        choice.record(&mut fitted, "cross_validated_score", params.folds);
        Ok(fitted)
    }
}

impl OnlineMethod for Eagle {
    fn start(params: &Params, context: &FitContext<'_>) -> Result<Bandit, FitError> {
        params.check()?;
        let dim = context.features.dim();
        let cost = CostModel::constant(mean_costs(context.train));
        let nothing = (vec![0], Vec::new());
        let empty = FeatureMatrix::zeros(0, dim);
        let form =
            Ratings::new(params.shape(dim), empty, nothing, &[], cost.clone()).map_err(|e| failed(&e))?;
        let selector = SelectorSpec {
            name: "epsilon-greedy".to_owned(),
            settings: serde_json::json!({ "epsilon": params.epsilon }),
        };
        Ok(Bandit { learner: Box::new(form), selector, reward: Reward::default(), normalized: false, cost })
    }
}

fn failed(error: &SearchError) -> FitError {
    FitError::Numeric { method: Eagle::NAME, reason: error.to_string() }
}

/// Ratings of `battles`, before calibration.
fn build(
    params: &Params,
    battles: &Battles,
    cost: CostModel,
    context: &FitContext<'_>,
) -> Result<Ratings, FitError> {
    let features = context.features.select_rows(&battles.rows);
    let (shape, order) = (params.shape(features.dim()), battles.order(context.seed));
    let kept = (battles.starts.clone(), battles.all.clone());
    Ratings::new(shape, features, kept, &order, cost).map_err(|error| failed(&error))
}

/// Ratings without each fold, with the rows of the fold.
struct HeldOut {
    folds: Folds,
    /// `None` where the other folds have no comparison.
    parts: Vec<Option<Ratings>>,
}

impl HeldOut {
    fn new(params: &Params, battles: &Battles, context: &FitContext<'_>) -> Result<Self, FitError> {
        let folds = Folds::new(context.train, context.seed, params.folds);
        let unknown = CostModel::constant(vec![f32::NAN; context.train.n_arms()]);
        let part = |held: usize| {
            let Some(Slice { fit, .. }) = folds.slice(held) else { return Ok(None) };
            let others = battles.select_rows(&fit);
            match others.all.is_empty() {
                true => Ok(None),
                false => build(params, &others, unknown.clone(), context).map(Some),
            }
        };
        let parts = (0..folds.n_folds()).map(part).collect::<Result<_, FitError>>()?;
        Ok(Self { folds, parts })
    }

    fn choose(&self, params: &Params, context: &FitContext<'_>) -> Result<Choice<Setting>, FitError> {
        let name = |(neighbors, step, global)| format!("neighbors {neighbors}, step {step}, global {global}");
        let predict = |setting| self.predict(setting, context);
        validation::choose(Eagle::NAME, &params.grid(), context.train, context, name, predict)
    }

    /// Raw chances of every cell of train, each from the other folds.
    fn predict(&self, (near, step, global): Setting, context: &FitContext<'_>) -> Result<Vec<f32>, FitError> {
        self.folds.out_of_fold(context.train.n_arms(), 0.5, |held, slice| {
            let Some(part) = &self.parts[held] else {
                return Ok(vec![0.5; slice.valid.len() * context.train.n_arms()]);
            };
            let features = context.features.select_rows(&slice.valid);
            let part = part.clone().mixed(near, step, global);
            let failed = |e: PredictError| FitError::Numeric { method: Eagle::NAME, reason: e.to_string() };
            Ok(part.predict(&Batch::of(&features)).map_err(failed)?.score)
        })
    }
}
