//! Means over the nearest training queries (kNN routers, arXiv 2505.12601).
//!
//! For a query with neighbors `i` of cosine `s_i`, weight `w_i = max(s_i, 0)^power`, the score of arm `m` is
//! `(sum_i w_i score_im + prior * mean_m) / (sum_i w_i + prior)` over the neighbors whose cell is present:
//! missing cells are skipped, and an arm with few observations near by leans on its overall mean. The cost
//! is averaged the same way. Where the nearest neighbor is less similar than `gate`, the query is out of
//! domain and gets the overall means.
//!
//! A zero vector (a text without any known n-gram) is near to nothing, whatever the engine: a zero query gets
//! the overall means, and a zero training query counts in them only. The index holds the others.

use super::FormRow;
use crate::search::{Engine, EngineKind, Neighbor, SearchError};
use crate::{Batch, FormState, LoadError, Neighborhood, PredictError, Prediction, Predictor, check_batch};
use routewright_data::{Cells, FeatureMatrix, Tensors};
use serde::{Deserialize, Serialize};

pub(super) const ROW: FormRow = FormRow {
    name: "neighbors",
    version: 1,
    title: "weighted means over the nearest training queries",
    load: Neighbors::load,
};

/// Ids of the training queries reported with a prediction.
const REPORTED: usize = 10;

/// How neighbors are weighed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weighting {
    /// Neighbors looked at.
    pub k: usize,
    /// Exponent of the cosine; 0 weighs all neighbors alike.
    pub power: f32,
    /// Weight of the overall mean, in units of a neighbor of cosine 1.
    pub prior: f32,
    /// Cosine of the nearest neighbor below which a query is out of domain.
    pub gate: f32,
    /// What finds the neighbors.
    #[serde(default)]
    pub engine: EngineKind,
}

/// What is known of the training queries.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    /// Ids, for explanations.
    pub query_ids: Vec<String>,
    /// Scores `(n, n_arms)`, missing cells `NaN`.
    pub score: Cells,
    /// Costs in US dollars `(n, n_arms)`, missing cells `NaN`.
    pub cost_usd: Cells,
}

/// The training queries and how to weigh them.
#[derive(Debug)]
pub struct Neighbors {
    weighting: Weighting,
    index: Engine,
    memory: Memory,
    mean_score: Vec<f32>,
    mean_cost: Vec<f32>,
}

/// Weighted mean of the present cells of one arm.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    weight: f64,
    weight_squared: f64,
    value: f64,
    value_squared: f64,
}

impl Sum {
    /// Without a branch, so that loops over arms vectorise; a missing cell adds zeros.
    #[inline(always)]
    fn add(&mut self, weight: f64, value: f32) {
        let (weight, value) = if value.is_nan() { (0.0, 0.0) } else { (weight, f64::from(value)) };
        self.weight += weight;
        self.weight_squared += weight * weight;
        self.value += weight * value;
        self.value_squared += weight * value * value;
    }

    /// Mean shrunk to `mean` with weight `prior`.
    fn mean(&self, prior: f64, mean: f64) -> f64 {
        if self.weight + prior <= 0.0 { mean } else { (self.value + prior * mean) / (self.weight + prior) }
    }

    /// Standard error of the weighted mean, with the effective sample size of the weights.
    fn standard_error(&self) -> f64 {
        if self.weight_squared <= 0.0 {
            return 0.5;
        }
        let mean = self.value / self.weight;
        let n = self.weight * self.weight / self.weight_squared;
        // One pseudo-observation of variance 1/4, the greatest a score can have: few neighbors are no proof.
        let variance = (self.value_squared / self.weight - mean * mean).max(0.0);
        ((variance * n + 0.25) / (n + 1.0) / n.max(1.0)).sqrt()
    }
}

impl Neighbors {
    /// `features` are those of the training queries, `(n, dim)`, of unit norm or zero.
    ///
    /// # Errors
    /// If the features cannot be indexed (no width, not finite, too many).
    pub fn new(weighting: Weighting, features: FeatureMatrix, memory: Memory) -> Result<Self, SearchError> {
        let (mut order, zeros): (Vec<usize>, Vec<usize>) =
            (0..features.n_rows()).partition(|&row| !is_zero(features.row(row)));
        if zeros.is_empty() {
            return Ok(Self::over(weighting, Engine::new(weighting.engine, features)?, memory));
        }
        let index = Engine::new(weighting.engine, features.select_rows(&order))?;
        order.extend(zeros);
        let memory = Memory {
            query_ids: order.iter().map(|&row| memory.query_ids[row].clone()).collect(),
            score: memory.score.select_rows(&order),
            cost_usd: memory.cost_usd.select_rows(&order),
        };
        Ok(Self::over(weighting, index, memory))
    }

    /// As [`Neighbors::new`], over an index that is already built, of the leading rows of the memory.
    fn over(weighting: Weighting, index: Engine, memory: Memory) -> Self {
        let column = |cells: &Cells, arm| cells.column_mean(arm).map(|mean| mean as f32);
        let arms = 0..memory.score.n_cols();
        let means: Vec<Option<f32>> = arms.clone().map(|arm| column(&memory.score, arm)).collect();
        // An arm never observed is never preferred for want of data.
        let least = means.iter().flatten().copied().fold(f32::INFINITY, f32::min);
        let least = if least.is_finite() { least } else { 0.0 };
        let mean_score = means.into_iter().map(|mean| mean.unwrap_or(least)).collect();
        let mean_cost = arms.map(|arm| column(&memory.cost_usd, arm).unwrap_or(f32::NAN)).collect();
        Self { weighting, index, memory, mean_score, mean_cost }
    }

    fn load(mut state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        let weighting: Weighting = super::config(ROW.name, state.config)?;
        let index = Engine::restore(weighting.engine, &mut state.tensors, ROW.name)?;
        let error = |reason: String| LoadError::Config { form: ROW.name, reason };
        let n = state.tensors.shape("score")?.first().copied().unwrap_or(0);
        if n < index.len() {
            let reason =
                format!("`{n}` rows of scores for `{}` indexed queries, expected as many", index.len());
            return Err(error(reason));
        }
        let score = Cells::from_vec(n, n_arms, state.tensors.take_f32_any("score", &[n, n_arms])?);
        let cost_usd = Cells::from_vec(n, n_arms, state.tensors.take_f32_any("cost_usd", &[n, n_arms])?);
        let ends = state.tensors.take_u32("query_ids.ends", &[n])?;
        let total = ends.last().copied().unwrap_or(0) as usize;
        let text = state.tensors.take_u8("query_ids.text", &[total])?;
        let query_ids =
            split_ids(&text, &ends).ok_or_else(|| error("the query ids are not valid".to_owned()))?;
        let memory = Memory { query_ids, score, cost_usd };
        Ok(Box::new(Self::over(weighting, index, memory)))
    }

    /// Predicts from neighbors already found; `score`, `se` and `cost` have one entry an arm.
    fn weigh(&self, neighbors: &[Neighbor], score: &mut [f32], se: &mut [f32], cost: &mut [f32]) {
        let Weighting { power, prior, gate, .. } = self.weighting;
        let near = neighbors.first().is_some_and(|first| first.similarity >= gate);
        let weights = weights(if near { neighbors } else { &[] }, power);
        let (scores, costs) = (sums(&weights, &self.memory.score), sums(&weights, &self.memory.cost_usd));
        for arm in 0..self.mean_score.len() {
            score[arm] = scores[arm].mean(f64::from(prior), f64::from(self.mean_score[arm])) as f32;
            se[arm] = scores[arm].standard_error() as f32;
            cost[arm] = costs[arm].mean(f64::from(prior), f64::from(self.mean_cost[arm])) as f32;
        }
    }

    fn neighborhood(&self, neighbors: &[Neighbor]) -> Neighborhood {
        let reported = &neighbors[..neighbors.len().min(REPORTED)];
        Neighborhood {
            query_ids: reported.iter().map(|n| self.memory.query_ids[n.row as usize].clone()).collect(),
            similarities: reported.iter().map(|n| n.similarity).collect(),
            evidence: None,
        }
    }
}

/// Whether a query has no features at all.
fn is_zero(features: &[f32]) -> bool {
    features.iter().all(|value| *value == 0.0)
}

/// Rows of the neighbors with their weights.
fn weights(neighbors: &[Neighbor], power: f32) -> Vec<(usize, f64)> {
    let weight = |similarity: f32| f64::from(similarity.max(0.0).powf(power));
    neighbors.iter().map(|neighbor| (neighbor.row as usize, weight(neighbor.similarity))).collect()
}

/// Weighted sums over the present cells of every arm, each in the order of the neighbors.
fn sums(weights: &[(usize, f64)], cells: &Cells) -> Vec<Sum> {
    let mut sums = vec![Sum::default(); cells.n_cols()];
    routewright_data::simd::widest(
        #[inline(always)]
        || {
            for &(row, weight) in weights {
                sums.iter_mut().zip(cells.row(row)).for_each(|(sum, value)| sum.add(weight, *value));
            }
        },
    );
    sums
}

/// Means of the cells of every arm over `neighbors`, weighed by `cosine^power` and shrunk to `overall` by
/// `prior`: what [`Neighbors`] predicts for a query of its domain.
pub fn weighted_means(
    neighbors: &[Neighbor],
    power: f32,
    prior: f32,
    cells: &Cells,
    overall: &[f32],
) -> Vec<f32> {
    let sums = sums(&weights(neighbors, power), cells);
    sums.iter().zip(overall).map(|(sum, mean)| sum.mean(f64::from(prior), f64::from(*mean)) as f32).collect()
}

fn split_ids(text: &[u8], ends: &[u32]) -> Option<Vec<String>> {
    let mut start = 0;
    let mut ids = Vec::with_capacity(ends.len());
    for &end in ends {
        ids.push(std::str::from_utf8(text.get(start..end as usize)?).ok()?.to_owned());
        start = end as usize;
    }
    Some(ids)
}

impl Predictor for Neighbors {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.mean_score.len()
    }

    fn dim(&self) -> Option<usize> {
        Some(self.index.dim())
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        check_batch(batch, self.index.dim())?;
        let (n, n_arms) = (batch.n_queries(), self.n_arms());
        let found = self.index.search(batch.features.values(), self.weighting.k);
        let mut found = found.map_err(|error| PredictError::Search(error.to_string()))?;
        for (row, neighbors) in found.iter_mut().enumerate() {
            if is_zero(batch.features.row(row)) {
                neighbors.clear();
            }
        }
        let (mut score, mut se, mut cost) =
            (vec![0.0; n * n_arms], vec![0.0; n * n_arms], vec![0.0; n * n_arms]);
        let outputs = score.chunks_mut(n_arms).zip(se.chunks_mut(n_arms)).zip(cost.chunks_mut(n_arms));
        for (neighbors, ((score, se), cost)) in found.iter().zip(outputs) {
            self.weigh(neighbors, score, se, cost);
        }
        let neighborhoods = Some(found.iter().map(|neighbors| self.neighborhood(neighbors)).collect());
        Ok(Prediction {
            n_arms,
            score,
            score_se: Some(se),
            cost_usd: cost,
            neighborhoods,
            members: None,
            n_updates: 0,
        })
    }

    fn state(&self) -> FormState {
        let (n, n_arms) = (self.memory.query_ids.len(), self.n_arms());
        let mut tensors = Tensors::new();
        self.index.store(&mut tensors);
        tensors.insert_f32("score", &[n, n_arms], self.memory.score.values().to_vec());
        tensors.insert_f32("cost_usd", &[n, n_arms], self.memory.cost_usd.values().to_vec());
        let mut ends = Vec::with_capacity(n);
        let mut text = Vec::new();
        for id in &self.memory.query_ids {
            text.extend_from_slice(id.as_bytes());
            ends.push(text.len() as u32);
        }
        tensors.insert_u32("query_ids.ends", &[n], ends);
        tensors.insert_u8("query_ids.text", &[text.len()], text);
        FormState { config: serde_json::json!(self.weighting), tensors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(score: Vec<f32>, n_arms: usize) -> Memory {
        let n = score.len() / n_arms;
        Memory {
            query_ids: (0..n).map(|i| format!("q{i}")).collect(),
            cost_usd: Cells::missing(n, n_arms),
            score: Cells::from_vec(n, n_arms, score),
        }
    }

    #[test]
    fn a_prediction_is_the_weighted_mean_of_present_cells() {
        // Cosines to (1, 0): 1, 0.6, -1; squares as weights: 1, 0.36, 0.
        let features = FeatureMatrix::from_vec(3, 2, vec![1.0, 0.0, 0.6, 0.8, -1.0, 0.0]);
        let engine = EngineKind::Trees;
        let weighting = Weighting { k: 3, power: 2.0, prior: 0.0, gate: -1.0, engine };
        let memory = memory(vec![1.0, f32::NAN, 0.0, 0.5, 0.0, 1.0], 2);
        let form = Neighbors::new(weighting, features, memory).unwrap();
        let query = FeatureMatrix::from_vec(1, 2, vec![1.0, 0.0]);
        let prediction = form.predict(&Batch::of(&query)).unwrap();
        assert!((prediction.score[0] - 1.0 / 1.36).abs() < 1e-6);
        assert!((prediction.score[1] - 0.5).abs() < 1e-6);
        assert!(prediction.cost_usd[0].is_nan());
        assert_eq!(prediction.neighborhoods.unwrap()[0].query_ids, ["q0", "q1", "q2"]);
    }

    #[test]
    fn a_query_out_of_domain_gets_the_overall_means() {
        let features = FeatureMatrix::from_vec(2, 2, vec![1.0, 0.0, 0.6, 0.8]);
        let engine = EngineKind::Exact;
        let weighting = Weighting { k: 1, power: 1.0, prior: 0.0, gate: 0.9, engine };
        let form = Neighbors::new(weighting, features, memory(vec![1.0, 0.0], 1)).unwrap();
        let query = FeatureMatrix::from_vec(1, 2, vec![0.0, 1.0]);
        assert_eq!(form.predict(&Batch::of(&query)).unwrap().score, [0.5]);
    }

    #[test]
    fn a_zero_vector_is_near_to_nothing_in_every_engine() {
        // The zero row in the middle counts in the overall means only: 0.25 of (1, 0, 0, 0).
        let values = vec![1.0, 0.0, 0.0, 0.0, 0.6, 0.8, 0.0, 1.0];
        let features = FeatureMatrix::from_vec(4, 2, values);
        let query = FeatureMatrix::from_vec(2, 2, vec![1.0, 0.0, 0.0, 0.0]);
        for engine in [EngineKind::Exact, EngineKind::Graph, EngineKind::Trees] {
            let weighting = Weighting { k: 4, power: 0.0, prior: 0.0, gate: -1.0, engine };
            let form =
                Neighbors::new(weighting, features.clone(), memory(vec![1.0, 0.0, 0.0, 0.0], 1)).unwrap();
            let prediction = form.predict(&Batch::of(&query)).unwrap();
            // All but the zero row are neighbors and weigh 1.
            assert!((prediction.score[0] - 1.0 / 3.0).abs() < 1e-6, "{engine:?}: {:?}", prediction.score);
            assert_eq!(prediction.score[1], 0.25, "{engine:?}");
            let near = &prediction.neighborhoods.as_ref().unwrap();
            assert_eq!(near[0].query_ids, ["q0", "q2", "q3"], "{engine:?}");
            assert!(near[1].query_ids.is_empty());
            let restored = super::super::load("neighbors", 1, form.state(), 1).unwrap();
            assert_eq!(restored.predict(&Batch::of(&query)).unwrap().score, prediction.score, "{engine:?}");
        }
    }

    #[test]
    fn zero_vectors_alone_make_a_policy_of_overall_means() {
        for engine in [EngineKind::Exact, EngineKind::Graph, EngineKind::Trees] {
            let weighting = Weighting { k: 4, power: 1.0, prior: 1.0, gate: 0.0, engine };
            let features = FeatureMatrix::zeros(2, 3);
            let form = Neighbors::new(weighting, features.clone(), memory(vec![1.0, 0.5], 1)).unwrap();
            let restored = super::super::load("neighbors", 1, form.state(), 1).unwrap();
            for form in [&form as &dyn Predictor, restored.as_ref()] {
                assert_eq!(form.predict(&Batch::of(&features)).unwrap().score, [0.75; 2], "{engine:?}");
            }
        }
    }
}
