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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::{holed, near};

    #[test]
    fn costs_are_weighted_by_propensity() {
        let costs = query_costs(&Decisions::uniform(3, 2), &holed());
        // (0.001 + 0.01) / 2, (0.001 + 0.03) / 2, x alone
        assert!(near(costs[0], 0.0055) && near(costs[1], 0.0155) && near(costs[2], 0.001), "{costs:?}");
    }
}
