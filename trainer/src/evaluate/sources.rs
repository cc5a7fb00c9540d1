//! Which source each query is of, and the two averages over queries.

use super::Average;
use routewright_data::OutcomeTable;
use std::collections::BTreeMap;

/// Name under which queries without a source are reported.
const NO_SOURCE: &str = "(none)";

/// The sources of a table, sorted by name, and the one of each query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    names: Vec<String>,
    of_query: Vec<usize>,
}

impl Sources {
    /// The sources of `table`; queries without one are together a source called `(none)`.
    pub fn of(table: &OutcomeTable) -> Self {
        let names = |source: Option<&str>| source.unwrap_or(NO_SOURCE).to_owned();
        let sources: Vec<String> = table.sources().into_iter().map(names).collect();
        let mut index: BTreeMap<&str, usize> = sources.iter().map(|s| (s.as_str(), 0)).collect();
        for (i, position) in index.values_mut().enumerate() {
            *position = i;
        }
        let of_query = sources.iter().map(|s| index[s.as_str()]).collect();
        Self { names: index.keys().map(|&s| s.to_owned()).collect(), of_query }
    }

    /// One source, `(none)`, for `n_queries` queries.
    pub fn single(n_queries: usize) -> Self {
        Self { names: vec![NO_SOURCE.to_owned()], of_query: vec![0; n_queries] }
    }

    /// Names, sorted.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Position in [`Sources::names`] of the source of a query.
    pub fn of_query(&self, query: usize) -> usize {
        self.of_query[query]
    }

    /// Number of queries.
    pub fn n_queries(&self) -> usize {
        self.of_query.len()
    }

    /// Number of queries of each source.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.names.len()];
        for &source in &self.of_query {
            counts[source] += 1;
        }
        counts
    }

    /// Mean of the values of each source, one value a query, `NaN` left out; `None` where all are.
    pub fn means(&self, values: &[f64]) -> Vec<Option<f64>> {
        let mut running = Running::new(self.names.len());
        for (query, &value) in values.iter().enumerate() {
            running.add(self.of_query[query], value);
        }
        running.means()
    }

    /// Average of one value a query, `NaN` left out; `None` when all are.
    pub fn mean(&self, values: &[f64], average: Average) -> Option<f64> {
        let mut running = Running::new(self.names.len());
        for (query, &value) in values.iter().enumerate() {
            running.add(self.of_query[query], value);
        }
        running.mean(average)
    }

    /// Weight of each query in `average` when only those of `kept` count; the weights sum to 1, or are
    /// all 0 when none is kept.
    pub fn weights(&self, kept: &[bool], average: Average) -> Vec<f64> {
        let mut counts = vec![0_usize; self.names.len()];
        for (query, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
            counts[self.of_query[query]] += 1;
        }
        let n: usize = counts.iter().sum();
        let n_sources = counts.iter().filter(|count| **count > 0).count();
        let weight = |(query, &kept): (usize, &bool)| match (kept, average) {
            (false, _) => 0.0,
            (true, Average::Micro) => 1.0 / n as f64,
            (true, Average::Macro) => 1.0 / (n_sources as f64 * counts[self.of_query[query]] as f64),
        };
        kept.iter().enumerate().map(weight).collect()
    }
}

/// Sum and count of each source; values can be taken out again, so that a sweep updates it in place.
#[derive(Debug, Clone)]
pub(super) struct Running {
    sums: Vec<f64>,
    counts: Vec<usize>,
}

impl Running {
    pub(super) fn new(n_sources: usize) -> Self {
        Self { sums: vec![0.0; n_sources], counts: vec![0; n_sources] }
    }

    /// Takes a value in; `NaN` is none.
    pub(super) fn add(&mut self, source: usize, value: f64) {
        if !value.is_nan() {
            self.sums[source] += value;
            self.counts[source] += 1;
        }
    }

    /// Takes a value out that was taken in before.
    pub(super) fn remove(&mut self, source: usize, value: f64) {
        if !value.is_nan() {
            self.sums[source] -= value;
            self.counts[source] -= 1;
        }
    }

    pub(super) fn means(&self) -> Vec<Option<f64>> {
        let mean = |(&sum, &n): (&f64, &usize)| (n > 0).then(|| sum / n as f64);
        self.sums.iter().zip(&self.counts).map(mean).collect()
    }

    pub(super) fn mean(&self, average: Average) -> Option<f64> {
        let (sum, n) = match average {
            Average::Micro => (self.sums.iter().sum::<f64>(), self.counts.iter().sum::<usize>()),
            Average::Macro => {
                self.means().into_iter().flatten().fold((0.0, 0), |(sum, n), mean| (sum + mean, n + 1))
            }
        };
        (n > 0).then(|| sum / n as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::table;

    #[test]
    fn queries_without_a_source_are_one_source() {
        let sources = Sources::of(&table(&["b", "", "a", "b"], &[0.0; 4], &[0.0; 4]));
        assert_eq!(sources.names(), ["(none)", "a", "b"]);
        assert_eq!(sources.counts(), [1, 1, 2]);
        // (4 + 2 + (1 + 2) / 2) / 3
        assert_eq!(sources.mean(&[1.0, 4.0, 2.0, 2.0], Average::Macro), Some(2.5));
    }

    #[test]
    fn weights_reproduce_the_average_of_the_kept_queries() {
        let sources = Sources::of(&table(&["a", "a", "a", "b", "c"], &[0.0; 5], &[0.0; 5]));
        let weights = sources.weights(&[true, false, true, true, false], Average::Macro);
        assert_eq!(weights, [0.25, 0.0, 0.25, 0.5, 0.0]);
        assert_eq!(sources.weights(&[false; 5], Average::Micro), [0.0; 5]);
    }
}
