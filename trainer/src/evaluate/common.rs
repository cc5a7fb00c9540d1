//! Which queries a table may compare its rows on.
//!
//! A log has holes. A policy that calls a model which was not asked is uncovered on that query, so each row would
//! be averaged over queries of its own, and a table of such means can be wrong in sign. Here all rows get the same
//! queries, or none.

use routewright_data::OutcomeTable;

/// Share of the queries that must be common, or complete, for figures to be taken on them.
pub const COMMON_SHARE_MIN: f64 = 0.5;
/// The queries with a score of every arm, which curves are drawn on; `None` where they are fewer than half.
pub fn complete(table: &OutcomeTable) -> Option<Vec<bool>> {
    let complete = |row: usize| table.score.row(row).iter().all(|score| !score.is_nan());
    let kept: Vec<bool> = (0..table.n_queries()).map(complete).collect();
    (share(&kept) >= COMMON_SHARE_MIN).then_some(kept)
}

/// The queries rows are compared on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Common {
    /// Whether a query counts.
    pub(super) kept: Vec<bool>,
    /// Whether a row covers all of them; one that does not has no figures.
    pub(super) has_figures: Vec<bool>,
}

impl Common {
    /// The largest common ground of rows, each given as whether it covers a query.
    ///
    /// Rows that cover less than half of the queries are set aside. Where the others have less than half in
    /// common, only rows that cover every query keep their figures.
    pub(super) fn of(rows: &[Vec<bool>], n_queries: usize) -> Self {
        let mut has_figures: Vec<bool> = rows.iter().map(|row| share(row) >= COMMON_SHARE_MIN).collect();
        let mut kept = vec![true; n_queries];
        for (row, _) in rows.iter().zip(&has_figures).filter(|(_, has)| **has) {
            kept.iter_mut().zip(row).for_each(|(kept, covered)| *kept &= covered);
        }
        if share(&kept) < COMMON_SHARE_MIN {
            has_figures = rows.iter().map(|row| row.iter().all(|covered| *covered)).collect();
            kept = vec![true; n_queries];
        }
        Self { kept, has_figures }
    }

    /// No query and no row.
    pub(super) fn none(n_rows: usize, n_queries: usize) -> Self {
        Self { kept: vec![false; n_queries], has_figures: vec![false; n_rows] }
    }
}

fn share(kept: &[bool]) -> f64 {
    kept.iter().filter(|kept| **kept).count() as f64 / kept.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::{holed, table};

    #[test]
    fn rows_share_the_queries_all_of_them_cover() {
        let rows = [vec![true; 4], vec![true, true, false, true], vec![false, true, true, true]];
        let found = Common::of(&rows, 4);
        assert_eq!((found.kept, found.has_figures), (vec![false, true, false, true], vec![true; 3]));
    }

    #[test]
    fn a_row_with_holes_does_not_take_the_queries_of_the_others() {
        let rows = [vec![true; 4], vec![true, false, false, false]];
        let found = Common::of(&rows, 4);
        assert_eq!((found.kept, found.has_figures), (vec![true; 4], vec![true, false]));
        // Each covers half, none in common.
        let rows = [vec![true; 4], vec![true, true, false, false], vec![false, false, true, true]];
        let found = Common::of(&rows, 4);
        assert_eq!((found.kept, found.has_figures), (vec![true; 4], vec![true, false, false]));
    }

    #[test]
    fn queries_with_every_arm_are_complete() {
        assert_eq!(complete(&holed()), Some(vec![true, true, false]));
        let none = f32::NAN;
        assert_eq!(complete(&table(&["a"; 2], &[1.0, none, none, 0.0], &[none; 4])), None);
    }
}
