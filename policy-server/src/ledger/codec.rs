//! Records to the text they are stored as, and back.
//!
//! A record is appended only if what is read back is what was written and holds what consumers rely on; so a store that
//! this build wrote has no record it cannot read. A store may hold others all the same: written by an older build, by
//! hand, or by a disk that failed. Every reader recognises those here.

use crate::ledger::{ChangeRecord, DecisionRecord, FeedbackRecord, Measure, Receipt};
use routewright_data::names;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How far the propensities of a stored decision may be from a sum of 1: older builds rounded more.
const TOLERANCE: f64 = 1e-3;

/// What a store holds.
pub(super) trait Record: Serialize + DeserializeOwned + PartialEq {
    /// Refuses what no consumer could make sense of, when it is written and when it is read.
    ///
    /// # Errors
    /// If a value is not valid, in words.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Refuses texts that are not to enter a log any more, when they are written; older logs may hold them.
    ///
    /// # Errors
    /// If a text is no name, in words.
    fn admit(&self) -> Result<(), String>;
}

/// What becomes of a decision whose id the log has with `body`: the same decision asked for again, or another one. A
/// body that cannot be read tells nothing against it.
pub(super) fn again(decision: &DecisionRecord, body: &str) -> Receipt {
    match decode::<DecisionRecord>(body) {
        Ok(known) if !decision.repeats(&known) => Receipt::Conflict,
        _ => Receipt::Duplicate,
    }
}

/// The text of a record.
///
/// # Errors
/// If it could not be read back, or its values are not valid.
pub(super) fn encode<T: Record>(record: &T) -> Result<String, String> {
    record.admit()?;
    let text = serde_json::to_string(record).map_err(|error| error.to_string())?;
    let back: T = decode(&text)?;
    if back == *record {
        return Ok(text);
    }
    Err("what would be read back is not what was written".to_owned())
}

/// The record of a text.
///
/// # Errors
/// If the text is none, or its values are not valid.
pub(super) fn decode<T: Record>(text: &str) -> Result<T, String> {
    let record: T = serde_json::from_str(text).map_err(|error| error.to_string())?;
    record.check()?;
    Ok(record)
}

/// A name of which only what a database cannot hold is refused.
fn storable(what: &str, name: &str) -> Result<(), String> {
    if name.contains('\u{0}') { Err(format!("{what} has the character U+0000")) } else { Ok(()) }
}

fn named(what: &str, name: &str) -> Result<(), String> {
    names::check(name).map_err(|why| format!("{what} `{}` {why}", name.escape_debug()))
}

impl Record for DecisionRecord {
    fn admit(&self) -> Result<(), String> {
        for (what, text) in [
            ("`decision_id`", Some(&self.decision_id)),
            ("`policy`", Some(&self.policy)),
            ("`tenant`", self.tenant.as_ref()),
            ("`source`", self.source.as_ref()),
            ("`session`", self.session.as_ref()),
        ] {
            text.map_or(Ok(()), |text| storable(what, text))?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let n = self.candidates.len();
        for (what, found) in [
            ("predicted_score", self.predicted_score.len()),
            ("predicted_cost_usd", self.predicted_cost_usd.len()),
        ] {
            if found != n && found != 0 {
                return Err(format!("`{what}` has {found} entries for {n} candidates"));
            }
        }
        let sum: f64 = self.propensities.iter().map(|p| f64::from(*p)).sum();
        // NaN is not at least 0.
        let are_valid = self.propensities.iter().all(|p| *p >= 0.0) && (sum - 1.0).abs() <= TOLERANCE;
        if self.propensities.len() != n || !are_valid {
            return Err(format!("`propensities` are {:?}, expected {n} that sum to 1", self.propensities));
        }
        if !self.candidates.contains(&self.model) {
            return Err(format!("the chosen model `{}` is no candidate", self.model));
        }
        for (what, value) in [("propensity", self.propensity), ("pass_probability", self.pass_probability)] {
            if !(value > 0.0 && f64::from(value) <= 1.0 + TOLERANCE) {
                return Err(format!("`{what}` is `{value}`, expected a number in (0, 1]"));
            }
        }
        Ok(())
    }
}

impl Record for FeedbackRecord {
    fn admit(&self) -> Result<(), String> {
        named("`decision_id`", &self.decision_id)?;
        self.metric.as_ref().map_or(Ok(()), |metric| named("`metric`", metric))?;
        named("`source`", &self.source)?;
        // The key of a default value begins with a control character, so that no caller can give it.
        storable("`key`", &self.key)?;
        self.tenant.as_ref().map_or(Ok(()), |tenant| storable("`tenant`", tenant))?;
        match &self.measure {
            Some(Measure::Preference { winner, loser }) => {
                named("`winner`", winner)?;
                named("`loser`", loser)?;
            }
            Some(Measure::Ranking(models)) => {
                models.iter().try_for_each(|model| named("`ranking`", model))?
            }
            Some(Measure::Value(_)) | None => {}
        }
        if !(0.0..=1.0).contains(&self.weight) {
            return Err(format!("`weight` is `{}`, expected a number in [0, 1]", self.weight));
        }
        Ok(())
    }
}

impl Record for ChangeRecord {
    fn admit(&self) -> Result<(), String> {
        for (model, said) in &self.arms {
            named("the model", model)?;
            said.tags.iter().flatten().try_for_each(|tag| named("the tag", tag))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::ArmChange;
    use crate::ledger::tests::{Dice, decision, random_feedback};

    #[test]
    fn what_is_written_is_read_back_and_what_would_not_be_is_refused() {
        let good = decision(3, &mut Dice(1));
        assert_eq!(decode::<DecisionRecord>(&encode(&good).unwrap()), Ok(good.clone()));
        let with = |change: &dyn Fn(&mut DecisionRecord)| {
            let mut record = good.clone();
            change(&mut record);
            encode(&record).unwrap_err()
        };
        // A NaN is written as null: this is the record that used to make a log unreadable.
        assert!(with(&|r| r.propensities = vec![f32::NAN; 2]).contains("null"));
        assert!(with(&|r| r.propensity = f32::NAN).contains("null"));
        assert!(with(&|r| r.propensities = vec![0.0125; 2]).contains("sum to 1"));
        assert!(with(&|r| r.propensities = vec![1.0]).contains("expected 2"));
        assert!(with(&|r| r.model = "cedar".into()).contains("`cedar` is no candidate"));
        assert!(with(&|r| r.predicted_score = vec![Some(f32::INFINITY), None]).contains("read back"));
        assert!(
            with(&|r| r.objective =
                Some(routewright_policy::Objective { quality: f64::NAN, cost: 0.0, latency: 0.0 }))
            .contains("null")
        );
        assert!(with(&|r| r.source = Some("a\u{0}b".into())).contains("U+0000"));
        assert!(with(&|r| r.session = Some("a\u{0}b".into())).contains("U+0000"));
        assert!(with(&|r| r.predicted_cost_usd = vec![None]).contains("1 entries for 2"));
    }

    #[test]
    fn texts_of_feedback_and_changes_follow_the_rule_for_names() {
        let good = random_feedback(1, 1, &mut Dice(2));
        assert_eq!(decode::<FeedbackRecord>(&encode(&good).unwrap()), Ok(good.clone()));
        let names: [fn(&mut FeedbackRecord, String); 5] = [
            |r, name| r.decision_id = name,
            |r, name| r.metric = Some(name),
            |r, name| r.source = name,
            |r, name| r.measure = Some(Measure::Preference { winner: name, loser: "b".into() }),
            |r, name| r.measure = Some(Measure::Ranking(vec!["b".into(), name])),
        ];
        for name in ["a\u{0}b", "a\nb", "", &"x".repeat(300)] {
            for set in names {
                let mut record = good.clone();
                set(&mut record, name.to_owned());
                assert!(encode(&record).is_err(), "{name:?}");
            }
        }
        let nan = FeedbackRecord { measure: Some(Measure::Value(f64::NAN)), ..good };
        assert!(encode(&nan).is_err());
        let change = ChangeRecord {
            arms: [("a\n".to_owned(), ArmChange::default())].into(),
            ..ChangeRecord::default()
        };
        assert!(encode(&change).unwrap_err().contains("U+000A"));
    }
}
