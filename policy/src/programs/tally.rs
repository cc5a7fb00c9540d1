//! Counts weighted votes on answers in one form. What `vote` and `switch` share.

use crate::program::{Answer, AnswerNeed};
use routewright_data::answers::normalize::Normalizer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Totals closer than this are tied: sums of weights round.
const TIE: f64 = 1e-9;

/// The vote of one answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ballot<'a> {
    /// The answer in one form; `None` where it has none, then it counts for nothing.
    pub form: Option<&'a str>,
    /// Weight of the vote; may be below 0.
    pub weight: f64,
    /// How good who gave it is: decides ties, the greater wins.
    pub strength: f64,
}

/// Places of the ballots to choose from: of each form of the most weight whose best giver is the strongest, that giver,
/// the first of equals. One, but where forms are tied in weight and strength; none where no ballot has a form.
pub fn winners(ballots: &[Ballot<'_>]) -> Vec<usize> {
    let mut totals: BTreeMap<&str, (f64, usize)> = BTreeMap::new();
    for (at, ballot) in ballots.iter().enumerate() {
        let Some(form) = ballot.form else { continue };
        let (total, best) = totals.entry(form).or_insert((0.0, at));
        *total += ballot.weight;
        if ballot.strength > ballots[*best].strength {
            *best = at;
        }
    }
    let most = totals.values().map(|(total, _)| *total).fold(f64::NEG_INFINITY, f64::max);
    let tied: Vec<usize> =
        totals.values().filter(|(total, _)| *total >= most - TIE).map(|(_, best)| *best).collect();
    let strongest = tied.iter().map(|at| ballots[*at].strength).fold(f64::NEG_INFINITY, f64::max);
    let mut found: Vec<usize> = tied.into_iter().filter(|at| ballots[*at].strength >= strongest).collect();
    found.sort_unstable();
    found
}

/// What of an answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reading {
    /// The short answer; an answer without one counts for nothing.
    Short,
    /// The text.
    Text,
}

impl Reading {
    /// The form of an answer by its parts; `None` where there is none.
    pub fn form(self, rule: &Normalizer, short: Option<&str>, text: Option<&str>) -> Option<String> {
        match self {
            Self::Short => short.and_then(|short| rule.form(short)),
            Self::Text => text.and_then(|text| rule.form(text)),
        }
    }

    /// The form of an answer; `None` where the call failed or there is none.
    pub(super) fn of(self, rule: &Normalizer, answer: &Answer) -> Option<String> {
        let is_ok = answer.is_ok();
        self.form(
            rule,
            answer.short.as_deref().filter(|_| is_ok),
            Some(answer.text.as_str()).filter(|_| is_ok),
        )
    }

    /// What a host must give for it.
    pub(super) fn needs(self) -> &'static [AnswerNeed] {
        match self {
            Self::Short => &[AnswerNeed::Short],
            Self::Text => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ballot(form: &str, weight: f64, strength: f64) -> Ballot<'_> {
        Ballot { form: (!form.is_empty()).then_some(form), weight, strength }
    }

    #[test]
    fn the_most_weight_wins_and_ties_go_to_the_stronger_giver() {
        let votes =
            [ballot("a", 1.0, 0.9), ballot("b", 0.75, 0.2), ballot("b", 0.5, 0.4), ballot("", 9.0, 1.0)];
        // b has 1.25 and its best giver is ballot 2.
        assert_eq!(winners(&votes), [2]);
        assert_eq!(winners(&[ballot("a", 1.0, 0.5), ballot("b", 1.0, 0.6)]), [1]);
        // 0.1 + 0.2 is not 0.3 in floats, but tied with it.
        let rounded = [ballot("a", 0.1, 0.5), ballot("a", 0.2, 0.5), ballot("b", 0.3, 0.5)];
        assert_eq!(winners(&rounded), [0, 2]);
        // Weights below 0: the least loss wins.
        assert_eq!(winners(&[ballot("a", -1.0, 0.9), ballot("b", -0.5, 0.1)]), [1]);
        assert_eq!(winners(&[ballot("", 1.0, 1.0)]), [0; 0]);
        assert_eq!(winners(&[]), [0; 0]);
    }

    #[test]
    fn forms_come_from_the_short_answer_or_the_text() {
        let rule = Normalizer::named("number").unwrap();
        let answer = |short: Option<&str>, text: &str| Answer {
            short: short.map(str::to_owned),
            text: text.to_owned(),
            ..Answer::default()
        };
        let forms = |answer: &Answer| [Reading::Short, Reading::Text].map(|reading| reading.of(rule, answer));
        assert_eq!(forms(&answer(Some("4"), "so 5")), [Some("4".to_owned()), Some("5".to_owned())]);
        assert_eq!(forms(&answer(None, "so 5")), [None, Some("5".to_owned())]);
        let failed = Answer { failed: Some("timed out".to_owned()), ..answer(Some("4"), "so 5") };
        assert_eq!(forms(&failed), [None, None]);
    }
}
