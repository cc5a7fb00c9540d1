//! What each model is worth on its own: the points every router is drawn among.

use super::{Average, Sources, complete};
use routewright_data::{Cells, OutcomeTable};
use serde::{Deserialize, Serialize};

/// One model called on every query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SingleModel {
    /// The model.
    pub model: String,
    /// Its average score in `[0, 1]`.
    pub score: f64,
    /// Its average cost in US dollars, where known.
    pub cost_usd: Option<f64>,
}

/// Every model, in the order of the table, averaged over the queries with a score of every model ([`complete`]), so
/// that the figures compare; none where those queries are too few.
pub fn single_models(table: &OutcomeTable, average: Average) -> Vec<SingleModel> {
    let Some(kept) = complete(table) else { return Vec::new() };
    let rows: Vec<usize> = (0..kept.len()).filter(|row| kept[*row]).collect();
    let table = table.select_rows(&rows);
    let sources = Sources::of(&table);
    let column = |cells: &Cells, arm: usize| -> Vec<f64> {
        (0..cells.n_rows()).map(|query| f64::from(cells.row(query)[arm])).collect()
    };
    let single = |(arm, model): (usize, &String)| {
        let score = sources.mean(&column(&table.score, arm), average)?;
        let cost_usd = sources.mean(&column(&table.cost_usd, arm), average);
        Some(SingleModel { model: model.clone(), score, cost_usd })
    };
    table.models.iter().enumerate().filter_map(single).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::{holed, near, table};

    /// The third query, on which only `x` was asked and failed, counts for neither.
    #[test]
    fn models_are_averaged_over_the_queries_all_were_asked() {
        let singles = single_models(&holed(), Average::Micro);
        assert!(near(singles[0].score, 0.75) && near(singles[1].score, 0.5), "{singles:?}");
        assert!(near(singles[1].cost_usd.unwrap(), 0.02));
        let three = table(&["a", "a", "b"], &[1.0, 0.0, 0.5, 0.0, 0.0, 1.0], &[1.0; 6]);
        let singles = single_models(&three, Average::Macro);
        assert!(near(singles[0].score, 0.375) && near(singles[1].score, 0.5)); // (0.75 + 0) / 2, (0 + 1) / 2
    }

    #[test]
    fn models_without_common_queries_have_no_figures() {
        let none = f32::NAN;
        let log = table(&["a"; 3], &[1.0, none, none, 0.0, 0.5, 0.5], &[none; 6]);
        assert!(single_models(&log, Average::Micro).is_empty());
    }
}
