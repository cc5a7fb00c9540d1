//! Merging adjacent symbols, best first, until none can be merged: the inner loop of every kind of BPE.
//!
//! A heap holds the adjacent pairs that may merge; an entry whose symbols have merged since is dropped when it
//! comes up. `n` symbols take `O(n log n)`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A run of a text that is one symbol so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Symbol {
    /// First byte in the text.
    pub(super) start: usize,
    /// Behind its last byte; equal to `start` when it has gone into the symbol before it.
    pub(super) end: usize,
    /// Its token, where it has one.
    pub(super) id: Option<u32>,
}

/// A merge that is possible: `left` and `right` are symbols, `end` is the end of `right`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u32,
    left: usize,
    right: usize,
    middle: usize,
    end: usize,
    id: u32,
}

/// Merges adjacent `symbols`: `join` says with which rank, lowest first, two become which token. Of equal
/// ranks the leftmost goes first.
pub(super) fn merge(symbols: &mut Vec<Symbol>, join: impl Fn(&Symbol, &Symbol) -> Option<(u32, u32)>) {
    let mut next: Vec<usize> = (1..=symbols.len()).collect();
    let mut previous: Vec<usize> = (0..symbols.len()).map(|at| at.wrapping_sub(1)).collect();
    let mut heap = BinaryHeap::new();
    let candidate = |symbols: &[Symbol], left: usize, right: usize| {
        let (a, b) = (symbols.get(left)?, symbols.get(right)?);
        let (rank, id) = join(a, b)?;
        Some(Reverse(Candidate { rank, left, right, middle: a.end, end: b.end, id }))
    };
    heap.extend((1..symbols.len()).filter_map(|right| candidate(symbols, right - 1, right)));
    while let Some(Reverse(best)) = heap.pop() {
        let (left, right) = (symbols[best.left], symbols[best.right]);
        let gone = left.start == left.end || right.start == right.end;
        if gone || left.end != best.middle || right.end != best.end {
            continue;
        }
        symbols[best.left] = Symbol { start: left.start, end: right.end, id: Some(best.id) };
        symbols[best.right].end = right.start;
        let after = next[best.right];
        next[best.left] = after;
        if let Some(back) = previous.get_mut(after) {
            *back = best.left;
        }
        heap.extend(candidate(symbols, previous[best.left], best.left));
        heap.extend(candidate(symbols, best.left, after));
    }
    symbols.retain(|symbol| symbol.start < symbol.end);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: look at all pairs, merge the best, start again.
    fn slowly(symbols: &mut Vec<Symbol>, join: impl Fn(&Symbol, &Symbol) -> Option<(u32, u32)>) {
        loop {
            let pairs = (1..symbols.len())
                .filter_map(|at| join(&symbols[at - 1], &symbols[at]).map(|(rank, id)| (rank, at, id)));
            let Some((_, at, id)) = pairs.min() else { return };
            symbols[at - 1] = Symbol { start: symbols[at - 1].start, end: symbols[at].end, id: Some(id) };
            symbols.remove(at);
        }
    }

    #[test]
    fn the_heap_merges_as_the_definition_does() {
        use rand::RngExt;
        let mut rng = routewright_data::rng::stream(1, "merges");
        for _ in 0..300 {
            let ranks: Vec<u32> = (0..64).map(|_| rng.random_range(0..40)).collect();
            // Up to 16 tokens, some pairs of which merge to another; ties are frequent.
            let join = |a: &Symbol, b: &Symbol| {
                let pair = a.id.unwrap() as usize * 8 + b.id.unwrap() as usize;
                let rank = ranks.get(pair).copied().filter(|rank| *rank < 20)?;
                (b.end - a.start <= 6).then_some((rank, rank % 8))
            };
            let length = rng.random_range(0..30);
            let mut fast: Vec<Symbol> = (0..length)
                .map(|at| Symbol { start: at, end: at + 1, id: Some(rng.random_range(0..8)) })
                .collect();
            let mut slow = fast.clone();
            merge(&mut fast, join);
            slowly(&mut slow, join);
            assert_eq!(fast, slow);
        }
    }
}
