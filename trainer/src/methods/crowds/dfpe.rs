//! DFPE (arXiv 2501.17479): of models that answer alike the most accurate, of these the better ones, and a vote
//! weighted by the exponential of accuracy; task by task.
//!
//! For each task: the *fingerprint* of a model is the mean vector of its answers; DBSCAN groups fingerprints whose
//! cosine distance is at most `eps`; the most accurate model of each group stays. Of these stay the models whose
//! accuracy `A` is at least the `quantile` of theirs. They alone are asked, and the vote of each counts
//! `exp(scale A) / sum exp(scale A)`. `eps`, `quantile` and `scale` are chosen on folds of train.
//!
//! # Deviations from the paper and its code (nivgold/DFPE)
//! 1. The code adds the unweighted count to the weighted votes, so that it mixes a plain vote in, gives models below
//!    the threshold the weight `exp(0)`, and never fills its majority baseline: none of it is here.
//! 2. Vectors are lexical, fitted on the answers of train; the code embeds with a sentence encoder.
//! 3. `A` is the accuracy on the task drawn to the accuracy over all, as `vote` counts it.
//! 4. Requests of a task that train does not have are served by the models chosen over all of train.
//! 5. With `min_samples = 1`, as in the code, no fingerprint is noise and DBSCAN groups what is connected.

use super::folds;
use super::log::{Asked, Log};
use super::programs::{self, Made};
use crate::evaluate::{Sources, Tuning};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, Reads};
use crate::methods::votes::weights::Accuracies;
use crate::validation::Folds;
use routewright_data::FeatureMatrix;
use routewright_data::features::{FeatureInput, Featurizer, Lexical, LexicalSettings};
use routewright_policy::forms::Link;
use routewright_policy::programs::select::{Block, Grouping, Selection};
use routewright_policy::programs::{Ballot, winners};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Dfpe>(
    "by task: one model of each group that answers alike, the better of these, an exponential vote",
    Some("2501.17479"),
    Family::After,
    &[Need::Source],
)
.reading(&[Reads::Outcomes, Reads::Answers]);

/// Answers that vectors are fitted on, at most.
const ANSWERS_MAX: usize = 8_000;

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Dfpe;

/// Parameters; a list is a grid of which cross-validation picks one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Models that may be asked; all where empty.
    members: Vec<String>,
    /// Rule that makes equal answers equal texts, see `data::answers::normalize`.
    normalize: String,
    /// Greatest cosine distances of fingerprints in one group, in [0, 2].
    eps: Vec<f64>,
    /// Quantiles of the accuracies below which models are left out, in [0, 1].
    quantile: Vec<f64>,
    /// Factors of the accuracy in the exponential, at least 0.
    scale: Vec<f64>,
    /// Folds of train, in [2, 20].
    folds: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            members: Vec::new(),
            normalize: "exact".to_owned(),
            eps: vec![0.0, 0.1, 0.3, 0.5],
            quantile: vec![0.0, 0.5, 0.75],
            scale: vec![5.0, 1.0, 15.0],
            folds: 5,
        }
    }
}

/// One value of each grid.
#[derive(Debug, Clone, Copy)]
struct Setting {
    eps: f64,
    quantile: f64,
    scale: f64,
}

/// Who is asked on a task, and what each vote counts; 0 for who is not asked.
#[derive(Debug, Clone, PartialEq)]
struct Chosen {
    asked: Vec<usize>,
    weights: Vec<f64>,
}

fn refused(reason: String) -> FitError {
    FitError::Params { method: Dfpe::NAME, reason }
}

impl Params {
    fn check(&self) -> Result<(), FitError> {
        let is_within = |values: &[f64], least: f64, most: f64| {
            !values.is_empty() && values.iter().all(|value| (least..=most).contains(value))
        };
        if !is_within(&self.eps, 0.0, 2.0) || !is_within(&self.quantile, 0.0, 1.0) {
            return Err(refused("`eps` needs numbers in [0, 2], `quantile` in [0, 1]".to_owned()));
        }
        if !is_within(&self.scale, 0.0, 1e3) || !(2..=20).contains(&self.folds) {
            return Err(refused("`scale` needs numbers in [0, 1000], `folds` one in [2, 20]".to_owned()));
        }
        Ok(())
    }

    fn settings(&self) -> Vec<Setting> {
        let all = self.eps.iter().flat_map(|eps| self.quantile.iter().map(move |quantile| (*eps, *quantile)));
        let with =
            |(eps, quantile)| self.scale.iter().map(move |scale| Setting { eps, quantile, scale: *scale });
        all.flat_map(with).collect()
    }
}

/// Group of each fingerprint: those connected by steps of at most `eps`.
fn groups(fingerprints: &[Vec<f64>], eps: f64) -> Vec<usize> {
    let length = |a: &[f64]| a.iter().map(|a| a * a).sum::<f64>().sqrt();
    let distance = |a: &[f64], b: &[f64]| {
        let cosine = a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / (length(a) * length(b)).max(1e-12);
        1.0 - cosine
    };
    let n = fingerprints.len();
    let mut group: Vec<usize> = (0..n).collect();
    for a in 0..n {
        for b in a + 1..n {
            let (from, to) = (group[b].max(group[a]), group[b].min(group[a]));
            if from != to && distance(&fingerprints[a], &fingerprints[b]) <= eps + 1e-12 {
                group.iter_mut().filter(|group| **group == from).for_each(|group| *group = to);
            }
        }
    }
    group
}

/// Who is asked where the members have these fingerprints and accuracies.
fn choose(fingerprints: &[Vec<f64>], accuracies: &[f64], setting: &Setting) -> Chosen {
    let group = groups(fingerprints, setting.eps);
    let n = accuracies.len();
    // The best of its group; the first of equals.
    let leads = |member: &usize| {
        let better = |other: usize| {
            accuracies[other] > accuracies[*member]
                || accuracies[other] == accuracies[*member] && other < *member
        };
        !(0..n).any(|other| group[other] == group[*member] && better(other))
    };
    let kept: Vec<usize> = (0..n).filter(leads).collect();
    let mut sorted: Vec<f64> = kept.iter().map(|member| accuracies[*member]).collect();
    sorted.sort_by(f64::total_cmp);
    let place = setting.quantile * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    let least = low + (high - low) * place.fract();
    let asked: Vec<usize> = kept.into_iter().filter(|member| accuracies[*member] >= least - 1e-12).collect();
    let raised = |member: &usize| (setting.scale * (accuracies[*member] - 1.0)).exp();
    let sum: f64 = asked.iter().map(raised).sum();
    let mut weights = vec![0.0; n];
    asked.iter().for_each(|member| weights[*member] = raised(member) / sum);
    Chosen { asked, weights }
}

/// Fingerprints of the members over some rows.
struct Fingerprints {
    /// Vectors of the answers, row by row and member by member.
    vectors: FeatureMatrix,
    n_members: usize,
}

impl Fingerprints {
    fn of(log: &Log<'_>, seed: u64) -> Result<Self, FitError> {
        let failed = |error: String| FitError::Numeric { method: Dfpe::NAME, reason: error };
        let n_members = log.models.len();
        let cells = (0..log.n_queries()).flat_map(|row| (0..n_members).map(move |member| (row, member)));
        let texts: Vec<&str> = cells.map(|(row, member)| log.text(row, member)).collect();
        let every = texts.len().div_ceil(ANSWERS_MAX).max(1);
        let sample: Vec<&str> = texts.iter().step_by(every).copied().collect();
        let lexical = Lexical::fit(&sample, LexicalSettings::default(), seed)
            .map_err(|error| failed(error.to_string()))?;
        let inputs: Vec<FeatureInput<'_>> = texts.iter().map(|text| (*text).into()).collect();
        let vectors = lexical.featurize(&inputs).map_err(|error| failed(error.to_string()))?;
        Ok(Self { vectors, n_members })
    }

    fn over(&self, rows: &[usize]) -> Vec<Vec<f64>> {
        let mean = |member: usize| {
            let mut sum = vec![0.0; self.vectors.dim()];
            for row in rows {
                let vector = self.vectors.row(row * self.n_members + member);
                sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += f64::from(*x));
            }
            sum
        };
        (0..self.n_members).map(mean).collect()
    }
}

/// Who is asked on each task, and elsewhere.
struct Plan {
    tasks: BTreeMap<String, Chosen>,
    default: Chosen,
}

impl Plan {
    fn of(log: &Log<'_>, prints: &Fingerprints, rows: &[usize], setting: &Setting) -> (Self, Accuracies) {
        let accuracies = Accuracies::fit(&log.votes, rows);
        let of_task = |task: &String| {
            let is_of = |row: &&usize| log.votes.tasks[**row].as_ref() == Some(task);
            let rows: Vec<usize> = rows.iter().filter(is_of).copied().collect();
            let chosen = choose(&prints.over(&rows), accuracies.strengths(Some(task)), setting);
            (task.clone(), chosen)
        };
        let tasks = accuracies.tasks.keys().map(of_task).collect();
        let default = choose(&prints.over(rows), &accuracies.overall, setting);
        (Self { tasks, default }, accuracies)
    }

    fn on(&self, task: Option<&str>) -> &Chosen {
        task.and_then(|task| self.tasks.get(task)).unwrap_or(&self.default)
    }

    /// Score of the answer it returns on a row; NaN where it is not known.
    fn score(&self, log: &Log<'_>, accuracies: &Accuracies, row: usize) -> f64 {
        let task = log.votes.tasks[row].as_deref();
        let (chosen, strengths) = (self.on(task), accuracies.strengths(task));
        let forms = log.votes.row(row);
        let ballot = |member: &usize| Ballot {
            form: forms[*member].as_deref(),
            weight: chosen.weights[*member],
            strength: strengths[*member],
        };
        let ballots: Vec<Ballot<'_>> = chosen.asked.iter().map(ballot).collect();
        let found = winners(&ballots);
        let of = |at: &usize| log.votes.scores.get(row, chosen.asked[*at]).map_or(f64::NAN, f64::from);
        match found.len() {
            0 => {
                let best = chosen.asked.iter().max_by(|a, b| strengths[**a].total_cmp(&strengths[**b]));
                best.and_then(|member| log.votes.scores.get(row, *member)).map_or(f64::NAN, f64::from)
            }
            n => found.iter().map(of).sum::<f64>() / n as f64,
        }
    }
}

impl Method for Dfpe {
    const NAME: &'static str = "dfpe";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        let asked = Asked {
            method: Self::NAME,
            key: "members",
            models: &params.members,
            normalize: &params.normalize,
        };
        let log = Log::read(&asked, context)?;
        log.expect_forms(Self::NAME)?;
        let prints = Fingerprints::of(&log, context.seed)?;
        let dealt = Folds::new(context.train, context.seed, params.folds);
        let sources = Sources::of(context.train);
        let settings = params.settings();
        let play = |setting: &Setting| {
            folds::scores(log.n_queries(), &dealt, |slice| {
                let (plan, accuracies) = Plan::of(&log, &prints, &slice.fit, setting);
                slice.valid.iter().map(|row| plan.score(&log, &accuracies, *row)).collect()
            })
        };
        let played: Vec<Vec<f64>> = settings.iter().map(play).collect();
        let criteria: Vec<f64> = played
            .iter()
            .map(|scores| sources.mean(scores, context.average).unwrap_or(f64::NEG_INFINITY))
            .collect();
        let best = Log::strongest(&criteria);
        let setting = settings[best];
        let rows: Vec<usize> = (0..log.n_queries()).collect();
        let (plan, accuracies) = Plan::of(&log, &prints, &rows, &setting);
        let weights = |chosen: &Chosen| chosen.weights.clone();
        let block = Block::Weighted {
            weights: weights(&plan.default),
            tasks: plan.tasks.iter().map(|(task, chosen)| (task.clone(), weights(chosen))).collect(),
        };
        let by_task = plan.tasks.iter().map(|(task, chosen)| (task.clone(), chosen.asked.clone()));
        let selection = Selection {
            asked: Some(plan.default.asked.clone()),
            asked_by_task: by_task.collect(),
            skills: accuracies.skills(),
            blocks: vec![block],
            ..programs::selection(&log, log.models.clone(), Grouping::Equal)
        };
        let scorer = programs::linear("candidate", &[1.0, 0.0], Link::Identity, context.train.n_arms());
        let chosen = Params {
            eps: vec![setting.eps],
            quantile: vec![setting.quantile],
            scale: vec![setting.scale],
            ..params.clone()
        };
        let made = Made { selection, judges: scorer.into() };
        let mut fitted = made.fitted(&log, context, &chosen, Self::NAME)?;
        let single = folds::best_single(&log, &dealt);
        fitted.metrics.extend(folds::figures(&played[best], &single, context));
        fitted.tuning = Some(Tuning { candidates: settings.len(), slices: params.folds });
        Ok(fitted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_grouped_where_they_are_connected() {
        // Angles of 0, 20, 40 and 90 degrees: cosine distances of 20 degrees are 0.0603.
        let at = |degrees: f64| vec![degrees.to_radians().cos() * 3.0, degrees.to_radians().sin() * 3.0];
        let prints = [0.0, 20.0, 40.0, 90.0].map(at);
        assert_eq!(groups(&prints, 0.061), [0, 0, 0, 3]);
        assert_eq!(groups(&prints, 0.06), [0, 1, 2, 3]);
        assert_eq!(groups(&prints, 1.0), [0; 4]);
    }

    #[test]
    fn the_better_of_the_leaders_vote_by_the_exponential_of_accuracy() {
        let prints = [vec![1.0, 0.0], vec![1.0, 0.0], vec![0.0, 1.0], vec![-1.0, 0.0]];
        let accuracies = [0.5, 0.8, 0.6, 0.2];
        let setting = |quantile| Setting { eps: 0.1, quantile, scale: 5.0 };
        // 0 answers as 1 does, which is better. Leaders: .8, .6, .2.
        let all = choose(&prints, &accuracies, &setting(0.0));
        assert_eq!(all.asked, [1, 2, 3]);
        let sum = 4_f64.exp() + 3_f64.exp() + 1_f64.exp();
        let by_hand = [0.0, 4_f64.exp() / sum, 3_f64.exp() / sum, 1_f64.exp() / sum];
        assert!(all.weights.iter().zip(by_hand).all(|(a, b)| (a - b).abs() < 1e-12), "{all:?}");
        // Three quarters of the way: between .6 and .8.
        assert_eq!(choose(&prints, &accuracies, &setting(0.75)).asked, [1]);
        assert_eq!(choose(&prints, &accuracies, &setting(0.5)).asked, [1, 2]);
        assert_eq!(choose(&prints[..1], &[0.0], &setting(1.0)).weights, [1.0]);
    }
}
