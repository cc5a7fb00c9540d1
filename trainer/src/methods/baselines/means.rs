//! Mean score and cost of each arm: what the baselines know of a log.

use routewright_data::OutcomeTable;
use routewright_policy::forms::{Constant, CostModel};
use std::collections::BTreeMap;

/// Mean logged cost of each arm, `NaN` where the log has none.
pub(crate) fn mean_costs(table: &OutcomeTable) -> Vec<f32> {
    (0..table.n_arms())
        .map(|arm| table.cost_usd.column_mean(arm).map_or(f32::NAN, |mean| mean as f32))
        .collect()
}

/// Mean score of each arm; an arm never observed gets the least mean of the others, so that it is never
/// preferred for want of data.
pub(in crate::methods) fn mean_scores(table: &OutcomeTable) -> Vec<f32> {
    let means: Vec<Option<f64>> = (0..table.n_arms()).map(|arm| table.score.column_mean(arm)).collect();
    let least = means.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let least = if least.is_finite() { least } else { 0.0 };
    means.into_iter().map(|mean| mean.unwrap_or(least) as f32).collect()
}

/// The constant form without sources.
pub(crate) fn overall(table: &OutcomeTable) -> Constant {
    Constant::new(mean_scores(table), Vec::new(), Vec::new(), CostModel::constant(mean_costs(table)))
}

/// The constant form with a row of means for every source; an arm not observed in a source keeps its
/// overall mean there.
pub(crate) fn by_source(table: &OutcomeTable) -> Constant {
    let overall = mean_scores(table);
    let mut rows: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (row, query) in table.queries.iter().enumerate() {
        if let Some(source) = &query.source {
            rows.entry(source).or_default().push(row);
        }
    }
    let mut means = Vec::with_capacity(rows.len() * table.n_arms());
    for rows in rows.values() {
        let cells = table.score.select_rows(rows);
        means.extend(
            (0..table.n_arms()).map(|arm| cells.column_mean(arm).map_or(overall[arm], |mean| mean as f32)),
        );
    }
    let sources = rows.keys().map(|source| (*source).to_owned()).collect();
    Constant::new(overall, sources, means, CostModel::constant(mean_costs(table)))
}
