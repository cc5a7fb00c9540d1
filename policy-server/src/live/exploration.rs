//! A policy that learns, put together: the arms, what was learned, and the selector it explores with.

use crate::settings::LearningConfig;
use routewright_policy::decide::WEIGHT_MAX;
use routewright_policy::selectors::{self, SelectorError};
use routewright_policy::{Arm, Policy, Predictor, Router, Selector, SelectorSpec};
use serde_json::json;
use std::sync::Arc;

/// The selector of a learning policy: the section's or the artifact's, at the price of money given, with a share of
/// the calls made at random.
///
/// # Errors
/// If the section's selector cannot be built for the arms.
pub(crate) fn selector(
    policy: &Policy,
    config: &LearningConfig,
    lambda: f64,
    epsilon: f64,
) -> Result<Box<dyn Selector>, SelectorError> {
    // Spend that is far over its target asks for no more than the greatest price there is.
    let lambda = lambda.min(WEIGHT_MAX);
    let mut spec = config.selector.clone().unwrap_or_else(|| policy.manifest.selector.clone());
    if epsilon > 0.0 {
        let settings = json!({ "epsilon": epsilon, "selector": spec });
        spec = SelectorSpec { name: "epsilon-greedy".to_owned(), settings };
    }
    if lambda == 0.0 {
        return selectors::build(&spec, &policy.arms);
    }
    let settings = json!({ "lambda": lambda, "selector": spec });
    selectors::build(&SelectorSpec { name: "priced".to_owned(), settings }, &policy.arms)
}

/// A policy of an artifact with other arms and another predictor.
pub(crate) fn assembled(
    base: &Policy,
    config: &LearningConfig,
    [lambda, epsilon]: [f64; 2],
    arms: Vec<Arm>,
    predictor: Box<dyn Predictor>,
) -> Option<Policy> {
    // The spec was built once already, when the policy was loaded.
    let selector = selector(base, config, lambda, epsilon).ok()?;
    let (manifest, digest) = (base.manifest.clone(), base.digest.clone());
    let featurizer = Arc::clone(&base.router().ok()?.featurizer);
    Some(Policy::one_call(manifest, digest, arms, Router { featurizer, predictor, selector }))
}
