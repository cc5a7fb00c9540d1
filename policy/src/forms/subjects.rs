//! A classifier of subjects and a table of scores for each (subject level of Bench-CoE, arXiv 2412.04167).
//!
//! `subject = argmax(layers(x) W + b)`, the first of equals; the score of an arm is its entry in the row of that
//! subject.

use super::neural::{insert_dense, take_dense};
use super::stack::LayerConfig;
use super::{CostModel, FormRow, Stack};
use crate::{Batch, FormState, LoadError, PredictError, Prediction, Predictor, check_batch};
use routewright_data::Tensors;
use routewright_data::dense::{Activation, Dense};
use serde::{Deserialize, Serialize};

pub(super) const ROW: FormRow = FormRow {
    name: "subjects",
    version: 1,
    title: "a classifier of subjects and a table of scores for each",
    load: Subjects::load,
};

/// The classifier and the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Subjects {
    stack: Stack,
    head: Dense,
    /// `(n_subjects, n_arms)`.
    table: Vec<f32>,
    cost: CostModel,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    dim: usize,
    layers: Vec<LayerConfig>,
    subjects: usize,
}

impl Subjects {
    /// Layers over features of width `dim`, a head with an output for each subject, and a row of scores for each.
    ///
    /// # Panics
    /// If widths do not follow each other (a bug of the caller).
    pub fn new(dim: usize, layers: Vec<Dense>, head: Dense, table: Vec<f32>, cost: CostModel) -> Self {
        let stack = Stack::new(dim, layers);
        assert_eq!(head.n_in(), stack.width(), "subjects: width of the head");
        assert!(head.n_out() > 0, "subjects: at least one");
        assert_eq!(table.len(), head.n_out() * cost.mean_usd().len(), "subjects: (n_subjects, n_arms)");
        Self { stack, head, table, cost }
    }

    fn load(mut state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        let Config { dim, layers, subjects } = super::config(ROW.name, state.config)?;
        if subjects == 0 {
            let reason = "it has `0` subjects, expected at least 1".to_owned();
            return Err(LoadError::Config { form: ROW.name, reason });
        }
        let stack = Stack::restore(ROW.name, dim, &layers, &mut state.tensors)?;
        let shape = [stack.width(), subjects];
        let head = take_dense(&mut state.tensors, "head", shape, Activation::Identity)?;
        let table = state.tensors.take_f32("table", &[subjects, n_arms])?;
        let cost = CostModel::restore(&mut state.tensors, n_arms)?;
        Ok(Box::new(Self { stack, head, table, cost }))
    }

    /// The number of the subject of each row of features.
    fn subjects(&self, features: &[f32]) -> Vec<usize> {
        let outputs = self.head.forward(&self.stack.hidden(features));
        let greatest = |row: &[f32]| {
            let best = row
                .iter()
                .enumerate()
                .fold((0, f32::NEG_INFINITY), |best, (at, z)| if *z > best.1 { (at, *z) } else { best });
            best.0
        };
        outputs.chunks_exact(self.head.n_out()).map(greatest).collect()
    }
}

impl Predictor for Subjects {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.cost.mean_usd().len()
    }

    fn dim(&self) -> Option<usize> {
        Some(self.stack.dim())
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        check_batch(batch, self.stack.dim())?;
        let n_arms = self.n_arms();
        let subjects = self.subjects(batch.features.values());
        let score =
            subjects.iter().flat_map(|at| &self.table[at * n_arms..(at + 1) * n_arms]).copied().collect();
        let cost_usd = self.cost.predict(batch.features);
        Ok(Prediction {
            n_arms,
            score,
            score_se: None,
            cost_usd,
            neighborhoods: None,
            members: None,
            n_updates: 0,
        })
    }

    fn state(&self) -> FormState {
        let mut tensors = Tensors::new();
        let layers = self.stack.store(&mut tensors);
        insert_dense(&mut tensors, "head", &self.head);
        tensors.insert_f32("table", &[self.head.n_out(), self.n_arms()], self.table.clone());
        self.cost.store(&mut tensors);
        let config = Config { dim: self.stack.dim(), layers, subjects: self.head.n_out() };
        FormState { config: serde_json::to_value(config).unwrap_or_default(), tensors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routewright_data::FeatureMatrix;

    fn form() -> Subjects {
        let head = Dense::new(vec![1.0, -1.0, 0.0], vec![0.0, 0.0, 0.4], Activation::Identity);
        let table = vec![0.9, 0.1, 0.2, 0.8, 0.5, 0.5];
        Subjects::new(1, Vec::new(), head, table, CostModel::constant(vec![0.1, f32::NAN]))
    }

    #[test]
    fn the_row_of_the_likeliest_subject_is_the_score() {
        let features = FeatureMatrix::from_vec(3, 1, vec![2.0, -2.0, 0.1]);
        let found = form().predict(&Batch::of(&features)).unwrap();
        assert_eq!(found.score, [0.9, 0.1, 0.2, 0.8, 0.5, 0.5]);
        assert!(found.cost_usd[1].is_nan());
    }

    #[test]
    fn what_was_stored_predicts_the_same_and_what_is_wrong_is_refused() {
        let features = FeatureMatrix::from_vec(2, 1, vec![0.7, -0.2]);
        let restored = crate::forms::restored(&form()).unwrap();
        let (a, b) = (form().predict(&Batch::of(&features)), restored.predict(&Batch::of(&features)));
        assert_eq!(a.unwrap().score, b.unwrap().score);
        for subjects in [0, 2, 4] {
            let mut state = form().state();
            state.config["subjects"] = serde_json::json!(subjects);
            assert!(crate::forms::load("subjects", 1, state, 2).is_err(), "{subjects}");
        }
    }
}
