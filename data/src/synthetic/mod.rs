//! A simulated world whose expected scores and costs are known: what tests and the quickstart train on.
//!
//! Users of six languages ask about eight topics at three levels of difficulty for five audiences; all four can be
//! read off the text. Arm `a` answers query `q`, asked at time `t` in `[0, 1)`, rightly with probability
//!
//! ```text
//! p = sigmoid(ability[a] + turn[topic, level] skill[a, topic] + craft[a, level] + fluency[a, language]
//!             + drift[a] t - strain[a] (hardness[level] + twist[level, audience] + e[q]))
//! ```
//!
//! where `e[q]` is a part that the text does not show. `score` is one draw of that probability, `soft_score` the mean
//! of ten. How large the parts are is the [`Kind`] of the world:
//!
//! - In [`Kind::Topics`], `turn` and `strain` are 1, `craft` and `twist` 0. Ability grows with price, but skills are
//!   spread so widely that another arm is best on almost every topic: a router that reads the topic beats the best
//!   single arm clearly, and there is little else to find.
//! - In [`Kind::Interactions`], the best arm of a topic depends on the level: arms differ in `craft`, and `turn` is
//!   -1 on hard queries of three topics, so that who leads such a topic on easy queries trails on hard ones.
//!   Difficulty has a part that no word shows (`twist`) and a larger `e`, and arms feel it unequally (`strain`). The
//!   best arm of each topic gains a half or less of what the oracle gains over the best single arm.
//!
//! Cost is `tokens_in price_in + tokens_out price_out` where `tokens_out` is log-normal around a mean that
//! depends on level and arm; prices span [`Settings::price_ratio`].

mod answers;
mod kind;
mod phrases;

pub use answers::AnsweredWorld;
pub use kind::Kind;

use crate::log::{LogError, OutcomeRow, RowWriter, WriteOptions};
use crate::rng::{self, Rng};
use crate::split::{Fractions, prompt_key, random_split};
use crate::{Cells, OutcomeTable, Query};
use kind::{REVERSING, Shape, reversed, twist};
use phrases::{LANGUAGES, LEVEL_SHARES, N_LEVELS, TOPICS};
use rand::RngExt as _;
use rand_distr::StandardNormal;
use std::path::Path;

/// 2026-01-01 00:00 UTC: when the first query is asked.
const START_MS: i64 = 1_767_225_600_000;
/// The queries are spread over 90 days.
const SPAN_MS: f64 = 90.0 * 86_400_000.0;
/// Share of each language, in the order of the phrase table.
const LANGUAGE_SHARES: [f64; 6] = [0.4, 0.16, 0.12, 0.12, 0.1, 0.1];
const HARDNESS: [f64; N_LEVELS] = [-1.0, 0.0, 1.2];
/// Mean tokens of an answer of verbosity 1.
const ANSWER_TOKENS: [f64; N_LEVELS] = [60.0, 220.0, 700.0];
/// Spread of the logarithm of the answer's length.
const ANSWER_SIGMA: f64 = 0.35;
/// Draws behind a `soft_score`.
const SOFT_DRAWS: u32 = 10;
/// Earlier queries that a repeat may repeat.
const MEMORY: usize = 256;

const NAMES: [&str; 16] = [
    "pebble", "brook", "alder", "heron", "cedar", "delta", "ember", "fjord", "grove", "harbor", "island",
    "juniper", "kestrel", "lagoon", "meadow", "summit",
];

/// The size and the roughness of a world.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What decides which arm is best.
    pub kind: Kind,
    /// Number of arms, at least 1.
    pub n_arms: usize,
    /// Number of languages, 1 (English) to 6.
    pub n_languages: usize,
    /// Price of the dearest arm over that of the cheapest.
    pub price_ratio: f64,
    /// Share of cells without an outcome, `[0, 1)`; every query keeps at least one.
    pub missing: f64,
    /// Spread of the change of an arm's ability (in logits) from the first to the last query; the mix of
    /// topics shifts in proportion too. 0 is a world that does not drift.
    pub drift: f64,
    /// Share of queries that repeat an earlier prompt, half of them to the letter, half with another case,
    /// spacing or punctuation.
    pub repeats: f64,
    /// Shares of train, valid and test.
    pub fractions: Fractions,
}

impl Default for Settings {
    fn default() -> Self {
        let fractions = Fractions::default();
        Self {
            kind: Kind::default(),
            n_arms: 8,
            n_languages: LANGUAGES.len(),
            price_ratio: 200.0,
            missing: 0.05,
            drift: 0.5,
            repeats: 0.05,
            fractions,
        }
    }
}

/// One simulated arm.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedArm {
    /// Name of the model.
    pub name: String,
    /// US dollars a million tokens of input.
    pub input_usd_per_mtok: f64,
    /// US dollars a million tokens of output.
    pub output_usd_per_mtok: f64,
    ability: f64,
    skill: [f64; TOPICS.len()],
    craft: [f64; N_LEVELS],
    fluency: [f64; LANGUAGES.len()],
    strain: f64,
    drift: f64,
    verbosity: f64,
}

/// A world: its arms, and the seed its queries are drawn with.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    settings: Settings,
    seed: u64,
    shape: Shape,
    arms: Vec<SimulatedArm>,
    /// Topics whose skills change sign on hard queries.
    reversed: [bool; TOPICS.len()],
    /// Weight of each topic at the start and at the end.
    topic_weights: [[f64; TOPICS.len()]; 2],
}

/// What a prompt was made from.
#[derive(Debug, Clone)]
struct PromptTraits {
    topic: usize,
    language: usize,
    level: usize,
    audience: usize,
    /// The part of its ease that the text does not show.
    hidden: f64,
    prompt: String,
}

/// One query with its outcomes, a cell per arm.
#[derive(Debug, Clone)]
struct Simulated {
    query: Query,
    cells: Vec<Cell>,
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    expected_score: f64,
    expected_cost_usd: f64,
    score: f32,
    soft_score: f32,
    cost_usd: f64,
    input_tokens: i32,
    output_tokens: i32,
    latency_ms: f32,
    missing: bool,
}

fn normal(rng: &mut Rng) -> f64 {
    rng.sample(StandardNormal)
}

/// Draws an index with probability in proportion to its weight.
fn weighted(rng: &mut Rng, weights: &[f64]) -> usize {
    let mut left = rng.random::<f64>() * weights.iter().sum::<f64>();
    for (index, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return index;
        }
    }
    weights.len().saturating_sub(1)
}

/// About how many tokens a text has: a character of a dense script each, else four characters.
fn count_tokens(text: &str) -> f64 {
    let quarter = |c: char| if ('\u{2e80}'..='\u{9fff}').contains(&c) { 4 } else { 1 };
    (text.chars().map(quarter).sum::<usize>() as f64 / 4.0).ceil()
}

impl World {
    /// Draws the arms. The same settings and seed give the same world.
    ///
    /// `n_arms` below 1 counts as 1, `n_languages` and shares are clamped to their ranges.
    pub fn new(settings: Settings, seed: u64) -> Self {
        let n_arms = settings.n_arms.max(1);
        let settings = Settings {
            n_arms,
            n_languages: settings.n_languages.clamp(1, LANGUAGES.len()),
            price_ratio: settings.price_ratio.max(1.0),
            missing: settings.missing.clamp(0.0, 0.99),
            repeats: settings.repeats.clamp(0.0, 1.0),
            ..settings
        };
        let shape = settings.kind.shape();
        let mut rng = rng::stream(seed, "synthetic arms");
        // A stream of its own: the arms of a world of topics are what they were before there were other kinds.
        let mut more = rng::stream(seed, "synthetic crafts");
        let mut arms: Vec<SimulatedArm> =
            (0..n_arms).map(|number| draw_arm(&settings, number, &mut rng, &mut more)).collect();
        arms.sort_by(|a, b| a.name.cmp(&b.name));
        let mut rng = rng::stream(seed, "synthetic topics");
        let mut weights = [[1.0; TOPICS.len()]; 2];
        weights[1].iter_mut().for_each(|weight| *weight = (settings.drift * normal(&mut rng)).exp());
        Self { settings, seed, shape, arms, reversed: reversed(&shape, seed), topic_weights: weights }
    }

    /// The arms, sorted by name: the columns of every table of this world.
    pub fn arms(&self) -> &[SimulatedArm] {
        &self.arms
    }

    /// Draws `n` queries: the table a log of them holds, and the expected score and the expected cost in US
    /// dollars of every cell (of missing ones too), each of shape `(n, n_arms)`.
    pub fn table(&self, n: usize) -> (OutcomeTable, Cells, Cells) {
        let n_arms = self.arms.len();
        let empty = || Cells::missing(n, n_arms);
        let (mut expected, mut expected_cost) = (empty(), empty());
        let [mut score, mut soft_score, mut cost_usd, mut latency_ms] = [empty(), empty(), empty(), empty()];
        let mut queries = Vec::with_capacity(n);
        for (row, simulated) in self.simulate(n).enumerate() {
            queries.push(simulated.query);
            for (col, cell) in simulated.cells.iter().enumerate() {
                expected.set(row, col, cell.expected_score as f32);
                expected_cost.set(row, col, cell.expected_cost_usd as f32);
                if !cell.missing {
                    score.set(row, col, cell.score);
                    soft_score.set(row, col, cell.soft_score);
                    cost_usd.set(row, col, cell.cost_usd as f32);
                    latency_ms.set(row, col, cell.latency_ms);
                }
            }
        }
        let table = OutcomeTable {
            queries,
            models: self.arms.iter().map(|arm| arm.name.clone()).collect(),
            score,
            soft_score: Some(soft_score),
            cost_usd,
            latency_ms: Some(latency_ms),
            vectors: None,
        };
        (table, expected, expected_cost)
    }

    /// Writes `n` queries as an outcome log with a split column; returns the number of rows.
    ///
    /// # Errors
    /// If the log cannot be written; nothing is left behind then.
    pub fn write_log(&self, n: usize, path: &Path) -> Result<u64, LogError> {
        if n == 0 {
            return Err(LogError::Options("number of queries is `0`, expected at least 1".to_owned()));
        }
        let mut writer = RowWriter::create(path, WriteOptions::default())?;
        for Simulated { query, cells } in self.simulate(n) {
            for (arm, cell) in self.arms.iter().zip(cells).filter(|(_, cell)| !cell.missing) {
                writer.push(OutcomeRow {
                    query_id: query.id.clone(),
                    split: query.split.clone(),
                    source: query.source.clone(),
                    prompt: query.prompt.clone(),
                    model: arm.name.clone(),
                    score: Some(cell.score),
                    soft_score: Some(cell.soft_score),
                    cost_usd: Some(cell.cost_usd),
                    input_tokens: Some(cell.input_tokens),
                    output_tokens: Some(cell.output_tokens),
                    latency_ms: Some(cell.latency_ms),
                    timestamp_ms: query.timestamp_ms,
                    ..OutcomeRow::default()
                })?;
            }
        }
        let n_rows = writer.n_rows();
        writer.finish()?;
        Ok(n_rows)
    }

    /// The queries one by one, so that a log of any length is written in bounded memory.
    fn simulate(&self, n: usize) -> impl Iterator<Item = Simulated> + '_ {
        let mut draws = rng::stream(self.seed, "synthetic outcomes");
        let width = n.to_string().len();
        self.drafts(n).enumerate().map(move |(number, draft)| {
            let time = number as f64 / n as f64;
            let cells = self.draw_cells(time, &draft, &mut draws);
            let split = random_split(prompt_key(&draft.prompt), self.seed, &self.settings.fractions);
            let query = Query {
                id: format!("q{number:0width$}"),
                prompt: draft.prompt,
                source: Some(TOPICS[draft.topic].to_owned()),
                split: Some(split.to_owned()),
                timestamp_ms: Some(START_MS + (time * SPAN_MS) as i64),
            };
            Simulated { query, cells }
        })
    }

    /// What the prompts of `n` queries are made from, in the order they are asked.
    fn drafts(&self, n: usize) -> impl Iterator<Item = PromptTraits> + '_ {
        let mut texts = rng::stream(self.seed, "synthetic texts");
        let mut memory: Vec<PromptTraits> = Vec::new();
        (0..n).map(move |number| {
            let draft = self.draw_draft(number as f64 / n as f64, &memory, &mut texts);
            if memory.len() < MEMORY {
                memory.push(draft.clone());
            } else {
                memory[number % MEMORY] = draft.clone();
            }
            draft
        })
    }

    fn draw_draft(&self, time: f64, memory: &[PromptTraits], rng: &mut Rng) -> PromptTraits {
        if !memory.is_empty() && rng.random_bool(self.settings.repeats) {
            let earlier = &memory[rng.random_range(0..memory.len())];
            let prompt = match rng.random_range(0..6) {
                0 => earlier.prompt.to_lowercase(),
                1 => format!("{} ", earlier.prompt.replace(' ', "  ")),
                2 => format!("{}!", earlier.prompt.trim_end_matches(['.', '?', '!', '。', '？'])),
                _ => earlier.prompt.clone(),
            };
            return PromptTraits { prompt, ..earlier.clone() };
        }
        let [start, end] = &self.topic_weights;
        let weights: Vec<f64> = start.iter().zip(end).map(|(a, b)| a * (1.0 - time) + b * time).collect();
        let topic = weighted(rng, &weights);
        let language = weighted(rng, &LANGUAGE_SHARES[..self.settings.n_languages]);
        let level = weighted(rng, &LEVEL_SHARES);
        let hidden = self.shape.hidden * normal(rng);
        let phrases = &LANGUAGES[language];
        let terms = &phrases.terms[topic];
        let first = rng.random_range(0..terms.len());
        let second = (first + rng.random_range(1..terms.len())) % terms.len();
        let templates = &phrases.templates[level];
        let body = templates[rng.random_range(0..templates.len())]
            .replace("{a}", terms[first])
            .replace("{b}", terms[second])
            .replace("{n}", &rng.random_range(2..20).to_string());
        let audience = rng.random_range(0..phrases.audiences.len());
        let prompt = format!("{body} ({})", phrases.audiences[audience]);
        PromptTraits { topic, language, level, audience, hidden, prompt }
    }

    /// Log-odds of a right answer. The order of the sum keeps worlds of topics what they were to the last bit.
    fn logit(&self, arm: &SimulatedArm, draft: &PromptTraits, time: f64) -> f64 {
        let turn = if self.reversed[draft.topic] && draft.level == REVERSING { -1.0 } else { 1.0 };
        let twist = self.shape.twist * twist(draft.level, draft.audience);
        arm.ability + turn * arm.skill[draft.topic] + arm.fluency[draft.language]
            - arm.strain * HARDNESS[draft.level]
            + arm.drift * time
            + arm.strain * draft.hidden
            + (arm.craft[draft.level] - arm.strain * twist)
    }

    fn draw_cells(&self, time: f64, draft: &PromptTraits, rng: &mut Rng) -> Vec<Cell> {
        let input_tokens = count_tokens(&draft.prompt);
        let mut cells: Vec<Cell> = self
            .arms
            .iter()
            .map(|arm| {
                let expected_score = 1.0 / (1.0 + (-self.logit(arm, draft, time)).exp());
                let mean_tokens = ANSWER_TOKENS[draft.level] * arm.verbosity;
                // exp(sigma z - sigma^2 / 2) has mean 1: `mean_tokens` is expected, up to rounding.
                let spread = (ANSWER_SIGMA * normal(rng) - ANSWER_SIGMA * ANSWER_SIGMA / 2.0).exp();
                let output_tokens = (mean_tokens * spread).round().max(1.0);
                let cost = |output: f64| {
                    (input_tokens * arm.input_usd_per_mtok + output * arm.output_usd_per_mtok) / 1e6
                };
                let right = (0..SOFT_DRAWS).filter(|_| rng.random_bool(expected_score)).count();
                Cell {
                    expected_score,
                    expected_cost_usd: cost(mean_tokens),
                    score: f32::from(u8::from(rng.random_bool(expected_score))),
                    soft_score: right as f32 / SOFT_DRAWS as f32,
                    cost_usd: cost(output_tokens),
                    input_tokens: input_tokens as i32,
                    output_tokens: output_tokens as i32,
                    latency_ms: (80.0 + output_tokens * (4.0 + 2.0 * arm.output_usd_per_mtok)) as f32,
                    missing: rng.random_bool(self.settings.missing),
                }
            })
            .collect();
        let kept = rng.random_range(0..cells.len());
        if cells.iter().all(|cell| cell.missing) {
            cells[kept].missing = false;
        }
        cells
    }
}

/// Draws the arm of a rank of price; `more` draws what worlds of topics do not have.
fn draw_arm(settings: &Settings, number: usize, rng: &mut Rng, more: &mut Rng) -> SimulatedArm {
    let shape = settings.kind.shape();
    // 0 for the cheapest arm, 1 for the dearest; prices in between are geometric.
    let rank = if settings.n_arms == 1 { 0.5 } else { number as f64 / (settings.n_arms - 1) as f64 };
    let output_usd_per_mtok = 0.05 * settings.price_ratio.powf(rank);
    let spread = NAMES.len().max(settings.n_arms);
    let name = NAMES.get(number * spread / settings.n_arms).filter(|_| settings.n_arms <= NAMES.len());
    SimulatedArm {
        name: name.map_or_else(|| format!("arm-{number:04}"), |name| (*name).to_owned()),
        input_usd_per_mtok: output_usd_per_mtok / 4.0,
        output_usd_per_mtok,
        ability: -0.7 + 1.4 * rank,
        skill: draw_centred(shape.skill, rng),
        craft: draw_centred(shape.craft, more),
        fluency: std::array::from_fn(|language| if language == 0 { 0.0 } else { 0.4 * normal(rng) }),
        strain: (shape.strain * normal(more)).exp(),
        drift: settings.drift * normal(rng),
        verbosity: (0.25 * normal(rng)).exp(),
    }
}

/// Draws of mean 0 and the spread given: no arm is better at everything than its ability says.
fn draw_centred<const N: usize>(spread: f64, rng: &mut Rng) -> [f64; N] {
    let draws: [f64; N] = std::array::from_fn(|_| normal(rng));
    let n = N as f64;
    let mean = draws.iter().sum::<f64>() / n;
    let drawn = (draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / n).sqrt().max(1e-9);
    draws.map(|draw| spread * (draw - mean) / drawn)
}

#[cfg(test)]
mod tests;
