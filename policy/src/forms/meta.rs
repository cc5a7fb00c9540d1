//! One network for all arms, which reads the query and which arm it is asked of (FORC's meta-model, arXiv 2308.06077).
//!
//! `score_m(x) = sigmoid(w . relu(A x + b_m) + c)`: a hidden layer over the features and a one-hot code of the arm,
//! of which `b_m` is the part that the code selects. `A x` is computed once a query, whatever the number of arms.

use super::{CostModel, FormRow};
use crate::{Batch, FormState, LoadError, PredictError, Prediction, Predictor, check_batch};
use routewright_data::Tensors;
use routewright_data::dense::sigmoid;
use serde::{Deserialize, Serialize};

pub(super) const ROW: FormRow = FormRow {
    name: "meta",
    version: 1,
    title: "one network that reads the query and the arm it is asked of",
    load: Meta::load,
};

/// Weights of the network.
#[derive(Debug, Clone, PartialEq)]
pub struct MetaWeights {
    /// Width of the features.
    pub dim: usize,
    /// Width of the hidden layer.
    pub hidden: usize,
    /// `A`, `(hidden, dim)`.
    pub query: Vec<f32>,
    /// `b`, `(n_arms, hidden)`.
    pub arms: Vec<f32>,
    /// `w`, `(hidden)`.
    pub out: Vec<f32>,
    /// `c`.
    pub bias: f32,
}

impl MetaWeights {
    /// `A x`.
    pub fn trunk(&self, x: &[f32]) -> Vec<f32> {
        let unit = |row: &[f32]| row.iter().zip(x).map(|(a, x)| a * x).sum();
        self.query.chunks_exact(self.dim.max(1)).map(unit).collect()
    }

    /// Log-odds that an arm answers right, from `A x`.
    pub fn logit(&self, trunk: &[f32], arm: usize) -> f32 {
        let own = &self.arms[arm * self.hidden..(arm + 1) * self.hidden];
        let units = trunk.iter().zip(own).zip(&self.out);
        self.bias + units.map(|((trunk, own), out)| (trunk + own).max(0.0) * out).sum::<f32>()
    }
}

/// The network and what calls cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Meta {
    weights: MetaWeights,
    cost: CostModel,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    dim: usize,
    hidden: usize,
}

impl Meta {
    /// The form of trained weights.
    ///
    /// # Panics
    /// If a length does not match (a bug of the caller).
    pub fn new(weights: MetaWeights, cost: CostModel) -> Self {
        let MetaWeights { dim, hidden, query, arms, out, .. } = &weights;
        assert_eq!(query.len(), hidden * dim, "meta: query (hidden, dim)");
        assert_eq!(arms.len(), cost.mean_usd().len() * hidden, "meta: arms (n_arms, hidden)");
        assert_eq!(out.len(), *hidden, "meta: out (hidden)");
        Self { weights, cost }
    }

    fn load(state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        let FormState { config, mut tensors } = state;
        let Config { dim, hidden } = super::config(ROW.name, config)?;
        let weights = MetaWeights {
            dim,
            hidden,
            query: tensors.take_f32("query", &[hidden, dim])?,
            arms: tensors.take_f32("arms", &[n_arms, hidden])?,
            out: tensors.take_f32("out", &[hidden])?,
            bias: tensors.take_f32("bias", &[1])?[0],
        };
        let cost = CostModel::restore(&mut tensors, n_arms)?;
        Ok(Box::new(Self { weights, cost }))
    }
}

impl Predictor for Meta {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.cost.mean_usd().len()
    }

    fn dim(&self) -> Option<usize> {
        Some(self.weights.dim)
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        check_batch(batch, self.weights.dim)?;
        let n_arms = self.n_arms();
        let mut score = Vec::with_capacity(batch.n_queries() * n_arms);
        for row in 0..batch.n_queries() {
            let trunk = self.weights.trunk(batch.features.row(row));
            score.extend((0..n_arms).map(|arm| sigmoid(self.weights.logit(&trunk, arm))));
        }
        Ok(Prediction {
            n_arms,
            score,
            score_se: None,
            cost_usd: self.cost.predict(batch.features),
            neighborhoods: None,
            members: None,
            n_updates: 0,
        })
    }

    fn state(&self) -> FormState {
        let MetaWeights { dim, hidden, query, arms, out, bias } = &self.weights;
        let mut tensors = Tensors::new();
        tensors.insert_f32("query", &[*hidden, *dim], query.clone());
        tensors.insert_f32("arms", &[self.n_arms(), *hidden], arms.clone());
        tensors.insert_f32("out", &[*hidden], out.clone());
        tensors.insert_f32("bias", &[1], vec![*bias]);
        self.cost.store(&mut tensors);
        let config = serde_json::to_value(Config { dim: *dim, hidden: *hidden }).unwrap_or_default();
        FormState { config, tensors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routewright_data::FeatureMatrix;

    #[test]
    fn scores_follow_the_formula_and_survive_the_state() {
        let weights = MetaWeights {
            dim: 2,
            hidden: 2,
            query: vec![1.0, 0.0, 0.5, -1.0],
            arms: vec![0.0, 0.1, -2.0, 1.0],
            out: vec![0.4, -0.3],
            bias: 0.2,
        };
        let form = Meta::new(weights, CostModel::constant(vec![0.1, f32::NAN]));
        let features = FeatureMatrix::from_vec(1, 2, vec![0.6, 0.8]);
        let score = form.predict(&Batch::of(&features)).unwrap().score;
        // A x = (0.6, -0.5). Arm 0: relu(0.6, -0.4) = (0.6, 0). Arm 1: relu(-1.4, 0.5) = (0, 0.5).
        assert!((score[0] - sigmoid(0.2 + 0.24)).abs() < 1e-6, "{score:?}");
        assert!((score[1] - sigmoid(0.2 - 0.15)).abs() < 1e-6, "{score:?}");
        let restored = crate::forms::restored(&form).unwrap();
        assert_eq!(restored.predict(&Batch::of(&features)).unwrap().score, score);
        let mut state = form.state();
        state.config["hidden"] = serde_json::json!(3);
        assert!(crate::forms::load(ROW.name, 1, state, 2).is_err());
    }
}
