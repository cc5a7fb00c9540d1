//! RouteLLM's similarity-weighted ranking (arXiv 2406.18665, section 4.2): a Bradley-Terry model fitted for every query
//! on all comparisons, those of similar queries counting more.
//!
//! See [`routewright_policy::forms::WeightedBattles`] for the rule. Models are first merged into tiers by the split of
//! their strengths, sorted, with the least squared distance to the means of the tiers (dynamic programming). Nothing
//! else is trained. Trains from a pair log, from outcomes (every two arms of a query, the greater score wins), or both.
//! The base of the weights is chosen by cross-validation on the train split, folds cut by prompt hash.
//!
//! Deviations from the paper and its released code: (1) the base is cross-validated, there it is 10; (2) strengths
//! have a weak normal prior, there they are not regularised and infinite where a tier never loses; (3) ties are half
//! a win of either, there the rows are doubled, which is the same; (4) two or more arms, the score being the chance
//! to win against an arm of mean strength, on a line to the scores of the log; (5) arms of one tier are told apart by
//! a thousandth of the difference of their own strengths; (6) cosines are of 8-bit codes; (7) a weight is `base^(s_i
//! / s - 1)`: the constant 10 in front changes nothing without regularisation.

use super::Battles;
use crate::calibration;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, Reads};
use crate::methods::costs;
use crate::validation::{self, Choice, Folds};
use routewright_data::linalg::LinalgError;
use routewright_policy::forms::{CostModel, WeightShape, WeightedBattles, strengths};
use routewright_policy::{Batch, PredictError, Predictor};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<RouteLlmSw>(
    "Bradley-Terry on all comparisons, weighted by similarity",
    Some("2406.18665"),
    Family::Before,
    &[Need::Features, Need::Preferences],
)
.reading(&[Reads::Outcomes, Reads::Pairs]);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct RouteLlmSw;

/// Parameters; a list is a grid of which cross-validation picks one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Bases of the weights to try, each at least 1; 1 weighs all comparisons alike.
    base: Vec<f32>,
    /// Tiers that models are merged into, at most; at least 2.
    tiers: usize,
    /// Precision of a strength around 0, in comparisons of the most similar query; above 0.
    penalty: f64,
    /// Comparisons made of the scores of one query, at most; at least 1.
    pairs: usize,
    /// Folds of the cross-validation, at least 2.
    folds: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self { base: vec![10.0, 1e2, 1e4, 1e6], tiers: 10, penalty: 0.1, pairs: 64, folds: 5 }
    }
}

impl Params {
    fn check(&self) -> Result<(), FitError> {
        let error = |reason: String| Err(FitError::Params { method: RouteLlmSw::NAME, reason });
        if self.base.is_empty() || !self.base.iter().all(|base| base.is_finite() && *base >= 1.0) {
            return error("`base` needs at least one number, each at least 1".to_owned());
        }
        if !(self.penalty > 0.0 && self.penalty.is_finite()) {
            return error(format!("`penalty` is `{}`, expected a number above 0", self.penalty));
        }
        if self.tiers < 2 || self.folds < 2 || self.pairs == 0 {
            return error("`tiers` and `folds` must be at least 2, `pairs` at least 1".to_owned());
        }
        Ok(())
    }
}

impl Method for RouteLlmSw {
    const NAME: &'static str = "routellm-sw";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        let battles = Battles::of(Self::NAME, params.pairs, context)?;
        let held = HeldOut::new(params, &battles, context)?;
        let choice = held.choose(params, context)?;
        let raw = held.predict(choice.value, context)?;
        let calibration = calibration::within_queries(&raw, &context.train.score);
        let cost = costs::fit(Self::NAME, context)?;
        let form = build(params, &battles, cost, context)?.with_base(choice.value).calibrated(calibration);
        let mut fitted = Fitted::new(Box::new(form), &Params { base: vec![choice.value], ..params.clone() });
        choice.record(&mut fitted, "cross_validated_score", params.folds);
        Ok(fitted)
    }
}

fn failed(error: &impl ToString) -> FitError {
    FitError::Numeric { method: RouteLlmSw::NAME, reason: error.to_string() }
}

/// The rule on `battles`, before calibration and with the first base.
fn build(
    params: &Params,
    battles: &Battles,
    cost: CostModel,
    context: &FitContext<'_>,
) -> Result<WeightedBattles, FitError> {
    let n_arms = context.train.n_arms();
    let global = global(battles, n_arms, params.penalty).map_err(|error| failed(&error))?;
    let features = context.features.select_rows(&battles.rows);
    let shape = WeightShape { dim: features.dim(), base: params.base[0], penalty: params.penalty };
    let tiers = tiers(&global, params.tiers);
    let global = global.into_iter().map(|theta| theta as f32).collect();
    let kept = (battles.starts.as_slice(), battles.all.as_slice());
    Ok(WeightedBattles::new(shape, &features, kept, (tiers, global), cost))
}

/// Strengths of all arms over all comparisons.
fn global(battles: &Battles, n_arms: usize, penalty: f64) -> Result<Vec<f64>, LinalgError> {
    let mut wins = vec![0.0; n_arms * n_arms];
    for battle in &battles.all {
        let (a, b, share) = (battle.a as usize, battle.b as usize, f64::from(battle.share));
        wins[a * n_arms + b] += f64::from(battle.weight) * share;
        wins[b * n_arms + a] += f64::from(battle.weight) * (1.0 - share);
    }
    strengths(&wins, penalty, &vec![0.0; n_arms])
}

/// Tier of each arm, weakest first: the cut of the sorted strengths into at most `most` runs with the least sum of
/// squared distances to their means.
fn tiers(strength: &[f64], most: usize) -> Vec<u32> {
    let n = strength.len();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| strength[*a].total_cmp(&strength[*b]).then(a.cmp(b)));
    let mut sums = vec![(0.0, 0.0)];
    for arm in &order {
        let (sum, squares) = sums[sums.len() - 1];
        sums.push((sum + strength[*arm], squares + strength[*arm] * strength[*arm]));
    }
    // Sum of squared distances of the sorted arms `from..to` to their mean.
    let spread = |from: usize, to: usize| {
        let (sum, squares): (f64, f64) = (sums[to].0 - sums[from].0, sums[to].1 - sums[from].1);
        (squares - sum * sum / (to - from) as f64).max(0.0)
    };
    // Least sum over the first `to` arms in `tier + 1` runs, and where the last of them begins.
    let mut best: Vec<Vec<(f64, usize)>> =
        vec![(0..=n).map(|to| (if to > 0 { spread(0, to) } else { 0.0 }, 0)).collect()];
    for tier in 1..most.min(n) {
        let row = (0..=n).map(|to| {
            let cuts = (tier..to).map(|from| (best[tier - 1][from].0 + spread(from, to), from));
            cuts.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::INFINITY, 0))
        });
        best.push(row.collect());
    }
    let mut out = vec![0; n];
    let mut to = n;
    for tier in (0..best.len()).rev() {
        let from = if tier == 0 { 0 } else { best[tier][to].1 };
        order[from..to].iter().for_each(|arm| out[*arm] = tier as u32);
        to = from;
    }
    out
}

/// The rule without each fold.
struct HeldOut {
    folds: Folds,
    /// `None` where the other folds have no comparison.
    parts: Vec<Option<WeightedBattles>>,
}

impl HeldOut {
    fn new(params: &Params, battles: &Battles, context: &FitContext<'_>) -> Result<Self, FitError> {
        let folds = Folds::new(context.train, context.seed, params.folds);
        let unknown = CostModel::constant(vec![f32::NAN; context.train.n_arms()]);
        let part = |held: usize| {
            let Some(slice) = folds.slice(held) else { return Ok(None) };
            let others = battles.select_rows(&slice.fit);
            match others.all.is_empty() {
                true => Ok(None),
                false => build(params, &others, unknown.clone(), context).map(Some),
            }
        };
        let parts = (0..folds.n_folds()).map(part).collect::<Result<_, FitError>>()?;
        Ok(Self { folds, parts })
    }

    fn choose(&self, params: &Params, context: &FitContext<'_>) -> Result<Choice<f32>, FitError> {
        let predict = |base| self.predict(base, context);
        let name = |base| format!("base {base}");
        validation::choose(RouteLlmSw::NAME, &params.base, context.train, context, name, predict)
    }

    /// Raw chances of every cell of train, each from the other folds.
    fn predict(&self, base: f32, context: &FitContext<'_>) -> Result<Vec<f32>, FitError> {
        self.folds.out_of_fold(context.train.n_arms(), 0.5, |held, slice| {
            let Some(part) = &self.parts[held] else {
                return Ok(vec![0.5; slice.valid.len() * context.train.n_arms()]);
            };
            let features = context.features.select_rows(&slice.valid);
            let part = part.clone().with_base(base);
            part.predict(&Batch::of(&features)).map(|p| p.score).map_err(|e: PredictError| failed(&e))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_are_the_runs_of_least_spread() {
        // By eye: two pairs and one alone.
        assert_eq!(tiers(&[2.0, -1.0, 0.0, 2.1, -1.1], 3), [2, 0, 1, 2, 0]);
        assert_eq!(tiers(&[0.5, 0.1], 10), [1, 0]);
        assert_eq!(tiers(&[0.3], 10), [0]);
        assert!(tiers(&[], 4).is_empty());
        // Every arm its own tier where there are enough; equal strengths in the order of the arms.
        assert_eq!(tiers(&[0.0, 0.0, 0.0], 3), [0, 1, 2]);
    }

    #[test]
    fn the_cut_is_the_best_of_all_cuts() {
        let strength = [0.3, 1.9, -0.4, 0.9, 1.1, -1.2, 0.35, 2.4];
        let cost = |tiers: &[u32]| {
            (0..3_u32)
                .map(|tier| {
                    let of: Vec<f64> =
                        (0..8).filter(|arm| tiers[*arm] == tier).map(|arm| strength[arm]).collect();
                    let mean = of.iter().sum::<f64>() / of.len().max(1) as f64;
                    of.iter().map(|s| (s - mean).powi(2)).sum::<f64>()
                })
                .sum::<f64>()
        };
        let found = cost(&tiers(&strength, 3));
        let all = (0..3_u32.pow(8)).map(|code| (0..8).map(|i| code / 3_u32.pow(i) % 3).collect::<Vec<_>>());
        let least = all.map(|tiers| cost(&tiers)).fold(f64::INFINITY, f64::min);
        assert!((found - least).abs() < 1e-12, "{found} {least}");
    }
}
