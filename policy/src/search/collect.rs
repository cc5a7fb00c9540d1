//! Per-query state of a scan: the rows that may still be among the best `k`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::bound::{Interval, QueryCode};
use super::neighbor::{BestList, Neighbor};

/// Length at which a candidate list is first cleaned of rows that have fallen below the floor.
const FIRST_CLEANUP: usize = 1024;

/// Candidates of one query. The k-th largest lower bound seen is the *floor*: at least `k` rows reach it, so
/// a row whose upper bound is below it is out.
#[derive(Debug)]
pub(super) struct Collector {
    k: usize,
    floor: f32,
    lower_bounds: BinaryHeap<Reverse<Ordered>>,
    candidates: Vec<(f32, u32)>,
    cleanup_at: usize,
}

/// An f32 with a total order.
#[derive(Debug, Clone, Copy)]
struct Ordered(f32);

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Collector {
    /// `k` is at least 1.
    pub(super) fn new(k: usize) -> Self {
        Self {
            k,
            floor: f32::NEG_INFINITY,
            lower_bounds: BinaryHeap::with_capacity(k.min(FIRST_CLEANUP)),
            candidates: Vec::with_capacity(FIRST_CLEANUP),
            cleanup_at: FIRST_CLEANUP,
        }
    }

    /// Value that a row's upper bound must reach to matter.
    pub(super) fn floor(&self) -> f32 {
        self.floor
    }

    pub(super) fn offer(&mut self, row: u32, interval: Interval) {
        if interval.upper < self.floor {
            return;
        }
        if self.candidates.len() == self.cleanup_at {
            self.cleanup();
        }
        self.candidates.push((interval.upper, row));
        if self.lower_bounds.len() < self.k {
            self.lower_bounds.push(Reverse(Ordered(interval.lower)));
        } else if let Some(mut smallest) = self.lower_bounds.peek_mut()
            && smallest.0.0 < interval.lower
        {
            *smallest = Reverse(Ordered(interval.lower));
        }
        if self.lower_bounds.len() == self.k
            && let Some(smallest) = self.lower_bounds.peek()
        {
            self.floor = smallest.0.0;
        }
    }

    fn cleanup(&mut self) {
        let floor = self.floor;
        self.candidates.retain(|(upper, _)| *upper >= floor);
        self.cleanup_at = FIRST_CLEANUP.max(2 * self.candidates.len());
    }

    /// Scores the candidates exactly, best upper bound first, until no later one can enter the answer.
    pub(super) fn finish(mut self, query: &QueryCode, exact: impl Fn(u32) -> f32) -> Vec<Neighbor> {
        self.cleanup();
        self.candidates.sort_unstable_by(|left, right| right.0.total_cmp(&left.0));
        let mut best = BestList::new(self.k);
        for (upper, row) in self.candidates {
            if best.worst().is_some_and(|worst| query.upper(upper) < f64::from(worst)) {
                break;
            }
            best.offer(Neighbor { row, similarity: exact(row) });
        }
        best.into_vec()
    }
}
