//! What is believed of every arm once some have answered: estimates after answers, and of the rest given them.
//!
//! Before an answer arm `i` has the estimate `b_i`. Once it has answered, a scorer says `a_i` of its text, and
//!
//! ```text
//! p_i = sigmoid(w . (logit a_i, logit b_i, agree, disagree, others, 1))
//! ```
//! where `agree` is the sum of the log-odds of the other arms that gave the same answer, `disagree` the greatest such
//! sum of another answer, `others` whether any other has answered. One set of weights serves all sets of arms.
//!
//! What was learned moves the rest: with `V` the covariance of `p - b` over queries and `A` the arms that answered,
//!
//! ```text
//! q_j = b_j + V_jA (V_AA + ridge)^-1 (p_A - b_A)          Sigma = V - V_.A (V_AA + ridge)^-1 V_A.
//! ```
//! `Sigma` is the covariance of the estimates of the arms that did not answer around what they will be.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Numbers that an estimate after an answer is read off, the constant included.
pub const NUMBERS: usize = 6;
/// Least and greatest probability whose log-odds are taken.
const RANGE: (f64, f64) = (0.02, 0.98);
/// Share of the mean variance that is added to the variances of arms that answered: `V` is estimated.
const RIDGE: f64 = 0.05;

/// What is learned of arms and answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beliefs {
    /// Weights of the numbers of an answer; finite.
    pub link: [f64; NUMBERS],
    /// How often each arm is right, in [0, 1].
    pub strengths: Vec<f64>,
    /// `V`, row-major.
    pub covariance: Vec<f64>,
}

/// What an arm has given so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Heard<'a> {
    /// It was not called.
    Nothing,
    /// Its call failed.
    Failure,
    /// An answer: what the scorer says of its text, and its form where it has one.
    Answer(f64, Option<&'a str>),
}

/// Estimates of every arm, and the covariance of those that have not answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimates {
    /// Estimated scores in [0, 1]; 0 of an arm whose call failed.
    pub scores: Vec<f64>,
    /// Row-major; zeros in rows and columns of arms that answered.
    pub covariance: Vec<f64>,
}

fn logit(p: f64) -> f64 {
    let p = p.clamp(RANGE.0, RANGE.1);
    (p / (1.0 - p)).ln()
}

impl Beliefs {
    /// What is wrong with the numbers for so many arms, if anything.
    ///
    /// # Errors
    /// The number at fault and what would be accepted.
    pub fn check(&self, n_arms: usize) -> Result<(), String> {
        let (n, cells) = (self.strengths.len(), self.covariance.len());
        if n != n_arms || cells != n_arms * n_arms {
            return Err(format!("{n} strengths and {cells} covariances, expected {n_arms} and their square"));
        }
        let all = self.link.iter().chain(&self.strengths).chain(&self.covariance);
        match all.into_iter().find(|number| !number.is_finite()) {
            Some(number) => Err(format!("a belief has the number `{number}`, expected a finite one")),
            None => Ok(()),
        }
    }

    /// The numbers that the estimate after the answer of `arm` is read off.
    pub fn numbers(&self, arm: usize, before: &[f64], heard: &[Heard<'_>]) -> Option<[f64; NUMBERS]> {
        let Heard::Answer(after, own) = heard[arm] else { return None };
        let mut sums = BTreeMap::<&str, f64>::new();
        let mut others = 0.0;
        for (other, one) in heard.iter().enumerate().filter(|(other, _)| *other != arm) {
            if let Heard::Answer(_, form) = one {
                others = 1.0;
                if let Some(form) = form {
                    *sums.entry(form).or_default() += logit(self.strengths[other]);
                }
            }
        }
        let agree = own.and_then(|form| sums.get(form)).copied().unwrap_or(0.0);
        let rest = sums.iter().filter(|(form, _)| Some(**form) != own).map(|(_, sum)| *sum);
        Some([logit(after), logit(before[arm]), agree, rest.fold(0.0, f64::max), others, 1.0])
    }

    /// The estimate after an answer, from its numbers.
    pub fn after(&self, numbers: &[f64; NUMBERS]) -> f64 {
        let z: f64 = numbers.iter().zip(&self.link).map(|(x, w)| x * w).sum();
        1.0 / (1.0 + (-z).exp())
    }

    /// Estimates of every arm, given those before and what was heard; arms without a strength are not looked at.
    pub fn estimates(&self, before: &[f64], heard: &[Heard<'_>]) -> Estimates {
        let n = before.len();
        let mut scores = before.to_vec();
        let mut answered = Vec::new();
        for arm in 0..n {
            if let Some(numbers) = self.numbers(arm, before, heard) {
                scores[arm] = self.after(&numbers);
                answered.push(arm);
            } else if heard[arm] == Heard::Failure {
                scores[arm] = 0.0;
            }
        }
        let mut covariance = self.covariance.clone();
        let surprise: Vec<f64> = answered.iter().map(|arm| scores[*arm] - before[*arm]).collect();
        let trace: f64 = (0..n).map(|arm| self.covariance[arm * n + arm]).sum();
        let ridge = (RIDGE * trace / n.max(1) as f64).max(1e-9);
        // One arm after the other: conditioning on each is a step of rank one.
        let mut shift = vec![0.0; n];
        for (at, &arm) in answered.iter().enumerate() {
            let column: Vec<f64> = (0..n).map(|other| covariance[other * n + arm]).collect();
            let variance = column[arm].max(0.0) + ridge;
            let gap = surprise[at] - shift[arm];
            for i in 0..n {
                shift[i] += column[i] * gap / variance;
                for j in 0..n {
                    covariance[i * n + j] -= column[i] * column[j] / variance;
                }
            }
        }
        for arm in (0..n).filter(|arm| heard[*arm] == Heard::Nothing) {
            scores[arm] = (before[arm] + shift[arm]).clamp(0.0, 1.0);
        }
        for arm in (0..n).filter(|arm| heard[*arm] != Heard::Nothing) {
            (0..n).for_each(|other| {
                covariance[arm * n + other] = 0.0;
                covariance[other * n + arm] = 0.0;
            });
        }
        Estimates { scores, covariance }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beliefs() -> Beliefs {
        Beliefs {
            link: [1.0, 0.0, 1.0, -1.0, 0.0, 0.0],
            strengths: vec![0.5, 0.8, 0.9],
            covariance: vec![0.04, 0.02, 0.0, 0.02, 0.04, 0.0, 0.0, 0.0, 0.01],
        }
    }

    #[test]
    fn answers_that_agree_are_believed_and_the_rest_is_moved() {
        let before = [0.6, 0.6, 0.8];
        let one = [Heard::Answer(0.8, Some("4")), Heard::Nothing, Heard::Nothing];
        let found = beliefs().estimates(&before, &one);
        assert!((found.scores[0] - 0.8).abs() < 1e-9, "{found:?}");
        // 0.6 + 0.02 / (0.04 + 0.05 * 0.03) * 0.2, and the third is unmoved.
        assert!((found.scores[1] - (0.6 + 0.02 / 0.0415 * 0.2)).abs() < 1e-9 && found.scores[2] == 0.8);
        assert!((found.covariance[4] - (0.04 - 0.0004 / 0.0415)).abs() < 1e-9);
        assert_eq!((found.covariance[0], found.covariance[1], found.covariance[8]), (0.0, 0.0, 0.01));
        // sigmoid(logit 0.8 + logit 0.9) = 4 * 9 / (1 + 36), and against it 4 / 9 / (1 + 4 / 9).
        let agree = [one[0], Heard::Nothing, Heard::Answer(0.5, Some("4"))];
        assert!((beliefs().estimates(&before, &agree).scores[0] - 36.0 / 37.0).abs() < 1e-9);
        let against = [one[0], Heard::Nothing, Heard::Answer(0.5, Some("5"))];
        assert!((beliefs().estimates(&before, &against).scores[0] - 4.0 / 13.0).abs() < 1e-9);
        let failed = [one[0], Heard::Failure, Heard::Nothing];
        assert_eq!(beliefs().estimates(&before, &failed).scores[1], 0.0);
    }

    #[test]
    fn beliefs_of_other_sizes_are_refused() {
        assert!(beliefs().check(3).is_ok());
        assert!(beliefs().check(2).unwrap_err().contains("expected 2"));
        let broken = Beliefs { strengths: vec![0.5, f64::NAN, 0.5], ..beliefs() };
        assert!(broken.check(3).unwrap_err().contains("`NaN`"));
    }
}
