//! Small tables worked out by hand, for the tests of this folder and of the reports.

use routewright_data::{Cells, OutcomeTable, Query};
use routewright_policy::Prediction;

const MISSING: f32 = f32::NAN;

/// A table of the given sources, one query each; models are `x`, `y`, `z`, ... from left to right.
pub(crate) fn table(sources: &[&str], score: &[f32], cost_usd: &[f32]) -> OutcomeTable {
    let n_arms = score.len() / sources.len();
    let query = |(i, source): (usize, &&str)| Query {
        id: format!("q{i}"),
        prompt: format!("prompt {i}"),
        source: (!source.is_empty()).then(|| (*source).to_owned()),
        ..Query::default()
    };
    OutcomeTable {
        queries: sources.iter().enumerate().map(query).collect(),
        models: ["x", "y", "z", "w"][..n_arms].iter().map(|&m| m.to_owned()).collect(),
        score: Cells::from_vec(sources.len(), n_arms, score.to_vec()),
        soft_score: None,
        cost_usd: Cells::from_vec(sources.len(), n_arms, cost_usd.to_vec()),
        latency_ms: None,
        vectors: None,
    }
}

/// Two queries of source `a`, one of `b`; arm `y` was never asked on the last one.
pub(crate) fn holed() -> OutcomeTable {
    table(&["a", "a", "b"], &[1.0, 0.0, 0.5, 1.0, 0.0, MISSING], &[0.001, 0.01, 0.001, 0.03, 0.001, MISSING])
}

/// A prediction of the given scores and costs.
pub(crate) fn prediction(n_arms: usize, score: &[f32], cost_usd: &[f32]) -> Prediction {
    Prediction {
        n_arms,
        score: score.to_vec(),
        score_se: None,
        cost_usd: cost_usd.to_vec(),
        neighborhoods: None,
        members: None,
        n_updates: 0,
    }
}

/// Whether two figures agree to the rounding of a few f64 operations on f32 cells.
pub(crate) fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-7
}
