//! MoRE, the mixture of reasoning experts (arXiv 2305.14628): a random forest says of each answer how likely it is
//! right; the likeliest is returned, or none.
//!
//! The forest reads who answered, the form of question and answer, how sure the model was, how often the answer was
//! given and how like it is to each of the others (block `surface` of program `select`): `2 m + 20` numbers of `m`
//! models. With `abstain` the policy returns nothing below the probability that gains most on folds of train, where a
//! right answer counts +1, a wrong one -1 and none 0 (effective reliability).
//!
//! # Deviations from the paper and its code (NoviScl/MoRE)
//! 1. Experts are the models of the log; those of the paper are one model under four prompts, so that numbers of
//!    passages and of chains of thought, which two of them have, are not here.
//! 2. Trees stop at `leaf` rows; those of the library stop at one.
//! 3. The probability below which it abstains is chosen on folds, that of the paper on a dev set.
//! 4. Scores between 0 and 1 are learned as they are.

use super::candidates::{self, Query, Reader};
use super::folds;
use super::log::{Asked, Log};
use super::programs::{self, Made};
use super::trees::{Growth, grow};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Reads};
use crate::methods::votes::weights::Accuracies;
use crate::validation::Folds;
use routewright_data::features::Column;
use routewright_policy::Router;
use routewright_policy::forms::Forest;
use routewright_policy::programs::select::{Block, Grouping, Selection, best_candidates};
use routewright_policy::selectors::Argmax;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<More>(
    "a random forest over the forms of questions and answers and how far answers agree; may abstain",
    Some("2305.14628"),
    Family::After,
    &[],
)
.reading(&[Reads::Outcomes, Reads::Answers]);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct More;

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Models that are asked; all where empty.
    members: Vec<String>,
    /// Rule that makes equal answers equal texts, see `data::answers::normalize`.
    normalize: String,
    /// Trees, in [1, 1000].
    trees: usize,
    /// Least answers in a leaf, at least 1.
    leaf: usize,
    /// Whether it returns nothing where the best answer is unlikely to be right.
    abstain: bool,
    /// Folds of train, in [2, 20].
    folds: usize,
}

impl Default for Params {
    fn default() -> Self {
        let (members, normalize) = (Vec::new(), "exact".to_owned());
        Self { members, normalize, trees: 100, leaf: 5, abstain: false, folds: 5 }
    }
}

impl Params {
    fn check(&self) -> Result<(), FitError> {
        let is_sound = (1..=1000).contains(&self.trees) && self.leaf > 0 && (2..=20).contains(&self.folds);
        let reason = "`trees` needs 1 to 1000, `leaf` at least 1, `folds` 2 to 20".to_owned();
        if is_sound { Ok(()) } else { Err(FitError::Params { method: More::NAME, reason }) }
    }

    fn grow(&self, queries: &[Query<'_>], dim: usize, context: &FitContext<'_>) -> Result<Forest, FitError> {
        let growth = Growth { trees: self.trees, leaf: self.leaf, seed: context.seed };
        grow(&candidates::rows(queries, dim), &growth, context.train.n_arms())
            .map_err(|reason| FitError::Log { method: More::NAME, reason })
    }
}

fn read<'a>(log: &'a Log<'a>, accuracies: &'a Accuracies, rows: &[usize]) -> Vec<Query<'a>> {
    let reader = Reader { log, accuracies, blocks: &[Block::Surface], grouping: Grouping::Apart };
    reader.read(rows, false)
}

/// Score of the answer returned and its probability, query by query; NaN where the score is not known.
fn played(log: &Log<'_>, forest: &Forest, queries: &[Query<'_>], dim: usize) -> Vec<(f64, f64)> {
    let of = |query: &Query<'_>| {
        let value = |x: &[f64]| forest.value(&x.iter().map(|x| *x as f32).collect::<Vec<f32>>());
        let scores: Vec<f32> = query.features.chunks_exact(dim).map(value).collect();
        let found = best_candidates(&query.panel, &scores, &query.own);
        let score = candidates::returned(log, query, &found).unwrap_or(f64::NAN);
        (score, found.first().map_or(0.0, |at| f64::from(scores[*at])))
    };
    queries.iter().map(of).collect()
}

/// What abstaining below a probability is worth.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Reliability {
    /// Probability of the least likely answer that is returned.
    least: f64,
    /// Mean of +1 for a right answer, -1 for a wrong one, 0 for none.
    value: f64,
    /// Share of the queries that are answered.
    coverage: f64,
    /// Mean over all coverages of the share of wrong answers.
    risk: f64,
}

/// The best threshold on answers of known score with their probabilities.
fn reliability(answers: &[(f64, f64)]) -> Option<Reliability> {
    let mut known: Vec<(f64, f64)> = answers.iter().copied().filter(|(score, _)| !score.is_nan()).collect();
    known.sort_by(|a, b| b.1.total_cmp(&a.1));
    let n = known.len() as f64;
    let (mut sum, mut right, mut risks) = (0.0, 0.0, 0.0);
    let mut best: Option<Reliability> = None;
    for (at, (score, probability)) in known.iter().enumerate() {
        sum += 2.0 * score - 1.0;
        right += score;
        let answered = at as f64 + 1.0;
        risks += 1.0 - right / answered;
        // Answers of one probability are returned together.
        let is_last = known.get(at + 1).is_none_or(|next| next.1 < *probability);
        if is_last && best.is_none_or(|best| sum / n > best.value) {
            best =
                Some(Reliability { least: *probability, value: sum / n, coverage: answered / n, risk: 0.0 });
        }
    }
    best.map(|best| Reliability { risk: risks / n, ..best })
}

impl Method for More {
    const NAME: &'static str = "more";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        let asked = Asked {
            method: Self::NAME,
            key: "members",
            models: &params.members,
            normalize: &params.normalize,
        };
        let log = Log::read(&asked, context)?;
        let dim = Block::Surface.dim(log.models.len());
        let dealt = Folds::new(context.train, context.seed, params.folds);
        let mut answers = vec![(f64::NAN, 0.0); log.n_queries()];
        for slice in folds::slices(&dealt) {
            let accuracies = Accuracies::fit(&log.votes, &slice.fit);
            let forest = params.grow(&read(&log, &accuracies, &slice.fit), dim, context)?;
            let found = played(&log, &forest, &read(&log, &accuracies, &slice.valid), dim);
            slice.valid.iter().zip(found).for_each(|(row, answer)| answers[*row] = answer);
        }
        let reliable = reliability(&answers);
        let rows: Vec<usize> = (0..log.n_queries()).collect();
        let accuracies = Accuracies::fit(&log.votes, &rows);
        let forest = params.grow(&read(&log, &accuracies, &rows), dim, context)?;
        let scorer = Router {
            featurizer: Arc::new(Column::new("candidate", dim)),
            predictor: Box::new(forest),
            selector: Box::new(Argmax),
        };
        let selection = Selection {
            skills: accuracies.skills(),
            blocks: vec![Block::Surface],
            least: reliable.filter(|_| params.abstain).map(|reliable| reliable.least as f32),
            ..programs::selection(&log, log.models.clone(), Grouping::Apart)
        };
        let made = Made { selection, judges: scorer.into() };
        let mut fitted = made.fitted(&log, context, params, Self::NAME)?;
        let ours: Vec<f64> = answers.iter().map(|(score, _)| *score).collect();
        let single = folds::best_single(&log, &dealt);
        fitted.metrics.extend(folds::figures(&ours, &single, context));
        if let Some(Reliability { least, value, coverage, risk }) = reliable {
            let figures = [
                ("folds_threshold", least),
                ("folds_effective_reliability", value),
                ("folds_coverage", coverage),
                ("folds_risk_coverage_area", risk),
            ];
            fitted.metrics.extend(figures.map(|(name, value)| (name.to_owned(), value)));
        }
        Ok(fitted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_gains_most_where_right_counts_one_and_wrong_minus_one() {
        // In the order of probabilities: right, right, wrong, right, wrong, wrong; one is not known.
        let answers =
            [(1.0, 0.9), (0.0, 0.2), (1.0, 0.8), (f64::NAN, 1.0), (0.0, 0.7), (1.0, 0.6), (0.0, 0.5)];
        let found = reliability(&answers).unwrap();
        // Sums 1, 2, 1, 2, 1, 0: the first of the greatest. Risks 0, 0, 1/3, 1/4, 2/5, 1/2.
        assert_eq!((found.least, found.coverage), (0.8, 2.0 / 6.0));
        assert!((found.value - 2.0 / 6.0).abs() < 1e-12);
        assert!((found.risk - (1.0 / 3.0 + 0.25 + 0.4 + 0.5) / 6.0).abs() < 1e-12);
        // Answers of one probability are returned together or not at all.
        let tied = reliability(&[(1.0, 0.5), (0.0, 0.5), (0.0, 0.5)]).unwrap();
        assert_eq!((tied.coverage, tied.value), (1.0, -1.0 / 3.0));
        assert_eq!(reliability(&[(f64::NAN, 0.5)]), None);
    }
}
