//! A multi-layer perceptron from features to the score of every arm (the MLP router of RouterBench,
//! arXiv 2403.12031, and TO-Router; with early stopping on a validation slice).
//!
//! Shapes: features `(n, dim)` through `hidden` layers to `(n, n_arms)`. The loss is the squared error, or the
//! cross-entropy with the scores as soft labels, over the cells that were logged; a missing cell has no
//! gradient. Cost: three products of `dim x hidden` a query and step.

use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use crate::methods::baselines::means;
use crate::neural::{
    AdamW, Checkpoint, Criterion, HeadShape, LayerShape, Network, Recipe, Schedule, ScoreLoss, Targets, fit,
};
use routewright_data::dense::Activation;
use routewright_policy::forms::{Calibration, CostModel};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Mlp>(
    "perceptron from features to the score of every arm",
    Some("2403.12031"),
    Family::Before,
    &[Need::Features],
);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Mlp;

/// Hyper-parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::methods) struct Params {
    /// Widths of the hidden layers.
    hidden: Vec<usize>,
    /// `relu` or `gelu`.
    activation: Activation,
    /// `mse` or `bce`.
    loss: ScoreLoss,
    /// Steps at most.
    steps: u64,
    /// Steps between judgements on the validation slice.
    every: u64,
    /// Judgements without progress before it stops; 0 for never.
    patience: u64,
    /// Queries a step.
    batch: usize,
    /// Learning rate.
    rate: f32,
    /// Decoupled weight decay.
    weight_decay: f32,
    /// Standard deviation of the noise added to features in training.
    noise: f32,
    /// Items of each source an epoch; 0 deals every query once.
    per_source: usize,
    /// Share of the train split held out to choose the number of steps.
    valid_share: f64,
    /// Whether to train on all rows for the chosen number of steps in the end.
    refit: bool,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            hidden: vec![128],
            activation: Activation::Gelu,
            loss: ScoreLoss::Mse,
            steps: 3000,
            every: 100,
            patience: 5,
            batch: 64,
            rate: 1e-3,
            weight_decay: 0.01,
            noise: 0.0,
            per_source: 0,
            valid_share: 0.15,
            refit: true,
        }
    }
}

impl Method for Mlp {
    const NAME: &'static str = "mlp";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let head = match params.loss {
            ScoreLoss::Mse => Activation::Identity,
            ScoreLoss::Bce => Activation::Sigmoid,
        };
        let layer = |&width: &usize| LayerShape { width, activation: params.activation, bias: true };
        let network = Network {
            dim: context.features.dim(),
            layers: params.hidden.iter().map(layer).collect(),
            head: HeadShape::Linear(head),
            n_arms: context.train.n_arms(),
        };
        let labels = &context.train.score;
        let recipe = Recipe {
            method: Self::NAME,
            network,
            optimizer: AdamW { rate: params.rate, weight_decay: params.weight_decay, ..AdamW::default() },
            bag: None,
            schedule: Schedule {
                steps: params.steps,
                every: params.every,
                judged: true,
                patience: params.patience,
            },
            batch: params.batch,
            per_source: params.per_source,
            valid_share: params.valid_share,
            refit: params.refit,
            criterion: Criterion::Error,
            judged: labels,
            noise: params.noise,
            targets: &|rows, _| Targets::Scores(labels.select_rows(rows).values().to_vec(), params.loss),
            checkpoint: Checkpoint::new(Self::NAME, params, context),
        };
        let trained = fit(&recipe, context)?;
        let cost = CostModel::constant(means::mean_costs(context.train));
        let predictor = recipe.network.predictor(&trained.parameters, Calibration::default(), cost);
        let mut fitted = Fitted::new(predictor, params);
        trained.record(&mut fitted, "validation_mse", -trained.validation);
        Ok(fitted)
    }
}
