//! A trained policy: what its artifact says of it, its arms, and the program that it runs.

use crate::artifact::Manifest;
use crate::program::Program;
use crate::programs::OneCall;
use crate::{Arm, DecideError, Decision, Prediction, Request, Router};
use routewright_data::{FeatureMatrix, QueryText};

/// A trained policy, ready to decide. Immutable; share it behind an `Arc`.
///
/// A [`Machine`](crate::program::Machine) runs the program step by step. The methods below that decide without one
/// are the first step of the program `one-call`; for any other program they return [`DecideError::Steps`].
#[derive(Debug)]
pub struct Policy {
    /// What the artifact says about itself.
    pub manifest: Manifest,
    /// Digest of the manifest, and with it of every file: 64 hex digits.
    pub digest: String,
    /// Arms, in the order of every prediction.
    pub arms: Vec<Arm>,
    /// What it does, step by step.
    pub program: Box<dyn Program>,
}

impl Policy {
    /// A policy of one step.
    pub fn one_call(manifest: Manifest, digest: String, arms: Vec<Arm>, router: Router) -> Self {
        Self { manifest, digest, arms, program: Box::new(OneCall::new(router)) }
    }

    /// What of a request the policy reads: the rule its training texts were made by. Artifacts that name none are read
    /// as servers did before rules had names.
    pub fn query_text(&self) -> QueryText {
        self.manifest.query_text.unwrap_or(QueryText::UNNAMED)
    }

    /// Whether any part reads a vector that comes with the request; else the text is read.
    pub fn reads_vector(&self) -> bool {
        self.program.parts().iter().any(|part| part.router.featurizer.reads_vector())
    }

    /// Featurizer, predictor and selector of a policy of one step.
    ///
    /// # Errors
    /// [`DecideError::Steps`] where the program takes several steps.
    pub fn router(&self) -> Result<&Router, DecideError> {
        self.program.router().ok_or_else(|| self.takes_steps())
    }

    /// [`Self::router`], to be changed before the policy is put into service.
    ///
    /// # Errors
    /// [`DecideError::Steps`] where the program takes several steps.
    pub fn router_mut(&mut self) -> Result<&mut Router, DecideError> {
        if self.program.router().is_none() {
            return Err(self.takes_steps());
        }
        let (policy, program) = (self.manifest.name.clone(), self.program.name());
        self.program.router_mut().ok_or(DecideError::Steps { policy, program })
    }

    fn takes_steps(&self) -> DecideError {
        DecideError::Steps { policy: self.manifest.name.clone(), program: self.program.name() }
    }

    /// Predicts the outcome of every arm on every request.
    ///
    /// # Errors
    /// If features cannot be made or are refused.
    pub fn predict(&self, requests: &[Request<'_>]) -> Result<Prediction, DecideError> {
        self.router()?.predict(requests)
    }

    /// Predicts from features that the policy's featurizer made of the requests.
    ///
    /// # Errors
    /// If the features are refused.
    pub fn predict_on(
        &self,
        features: &FeatureMatrix,
        requests: &[Request<'_>],
    ) -> Result<Prediction, DecideError> {
        self.router()?.predict_on(features, requests)
    }

    /// Decides one query.
    ///
    /// # Errors
    /// If the request is not valid, features cannot be made, or no arm is eligible.
    pub fn decide(&self, request: &Request<'_>) -> Result<Decision, DecideError> {
        self.router()?.decide(&self.arms, request)
    }

    /// Decides many queries with one prediction; each entry is that query's own result.
    ///
    /// # Errors
    /// If features cannot be made for the batch.
    pub fn decide_batch(
        &self,
        requests: &[Request<'_>],
    ) -> Result<Vec<Result<Decision, DecideError>>, DecideError> {
        self.router()?.decide_batch(&self.arms, requests)
    }

    /// Decides queries whose outcomes are predicted already: `prediction` has one row a request.
    pub fn select(
        &self,
        prediction: Prediction,
        requests: &[Request<'_>],
    ) -> Vec<Result<Decision, DecideError>> {
        match self.router() {
            Ok(router) => router.select(&self.arms, prediction, requests),
            Err(_) => requests.iter().map(|_| Err(self.takes_steps())).collect(),
        }
    }
}
