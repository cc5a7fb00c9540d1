//! One increasing line from the raw output of a form to the scale of the log, shared by all arms.
//!
//! A contrastive form puts out a cosine similarity, a pairwise one a chance of winning; both rank the
//! arms, neither is a score. Selectors that weigh score against cost need score *differences* on the
//! scale of the log. One line with a positive slope, the same for every arm and query, gives them that and
//! leaves every ranking as it was.

use crate::LoadError;
use routewright_data::Tensors;

/// `score = intercept + slope * raw`, `slope > 0`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calibration {
    slope: f32,
    intercept: f32,
}

impl Default for Calibration {
    fn default() -> Self {
        Self { slope: 1.0, intercept: 0.0 }
    }
}

impl Calibration {
    /// The line of the given slope and intercept; `None` unless both are finite and the slope is positive.
    pub fn new(slope: f32, intercept: f32) -> Option<Self> {
        (slope.is_finite() && intercept.is_finite() && slope > 0.0).then_some(Self { slope, intercept })
    }

    /// Score per unit of raw output.
    pub fn slope(&self) -> f32 {
        self.slope
    }

    /// Score at raw output 0.
    pub fn intercept(&self) -> f32 {
        self.intercept
    }

    /// Maps raw outputs in place.
    pub fn apply(&self, raw: &mut [f32]) {
        raw.iter_mut().for_each(|value| *value = self.intercept + self.slope * *value);
    }

    pub(super) fn store(&self, tensors: &mut Tensors) {
        tensors.insert_f32("calibration", &[2], vec![self.slope, self.intercept]);
    }

    pub(super) fn restore(form: &'static str, tensors: &mut Tensors) -> Result<Self, LoadError> {
        let stored = tensors.take_f32("calibration", &[2])?;
        Self::new(stored[0], stored[1]).ok_or_else(|| LoadError::Config {
            form,
            reason: format!("its calibration has slope `{}`, expected a positive number", stored[0]),
        })
    }
}
