//! Weights of votes, from how often each voter is right on a task and how often wrong answers are the same.
//!
//! Voter `j`, query `i`, task `t`, score `S`; `N_j` scored queries of the voter, `n_tj` of them on the task, `mu`
//! the mean of all scores:
//!
//! ```text
//! g_j  = (sum_i S_ij + 2 mu) / (N_j + 2)              s_tj = (sum_{i in t} S_ij + 5 g_j) / (n_tj + 5)
//! c    = (E + .5) / (D + 1)                           c_t  = (E_t + 50 c) / (D_t + 50)
//! w_tj = ln(s / (1 - s)) - ln c_t,  s = s_tj in [.02, .98]
//! ```
//!
//! `D` counts ordered pairs of wrong answers to one query, `E` those of them that are the same answer. `1 / c` is
//! the number of wrong answers that there seem to be: with two options `c = 1` and `w` is the log-odds; with `k`
//! equally likely wrong answers `w` is `ln(s k / (1 - s))`, the weight of a vote among them. It is at least as good
//! as any other answer by chance where `w >= 0`; a vote for an open answer is never evidence against it, so that
//! weights of open answers are clipped at 0.

use routewright_data::answers::AnswerTable;
use routewright_data::answers::normalize::Normalizer;
use routewright_data::{Cells, Query};
use routewright_policy::programs::select::Skills;
use routewright_policy::programs::{Ballot, Reading, winners};
use std::collections::{BTreeMap, HashMap};

/// Queries that `mu` is worth to `g`, and `g` to `s`.
const OVERALL_PRIOR: f64 = 2.0;
const TASK_PRIOR: f64 = 5.0;
/// Pairs of wrong answers that `c` is worth to `c_t`.
const COLLISION_PRIOR: f64 = 50.0;
/// Least and greatest accuracy whose log-odds are taken.
const ACCURACY: (f64, f64) = (0.02, 0.98);
/// Scores below this are of wrong answers.
const RIGHT: f32 = 0.5;

/// Scores, forms and tasks of queries, voter by voter.
#[derive(Debug, Clone)]
pub(in crate::methods) struct Votes {
    /// Score of each vote; shape `(n_queries, n_voters)`.
    pub(in crate::methods) scores: Cells,
    /// Form of each answer, row-major.
    pub(in crate::methods) forms: Vec<Option<String>>,
    /// Task of each query.
    pub(in crate::methods) tasks: Vec<Option<String>>,
}

impl Votes {
    /// The first answers of the arms named, in that order.
    pub(in crate::methods) fn of(
        queries: &[Query],
        answers: &AnswerTable,
        arms: &[usize],
        rule: &Normalizer,
    ) -> Self {
        let reads = reading(answers);
        let mut scores = Cells::missing(queries.len(), arms.len());
        let mut forms = Vec::with_capacity(queries.len() * arms.len());
        for row in 0..queries.len() {
            for (voter, arm) in arms.iter().enumerate() {
                let answer = answers.samples(row, *arm).next();
                scores.set(row, voter, answer.and_then(|answer| answer.score).unwrap_or(f32::NAN));
                forms.push(answer.and_then(|answer| reads.form(rule, answer.answer, answer.text)));
            }
        }
        Self { scores, forms, tasks: queries.iter().map(|query| query.source.clone()).collect() }
    }

    /// Number of voters.
    pub(in crate::methods) fn n_voters(&self) -> usize {
        self.scores.n_cols()
    }

    /// Forms of the answers to a query.
    pub(in crate::methods) fn row(&self, query: usize) -> &[Option<String>] {
        &self.forms[query * self.n_voters()..(query + 1) * self.n_voters()]
    }

    /// Pairs of wrong answers to a query: all ordered ones, and those of the same answer.
    fn collisions(&self, query: usize) -> (f64, f64) {
        let mut counts = HashMap::<&str, f64>::new();
        let is_wrong = |voter: usize| self.scores.get(query, voter).is_some_and(|score| score < RIGHT);
        let wrong = self.row(query).iter().enumerate().filter(|(voter, _)| is_wrong(*voter));
        wrong
            .filter_map(|(_, form)| form.as_deref())
            .for_each(|form| *counts.entry(form).or_default() += 1.0);
        let n: f64 = counts.values().sum();
        (n * (n - 1.0), counts.values().map(|count| count * (count - 1.0)).sum())
    }
}

/// What of the answers of a log is read: the short ones where it has any.
pub(in crate::methods) fn reading(answers: &AnswerTable) -> Reading {
    if answers.iter().any(|(.., row)| row.answer.is_some()) { Reading::Short } else { Reading::Text }
}

/// How good each voter is, and how often wrong answers are the same.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::methods) struct Accuracies {
    /// `g`, voter by voter.
    pub(in crate::methods) overall: Vec<f64>,
    /// `s` of each task.
    pub(in crate::methods) tasks: BTreeMap<String, Vec<f64>>,
    /// `c`.
    pub(in crate::methods) collision: f64,
    /// `c_t` of each task.
    pub(in crate::methods) collisions: BTreeMap<String, f64>,
    /// `mu`.
    mean: f64,
    /// What `g` and `s` are made of.
    sums: Sums,
    task_sums: BTreeMap<String, Sums>,
}

/// Sums of scores and their number, voter by voter.
type Sums = Vec<(f64, f64)>;

/// `g` of a voter.
fn shrunk_overall((sum, n): (f64, f64), mu: f64) -> f64 {
    (sum + OVERALL_PRIOR * mu) / (n + OVERALL_PRIOR)
}

/// `s` of a voter.
fn shrunk_task((sum, n): (f64, f64), g: f64) -> f64 {
    (sum + TASK_PRIOR * g) / (n + TASK_PRIOR)
}

impl Accuracies {
    /// Counts on the rows named.
    pub(in crate::methods) fn fit(votes: &Votes, rows: &[usize]) -> Self {
        let n_voters = votes.n_voters();
        let mut all: Sums = vec![(0.0, 0.0); n_voters];
        let mut tasks = BTreeMap::<&str, Sums>::new();
        let mut pairs = BTreeMap::<Option<&str>, (f64, f64)>::new();
        for &row in rows {
            let task = votes.tasks[row].as_deref();
            for voter in 0..n_voters {
                let Some(score) = votes.scores.get(row, voter) else { continue };
                let of_task =
                    task.map(|task| tasks.entry(task).or_insert_with(|| vec![(0.0, 0.0); n_voters]));
                for sums in [Some(&mut all), of_task].into_iter().flatten() {
                    sums[voter].0 += f64::from(score);
                    sums[voter].1 += 1.0;
                }
            }
            let (all_pairs, same) = votes.collisions(row);
            let entry = pairs.entry(task).or_default();
            *entry = (entry.0 + all_pairs, entry.1 + same);
        }
        let (sum, n) = all.iter().fold((0.0, 0.0), |(sum, n), (s, k)| (sum + s, n + k));
        let mu = if n > 0.0 { sum / n } else { 0.5 };
        let overall: Vec<f64> = all.iter().map(|sums| shrunk_overall(*sums, mu)).collect();
        let of_task = |sums: &Sums| {
            sums.iter().zip(&overall).map(|(sums, g)| shrunk_task(*sums, *g)).collect::<Vec<f64>>()
        };
        let (all_pairs, same) = pairs.values().fold((0.0, 0.0), |(d, e), (a, b)| (d + a, e + b));
        let collision = (same + 0.5) / (all_pairs + 1.0);
        let shrunk = |(task, (d, e)): (&Option<&str>, &(f64, f64))| {
            let c = (e + COLLISION_PRIOR * collision) / (d + COLLISION_PRIOR);
            task.map(|task| (task.to_owned(), c))
        };
        Self {
            tasks: tasks.iter().map(|(task, sums)| ((*task).to_owned(), of_task(sums))).collect(),
            collisions: pairs.iter().filter_map(shrunk).collect(),
            task_sums: tasks.into_iter().map(|(task, sums)| (task.to_owned(), sums)).collect(),
            overall,
            collision,
            mean: mu,
            sums: all,
        }
    }

    /// `g` and `s` on the task of a row that they were counted on, without the scores of that row.
    pub(in crate::methods) fn without(&self, votes: &Votes, row: usize) -> (Vec<f64>, Vec<f64>) {
        let own = votes.tasks[row].as_deref().and_then(|task| self.task_sums.get(task));
        let less = |(sum, n): (f64, f64), voter: usize| match votes.scores.get(row, voter) {
            Some(score) => (sum - f64::from(score), n - 1.0),
            None => (sum, n),
        };
        let of = |voter: usize| {
            let g = shrunk_overall(less(self.sums[voter], voter), self.mean);
            (g, own.map_or(g, |sums| shrunk_task(less(sums[voter], voter), g)))
        };
        (0..self.sums.len()).map(of).unzip()
    }

    /// What a program keeps of it.
    pub(in crate::methods) fn skills(&self) -> Skills {
        Skills {
            overall: self.overall.clone(),
            tasks: self.tasks.clone(),
            collision: self.collision.clamp(f64::MIN_POSITIVE, 1.0),
            collisions: self.collisions.clone(),
        }
    }

    /// How good each voter is on a task; overall where the task was not seen.
    pub(in crate::methods) fn strengths(&self, task: Option<&str>) -> &[f64] {
        task.and_then(|task| self.tasks.get(task)).unwrap_or(&self.overall)
    }

    /// `c_t`; `c` where the task was not seen.
    pub(in crate::methods) fn collision(&self, task: Option<&str>) -> f64 {
        task.and_then(|task| self.collisions.get(task)).copied().unwrap_or(self.collision)
    }

    /// Weights of the votes on a task.
    pub(in crate::methods) fn weights(&self, task: Option<&str>, scheme: &Scheme) -> Vec<f64> {
        let strengths = self.strengths(task);
        let odds = |s: &f64| {
            let s = s.clamp(ACCURACY.0, ACCURACY.1);
            (s / (1.0 - s)).ln() - self.collision(task).ln()
        };
        let own: Vec<f64> = match scheme.weights {
            Weights::Plurality => vec![1.0; strengths.len()],
            Weights::Accuracy => strengths.to_vec(),
            Weights::LogOdds => strengths.iter().map(odds).collect(),
        };
        let clipped = |weight: f64| if scheme.is_open { weight.max(0.0) } else { weight };
        // The two of a pair share the mean of their weights, each as half a voter.
        let shared = |(voter, twin): (usize, &Option<usize>)| match twin {
            Some(twin) => clipped(f64::midpoint(own[voter], own[*twin])) / 2.0,
            None => clipped(own[voter]),
        };
        scheme.twins.iter().enumerate().map(shared).collect()
    }
}

/// What a vote is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::methods) enum Weights {
    /// `w_tj`.
    LogOdds,
    /// `s_tj`.
    Accuracy,
    /// 1.
    Plurality,
}

/// How votes are counted.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::methods) struct Scheme {
    /// What a vote is worth.
    pub(in crate::methods) weights: Weights,
    /// Whether the answers are open: weights are at least 0.
    pub(in crate::methods) is_open: bool,
    /// The voter that is the same judge with the options in the other order, of each voter.
    pub(in crate::methods) twins: Vec<Option<usize>>,
}

/// Score of the answer a vote chooses on a query, the mean of those it is drawn from; that of the strongest voter
/// where no answer has a form, `None` where the score is not known.
pub(in crate::methods) fn voted(
    votes: &Votes,
    query: usize,
    accuracies: &Accuracies,
    scheme: &Scheme,
) -> Option<f64> {
    let task = votes.tasks[query].as_deref();
    let (weights, strengths) = (accuracies.weights(task, scheme), accuracies.strengths(task));
    let numbers = weights.iter().zip(strengths);
    let ballots: Vec<Ballot<'_>> = votes
        .row(query)
        .iter()
        .zip(numbers)
        .map(|(form, (weight, strength))| Ballot {
            form: form.as_deref(),
            weight: *weight,
            strength: *strength,
        })
        .collect();
    let found = winners(&ballots);
    if found.is_empty() {
        // The program returns the strongest answer, which has none to read.
        let scored = (0..votes.n_voters()).filter(|voter| votes.scores.get(query, *voter).is_some());
        let best = scored.max_by(|a, b| strengths[*a].total_cmp(&strengths[*b]).then(b.cmp(a)))?;
        return votes.scores.get(query, best).map(f64::from);
    }
    let scores: Option<Vec<f64>> =
        found.iter().map(|voter| votes.scores.get(query, *voter).map(f64::from)).collect();
    scores.map(|scores| scores.iter().sum::<f64>() / scores.len() as f64)
}

#[cfg(test)]
mod tests;
