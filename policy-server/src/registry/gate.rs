//! What a change must rest on: whoever gets requests decided needs evidence, or somebody who answers for it.

use crate::registry::{Ask, Slot, Target, Verb};
use serde_json::Value;

/// What a change rests on.
#[derive(Debug, Clone, PartialEq)]
pub enum Grounds {
    /// Nothing: enough for a candidate, a shadow, a retirement, a rollback.
    Nothing,
    /// An off-policy assessment that was trusted and whose lower bound is above 0.
    Evidence(Value),
    /// Somebody's word, with what the evidence was, if there was any.
    Forced(Option<Value>),
}

/// Whether the grounds are enough for the change.
///
/// # Errors
/// If they are not, in words.
pub(super) fn check(ask: &Ask, slot: &Slot) -> Result<(), String> {
    if let Some(judged) = ask.revision.filter(|judged| *judged != slot.revision) {
        return Err(format!(
            "the registry is at revision {} and was judged at {judged}: somebody changed it meanwhile, judge again",
            slot.revision
        ));
    }
    if matches!(ask.grounds, Grounds::Forced(_)) && ask.reason.trim().is_empty() {
        return Err("a forced change needs a reason".to_owned());
    }
    let Verb::Promote { to, .. } = &ask.verb else { return Ok(()) };
    if ask.grounds == Grounds::Nothing && needs_evidence(*to, slot) {
        return Err(format!(
            "`{to}` decides requests, so it needs evidence that it is better than the active policy: logged \
             decisions with feedback, or `force` with a reason"
        ));
    }
    Ok(())
}

/// Whether a state must be earned. The first version of a slot has nobody to be compared with.
pub(super) fn needs_evidence(to: Target, slot: &Slot) -> bool {
    match to {
        Target::Canary(_) => true,
        Target::Active => slot.active().is_some(),
        Target::Candidate | Target::Shadow | Target::Retired => false,
    }
}
