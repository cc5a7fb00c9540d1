//! Mean score and cost of each arm: what the baselines know of a log.

use crate::evaluate::{Average, Sources};
use crate::source_table;
use routewright_data::{Cells, OutcomeTable};
use routewright_policy::forms::{Constant, CostModel};
use std::collections::BTreeMap;

/// Mean of each column under an average, `None` where it has no cell.
///
/// Macro is the mean over the sources in which the column has a cell.
pub(crate) fn column_means(cells: &Cells, sources: &Sources, average: Average) -> Vec<Option<f64>> {
    let column =
        |arm: usize| (0..cells.n_rows()).map(|row| f64::from(cells.row(row)[arm])).collect::<Vec<f64>>();
    (0..cells.n_cols()).map(|arm| sources.mean(&column(arm), average)).collect()
}

/// Mean logged cost of each arm over queries, `NaN` where the log has none.
pub(crate) fn mean_costs(table: &OutcomeTable) -> Vec<f32> {
    costs_under(table, Average::Micro)
}

/// Mean logged cost of each arm under an average, `NaN` where the log has none.
fn costs_under(table: &OutcomeTable, average: Average) -> Vec<f32> {
    let means = column_means(&table.cost_usd, &Sources::of(table), average);
    means.into_iter().map(|mean| mean.map_or(f32::NAN, |mean| mean as f32)).collect()
}

/// Mean score of each arm over queries; an arm never observed gets the least mean of the others, so that it
/// is never preferred for want of data.
pub(in crate::methods) fn mean_scores(table: &OutcomeTable) -> Vec<f32> {
    scores_under(table, Average::Micro)
}

/// [`mean_scores`] under an average.
pub(crate) fn scores_under(table: &OutcomeTable, average: Average) -> Vec<f32> {
    let means = column_means(&table.score, &Sources::of(table), average);
    let least = means.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let least = if least.is_finite() { least } else { 0.0 };
    means.into_iter().map(|mean| mean.unwrap_or(least) as f32).collect()
}

/// The arm of the best mean score under an average; the cheaper of equals, then the first.
///
/// `None` for a table without arms.
pub(crate) fn best_single(table: &OutcomeTable, average: Average) -> Option<usize> {
    let (scores, costs) = (scores_under(table, average), costs_under(table, average));
    let cost = |arm: usize| if costs[arm].is_nan() { f32::INFINITY } else { costs[arm] };
    let better = |a: usize, b: usize| scores[a] > scores[b] || scores[a] == scores[b] && cost(a) < cost(b);
    (0..table.n_arms()).reduce(|best, arm| if better(arm, best) { arm } else { best })
}

/// The constant form without sources: means under an average.
pub(crate) fn overall(table: &OutcomeTable, average: Average) -> Constant {
    let cost = CostModel::constant(costs_under(table, average));
    Constant::new(scores_under(table, average), Vec::new(), Vec::new(), cost)
}

/// The constant form with a row for every source: the shrunk means of [`crate::source_table`]. A source not seen has
/// the means of all, under the average given.
pub(crate) fn by_source(table: &OutcomeTable, average: Average) -> Constant {
    let overall = scores_under(table, average);
    let shrunk = source_table::shrunk(table);
    let sources = shrunk.keys().map(|source| (*source).to_owned()).collect();
    let means = shrunk.into_values().flatten().map(|mean| mean as f32).collect();
    Constant::new(overall, sources, means, CostModel::constant(costs_under(table, average)))
}

/// The rows of each source the log names, by name.
pub(crate) fn rows_by_source(table: &OutcomeTable) -> BTreeMap<&str, Vec<usize>> {
    let mut rows: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (row, query) in table.queries.iter().enumerate() {
        if let Some(source) = &query.source {
            rows.entry(source).or_default().push(row);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::table;

    /// `x` is best over queries (0.75 against 0.5), `y` over sources (0.5 against 0.75).
    #[test]
    fn the_best_single_model_follows_the_average() {
        let table = table(
            &["big", "big", "big", "small"],
            &[1.0, 0.5, 1.0, 0.5, 1.0, 0.5, 0.0, 1.0],
            &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 9.0, 1.0],
        );
        assert_eq!(scores_under(&table, Average::Micro), [0.75, 0.625]);
        assert_eq!(scores_under(&table, Average::Macro), [0.5, 0.75]);
        assert_eq!(best_single(&table, Average::Micro), Some(0));
        assert_eq!(best_single(&table, Average::Macro), Some(1));
        assert_eq!(costs_under(&table, Average::Micro), [3.0, 1.0]);
        assert_eq!(costs_under(&table, Average::Macro), [5.0, 1.0]);
    }

    #[test]
    fn of_equal_models_the_cheaper_is_the_best_single_one() {
        let table = table(&["a"], &[0.5, 0.5, 0.4], &[0.3, 0.2, 0.1]);
        assert_eq!(best_single(&table, Average::Micro), Some(1));
    }
}
