//! LLM-TOPLA (arXiv 2410.03953): models that do not fail together, and a network over the answers they give mass to.
//!
//! *Pruning* by focal diversity: for a set `E` of `S` models and each of them taken as focal, over the rows on which
//! the focal model is wrong,
//!
//! ```text
//! lambda_f(E) = 1 - p(2) / p(1),   p(1) = sum_i i/S q_i,   p(2) = sum_i i (i - 1) / (S (S - 1)) q_i
//! ```
//!
//! with `q_i` the share of the rows on which `i` of the models are wrong: the generalised diversity, 1 where no two
//! fail together. Its mean over the focal models, weighed against the mean accuracy of the set, chooses the set.
//! *Weighting*: a network with one hidden layer maps the mass that each model of the set gives to an answer to a
//! score; the softmax over the answers is learned.
//!
//! # Deviations from the paper and its code (git-disl/llm-topla)
//! 1. The published files have no diversity search: the formula is the paper's family, and the search is over all sets
//!    where at most 16 models answer, else greedy from the best model; the paper uses a genetic algorithm.
//! 2. The network scores one answer from the masses that it has, the same for every answer, so that neither order nor
//!    number of answers matters; the code concatenates slots sorted by mass and pads them.
//! 3. Mass is the probability of the option where the log has `option_probs`, else 1 for the answer given.
//! 4. One hidden layer with an L2 penalty, by L-BFGS; the code has two layers of 100, with a sigmoid at the end.
//! 5. The penalty is chosen on folds; the code validates on rows it trained on.
//! 6. TOPLA-Summary, a fine-tuned sequence model, is not here.

use super::candidates::{self, Query, Reader};
use super::folds;
use super::log::{Asked, Log};
use super::network::Network;
use super::programs::{self, Made};
use crate::evaluate::{Sources, Tuning};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Reads};
use crate::methods::votes::weights::Accuracies;
use crate::validation::Folds;
use routewright_data::features::Column;
use routewright_policy::Router;
use routewright_policy::programs::select::{Block, Grouping, Selection, best_candidates};
use routewright_policy::selectors::Argmax;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<LlmTopla>(
    "models that do not fail together, and a network over the answers they give mass to",
    Some("2410.03953"),
    Family::After,
    &[],
)
.reading(&[Reads::Outcomes, Reads::Answers]);

/// Models up to which all sets are tried.
const ALL_SETS_MAX: usize = 16;
/// Scores below this are of wrong answers.
const RIGHT: f32 = 0.5;

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct LlmTopla;

/// Parameters; a list is a grid of which cross-validation picks one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Models to choose from; all where empty.
    members: Vec<String>,
    /// Rule that makes equal answers equal texts, see `data::answers::normalize`.
    normalize: String,
    /// Most models in the set, at least 2.
    size: usize,
    /// Weight of the diversity of a set, in [0, 1]; its accuracy has the rest.
    diversity: f64,
    /// Units of the hidden layer, in [1, 256].
    hidden: usize,
    /// Penalties, each above 0.
    lambda: Vec<f64>,
    /// Folds of train, in [2, 20].
    folds: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            members: Vec::new(),
            normalize: "exact".to_owned(),
            size: 5,
            diversity: 0.5,
            hidden: 12,
            lambda: vec![0.1, 0.01, 0.001],
            folds: 5,
        }
    }
}

impl Params {
    fn check(&self) -> Result<(), FitError> {
        let refuse = |reason: String| Err(FitError::Params { method: LlmTopla::NAME, reason });
        if self.size < 2 || !(0.0..=1.0).contains(&self.diversity) {
            return refuse("`size` needs at least 2, `diversity` a number in [0, 1]".to_owned());
        }
        if !(1..=256).contains(&self.hidden) || !(2..=20).contains(&self.folds) {
            return refuse("`hidden` needs 1 to 256, `folds` 2 to 20".to_owned());
        }
        if self.lambda.is_empty() || self.lambda.iter().any(|lambda| !(*lambda > 0.0 && lambda.is_finite())) {
            return refuse("`lambda` needs numbers above 0".to_owned());
        }
        Ok(())
    }
}

/// Whether each model is wrong on each row; `None` where it is not known.
type Wrong = Vec<Vec<Option<bool>>>;

/// Mean over the focal models of the generalised diversity where they are wrong; `None` where none ever is.
fn focal_diversity(wrong: &Wrong, set: &[usize]) -> Option<f64> {
    let s = set.len() as f64;
    let of_focal = |focal: &usize| -> Option<f64> {
        let (mut one, mut two, mut n) = (0.0, 0.0, 0.0);
        for row in wrong.iter().filter(|row| row[*focal] == Some(true)) {
            let known: Option<Vec<bool>> = set.iter().map(|member| row[*member]).collect();
            let Some(known) = known else { continue };
            let i = known.iter().filter(|wrong| **wrong).count() as f64;
            one += i / s;
            two += i * (i - 1.0) / (s * (s - 1.0));
            n += 1.0;
        }
        (n > 0.0).then(|| 1.0 - two / one)
    };
    let found: Vec<f64> = set.iter().filter_map(of_focal).collect();
    (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
}

/// The set of the best value: diversity weighed against mean accuracy. Sets have 2 to `most` models.
fn search(wrong: &Wrong, accuracies: &[f64], most: usize, weight: f64) -> (Vec<usize>, f64) {
    let n = accuracies.len();
    let diversity = |set: &[usize]| focal_diversity(wrong, set).unwrap_or(0.0);
    let value = |set: &[usize]| {
        let accuracy = set.iter().map(|member| accuracies[*member]).sum::<f64>() / set.len() as f64;
        weight * diversity(set) + (1.0 - weight) * accuracy
    };
    let mut best: (Vec<usize>, f64) = (vec![Log::strongest(accuracies)], f64::NEG_INFINITY);
    let mut offer = |set: Vec<usize>| {
        let found = value(&set);
        if found > best.1 {
            best = (set, found);
        }
    };
    if n <= ALL_SETS_MAX {
        let sets = (0_u32..1 << n).filter(|bits| (2..=most).contains(&(bits.count_ones() as usize)));
        sets.map(|bits| (0..n).filter(|member| bits >> member & 1 == 1).collect()).for_each(&mut offer);
    } else {
        let mut set = vec![Log::strongest(accuracies)];
        while set.len() < most.min(n) {
            let with = |member: usize| [&set[..], &[member]].concat();
            let next = (0..n).filter(|member| !set.contains(member));
            let next = next.max_by(|a, b| value(&with(*a)).total_cmp(&value(&with(*b))).then(b.cmp(a)));
            set.extend(next);
            let mut sorted = set.clone();
            sorted.sort_unstable();
            offer(sorted);
        }
    }
    let found = diversity(&best.0);
    (best.0, found)
}

fn wrong(log: &Log<'_>, rows: &[usize]) -> Wrong {
    let of = |row: &usize| {
        let is_wrong = |member| log.votes.scores.get(*row, member).map(|score| score < RIGHT);
        (0..log.models.len()).map(is_wrong).collect()
    };
    rows.iter().map(of).collect()
}

/// The queries of some rows with the masses of their answers.
fn read<'a>(log: &'a Log<'a>, accuracies: &'a Accuracies, rows: &[usize]) -> Vec<Query<'a>> {
    let reader = Reader { log, accuracies, blocks: &[Block::Mass], grouping: Grouping::Equal };
    reader.read(rows, false)
}

/// Score of the answer chosen on each of the queries, NaN where it is not known.
fn played(log: &Log<'_>, network: &Network, queries: &[Query<'_>]) -> Vec<f64> {
    let of = |query: &Query<'_>| {
        let rows = query.features.chunks_exact(log.models.len());
        let scores: Vec<f32> = rows.map(|x| network.score(x) as f32).collect();
        let found = best_candidates(&query.panel, &scores, &query.own);
        candidates::returned(log, query, &found).unwrap_or(f64::NAN)
    };
    queries.iter().map(of).collect()
}

impl Method for LlmTopla {
    const NAME: &'static str = "llm-topla";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        let asked =
            |models| Asked { method: Self::NAME, key: "members", models, normalize: &params.normalize };
        let all = Log::read(&asked(&params.members), context)?;
        all.expect_forms(Self::NAME)?;
        let rows: Vec<usize> = (0..all.n_queries()).collect();
        let strengths = Accuracies::fit(&all.votes, &rows).overall;
        let (set, diversity) = search(&wrong(&all, &rows), &strengths, params.size, params.diversity);
        let names: Vec<String> = set.iter().map(|member| all.models[*member].clone()).collect();
        let log = Log::read(&asked(&names), context)?;
        let dim = log.models.len();
        let dealt = Folds::new(context.train, context.seed, params.folds);
        let sources = Sources::of(context.train);
        let play = |lambda: &f64| {
            folds::scores(log.n_queries(), &dealt, |slice| {
                let accuracies = Accuracies::fit(&log.votes, &slice.fit);
                let known = candidates::rows(&read(&log, &accuracies, &slice.fit), dim);
                let network = Network::fit(&known, params.hidden, *lambda, context.seed);
                played(&log, &network, &read(&log, &accuracies, &slice.valid))
            })
        };
        let tried: Vec<Vec<f64>> = params.lambda.iter().map(play).collect();
        let criterion = |scores: &Vec<f64>| sources.mean(scores, context.average);
        let criteria: Vec<f64> =
            tried.iter().map(|scores| criterion(scores).unwrap_or(f64::NEG_INFINITY)).collect();
        let best = Log::strongest(&criteria);
        let accuracies = Accuracies::fit(&log.votes, &rows);
        let known = candidates::rows(&read(&log, &accuracies, &rows), dim);
        let network = Network::fit(&known, params.hidden, params.lambda[best], context.seed);
        let scorer = Router {
            featurizer: Arc::new(Column::new("candidate", dim)),
            predictor: Box::new(network.form(context.train.n_arms())),
            selector: Box::new(Argmax),
        };
        let selection = Selection {
            skills: accuracies.skills(),
            blocks: vec![Block::Mass],
            ..programs::selection(&log, names.clone(), Grouping::Equal)
        };
        let chosen = Params { members: names, lambda: vec![params.lambda[best]], ..params.clone() };
        let made = Made { selection, judges: scorer.into() };
        let mut fitted = made.fitted(&log, context, &chosen, Self::NAME)?;
        let single = folds::best_single(&all, &dealt);
        fitted.metrics.extend(folds::figures(&tried[best], &single, context));
        fitted.metrics.insert("focal_diversity".to_owned(), diversity);
        fitted.tuning = Some(Tuning { candidates: tried.len(), slices: params.folds });
        Ok(fitted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[[bool; 3]]) -> Wrong {
        rows.iter().map(|row| row.iter().map(|wrong| Some(*wrong)).collect()).collect()
    }

    #[test]
    fn the_focal_diversity_is_that_by_hand() {
        // Model 0 is wrong on rows 0, 1, 2, with model 1 on row 0 and with nobody else; 2 alone on row 3.
        let wrong =
            table(&[[true, true, false], [true, false, false], [true, false, false], [false, false, true]]);
        // Focal 0: i = 2, 1, 1: p(1) = (2/2 + 1/2 + 1/2) / 3, p(2) = (1 + 0 + 0) / 3. Focal 1: i = 2.
        let of_0 = 1.0 - 1.0 / 2.0;
        assert_eq!(focal_diversity(&wrong, &[0, 1]), Some((of_0 + 0.0) / 2.0));
        assert_eq!(focal_diversity(&wrong, &[0, 2]), Some(1.0));
        let right = table(&[[false; 3]]);
        assert_eq!(focal_diversity(&right, &[0, 1]), None);
        let unknown = vec![vec![Some(true), None, Some(false)]];
        assert_eq!(focal_diversity(&unknown, &[0, 1]), None);
    }

    #[test]
    fn the_set_weighs_diversity_against_accuracy() {
        let wrong = table(&[[true, true, false], [true, true, false], [false, false, true]]);
        let accuracies = [0.9, 0.8, 0.1];
        assert_eq!(search(&wrong, &accuracies, 2, 0.0).0, [0, 1]);
        let (set, diversity) = search(&wrong, &accuracies, 2, 0.9);
        assert_eq!((set, diversity), (vec![0, 2], 1.0));
    }
}
