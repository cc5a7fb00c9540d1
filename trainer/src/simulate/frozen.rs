//! A policy that was fitted on labelled queries and learns nothing from rewards: what bandits have to beat.

use routewright_data::FeatureMatrix;
use routewright_policy::online::{Experience, LearnError, Learner};
use routewright_policy::{Batch, FormState, PredictError, Prediction, Predictor};
use std::sync::Arc;

/// A predictor in the place of a learner.
#[derive(Debug, Clone)]
pub(super) struct Frozen(pub(super) Arc<dyn Predictor>);

impl Predictor for Frozen {
    fn form(&self) -> &'static str {
        self.0.form()
    }

    fn n_arms(&self) -> usize {
        self.0.n_arms()
    }

    fn dim(&self) -> Option<usize> {
        self.0.dim()
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        self.0.predict(batch)
    }

    fn state(&self) -> FormState {
        self.0.state()
    }
}

impl Learner for Frozen {
    fn learn(&mut self, _: &Experience<'_>) -> Result<(), LearnError> {
        Ok(())
    }

    fn predict_into(
        &mut self,
        features: &[f32],
        source: Option<&str>,
        score: &mut [f32],
        score_se: &mut [f32],
    ) {
        let row = FeatureMatrix::from_vec(1, features.len(), features.to_vec());
        let batch = Batch { sources: &[source], ..Batch::of(&row) };
        // The features are those it was fitted with, so it predicts; a refusal would leave every arm alike.
        if let Ok(prediction) = self.0.predict(&batch) {
            score.copy_from_slice(&prediction.score);
            match prediction.score_se {
                Some(se) => score_se.copy_from_slice(&se),
                None => score_se.fill(0.0),
            }
        }
    }

    fn n_updates(&self) -> u64 {
        0
    }

    fn snapshot(&self) -> Box<dyn Predictor> {
        Box::new(self.clone())
    }

    fn merge(&mut self, _: FormState, _: FormState) -> Result<(), LearnError> {
        Ok(())
    }
}
