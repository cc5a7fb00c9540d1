//! Arms that are called at the same time: who they are, and which of them fit. What `vote` and `select` share.

use crate::Arm;
use crate::program::{Action, Answer, Call, Episode, Estimate, Reply, Step, StepReason};

/// Arm of each model named, each once; `does` says in errors what the models do.
pub(super) fn members(names: &[String], all: &[Arm], does: &str) -> Result<Vec<usize>, String> {
    let mut arms = Vec::with_capacity(names.len());
    for model in names {
        let at = all.iter().position(|arm| arm.model == *model);
        let at = at.ok_or_else(|| format!("`{model}` {does}, which is no arm of the policy"))?;
        if arms.contains(&at) {
            return Err(format!("`{model}` {does} twice, expected each model once"));
        }
        arms.push(at);
    }
    Ok(arms)
}

/// The members of `order` that fit budget, deadline and constraints together, the first being called first; ascending.
pub(super) fn fitting(episode: &Episode<'_>, arms: &[usize], order: &[usize]) -> Vec<usize> {
    let (mut called, mut together) = (Vec::new(), Vec::new());
    for member in order {
        together.push(arms[*member]);
        if episode.affords(&together, 1) {
            called.push(*member);
        } else {
            together.pop();
        }
    }
    called.sort_unstable();
    called
}

/// Calls these members at the same time; abstains where there are none. `strengths` are of all members.
pub(super) fn call(episode: &Episode<'_>, arms: &[usize], called: &[usize], strengths: &[f64]) -> Step {
    if called.is_empty() {
        return Step::sure(Action::Return(Reply::Abstain), StepReason::Limit);
    }
    let estimate = |member: &usize| Estimate {
        score: Some(strengths[*member] as f32),
        cost_usd: episode.arms[arms[*member]].price.mean_cost_usd,
    };
    let calls = called.iter().map(|member| Call::arm(arms[*member])).collect();
    let step = Step::call(calls, StepReason::Start);
    Step { estimates: called.iter().map(estimate).collect(), certain: called.len() == 1, ..step }
}

/// Returns the answer of the strongest member, the first of equals; abstains where every call failed. `strength` is
/// that of the member that gave an answer.
pub(super) fn strongest(answers: &[Answer], strength: impl Fn(&Answer) -> f64) -> Step {
    let answered = (0..answers.len()).filter(|at| answers[*at].is_ok());
    let stronger =
        |a: &usize, b: &usize| strength(&answers[*a]).total_cmp(&strength(&answers[*b])).then(b.cmp(a));
    match answered.max_by(stronger) {
        Some(at) => Step::sure(Action::Return(Reply::Answer(at)), StepReason::Exhausted),
        None => Step::sure(Action::Return(Reply::Abstain), StepReason::Failed),
    }
}

/// Returns one of `found`, each with the same probability; `last` is the place of the last of them.
pub(super) fn drawn(found: &[usize], last: usize, episode: &Episode<'_>, reason: StepReason) -> Step {
    let reply = |at: usize| Action::Return(Reply::Answer(at));
    let n = last as u64 + 1;
    let chosen = found[(episode.seed() % n) as usize];
    let p = 1.0 / n as f32;
    let alternatives = found.iter().map(|at| (reply(*at), p)).collect();
    Step { alternatives, ..Step::sure(reply(chosen), reason) }
}
