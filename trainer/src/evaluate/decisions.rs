//! The distribution over arms a policy decides each query with.

use routewright_policy::{Prediction, Selector};

/// Propensities of shape `(n_queries, n_arms)`, row-major; each row sums to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Decisions {
    n_arms: usize,
    mass: Vec<f32>,
}

impl Decisions {
    /// Asks `selector` for every query of `prediction`, all arms eligible.
    pub fn of(prediction: &Prediction, selector: &dyn Selector) -> Self {
        let eligible = vec![true; prediction.n_arms];
        let decide = |query| selector.distribution(&prediction.row(query), &eligible);
        let mass = (0..prediction.n_queries()).flat_map(decide).collect();
        Self { n_arms: prediction.n_arms, mass }
    }

    /// One arm for each query.
    pub fn deterministic(arms: &[usize], n_arms: usize) -> Self {
        let mut mass = vec![0.0; arms.len() * n_arms];
        for (query, &arm) in arms.iter().enumerate() {
            mass[query * n_arms + arm] = 1.0;
        }
        Self { n_arms, mass }
    }

    /// Every arm with the same probability.
    pub fn uniform(n_queries: usize, n_arms: usize) -> Self {
        Self { n_arms, mass: vec![1.0 / n_arms.max(1) as f32; n_queries * n_arms] }
    }

    /// Number of arms.
    pub fn n_arms(&self) -> usize {
        self.n_arms
    }

    /// Number of queries.
    pub fn n_queries(&self) -> usize {
        self.mass.len() / self.n_arms.max(1)
    }

    /// Distribution of one query, shape `(n_arms,)`.
    pub fn row(&self, query: usize) -> &[f32] {
        &self.mass[query * self.n_arms..(query + 1) * self.n_arms]
    }
}

/// Mean of `cells` under `mass`, renormalised over the observed cells; `NaN` where none of the mass is
/// observed.
pub(super) fn expected(mass: &[f32], cells: &[f32]) -> f64 {
    let observed = mass.iter().zip(cells).filter(|(p, cell)| **p > 0.0 && !cell.is_nan());
    let (total, sum) = observed.fold((0.0, 0.0), |(total, sum), (&p, &cell)| {
        (total + f64::from(p), sum + f64::from(p) * f64::from(cell))
    });
    if total > 0.0 { sum / total } else { f64::NAN }
}
