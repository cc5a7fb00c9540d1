//! 64-bit keys by which the rows a policy was trained on are recognised in another log.
//!
//! A key is the first 8 bytes of a BLAKE3 digest, so two different rows share one with probability 2^-64: a
//! lookup of a row among a million keys is wrong once in 2 x 10^13. Keys of different kinds never meet, because
//! the kind is hashed with the row.

use crate::log::DecisionRow;
use crate::split::normalized;

/// What `data log-decisions` puts before the id of a query to make the id of its decision.
const OF_QUERY: &str = "d-";

/// Features that are not 0 from which equal features mean an equal question.
const FEATURES_MIN: usize = 16;

fn key(kind: &str, parts: &[&[u8]]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind.as_bytes());
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

/// The id of the decision that stands for a query of an outcome log.
#[must_use]
pub fn decision_id(query_id: &str) -> String {
    format!("{OF_QUERY}{query_id}")
}

/// Key of a query of an outcome log: its id and its prompt, since ids such as `17` recur from log to log.
#[must_use]
pub fn of_outcome(query_id: &str, prompt: &str) -> u64 {
    key("outcome", &[query_id.as_bytes(), prompt.as_bytes()])
}

/// Key of what was asked: the [`normalized`] prompt, else the features. `None` where a row has neither, and where
/// fewer than 16 features are not 0: those are categories, which different questions share.
#[must_use]
pub fn of_text(prompt: &str, features: Option<&[f32]>) -> Option<u64> {
    if !prompt.is_empty() {
        return Some(key("prompt", &[normalized(prompt).as_bytes()]));
    }
    let features = features.filter(|x| x.iter().filter(|value| **value != 0.0).count() >= FEATURES_MIN)?;
    let bytes: Vec<u8> = features.iter().flat_map(|value| value.to_le_bytes()).collect();
    Some(key("features", &[&bytes]))
}

/// Key of a session or user.
#[must_use]
pub fn of_session(session: &str) -> u64 {
    key("session", &[session.as_bytes()])
}

/// Key of a decision: that of its query where it was made of an outcome log, else of its id, which is unique.
#[must_use]
pub fn of_decision(decision_id: &str, prompt: &str) -> u64 {
    match decision_id.strip_prefix(OF_QUERY) {
        Some(query_id) => of_outcome(query_id, prompt),
        None => key("decision", &[decision_id.as_bytes()]),
    }
}

/// The same, of a row.
#[must_use]
pub fn of_row(row: &DecisionRow) -> u64 {
    of_decision(&row.decision_id, row.prompt.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_made_of_an_outcome_log_is_known_by_its_query() {
        let made = of_decision(&decision_id("17"), "Name a river.");
        assert_eq!(made, of_outcome("17", "Name a river."));
        // Another log may have a query 17 as well.
        assert_ne!(made, of_decision("d-17", "Name a lake."));
        assert_eq!(of_decision("dec_17", "Name a river."), of_decision("dec_17", ""));
        let row = DecisionRow { decision_id: "dec_17".to_owned(), ..DecisionRow::default() };
        assert_eq!(of_row(&row), of_decision("dec_17", ""));
    }

    #[test]
    fn equal_questions_have_equal_keys() {
        assert_eq!(of_text("Name  a river!", None), of_text("name a river", Some(&[1.0])));
        assert_ne!(of_text("name a river", None), of_text("name a lake", None));
        let (x, y) = ([0.5; 16], [0.25; 16]);
        assert!(of_text("", Some(&x)).is_some() && of_text("", Some(&x)) != of_text("", Some(&y)));
        // One of ten categories is no question.
        let category: [f32; 20] = std::array::from_fn(|i| f32::from(u8::from(i == 3)));
        assert_eq!((of_text("", Some(&category)), of_text("", None)), (None, None));
        assert_ne!(of_session("a"), of_decision("a", ""));
    }
}
