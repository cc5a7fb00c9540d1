//! A weighted vote: every voter answers, the answer of the most weight wins.
//!
//! The weight of a vote is the log-odds of the voter's accuracy on the task, shrunk to its accuracy overall, less
//! the log of the rate at which wrong answers are the same (`weights.rs`). A vote among classes weighted by log-odds
//! is that of Nitzan and Paroush (1982); with one class right and the others equally likely it is the maximum a
//! posteriori of Dawid and Skene's model (1979) with one accuracy a voter.
//!
//! # Deviations
//! 1. The number of classes is not counted but read off the collisions of wrong answers, task by task.
//! 2. Accuracies are those of labelled rows, shrunk; Dawid and Skene estimate them without labels.
//! 3. Weights of open answers are at least 0.
//! 4. Two voters that are one judge with the options in both orders (`twins`) share the mean of their weights.
//!
//! The metrics say what it costs: calls and US dollars a query, and the score on folds of train beside the best
//! single model's, with the standard error of the paired difference. Where the difference is below 0, do not vote.

use super::weights::{Accuracies, Scheme, Weights, voted};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, Reads};
use crate::methods::crowds::log::{Asked, Log};
use crate::train::arms;
use crate::validation::Folds;
use routewright_policy::programs::{self, Electorate, Weighting};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Vote>(
    "a weighted vote: log-odds of accuracy by task, less the log of how often wrong answers are the same",
    None,
    Family::After,
    &[Need::Source],
)
.reading(&[Reads::Outcomes, Reads::Answers]);

/// Folds that the score beside the best single model's is taken on.
const FOLDS: usize = 5;
/// Different answers up to which a log is taken to be of closed ones.
const CLOSED_MAX: usize = 12;

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Vote;

/// Whether answers are of a fixed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answers {
    /// Closed where train has at most 12 different answers.
    Auto,
    /// Numbers, texts: a vote is never evidence against its answer.
    Open,
    /// Labels, options: who is wrong more often than by chance speaks against its answer.
    Closed,
}

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Models that vote; all where empty.
    voters: Vec<String>,
    /// What a vote is worth.
    weights: Weights,
    /// Rule that makes equal answers equal texts, see `data::answers::normalize`.
    normalize: String,
    /// Whether answers are of a fixed list.
    answers: Answers,
    /// Ending of the names of judges that see the options in the other order; none where empty.
    twins: String,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            voters: Vec::new(),
            weights: Weights::LogOdds,
            normalize: "exact".to_owned(),
            answers: Answers::Auto,
            twins: String::new(),
        }
    }
}

fn refused(reason: String) -> FitError {
    FitError::Params { method: Vote::NAME, reason }
}

/// What the method knows of its log.
struct Voters<'a>(Log<'a>);

impl Voters<'_> {
    fn is_open(&self, answers: Answers) -> bool {
        match answers {
            Answers::Open => true,
            Answers::Closed => false,
            Answers::Auto => self.0.votes.forms.iter().flatten().collect::<HashSet<_>>().len() > CLOSED_MAX,
        }
    }

    /// The judge with the options in the other order, of each voter.
    fn twins(&self, ending: &str) -> Result<Vec<Option<usize>>, FitError> {
        if ending.is_empty() {
            return Ok(vec![None; self.0.models.len()]);
        }
        let twin = |model: &String| {
            let other = model.strip_suffix(ending).map_or_else(|| format!("{model}{ending}"), str::to_owned);
            self.0.models.iter().position(|name| *name == other)
        };
        let twins: Vec<Option<usize>> = self.0.models.iter().map(twin).collect();
        if twins.iter().all(Option::is_none) {
            return Err(refused(format!(
                "`twins` is `{ending}`, but no voter has a name with that ending beside it"
            )));
        }
        Ok(twins)
    }

    /// Scores of the vote and of the best single voter on every query, learned from the other folds; mean, mean, and
    /// mean and standard error of the difference.
    fn validated(&self, context: &FitContext<'_>, scheme: &Scheme) -> Option<[f64; 4]> {
        let folds = Folds::new(context.train, context.seed, FOLDS);
        let mut pairs = Vec::new();
        for slice in (0..FOLDS).filter_map(|fold| folds.slice(fold)) {
            let accuracies = Accuracies::fit(&self.0.votes, &slice.fit);
            let best = (0..self.0.models.len())
                .max_by(|a, b| accuracies.overall[*a].total_cmp(&accuracies.overall[*b]).then(b.cmp(a)))?;
            for row in slice.valid {
                let single = self.0.votes.scores.get(row, best).map(f64::from);
                pairs.extend(voted(&self.0.votes, row, &accuracies, scheme).zip(single));
            }
        }
        let n = pairs.len() as f64;
        if n < 2.0 {
            return None;
        }
        let mean = |value: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(value).sum::<f64>() / n;
        let gain = mean(&|(vote, single)| vote - single);
        let variance = mean(&|(vote, single)| (vote - single - gain).powi(2)) * n / (n - 1.0);
        Some([mean(&|pair| pair.0), mean(&|pair| pair.1), gain, (variance / n).sqrt()])
    }
}

impl Method for Vote {
    const NAME: &'static str = "vote";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let asked =
            Asked { method: Self::NAME, key: "voters", models: &params.voters, normalize: &params.normalize };
        let voters = Voters(Log::read(&asked, context)?);
        let log = &voters.0;
        log.expect_forms(Self::NAME)?;
        let is_open = voters.is_open(params.answers);
        let scheme = Scheme { weights: params.weights, is_open, twins: voters.twins(&params.twins)? };
        let rows: Vec<usize> = (0..context.train.n_queries()).collect();
        let accuracies = Accuracies::fit(&log.votes, &rows);
        let weighting = |task: Option<&str>| Weighting {
            weights: accuracies.weights(task, &scheme),
            strengths: accuracies.strengths(task).to_vec(),
        };
        let electorate = Electorate {
            voters: log.models.clone(),
            answers: log.rule.name.to_owned(),
            reads: log.reads,
            default: weighting(None),
            tasks: accuracies.tasks.keys().map(|task| (task.clone(), weighting(Some(task)))).collect(),
        };
        let all = arms(context.train);
        let program = programs::Vote::new(electorate, &all)
            .map_err(|error| FitError::Numeric { method: Self::NAME, reason: error.to_string() })?;
        let chosen = Params {
            voters: log.models.clone(),
            answers: if is_open { Answers::Open } else { Answers::Closed },
            ..params.clone()
        };
        let mut fitted = Fitted::steps(Box::new(program), all.len(), &chosen);
        let mut metrics = BTreeMap::from([
            ("calls".to_owned(), log.arms.len() as f64),
            ("wrong_answers".to_owned(), 1.0 / accuracies.collision),
        ]);
        let prices: Option<f64> = log.arms.iter().map(|arm| all[*arm].price.mean_cost_usd).sum();
        metrics.extend(prices.map(|usd| ("cost_usd".to_owned(), usd)));
        if let Some(values) = voters.validated(context, &scheme) {
            let names = ["folds_score", "folds_best_single", "folds_gain", "folds_gain_se"];
            metrics.extend(names.map(str::to_owned).into_iter().zip(values));
        }
        fitted.metrics = metrics;
        Ok(fitted)
    }
}

#[cfg(test)]
mod tests;
