//! The record of a decision, as the log keeps it.

use super::episode::Stepped;
use super::service::Decided;
use crate::caller::Caller;
use crate::clock::now_ms;
use crate::ledger::{AnswerRecord, DecisionRecord, EpisodeRecord, RETURN};
use crate::live::metrics::reason_name;
use routewright_data::names;
use routewright_policy::program::{Action, Answer, Call, Callee};
use routewright_policy::{Constraints, Policy};

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
        session: query.session_id.as_deref().map(session_name),
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

/// The record of a step: its alternatives are the candidates, named by the models they call.
pub(super) fn step_record(stepped: &Stepped, caller: &Caller, keep_prompt: bool) -> DecisionRecord {
    let Stepped { assignment, query, episode_id, id, taken, .. } = stepped;
    let served = &assignment.served;
    let mut record = DecisionRecord {
        decision_id: id.clone(),
        timestamp_ms: now_ms(),
        policy: served.name.clone(),
        policy_version: served.version.clone(),
        policy_digest: served.policy.digest.clone(),
        featurizer_digest: served.policy.manifest.featurizer.digest.clone(),
        model: action_name(&taken.step.action, &served.policy),
        propensity: taken.step.propensity(),
        pass_probability: 1.0,
        seed: query.seed,
        reason: taken.step.reason.name().to_owned(),
        source: query.source.clone(),
        session: query.session_id.as_deref().map(session_name),
        prompt: keep_prompt.then(|| query.text.clone()),
        query_text: query.rule.filter(|_| keep_prompt),
        objective: query.objective,
        constraints: Some(query.constraints.clone()).filter(|asked| *asked != Constraints::default()),
        tenant: caller.key.as_deref().map(str::to_owned),
        trial: assignment.trial.clone(),
        episode: Some(EpisodeRecord {
            episode_id: episode_id.clone(),
            step: taken.number,
            returns: matches!(taken.step.action, Action::Return(_)),
            spent_usd: taken.spent_usd,
            elapsed_ms: taken.elapsed_ms,
            answers: taken.fresh().map(|answer| answer_record(answer, &served.policy, keep_prompt)).collect(),
        }),
        ..DecisionRecord::default()
    };
    for (action, propensity) in &taken.step.alternatives {
        let name = action_name(action, &served.policy);
        // Actions that call the same models in other ways have one name.
        match record.candidates.iter().position(|known| *known == name) {
            Some(known) => record.propensities[known] += propensity,
            None => {
                record.candidates.push(name);
                record.propensities.push(*propensity);
            }
        }
    }
    record
}

/// A session by its own id where that is a name, else by a digest of it: a client may send anything.
fn session_name(id: &str) -> String {
    match names::check(id) {
        Ok(()) => id.to_owned(),
        Err(_) => format!("blake3:{}", &blake3::hash(id.as_bytes()).to_hex()[..32]),
    }
}

/// The models that an action calls, joined by `+`; `return` for the end.
fn action_name(action: &Action, policy: &Policy) -> String {
    let Action::Call(calls) = action else { return RETURN.to_owned() };
    let name = |call: &Call| match &call.callee {
        Callee::Arm(arm) => policy.arms.get(*arm).map_or("", |arm| arm.model.as_str()).to_owned(),
        Callee::Fusion(name) => name.clone(),
        Callee::Tool(name) => (*name).to_owned(),
    };
    calls.iter().map(name).collect::<Vec<_>>().join("+")
}

fn answer_record(answer: &Answer, policy: &Policy, keep_text: bool) -> AnswerRecord {
    AnswerRecord {
        call: answer.call as u64,
        model: answer.arm.and_then(|arm| policy.arms.get(arm)).map(|arm| arm.model.clone()),
        sample: answer.sample,
        text: keep_text.then(|| answer.text.clone()),
        finish: answer.finish.clone(),
        input_tokens: answer.usage.input_tokens,
        output_tokens: answer.usage.output_tokens,
        cost_usd: answer.cost_usd,
        latency_ms: answer.latency_ms,
        failed: answer.failed.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_logged_by_its_id_or_by_a_digest_of_what_is_no_name() {
        assert_eq!(session_name("chat-7"), "chat-7");
        for id in ["a\u{0}b", "a\nb", &"x".repeat(4 << 20)] {
            let named = session_name(id);
            assert!(
                named.starts_with("blake3:") && named.len() == 39 && names::check(&named).is_ok(),
                "{named}"
            );
            assert_ne!(named, session_name("another\n"));
        }
    }
}
