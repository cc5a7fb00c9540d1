//! The answers of an outcome log, found by query, arm and sample.

use arrow_array::builder::{Float32Builder, LargeStringBuilder, ListBuilder, PrimitiveBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float32Type, Float64Type, UInt32Type};
use arrow_array::{Array, LargeStringArray, ListArray, PrimitiveArray};
use std::ops::Range;
use std::sync::Arc;

/// One answer of an arm to a query; `None` where the log has no value.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct AnswerRow<'a> {
    /// Number of the answer among those of the arm to the query, as the log has it.
    pub sample: u32,
    /// Name of the prompt template.
    pub variant: Option<&'a str>,
    /// The whole text (column `response`).
    pub text: Option<&'a str>,
    /// The short answer read out of the text.
    pub answer: Option<&'a str>,
    /// What an evaluation counts, in `[0, 1]`.
    pub score: Option<f32>,
    /// Price of the call in US dollars.
    pub cost_usd: Option<f64>,
    /// Time from request to last token in milliseconds.
    pub latency_ms: Option<f32>,
    /// Tokens of the request, as billed.
    pub input_tokens: Option<u32>,
    /// Tokens of the answer, as billed.
    pub output_tokens: Option<u32>,
    /// Why the answer ended, e.g. `stop` or `length`.
    pub finish: Option<&'a str>,
    /// Mean log-probability of its tokens in nats, at most 0.
    pub logprob_mean: Option<f32>,
    /// Least log-probability of a token in nats, at most 0.
    pub logprob_min: Option<f32>,
    /// Quantiles of the log-probabilities of its tokens, see [`super::confidence::QUANTILE_LEVELS`].
    pub logprob_quantiles: Option<&'a [f32]>,
    /// Probability of each option of a multiple-choice query, in order.
    pub option_probs: Option<&'a [f32]>,
    /// Share of the checks of the answer that call it right, in `[0, 1]`.
    pub verifier_rate: Option<f32>,
}

/// Answers by query, arm and sample, in the order of the queries and arms of the [`OutcomeTable`] of the same log.
///
/// Texts are kept once, one after another; selections of rows and arms share them.
///
/// [`OutcomeTable`]: crate::OutcomeTable
#[derive(Debug, Clone)]
pub struct AnswerTable {
    columns: Arc<Columns>,
    /// Rows of `columns`, those of a cell together and in the order of their samples.
    order: Arc<Vec<u32>>,
    /// The part of `order` of each cell, row-major by query.
    cells: Vec<Range<u32>>,
    n_queries: usize,
    n_arms: usize,
}

/// Values of all answers, in the order they were added.
#[derive(Debug)]
struct Columns {
    sample: Vec<u32>,
    variant: LargeStringArray,
    text: LargeStringArray,
    answer: LargeStringArray,
    score: PrimitiveArray<Float32Type>,
    cost_usd: PrimitiveArray<Float64Type>,
    latency_ms: PrimitiveArray<Float32Type>,
    input_tokens: PrimitiveArray<UInt32Type>,
    output_tokens: PrimitiveArray<UInt32Type>,
    finish: LargeStringArray,
    logprob_mean: PrimitiveArray<Float32Type>,
    logprob_min: PrimitiveArray<Float32Type>,
    logprob_quantiles: ListArray,
    option_probs: ListArray,
    verifier_rate: PrimitiveArray<Float32Type>,
}

fn text(column: &LargeStringArray, row: usize) -> Option<&str> {
    (!column.is_null(row)).then(|| column.value(row))
}

fn number<T: ArrowPrimitiveType>(column: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
    (!column.is_null(row)).then(|| column.value(row))
}

fn list(column: &ListArray, row: usize) -> Option<&[f32]> {
    let bounds = column.value_offsets();
    let values = column.values().as_primitive_opt::<Float32Type>()?.values();
    (!column.is_null(row)).then(|| &values[bounds[row] as usize..bounds[row + 1] as usize])
}

impl Columns {
    fn row(&self, row: usize) -> AnswerRow<'_> {
        AnswerRow {
            sample: self.sample[row],
            variant: text(&self.variant, row),
            text: text(&self.text, row),
            answer: text(&self.answer, row),
            score: number(&self.score, row),
            cost_usd: number(&self.cost_usd, row),
            latency_ms: number(&self.latency_ms, row),
            input_tokens: number(&self.input_tokens, row),
            output_tokens: number(&self.output_tokens, row),
            finish: text(&self.finish, row),
            logprob_mean: number(&self.logprob_mean, row),
            logprob_min: number(&self.logprob_min, row),
            logprob_quantiles: list(&self.logprob_quantiles, row),
            option_probs: list(&self.option_probs, row),
            verifier_rate: number(&self.verifier_rate, row),
        }
    }
}

impl AnswerTable {
    /// Number of queries.
    pub fn n_queries(&self) -> usize {
        self.n_queries
    }

    /// Number of arms.
    pub fn n_arms(&self) -> usize {
        self.n_arms
    }

    /// Number of answers.
    pub fn n_answers(&self) -> usize {
        self.cells.iter().map(ExactSizeIterator::len).sum()
    }

    fn cell(&self, query: usize, arm: usize) -> Range<usize> {
        let cell = &self.cells[query * self.n_arms + arm];
        cell.start as usize..cell.end as usize
    }

    /// The answer of that number; `None` where the log has none.
    ///
    /// # Panics
    /// If there are not so many queries or arms.
    pub fn get(&self, query: usize, arm: usize, sample: u32) -> Option<AnswerRow<'_>> {
        let rows = &self.order[self.cell(query, arm)];
        let found = rows.binary_search_by_key(&sample, |&row| self.columns.sample[row as usize]).ok()?;
        Some(self.columns.row(rows[found] as usize))
    }

    /// The answers of an arm to a query, in the order of their numbers.
    ///
    /// # Panics
    /// If there are not so many queries or arms.
    pub fn samples(&self, query: usize, arm: usize) -> impl ExactSizeIterator<Item = AnswerRow<'_>> {
        self.order[self.cell(query, arm)].iter().map(|&row| self.columns.row(row as usize))
    }

    /// Every answer with its query and arm.
    pub fn iter(&self) -> impl Iterator<Item = (usize, usize, AnswerRow<'_>)> {
        let cells = (0..self.n_queries).flat_map(|query| (0..self.n_arms).map(move |arm| (query, arm)));
        cells.flat_map(|(query, arm)| self.samples(query, arm).map(move |row| (query, arm, row)))
    }

    /// The queries named, in that order; a query may be named twice.
    #[must_use]
    pub fn select_rows(&self, rows: &[usize]) -> Self {
        let cells = rows.iter().flat_map(|&row| &self.cells[row * self.n_arms..(row + 1) * self.n_arms]);
        Self { cells: cells.cloned().collect(), n_queries: rows.len(), ..self.clone() }
    }

    /// The arms named, in that order.
    #[must_use]
    pub fn select_arms(&self, arms: &[usize]) -> Self {
        let cells = (0..self.n_queries)
            .flat_map(|query| arms.iter().map(move |arm| self.cells[query * self.n_arms + arm].clone()));
        Self { cells: cells.collect(), n_arms: arms.len(), ..self.clone() }
    }
}

/// Collects answers in any order.
#[derive(Debug)]
pub struct AnswerTableBuilder {
    n_queries: usize,
    n_arms: usize,
    /// Cell and sample of each answer.
    keys: Vec<(usize, u32)>,
    variant: LargeStringBuilder,
    text: LargeStringBuilder,
    answer: LargeStringBuilder,
    score: PrimitiveBuilder<Float32Type>,
    cost_usd: PrimitiveBuilder<Float64Type>,
    latency_ms: PrimitiveBuilder<Float32Type>,
    input_tokens: PrimitiveBuilder<UInt32Type>,
    output_tokens: PrimitiveBuilder<UInt32Type>,
    finish: LargeStringBuilder,
    logprob_mean: PrimitiveBuilder<Float32Type>,
    logprob_min: PrimitiveBuilder<Float32Type>,
    logprob_quantiles: ListBuilder<Float32Builder>,
    option_probs: ListBuilder<Float32Builder>,
    verifier_rate: PrimitiveBuilder<Float32Type>,
}

fn push_list(column: &mut ListBuilder<Float32Builder>, list: Option<&[f32]>) {
    column.values().append_slice(list.unwrap_or_default());
    column.append(list.is_some());
}

impl AnswerTableBuilder {
    /// A table of that many queries and arms without answers.
    pub fn new(n_queries: usize, n_arms: usize) -> Self {
        Self {
            n_queries,
            n_arms,
            keys: Vec::new(),
            variant: LargeStringBuilder::new(),
            text: LargeStringBuilder::new(),
            answer: LargeStringBuilder::new(),
            score: PrimitiveBuilder::new(),
            cost_usd: PrimitiveBuilder::new(),
            latency_ms: PrimitiveBuilder::new(),
            input_tokens: PrimitiveBuilder::new(),
            output_tokens: PrimitiveBuilder::new(),
            finish: LargeStringBuilder::new(),
            logprob_mean: PrimitiveBuilder::new(),
            logprob_min: PrimitiveBuilder::new(),
            logprob_quantiles: ListBuilder::new(Float32Builder::new()),
            option_probs: ListBuilder::new(Float32Builder::new()),
            verifier_rate: PrimitiveBuilder::new(),
        }
    }

    /// Adds an answer. Of two with the same query, arm and sample, [`AnswerTable::get`] finds either.
    ///
    /// # Panics
    /// If there are not so many queries or arms.
    pub fn push(&mut self, query: usize, arm: usize, row: &AnswerRow<'_>) {
        assert!(query < self.n_queries && arm < self.n_arms, "query {query} or arm {arm} is out of range");
        self.keys.push((query * self.n_arms + arm, row.sample));
        self.variant.append_option(row.variant);
        self.text.append_option(row.text);
        self.answer.append_option(row.answer);
        self.score.append_option(row.score);
        self.cost_usd.append_option(row.cost_usd);
        self.latency_ms.append_option(row.latency_ms);
        self.input_tokens.append_option(row.input_tokens);
        self.output_tokens.append_option(row.output_tokens);
        self.finish.append_option(row.finish);
        self.logprob_mean.append_option(row.logprob_mean);
        self.logprob_min.append_option(row.logprob_min);
        push_list(&mut self.logprob_quantiles, row.logprob_quantiles);
        push_list(&mut self.option_probs, row.option_probs);
        self.verifier_rate.append_option(row.verifier_rate);
    }

    /// The table.
    pub fn finish(mut self) -> AnswerTable {
        let mut order: Vec<u32> = (0..self.keys.len() as u32).collect();
        order.sort_by_key(|&row| self.keys[row as usize]);
        let mut cells = vec![0..0; self.n_queries * self.n_arms];
        for (at, &row) in order.iter().enumerate() {
            let cell: &mut Range<u32> = &mut cells[self.keys[row as usize].0];
            if cell.start == cell.end {
                *cell = at as u32..at as u32;
            }
            cell.end = at as u32 + 1;
        }
        let columns = Columns {
            sample: self.keys.iter().map(|(_, sample)| *sample).collect(),
            variant: self.variant.finish(),
            text: self.text.finish(),
            answer: self.answer.finish(),
            score: self.score.finish(),
            cost_usd: self.cost_usd.finish(),
            latency_ms: self.latency_ms.finish(),
            input_tokens: self.input_tokens.finish(),
            output_tokens: self.output_tokens.finish(),
            finish: self.finish.finish(),
            logprob_mean: self.logprob_mean.finish(),
            logprob_min: self.logprob_min.finish(),
            logprob_quantiles: self.logprob_quantiles.finish(),
            option_probs: self.option_probs.finish(),
            verifier_rate: self.verifier_rate.finish(),
        };
        let (n_queries, n_arms) = (self.n_queries, self.n_arms);
        AnswerTable { columns: Arc::new(columns), order: Arc::new(order), cells, n_queries, n_arms }
    }
}
