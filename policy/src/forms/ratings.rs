//! Elo ratings from comparisons, over all of them and over those of the nearest queries (Eagle, arXiv 2409.15518).
//!
//! A comparison of arms `a` and `b` with result `s` (1, 0 or 1/2) and weight `w` moves both ratings:
//!
//! ```text
//! e   = 1 / (1 + 10^((R_b - R_a) / 400))        R_a += K w (s - e)        R_b -= K w (s - e)
//! ```
//!
//! The global rating of an arm is the mean of its rating over the history of all comparisons. The local ratings of a
//! query start from the global ones and take the comparisons of its nearest queries of positive cosine, the nearest
//! last. With `R = P R_global + (1 - P) R_local`, the score is the calibrated chance to win against an arm of the mean
//! rating: `1 / (1 + 10^((mean R - R_m) / 400))`.
//!
//! A comparison reported later takes one step of the ratings and one row of the index. Rows learned since the index was
//! built lie in a second, small one, so that a report costs no rebuild.

use super::table::{insert_f64, take_f64};
use super::{Calibration, CostModel, FormRow};
use crate::online::{Experience, LearnError, Learner, NewArm, check};
use crate::search::{ExactIndex, Neighbor, SearchError};
use crate::{Batch, FormState, LoadError, PredictError, Prediction, Predictor, check_batch};
use routewright_data::{FeatureMatrix, Tensors};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(super) const ROW: FormRow = FormRow {
    name: "ratings",
    version: 1,
    title: "Elo ratings over all comparisons and over those of the nearest queries",
    load: Ratings::load,
};

/// Rating of an arm before any comparison.
const START: f64 = 1500.0;
/// Difference of ratings at which the odds are 10 to 1.
const SCALE: f64 = 400.0;
/// Rows that the small index holds before it joins the large one.
const TAIL_MAX: usize = 256;

/// Numbers of Eagle.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatingShape {
    /// Width of the features.
    pub dim: usize,
    /// Neighbors whose comparisons make the local ratings.
    pub neighbors: usize,
    /// Greatest move of a global rating by one comparison (`K`), in `(0, 400]`.
    pub step: f64,
    /// The same of a local rating.
    pub local_step: f64,
    /// Weight of the global rating (`P`), in `[0, 1]`.
    pub global: f64,
    /// Queries kept, at most; the oldest are forgotten first.
    pub memory: usize,
}

impl RatingShape {
    fn check(&self) -> Result<(), String> {
        let of = |name: &str, value: f64, is_valid: bool, expected: &str| match is_valid {
            true => Ok(()),
            false => Err(format!("`{name}` is `{value}`, expected {expected}")),
        };
        of("step", self.step, self.step > 0.0 && self.step <= SCALE, "a number above 0, at most 400")?;
        let local = self.local_step;
        of("local_step", local, local > 0.0 && local <= SCALE, "a number above 0, at most 400")?;
        of("global", self.global, (0.0..=1.0).contains(&self.global), "a number in [0, 1]")?;
        of("memory", self.memory as f64, self.memory > 0, "at least 1 query")
    }
}

/// The result of one comparison.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Battle {
    /// Index of the first arm.
    pub a: u32,
    /// Index of the second arm, another one.
    pub b: u32,
    /// What the first arm earned, in `[0, 1]`: 1 for a win, 1/2 for a tie.
    pub share: f32,
    /// How much the result counts, at least 0.
    pub weight: f32,
}

/// Ratings of every arm and the sums of their history.
#[derive(Debug, Clone, PartialEq)]
struct History {
    now: Vec<f64>,
    sums: Vec<f64>,
    n: u64,
}

impl History {
    fn new(n_arms: usize) -> Self {
        Self { now: vec![START; n_arms], sums: vec![0.0; n_arms], n: 0 }
    }

    fn learn(&mut self, battle: &Battle, step: f64) {
        play(&mut self.now, battle, step);
        self.sums.iter_mut().zip(&self.now).for_each(|(sum, now)| *sum += now);
        self.n += 1;
    }

    /// Mean rating over the history.
    fn means(&self) -> Vec<f64> {
        match self.n {
            0 => self.now.clone(),
            n => self.sums.iter().map(|sum| sum / n as f64).collect(),
        }
    }
}

/// Chance that the first rating wins against the second.
fn chance(own: f64, other: f64) -> f64 {
    1.0 / (1.0 + ((other - own) * (std::f64::consts::LN_10 / SCALE)).exp())
}

fn play(ratings: &mut [f64], battle: &Battle, step: f64) {
    let (a, b) = (battle.a as usize, battle.b as usize);
    let move_by =
        step * f64::from(battle.weight) * (f64::from(battle.share) - chance(ratings[a], ratings[b]));
    ratings[a] += move_by;
    ratings[b] -= move_by;
}

/// Queries with their comparisons, in order of arrival.
#[derive(Debug, Clone)]
struct Memory {
    /// The leading queries.
    main: Arc<ExactIndex>,
    /// Those learned since.
    tail: Arc<ExactIndex>,
    /// Position of the first comparison of each query, and their number last.
    starts: Arc<Vec<usize>>,
    battles: Arc<Vec<Battle>>,
}

impl Memory {
    fn new(features: FeatureMatrix, starts: Vec<usize>, battles: Vec<Battle>) -> Result<Self, SearchError> {
        let dim = features.dim();
        Ok(Self {
            main: Arc::new(ExactIndex::new(features.into_values(), dim)?),
            tail: Arc::new(ExactIndex::new(Vec::new(), dim)?),
            starts: Arc::new(starts),
            battles: Arc::new(battles),
        })
    }

    fn len(&self) -> usize {
        self.starts.len() - 1
    }

    fn rows(&self) -> Vec<f32> {
        [self.main.rows(), self.tail.rows()].concat()
    }

    /// The nearest queries of positive cosine, best first.
    fn nearest(&self, x: &[f32], k: usize) -> Result<Vec<Neighbor>, SearchError> {
        let found = |index: &ExactIndex| {
            Ok::<_, SearchError>(index.search(x, k)?.into_iter().next().unwrap_or_default())
        };
        let mut near = found(&self.main)?;
        let first = self.main.len() as u32;
        let moved = |near: Neighbor| Neighbor { row: near.row + first, ..near };
        near.extend(found(&self.tail)?.into_iter().map(moved));
        near.retain(|neighbor| neighbor.similarity > 0.0);
        near.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then(a.row.cmp(&b.row)));
        near.truncate(k);
        Ok(near)
    }

    fn of(&self, row: u32) -> &[Battle] {
        &self.battles[self.starts[row as usize]..self.starts[row as usize + 1]]
    }

    /// Adds a query with one comparison; forgets the oldest where more than `memory` queries are kept.
    fn push(&mut self, x: &[f32], battle: Battle, memory: usize) -> Result<(), SearchError> {
        let dim = self.main.dim();
        Arc::make_mut(&mut self.battles).push(battle);
        Arc::make_mut(&mut self.starts).push(self.battles.len());
        let tail = [self.tail.rows(), x].concat();
        if tail.len() / dim <= TAIL_MAX && self.len() <= memory.saturating_add(TAIL_MAX) {
            self.tail = Arc::new(ExactIndex::new(tail, dim)?);
            return Ok(());
        }
        let rows = [self.main.rows(), &tail].concat();
        let dropped = (rows.len() / dim).saturating_sub(memory);
        let first = self.starts[dropped];
        self.main = Arc::new(ExactIndex::new(rows[dropped * dim..].to_vec(), dim)?);
        self.tail = Arc::new(ExactIndex::new(Vec::new(), dim)?);
        self.starts = Arc::new(self.starts[dropped..].iter().map(|start| start - first).collect());
        self.battles = Arc::new(self.battles[first..].to_vec());
        Ok(())
    }
}

/// Ratings of all arms, and the comparisons of the queries they are made of.
#[derive(Debug, Clone)]
pub struct Ratings {
    shape: RatingShape,
    history: History,
    memory: Memory,
    calibration: Calibration,
    cost: CostModel,
    n_updates: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    shape: RatingShape,
    n_battles: u64,
    n_updates: u64,
}

impl Ratings {
    /// Ratings of comparisons learned in the order of `order`, positions in `battles`.
    ///
    /// `features` are those of the queries, `(n, dim)`; the comparisons of query `i` are
    /// `battles[starts[i]..starts[i + 1]]`.
    ///
    /// # Errors
    /// If the features cannot be indexed.
    ///
    /// # Panics
    /// If `starts` does not fit or an arm is unknown (a bug of the caller).
    pub fn new(
        shape: RatingShape,
        features: FeatureMatrix,
        (starts, battles): (Vec<usize>, Vec<Battle>),
        order: &[usize],
        cost: CostModel,
    ) -> Result<Self, SearchError> {
        assert_eq!(starts.len(), features.n_rows() + 1, "ratings: one start a query and the number last");
        assert_eq!(starts.last(), Some(&battles.len()), "ratings: the number of comparisons last");
        let mut history = History::new(cost.mean_usd().len());
        order.iter().for_each(|at| history.learn(&battles[*at], shape.step));
        let memory = Memory::new(features, starts, battles)?;
        Ok(Self { shape, history, memory, calibration: Calibration::default(), cost, n_updates: 0 })
    }

    /// The same with the line from chances to scores.
    #[must_use]
    pub fn calibrated(self, calibration: Calibration) -> Self {
        Self { calibration, ..self }
    }

    /// The same global ratings with other local ones: neighbors, their step, and the weight of the global ratings.
    #[must_use]
    pub fn mixed(mut self, neighbors: usize, local_step: f64, global: f64) -> Self {
        self.shape = RatingShape { neighbors, local_step, global, ..self.shape };
        self
    }

    /// Mean rating of each arm over the history of all comparisons.
    pub fn global(&self) -> Vec<f64> {
        self.history.means()
    }

    fn load(state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        let FormState { config, mut tensors } = state;
        let Config { shape, n_battles, n_updates } = super::config(ROW.name, config)?;
        let refuse = |reason: String| LoadError::Config { form: ROW.name, reason };
        shape.check().map_err(refuse)?;
        let n = tensors.shape("features")?.first().copied().unwrap_or(0);
        let features = tensors.take_f32("features", &[n, shape.dim])?;
        let starts = tensors.take_u32("starts", &[n + 1])?;
        let count = starts.last().copied().unwrap_or(0) as usize;
        if starts.first() != Some(&0) || starts.windows(2).any(|pair| pair[0] > pair[1]) {
            return Err(refuse("`starts` does not begin with 0 or does not rise".to_owned()));
        }
        let arms = tensors.take_u32("arms", &[count, 2])?;
        let (shares, weights) = (tensors.take_f32("share", &[count])?, tensors.take_f32("weight", &[count])?);
        let battle = |at: usize| Battle {
            a: arms[2 * at],
            b: arms[2 * at + 1],
            share: shares[at],
            weight: weights[at],
        };
        let battles: Vec<Battle> = (0..count).map(battle).collect();
        let is_odd = |battle: &Battle| {
            let Battle { a, b, share, weight } = *battle;
            a == b || a.max(b) as usize >= n_arms || !(0.0..=1.0).contains(&share) || weight < 0.0
        };
        if let Some(at) = battles.iter().position(is_odd) {
            let reason = format!("comparison {at} is `{:?}`, expected two of {n_arms} arms", battles[at]);
            return Err(refuse(reason));
        }
        let now = take_f64(&mut tensors, "ratings", &[1, n_arms])?;
        let sums = take_f64(&mut tensors, "sums", &[1, n_arms])?;
        let calibration = Calibration::restore(ROW.name, &mut tensors)?;
        let cost = CostModel::restore(&mut tensors, n_arms)?;
        let starts = starts.into_iter().map(|start| start as usize).collect();
        let features = FeatureMatrix::from_vec(n, shape.dim, features);
        let memory = Memory::new(features, starts, battles).map_err(|error| refuse(error.to_string()))?;
        let history = History { now, sums, n: n_battles };
        Ok(Box::new(Self { shape, history, memory, calibration, cost, n_updates }))
    }

    /// Chance of each arm of `global` ratings to win against one of the mean rating, on one query.
    fn predict_row(&self, global: &[f64], x: &[f32], score: &mut [f32]) -> Result<(), SearchError> {
        let share = self.shape.global;
        let mut mixed = global.to_vec();
        if share < 1.0 {
            let mut local = global.to_vec();
            for neighbor in self.memory.nearest(x, self.shape.neighbors)?.iter().rev() {
                let battles = self.memory.of(neighbor.row).iter();
                battles.for_each(|battle| play(&mut local, battle, self.shape.local_step));
            }
            mixed.iter_mut().zip(&local).for_each(|(r, local)| *r = share * *r + (1.0 - share) * local);
        }
        let mean = mixed.iter().sum::<f64>() / mixed.len().max(1) as f64;
        score.iter_mut().zip(&mixed).for_each(|(score, rating)| *score = chance(*rating, mean) as f32);
        self.calibration.apply(score);
        Ok(())
    }

    fn battle(&self, experience: &Experience<'_>) -> Result<Battle, LearnError> {
        let n_arms = self.n_arms();
        check(experience, n_arms, self.shape.dim)?;
        let Experience { arm, reward, weight, .. } = *experience;
        if !(0.0..=1.0).contains(&reward) {
            let expected = "1 for the arm, 0 for its rival, or between";
            return Err(LearnError::Number { field: "reward", value: reward, expected });
        }
        let rival = experience.rival.ok_or(LearnError::Rival { form: ROW.name })?;
        if rival == arm || rival >= n_arms {
            return Err(LearnError::Arm { arm: rival, n_arms });
        }
        Ok(Battle { a: arm as u32, b: rival as u32, share: reward as f32, weight: weight as f32 })
    }
}

impl Predictor for Ratings {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.cost.mean_usd().len()
    }

    fn dim(&self) -> Option<usize> {
        Some(self.shape.dim)
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        check_batch(batch, self.shape.dim)?;
        let (n_arms, global) = (self.n_arms(), self.history.means());
        let mut score = vec![0.0; batch.n_queries() * n_arms];
        for (row, score) in score.chunks_exact_mut(n_arms.max(1)).enumerate() {
            self.predict_row(&global, batch.features.row(row), score)
                .map_err(|error| PredictError::Search(error.to_string()))?;
        }
        let (cost_usd, n_updates) = (self.cost.predict(batch.features), self.n_updates);
        Ok(Prediction {
            n_arms,
            score,
            score_se: None,
            cost_usd,
            neighborhoods: None,
            members: None,
            n_updates,
        })
    }

    fn state(&self) -> FormState {
        let (n, n_arms, memory) = (self.memory.len(), self.n_arms(), &self.memory);
        let mut tensors = Tensors::new();
        tensors.insert_f32("features", &[n, self.shape.dim], memory.rows());
        tensors.insert_u32("starts", &[n + 1], memory.starts.iter().map(|start| *start as u32).collect());
        let (battles, count) = (&memory.battles, memory.battles.len());
        tensors.insert_u32("arms", &[count, 2], battles.iter().flat_map(|c| [c.a, c.b]).collect());
        tensors.insert_f32("share", &[count], battles.iter().map(|c| c.share).collect());
        tensors.insert_f32("weight", &[count], battles.iter().map(|c| c.weight).collect());
        insert_f64(&mut tensors, "ratings", &[1, n_arms], &self.history.now);
        insert_f64(&mut tensors, "sums", &[1, n_arms], &self.history.sums);
        self.calibration.store(&mut tensors);
        self.cost.store(&mut tensors);
        let config = Config { shape: self.shape, n_battles: self.history.n, n_updates: self.n_updates };
        FormState { config: serde_json::to_value(config).unwrap_or_default(), tensors }
    }

    fn learner(&self) -> Option<Box<dyn Learner>> {
        Some(Box::new(self.clone()))
    }
}

impl Learner for Ratings {
    fn compares(&self) -> bool {
        true
    }

    fn learn(&mut self, experience: &Experience<'_>) -> Result<(), LearnError> {
        let battle = self.battle(experience)?;
        let refuse = |error: SearchError| {
            LearnError::Statistics(LoadError::Config { form: ROW.name, reason: error.to_string() })
        };
        self.memory.push(experience.features, battle, self.shape.memory).map_err(refuse)?;
        self.history.learn(&battle, self.shape.step);
        self.n_updates += 1;
        Ok(())
    }

    fn predict_into(&mut self, features: &[f32], _: Option<&str>, score: &mut [f32], score_se: &mut [f32]) {
        let global = self.history.means();
        // Features were checked where they came in; without an answer of the index the global ratings remain.
        if self.predict_row(&global, features, score).is_err() {
            score.fill(self.calibration.intercept());
        }
        score_se.fill(0.0);
    }

    fn n_updates(&self) -> u64 {
        self.n_updates
    }

    fn add_arm(&mut self, arm: &NewArm) -> Result<(), LearnError> {
        if arm.quality.is_some() {
            let reason = "the policy learns from comparisons, which have no scale";
            return Err(LearnError::Quality { reason });
        }
        // Ratings add up to the start of each, so that the newcomer is of mean strength.
        self.history.now.push(START);
        self.history.sums.push(START * self.history.n as f64);
        self.cost.add_arm(arm.cost_usd);
        Ok(())
    }

    fn reprice(&mut self, arm: usize, usd: f64) -> Result<(), LearnError> {
        if arm >= self.n_arms() {
            return Err(LearnError::Arm { arm, n_arms: self.n_arms() });
        }
        self.cost.reprice(arm, usd);
        Ok(())
    }

    fn snapshot(&self) -> Box<dyn Predictor> {
        Box::new(self.clone())
    }

    fn merge(&mut self, _: FormState, _: FormState) -> Result<(), LearnError> {
        Err(LearnError::Order { form: ROW.name })
    }
}

#[cfg(test)]
#[path = "ratings_tests.rs"]
mod tests;
