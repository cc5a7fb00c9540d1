//! What methods share that have one model write the reply from the answers of others.

use super::folds;
use super::log::Log;
use super::programs;
use crate::method::{FitContext, FitError, Fitted};
use crate::methods::votes::weights::{Accuracies, Scheme, Weights, voted};
use crate::train::arms;
use crate::validation::Folds;
use routewright_data::suggest::near_names;
use routewright_policy::forms::Link;
use routewright_policy::programs::select::{Block, Grouping, Judges, Selection};
use routewright_policy::programs::{Fuse, Fusion, Reading};
use serde::Serialize;
use std::collections::BTreeMap;

/// The prompt of a fuser where no other is given.
pub(super) const PROMPT: &str = "You are given a question and the answers of several assistants, the most trusted \
first. Some of them may be wrong. Compare them, decide what is right, and write one answer in the form that the \
question asks for.\n\nQuestion:\n{query}\n\n{answers}\n\nFinal answer:";

/// Folds that the figures of the vote are taken on.
const FOLDS: usize = 5;

/// Whether answers can be equal: whole texts, which the rule `exact` leaves as they are, hardly ever are.
fn has_forms(log: &Log<'_>) -> bool {
    let is_read = log.reads == Reading::Short || log.rule.name != "exact";
    is_read && log.votes.forms.iter().any(Option::is_some)
}

/// Ranks answers by the votes of `vote`, or, of texts that no rule reads, by how like the others they are.
pub(super) fn ranking(log: &Log<'_>, accuracies: &Accuracies) -> Selection {
    let members = log.models.clone();
    let skills = accuracies.skills();
    let votes = |task: Option<&str>| -> Vec<f64> {
        let standing = skills.standing(task);
        (0..members.len()).map(|member| standing.vote(member)).collect()
    };
    let (grouping, block) = match has_forms(log) {
        true => {
            let tasks = skills.tasks.keys().map(|task| (task.clone(), votes(Some(task)))).collect();
            (Grouping::Equal, Block::Weighted { weights: votes(None), tasks })
        }
        false => (Grouping::Apart, Block::Medoid { similarity: "token-f1".to_owned() }),
    };
    Selection { skills, blocks: vec![block], ..programs::selection(log, members, grouping) }
}

/// The model named, or the most accurate one where the name is empty.
///
/// # Errors
/// If the log has no such model.
pub(super) fn fuser(
    name: &str,
    log: &Log<'_>,
    accuracies: &Accuracies,
    context: &FitContext<'_>,
    method: &'static str,
) -> Result<String, FitError> {
    if name.is_empty() {
        return Ok(log.models[Log::strongest(&accuracies.overall)].clone());
    }
    let known = &context.train.models;
    if known.iter().any(|model| model == name) {
        return Ok(name.to_owned());
    }
    let hint = near_names(name, known.iter().map(String::as_str));
    Err(FitError::Params {
        method,
        reason: format!("`fuser` is `{name}`, which is no model of the log; {hint}"),
    })
}

/// The fit of a program `fuse`. Its figures are those of a vote of all members, where answers can be equal: no log has
/// the texts of the fuser.
///
/// # Errors
/// If the program refuses what was made.
pub(super) fn fitted(
    fusion: Fusion,
    prompt: &str,
    log: &Log<'_>,
    context: &FitContext<'_>,
    params: &impl Serialize,
    method: &'static str,
) -> Result<Fitted, FitError> {
    let all = arms(context.train);
    let scorer = programs::linear("candidate", &[1.0, 0.0], Link::Identity, all.len());
    let asked = fusion.selection.asked.as_ref().map_or(log.models.len(), Vec::len);
    let others = fusion.quorum.min(log.models.len() - asked);
    let program = Fuse::new(fusion, Judges::from(scorer), prompt.to_owned(), &all)
        .map_err(|error| FitError::Params { method, reason: error.to_string() })?;
    let mut fitted = Fitted::steps(Box::new(program), all.len(), params);
    fitted.metrics.insert("calls_at_most".to_owned(), (asked + others + 1) as f64);
    if has_forms(log) {
        fitted.metrics.extend(figures_of_the_vote(log, context));
    }
    Ok(fitted)
}

/// What a vote of all members is worth on folds of train.
fn figures_of_the_vote(log: &Log<'_>, context: &FitContext<'_>) -> BTreeMap<String, f64> {
    let dealt = Folds::new(context.train, context.seed, FOLDS);
    let scheme = Scheme { weights: Weights::LogOdds, is_open: true, twins: vec![None; log.models.len()] };
    let ours = folds::scores(log.n_queries(), &dealt, |slice| {
        let accuracies = Accuracies::fit(&log.votes, &slice.fit);
        let score = |row: &usize| voted(&log.votes, *row, &accuracies, &scheme).unwrap_or(f64::NAN);
        slice.valid.iter().map(score).collect()
    });
    let single = folds::best_single(log, &dealt);
    let figures = folds::figures(&ours, &single, context);
    figures.into_iter().map(|(name, value)| (format!("vote_{name}"), value)).collect()
}
