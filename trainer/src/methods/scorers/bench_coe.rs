//! Bench-CoE (arXiv 2412.04167): experts by benchmark, at the level of the query or of its subject.
//!
//! - `level = "query"`: a network with an output a model learns which models win a query, 1 for those of the greatest
//!   score and 0 for the others, by squared error; the greatest output is chosen.
//! - `level = "subject"`: a classifier of the subject (the source of the query) by cross-entropy, and for each
//!   subject the score of every model on it; the best model of the likeliest subject is chosen. It needs no outcome of
//!   a single query.
//!
//! # Deviations from the paper
//! 1. The classifier is dense layers on the features of the policy; the paper fine-tunes BERT-base.
//! 2. A query that no model answers with a score above 0 has no winner and is left out.
//! 3. The table of subjects is shrunk to what models do elsewhere, as every table of sources here; the paper takes the
//!    scores of benchmarks as they are.
//! 4. The number of steps is chosen on slices of train, by the score of the choices or the accuracy of the subject.
//! 5. Outputs at the level of the query are mapped to the scale of the log by one increasing line.

use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use crate::methods::costs;
use crate::neural::{
    Checkpoint, Criterion, HeadShape, LayerShape, Network, Recipe, ScoreLoss, Targets, Trained, Training, fit,
};
use crate::source_table;
use routewright_data::Cells;
use routewright_data::dense::{Activation, Dense};
use routewright_policy::forms::Subjects;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<BenchCoe>(
    "the winners of a query, or of its subject, by a classifier",
    Some("2412.04167"),
    Family::Before,
    &[Need::Features],
)
.on_device();

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct BenchCoe;

/// What is classified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Level {
    /// Which models win the query.
    Query,
    /// Which subject the query is of.
    Subject,
}

/// Hyper-parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::methods) struct Params {
    /// `query` or `subject`.
    level: Level,
    /// Widths of the hidden layers.
    hidden: Vec<usize>,
    /// How long, how fast, on what.
    #[serde(flatten)]
    training: Training,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            level: Level::Query,
            hidden: vec![128],
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

impl Method for BenchCoe {
    const NAME: &'static str = "bench-coe";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        match params.level {
            Level::Query => queries(params, context),
            Level::Subject => subjects(params, context),
        }
    }
}

fn queries(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
    let winners = winners(&context.train.score);
    let targets =
        |rows: &[usize]| Targets::Scores(winners.select_rows(rows).values().to_vec(), ScoreLoss::Mse);
    let (trained, network) = train(params, context.train.n_arms(), &context.train.score, &targets, context)?;
    let cost = costs::fit(BenchCoe::NAME, context)?;
    let predictor = network.predictor(&trained.parameters, trained.calibration, cost);
    let mut fitted = Fitted::new(predictor, params);
    trained.record(&mut fitted, "validation_score", trained.validation);
    Ok(fitted)
}

fn subjects(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
    let table = source_table::shrunk(context.train);
    if table.is_empty() {
        let reason = "`level` is `subject` and no query has a source; expected a column `source`, or `query`";
        return Err(FitError::Log { method: BenchCoe::NAME, reason: reason.to_owned() });
    }
    let names: Vec<&str> = table.keys().copied().collect();
    let mut labels = Cells::missing(context.train.n_queries(), names.len());
    for (row, source) in context.train.sources().into_iter().enumerate() {
        let Some(own) = source.and_then(|source| names.binary_search(&source).ok()) else { continue };
        (0..names.len()).for_each(|subject| labels.set(row, subject, f32::from(subject == own)));
    }
    let targets = |rows: &[usize]| Targets::Distribution(labels.select_rows(rows).values().to_vec());
    let (trained, network) = train(params, names.len(), &labels, &targets, context)?;
    let layers = network
        .layers
        .iter()
        .zip(trained.parameters.chunks_exact(2))
        .map(|(layer, p)| Dense::new(p[0].values.clone(), p[1].values.clone(), layer.activation))
        .collect();
    let head = match &trained.parameters[2 * network.layers.len()..] {
        [weights, bias] => Dense::new(weights.values.clone(), bias.values.clone(), Activation::Identity),
        _ => Dense::new(Vec::new(), Vec::new(), Activation::Identity),
    };
    let scores = table.into_values().flatten().map(|score| score as f32).collect();
    let cost = costs::fit(BenchCoe::NAME, context)?;
    let mut fitted = Fitted::new(Box::new(Subjects::new(network.dim, layers, head, scores, cost)), params);
    trained.record(&mut fitted, "validation_accuracy", trained.validation);
    Ok(fitted)
}

/// Trains a network with `n_outputs` outputs, judged by the mean of `judged` at its greatest output.
fn train(
    params: &Params,
    n_outputs: usize,
    judged: &Cells,
    targets: &dyn Fn(&[usize]) -> Targets,
    context: &FitContext<'_>,
) -> Result<(Trained, Network), FitError> {
    let layer = |&width: &usize| LayerShape { width, activation: Activation::Gelu, bias: true };
    let recipe = Recipe {
        method: BenchCoe::NAME,
        network: Network {
            dim: context.features.dim(),
            layers: params.hidden.iter().map(layer).collect(),
            head: HeadShape::Linear(Activation::Identity),
            n_arms: n_outputs,
        },
        front: None,
        training: params.training,
        criterion: Criterion::Choice,
        judged,
        noise: 0.0,
        targets: &|rows, _| targets(rows),
        checkpoint: Checkpoint::new(BenchCoe::NAME, params, context),
    };
    let trained = fit(&recipe, context)?;
    Ok((trained, recipe.network))
}

/// 1 for the models of the greatest score on a query, 0 for the others; missing where none has a score above 0.
fn winners(score: &Cells) -> Cells {
    let of_row = |row: usize| {
        let scores = score.row(row);
        let greatest = scores.iter().copied().fold(0.0, f32::max);
        let is_left_out = move |score: &f32| score.is_nan() || greatest <= 0.0;
        let label =
            move |score: &f32| if is_left_out(score) { f32::NAN } else { f32::from(*score == greatest) };
        scores.iter().map(label)
    };
    Cells::from_vec(score.n_rows(), score.n_cols(), (0..score.n_rows()).flat_map(of_row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn winners_have_the_greatest_score_and_a_query_without_one_is_left_out() {
        let nan = f32::NAN;
        let score = Cells::from_vec(3, 3, vec![0.4, 0.9, 0.9, 0.0, 0.0, nan, nan, 0.2, 0.1]);
        let found = winners(&score);
        assert_eq!(found.row(0), [0.0, 1.0, 1.0]);
        assert!(found.row(1).iter().all(|label| label.is_nan()));
        assert!(found.row(2)[0].is_nan() && found.row(2)[1..] == [1.0, 0.0]);
    }
}
