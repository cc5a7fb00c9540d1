//! The answers of several members to one query, grouped into candidates.

use routewright_data::answers::Agreement;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Least and greatest accuracy whose log-odds are taken.
const ACCURACY: (f64, f64) = (0.02, 0.98);

/// Which answers are one candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grouping {
    /// Those of equal form; an answer without a form is none.
    Equal,
    /// Every answer is a candidate of its own.
    Apart,
}

/// How good members are, and how often wrong answers are the same: `g`, `s`, `c` of the method `vote`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skills {
    /// Accuracy of each member over all tasks, finite.
    pub overall: Vec<f64>,
    /// Accuracy of each member on each task.
    pub tasks: BTreeMap<String, Vec<f64>>,
    /// Rate at which two wrong answers to a query are the same, in (0, 1].
    pub collision: f64,
    /// That rate on each task.
    pub collisions: BTreeMap<String, f64>,
}

impl Skills {
    /// What is known of the members on a task; overall where the task is not known.
    pub fn standing(&self, task: Option<&str>) -> Standing<'_> {
        let own = task.and_then(|task| self.tasks.get(task));
        let collision = task.and_then(|task| self.collisions.get(task)).copied().unwrap_or(self.collision);
        Standing { overall: &self.overall, own: own.unwrap_or(&self.overall), collision }
    }

    pub(super) fn check(&self, n: usize) -> Result<(), String> {
        for strengths in self.tasks.values().chain([&self.overall]) {
            if strengths.len() != n || strengths.iter().any(|value| !value.is_finite()) {
                let found = strengths.len();
                return Err(format!("it has {found} strengths, expected {n} finite ones, one a member"));
            }
        }
        let rates = self.collisions.values().chain([&self.collision]);
        match rates.into_iter().find(|rate| !(**rate > 0.0 && **rate <= 1.0)) {
            Some(rate) => Err(format!("a rate of equal wrong answers is `{rate}`, expected one in (0, 1]")),
            None => Ok(()),
        }
    }
}

/// How good members are on the task of one query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing<'a> {
    /// Accuracy over all tasks, member by member.
    pub overall: &'a [f64],
    /// Accuracy on the task.
    pub own: &'a [f64],
    /// Rate of equal wrong answers on the task.
    pub collision: f64,
}

impl Standing<'_> {
    /// Weight of a member's vote, at least 0: log-odds of its accuracy less the log of the rate of equal wrong answers.
    pub fn vote(&self, member: usize) -> f64 {
        (log_odds(self.own[member]) - self.collision.ln()).max(0.0)
    }
}

/// Log-odds of an accuracy, which is drawn into [.02, .98].
pub fn log_odds(accuracy: f64) -> f64 {
    let p = accuracy.clamp(ACCURACY.0, ACCURACY.1);
    (p / (1.0 - p)).ln()
}

/// One answer, as features see it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Given<'a> {
    /// Member that gave it, by its place among the members.
    pub member: usize,
    /// Its form; `None` where it has none.
    pub form: Option<&'a str>,
    /// Full text.
    pub text: &'a str,
    /// Mean log-probability of its tokens in nats; `None` where unknown.
    pub logprob_mean: Option<f32>,
    /// Probability of each option; empty where unknown.
    pub option_probs: &'a [f32],
}

/// Answers that say the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Places of its answers, ascending.
    pub givers: Vec<usize>,
    /// Place of the answer of its strongest giver, the first of equals.
    pub best: usize,
}

/// The answers to one query and their candidates.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel<'a> {
    /// Text of the query.
    pub query: &'a str,
    /// Task of the query.
    pub task: Option<&'a str>,
    /// Answers, those of failed calls left out.
    pub givens: Vec<Given<'a>>,
    /// Members that were asked, failed calls included.
    pub n_asked: usize,
    /// Candidates, in the order of their first answers.
    pub candidates: Vec<Candidate>,
}

impl<'a> Panel<'a> {
    /// Groups the answers; `strengths` decide who speaks for a candidate.
    pub fn of(
        query: &'a str,
        task: Option<&'a str>,
        givens: Vec<Given<'a>>,
        n_asked: usize,
        grouping: Grouping,
        strengths: &[f64],
    ) -> Self {
        let groups: Vec<Option<usize>> = match grouping {
            Grouping::Equal => {
                let agreement = Agreement::of(givens.iter().map(|given| given.form));
                (0..givens.len()).map(|at| agreement.group(at)).collect()
            }
            Grouping::Apart => {
                let mut next = 0..;
                givens.iter().map(|given| (!given.text.trim().is_empty()).then(|| next.next())?).collect()
            }
        };
        let mut candidates: Vec<Candidate> = Vec::new();
        for (at, group) in groups.iter().enumerate() {
            let Some(group) = *group else { continue };
            if group == candidates.len() {
                candidates.push(Candidate { givers: Vec::new(), best: at });
            }
            let candidate = &mut candidates[group];
            candidate.givers.push(at);
            if strengths[givens[at].member] > strengths[givens[candidate.best].member] {
                candidate.best = at;
            }
        }
        Self { query, task, givens, n_asked, candidates }
    }

    /// Members that gave a candidate.
    pub fn members(&self, candidate: usize) -> impl Iterator<Item = usize> {
        self.candidates[candidate].givers.iter().map(|at| self.givens[*at].member)
    }

    /// Answers of the largest candidate.
    pub(super) fn largest(&self) -> usize {
        self.candidates.iter().map(|candidate| candidate.givers.len()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_answers_are_one_candidate_and_the_strongest_giver_speaks_for_it() {
        let given = |member, form, text| Given { member, form, text, ..Given::default() };
        let givens = vec![
            given(2, Some("4"), "4"),
            given(0, Some("5"), "five"),
            given(1, Some("4"), "four"),
            given(3, None, " "),
        ];
        let strengths = [0.5, 0.9, 0.7, 1.0];
        let equal = Panel::of("q", None, givens.clone(), 5, Grouping::Equal, &strengths);
        let expected = [Candidate { givers: vec![0, 2], best: 2 }, Candidate { givers: vec![1], best: 1 }];
        assert_eq!(equal.candidates, expected);
        assert_eq!((equal.members(0).collect::<Vec<_>>(), equal.largest()), (vec![2, 1], 2));
        let apart = Panel::of("q", None, givens, 5, Grouping::Apart, &strengths);
        let places: Vec<usize> = apart.candidates.iter().map(|candidate| candidate.best).collect();
        assert_eq!(places, [0, 1, 2], "a blank text is no candidate");
        let none = Panel::of("q", None, Vec::new(), 2, Grouping::Equal, &strengths);
        assert_eq!((none.candidates.len(), none.largest()), (0, 0));
    }

    #[test]
    fn standings_are_those_of_the_task_or_overall() {
        let skills = Skills {
            overall: vec![0.5, 0.9],
            tasks: [("x".to_owned(), vec![0.8, 0.1])].into(),
            collision: 0.5,
            collisions: [("x".to_owned(), 0.25)].into(),
        };
        // ln(.8 / .2) + ln 4 = ln 16; ln(.1 / .9) + ln 4 < 0.
        let standing = skills.standing(Some("x"));
        assert!((standing.vote(0) - 16_f64.ln()).abs() < 1e-12 && standing.vote(1) == 0.0);
        assert_eq!(skills.standing(Some("y")).own, [0.5, 0.9]);
        assert!((log_odds(1.0) - 49_f64.ln()).abs() < 1e-9);
        assert!(skills.check(3).unwrap_err().contains("2 strengths"));
        let wrong = Skills { collision: 0.0, ..skills };
        assert!(wrong.check(2).unwrap_err().contains("`0`"));
    }
}
