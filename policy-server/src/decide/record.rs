//! The record of a decision, as the log keeps it.

use super::service::Decided;
use crate::caller::Caller;
use crate::clock::now_ms;
use crate::ledger::DecisionRecord;
use crate::live::metrics::reason_name;
use routewright_policy::Constraints;

/// The record of a decision, as it is replied; `keep_prompt` where the text of the query is kept.
pub(super) fn record(decided: &Decided, caller: &Caller, keep_prompt: bool) -> DecisionRecord {
    let Decided { assignment, query, id, computed } = decided;
    let served = &assignment.served;
    let decision = &computed.decision;
    let mut record = DecisionRecord {
        decision_id: id.clone(),
        timestamp_ms: now_ms(),
        policy: served.name.clone(),
        policy_version: served.version.clone(),
        policy_digest: served.policy.digest.clone(),
        featurizer_digest: served.policy.manifest.featurizer.digest.clone(),
        propensity: decision.propensity,
        pass_probability: 1.0,
        seed: query.seed,
        reason: reason_name(decision.reason).to_owned(),
        source: query.source.clone(),
        prompt: keep_prompt.then(|| query.text.clone()),
        query_text: query.rule.filter(|_| keep_prompt),
        features: computed.features.clone(),
        objective: query.objective,
        constraints: Some(query.constraints.clone()).filter(|asked| *asked != Constraints::default()),
        deferred: query.deferred,
        tenant: caller.key.as_deref().map(str::to_owned),
        trial: assignment.trial.clone(),
        model: decided.model().to_owned(),
        ..DecisionRecord::default()
    };
    for (arm, candidate) in served.policy.arms.iter().zip(&decision.candidates) {
        if candidate.excluded_by.is_none() {
            record.candidates.push(arm.model.clone());
            record.propensities.push(candidate.propensity);
            record.predicted_score.push(candidate.score.is_finite().then_some(candidate.score));
            record.predicted_cost_usd.push(candidate.cost_usd.filter(|usd| usd.is_finite()));
        }
    }
    record
}
