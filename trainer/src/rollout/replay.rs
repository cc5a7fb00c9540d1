//! A log that answers calls.

use super::{NotLogged, World};
use routewright_data::Query;
use routewright_data::answers::{AnswerRow, AnswerTable};
use routewright_policy::Arm;
use routewright_policy::program::{Answer, Call, Callee, Confidence, Prompt, Usage};

/// Answers as the log has them: the samples of an arm to a query, in the order of their numbers.
///
/// Only the query itself was sent to the models of a log, so that calls with another prompt, fused ensembles and tools
/// are not logged. `max_tokens` and `temperature` are those of the log, whatever the call says.
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

    /// The row of an answer, by its number among those of its arm.
    fn row(&self, query: usize, arm: Option<usize>, at: usize) -> Option<AnswerRow<'_>> {
        let column = self.columns.get(arm?).copied().flatten()?;
        self.answers.samples(query, column).nth(at)
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
            sample,
        };
        let arm = call.arm_index().filter(|_| call.prompt == Prompt::Query);
        let one = |at: u32| {
            let row = self.row(query, arm, (drawn + at) as usize).ok_or_else(|| missing(drawn + at))?;
            Ok(answer(&row, arm.unwrap_or_default(), at))
        };
        (0..call.samples).map(one).collect()
    }

    fn score(&self, query: usize, answer: &Answer, number: u32) -> Option<f64> {
        self.row(query, answer.arm, number as usize)?.score.map(f64::from)
    }
}
