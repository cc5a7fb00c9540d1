//! `routewright fuse --expert-rows`: rows that make the first member hand over what it answers wrongly alone.

use super::output;
use anyhow::{Context as _, bail};
use routewright_data::log::TaskRow;
use routewright_data::tasks::Reward;
use routewright_decoder::backend::Backend;
use routewright_decoder::ensemble::Ensemble;
use routewright_decoder::fuse::{System as _, answer, find};
use routewright_decoder::generation::{Answer, Ask, FuseError, Generation, Unit};
use routewright_decoder::token::citer::Citer;
use routewright_decoder::token::expert_rows::{ExpertRows, ExpertState, Fit};
use routewright_decoder::token::expert_token::{expert_state, mean_row};
use routewright_decoder::trace::Step;
use routewright_trainer::progress::Progress as _;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// What `--json` prints.
#[derive(Debug, Default, Serialize)]
struct Learned {
    n_tasks: usize,
    /// By member, tasks it is the first to answer rightly alone.
    n_right: Vec<usize>,
    n_states: usize,
    /// States at which the rows choose as they were taught.
    accuracy: f64,
}

/// Learns rows of the members after the first, and writes them.
pub(crate) fn write(
    ensemble: &Ensemble,
    tasks: &[TaskRow],
    ask: impl Fn(&str) -> Ask,
    path: &Path,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let members = ensemble.backends();
    let begin = mean_row(&*members[0]).context("the first member does not show its embeddings")?;
    let bars = output::Bars::new("experts");
    bars.start("tasks", tasks.len() as u64);
    let mut learned = Learned { n_tasks: tasks.len(), n_right: vec![0; members.len()], ..Learned::default() };
    let mut states = Vec::new();
    for (at, task) in tasks.iter().enumerate() {
        let answers =
            members.iter().map(|member| alone(member, ask(&task.prompt))).collect::<Result<Vec<_>, _>>()?;
        // What nobody answers rightly teaches nothing.
        if let Some(first) = answers.iter().position(|answer| Reward::Exact.of(task, &answer.text) >= 1.0) {
            learned.n_right[first] += 1;
            states.extend(of_task(&members[0], ask(&task.prompt), first, &answers[0])?);
        }
        bars.step(at as u64 + 1, &format!("{} states", states.len()));
    }
    drop(bars);
    if states.is_empty() {
        bail!("no member answers any of {} tasks rightly alone, so there is nothing to learn", tasks.len());
    }
    let names: Vec<String> = members.iter().skip(1).map(|member| member.name().to_owned()).collect();
    let rows = ExpertRows::fit(&names, &begin, &states, Fit::default());
    rows.save(path).map_err(anyhow::Error::msg)?;
    let chosen = |state: &ExpertState| {
        rows.best(&state.hidden).filter(|(_, logit)| *logit > state.log_sum).map(|(expert, _)| expert)
    };
    let right = states.iter().filter(|state| chosen(state) == state.expert).count();
    learned.n_states = states.len();
    learned.accuracy = right as f64 / states.len() as f64;
    if json {
        output::say_json(&learned)?;
    } else {
        let Learned { n_right, n_states, accuracy, .. } = &learned;
        output::say(&format!("first to be right: {n_right:?}; {n_states} states, {accuracy:.3} as taught"));
    }
    output::tell(&format!("wrote {}", path.display()));
    Ok(ExitCode::SUCCESS)
}

/// What a member answers alone.
fn alone(member: &Arc<dyn Backend>, ask: Ask) -> Result<Answer, FuseError> {
    let one = std::slice::from_ref(member);
    let fuser = find(Citer::NAME)?.build(&serde_json::json!({}), one)?;
    answer(&*fuser, one, ask, Box::new(|_| {}))
}

/// The state after the prompt, and where the first member is right itself all states of its answer.
fn of_task(
    first: &Arc<dyn Backend>,
    ask: Ask,
    right: usize,
    answer: &Answer,
) -> Result<Vec<ExpertState>, FuseError> {
    let mut generation = Generation::open(std::slice::from_ref(first), ask, Box::new(|_| {}))?;
    let mut states: Vec<ExpertState> = Vec::new();
    states.extend(expert_state(&**first, &mut generation, right.checked_sub(1))?);
    for step in answer.trace.steps().iter().filter(|step| right == 0 && !step.text.is_empty()) {
        generation.commit(Unit::Text(&step.text), &[], Step::default());
        states.extend(expert_state(&**first, &mut generation, None)?);
    }
    Ok(states)
}
