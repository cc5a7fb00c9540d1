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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::{holed, near};
    use crate::evaluate::{Average, Sources};

    #[test]
    fn mass_on_a_missing_cell_goes_to_the_observed_arms() {
        let table = holed();
        let scores = query_scores(&Decisions::uniform(3, 2), &table);
        // q0 (1 + 0) / 2, q1 (0.5 + 1) / 2, q2: all on x, which scored 0
        assert_eq!(scores, [0.5, 0.75, 0.0]);
        let sources = Sources::of(&table);
        assert!(near(sources.mean(&scores, Average::Micro).unwrap(), 1.25 / 3.0));
        assert!(near(sources.mean(&scores, Average::Macro).unwrap(), (0.625 + 0.0) / 2.0));
    }

    #[test]
    fn a_query_without_an_observed_choice_is_uncovered_not_zero() {
        let table = holed();
        let scores = query_scores(&Decisions::deterministic(&[1, 1, 1], 2), &table);
        assert_eq!(scores[..2], [0.0, 1.0]);
        assert!(scores[2].is_nan());
        let sources = Sources::of(&table);
        assert_eq!(sources.mean(&scores, Average::Micro), Some(0.5));
        assert_eq!(sources.mean(&scores, Average::Macro), Some(0.5)); // source b has no covered query
        assert_eq!(sources.means(&scores), [Some(0.5), None]);
    }
}
