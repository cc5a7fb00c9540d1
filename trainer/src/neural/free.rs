//! Parameters that belong to no layer, whose gradient the caller works out.

use super::optim::AdamW;

/// Numbers with their optimiser.
#[derive(Debug, Clone)]
pub struct FreeParameters {
    values: Vec<f32>,
    moments: [Vec<f32>; 2],
    optimizer: AdamW,
    step: u64,
}

impl FreeParameters {
    /// Numbers at the start of training.
    pub fn new(values: Vec<f32>, optimizer: AdamW) -> Self {
        let zeros = vec![0.0; values.len()];
        Self { values, moments: [zeros.clone(), zeros], optimizer, step: 0 }
    }

    /// As they are now.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Goes on with another learning rate.
    pub fn set_rate(&mut self, rate: f32) {
        self.optimizer.rate = rate;
    }

    /// Takes a step against the gradient, of the same length.
    pub fn learn(&mut self, gradient: &[f32]) {
        self.step += 1;
        let [first, second] = &mut self.moments;
        self.optimizer.at(self.step).update(&mut self.values, first, second, gradient);
    }
}
