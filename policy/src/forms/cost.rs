//! What a call will cost: a mean per arm, or a linear model of the logarithm of the price.
//!
//! Every form that has no better idea of its own (neighbors have one) carries a [`CostModel`].

use crate::LoadError;
use routewright_data::{FeatureMatrix, TensorError, Tensors};

/// Predicted price of a call, per arm.
///
/// With slopes the price of arm `m` on features `x` is `exp(intercept_m + slope_m . x)`, clamped to the
/// range seen in training; without, it is the mean of the arm. An arm without any logged cost predicts `NaN`.
#[derive(Debug, Clone, PartialEq)]
pub struct CostModel {
    mean_usd: Vec<f32>,
    log_linear: Option<LogLinear>,
}

#[derive(Debug, Clone, PartialEq)]
struct LogLinear {
    dim: usize,
    /// `(n_arms, dim + 1)`, intercept last.
    weights: Vec<f32>,
    /// `(n_arms, 2)`: least and greatest price seen, US dollars.
    range_usd: Vec<f32>,
}

impl CostModel {
    /// One mean price an arm, US dollars; `NaN` where the log has none.
    pub fn constant(mean_usd: Vec<f32>) -> Self {
        Self { mean_usd, log_linear: None }
    }

    /// A log-linear model: `weights` is `(n_arms, dim + 1)` with the intercept last, `range_usd` is
    /// `(n_arms, 2)`. An arm whose mean is `NaN` stays unknown.
    ///
    /// # Panics
    /// If a length does not match (a bug of the caller).
    pub fn log_linear(mean_usd: Vec<f32>, dim: usize, weights: Vec<f32>, range_usd: Vec<f32>) -> Self {
        assert_eq!(weights.len(), mean_usd.len() * (dim + 1), "cost weights: (n_arms, dim + 1)");
        assert_eq!(range_usd.len(), mean_usd.len() * 2, "cost range: (n_arms, 2)");
        Self { mean_usd, log_linear: Some(LogLinear { dim, weights, range_usd }) }
    }

    /// Adds an arm at a price, US dollars, whatever the query; `None` leaves it unknown.
    pub fn add_arm(&mut self, usd: Option<f64>) {
        self.mean_usd.push(usd.map_or(f32::NAN, |usd| usd as f32));
        if let Some(model) = &mut self.log_linear {
            model.weights.resize(model.weights.len() + model.dim + 1, 0.0);
            model.range_usd.extend([0.0, 0.0]);
        }
        if let Some(usd) = usd {
            self.fix(self.mean_usd.len() - 1, usd as f32);
        }
    }

    /// Moves the price of an arm to a mean of `usd`; which queries are dear among its own stays as it was.
    ///
    /// # Panics
    /// If there is no such arm (a bug of the caller).
    pub fn reprice(&mut self, arm: usize, usd: f64) {
        let (old, usd) = (self.mean_usd[arm], usd as f32);
        self.mean_usd[arm] = usd;
        let factor = usd / old;
        if !(factor.is_finite() && factor > 0.0) {
            return self.fix(arm, usd);
        }
        if let Some(model) = &mut self.log_linear {
            model.weights[arm * (model.dim + 1) + model.dim] += factor.ln();
            model.range_usd[arm * 2..arm * 2 + 2].iter_mut().for_each(|usd| *usd *= factor);
        }
    }

    /// Gives an arm one price for all queries.
    fn fix(&mut self, arm: usize, usd: f32) {
        if let Some(model) = &mut self.log_linear {
            let row = &mut model.weights[arm * (model.dim + 1)..(arm + 1) * (model.dim + 1)];
            row.fill(0.0);
            // The range gives the price; a logarithm of 0 could not be stored.
            row[model.dim] = usd.max(f32::MIN_POSITIVE).ln();
            model.range_usd[arm * 2..arm * 2 + 2].fill(usd);
        }
    }

    /// Mean price of each arm.
    pub fn mean_usd(&self) -> &[f32] {
        &self.mean_usd
    }

    /// Prices of shape `(features.n_rows(), n_arms)`, US dollars, `NaN` where unknown.
    pub fn predict(&self, features: &FeatureMatrix) -> Vec<f32> {
        let n = features.n_rows();
        let Some(model) = &self.log_linear else {
            return self.mean_usd.repeat(n);
        };
        let mut out = Vec::with_capacity(n * self.mean_usd.len());
        for row in 0..n {
            let x = features.row(row);
            for (arm, mean) in self.mean_usd.iter().enumerate() {
                out.push(if mean.is_nan() { f32::NAN } else { model.price(arm, x) });
            }
        }
        out
    }

    /// Stores the model under names that begin with `cost.`; unknown means are stored as `-1`.
    pub fn store(&self, tensors: &mut Tensors) {
        let n = self.mean_usd.len();
        let means = self.mean_usd.iter().map(|v| if v.is_nan() { -1.0 } else { *v }).collect();
        tensors.insert_f32("cost.mean_usd", &[n], means);
        if let Some(model) = &self.log_linear {
            tensors.insert_f32("cost.weights", &[n, model.dim + 1], model.weights.clone());
            tensors.insert_f32("cost.range_usd", &[n, 2], model.range_usd.clone());
        }
    }

    /// Restores what [`CostModel::store`] stored.
    ///
    /// # Errors
    /// If a tensor is missing, misshapen or not finite.
    pub fn restore(tensors: &mut Tensors, n_arms: usize) -> Result<Self, LoadError> {
        let stored = tensors.take_f32("cost.mean_usd", &[n_arms])?;
        let mean_usd = stored.into_iter().map(|v| if v < 0.0 { f32::NAN } else { v }).collect();
        let Ok(shape) = tensors.shape("cost.weights") else {
            return Ok(Self::constant(mean_usd));
        };
        let width = shape.get(1).copied().unwrap_or(0);
        if width == 0 {
            let (name, found) = ("cost.weights".to_owned(), shape);
            return Err(TensorError::WrongShape { name, found, expected: vec![n_arms, 1] }.into());
        }
        let weights = tensors.take_f32("cost.weights", &[n_arms, width])?;
        let range_usd = tensors.take_f32("cost.range_usd", &[n_arms, 2])?;
        if let Some(range) = range_usd.chunks_exact(2).find(|range| range[0] > range[1]) {
            let reason = format!("a price lies in [{}, {}], expected the lesser first", range[0], range[1]);
            return Err(LoadError::Config { form: "cost", reason });
        }
        Ok(Self::log_linear(mean_usd, width - 1, weights, range_usd))
    }
}

impl LogLinear {
    fn price(&self, arm: usize, x: &[f32]) -> f32 {
        let w = &self.weights[arm * (self.dim + 1)..(arm + 1) * (self.dim + 1)];
        let log_usd = w[self.dim] + x.iter().zip(w).map(|(x, w)| x * w).sum::<f32>();
        log_usd.exp().clamp(self.range_usd[arm * 2], self.range_usd[arm * 2 + 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_linear_price_is_exp_of_the_line_within_the_seen_range() {
        let model = CostModel::log_linear(
            vec![0.1, f32::NAN],
            1,
            vec![2.0, -1.0, 0.0, 0.0],
            vec![0.01, 1.5, 0.0, 0.0],
        );
        let features = FeatureMatrix::from_vec(2, 1, vec![0.5, 9.0]);
        let cost = model.predict(&features);
        assert!((cost[0] - 1.0).abs() < 1e-6); // exp(-1 + 2 * 0.5)
        assert_eq!(cost[2], 1.5); // exp(17) clamped
        assert!(cost[1].is_nan() && cost[3].is_nan());
    }

    #[test]
    fn a_price_is_moved_and_an_arm_is_added() {
        let features = FeatureMatrix::from_vec(1, 1, vec![0.5]);
        let mut plain = CostModel::constant(vec![0.5, f32::NAN]);
        let mut linear = CostModel::log_linear(
            vec![0.5, f32::NAN],
            1,
            vec![2.0, -1.0, 0.0, 0.0],
            vec![0.01, 1.5, 0.0, 0.0],
        );
        for model in [&mut plain, &mut linear] {
            model.reprice(0, 0.25);
            model.reprice(1, 0.1);
            model.add_arm(Some(0.2));
            model.add_arm(None);
        }
        let cost = plain.predict(&features);
        assert_eq!(cost[..3], [0.25, 0.1, 0.2]);
        // exp(-1 + 2 * 0.5) at the old price, half of it at the new one.
        let cost = linear.predict(&features);
        assert!(
            (cost[0] - 0.5).abs() < 1e-6 && cost[1] == 0.1 && cost[2] == 0.2 && cost[3].is_nan(),
            "{cost:?}"
        );
        linear.reprice(2, 0.0);
        let mut tensors = Tensors::new();
        linear.store(&mut tensors);
        assert_eq!(CostModel::restore(&mut tensors, 4).unwrap().predict(&features)[2], 0.0);
    }

    #[test]
    fn what_was_stored_is_restored() {
        for model in [
            CostModel::constant(vec![0.5, f32::NAN]),
            CostModel::log_linear(vec![0.5, 0.25], 1, vec![1.0, 2.0, 3.0, 4.0], vec![0.1, 0.2, 0.3, 0.4]),
        ] {
            let mut tensors = Tensors::new();
            model.store(&mut tensors);
            let restored = CostModel::restore(&mut tensors, 2).unwrap();
            assert_eq!(format!("{restored:?}"), format!("{model:?}"));
        }
    }
}
