//! One pass over the codes for a set of queries.

use super::bound::QueryCode;
use super::codes::{Codes, Group};
use super::collect::Collector;
use super::kernel::{Cut, Dots, GROUP, Kernel, LANES, Passed};

/// Queries a tile: with 4 blocks each, 16 sums in registers.
const TILE: usize = 4;

/// What a pass reads.
#[derive(Debug)]
pub(super) struct Scan<'a, F> {
    pub(super) kernel: Kernel,
    pub(super) codes: &'a Codes,
    pub(super) queries: &'a [QueryCode],
    /// Number of rows; the last group has padding beyond it.
    pub(super) rows: usize,
    /// Whether a row may answer a query (position in `queries`).
    pub(super) keep: F,
}

impl<F: Fn(usize, u32) -> bool> Scan<'_, F> {
    /// Gives every collector (one a query) every row that may be among the best `k`.
    ///
    /// A group of rows stays in the first-level cache while all queries meet it.
    pub(super) fn run(&self, collectors: &mut [Collector]) {
        let full = self.queries.len() / TILE * TILE;
        let tiles: Vec<Vec<[i32; TILE]>> =
            (0..full).step_by(TILE).map(|first| self.interleave(first)).collect();
        let rest: Vec<Vec<[i32; 1]>> =
            (full..self.queries.len()).map(|first| self.interleave(first)).collect();
        let mut dots = [Dots::default(); TILE];
        let mut single = [Dots::default()];
        for (number, group) in self.codes.groups().enumerate() {
            let first_row = number * GROUP;
            for (tile, codes) in tiles.iter().enumerate() {
                let first = tile * TILE;
                let passed = self.kernel.tile(group, codes, &self.cuts(first, collectors), &mut dots);
                self.collect(group, first_row, first, &passed, &dots, collectors);
            }
            for (first, codes) in (full..).zip(&rest) {
                let passed = self.kernel.tile(group, codes, &self.cuts(first, collectors), &mut single);
                self.collect(group, first_row, first, &passed, &single, collectors);
            }
        }
    }

    /// The codes of `Q` queries side by side, as a kernel reads them.
    fn interleave<const Q: usize>(&self, first: usize) -> Vec<[i32; Q]> {
        let steps = self.queries[first].packed.len();
        (0..steps).map(|step| std::array::from_fn(|at| self.queries[first + at].packed[step])).collect()
    }

    fn cuts<const Q: usize>(&self, first: usize, collectors: &[Collector]) -> [Cut; Q] {
        std::array::from_fn(|at| self.queries[first + at].cut(collectors[first + at].floor()))
    }

    /// Hands the rows that passed to their queries' collectors.
    fn collect<const Q: usize>(
        &self,
        group: Group<'_>,
        first_row: usize,
        first: usize,
        passed: &[Passed; Q],
        dots: &[Dots; Q],
        collectors: &mut [Collector],
    ) {
        for (query, (passed, dots)) in (first..).zip(passed.iter().zip(dots)) {
            for (block, &mask) in passed.iter().enumerate() {
                let mut left = mask;
                while left != 0 {
                    let lane = left.trailing_zeros() as usize;
                    left &= left - 1;
                    let row = first_row + block * LANES + lane;
                    if row < self.rows && (self.keep)(query, row as u32) {
                        let interval = self.queries[query].interval(
                            dots[block][lane],
                            group.scales[block][lane],
                            group.norms[block][lane],
                            group.errors[block][lane],
                        );
                        collectors[query].offer(row as u32, interval);
                    }
                }
            }
        }
    }
}
