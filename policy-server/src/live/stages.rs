//! A decision in its stages, each timed: features, prediction, selection.

use crate::error::ApiError;
use crate::live::query::Query;
use crate::log::chain;
use routewright_data::FeatureMatrix;
use routewright_policy::{DecideError, Decision, Policy, Request};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long each stage took, and for how many queries at once.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StageTimes {
    pub(crate) queue: Duration,
    pub(crate) features: Duration,
    pub(crate) score: Duration,
    pub(crate) constraints: Duration,
    /// Queries decided together; 0 where the default arm answered.
    pub(crate) batch: usize,
}

/// A decision and what it took.
#[derive(Debug)]
pub(crate) struct Computed {
    pub(crate) decision: Decision,
    pub(crate) stages: StageTimes,
    /// What the policy saw, where the query asks to keep it.
    pub(crate) features: Option<Vec<f32>>,
}

/// Decides queries together; entry `i` is the result of query `i`.
///
/// A query that has no features, or makes the predictor panic, fails alone: the others are decided again
/// without it.
pub(crate) fn decide(policy: &Policy, queries: &[Arc<Query>]) -> Vec<Result<Computed, ApiError>> {
    match guarded(policy, queries) {
        Ok(results) => results,
        Err(error) if queries.len() == 1 => vec![Err(error)],
        Err(_) => queries.iter().flat_map(|query| decide(policy, std::slice::from_ref(query))).collect(),
    }
}

/// The whole batch, or the one reason none of it could be decided.
fn guarded(policy: &Policy, queries: &[Arc<Query>]) -> Result<Vec<Result<Computed, ApiError>>, ApiError> {
    let requests: Vec<Request<'_>> = queries.iter().map(|query| query.request()).collect();
    // A policy is immutable and a batch is thrown away: nothing half-changed can be seen after a panic.
    match catch_unwind(AssertUnwindSafe(|| staged(policy, &requests))) {
        Ok(Ok((results, features, stages))) => {
            let kept = |at: usize| queries[at].keep_features.then(|| features.row(at).to_vec());
            let stage = |(at, result): (usize, Result<Decision, DecideError>)| {
                let staged = |decision| Computed { decision, stages, features: kept(at) };
                result.map(staged).map_err(ApiError::from)
            };
            Ok(results.into_iter().enumerate().map(stage).collect())
        }
        Ok(Err(error)) => Err(refused(error)),
        Err(panic) => Err(ApiError::internal(format!("a decision panicked: {}", panic_text(&*panic)))),
    }
}

fn refused(error: DecideError) -> ApiError {
    let inside = chain(&error);
    let mut refused = ApiError::from(error);
    refused.inside.get_or_insert(inside);
    refused
}

type Results = Vec<Result<Decision, DecideError>>;

fn staged(
    policy: &Policy,
    requests: &[Request<'_>],
) -> Result<(Results, FeatureMatrix, StageTimes), DecideError> {
    let start = Instant::now();
    let inputs: Vec<_> = requests.iter().map(|request| request.input).collect();
    let features = policy.router()?.featurizer.featurize(&inputs)?;
    let featurized = Instant::now();
    let prediction = policy.predict_on(&features, requests)?;
    let predicted = Instant::now();
    let results = policy.select(prediction, requests);
    let stages = StageTimes {
        queue: Duration::ZERO,
        features: featurized - start,
        score: predicted - featurized,
        constraints: predicted.elapsed(),
        batch: requests.len(),
    };
    Ok((results, features, stages))
}

/// What a panic said, where it said text.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}
