//! Expected cost of a policy. Unit: US dollars a call; lower is better.

use super::Decisions;
use super::decisions::expected;
use routewright_data::OutcomeTable;

/// Expected logged cost of each query under `decisions`; `NaN` where no arm with mass has a cost.
///
/// Missing cells are treated as in [`super::query_scores`].
pub fn query_costs(decisions: &Decisions, table: &OutcomeTable) -> Vec<f64> {
    (0..table.n_queries()).map(|query| expected(decisions.row(query), table.cost_usd.row(query))).collect()
}
