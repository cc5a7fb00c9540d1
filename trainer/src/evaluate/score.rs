//! Expected score of a policy. Unit: score in `[0, 1]`; higher is better.

use super::Decisions;
use super::decisions::expected;
use routewright_data::OutcomeTable;

/// Expected logged score of each query under `decisions`: the sum over arms of propensity x score.
///
/// Mass on a missing cell is shared among the observed arms that have mass; where none has, the query is
/// uncovered and its value is `NaN`.
pub fn query_scores(decisions: &Decisions, table: &OutcomeTable) -> Vec<f64> {
    (0..table.n_queries()).map(|query| expected(decisions.row(query), table.score.row(query))).collect()
}
