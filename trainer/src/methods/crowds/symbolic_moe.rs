//! Symbolic-MoE (arXiv 2503.05641): the models whose skill profile fits the query answer, one aggregator writes the
//! reply.
//!
//! The profile of a model counts +1 for each right and -1 for each wrong answer of train with a skill; its strength is
//! the sum over all skills, shifted above 0, to the power `1 / temperature`, and normalised. A query with a skill
//! recruits the `k` models of the greatest `profile * strength`, the profiles shifted above 0 where none is; they are
//! asked at the same time, and the aggregator is given their answers with a template (program `fuse`).
//!
//! # Deviations from the paper and its code (dinobby/Symbolic-MoE)
//! 1. The skill is the task of the query, its `source`; the paper has a model list two to five keywords a query.
//! 2. The `k` greatest are recruited; the paper draws `k` with replacement by those weights, so that one model may
//!    answer several times.
//! 3. The aggregator is the model of the greatest mean score unless one is named; the paper chooses it for each task on
//!    a bench of one right and two wrong rationales.
//! 4. Scores in [0, 1] count `2 score - 1`.
//! 5. A log has no aggregated texts: what the aggregator brings is not judged there, see the page.

use super::fusing::{self, PROMPT};
use super::log::{Asked, Log};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, Reads};
use crate::methods::votes::weights::Accuracies;
use routewright_policy::programs::{Fusion, select::Selection};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<SymbolicMoe>(
    "models whose skills fit the task answer; an aggregator writes the reply from their answers",
    Some("2503.05641"),
    Family::After,
    &[Need::Source],
)
.reading(&[Reads::Outcomes, Reads::Answers]);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct SymbolicMoe;

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Models that may be recruited; all where empty.
    members: Vec<String>,
    /// Rule that makes equal answers equal texts, see `data::answers::normalize`.
    normalize: String,
    /// Models recruited, at least 1.
    k: usize,
    /// Temperature of the strengths, above 0.
    temperature: f64,
    /// Model that writes the reply; the best of train where empty.
    fuser: String,
    /// Template with the slots `{query}` and `{answers}`.
    prompt: String,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            members: Vec::new(),
            normalize: "exact".to_owned(),
            k: 3,
            temperature: 0.5,
            fuser: String::new(),
            prompt: PROMPT.to_owned(),
        }
    }
}

/// Profiles by skill, and the strength of each model.
#[derive(Debug, Clone, PartialEq)]
struct Profiles {
    skills: BTreeMap<String, Vec<f64>>,
    strengths: Vec<f64>,
}

impl Profiles {
    fn of(log: &Log<'_>, temperature: f64) -> Self {
        let n = log.models.len();
        let (mut skills, mut all) = (BTreeMap::<String, Vec<f64>>::new(), vec![0.0; n]);
        for row in 0..log.n_queries() {
            let own = log.votes.tasks[row].as_ref();
            let mut own = own.map(|task| skills.entry(task.clone()).or_insert_with(|| vec![0.0; n]));
            for member in 0..n {
                let Some(score) = log.votes.scores.get(row, member) else { continue };
                let counted = 2.0 * f64::from(score) - 1.0;
                all[member] += counted;
                own.iter_mut().for_each(|own| own[member] += counted);
            }
        }
        Self { skills, strengths: strengths(&all, temperature) }
    }

    /// The models recruited for a skill, ascending.
    fn recruit(&self, profile: &[f64], k: usize) -> Vec<usize> {
        let shift = if profile.iter().any(|count| *count > 0.0) { 0.0 } else { least(profile) - 1.0 };
        let weight = |member: usize| (profile[member] - shift).max(0.0) * self.strengths[member];
        let mut order: Vec<usize> = (0..profile.len()).collect();
        order.sort_by(|a, b| weight(*b).total_cmp(&weight(*a)).then(a.cmp(b)));
        order.truncate(k);
        order.sort_unstable();
        order
    }
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// Sums shifted above 0, to the power `1 / temperature`, with a sum of 1.
fn strengths(sums: &[f64], temperature: f64) -> Vec<f64> {
    let shift = (1.0 - least(sums)).max(0.0);
    let shifted: Vec<f64> = sums.iter().map(|sum| sum + shift).collect();
    // Scaled first, so that no power overflows.
    let most = shifted.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let raised: Vec<f64> = shifted.iter().map(|sum| (sum / most).max(0.0).powf(1.0 / temperature)).collect();
    let all: f64 = raised.iter().sum();
    raised.iter().map(|value| value / all.max(f64::MIN_POSITIVE)).collect()
}

impl Method for SymbolicMoe {
    const NAME: &'static str = "symbolic-moe";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        if params.k == 0 || !(params.temperature > 0.0 && params.temperature.is_finite()) {
            let reason = "`k` needs at least 1, `temperature` a number above 0".to_owned();
            return Err(FitError::Params { method: Self::NAME, reason });
        }
        let asked = Asked {
            method: Self::NAME,
            key: "members",
            models: &params.members,
            normalize: &params.normalize,
        };
        let log = Log::read(&asked, context)?;
        let rows: Vec<usize> = (0..log.n_queries()).collect();
        let accuracies = Accuracies::fit(&log.votes, &rows);
        let profiles = Profiles::of(&log, params.temperature);
        let of_skill =
            |(task, profile): (&String, &Vec<f64>)| (task.clone(), profiles.recruit(profile, params.k));
        let selection = Selection {
            asked: Some(profiles.recruit(&profiles.strengths, params.k)),
            asked_by_task: profiles.skills.iter().map(of_skill).collect(),
            ..fusing::ranking(&log, &accuracies)
        };
        let fuser = fusing::fuser(&params.fuser, &log, &accuracies, context, Self::NAME)?;
        let chosen = Params { fuser: fuser.clone(), ..params.clone() };
        let fusion = Fusion { selection, keep: params.k, fuser, quorum: 0, agreed: None };
        fusing::fitted(fusion, &params.prompt, &log, context, &chosen, Self::NAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_recruit_by_skill_and_strength() {
        // Sums 3, 1, -1 are shifted to 5, 3, 1; squares 25, 9, 1 of 35.
        let found = strengths(&[3.0, 1.0, -1.0], 0.5);
        let by_hand = [25.0 / 35.0, 9.0 / 35.0, 1.0 / 35.0];
        assert!(found.iter().zip(by_hand).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        let profiles = Profiles { skills: BTreeMap::new(), strengths: found };
        // 1 * 25, 2 * 9, 4 * 1; none above 0: 1 * 25, 3 * 9, 5 * 1.
        assert_eq!(profiles.recruit(&[1.0, 2.0, 4.0], 2), [0, 1]);
        assert_eq!(profiles.recruit(&[-5.0, -3.0, -1.0], 1), [1]);
        assert_eq!(profiles.recruit(&[-1.0, 2.0, 4.0], 1), [1]);
        assert_eq!(strengths(&[0.0, 0.0], 0.5), [0.5, 0.5]);
    }
}
