//! How many cells of an outcome log have a score, and what too few of them mean.

use crate::OutcomeTable;
use crate::split::prompt_key;
use serde::Serialize;
use std::collections::HashSet;
use std::fmt;

/// Queries below which a log is too small to tell a habit from chance.
const QUERIES_MIN: u64 = 20;
/// Scored cells a query below which models cannot be compared on the same queries.
const CELLS_MIN: f64 = 1.5;
/// Prompts over queries below which the ids, not the log, are at fault.
const PROMPTS_MAX: f64 = 0.75;

/// Sizes of an outcome log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Coverage {
    /// Different query ids.
    pub queries: u64,
    /// Prompts that differ after normalisation.
    pub prompts: u64,
    /// Different models.
    pub models: u64,
    /// Cells (a query and a model) with a score.
    pub scored: u64,
}

/// Why models cannot be compared on the same queries of a log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Thin {
    /// Equal prompts stand under different query ids, as where an id of the request became `query_id`.
    SplitQueries(Coverage),
    /// One model answered each query, as gateways log it: decisions, not outcomes.
    Decisions(Coverage),
}

impl Coverage {
    /// The sizes of a loaded table.
    pub fn of(table: &OutcomeTable) -> Self {
        let prompts: HashSet<u64> = table.queries.iter().map(|query| prompt_key(&query.prompt)).collect();
        Self {
            queries: table.queries.len() as u64,
            prompts: prompts.len() as u64,
            models: table.models.len() as u64,
            scored: table.score.n_present() as u64,
        }
    }

    /// Scored cells a query, in `[0, models]`.
    pub fn cells_a_query(&self) -> f64 {
        self.scored as f64 / (self.queries as f64).max(1.0)
    }

    /// Whether too few queries have scores of several models, from their mean alone: the prompts are not needed.
    pub fn is_thin(&self) -> bool {
        self.models >= 2 && self.queries >= QUERIES_MIN && self.cells_a_query() < CELLS_MIN
    }

    /// Why models cannot be compared on this log, where they cannot.
    pub fn thin(&self) -> Option<Thin> {
        if !self.is_thin() {
            return None;
        }
        let is_split = (self.prompts as f64) < PROMPTS_MAX * self.queries as f64;
        Some(if is_split { Thin::SplitQueries(*self) } else { Thin::Decisions(*self) })
    }
}

impl Thin {
    /// Name of the finding, stable.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::SplitQueries(_) => "split-queries",
            Self::Decisions(_) => "decisions",
        }
    }
}

impl fmt::Display for Thin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::SplitQueries(sizes) | Self::Decisions(sizes)) = self;
        let Coverage { queries, prompts, models, .. } = sizes;
        let cells = sizes.cells_a_query();
        match self {
            Self::SplitQueries(_) => write!(
                f,
                "{prompts} prompts stand under {queries} query ids, so that a query has {cells:.2} scores of \
                 {models} models: import without `query_id` (`--map query_id=` skips a field of that name), and \
                 rows of equal prompts are one query"
            ),
            Self::Decisions(_) => write!(
                f,
                "a query has {cells:.2} scores of {models} models on average: this is a log of decisions, not of \
                 outcomes, and models seen on different queries cannot be compared fairly; score a sample of \
                 prompts with every model, or, where the probabilities of the decisions are known, use \
                 `routewright ope`"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(queries: u64, prompts: u64, scored: u64) -> Option<&'static str> {
        Coverage { queries, prompts, models: 5, scored }.thin().map(|thin| thin.rule())
    }

    #[test]
    fn one_score_a_query_is_a_log_of_decisions_and_ids_of_requests_are_told_apart() {
        assert_eq!(sizes(100, 100, 500), None);
        assert_eq!(sizes(100, 100, 150), None);
        assert_eq!(sizes(100, 100, 149), Some("decisions"));
        assert_eq!(sizes(100, 80, 100), Some("decisions"));
        assert_eq!(sizes(500, 100, 500), Some("split-queries"));
        // Too small to tell, and one model has nothing to be compared with.
        assert_eq!(sizes(19, 19, 19), None);
        assert_eq!(Coverage { queries: 100, prompts: 100, models: 1, scored: 100 }.thin(), None);
        let said =
            Coverage { queries: 500, prompts: 100, models: 5, scored: 500 }.thin().unwrap().to_string();
        assert!(said.contains("100 prompts stand under 500 query ids"), "{said}");
    }
}
