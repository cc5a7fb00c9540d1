//! Clusters of queries and a table of means for each (Avengers, arXiv 2505.19797).
//!
//! With distances `d_c = 1 - cos(x, center_c)`, the nearest `top` clusters weigh in by
//! `softmax(-sharpness * d_c)`; score and cost are the weighted rows of the tables.

use super::FormRow;
use crate::{Batch, FormState, LoadError, PredictError, Prediction, Predictor, check_batch};
use routewright_data::{FeatureMatrix, Tensors};
use serde::{Deserialize, Serialize};

pub(super) const ROW: FormRow = FormRow {
    name: "clusters",
    version: 1,
    title: "tables of mean score and cost by cluster of queries",
    load: Clusters::load,
};

/// How clusters are mixed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mixing {
    /// Nearest clusters that weigh in, at least 1.
    pub top: usize,
    /// Sharpness of the softmax over distances.
    pub sharpness: f32,
}

/// Mean outcomes by cluster; every table has shape `(n_clusters, n_arms)`.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterTables {
    /// Mean score, shrunk where a cluster has few observations.
    pub score: Vec<f32>,
    /// Standard error of it.
    pub score_se: Vec<f32>,
    /// Mean cost in US dollars, `NaN` where the log has none for the arm.
    pub cost_usd: Vec<f32>,
}

/// Centers, tables and how to mix them.
#[derive(Debug, Clone, PartialEq)]
pub struct Clusters {
    mixing: Mixing,
    n_arms: usize,
    /// `(n_clusters, dim)`, unit norm.
    centers: FeatureMatrix,
    tables: ClusterTables,
}

impl Clusters {
    /// `centers` has shape `(n_clusters, dim)` with rows of unit norm.
    ///
    /// # Panics
    /// If a table has another shape than `(n_clusters, n_arms)` or there is no cluster (a bug of the caller).
    pub fn new(mixing: Mixing, n_arms: usize, centers: FeatureMatrix, tables: ClusterTables) -> Self {
        let cells = centers.n_rows() * n_arms;
        assert!(centers.n_rows() > 0 && mixing.top > 0, "clusters: at least one");
        assert_eq!(tables.score.len(), cells, "score table: (n_clusters, n_arms)");
        assert_eq!(tables.score_se.len(), cells, "score_se table: (n_clusters, n_arms)");
        assert_eq!(tables.cost_usd.len(), cells, "cost table: (n_clusters, n_arms)");
        Self { mixing, n_arms, centers, tables }
    }

    fn load(mut state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        let mixing: Mixing = super::config(ROW.name, state.config)?;
        let shape = state.tensors.shape("centers")?;
        let (n, dim) = (shape.first().copied().unwrap_or(0), shape.get(1).copied().unwrap_or(0));
        if n == 0 || mixing.top == 0 {
            let reason = format!("there are {n} clusters of which {} weigh in", mixing.top);
            return Err(LoadError::Config { form: ROW.name, reason });
        }
        let centers = FeatureMatrix::from_vec(n, dim, state.tensors.take_f32("centers", &[n, dim])?);
        let tables = ClusterTables {
            score: state.tensors.take_f32("score", &[n, n_arms])?,
            score_se: state.tensors.take_f32("score_se", &[n, n_arms])?,
            cost_usd: state.tensors.take_f32_any("cost_usd", &[n, n_arms])?,
        };
        Ok(Box::new(Self::new(mixing, n_arms, centers, tables)))
    }

    /// Clusters that weigh in and their weights, which sum to 1.
    fn weights(&self, x: &[f32]) -> Vec<(usize, f32)> {
        let cosine = |c: usize| self.centers.row(c).iter().zip(x).map(|(a, b)| a * b).sum::<f32>();
        let mut nearest: Vec<(usize, f32)> = (0..self.centers.n_rows()).map(|c| (c, cosine(c))).collect();
        nearest.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        nearest.truncate(self.mixing.top);
        let greatest = nearest[0].1;
        nearest.iter_mut().for_each(|(_, c)| *c = (self.mixing.sharpness * (*c - greatest)).exp());
        let total: f32 = nearest.iter().map(|(_, w)| w).sum();
        nearest.iter_mut().for_each(|(_, w)| *w /= total);
        nearest
    }
}

impl Predictor for Clusters {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.n_arms
    }

    fn dim(&self) -> Option<usize> {
        Some(self.centers.dim())
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        check_batch(batch, self.centers.dim())?;
        let n_cells = batch.n_queries() * self.n_arms;
        let (mut score, mut se, mut cost) = (vec![0.0; n_cells], vec![0.0; n_cells], vec![0.0; n_cells]);
        for row in 0..batch.n_queries() {
            for (cluster, weight) in self.weights(batch.features.row(row)) {
                for arm in 0..self.n_arms {
                    let (to, from) = (row * self.n_arms + arm, cluster * self.n_arms + arm);
                    score[to] += weight * self.tables.score[from];
                    se[to] += weight * self.tables.score_se[from];
                    cost[to] += weight * self.tables.cost_usd[from];
                }
            }
        }
        Ok(Prediction {
            n_arms: self.n_arms,
            score,
            score_se: Some(se),
            cost_usd: cost,
            neighborhoods: None,
            members: None,
            n_updates: 0,
        })
    }

    fn state(&self) -> FormState {
        let (n, n_arms) = (self.centers.n_rows(), self.n_arms);
        let mut tensors = Tensors::new();
        tensors.insert_f32("centers", &[n, self.centers.dim()], self.centers.values().to_vec());
        tensors.insert_f32("score", &[n, n_arms], self.tables.score.clone());
        tensors.insert_f32("score_se", &[n, n_arms], self.tables.score_se.clone());
        tensors.insert_f32("cost_usd", &[n, n_arms], self.tables.cost_usd.clone());
        FormState { config: serde_json::json!(self.mixing), tensors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_clusters_weigh_in_by_softmax() {
        let centers = FeatureMatrix::from_vec(3, 2, vec![1.0, 0.0, 0.0, 1.0, -1.0, 0.0]);
        let tables =
            ClusterTables { score: vec![1.0, 0.0, 0.5], score_se: vec![0.1; 3], cost_usd: vec![f32::NAN; 3] };
        let form = Clusters::new(Mixing { top: 2, sharpness: 2.0 }, 1, centers, tables);
        let query = FeatureMatrix::from_vec(1, 2, vec![0.8, 0.6]);
        let score = form.predict(&Batch::of(&query)).unwrap().score[0];
        // weights exp(2 * 0.8) : exp(2 * 0.6) = 1 : exp(-0.4)
        assert!((score - 1.0 / (1.0 + (-0.4_f32).exp())).abs() < 1e-6, "{score}");
    }
}
