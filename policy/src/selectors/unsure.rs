//! The best arm where the prediction is sure of it, else one of the best at random (policy 2 of *Harnessing the
//! Power of Multiple Minds*, arXiv 2405.00467).

use super::{Argmax, Selector, SelectorError, SelectorRow, SelectorSpec};
use crate::PredictionRow;
use serde::{Deserialize, Serialize};

pub(super) const ROW: SelectorRow = SelectorRow {
    name: "unsure",
    title: "greatest predicted score where it is above a level, else a random arm of the best few",
    build: |settings, _| {
        let unsure: Unsure = super::settings("unsure", settings)?;
        super::finite_at_least("unsure", "confidence", unsure.confidence, 0.0)?;
        if unsure.top == 0 {
            let reason = "`top` is `0`, expected at least 1".to_owned();
            return Err(SelectorError::Settings { name: "unsure", reason });
        }
        Ok(Box::new(unsure))
    },
};

/// Chooses the greatest score where it is above `confidence`, else draws evenly among the `top` best.
///
/// Arms that tie for the last of those places share what is left of it evenly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unsure {
    /// Score at or below which the best arm is not sure, at least 0.
    pub confidence: f64,
    /// Arms that are drawn among, at least 1.
    pub top: usize,
}

impl Selector for Unsure {
    fn spec(&self) -> SelectorSpec {
        let settings = serde_json::json!({ "confidence": self.confidence, "top": self.top });
        SelectorSpec { name: ROW.name.to_owned(), settings }
    }

    fn distribution(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
        let mut scores: Vec<f32> =
            row.score.iter().zip(eligible).filter(|(_, ok)| **ok).map(|(s, _)| *s).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        let sure = scores.first().is_none_or(|best| f64::from(*best) > self.confidence);
        if sure {
            return Argmax.distribution(row, eligible);
        }
        let places = self.top.min(scores.len());
        let last = scores[places - 1];
        let above = scores.iter().filter(|score| **score > last).count();
        let level = scores.iter().filter(|score| **score == last).count();
        let (whole, part) = (1.0 / places as f64, (places - above) as f64 / (places * level) as f64);
        let share = |(score, ok): (&f32, &bool)| match (ok, *score > last, *score == last) {
            (true, true, _) => whole as f32,
            (true, _, true) => part as f32,
            _ => 0.0,
        };
        row.score.iter().zip(eligible).map(share).collect()
    }
}
