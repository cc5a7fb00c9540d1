//! Another selector on what an arm is worth after its price: score minus lambda times cost.

use super::{Selector, SelectorRow, SelectorSpec};
use crate::PredictionRow;
use crate::distribution::fitted;
use serde::{Deserialize, Serialize};

pub(super) const ROW: SelectorRow = SelectorRow {
    name: "priced",
    title: "the selector within, on predicted score - lambda * predicted cost",
    build: |settings, arms| {
        let settings: Settings = super::settings(ROW.name, settings)?;
        super::finite_at_least(ROW.name, "lambda", settings.lambda, 0.0)?;
        let within = super::build(&settings.selector, arms)?;
        Ok(Box::new(Priced { settings, within }))
    },
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Score given up to save one US dollar, at least 0.
    lambda: f64,
    /// What chooses.
    selector: SelectorSpec,
}

/// Takes the price of every arm off its score before another selector chooses.
///
/// An arm of unknown cost is eligible only when `lambda` is 0 or no eligible arm has a known cost.
#[derive(Debug)]
pub struct Priced {
    settings: Settings,
    within: Box<dyn Selector>,
}

/// Scores less `lambda` times the cost, and who stays eligible: an arm of unknown cost does only where
/// `lambda` is 0 or no eligible arm has a known cost.
pub fn net_scores(row: &PredictionRow<'_>, eligible: &[bool], lambda: f64) -> (Vec<f32>, Vec<bool>) {
    let priced = row.cost_usd.iter().zip(eligible).any(|(cost, &ok)| ok && !cost.is_nan());
    if lambda == 0.0 || !priced {
        return (row.score.to_vec(), eligible.to_vec());
    }
    let net = |(score, cost): (&f32, &f32)| {
        let price = if cost.is_nan() { 0.0 } else { lambda * f64::from(*cost) };
        f64::from(*score) - price
    };
    let eligible: Vec<bool> =
        eligible.iter().zip(row.cost_usd).map(|(ok, cost)| *ok && !cost.is_nan()).collect();
    let net: Vec<f64> = row.score.iter().zip(row.cost_usd).map(net).collect();
    (fitted(&net, &eligible), eligible)
}

impl Selector for Priced {
    fn spec(&self) -> SelectorSpec {
        let settings = serde_json::to_value(&self.settings).unwrap_or_default();
        SelectorSpec { name: ROW.name.to_owned(), settings }
    }

    fn distribution(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
        let (score, eligible) = net_scores(row, eligible, self.settings.lambda);
        self.within.distribution(&PredictionRow { score: &score, ..*row }, &eligible)
    }

    fn lambda(&self) -> f64 {
        self.settings.lambda + self.within.lambda()
    }

    fn explore(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Option<Vec<f32>> {
        self.within.explore(row, eligible)
    }
}
