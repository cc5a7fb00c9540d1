//! The answer when the decision is late or there is nothing to decide on: the default arm, marked as such.

use crate::error::ApiError;
use crate::live::query::Query;
use crate::live::stages::{Computed, StageTimes};
use routewright_policy::{Policy, Prediction, Reason};

/// Decides without the predictor: `default_arm` where the request allows it, else the cheapest arm that it
/// does allow.
///
/// Limits of price are judged by each arm's mean price on the training log. The distribution is the one
/// this rule has: all mass on one arm. Predicted scores are unknown (`NaN`).
///
/// # Errors
/// If the request is not valid or no arm is eligible.
pub(crate) fn default_decision(
    policy: &Policy,
    default_arm: usize,
    query: &Query,
    reason: Reason,
) -> Result<Computed, ApiError> {
    let n_arms = policy.arms.len();
    let prediction = Prediction {
        n_arms,
        score: vec![0.0; n_arms],
        score_se: None,
        cost_usd: policy
            .arms
            .iter()
            .map(|arm| arm.price.mean_cost_usd.map_or(f32::NAN, |c| c as f32))
            .collect(),
        neighborhoods: None,
        members: None,
        n_updates: 0,
    };
    // The selector's own choice among these flat scores is not used; the check of the request is.
    let Some(result) = policy.select(prediction, &[query.request()]).pop() else {
        return Err(ApiError::internal("a selection of one query gave no result"));
    };
    let mut decision = result?;
    decision.arm = default_arm;
    if decision.candidates[default_arm].excluded_by.is_some() {
        let price = |arm: usize| decision.candidates[arm].cost_usd.unwrap_or(f32::INFINITY);
        let eligible = (0..n_arms).filter(|&arm| decision.candidates[arm].excluded_by.is_none());
        decision.arm = eligible.min_by(|&a, &b| price(a).total_cmp(&price(b))).unwrap_or(default_arm);
    }
    for (arm, candidate) in decision.candidates.iter_mut().enumerate() {
        candidate.propensity = if arm == decision.arm { 1.0 } else { 0.0 };
        candidate.score = f32::NAN;
        candidate.score_se = None;
    }
    decision.propensity = 1.0;
    decision.reason = reason;
    decision.flip = None;
    Ok(Computed { decision, stages: StageTimes::default(), features: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use crate::testing::{policy, query};
    use std::sync::Arc;

    const LATE: Reason = Reason::DeadlineDefault;

    #[test]
    fn the_default_arm_answers_where_it_is_allowed_and_the_cheapest_allowed_one_else() {
        let policy = policy("p"); // small 0.001, large 0.01, other (price unknown)
        let allowed = default_decision(&policy, 1, &query("x"), LATE).unwrap().decision;
        assert_eq!((allowed.arm, allowed.propensity, allowed.reason), (1, 1.0, Reason::DeadlineDefault));
        let mut limited = Arc::into_inner(query("x")).unwrap();
        limited.constraints.max_cost_usd = Some(0.005);
        assert_eq!(default_decision(&policy, 1, &limited, LATE).unwrap().decision.arm, 0);
        limited.constraints.tags = vec!["nowhere".to_owned()];
        assert_eq!(default_decision(&policy, 1, &limited, LATE).unwrap_err().code, Code::NoEligibleCandidate);
        limited.candidates = Some(vec!["smal".to_owned()]);
        assert_eq!(default_decision(&policy, 1, &limited, LATE).unwrap_err().code, Code::UnknownCandidate);
    }
}
