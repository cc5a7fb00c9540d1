//! RouteLLM's matrix factorization (arXiv 2406.18665, section 4.2): who wins, from the features of the query.
//!
//! `P(a beats b | x) = sigmoid(w . ((p_a - p_b) * (x Q)))` with unit vectors `p` of the arms. Preferences are
//! judgements of a pair log, or made from outcomes: on every query each two arms whose scores differ. At decision
//! time an arm is held against the mean of all (see the form `factor`), calibrated to the scale of the log; between
//! two arms that is a monotone function of the paper's win probability.
//!
//! # Deviations from the paper and its released code
//! 1. A batch holds queries, not pairs: all pairs of a query share one projection. The released code draws
//!    single pairs. The gradient has the same expectation for queries with the same number of pairs.
//! 2. Noise is added to a fresh copy of the features in every step; the released code adds it in place
//!    to its frozen embedding table, where it accumulates.
//! 3. The number of steps is chosen on a validation slice instead of 100 fixed epochs.
//! 4. AdamW (decoupled decay) instead of Adam with decay in the gradient; at 1e-5 they hardly differ.
//! 5. Two or more arms, where the paper routes between two.
//! 6. Noise is 0.1 times the root mean square of the features; the released code adds 0.1 to every coordinate of unit
//!    vectors of width 1536, which is 3.9 times theirs: 39 times as much.
//! 7. Ties are half a win of either arm and judgements are weighted; the released code drops ties.

use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, Reads};
use crate::methods::costs;
use crate::neural::{Checkpoint, Criterion, HeadShape, LayerShape, Network, Recipe, Targets, Training, fit};
use routewright_data::dense::Activation;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<RouteLlmMf>(
    "matrix factorization of preferences between arms",
    Some("2406.18665"),
    Family::Before,
    &[Need::Features, Need::Preferences],
)
.on_device()
.reading(&[Reads::Outcomes, Reads::Pairs]);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct RouteLlmMf;

/// Hyper-parameters; the released code's values where it has them, but for `noise` (deviation 6).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::methods) struct Params {
    /// Width of the arm vectors.
    width: usize,
    /// Standard deviation of the noise added to the features, relative to their root mean square.
    noise: f32,
    /// How long, how fast, on what.
    #[serde(flatten)]
    training: Training,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            width: 128,
            noise: 0.1,
            training: Training {
                steps: 3000,
                every: 100,
                patience: 8,
                batch: 64,
                rate: 3e-4,
                weight_decay: 1e-5,
                per_source: 0,
                folds: 5,
                valid_share: 0.15,
                refit: true,
            },
        }
    }
}

impl Method for RouteLlmMf {
    const NAME: &'static str = "routellm-mf";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let projection = LayerShape { width: params.width, activation: Activation::Identity, bias: false };
        let network = Network {
            dim: context.features.dim(),
            layers: vec![projection],
            head: HeadShape::Factor,
            n_arms: context.train.n_arms(),
        };
        let labels = &context.train.score;
        let is_judged = context.pairs.is_some_and(|pairs| pairs.all().iter().any(|c| c.share != 0.5));
        if !is_judged && !(0..labels.n_rows()).any(|row| is_decided(labels.row(row))) {
            let reason = "no query has two arms of different score, so nothing is preferred".to_owned();
            return Err(FitError::Log { method: Self::NAME, reason });
        }
        let recipe = Recipe {
            method: Self::NAME,
            network,
            front: None,
            training: params.training,
            criterion: Criterion::Choice,
            judged: labels,
            noise: params.noise * root_mean_square(context.features.values()),
            targets: &|rows, _| match context.pairs {
                Some(pairs) => pairs.targets(labels, rows),
                None => Targets::Preferences(labels.select_rows(rows).values().to_vec()),
            },
            checkpoint: Checkpoint::new(Self::NAME, params, context),
        };
        let trained = fit(&recipe, context)?;
        let cost = costs::fit(Self::NAME, context)?;
        let predictor = recipe.network.predictor(&trained.parameters, trained.calibration, cost);
        let mut fitted = Fitted::new(predictor, params);
        trained.record(&mut fitted, "validation_score", trained.validation);
        Ok(fitted)
    }
}

fn is_decided(scores: &[f32]) -> bool {
    scores.iter().any(|a| scores.iter().any(|b| a > b))
}

fn root_mean_square(values: &[f32]) -> f32 {
    (values.iter().map(|v| v * v).sum::<f32>() / values.len().max(1) as f32).sqrt()
}
