//! Playing a policy on recorded answers: what each query scores, costs, takes and calls.
//!
//! A [`World`] answers the calls of a [`Machine`]. [`ReplayWorld`] answers from a log; what the log does not have
//! leaves the query uncovered, and it is counted. The same policy, world and seed give the same outcomes, bit for bit.
//! Learners that need an environment play the same machine.

mod replay;
mod scripted;
#[cfg(test)]
mod tests;

pub use replay::ReplayWorld;
pub use scripted::{Line, ScriptedWorld};

use crate::evaluate::{ArmShare, Frontier, JudgeOptions, Played, QueryOutcomes};
use crate::train::feature_inputs;
use rayon::prelude::*;
use routewright_data::OutcomeTable;
use routewright_policy::program::{Action, Answer, Budget, Call, Machine, Prompt, Reply, Step, StepError};
use routewright_policy::{Objective, Policy, Request};

/// An answer that a world does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no answer {sample} of `{model}` to query `{query}` is recorded, prompt `{prompt}`")]
pub struct NotLogged {
    /// Id of the query.
    pub query: String,
    /// Model called, or what else was.
    pub model: String,
    /// Id of the template it was called with, or `query` for the query itself.
    pub prompt: String,
    /// Sample asked for.
    pub sample: u32,
}

/// Id of the template of a call; `query` where it is the query itself.
fn prompt_id(call: &Call) -> &str {
    match &call.prompt {
        Prompt::Query => "query",
        Prompt::Template { id, .. } => id,
    }
}

/// Answers calls.
pub trait World: Sync {
    /// One answer a sample; `drawn` is the number of answers of the same callee to the same prompt that the episode has
    /// already, so that asking again brings others.
    ///
    /// # Errors
    /// If the world has no such answer.
    fn call(&self, query: usize, call: &Call, drawn: u32) -> Result<Vec<Answer>, NotLogged>;

    /// What an answer to `call` is worth, in [0, 1]; `None` where unknown. `number` counts the answers of the same
    /// callee to the same prompt in the episode, from 0, as `drawn` does.
    fn score(&self, query: usize, call: &Call, answer: &Answer, number: u32) -> Option<f64>;

    /// What a text of the policy's own is worth, in [0, 1]; `None` where the world cannot judge it.
    fn score_text(&self, _query: usize, _text: &str) -> Option<f64> {
        None
    }
}

/// Why a policy could not be played.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RolloutError {
    /// The program took no step.
    #[error("cannot play policy `{policy}` on query `{query}`")]
    Step {
        /// Name of the policy.
        policy: String,
        /// Id of the query.
        query: String,
        /// The reason.
        #[source]
        source: Box<StepError>,
    },
}

/// One episode played to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// Every step, the reply last.
    pub steps: Vec<Step>,
    /// Every call, in order.
    pub calls: Vec<Call>,
    /// Every answer, in the order of calls and samples.
    pub answers: Vec<Answer>,
    /// Price of the answers, US dollars.
    pub cost_usd: f64,
    /// Sum over steps of the slowest call, milliseconds.
    pub latency_ms: f64,
    /// Whether the latency of every answer is known.
    pub is_timed: bool,
    /// Whether the price of every answer is known.
    pub is_priced: bool,
}

impl Episode {
    /// The reply; `None` for an episode that was cut short.
    pub fn reply(&self) -> Option<&Reply> {
        match &self.steps.last()?.action {
            Action::Return(reply) => Some(reply),
            Action::Call(_) => None,
        }
    }
}

/// Plays one request to its end; `Ok(Err(_))` where the world lacks an answer.
///
/// # Errors
/// If the request is not valid or the program takes no valid step.
pub fn episode(
    policy: &Policy,
    request: Request<'_>,
    budget: Budget,
    world: &dyn World,
    query: usize,
) -> Result<Result<Episode, NotLogged>, StepError> {
    let mut machine = Machine::new(policy, request, budget);
    let mut steps = vec![machine.start()?];
    while !machine.is_done() {
        let mut answers = Vec::new();
        for at in machine.first_pending()..machine.calls().len() {
            let call = &machine.calls()[at];
            match world.call(query, call, drawn_before(machine.calls(), at)) {
                Ok(found) => answers.extend(found.into_iter().map(|answer| Answer { call: at, ..answer })),
                Err(missing) => return Ok(Err(missing)),
            }
        }
        steps.push(machine.supply(answers)?);
    }
    let answers = machine.answers().to_vec();
    Ok(Ok(Episode {
        steps,
        calls: machine.calls().to_vec(),
        cost_usd: machine.spent_usd(),
        latency_ms: machine.elapsed_ms(),
        is_timed: answers.iter().all(|answer| answer.latency_ms.is_some()),
        is_priced: answers.iter().all(|answer| answer.cost_usd.is_some()),
        answers,
    }))
}

/// Answers of the same callee to the same prompt that the calls before call `at` asked for.
fn drawn_before(calls: &[Call], at: usize) -> u32 {
    let same = |other: &&Call| other.callee == calls[at].callee && other.prompt == calls[at].prompt;
    calls[..at].iter().filter(same).map(|call| call.samples).sum()
}

/// What a policy scores, costs, takes and calls on each query of `table`, the mean over `seeds`; and the share of the
/// queries that each arm answers, in the order of the policy's arms.
///
/// An abstention scores 0. A query is uncovered where the world lacks an answer, or the worth of the reply.
///
/// # Errors
/// If the program takes no valid step on a query.
pub fn rollout(
    policy: &Policy,
    table: &OutcomeTable,
    world: &dyn World,
    objective: Option<Objective>,
    seeds: &[u64],
) -> Result<(QueryOutcomes, Vec<f64>), RolloutError> {
    let mut runs = Vec::new();
    let mut answered = vec![0.0; policy.arms.len()];
    for seed in seeds {
        let inputs = feature_inputs(table);
        let play = |query: usize| {
            let row = &table.queries[query];
            let request = Request {
                input: inputs[query],
                source: row.source.as_deref(),
                objective,
                seed: seed.wrapping_add(query as u64),
                ..Request::default()
            };
            episode(policy, request, Budget::default(), world, query).map_err(|source| {
                let (policy, query) = (policy.manifest.name.clone(), row.id.clone());
                RolloutError::Step { policy, query, source: Box::new(source) }
            })
        };
        let episodes: Vec<_> = (0..table.n_queries()).into_par_iter().map(play).collect::<Result<_, _>>()?;
        let mut run = QueryOutcomes::unknown(table.n_queries());
        for (query, episode) in episodes.iter().enumerate() {
            let Ok(episode) = episode else { continue };
            record(&mut run, query, episode, world);
            let reply = episode.reply().and_then(|reply| match reply {
                Reply::Answer(at) => episode.answers[*at].arm,
                Reply::Text(_) | Reply::Abstain => None,
            });
            if let Some(arm) = reply {
                answered[arm] += 1.0;
            }
        }
        runs.push(run);
    }
    let n = (seeds.len() * table.n_queries()).max(1) as f64;
    answered.iter_mut().for_each(|share| *share /= n);
    Ok((QueryOutcomes::mean(&runs), answered))
}

fn record(run: &mut QueryOutcomes, query: usize, episode: &Episode, world: &dyn World) {
    let score = match episode.reply() {
        Some(Reply::Answer(at)) => {
            let answer = &episode.answers[*at];
            let number = drawn_before(&episode.calls, answer.call) + answer.sample;
            world.score(query, &episode.calls[answer.call], answer, number)
        }
        Some(Reply::Text(text)) => world.score_text(query, text),
        Some(Reply::Abstain) => Some(0.0),
        None => None,
    };
    let Some(score) = score else { return };
    run.scores[query] = score;
    run.calls[query] = episode.answers.len() as f64;
    if episode.is_priced {
        run.costs[query] = episode.cost_usd;
    }
    if episode.is_timed {
        run.latencies_ms[query] = episode.latency_ms;
    }
}

/// Plays a policy as it is and at each of its settings, ready to be judged on `table`.
///
/// # Errors
/// As [`rollout`].
pub fn play<'a>(
    name: &'a str,
    policy: &Policy,
    table: &OutcomeTable,
    world: &dyn World,
    options: &JudgeOptions,
    seeds: &[u64],
) -> Result<Played<'a>, RolloutError> {
    let (outcomes, answered) = rollout(policy, table, world, None, seeds)?;
    let mut settings = Vec::new();
    for lambda in policy.program.lambdas() {
        let objective = Some(Objective { quality: 1.0, cost: lambda, latency: 0.0 });
        settings.push((Some(lambda), rollout(policy, table, world, objective, seeds)?.0));
    }
    if settings.is_empty() {
        settings.push((None, outcomes.clone()));
    }
    let share =
        |(arm, share): (&routewright_policy::Arm, &f64)| ArmShare { model: arm.model.clone(), share: *share };
    let mut shares: Vec<ArmShare> = policy.arms.iter().zip(&answered).map(share).collect();
    shares.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| a.model.cmp(&b.model)));
    let frontier = Frontier::played(&settings, table, options);
    Ok(Played { name, outcomes, shares, frontier })
}
