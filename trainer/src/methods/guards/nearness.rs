//! Evidence of the nearest training queries: what a neighborhood is believed to tell before it is looked at.

use crate::method::FitError;
use crate::source_guard::TAU2_MIN;
use routewright_data::{Cells, FeatureMatrix, OutcomeTable};
use routewright_policy::evidence::{Differences, Prior};
use routewright_policy::forms::NearGuard;
use routewright_policy::search::{Engine, ExactIndex};

/// Variance of a difference of two scores where nothing tells another.
const VARIANCE_MAX: f64 = 1.0;

/// Fits on what the guard reads `(n, dim)`, of unit norm or 0. The spread between neighborhoods is measured on the
/// training rows, none its own neighbor, nor a row of the same prompt.
pub(super) fn fit(
    read: &FeatureMatrix,
    table: &OutcomeTable,
    baseline: usize,
    k: usize,
) -> Result<NearGuard, FitError> {
    let failed = |reason: String| FitError::Numeric { method: super::guarded::NAME, reason };
    let rows: Vec<usize> =
        (0..table.n_queries()).filter(|row| read.row(*row).iter().any(|v| *v != 0.0)).collect();
    if rows.is_empty() {
        let reason =
            "no query has a text that tells it from others, which evidence by nearness needs".to_owned();
        return Err(FitError::Log { method: super::guarded::NAME, reason });
    }
    let (features, n_arms) = (read.select_rows(&rows), table.n_arms());
    let mut difference = Cells::missing(rows.len(), n_arms);
    for (at, row) in rows.iter().enumerate() {
        let Some(base) = table.score.get(*row, baseline) else { continue };
        (0..n_arms).for_each(|arm| {
            difference.set(at, arm, table.score.get(*row, arm).map_or(f32::NAN, |score| score - base));
        });
    }
    let index =
        ExactIndex::new(features.values().to_vec(), features.dim()).map_err(|e| failed(e.to_string()))?;
    let prompt = |at: usize| table.queries[rows[at]].prompt.as_str();
    let others = |query: usize, row: u32| prompt(query) != prompt(row as usize);
    let found = index.search_where(features.values(), k, others).map_err(|e| failed(e.to_string()))?;
    let near: Vec<Vec<usize>> =
        found.iter().map(|near| near.iter().map(|n| n.row as usize).collect()).collect();
    let prior = (0..n_arms).map(|arm| prior(&difference, arm, &near)).collect();
    Ok(NearGuard { k, index: Engine::Exact(index), difference, prior })
}

/// Pooled variance within neighborhoods, mean of all differences, spread of the means of neighborhoods.
fn prior(difference: &Cells, arm: usize, near: &[Vec<usize>]) -> Prior {
    let known = |rows: &[usize]| -> Vec<f64> {
        rows.iter().filter_map(|row| difference.get(*row, arm)).map(f64::from).collect()
    };
    let all: Vec<usize> = (0..difference.n_rows()).collect();
    let mean = Differences::of(&known(&all)).mean;
    let groups: Vec<Differences> = near.iter().map(|rows| Differences::of(&known(rows))).collect();
    let groups: Vec<&Differences> = groups.iter().filter(|group| group.n > 0.0).collect();
    let freedom: f64 = groups.iter().map(|group| group.freedom()).sum();
    let squares: f64 = groups.iter().map(|group| group.squares).sum();
    let pooled = if freedom > 0.0 { squares / freedom } else { VARIANCE_MAX };
    // Every query has a neighborhood, so that each counts once, however many rows it has.
    let spread = |group: &&Differences| (group.mean - mean).powi(2) - group.variance(pooled) / group.n;
    let tau2 = groups.iter().map(spread).sum::<f64>() / groups.len().max(1) as f64;
    Prior { pooled, mean, tau2: tau2.max(TAU2_MIN) }
}
