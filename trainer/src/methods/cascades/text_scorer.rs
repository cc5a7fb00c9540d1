//! A scorer of answers that reads query and answer as one text: what `frugalgpt` and `cascade-routing` share.

use super::logistic_scorer::Answered;
use crate::method::{FitContext, FitError};
use routewright_data::answers::AnswerTable;
use routewright_data::features::{FeatureInput, Featurizer, Lexical, LexicalSettings, QueryAnswer};
use routewright_policy::Router;
use routewright_policy::forms::{CostModel, Linear, Link};
use routewright_policy::selectors::Argmax;
use std::sync::Arc;

/// Width of the features of answers, and answers that they are fitted on, at most.
const ANSWER_DIM: usize = 64;
const ANSWERS_MAX: usize = 4_000;

/// The first answer of an arm to a query.
pub(super) fn text_of(answers: &AnswerTable, row: usize, arm: usize) -> Option<&str> {
    answers.samples(row, arm).next().and_then(|answer| answer.text.or(answer.answer))
}

/// Reads queries as the context does, and answers by n-grams of their own.
///
/// # Errors
/// If no n-grams can be learned of the answers.
pub(super) fn featurizer(
    method: &'static str,
    context: &FitContext<'_>,
    answers: &AnswerTable,
    rows: &[usize],
) -> Result<Arc<dyn Featurizer>, FitError> {
    let n_arms = context.train.n_arms();
    let cells = rows.iter().flat_map(|row| (0..n_arms).map(move |arm| (*row, arm)));
    let every = (rows.len() * n_arms).div_ceil(ANSWERS_MAX).max(1);
    let texts: Vec<&str> = cells.step_by(every).filter_map(|(row, arm)| text_of(answers, row, arm)).collect();
    let settings = LexicalSettings { dim: ANSWER_DIM, ..LexicalSettings::default() };
    let lexical = Lexical::fit(&texts, settings, context.seed)
        .map_err(|error| FitError::Numeric { method, reason: error.to_string() })?;
    Ok(Arc::new(QueryAnswer::new(Arc::clone(context.featurizer), Arc::new(lexical))))
}

/// The answers of every arm to some queries, arm by arm within a query.
///
/// # Errors
/// If an answer cannot be read.
pub(super) fn answered(
    method: &'static str,
    context: &FitContext<'_>,
    answers: &AnswerTable,
    featurizer: &Arc<dyn Featurizer>,
    rows: &[usize],
) -> Result<Answered, FitError> {
    let train = context.train;
    let cells: Vec<(usize, usize)> =
        rows.iter().flat_map(|row| (0..train.n_arms()).map(move |arm| (*row, arm))).collect();
    let text = |(row, arm): &(usize, usize)| {
        QueryAnswer::join(&train.queries[*row].prompt, text_of(answers, *row, *arm).unwrap_or_default())
    };
    let texts: Vec<String> = cells.iter().map(text).collect();
    let vector = |row: usize| train.vectors.as_ref().map(|vectors| vectors.row(row));
    let inputs: Vec<FeatureInput<'_>> = texts
        .iter()
        .zip(&cells)
        .map(|(text, (row, _))| FeatureInput { text, vector: vector(*row) })
        .collect();
    let features = featurizer
        .featurize(&inputs)
        .map_err(|error| FitError::Numeric { method, reason: error.to_string() })?;
    Ok(Answered {
        features,
        arms: cells.iter().map(|(_, arm)| *arm).collect(),
        scores: cells
            .iter()
            .map(|(row, arm)| f64::from(train.score.get(*row, *arm).unwrap_or_default()))
            .collect(),
    })
}

/// The scorer as a part of a program: predicts, for each arm, the score of a text as an answer of that arm.
pub(super) fn router(featurizer: Arc<dyn Featurizer>, weights: Vec<f32>, n_arms: usize) -> Router {
    let cost = CostModel::constant(vec![f32::NAN; n_arms]);
    let form = Linear::new(featurizer.dim(), Link::Logistic, weights, cost);
    Router { featurizer, predictor: Box::new(form), selector: Box::new(Argmax) }
}
