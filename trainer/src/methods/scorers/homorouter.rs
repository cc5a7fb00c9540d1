//! HomoRouter (arXiv 2406.12429): one network with a head of scores and a head of costs.
//!
//! A shared encoder reads the query; from its output one head predicts the score of every arm and another the
//! logarithm of its cost, trained together:
//!
//! `min mean (s_m(x) - y_m)^2 + cost_weight mean (c_m(x) - (ln usd_m - mean_m) / deviation_m)^2`.
//!
//! Two rules decide: `performance` takes the arm of the greatest score; `saving` the cheapest arm whose
//! predicted score is within `delta` of the greatest.
//!
//! # Deviations from the paper
//! 1. Arms are models; the paper's are search tools of a language model.
//! 2. The encoder is dense layers on the features of the policy; the paper fine-tunes a language encoder.
//! 3. Loss, joint training and the logarithm of the cost are ours: the paper leaves them open.
//! 4. An arm that was billed nothing at times has its mean as its cost.
//! 5. Without logged costs there is no head of costs and `saving` is refused.

use super::carrot::logged_range;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use crate::neural::{
    Checkpoint, Criterion, HeadShape, LayerShape, Network, Parameter, Recipe, ScoreLoss, Targets, Training,
    fit,
};
use routewright_data::Cells;
use routewright_data::dense::{Activation, Dense};
use routewright_policy::forms::{CostModel, Dual, Head, Neural, PriceLink};
use routewright_policy::{Batch, PredictError, Predictor, SelectorSpec};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<HomoRouter>(
    "one network with a head of scores and a head of costs; best, or cheapest within a tolerance",
    Some("2406.12429"),
    Family::Before,
    &[Need::Features],
)
.on_device();

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct HomoRouter;

/// How an arm is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Rule {
    /// The greatest predicted score.
    Performance,
    /// The least predicted cost among scores near the greatest.
    Saving,
}

/// Hyper-parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::methods) struct Params {
    /// `performance` or `saving`.
    rule: Rule,
    /// Score that `saving` may give up, at least 0.
    delta: f64,
    /// Weight of the costs in the loss, at least 0.
    cost_weight: f32,
    /// Widths of the shared layers.
    hidden: Vec<usize>,
    /// Standard deviation of the noise added to features in training, over their root mean square.
    noise: f32,
    /// How long, how fast, on what.
    #[serde(flatten)]
    training: Training,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            rule: Rule::Performance,
            delta: 0.02,
            cost_weight: 0.1,
            hidden: vec![128],
            noise: 0.1,
            training: Training {
                steps: 2000,
                every: 100,
                patience: 5,
                batch: 64,
                rate: 1e-3,
                weight_decay: 0.01,
                per_source: 0,
                folds: 5,
                valid_share: 0.15,
                refit: true,
            },
        }
    }
}

impl Params {
    fn check(&self, has_costs: bool) -> Result<(), FitError> {
        let error = |reason: String| Err(FitError::Params { method: HomoRouter::NAME, reason });
        if !(self.delta >= 0.0 && self.delta.is_finite()) {
            return error(format!("`delta` is `{}`, expected a number of at least 0", self.delta));
        }
        if !(self.cost_weight > 0.0 && self.cost_weight.is_finite()) {
            return error(format!("`cost_weight` is `{}`, expected a number above 0", self.cost_weight));
        }
        if !(self.noise >= 0.0 && self.noise.is_finite()) {
            return error(format!("`noise` is `{}`, expected 0 or a positive number", self.noise));
        }
        if self.rule == Rule::Saving && !has_costs {
            let reason = "`rule` is `saving` and the log has no costs; expected some in column `cost_usd`, or \
                          `performance`";
            return Err(FitError::Log { method: HomoRouter::NAME, reason: reason.to_owned() });
        }
        Ok(())
    }
}

impl Method for HomoRouter {
    const NAME: &'static str = "homorouter";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let train = context.train;
        params.check(train.has_costs())?;
        let n_arms = train.n_arms();
        let scales = train.has_costs().then(|| Scales::of(&train.cost_usd, params.cost_weight));
        let layer = |&width: &usize| LayerShape { width, activation: Activation::Gelu, bias: true };
        let network = Network {
            dim: context.features.dim(),
            layers: params.hidden.iter().map(layer).collect(),
            head: HeadShape::Linear(Activation::Identity),
            n_arms: if scales.is_some() { 2 * n_arms } else { n_arms },
        };
        let targets =
            side_by_side(&train.score, scales.as_ref().map(|scales| scales.targets(&train.cost_usd)));
        // Choices are judged by scores alone.
        let judged =
            side_by_side(&train.score, scales.as_ref().map(|_| Cells::missing(train.n_queries(), n_arms)));
        let mean_square = context.features.values().iter().map(|v| v * v).sum::<f32>()
            / context.features.values().len().max(1) as f32;
        let recipe = Recipe {
            method: Self::NAME,
            network,
            front: None,
            training: params.training,
            criterion: Criterion::Choice,
            judged: &judged,
            noise: params.noise * mean_square.sqrt(),
            targets: &|rows, _| Targets::Scores(targets.select_rows(rows).values().to_vec(), ScoreLoss::Mse),
            checkpoint: Checkpoint::new(Self::NAME, params, context),
        };
        let trained = fit(&recipe, context)?;
        let form = heads(&recipe.network, &trained.parameters, scales.as_ref(), context)
            .map_err(|error| FitError::Numeric { method: Self::NAME, reason: error.to_string() })?;
        let mut fitted = Fitted::new(form, params);
        trained.record(&mut fitted, "validation_score", trained.validation);
        if params.rule == Rule::Saving {
            let settings = serde_json::json!({ "delta": params.delta });
            fitted.selector = SelectorSpec { name: "cheapest-within".to_owned(), settings };
        }
        Ok(fitted)
    }
}

/// Logarithms of costs to targets of the network, and back.
struct Scales {
    /// Mean and deviation of the logarithm of each arm's cost; `None` for an arm without a head of costs.
    arms: Vec<Option<(f64, f64)>>,
    /// Factor of the targets: their square is weighed in the loss.
    factor: f64,
}

impl Scales {
    fn of(cost_usd: &Cells, weight: f32) -> Self {
        let of_arm = |arm: usize| {
            let known =
                || (0..cost_usd.n_rows()).filter_map(move |row| cost_usd.get(row, arm)).map(f64::from);
            let n = known().count() as f64;
            let mean = known().map(f64::ln).sum::<f64>() / n;
            let deviation = (known().map(|usd| (usd.ln() - mean).powi(2)).sum::<f64>() / n).sqrt();
            // Neither NaN (no costs) nor infinite (a cost of 0) nor all alike.
            (mean.is_finite() && deviation.is_finite() && deviation > 1e-6).then_some((mean, deviation))
        };
        Self { arms: (0..cost_usd.n_cols()).map(of_arm).collect(), factor: f64::from(weight).sqrt() }
    }

    fn targets(&self, cost_usd: &Cells) -> Cells {
        let mut targets = Cells::missing(cost_usd.n_rows(), cost_usd.n_cols());
        for (arm, scale) in self.arms.iter().enumerate() {
            let Some((mean, deviation)) = scale else { continue };
            for row in 0..cost_usd.n_rows() {
                if let Some(usd) = cost_usd.get(row, arm) {
                    let target = self.factor * (f64::from(usd).ln() - mean) / deviation;
                    targets.set(row, arm, target as f32);
                }
            }
        }
        targets
    }

    /// Gives outputs of a head of width `(width, n_arms)` the scale of logarithms of US dollars.
    fn undo(&self, weights: &mut [f32], bias: &mut [f32]) {
        let n_arms = self.arms.len();
        for (arm, scale) in self.arms.iter().enumerate() {
            let (mean, deviation) = scale.unwrap_or((0.0, 0.0));
            let factor = (deviation / self.factor) as f32;
            weights.iter_mut().skip(arm).step_by(n_arms).for_each(|weight| *weight *= factor);
            bias[arm] = bias[arm] * factor + mean as f32;
        }
    }
}

/// The columns of `scores`, then those of `costs`.
fn side_by_side(scores: &Cells, costs: Option<Cells>) -> Cells {
    let Some(costs) = costs else { return scores.clone() };
    let rows = (0..scores.n_rows()).flat_map(|row| scores.row(row).iter().chain(costs.row(row)).copied());
    Cells::from_vec(scores.n_rows(), scores.n_cols() + costs.n_cols(), rows.collect())
}

/// The policy form: the shared layers with either head.
fn heads(
    network: &Network,
    parameters: &[Parameter],
    scales: Option<&Scales>,
    context: &FitContext<'_>,
) -> Result<Box<dyn Predictor>, PredictError> {
    let dim = network.dim;
    let layers: Vec<Dense> = network
        .layers
        .iter()
        .zip(parameters.chunks_exact(2))
        .map(|(layer, p)| Dense::new(p[0].values.clone(), p[1].values.clone(), layer.activation))
        .collect();
    let (weights, bias) = match &parameters[2 * network.layers.len()..] {
        [weights, bias] => (weights.values.as_slice(), bias.values.as_slice()),
        _ => (&[][..], &[][..]),
    };
    let n_arms = context.train.n_arms();
    let columns = |from: usize| -> (Vec<f32>, Vec<f32>) {
        let rows = weights.chunks_exact(network.n_arms).flat_map(|row| &row[from..from + n_arms]);
        (rows.copied().collect(), bias[from..from + n_arms].to_vec())
    };
    let part = |(weights, bias): (Vec<f32>, Vec<f32>)| {
        let head = Head::Linear(Dense::new(weights, bias, Activation::Identity));
        Box::new(Neural::new(dim, layers.clone(), head, CostModel::constant(vec![f32::NAN; n_arms])))
    };
    let scores = part(columns(0));
    let Some(scales) = scales else { return Ok(scores) };
    let (mut weights, mut bias) = columns(n_arms);
    scales.undo(&mut weights, &mut bias);
    let logarithms = part((weights.clone(), bias.clone())).predict(&Batch::of(context.features))?.score;
    let range = smear(&logarithms, scales, &context.train.cost_usd, &mut bias);
    Ok(Box::new(Dual::new(dim, scores, part((weights, bias)), PriceLink::Logarithm, range)))
}

/// Moves each bias until the mean predicted cost on train is the mean logged one (Duan's smearing estimate, 1983, as
/// one factor); returns the range that predictions are held in, which is the mean alone for an arm without a head.
fn smear(logarithms: &[f32], scales: &Scales, cost_usd: &Cells, bias: &mut [f32]) -> Vec<f32> {
    let n_arms = bias.len();
    let mut range = logged_range(cost_usd);
    for arm in 0..n_arms {
        let known = || (0..cost_usd.n_rows()).filter_map(|row| Some((row, cost_usd.get(row, arm)?)));
        let logged: f64 = known().map(|(_, usd)| f64::from(usd)).sum();
        let predicted: f64 = known().map(|(row, _)| f64::from(logarithms[row * n_arms + arm]).exp()).sum();
        let factor = (logged / predicted).ln();
        if scales.arms[arm].is_some() && factor.is_finite() {
            bias[arm] += factor as f32;
        } else if let Some(mean) = cost_usd.column_mean(arm) {
            range[2 * arm..2 * arm + 2].fill(mean as f32);
        }
    }
    range
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_undone_and_arms_without_a_head_keep_their_mean() {
        let nan = f32::NAN;
        let costs = Cells::from_vec(3, 3, vec![0.1, 0.0, nan, 0.4, 1.0, nan, 0.2, 0.5, nan]);
        let scales = Scales::of(&costs, 0.25);
        assert!(scales.arms[0].is_some() && scales.arms[1].is_none() && scales.arms[2].is_none());
        let targets = scales.targets(&costs);
        // ln 0.1, ln 0.4, ln 0.2: mean ln 0.2, deviation ln 2 sqrt(2/3); half of it by the weight.
        assert!((targets.row(0)[0] + 0.5 * 1.5_f32.sqrt()).abs() < 1e-5, "{targets:?}");
        assert!(targets.row(0)[1].is_nan());
        // A head that puts out the target of each query gives back the logarithm.
        let (mut weights, mut bias) = (vec![1.0, 0.0, 0.0], vec![0.0; 3]);
        scales.undo(&mut weights, &mut bias);
        for row in 0..3 {
            let logarithm = weights[0] * targets.row(row)[0] + bias[0];
            assert!((logarithm.exp() - costs.row(row)[0]).abs() < 1e-6);
        }
        let logarithms = vec![0.0; 9];
        let range = smear(&logarithms, &scales, &costs, &mut bias);
        assert_eq!(range[..4], [0.1, 0.4, 0.5, 0.5]);
        assert!(range[4].is_nan() && range[5].is_nan());
    }
}
