//! Answers of a simulated world: samples with texts, log-probabilities and checks, whose correctness is known.
//!
//! An arm that is right on a query with probability `p` (the expected score of the world) has on this query a chance
//! `r` of its own, drawn once, and its samples are right independently with probability `r`:
//!
//! ```text
//! r ~ Beta(p k, (1 - p) k),   k = 1
//! ```
//!
//! so that samples of one model agree far more often than chance, as those of real models do, and every sample has
//! the expectation `p`. The first sample is the outcome the world has without answers; `r` is drawn given it.
//!
//! A wrong answer is the query's tempting one (all arms share it), the arm's own habit, or any other. Queries of every
//! other topic have four options `A` to `D`, the others a whole number. Of the probability `p_i` the model gives to
//! answer `i`, its log-probabilities show `p_i^s / sum_j p_j^s`, with `s` of the arm: models are more sure than they
//! should be (`s > 1`) or less. Other tokens are the less sure, the smaller `r` is. Some wrong answers are cut off
//! (`finish` is `length`) and have no short answer. A check calls a right answer right with probability 0.85, a wrong
//! one with 0.35.

use super::{ANSWER_SIGMA, Cell, Simulated, SimulatedArm, TOPICS, World, normal, weighted};
use crate::answers::confidence::TokenConfidence;
use crate::answers::{AnswerRow, AnswerTable, AnswerTableBuilder};
use crate::log::{LogError, OutcomeRow, RowWriter, WriteOptions};
use crate::rng::{self, Rng};
use crate::split::prompt_key;
use crate::{Cells, OutcomeTable, Query};
use rand::RngExt as _;
use rand_distr::{Beta, Distribution as _, Exp1};
use std::path::Path;

/// Samples that one draw of `r` is worth: `1 / (k + 1)` is the correlation of two samples.
const CONCENTRATION: f64 = 1.0;
/// Among wrong answers: share of the query's tempting one, and of the arm's habit.
const TEMPTING: f64 = 0.3;
const HABIT: f64 = 0.35;
/// Wrong numbers besides those two.
const OTHERS: usize = 20;
const N_OPTIONS: usize = 4;
/// Wrong answers that are cut off before they name one.
const CUT: f64 = 0.05;
/// Tokens of an answer that have log-probabilities.
const TOKENS_MAX: usize = 32;
/// Checks behind a `verifier_rate`, and the probability that one calls a wrong and a right answer right.
const CHECKS: u32 = 5;
const CALLED_RIGHT: [f64; 2] = [0.35, 0.85];

/// A table with its answers, and what is known of them.
#[derive(Debug, Clone)]
pub struct AnsweredWorld {
    /// The outcomes: means over samples, as a log of them is loaded.
    pub table: OutcomeTable,
    /// The answers, in the order of `table`.
    pub answers: AnswerTable,
    /// Probability that a sample of an arm on a query is right, of missing cells too.
    pub chance: Cells,
    /// The right short answer of each query.
    pub right: Vec<String>,
}

/// The possible answers to a query and the wrong ones an arm prefers.
struct Candidates {
    /// The right answer first.
    texts: Vec<String>,
    /// Share of each among the wrong answers; 0 for the right one.
    wrong: Vec<f64>,
    has_options: bool,
}

/// One answer with all its columns.
struct Sample {
    score: f32,
    cost_usd: f64,
    input_tokens: i32,
    output_tokens: i32,
    latency_ms: f32,
    text: String,
    answer: Option<String>,
    finish: &'static str,
    tokens: Option<TokenConfidence>,
    option_probs: Option<Vec<f32>>,
    verifier_rate: f32,
}

impl World {
    /// Writes `n` queries with `samples` answers of every arm that has an outcome as an outcome log; returns the number
    /// of rows. Sample 0 has the outcomes of [`World::write_log`].
    ///
    /// # Errors
    /// If `n` or `samples` is 0, or the log cannot be written; nothing is left behind then.
    pub fn write_answers(&self, n: usize, samples: u32, path: &Path) -> Result<u64, LogError> {
        if n == 0 || samples == 0 {
            return Err(LogError::Options(format!(
                "queries and samples are `{n}` and `{samples}`, expected at least 1 each"
            )));
        }
        let mut writer = RowWriter::create(path, WriteOptions::default())?;
        for simulated in self.simulate(n) {
            for (arm, cell) in simulated.cells.iter().enumerate().filter(|(_, cell)| !cell.missing) {
                let (_, drawn) = self.draw_samples(&simulated.query, arm, cell, samples);
                for (sample, answer) in (0_i32..).zip(drawn) {
                    writer.push(answer.into_row(&simulated.query, &self.arms[arm], sample))?;
                }
            }
        }
        let n_rows = writer.n_rows();
        writer.finish()?;
        Ok(n_rows)
    }

    /// Draws `n` queries with `samples` answers a cell: the tables a log of [`World::write_answers`] holds.
    pub fn answered(&self, n: usize, samples: u32) -> AnsweredWorld {
        let n_arms = self.arms.len();
        let mut means = [(); 3].map(|()| Cells::missing(n, n_arms));
        let mut chance = Cells::missing(n, n_arms);
        let mut builder = AnswerTableBuilder::new(n, n_arms);
        let (mut queries, mut right) = (Vec::with_capacity(n), Vec::with_capacity(n));
        for (row, Simulated { query, cells }) in self.simulate(n).enumerate() {
            for (arm, cell) in cells.iter().enumerate() {
                let (r, drawn) = self.draw_samples(&query, arm, cell, samples);
                chance.set(row, arm, r as f32);
                if cell.missing || drawn.is_empty() {
                    continue;
                }
                let mean = |value: fn(&Sample) -> f32| {
                    let sum: f64 = drawn.iter().map(|answer| f64::from(value(answer))).sum();
                    (sum / drawn.len() as f64) as f32
                };
                means[0].set(row, arm, mean(|answer| answer.score));
                means[1].set(row, arm, mean(|answer| answer.cost_usd as f32));
                means[2].set(row, arm, mean(|answer| answer.latency_ms));
                for (sample, answer) in (0_u32..).zip(&drawn) {
                    let quantiles = answer.tokens.map(|tokens| tokens.quantiles);
                    builder.push(row, arm, &answer.as_row(sample, quantiles.as_ref().map(|q| &q[..])));
                }
            }
            right.push(self.candidates(&query, 0).texts.swap_remove(0));
            queries.push(query);
        }
        let [score, cost_usd, latency_ms] = means;
        let table = OutcomeTable {
            queries,
            models: self.arms.iter().map(|arm| arm.name.clone()).collect(),
            score,
            soft_score: None,
            cost_usd,
            latency_ms: Some(latency_ms),
            vectors: None,
        };
        AnsweredWorld { table, answers: builder.finish(), chance, right }
    }

    /// The possible answers to a query. Prompts that are equal after normalization have the same ones.
    fn candidates(&self, query: &Query, arm: usize) -> Candidates {
        let key = prompt_key(&query.prompt);
        let mut rng = rng::stream(self.seed, &format!("synthetic candidates {key:016x}"));
        let topic = TOPICS.iter().position(|topic| query.source.as_deref() == Some(*topic));
        let has_options = topic.is_some_and(|topic| topic % 2 == 1);
        let texts: Vec<String> = if has_options {
            let right = rng.random_range(0..N_OPTIONS);
            let letter = |number: usize| char::from(b'A' + ((right + number) % N_OPTIONS) as u8).to_string();
            (0..N_OPTIONS).map(letter).collect()
        } else {
            let right = rng.random_range(10..1000);
            (0..OTHERS + 3).map(|number| (right + 7 * number).to_string()).collect()
        };
        let n_wrong = texts.len() - 1;
        let mut habits = rng::stream(self.seed, &format!("synthetic habit {key:016x} {arm}"));
        let habit = 1 + habits.random_range(0..n_wrong);
        let mut wrong = vec![(1.0 - TEMPTING - HABIT) / n_wrong as f64; texts.len()];
        wrong[0] = 0.0;
        wrong[1] += TEMPTING;
        wrong[habit] += HABIT;
        Candidates { texts, wrong, has_options }
    }

    /// The chance `r` of an arm on a query, and its samples.
    fn draw_samples(&self, query: &Query, arm: usize, cell: &Cell, samples: u32) -> (f64, Vec<Sample>) {
        let mut rng = rng::stream(self.seed, &format!("synthetic answers {} {arm}", query.id));
        let p = cell.expected_score;
        let known = f64::from(cell.score);
        // The parameters are above 0 for any p: a logistic function of a finite number.
        let beta = Beta::new(
            (p * CONCENTRATION + known).max(1e-9),
            ((1.0 - p) * CONCENTRATION + 1.0 - known).max(1e-9),
        );
        let r = beta.map_or(p, |beta| beta.sample(&mut rng)).clamp(1e-6, 1.0 - 1e-6);
        let candidates = self.candidates(query, arm);
        let drawn = (0..samples).map(|sample| {
            let first = (sample == 0).then_some(cell);
            self.draw_sample(arm, cell, first, r, &candidates, &mut rng)
        });
        let drawn = drawn.collect();
        (r, drawn)
    }

    fn draw_sample(
        &self,
        arm: usize,
        cell: &Cell,
        first: Option<&Cell>,
        r: f64,
        candidates: &Candidates,
        rng: &mut Rng,
    ) -> Sample {
        let is_right = first.map_or_else(|| rng.random_bool(r), |first| first.score > 0.5);
        let arm_of = &self.arms[arm];
        let output_tokens = first.map_or_else(|| arm_of.draw_tokens(cell, rng), |first| first.output_tokens);
        let chosen = if is_right { 0 } else { weighted(rng, &candidates.wrong) };
        let is_cut = !is_right && rng.random_bool(CUT);
        let sharpness = sharpness(self.seed, arm);
        let weights: Vec<f64> = candidates
            .wrong
            .iter()
            .enumerate()
            .map(|(at, share)| if at == 0 { r } else { (1.0 - r) * share })
            .map(|p| p.powf(sharpness))
            .collect();
        let sum: f64 = weights.iter().sum();
        let doubt = 0.03 + 0.3 * (1.0 - r);
        let mut tokens: Vec<f32> = (1..output_tokens.min(TOKENS_MAX as i32))
            .map(|_| {
                let draw: f64 = Exp1.sample(rng);
                (-doubt * draw) as f32
            })
            .collect();
        if !is_cut {
            tokens.push((weights[chosen] / sum).max(f64::MIN_POSITIVE).ln().min(0.0) as f32);
        }
        let option_probs = candidates.has_options.then(|| {
            // In the order of the letters, whatever the right one is.
            let mut probs: Vec<(&String, f32)> =
                candidates.texts.iter().zip(weights.iter().map(|weight| (weight / sum) as f32)).collect();
            probs.sort_by_key(|(letter, _)| *letter);
            probs.into_iter().map(|(_, p)| p).collect()
        });
        let called_right = CALLED_RIGHT[usize::from(is_right)];
        let checks = (0..CHECKS).filter(|_| rng.random_bool(called_right)).count();
        let answer = candidates.texts[chosen].clone();
        Sample {
            score: f32::from(u8::from(is_right)),
            cost_usd: first
                .map_or_else(|| arm_of.cost_usd(cell.input_tokens, output_tokens), |first| first.cost_usd),
            input_tokens: cell.input_tokens,
            output_tokens,
            latency_ms: arm_of.latency_ms(output_tokens),
            text: match is_cut {
                true => "Step by step: first, what is asked; then".to_owned(),
                false => {
                    format!("Step by step: first, what is asked; then, what follows. The answer is {answer}.")
                }
            },
            answer: (!is_cut).then_some(answer),
            finish: if is_cut { "length" } else { "stop" },
            tokens: TokenConfidence::of(&tokens),
            option_probs,
            verifier_rate: checks as f32 / CHECKS as f32,
        }
    }
}

/// How much surer an arm is than it should be: 1.3 on average, log-normal.
fn sharpness(seed: u64, arm: usize) -> f64 {
    1.3 * (0.3 * normal(&mut rng::stream(seed, &format!("synthetic sharpness {arm}")))).exp()
}

impl SimulatedArm {
    /// Tokens of an answer, as the outcomes of the world draw them.
    fn draw_tokens(&self, cell: &Cell, rng: &mut Rng) -> i32 {
        let input = f64::from(cell.input_tokens) * self.input_usd_per_mtok;
        let mean = (cell.expected_cost_usd * 1e6 - input) / self.output_usd_per_mtok;
        let spread = (ANSWER_SIGMA * normal(rng) - ANSWER_SIGMA * ANSWER_SIGMA / 2.0).exp();
        (mean * spread).round().max(1.0) as i32
    }

    /// Price of a call in US dollars.
    fn cost_usd(&self, input_tokens: i32, output_tokens: i32) -> f64 {
        let (input, output) = (f64::from(input_tokens), f64::from(output_tokens));
        (input * self.input_usd_per_mtok + output * self.output_usd_per_mtok) / 1e6
    }

    /// Time of a call in milliseconds.
    fn latency_ms(&self, output_tokens: i32) -> f32 {
        (80.0 + f64::from(output_tokens) * (4.0 + 2.0 * self.output_usd_per_mtok)) as f32
    }
}

impl Sample {
    fn into_row(self, query: &Query, arm: &SimulatedArm, sample: i32) -> OutcomeRow {
        OutcomeRow {
            query_id: query.id.clone(),
            split: query.split.clone(),
            source: query.source.clone(),
            prompt: query.prompt.clone(),
            model: arm.name.clone(),
            sample: Some(sample),
            score: Some(self.score),
            cost_usd: Some(self.cost_usd),
            input_tokens: Some(self.input_tokens),
            output_tokens: Some(self.output_tokens),
            latency_ms: Some(self.latency_ms),
            timestamp_ms: query.timestamp_ms,
            response: Some(self.text),
            answer: self.answer,
            finish: Some(self.finish.to_owned()),
            logprob_mean: self.tokens.map(|tokens| tokens.mean),
            logprob_min: self.tokens.map(|tokens| tokens.min),
            logprob_quantiles: self.tokens.map(|tokens| tokens.quantiles.to_vec()),
            option_probs: self.option_probs,
            verifier_rate: Some(self.verifier_rate),
            ..OutcomeRow::default()
        }
    }

    fn as_row<'a>(&'a self, sample: u32, quantiles: Option<&'a [f32]>) -> AnswerRow<'a> {
        AnswerRow {
            sample,
            variant: None,
            text: Some(&self.text),
            answer: self.answer.as_deref(),
            score: Some(self.score),
            cost_usd: Some(self.cost_usd),
            latency_ms: Some(self.latency_ms),
            input_tokens: u32::try_from(self.input_tokens).ok(),
            output_tokens: u32::try_from(self.output_tokens).ok(),
            finish: Some(self.finish),
            logprob_mean: self.tokens.map(|tokens| tokens.mean),
            logprob_min: self.tokens.map(|tokens| tokens.min),
            logprob_quantiles: quantiles,
            option_probs: self.option_probs.as_deref(),
            verifier_rate: Some(self.verifier_rate),
        }
    }
}

#[cfg(test)]
mod tests;
