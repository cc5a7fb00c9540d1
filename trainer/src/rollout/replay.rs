//! A log that answers calls.

use super::{NotLogged, World, prompt_id};
use routewright_data::Query;
use routewright_data::answers::{AnswerRow, AnswerTable};
use routewright_policy::Arm;
use routewright_policy::program::{Answer, Call, Callee, Confidence, Prompt, Usage};
use routewright_policy::programs::VERIFY;

/// Answers as the log has them: the samples of an arm to a query, in the order of their numbers.
///
/// The samples of a prompt of the policy are the answers whose `variant` is its id. A self-check ([`VERIFY`]) of an
/// answer is made of its `verifier_rate`: so many of the samples call it right, each at the price and the latency of
/// that answer, since a log has no others. Other prompts, fused ensembles and tools are not logged. `max_tokens` and
/// `temperature` are those of the log, whatever the call says.
#[derive(Debug)]
pub struct ReplayWorld<'a> {
    queries: &'a [Query],
    answers: &'a AnswerTable,
    /// Column of each arm of the policy in the answers; `None` where the log does not have it.
    columns: Vec<Option<usize>>,
    names: Vec<String>,
}

impl<'a> ReplayWorld<'a> {
    /// The answers to `queries` by `models`, in their order, for a policy with these arms.
    pub fn new(queries: &'a [Query], models: &[String], answers: &'a AnswerTable, arms: &[Arm]) -> Self {
        let column = |arm: &Arm| models.iter().position(|model| *model == arm.model);
        let names = arms.iter().map(|arm| arm.model.clone()).collect();
        Self { queries, answers, columns: arms.iter().map(column).collect(), names }
    }

    /// The row of an answer, by its number among those of its arm to the same prompt.
    fn row(&self, query: usize, call: &Call, at: usize) -> Option<AnswerRow<'_>> {
        let column = self.columns.get(call.arm_index()?).copied().flatten()?;
        let mut samples = self.answers.samples(query, column);
        match &call.prompt {
            Prompt::Query => samples.nth(at),
            Prompt::Template { id, .. } => samples.filter(|row| row.variant == Some(id)).nth(at),
        }
    }

    /// A check of the first answer of an arm, the one of this number among `n`.
    fn check(&self, query: usize, call: &Call, at: u32) -> Option<Answer> {
        let arm = call.arm_index()?;
        let row = self.row(query, &Call::arm(arm), 0)?;
        let n_right = (f64::from(row.verifier_rate?) * f64::from(call.samples)).round();
        let is_right = f64::from(at) < n_right;
        let text = if is_right { "The answer is correct." } else { "The answer is incorrect." };
        let of_row = answer(&row, arm, at);
        Some(Answer { text: text.to_owned(), short: None, confidence: None, ..of_row })
    }
}

/// The answer of a row of the log; `at` is its number in the call.
fn answer(row: &AnswerRow<'_>, arm: usize, at: u32) -> Answer {
    let has_confidence = row.logprob_mean.is_some()
        || row.logprob_min.is_some()
        || row.logprob_quantiles.is_some()
        || row.option_probs.is_some()
        || row.verifier_rate.is_some();
    Answer {
        call: 0,
        arm: Some(arm),
        sample: at,
        text: row.text.or(row.answer).unwrap_or_default().to_owned(),
        short: row.answer.map(str::to_owned),
        finish: row.finish.map(str::to_owned),
        usage: Usage {
            input_tokens: row.input_tokens.map(u64::from),
            output_tokens: row.output_tokens.map(u64::from),
        },
        cost_usd: row.cost_usd,
        latency_ms: row.latency_ms.map(f64::from),
        confidence: has_confidence.then(|| Confidence {
            logprob_mean: row.logprob_mean,
            logprob_min: row.logprob_min,
            logprob_quantiles: row.logprob_quantiles.unwrap_or_default().to_vec(),
            option_probs: row.option_probs.unwrap_or_default().to_vec(),
            verifier_rate: row.verifier_rate,
        }),
        failed: None,
    }
}

impl World for ReplayWorld<'_> {
    fn call(&self, query: usize, call: &Call, drawn: u32) -> Result<Vec<Answer>, NotLogged> {
        let missing = |sample: u32| NotLogged {
            query: self.queries[query].id.clone(),
            model: match &call.callee {
                Callee::Arm(arm) => self.names.get(*arm).cloned().unwrap_or_default(),
                Callee::Fusion(name) => name.clone(),
                Callee::Tool(name) => (*name).to_owned(),
            },
            prompt: prompt_id(call).to_owned(),
            sample,
        };
        let is_check = matches!(&call.prompt, Prompt::Template { id, .. } if id == VERIFY);
        let one = |at: u32| {
            if is_check {
                return self.check(query, call, at).ok_or_else(|| missing(at));
            }
            let row = self.row(query, call, (drawn + at) as usize).ok_or_else(|| missing(drawn + at))?;
            Ok(answer(&row, call.arm_index().unwrap_or_default(), at))
        };
        (0..call.samples).map(one).collect()
    }

    fn score(&self, query: usize, call: &Call, _: &Answer, number: u32) -> Option<f64> {
        self.row(query, call, number as usize)?.score.map(f64::from)
    }
}
