//! Whether logged propensities are what happened: chosen frequencies against stated probabilities.
//!
//! A stated probability `p` of an arm is a promise about how often it is chosen. Summed over all candidates
//! of all rounds, within a bin of `p` or for one arm, the number of choices has mean `sum p` and a variance
//! of at most `sum p (1 - p)`; `z` is the excess in standard deviations. Propensities that were logged before
//! a filter, or by another policy than the one that chose, show up here and nowhere else.

use routewright_data::log::DecisionRow;
use serde::Serialize;
use std::collections::BTreeMap;

/// Upper edges of the bins of stated probabilities.
const EDGES: [f64; 10] = [0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0];
/// Standard deviations from which chance is no explanation.
pub(super) const Z_MAX: f64 = 4.0;

/// Stated and happened within a bin or for an arm.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CalibrationRow {
    /// The bin as `low..high`, or the model.
    pub name: String,
    /// Candidates counted, over all rounds.
    pub candidates: u64,
    /// Choices expected by the stated probabilities.
    pub expected: f64,
    /// Choices made.
    pub chosen: f64,
    /// Their difference in standard deviations; 0 where nothing was left to chance.
    pub z: f64,
    #[serde(skip)]
    variance: f64,
}

impl CalibrationRow {
    fn add(&mut self, mass: f64, p: f64, is_chosen: bool) {
        self.candidates += 1;
        self.expected += mass * p;
        self.variance += mass * mass * p * (1.0 - p);
        self.chosen += if is_chosen { mass } else { 0.0 };
    }

    fn finish(&mut self, name: String) {
        self.name = name;
        // Less than a choice's worth of chance is rounding of the probabilities, not chance.
        if self.variance > 0.05 {
            self.z = (self.chosen - self.expected) / self.variance.sqrt();
        }
    }
}

/// Stated and happened, by stated probability and by arm.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Calibration {
    /// By stated probability; empty bins are left out.
    pub bins: Vec<CalibrationRow>,
    /// By arm.
    pub arms: Vec<CalibrationRow>,
    /// Greatest `|z|` of all.
    pub z_max: f64,
}

/// Counts while rows stream by.
#[derive(Debug, Default)]
pub(super) struct Counting {
    bins: [CalibrationRow; EDGES.len()],
    arms: BTreeMap<String, CalibrationRow>,
}

impl Counting {
    pub(super) fn add(&mut self, row: &DecisionRow) {
        let mass = row.weight();
        for (model, &p) in row.candidates.iter().zip(&row.propensities) {
            let p = f64::from(p);
            let bin = EDGES.iter().position(|edge| p <= *edge).unwrap_or(EDGES.len() - 1);
            let is_chosen = *model == row.model;
            self.bins[bin].add(mass, p, is_chosen);
            if !self.arms.contains_key(model) {
                self.arms.insert(model.clone(), CalibrationRow::default());
            }
            if let Some(arm) = self.arms.get_mut(model) {
                arm.add(mass, p, is_chosen);
            }
        }
    }

    pub(super) fn finish(self) -> Calibration {
        let mut bins = Vec::new();
        for (at, mut bin) in self.bins.into_iter().enumerate() {
            let low = if at == 0 { 0.0 } else { EDGES[at - 1] };
            bin.finish(format!("{low}..{}", EDGES[at]));
            bins.push(bin);
        }
        bins.retain(|bin| bin.candidates > 0);
        let finish = |(model, mut arm): (String, CalibrationRow)| {
            arm.finish(model);
            arm
        };
        let arms: Vec<CalibrationRow> = self.arms.into_iter().map(finish).collect();
        let z_max = bins.iter().chain(&arms).map(|row| row.z.abs()).fold(0.0, f64::max);
        Calibration { bins, arms, z_max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt as _;
    use routewright_data::rng;

    /// Decisions between `a` and `b` that state `stated` for `a` and take it with probability `real`.
    fn counted(stated: f32, real: f64) -> Calibration {
        let mut rng = rng::stream(2, "ope calibration");
        let mut counting = Counting::default();
        for _ in 0..2000 {
            let model = if rng.random_bool(real) { "a" } else { "b" };
            counting.add(&DecisionRow {
                candidates: ["a".to_owned(), "b".to_owned()].into(),
                propensities: vec![stated, 1.0 - stated],
                model: model.to_owned(),
                ..DecisionRow::default()
            });
        }
        counting.finish()
    }

    #[test]
    fn what_was_stated_is_held_against_what_happened() {
        let right = counted(0.25, 0.25);
        assert!(right.z_max < Z_MAX, "{right:?}");
        assert_eq!(
            right.bins.iter().map(|bin| bin.name.as_str()).collect::<Vec<_>>(),
            ["0.2..0.3", "0.7..0.9"]
        );
        assert_eq!((right.bins[0].candidates, right.bins[0].expected), (2000, 500.0));
        // 0.25 stated, 0.5 taken: some 500 choices too many against a deviation of 19.4.
        let wrong = counted(0.25, 0.5);
        assert!((wrong.arms[0].z - 500.0 / 19.36).abs() < 5.0 && wrong.z_max > Z_MAX, "{wrong:?}");
        // Nothing was left to chance.
        assert_eq!(counted(1.0, 1.0).z_max, 0.0);
    }
}
