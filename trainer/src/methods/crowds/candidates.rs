//! Candidates of the queries of a log, with their numbers and scores.

use super::log::Log;
use super::losses::Rows;
use crate::methods::votes::weights::Accuracies;
use routewright_policy::programs::select::{Block, Grouping, Panel, Seen, Standing, features};

/// The candidates of one query.
#[derive(Debug)]
pub(super) struct Query<'a> {
    /// Row of the log.
    pub(super) row: usize,
    pub(super) panel: Panel<'a>,
    /// How good the members are over all, and on its task.
    overall: Vec<f64>,
    pub(super) own: Vec<f64>,
    collision: f64,
    /// Numbers of the candidates, row-major.
    pub(super) features: Vec<f64>,
    /// Mean score of the answers of each candidate; NaN where none is known.
    pub(super) targets: Vec<f64>,
}

impl Query<'_> {
    pub(super) fn standing(&self) -> Standing<'_> {
        Standing { overall: &self.overall, own: &self.own, collision: self.collision }
    }
}

/// How queries are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) log: &'a Log<'a>,
    pub(super) accuracies: &'a Accuracies,
    pub(super) blocks: &'a [Block],
    pub(super) grouping: Grouping,
}

impl<'a> Reader<'a> {
    /// The queries of some rows; `is_own` where the accuracies were counted on them, so that the scores of a row are
    /// left out of its numbers.
    pub(super) fn read(&self, rows: &[usize], is_own: bool) -> Vec<Query<'a>> {
        rows.iter().map(|row| self.query(*row, is_own)).collect()
    }

    fn query(&self, row: usize, is_own: bool) -> Query<'a> {
        let (log, accuracies) = (self.log, self.accuracies);
        let task = log.votes.tasks[row].as_deref();
        let (overall, own) = match is_own {
            true => accuracies.without(&log.votes, row),
            false => (accuracies.overall.clone(), accuracies.strengths(task).to_vec()),
        };
        let everyone: Vec<usize> = (0..log.models.len()).collect();
        let panel = log.panel(row, &everyone, self.grouping, &own);
        let mut query = Query {
            row,
            targets: (0..panel.candidates.len()).map(|at| target(log, row, &panel, at)).collect(),
            features: Vec::new(),
            collision: accuracies.collision(task),
            panel,
            overall,
            own,
        };
        let seen = Seen { panel: &query.panel, standing: query.standing(), vectors: None, predicted: None };
        let found = features(self.blocks, &seen);
        query.features = found.values().iter().map(|value| f64::from(*value)).collect();
        query
    }
}

fn target(log: &Log<'_>, row: usize, panel: &Panel<'_>, candidate: usize) -> f64 {
    let scores = panel.members(candidate).filter_map(|member| log.votes.scores.get(row, member));
    let (sum, n) = scores.fold((0.0, 0.0), |(sum, n), score| (sum + f64::from(score), n + 1.0));
    sum / n
}

/// The candidates whose score is known, as a loss reads them.
pub(super) fn rows(queries: &[Query<'_>], dim: usize) -> Rows {
    let mut rows = Rows { dim, starts: vec![0], ..Rows::default() };
    for query in queries {
        for (at, target) in query.targets.iter().enumerate().filter(|(_, target)| !target.is_nan()) {
            rows.features.extend_from_slice(&query.features[at * dim..(at + 1) * dim]);
            rows.targets.push(*target);
        }
        rows.starts.push(rows.targets.len());
    }
    rows
}

/// Score of the answers that the best of `found` candidates are returned by, the mean of those it is drawn from; that
/// of the strongest member's where there is no candidate. `None` where it is not known.
pub(super) fn returned(log: &Log<'_>, query: &Query<'_>, found: &[usize]) -> Option<f64> {
    let score = |member: usize| log.votes.scores.get(query.row, member).map(f64::from);
    if found.is_empty() {
        let answered = (0..query.own.len()).filter(|member| log.answer(query.row, *member).is_some());
        let best = answered.max_by(|a, b| query.own[*a].total_cmp(&query.own[*b]).then(b.cmp(a)))?;
        return score(best);
    }
    let giver = |at: &usize| query.panel.givens[query.panel.candidates[*at].best].member;
    let scores: Option<Vec<f64>> = found.iter().map(|at| score(giver(at))).collect();
    scores.map(|scores| scores.iter().sum::<f64>() / scores.len() as f64)
}
