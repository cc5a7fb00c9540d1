//! Whether each arm answers right, foretold by the nearest training queries, and how far that foretelling is trusted
//! (LLM routing with benchmark datasets, arXiv 2309.15789).
//!
//! For a query with `k` nearest training queries, `g_m` is the mean score of arm `m` over those of them that have one,
//! and `u` the mean of `1 - cos` over all of them. With `p_m(u)` the accuracy of the statement "`g_m > 1/2`" at that
//! distance:
//!
//! ```text
//! s1 = g_m        s2 = 1[g_m > 1/2]        s3 = s2 p_m(u) + (1 - s2) (1 - p_m(u))
//! p_m(u) = sum_d K(u, u_d) a_dm / sum_d K(u, u_d)        K(u, v) = exp(-((u - v) / h)^2 / 2)
//! ```
//!
//! `a_dm` is the accuracy measured at distance `u_d`: in each training task with its own queries at hand, and without
//! them. Of a task, the three are means over its queries and are kept in a table; a request whose source is such a task
//! reads that, any other its own neighbors.
//!
//! A thousandth of `g_m` breaks ties between statements. A query near to nothing has the mean scores.

use super::{Calibration, CostModel, FormRow};
use crate::search::{Engine, EngineKind, Neighbor, SearchError};
use crate::{Batch, FormState, LoadError, PredictError, Prediction, Predictor, check_batch};
use routewright_data::{Cells, FeatureMatrix, Tensors};
use serde::{Deserialize, Serialize};

pub(super) const ROW: FormRow = FormRow {
    name: "correctness",
    version: 1,
    title: "correctness by the nearest queries, weighed by how often that is right",
    load: Correctness::load,
};

/// How much of `g` tells equal statements apart.
const HAIR: f32 = 1e-3;

/// Which of the three scores of the paper is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statement {
    /// The share of neighbors that the arm answers right.
    S1,
    /// Whether that is more than a half.
    S2,
    /// The chance that the arm answers right, given how often such statements hold this far from the training tasks.
    S3,
}

/// Sizes and switches of [`Correctness`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorrectnessShape {
    /// Neighbors looked at, at least 1.
    pub k: usize,
    /// Which score is taken.
    pub statement: Statement,
    /// Width `h` of the kernel over distances, above 0.
    pub bandwidth: f32,
}

/// How often statements held, by distance.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reliability {
    /// Mean distance of the queries of each measurement to their neighbors, at least 0.
    pub distance: Vec<f32>,
    /// Accuracy of the statements on each arm `(n_measurements, n_arms)`, in `[0, 1]`.
    pub accuracy: Vec<f32>,
}

impl Reliability {
    /// Accuracy expected at a distance, one an arm; 1/2 where nothing was measured.
    pub fn at(&self, distance: f32, bandwidth: f32, n_arms: usize) -> Vec<f32> {
        let squares = self.distance.iter().map(|own| ((distance - own) / bandwidth).powi(2) / 2.0);
        let exponents: Vec<f32> = squares.collect();
        // The nearest measurement weighs 1, so that the sum is not lost far from all of them.
        let least = exponents.iter().copied().fold(f32::INFINITY, f32::min);
        let weights: Vec<f32> = exponents.iter().map(|e| (least - e).exp()).collect();
        let total: f32 = weights.iter().sum();
        if total.is_nan() || total <= 0.0 {
            return vec![0.5; n_arms];
        }
        let of = |arm: usize| {
            let sum: f32 =
                weights.iter().enumerate().map(|(at, w)| w * self.accuracy[at * n_arms + arm]).sum();
            sum / total
        };
        (0..n_arms).map(of).collect()
    }
}

/// What is foretold of one query: `g` of each arm and the mean distance of its neighbors.
#[derive(Debug, Clone, PartialEq)]
pub struct Foretold {
    /// Mean score of each arm over the neighbors that have one.
    pub right: Vec<f32>,
    /// Mean of `1 - cos` over the neighbors.
    pub distance: f32,
}

impl Foretold {
    /// From neighbors in a log; an arm that none of them scored has its entry of `overall`.
    pub fn of(neighbors: &[Neighbor], score: &Cells, overall: &[f32]) -> Self {
        let mut sums = vec![(0.0_f32, 0.0_f32); overall.len()];
        for neighbor in neighbors {
            let row = score.row(neighbor.row as usize).iter();
            for (sum, value) in sums.iter_mut().zip(row).filter(|(_, value)| !value.is_nan()) {
                *sum = (sum.0 + value, sum.1 + 1.0);
            }
        }
        let mean = |((sum, n), overall): (&(f32, f32), &f32)| if *n > 0.0 { sum / n } else { *overall };
        let right = sums.iter().zip(overall).map(mean).collect();
        let n = neighbors.len().max(1) as f32;
        let distance = neighbors.iter().map(|near| 1.0 - near.similarity).sum::<f32>() / n;
        Self { right, distance }
    }

    /// The score of each arm on this query.
    pub fn scores(&self, shape: &CorrectnessShape, reliability: &Reliability) -> Vec<f32> {
        task_scores(std::slice::from_ref(self), shape, reliability)
    }
}

/// The score of each arm on a task: means over its queries, `p` being taken at their mean distance.
pub fn task_scores(task: &[Foretold], shape: &CorrectnessShape, reliability: &Reliability) -> Vec<f32> {
    let n = task.len().max(1) as f32;
    let n_arms = task.first().map_or(0, |query| query.right.len());
    let distance = task.iter().map(|query| query.distance).sum::<f32>() / n;
    let trust = match shape.statement {
        Statement::S3 => reliability.at(distance, shape.bandwidth, n_arms),
        Statement::S1 | Statement::S2 => Vec::new(),
    };
    let of = |arm: usize| {
        let right = task.iter().map(|query| query.right[arm]).sum::<f32>() / n;
        let stated = task.iter().filter(|query| query.right[arm] > 0.5).count() as f32 / n;
        match shape.statement {
            Statement::S1 => right,
            Statement::S2 => stated + HAIR * right,
            Statement::S3 => stated * trust[arm] + (1.0 - stated) * (1.0 - trust[arm]) + HAIR * right,
        }
    };
    (0..n_arms).map(of).collect()
}

/// Training queries with their scores, and how often they foretold right.
#[derive(Debug)]
pub struct Correctness {
    /// Sizes and switches.
    pub shape: CorrectnessShape,
    /// Training queries of norm above 0 that have a score.
    pub index: Engine,
    /// Their scores `(n, n_arms)`, missing cells `NaN`.
    pub score: Cells,
    /// Mean score of each arm.
    pub overall: Vec<f32>,
    /// How often statements held.
    pub reliability: Reliability,
    /// Tasks whose score is that of the whole task, by source.
    pub tasks: Vec<String>,
    /// `(tasks.len(), n_arms)`, before calibration.
    pub task_table: Vec<f32>,
    /// The line from these scores to those of the log.
    pub calibration: Calibration,
    /// What calls cost.
    pub cost: CostModel,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    shape: CorrectnessShape,
    tasks: Vec<String>,
}

impl Correctness {
    /// An index of training queries.
    ///
    /// # Errors
    /// If they cannot be indexed.
    pub fn index(features: FeatureMatrix) -> Result<Engine, SearchError> {
        Engine::new(EngineKind::Exact, features)
    }

    fn load(state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        let FormState { config, mut tensors } = state;
        let Config { shape, tasks } = super::config(ROW.name, config)?;
        let refuse = |reason: String| LoadError::Config { form: ROW.name, reason };
        if shape.k == 0 || !(shape.bandwidth > 0.0 && shape.bandwidth.is_finite()) {
            let CorrectnessShape { k, bandwidth, .. } = shape;
            return Err(refuse(format!(
                "`k` is `{k}` and `bandwidth` `{bandwidth}`, expected numbers above 0"
            )));
        }
        let index = Engine::restore(EngineKind::Exact, &mut tensors, ROW.name)?;
        let n = index.len();
        let score = Cells::from_vec(n, n_arms, tensors.take_f32_any("score", &[n, n_arms])?);
        let overall = tensors.take_f32("overall", &[n_arms])?;
        let measured = tensors.shape("reliability.distance")?.first().copied().unwrap_or(0);
        let reliability = Reliability {
            distance: tensors.take_f32("reliability.distance", &[measured])?,
            accuracy: tensors.take_f32("reliability.accuracy", &[measured, n_arms])?,
        };
        let task_table = tensors.take_f32("tasks", &[tasks.len(), n_arms])?;
        let calibration = Calibration::restore(ROW.name, &mut tensors)?;
        let cost = CostModel::restore(&mut tensors, n_arms)?;
        Ok(Box::new(Self { shape, index, score, overall, reliability, tasks, task_table, calibration, cost }))
    }

    fn predict_row(&self, neighbors: &[Neighbor], source: Option<&str>) -> Vec<f32> {
        let task = source.and_then(|source| self.tasks.iter().position(|task| task == source));
        let near = neighbors.partition_point(|neighbor| neighbor.similarity > 0.0);
        let n_arms = self.overall.len();
        let mut score = match task {
            Some(task) => self.task_table[task * n_arms..(task + 1) * n_arms].to_vec(),
            None => {
                let neighbors = &neighbors[..near];
                Foretold::of(neighbors, &self.score, &self.overall).scores(&self.shape, &self.reliability)
            }
        };
        self.calibration.apply(&mut score);
        score
    }
}

impl Predictor for Correctness {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.overall.len()
    }

    fn dim(&self) -> Option<usize> {
        Some(self.index.dim())
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        check_batch(batch, self.index.dim())?;
        let found = self.index.search(batch.features.values(), self.shape.k);
        let found = found.map_err(|error| PredictError::Search(error.to_string()))?;
        let rows = found.iter().enumerate();
        let score = rows.flat_map(|(row, near)| self.predict_row(near, batch.source(row))).collect();
        Ok(Prediction {
            n_arms: self.n_arms(),
            score,
            score_se: None,
            cost_usd: self.cost.predict(batch.features),
            neighborhoods: None,
            members: None,
            n_updates: 0,
        })
    }

    fn state(&self) -> FormState {
        let (n, n_arms, measured) = (self.index.len(), self.n_arms(), self.reliability.distance.len());
        let mut tensors = Tensors::new();
        self.index.store(&mut tensors);
        tensors.insert_f32("score", &[n, n_arms], self.score.values().to_vec());
        tensors.insert_f32("overall", &[n_arms], self.overall.clone());
        tensors.insert_f32("reliability.distance", &[measured], self.reliability.distance.clone());
        tensors.insert_f32("reliability.accuracy", &[measured, n_arms], self.reliability.accuracy.clone());
        tensors.insert_f32("tasks", &[self.tasks.len(), n_arms], self.task_table.clone());
        self.calibration.store(&mut tensors);
        self.cost.store(&mut tensors);
        let config = Config { shape: self.shape, tasks: self.tasks.clone() };
        FormState { config: serde_json::to_value(config).unwrap_or_default(), tensors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(statement: Statement) -> CorrectnessShape {
        CorrectnessShape { k: 2, statement, bandwidth: 0.1 }
    }

    fn form(statement: Statement) -> Correctness {
        let features = FeatureMatrix::from_vec(3, 2, vec![1.0, 0.0, 0.6, 0.8, 0.0, 1.0]);
        Correctness {
            shape: shape(statement),
            index: Correctness::index(features).unwrap(),
            score: Cells::from_vec(3, 2, vec![1.0, f32::NAN, 0.0, f32::NAN, 0.0, 1.0]),
            overall: vec![0.3, 0.9],
            reliability: Reliability { distance: vec![0.2, 0.8], accuracy: vec![0.9, 0.8, 0.5, 0.4] },
            tasks: vec!["sums".to_owned()],
            task_table: vec![0.25, 0.75],
            calibration: Calibration::default(),
            cost: CostModel::constant(vec![0.1, f32::NAN]),
        }
    }

    fn scores(form: &dyn Predictor, x: [f32; 2], source: Option<&str>) -> Vec<f32> {
        let features = FeatureMatrix::from_vec(1, 2, x.to_vec());
        form.predict(&Batch { sources: &[source], ..Batch::of(&features) }).unwrap().score
    }

    #[test]
    fn the_three_scores_follow_their_formulas() {
        // Neighbors of (1, 0): the first at cosine 1 and the second at 0.6, so that u = 0.2; arm 1 has no cell there.
        let s1 = scores(&form(Statement::S1), [1.0, 0.0], None);
        assert!((s1[0] - 0.5).abs() < 1e-6 && (s1[1] - 0.9).abs() < 1e-6, "{s1:?}");
        let s2 = scores(&form(Statement::S2), [1.0, 0.0], None);
        assert!((s2[0] - 0.0005).abs() < 1e-6 && (s2[1] - 1.0009).abs() < 1e-6, "{s2:?}");
        // The second measurement weighs exp(-18); p is 0.9 and 0.8.
        let s3 = scores(&form(Statement::S3), [1.0, 0.0], None);
        assert!((s3[0] - (1.0 - 0.9 + 0.0005)).abs() < 1e-4 && (s3[1] - 0.8009).abs() < 1e-4, "{s3:?}");
        assert_eq!(scores(&form(Statement::S3), [1.0, 0.0], Some("sums")), [0.25, 0.75]);
        assert_eq!(scores(&form(Statement::S3), [1.0, 0.0], Some("poems")), s3);
        assert_eq!(scores(&form(Statement::S1), [0.0, 0.0], None), [0.3, 0.9]);
    }

    #[test]
    fn a_task_is_the_mean_of_its_queries() {
        let task = [
            Foretold { right: vec![0.8, 0.4], distance: 0.1 },
            Foretold { right: vec![0.6, 0.9], distance: 0.3 },
        ];
        let reliability = Reliability { distance: vec![0.2], accuracy: vec![0.7, 0.6] };
        let s1 = task_scores(&task, &shape(Statement::S1), &reliability);
        assert!((s1[0] - 0.7).abs() < 1e-6 && (s1[1] - 0.65).abs() < 1e-6, "{s1:?}");
        let s3 = task_scores(&task, &shape(Statement::S3), &reliability);
        // Arm 0 is stated right on both, arm 1 on one of two: 0.7 and 0.5 * 0.6 + 0.5 * 0.4.
        assert!((s3[0] - 0.7007).abs() < 1e-6 && (s3[1] - 0.500_65).abs() < 1e-6, "{s3:?}");
        assert_eq!(Reliability::default().at(0.1, 0.1, 2), [0.5, 0.5]);
        assert_eq!(reliability.at(1e6, 1e-3, 2), [0.7, 0.6]);
    }

    #[test]
    fn the_state_survives_and_damage_is_refused() {
        let form = form(Statement::S3);
        let restored = crate::forms::restored(&form).unwrap();
        for (x, source) in [([0.8, 0.6], None), ([0.0, 0.0], None), ([1.0, 0.0], Some("sums"))] {
            assert_eq!(scores(restored.as_ref(), x, source), scores(&form, x, source));
        }
        let mut state = form.state();
        state.config["shape"]["bandwidth"] = serde_json::json!(0.0);
        let error = crate::forms::load(ROW.name, 1, state, 2).unwrap_err().to_string();
        assert!(error.contains("`bandwidth` `0`"), "{error}");
        let mut state = form.state();
        state.tensors.take("tasks").unwrap();
        assert!(crate::forms::load(ROW.name, 1, state, 2).is_err());
    }
}
