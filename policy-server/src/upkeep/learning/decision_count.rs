//! How many decisions a policy had made at a moment of the past.
//!
//! A learner that forgets weighs a reward by the distance between decisions, and feedback names its decision by
//! time. The clock keeps the count at every 32nd decision, for as many as it has room for.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Decisions between two marks.
const STRIDE: u64 = 32;
/// Marks kept: the count is exact to a stride over the last quarter of a million decisions.
const MARKS: usize = 8192;

/// Counts decisions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct DecisionCount {
    count: u64,
    /// Time and count, ascending in both.
    marks: VecDeque<(i64, u64)>,
}

impl DecisionCount {
    /// Decisions so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// A decision was made.
    pub(super) fn tick(&mut self, at_ms: i64) {
        if self.count.is_multiple_of(STRIDE) {
            // The writer's order is not quite that of the clock on the wall.
            let at_ms = self.marks.back().map_or(at_ms, |last| last.0.max(at_ms));
            self.marks.push_back((at_ms, self.count));
            if self.marks.len() > MARKS {
                self.marks.pop_front();
            }
        }
        self.count += 1;
    }

    /// Decisions before the moment given, to a stride; what is older than every mark counts as the oldest.
    pub(super) fn at(&self, at_ms: i64) -> u64 {
        let after = self.marks.partition_point(|mark| mark.0 <= at_ms);
        self.marks.get(after.saturating_sub(1)).map_or(0, |mark| mark.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_the_count_of_its_decision_to_a_stride() {
        let mut clock = DecisionCount::default();
        assert_eq!(clock.at(5), 0);
        (0..1000).for_each(|at| clock.tick(at * 10));
        assert_eq!(clock.count(), 1000);
        for at in [0, 7, 500, 999] {
            let found = clock.at(at * 10) as i64;
            assert!(found <= at && at - found < STRIDE as i64, "{at}: {found}");
        }
        // A wall clock that is set back: counts go on, and every moment still has one.
        let before = clock.clone();
        (0..100).for_each(|at| clock.tick(5000 - at));
        assert_eq!((clock.count(), clock.at(9990)), (1100, clock.count() - clock.count() % STRIDE));
        assert!((0..1000).all(|at| clock.at(at) == before.at(at)));
        (0..1_000_000).for_each(|at| clock.tick(10_000 + at));
        assert!(clock.marks.len() <= MARKS && clock.at(0) > 0, "the oldest mark stands for all before it");
    }
}
