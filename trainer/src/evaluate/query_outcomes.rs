//! What each query scored, cost, took and called under one policy.

use super::decisions::expected;
use super::{Decisions, query_costs, query_scores};
use routewright_data::OutcomeTable;

/// What each query scored, cost, took and called under one policy, with one seed. All of one length.
#[derive(Debug, Clone, Default)]
pub struct QueryOutcomes {
    /// Score of each query, `NaN` where uncovered.
    pub scores: Vec<f64>,
    /// Cost of each query in US dollars, `NaN` where unknown.
    pub costs: Vec<f64>,
    /// Time from the first call to the reply of each query in milliseconds, `NaN` where unknown.
    pub latencies_ms: Vec<f64>,
    /// Answers asked for, `NaN` where uncovered.
    pub calls: Vec<f64>,
}

impl PartialEq for QueryOutcomes {
    /// By bits: what is unknown in both is equal.
    fn eq(&self, other: &Self) -> bool {
        let lists = |one: &Self| [&one.scores, &one.costs, &one.latencies_ms, &one.calls].map(Vec::clone);
        let bits = |one: &Self| lists(one).map(|list| list.into_iter().map(f64::to_bits).collect::<Vec<_>>());
        bits(self) == bits(other)
    }
}

impl QueryOutcomes {
    /// Of policies of one call whose latency is unknown.
    pub fn new(scores: Vec<f64>, costs: Vec<f64>) -> Self {
        let latencies_ms = vec![f64::NAN; scores.len()];
        let calls = scores.iter().map(|score| if score.is_nan() { f64::NAN } else { 1.0 }).collect();
        Self { scores, costs, latencies_ms, calls }
    }

    /// Exact expectations under distributions over arms: nothing is sampled.
    pub fn of(decisions: &Decisions, table: &OutcomeTable) -> Self {
        let mut outcomes = Self::new(query_scores(decisions, table), query_costs(decisions, table));
        if let Some(cells) = &table.latency_ms {
            let rows = 0..table.n_queries();
            outcomes.latencies_ms =
                rows.map(|query| expected(decisions.row(query), cells.row(query))).collect();
        }
        outcomes
    }

    /// `n` queries of which nothing is known.
    pub fn unknown(n: usize) -> Self {
        Self::new(vec![f64::NAN; n], vec![f64::NAN; n])
    }

    /// Number of queries.
    pub fn n_queries(&self) -> usize {
        self.scores.len()
    }

    /// Puts what another one knows of its query `from` in place of query `to`.
    pub fn set(&mut self, to: usize, other: &Self, from: usize) {
        self.scores[to] = other.scores[from];
        self.costs[to] = other.costs[from];
        self.latencies_ms[to] = other.latencies_ms[from];
        self.calls[to] = other.calls[from];
    }

    /// Only the queries that are `kept`; the others have no value.
    pub(super) fn on(&self, kept: &[bool]) -> Self {
        let only = |values: &[f64]| {
            values.iter().zip(kept).map(|(value, kept)| if *kept { *value } else { f64::NAN }).collect()
        };
        Self {
            scores: only(&self.scores),
            costs: only(&self.costs),
            latencies_ms: only(&self.latencies_ms),
            calls: only(&self.calls),
        }
    }

    /// The mean of several, query by query: a query that one of them does not cover is uncovered.
    pub fn mean(all: &[Self]) -> Self {
        let Some(first) = all.first() else { return Self::default() };
        let mean = |values: fn(&Self) -> &[f64]| {
            let of = |query: usize| all.iter().map(|one| values(one)[query]).sum::<f64>() / all.len() as f64;
            (0..first.n_queries()).map(of).collect()
        };
        Self {
            scores: mean(|one| &one.scores),
            costs: mean(|one| &one.costs),
            latencies_ms: mean(|one| &one.latencies_ms),
            calls: mean(|one| &one.calls),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::holed;
    use routewright_data::Cells;

    #[test]
    fn one_call_takes_what_its_arms_take() {
        let table = OutcomeTable {
            latency_ms: Some(Cells::from_vec(3, 2, vec![100.0, 300.0, 100.0, f32::NAN, 100.0, 300.0])),
            ..holed()
        };
        let found = QueryOutcomes::of(&Decisions::uniform(3, 2), &table);
        assert_eq!(found.latencies_ms, [200.0, 100.0, 200.0]);
        assert_eq!((found.calls.as_slice(), found.scores.as_slice()), (&[1.0; 3][..], &[0.5, 0.75, 0.0][..]));
        let dear = QueryOutcomes::of(&Decisions::deterministic(&[1, 1, 1], 2), &table);
        assert!(dear.scores[2].is_nan() && dear.calls[2].is_nan(), "{dear:?}");
        let both = QueryOutcomes::mean(&[found, dear]);
        assert_eq!((both.scores[0], both.latencies_ms[0]), (0.25, 250.0));
        assert!(both.scores[2].is_nan());
    }
}
