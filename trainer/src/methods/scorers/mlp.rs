//! A multi-layer perceptron from features to the score of every arm (the MLP router of RouterBench,
//! arXiv 2403.12031, and TO-Router; with early stopping on a validation slice).
//!
//! Shapes: features `(n, dim)` through `hidden` layers to `(n, n_arms)`. The loss is the squared error, or the
//! cross-entropy with the scores as soft labels, over the cells that were logged; a missing cell has no
//! gradient. Cost: three products of `dim x hidden` a query and step.

use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, Reads};
use crate::methods::costs;
use crate::neural::{
    Checkpoint, Criterion, HeadShape, LayerShape, Network, Recipe, ScoreLoss, Targets, Training, fit,
};
use routewright_data::dense::Activation;
use routewright_policy::forms::Calibration;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Mlp>(
    "perceptron from features to the score of every arm",
    Some("2403.12031"),
    Family::Before,
    &[Need::Features],
)
.on_device()
.reading(&[Reads::Outcomes, Reads::TokenLabels]);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Mlp;

/// Hyper-parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::methods) struct Params {
    /// Widths of the hidden layers.
    hidden: Vec<usize>,
    /// `relu` or `gelu`.
    activation: Activation,
    /// `mse` or `bce`.
    loss: ScoreLoss,
    /// Standard deviation of the noise added to features in training.
    noise: f32,
    /// How long, how fast, on what.
    #[serde(flatten)]
    training: Training,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            hidden: vec![128],
            activation: Activation::Gelu,
            loss: ScoreLoss::Mse,
            noise: 0.0,
            training: Training {
                steps: 3000,
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
            front: None,
            training: params.training,
            criterion: Criterion::Error,
            judged: labels,
            noise: params.noise,
            targets: &|rows, _| Targets::Scores(labels.select_rows(rows).values().to_vec(), params.loss),
            checkpoint: Checkpoint::new(Self::NAME, params, context),
        };
        let trained = fit(&recipe, context)?;
        let cost = costs::fit(Self::NAME, context)?;
        let predictor = recipe.network.predictor(&trained.parameters, Calibration::default(), cost);
        let mut fitted = Fitted::new(predictor, params);
        trained.record(&mut fitted, "validation_mse", -trained.validation);
        Ok(fitted)
    }
}
