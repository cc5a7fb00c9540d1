//! Votes that are drawn to arms nobody has voted for yet (online cover, arXiv 1402.0555).

use super::votes::ballots;
use super::{Selector, SelectorRow, SelectorSpec, share_best};
use crate::PredictionRow;
use serde::{Deserialize, Serialize};

pub(super) const ROW: SelectorRow = SelectorRow {
    name: "cover",
    title: "votes of an ensemble, one after the other, drawn to arms that few have voted for",
    build: |settings, _| {
        let cover: Cover = super::settings(ROW.name, settings)?;
        super::finite_at_least(ROW.name, "psi", cover.psi, 0.0)?;
        Ok(Box::new(cover))
    },
};

/// Lets the members of an ensemble vote one after the other, for the arm of the greatest
/// `score + psi e / (e + (1 - K e) share)`, where `share` is the arm's part of the votes so far and
/// `e = min(1 / K, 1 / sqrt(K n_updates))` for `K` eligible arms; the first votes without the bonus. An arm has
/// `e + (1 - K e) share` in the end.
///
/// An arm nobody voted for gains `psi`, so every arm within `psi` of the best keeps a vote; one with a vote gains
/// next to nothing once much was learned. Settings and rule are those of algorithm 5 of arXiv 1802.04064, with one
/// deviation: there a member is trained on scores with the bonuses of its time in them, here the bonus is added
/// when it votes. Without members one belief casts [`BALLOTS`] votes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cover {
    /// What an arm without votes gains, in units of score, at least 0.
    #[serde(default = "tenth")]
    pub psi: f64,
}

/// Votes that a prediction without members casts.
const BALLOTS: usize = 8;

fn tenth() -> f64 {
    0.1
}

impl Cover {
    /// Shares of the votes, one an arm.
    fn shares(self, row: &PredictionRow<'_>, eligible: &[bool], least: f64, n: f64) -> Vec<f64> {
        let mut ballots = ballots(row);
        if row.members.is_none() {
            ballots = vec![ballots.remove(0); BALLOTS];
        }
        let mut votes = vec![0.0; row.score.len()];
        for (before, ballot) in ballots.iter().enumerate() {
            let gain = |arm: usize| match before {
                0 => 0.0,
                _ => self.psi * least / (least + (1.0 - n * least) * votes[arm] / before as f64),
            };
            let sought: Vec<f64> = ballot.iter().enumerate().map(|(arm, score)| score + gain(arm)).collect();
            let vote = share_best(&sought, row, eligible);
            votes.iter_mut().zip(vote).for_each(|(sum, share)| *sum += f64::from(share));
        }
        votes.iter().map(|votes| votes / ballots.len() as f64).collect()
    }
}

impl Selector for Cover {
    fn spec(&self) -> SelectorSpec {
        SelectorSpec { name: ROW.name.to_owned(), settings: serde_json::json!({ "psi": self.psi }) }
    }

    fn distribution(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
        let n = eligible.iter().filter(|ok| **ok).count() as f64;
        let least = (1.0 / n).min(1.0 / (n * row.n_updates as f64).sqrt());
        let shares = self.shares(row, eligible, least, n);
        let mix = |(share, ok): (&f64, &bool)| f64::from(u8::from(*ok)) * (least + (1.0 - n * least) * share);
        super::normalized(&shares.iter().zip(eligible).map(mix).collect::<Vec<_>>())
    }

    fn explore(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Option<Vec<f32>> {
        Some(self.distribution(row, eligible))
    }
}
