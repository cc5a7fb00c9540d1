//! Matrix factorization of preferences: what `routellm-mf` learns (RouteLLM, arXiv 2406.18665, section 4.2).
//!
//! An arm has a unit vector `p`, a query the projection `q = x Q`; the strength of the arm on the query is
//! `w . (p * q)` and the chance that `a` beats `b` is `sigmoid(strength_a - strength_b)`. Against no
//! particular rival an arm is held against the mean strength of all: `raw = sigmoid(strength - mean)`. Of
//! two arms the difference of their raw outputs increases with the chance that the first wins.
//!
//! The three factors are stored as learned; prediction folds them into one `(dim, n_arms)` matrix.

use super::{Calibration, CostModel, FormRow};
use crate::{Batch, FormState, LoadError, PredictError, Prediction, Predictor, check_batch};
use routewright_data::Tensors;
use routewright_data::dense::{Activation, Dense};
use serde::{Deserialize, Serialize};

pub(super) const ROW: FormRow = FormRow {
    name: "factor",
    version: 1,
    title: "arm vectors times a projection of the query: chance of beating the mean arm",
    load: Factor::load,
};

/// The factors.
#[derive(Debug, Clone, PartialEq)]
pub struct Factor {
    width: usize,
    /// Vectors of the arms `(n_arms, width)`, as learned.
    arms: Vec<f32>,
    /// `Q`, `(dim, width)`.
    projection: Vec<f32>,
    /// `w`, `(width,)`.
    weight: Vec<f32>,
    calibration: Calibration,
    cost: CostModel,
    /// `(dim, n_arms)`: strengths of all arms in one product.
    folded: Dense,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    dim: usize,
    width: usize,
}

impl Factor {
    /// Factors `arms` `(n_arms, width)`, `projection` `(dim, width)` and `weight` `(width,)`.
    ///
    /// # Panics
    /// If a length does not match (a bug of the caller).
    pub fn new(
        arms: Vec<f32>,
        projection: Vec<f32>,
        weight: Vec<f32>,
        calibration: Calibration,
        cost: CostModel,
    ) -> Self {
        let width = weight.len();
        assert!(width > 0 && arms.len().is_multiple_of(width), "arms: (n_arms, width)");
        assert!(projection.len().is_multiple_of(width), "projection: (dim, width)");
        let n_arms = arms.len() / width;
        assert_eq!(cost.mean_usd().len(), n_arms, "cost: n_arms");
        let folded = fold(&arms, &projection, &weight);
        Self { width, arms, projection, weight, calibration, cost, folded }
    }

    /// Raw outputs `(n_rows, n_arms)`, in `(0, 1)`, of features `(n_rows, dim)`: before calibration.
    pub fn raw(&self, features: &[f32]) -> Vec<f32> {
        let mut raw = self.folded.forward(features);
        for row in raw.chunks_exact_mut(self.n_arms()) {
            let mean = row.iter().sum::<f32>() / row.len() as f32;
            row.iter_mut().for_each(|strength| *strength -= mean);
        }
        Activation::Sigmoid.apply(&mut raw);
        raw
    }

    fn load(mut state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        let Config { dim, width } = super::config(ROW.name, state.config)?;
        if dim == 0 || width == 0 || n_arms == 0 {
            let reason = format!("it has dim `{dim}` and width `{width}`, expected at least 1");
            return Err(LoadError::Config { form: ROW.name, reason });
        }
        let arms = state.tensors.take_f32("arms", &[n_arms, width])?;
        let projection = state.tensors.take_f32("projection", &[dim, width])?;
        let weight = state.tensors.take_f32("weight", &[width])?;
        let calibration = Calibration::restore(ROW.name, &mut state.tensors)?;
        let cost = CostModel::restore(&mut state.tensors, n_arms)?;
        Ok(Box::new(Self::new(arms, projection, weight, calibration, cost)))
    }
}

impl Predictor for Factor {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.folded.n_out()
    }

    fn dim(&self) -> Option<usize> {
        Some(self.folded.n_in())
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        check_batch(batch, self.folded.n_in())?;
        let mut score = self.raw(batch.features.values());
        self.calibration.apply(&mut score);
        let cost_usd = self.cost.predict(batch.features);
        Ok(Prediction {
            n_arms: self.n_arms(),
            score,
            score_se: None,
            cost_usd,
            neighborhoods: None,
            members: None,
            n_updates: 0,
        })
    }

    fn state(&self) -> FormState {
        let (dim, width) = (self.folded.n_in(), self.width);
        let mut tensors = Tensors::new();
        tensors.insert_f32("arms", &[self.n_arms(), width], self.arms.clone());
        tensors.insert_f32("projection", &[dim, width], self.projection.clone());
        tensors.insert_f32("weight", &[width], self.weight.clone());
        self.calibration.store(&mut tensors);
        self.cost.store(&mut tensors);
        FormState { config: serde_json::to_value(Config { dim, width }).unwrap_or_default(), tensors }
    }
}

/// `folded[i][m] = sum_j Q[i][j] w[j] p_m[j]`, `p_m` of unit length.
fn fold(arms: &[f32], projection: &[f32], weight: &[f32]) -> Dense {
    let width = weight.len();
    let n_arms = arms.len() / width;
    let mut columns = vec![0.0; arms.len()];
    for (m, arm) in arms.chunks_exact(width).enumerate() {
        let norm = arm.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
        for j in 0..width {
            columns[j * n_arms + m] = weight[j] * arm[j] / norm;
        }
    }
    let arms = Dense::new(columns, vec![0.0; n_arms], Activation::Identity);
    Dense::new(arms.forward(projection), vec![0.0; n_arms], Activation::Identity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use routewright_data::FeatureMatrix;

    fn factor() -> Factor {
        // p = (1, 0) and (0.6, 0.8); w = (2, 1); Q = [[1, 0], [0, 1], [1, 1]]
        let (arms, weight) = (vec![5.0, 0.0, 3.0, 4.0], vec![2.0, 1.0]);
        let projection = vec![1.0, 0.0, 0.0, 1.0, 1.0, 1.0];
        let calibration = Calibration::new(0.5, 0.25).unwrap();
        Factor::new(arms, projection, weight, calibration, CostModel::constant(vec![0.1, 0.2]))
    }

    #[test]
    fn the_score_is_the_chance_of_beating_the_mean_arm() {
        let features = FeatureMatrix::from_vec(1, 3, vec![1.0, 2.0, 0.5]);
        // q = (1.5, 2.5); strengths 2*1.5 = 3 and 2*0.6*1.5 + 0.8*2.5 = 3.8; mean 3.4
        let found = factor().predict(&Batch::of(&features)).unwrap().score;
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        assert!((found[0] - (0.25 + 0.5 * sigmoid(-0.4))).abs() < 1e-6, "{found:?}");
        assert!((found[1] - (0.25 + 0.5 * sigmoid(0.4))).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn what_was_stored_predicts_the_same() {
        let factor = factor();
        let restored = super::super::load("factor", 1, factor.state(), 2).unwrap();
        let features = FeatureMatrix::from_vec(2, 3, vec![0.3, 0.4, -0.5, 2.0, 0.0, 1.0]);
        let (a, b) = (factor.predict(&Batch::of(&features)), restored.predict(&Batch::of(&features)));
        assert_eq!(a.unwrap(), b.unwrap());
        assert!(super::super::load("factor", 1, factor.state(), 3).is_err());
    }
}
