//! The log of a collection: what the journal holds, scored.

use super::code::{self, Tests};
use super::error::CollectError;
use super::job::{Asks, Checked};
use super::journal::{Came, Journal};
use super::members::Member;
use super::prompts::{Prompts, Query};
use super::reply::Reply;
use super::rule::{Rule, Verdict, shown, verdict};
use super::sandbox::Sandbox;
use routewright_data::log::{OutcomeRow, RowWriter, WriteOptions};
use serde::Serialize;
use std::path::Path;

/// Cells that are scored together.
const BLOCK: usize = 256;
/// Nano-USD of a dollar.
const NANO: f64 = 1e9;
/// Characters of a judge's words that are kept.
const SAID_MAX: usize = 100;

/// What became of the calls of one model.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ModelSummary {
    /// Name of its section.
    pub model: String,
    /// Calls that it answered.
    pub answered: u64,
    /// Calls that failed: rows without a score.
    pub failed: u64,
    /// Calls that were not made: no rows.
    pub not_asked: u64,
    /// Answers that have a score.
    pub scored: u64,
    /// Their mean score.
    pub score: Option<f64>,
    /// Price of its answers, where it is known.
    pub cost_usd: f64,
    /// Whether it failed so often in a row that it was asked no more.
    pub given_up: bool,
}

/// What the scores of answers are made with.
pub(super) struct Scoring<'a> {
    /// Every model of the table: judges are among them.
    pub(super) members: &'a [Member],
    pub(super) asks: &'a Asks,
    pub(super) journal: &'a Journal,
    pub(super) sandbox: Option<&'a Sandbox>,
    /// Self-verifications of each answer.
    pub(super) n_verify: u32,
}

/// An answer before it is scored.
struct Cell<'a> {
    query: &'a Query,
    member: &'a Member,
    sample: u32,
    came: Came,
}

impl Scoring<'_> {
    /// Writes the log; returns the number of rows and what became of each model.
    ///
    /// # Errors
    /// If the journal cannot be read or the log not written.
    pub(super) fn write(
        &self,
        prompts: &Prompts,
        answering: &[Member],
        out: &Path,
    ) -> Result<(u64, Vec<ModelSummary>), CollectError> {
        let named = |member: &Member| ModelSummary { model: member.name.clone(), ..ModelSummary::default() };
        let mut summaries: Vec<ModelSummary> = answering.iter().map(named).collect();
        let mut writer = RowWriter::create(out, WriteOptions::default())?.with_query_text(prompts.query_text);
        let mut cells: Vec<Cell<'_>> = Vec::new();
        for query in &prompts.queries {
            for (member, summary) in answering.iter().zip(&mut summaries) {
                for sample in 0..self.asks.n_samples(member) {
                    let key = self.asks.answer(member, query, sample).key;
                    match self.journal.came(&key)? {
                        Some(came) => cells.push(Cell { query, member, sample, came }),
                        None => summary.not_asked += 1,
                    }
                }
            }
            if cells.len() >= BLOCK {
                self.flush(&mut cells, &mut writer, &mut summaries)?;
            }
        }
        self.flush(&mut cells, &mut writer, &mut summaries)?;
        let n_rows = writer.n_rows();
        if n_rows > 0 {
            writer.finish()?;
        }
        for summary in &mut summaries {
            summary.score = summary.score.map(|sum| sum / summary.scored.max(1) as f64);
        }
        Ok((n_rows, summaries))
    }

    fn flush(
        &self,
        cells: &mut Vec<Cell<'_>>,
        writer: &mut RowWriter<OutcomeRow>,
        summaries: &mut [ModelSummary],
    ) -> Result<(), CollectError> {
        let rows = self.rows(cells)?;
        for (cell, row) in cells.drain(..).zip(rows) {
            if let Some(summary) = summaries.iter_mut().find(|summary| summary.model == cell.member.name) {
                summary.count(&row, &cell.came);
            }
            writer.push(row)?;
        }
        Ok(())
    }

    /// The rows of some cells, scored on every core.
    fn rows(&self, cells: &[Cell<'_>]) -> Result<Vec<OutcomeRow>, CollectError> {
        let n = std::thread::available_parallelism().map_or(1, usize::from);
        let share = cells.len().div_ceil(n).max(1);
        let score = |cells: &[Cell<'_>]| -> Result<Vec<OutcomeRow>, CollectError> {
            cells.iter().map(|cell| self.row(cell)).collect()
        };
        let died = || CollectError::Options("the scoring of answers failed".to_owned());
        let score = &score;
        let scored = std::thread::scope(|scope| -> Vec<_> {
            let threads: Vec<_> =
                cells.chunks(share).map(|cells| scope.spawn(move || score(cells))).collect();
            threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        let mut rows = Vec::with_capacity(cells.len());
        for part in scored {
            rows.extend(part.map_err(|_| died())??);
        }
        Ok(rows)
    }

    fn row(&self, cell: &Cell<'_>) -> Result<OutcomeRow, CollectError> {
        let Cell { query, member, sample, came } = cell;
        let variant = self.asks.variant(member, *sample);
        let row = OutcomeRow {
            query_id: query.id.clone(),
            split: query.split.clone(),
            source: query.source.clone(),
            prompt: query.text.clone(),
            model: member.name.clone(),
            sample: i32::try_from(*sample).ok(),
            variant: variant.map(|variant| variant.name.clone()),
            reference: query.gold.as_ref().map(shown),
            ..OutcomeRow::default()
        };
        let reply = match came {
            Came::Reply(reply) => reply,
            Came::Failed(why) => {
                return Ok(OutcomeRow {
                    finish: Some("error".to_owned()),
                    failure: Some(why.clone()),
                    ..row
                });
            }
        };
        let checked = Checked { query, model: &member.name, sample: *sample, text: &reply.text };
        // Tests and judges see the program itself.
        let reads_text = matches!(query.rule, Some(Rule::Form(_) | Rule::Regex(_)));
        let runs = reads_text && variant.is_some_and(|variant| variant.run);
        let verdict = match self.sandbox.filter(|_| runs) {
            Some(sandbox) => match code::output(sandbox, &reply.text) {
                Ok(text) => self.verdict(Checked { text: &text, ..checked }, query.rule.as_ref())?,
                Err(why) => Verdict { why: Some(why), ..Verdict::default() },
            },
            None => self.verdict(checked, query.rule.as_ref())?,
        };
        let verifier_rate = self.verified(member, checked)?;
        Ok(OutcomeRow {
            score: verdict.score,
            answer: verdict.answer.filter(|answer| !answer.is_empty()),
            failure: verdict.why,
            verifier_rate,
            ..filled(row, reply, query.n_options)
        })
    }

    fn verdict(&self, checked: Checked<'_>, rule: Option<&Rule>) -> Result<Verdict, CollectError> {
        let why = |why: String| Verdict { why: Some(why), ..Verdict::default() };
        let gold = checked.query.gold.as_ref();
        Ok(match rule {
            None => Verdict::default(),
            Some(Rule::Code) => match (self.sandbox, gold.and_then(|gold| Tests::read(gold).ok())) {
                (Some(sandbox), Some(tests)) => match code::score(sandbox, checked.text, &tests) {
                    Ok((passes, answer)) => {
                        Verdict { score: Some(f32::from(u8::from(passes))), answer, why: None }
                    }
                    Err(reason) => why(reason),
                },
                _ => why("there is no sandbox to run its code in".to_owned()),
            },
            Some(Rule::Judge(name)) => match self.members.iter().find(|member| member.name == *name) {
                Some(judge) => self.judged(judge, checked)?,
                None => why(format!("there is no judge `{name}`")),
            },
            Some(rule) => rule.score(checked.text, gold).unwrap_or_default(),
        })
    }

    fn judged(&self, judge: &Member, checked: Checked<'_>) -> Result<Verdict, CollectError> {
        let name = &judge.name;
        let why = |why: String| Verdict { why: Some(why), ..Verdict::default() };
        Ok(match self.journal.came(&self.asks.judge(judge, checked).key)? {
            Some(Came::Reply(reply)) => match verdict(&reply.text) {
                Some(score) => Verdict { score: Some(score), ..Verdict::default() },
                None => {
                    let said: String = reply.text.chars().take(SAID_MAX).collect();
                    why(format!("judge `{name}` gave no verdict: `{said}`"))
                }
            },
            Some(Came::Failed(reason)) => why(format!("judge `{name}` failed: {reason}")),
            None => why(format!("judge `{name}` was not asked")),
        })
    }

    /// Share of the verdicts of a model on its own answer that call it right; 0 where it gave none at all.
    fn verified(&self, member: &Member, checked: Checked<'_>) -> Result<Option<f32>, CollectError> {
        let (mut asked, mut verdicts) = (0_u32, Vec::new());
        for number in 0..self.n_verify {
            if let Some(Came::Reply(reply)) =
                self.journal.came(&self.asks.verify(member, checked, number).key)?
            {
                asked += 1;
                verdicts.extend(verdict(&reply.text));
            }
        }
        let right: f32 = verdicts.iter().sum();
        Ok((asked > 0).then(|| right / verdicts.len().max(1) as f32))
    }
}

impl ModelSummary {
    fn count(&mut self, row: &OutcomeRow, came: &Came) {
        match came {
            Came::Reply(_) => self.answered += 1,
            Came::Failed(_) => self.failed += 1,
        }
        self.cost_usd += row.cost_usd.unwrap_or_default();
        if let Some(score) = row.score {
            self.scored += 1;
            self.score = Some(self.score.unwrap_or_default() + f64::from(score));
        }
    }
}

/// The row with what the reply says.
fn filled(row: OutcomeRow, reply: &Reply, n_options: Option<usize>) -> OutcomeRow {
    let count = |n: Option<u64>| n.and_then(|n| i32::try_from(n).ok());
    OutcomeRow {
        cost_usd: reply.nano_usd.map(|nano| nano as f64 / NANO),
        input_tokens: count(reply.input_tokens),
        output_tokens: count(reply.output_tokens),
        latency_ms: Some(reply.latency_ms as f32),
        timestamp_ms: Some(reply.at_ms),
        response: Some(reply.text.clone()),
        finish: reply.finish.clone(),
        logprob_mean: reply.logprob_mean,
        logprob_min: reply.logprob_min,
        logprob_quantiles: Some(reply.logprob_quantiles.clone()).filter(|list| !list.is_empty()),
        option_probs: n_options.and_then(|n| reply.option_probs(n)),
        ..row
    }
}
