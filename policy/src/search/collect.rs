//! Per-query state of a scan: the rows that may still be among the best `k`.

use super::bound::{Interval, QueryCode};
use super::neighbor::{BestList, Key, Neighbor, key, neighbor};

/// Rows that a candidate list takes in between two cleanups, at least.
const FRESH_MIN: usize = 64;

/// Candidates of one query. The k-th largest lower bound seen is the *floor*: at least `k` rows reach it, so
/// a row whose upper bound is below it is out.
///
/// The floor is found by selection each time the list has grown by half, not row by row: a few operations a row
/// whatever `k`, where a heap takes `log k` and is cache-unfriendly.
#[derive(Debug)]
pub(super) struct Collector {
    k: usize,
    floor: f32,
    candidates: Vec<Candidate>,
    cleanup_at: usize,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    lower: f32,
    upper: f32,
    row: u32,
}

impl Collector {
    /// `k` is at least 1.
    pub(super) fn new(k: usize) -> Self {
        Self { k, floor: f32::NEG_INFINITY, candidates: Vec::new(), cleanup_at: k.max(FRESH_MIN) }
    }

    /// Value that a row's upper bound must reach to matter.
    pub(super) fn floor(&self) -> f32 {
        self.floor
    }

    #[inline]
    pub(super) fn offer(&mut self, row: u32, interval: Interval) {
        if interval.upper < self.floor {
            return;
        }
        self.candidates.push(Candidate { lower: interval.lower, upper: interval.upper, row });
        if self.candidates.len() >= self.cleanup_at {
            self.cleanup();
        }
    }

    /// Raises the floor and drops what has fallen below it.
    fn cleanup(&mut self) {
        if self.candidates.len() >= self.k {
            let mut lowers: Vec<f32> = self.candidates.iter().map(|candidate| candidate.lower).collect();
            let (_, kth, _) = lowers.select_nth_unstable_by(self.k - 1, |a, b| b.total_cmp(a));
            let floor = *kth;
            self.drop_below(floor);
            self.floor = floor;
        }
        let kept = self.candidates.len();
        self.cleanup_at = kept + FRESH_MIN.max(kept / 2);
    }

    /// Without a branch: which candidates stay is nothing a processor could guess.
    fn drop_below(&mut self, floor: f32) {
        let mut kept = 0;
        for at in 0..self.candidates.len() {
            let candidate = self.candidates[at];
            self.candidates[kept] = candidate;
            kept += usize::from(candidate.upper >= floor);
        }
        self.candidates.truncate(kept);
    }

    /// Scores the candidates exactly: the `k` of the greatest upper bounds, then the others, best upper bound
    /// first, until no later one can enter the answer.
    pub(super) fn finish(mut self, query: &QueryCode, exact: impl Fn(u32) -> f32) -> Vec<Neighbor> {
        self.cleanup();
        let bound = |candidate: &Candidate| Neighbor { row: candidate.row, similarity: candidate.upper };
        let mut bounds: Vec<Key> = self.candidates.iter().map(|candidate| key(&bound(candidate))).collect();
        let first = self.k.min(bounds.len());
        if first < bounds.len() {
            bounds.select_nth_unstable(first);
            // Equal bounds (copies of one row) in row order: memory is read forward.
            bounds[first..].sort_unstable();
        }
        let mut best = BestList::new(self.k);
        for (at, Neighbor { row, similarity: upper }) in bounds.into_iter().map(neighbor).enumerate() {
            let reaches = |worst: f32| query.upper(upper) >= f64::from(worst);
            if at >= first && !best.worst().is_none_or(reaches) {
                break;
            }
            best.offer(Neighbor { row, similarity: exact(row) });
        }
        best.into_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_the_kth_largest_lower_bound_after_a_cleanup() {
        let mut collector = Collector::new(3);
        // (lower bound offered, floor after a cleanup)
        let none = f32::NEG_INFINITY;
        let steps = [(0.5, none), (0.1, none), (0.3, 0.1), (0.05, 0.1), (0.4, 0.3), (-1.0, 0.3), (0.6, 0.4)];
        for (row, (lower, floor)) in (0..).zip(steps) {
            collector.offer(row, Interval { lower, upper: 2.0 });
            collector.cleanup();
            assert_eq!(collector.floor(), floor, "after row {row}");
        }
        let kept = collector.candidates.len();
        collector.offer(9, Interval { lower: 0.2, upper: 0.3 });
        assert_eq!(collector.candidates.len(), kept, "a row below the floor is not kept");
        collector.offer(10, Interval { lower: 0.2, upper: 0.4 });
        assert_eq!(collector.candidates.len(), kept + 1, "a row that reaches the floor is");
    }

    #[test]
    fn candidates_stay_few_when_rows_keep_getting_better() {
        for k in [2, 100] {
            let mut collector = Collector::new(k);
            for row in 0..20_000 {
                let lower = row as f32;
                collector.offer(row, Interval { lower, upper: lower + 1.5 });
            }
            assert!(collector.candidates.len() <= 2 * (k + FRESH_MIN), "{k}: {}", collector.candidates.len());
        }
    }
}
