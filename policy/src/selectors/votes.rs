//! Each arm as often as members of an ensemble hold it for the best (bagging).

use super::argmax::NoSettings;
use super::{Selector, SelectorRow, SelectorSpec, share_best};
use crate::PredictionRow;

pub(super) const ROW: SelectorRow = SelectorRow {
    name: "votes",
    title: "each arm as often as members of an ensemble hold it for the best",
    build: |settings, _| {
        let NoSettings {} = super::settings(ROW.name, settings)?;
        Ok(Box::new(Votes))
    },
};

/// Gives every member of an ensemble one vote, which it shares among the arms it holds for the best.
///
/// The online bootstrap of arXiv 1312.6228 and of "bag" in arXiv 1802.04064. Without members it is `argmax`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Votes;

/// The scores of each member, `(n_members, n_arms)`; those of the prediction where there are no members.
pub(super) fn ballots(row: &PredictionRow<'_>) -> Vec<Vec<f64>> {
    let score = |by: &[f32]| row.score.iter().zip(by).map(|(s, d)| f64::from(*s) + f64::from(*d)).collect();
    match row.members {
        Some(members) => members.chunks_exact(row.score.len()).map(score).collect(),
        None => vec![score(&vec![0.0; row.score.len()])],
    }
}

impl Selector for Votes {
    fn spec(&self) -> SelectorSpec {
        SelectorSpec::named(ROW.name)
    }

    fn distribution(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
        let ballots = ballots(row);
        let mut votes = vec![0.0; row.score.len()];
        for ballot in &ballots {
            let vote = share_best(ballot, row, eligible);
            votes.iter_mut().zip(vote).for_each(|(sum, share)| *sum += f64::from(share));
        }
        super::normalized(&votes)
    }

    fn explore(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Option<Vec<f32>> {
        Some(self.distribution(row, eligible))
    }
}
