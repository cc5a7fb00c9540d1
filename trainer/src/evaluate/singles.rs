//! What each model is worth on its own: the points every router is drawn among.

use super::{Average, Sources};
use routewright_data::{Cells, OutcomeTable};
use serde::{Deserialize, Serialize};

/// One model called on every query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SingleModel {
    /// The model.
    pub model: String,
    /// Its average score in `[0, 1]` over the queries it was observed on.
    pub score: f64,
    /// Its average cost in US dollars, where known.
    pub cost_usd: Option<f64>,
}

/// Every model with at least one score, in the order of the table.
pub fn single_models(table: &OutcomeTable, sources: &Sources, average: Average) -> Vec<SingleModel> {
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
    use crate::evaluate::fixtures::{holed, near};

    #[test]
    fn each_model_is_averaged_over_what_it_was_asked() {
        let table = holed();
        let singles = single_models(&table, &Sources::of(&table), Average::Micro);
        assert!(near(singles[0].score, 0.5) && near(singles[1].score, 0.5));
        assert!(near(singles[1].cost_usd.unwrap(), 0.02));
        let singles = single_models(&table, &Sources::of(&table), Average::Macro);
        assert!(near(singles[0].score, 0.375)); // (0.75 + 0) / 2
    }
}
