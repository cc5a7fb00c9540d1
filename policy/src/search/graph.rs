//! A hierarchical navigable small world graph over quantized rows.
//!
//! Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using hierarchical
//! navigable small world graphs", 2018 (arXiv 1603.09320), algorithms 1, 2, 4 and 5. Every row is a node of
//! layer 0; a share `m^-l` also of layer `l`. A search walks down from the top, then keeps the `ef` best of
//! layer 0.
//!
//! Deviations from the paper:
//! 1. The layer of a row comes from a hash of seed and row in integers, so it is the same everywhere.
//! 2. Closeness is measured on 8-bit codes, in exact integers: building is deterministic to the byte.
//! 3. All new neighbors of a node are measured together, so that their memory reads overlap.
//! 4. Algorithm 4 without candidates of candidates; pruned ones refill a full node's list, not a new node's.
//! 5. The layers above keep 8 rows, not 1, and all of them enter the next layer: with one, a query in some
//!    hundreds ends in a wrong cluster that no width on layer 0 leaves (100,000 synthetic rows: recall at
//!    width 256 rose from 0.9973 to 0.9998).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::row_codes::{Probe, RowCodes};

/// Rows kept on the layers a search walks down through.
const DESCENT: usize = 8;

/// Closeness and row in one sortable number: larger is closer, then the lower row.
pub(super) type Key = u64;

/// The links of every node.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// Links a node has at most above layer 0; twice as many on it.
    pub(super) m: usize,
    /// Links on layer 0: `2 m` slots a row, the first `base_len` of them used.
    pub(super) base: Vec<u32>,
    pub(super) base_len: Vec<u16>,
    /// Links on layers 1 and up of the rows that are there.
    pub(super) upper: BTreeMap<u32, Vec<Vec<u32>>>,
    /// A row of the top layer.
    pub(super) entry: u32,
}

/// Memory reused between searches.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    visited: Vec<u64>,
    fresh: Vec<u32>,
    closeness: Vec<f32>,
    frontier: BinaryHeap<Key>,
    best: BinaryHeap<Reverse<Key>>,
}

fn key(closeness: f32, row: u32) -> Key {
    let bits = closeness.to_bits();
    let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    u64::from(ordered) << 32 | u64::from(!row)
}

/// The row of a key.
pub(super) fn row_of(key: Key) -> u32 {
    !(key as u32)
}

/// The closeness of a key.
pub(super) fn closeness_of(key: Key) -> f32 {
    let ordered = (key >> 32) as u32;
    f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
}

impl Graph {
    /// Builds the graph by inserting the rows in order.
    pub(super) fn new(codes: &RowCodes, m: usize, ef_construction: usize, seed: u64) -> Self {
        let mut graph = Self { m, ..Self::default() };
        let (mut scratch, mut probe, mut other) = (Scratch::default(), Probe::default(), Probe::default());
        for row in 0..codes.len() as u32 {
            codes.aim_at_row(row, &mut probe);
            graph.insert(
                codes,
                row,
                level(seed, row, m),
                ef_construction,
                &mut probe,
                &mut other,
                &mut scratch,
            );
        }
        graph
    }

    /// The up to `ef` closest rows to the probe, best first.
    pub(super) fn search(
        &self,
        codes: &RowCodes,
        probe: &mut Probe,
        ef: usize,
        scratch: &mut Scratch,
    ) -> Vec<Key> {
        if self.base_len.is_empty() {
            return Vec::new();
        }
        let entries = self.descend(codes, probe, 0, scratch);
        self.search_layer(codes, probe, &entries, ef, 0, scratch)
    }

    fn top_layer(&self) -> usize {
        self.upper.get(&self.entry).map_or(0, Vec::len)
    }

    /// Narrow walk from the entry row through every layer above `layer`.
    fn descend(&self, codes: &RowCodes, probe: &mut Probe, layer: usize, scratch: &mut Scratch) -> Vec<Key> {
        codes.measure(probe, &[self.entry], &mut scratch.closeness);
        let mut nearest = vec![key(scratch.closeness[0], self.entry)];
        for above in (layer + 1..=self.top_layer()).rev() {
            nearest = self.search_layer(codes, probe, &nearest, DESCENT, above, scratch);
        }
        nearest
    }

    /// The links of a row on a layer; none where it is not.
    pub(super) fn links(&self, row: u32, layer: usize) -> &[u32] {
        if layer == 0 {
            return &self.base[row as usize * 2 * self.m..][..usize::from(self.base_len[row as usize])];
        }
        self.upper.get(&row).and_then(|layers| layers.get(layer - 1)).map_or(&[], Vec::as_slice)
    }

    fn set_links(&mut self, row: u32, layer: usize, links: &[u32]) {
        if layer == 0 {
            self.base[row as usize * 2 * self.m..][..links.len()].copy_from_slice(links);
            self.base_len[row as usize] = links.len() as u16;
        } else if let Some(list) = self.upper.get_mut(&row).and_then(|layers| layers.get_mut(layer - 1)) {
            links.clone_into(list);
        }
    }

    /// Algorithm 2: best-first search of one layer, keeping the `ef` closest.
    fn search_layer(
        &self,
        codes: &RowCodes,
        probe: &mut Probe,
        entries: &[Key],
        ef: usize,
        layer: usize,
        scratch: &mut Scratch,
    ) -> Vec<Key> {
        let Scratch { visited, fresh, closeness, frontier, best } = scratch;
        visited.clear();
        visited.resize(codes.len().div_ceil(64), 0);
        frontier.clear();
        best.clear();
        for &entry in entries {
            visited[row_of(entry) as usize / 64] |= 1 << (row_of(entry) % 64);
            frontier.push(entry);
            best.push(Reverse(entry));
        }
        while best.len() > ef {
            best.pop();
        }
        while let Some(next) = frontier.pop() {
            if best.len() == ef && best.peek().is_some_and(|worst| next < worst.0) {
                break;
            }
            fresh.clear();
            fresh.extend(self.links(row_of(next), layer).iter().copied().filter(|&link| {
                let (word, bit) = (&mut visited[link as usize / 64], 1 << (link % 64));
                let is_new = *word & bit == 0;
                *word |= bit;
                is_new
            }));
            codes.measure(probe, fresh, closeness);
            for (&row, &closeness) in fresh.iter().zip(closeness.iter()) {
                let found = key(closeness, row);
                if best.len() < ef {
                    best.push(Reverse(found));
                    frontier.push(found);
                } else if let Some(mut worst) = best.peek_mut()
                    && found > worst.0
                {
                    *worst = Reverse(found);
                    frontier.push(found);
                }
            }
        }
        let mut found: Vec<Key> = best.drain().map(|Reverse(key)| key).collect();
        found.sort_unstable_by_key(|&key| Reverse(key));
        found
    }

    /// Algorithm 1.
    #[expect(clippy::too_many_arguments, reason = "the last three are memory reused between rows")]
    fn insert(
        &mut self,
        codes: &RowCodes,
        row: u32,
        level: usize,
        ef_construction: usize,
        probe: &mut Probe,
        other: &mut Probe,
        scratch: &mut Scratch,
    ) {
        self.base.resize(self.base.len() + 2 * self.m, 0);
        self.base_len.push(0);
        if level > 0 {
            self.upper.insert(row, vec![Vec::new(); level]);
        }
        if row == 0 {
            return;
        }
        let top = self.top_layer();
        let mut entries = self.descend(codes, probe, level, scratch);
        for layer in (0..=level.min(top)).rev() {
            let found = self.search_layer(codes, probe, &entries, ef_construction, layer, scratch);
            let chosen = select(codes, row, &found, self.m, other, scratch);
            self.set_links(row, layer, &chosen);
            for neighbor in chosen {
                self.link_back(codes, neighbor, row, layer, other, scratch);
            }
            entries = found;
        }
        if level > top {
            self.entry = row;
        }
    }

    /// Adds `row` to the links of `neighbor`; when they are full, chooses again and drops one.
    fn link_back(
        &mut self,
        codes: &RowCodes,
        neighbor: u32,
        row: u32,
        layer: usize,
        probe: &mut Probe,
        scratch: &mut Scratch,
    ) {
        let room = if layer == 0 { 2 * self.m } else { self.m };
        let mut links = self.links(neighbor, layer).to_vec();
        links.push(row);
        if links.len() > room {
            codes.aim_at_row(neighbor, probe);
            codes.measure(probe, &links, &mut scratch.closeness);
            let mut keys: Vec<Key> =
                links.iter().zip(&scratch.closeness).map(|(&link, &close)| key(close, link)).collect();
            keys.sort_unstable_by_key(|&key| Reverse(key));
            links = select(codes, neighbor, &keys, room, probe, scratch);
            for row in keys.iter().map(|&key| row_of(key)) {
                if links.len() < room && !links.contains(&row) {
                    links.push(row);
                }
            }
        }
        self.set_links(neighbor, layer, &links);
    }
}

/// Algorithm 4: of `candidates` (closest to `base` first) those that are closer to `base` than to any one
/// chosen before, at most `m`.
fn select(
    codes: &RowCodes,
    base: u32,
    candidates: &[Key],
    m: usize,
    probe: &mut Probe,
    scratch: &mut Scratch,
) -> Vec<u32> {
    let mut chosen: Vec<u32> = Vec::with_capacity(m + 1);
    for &candidate in candidates {
        if chosen.len() == m {
            break;
        }
        let row = row_of(candidate);
        codes.aim_at_row(row, probe);
        codes.measure(probe, &chosen, &mut scratch.closeness);
        // half squared distances: |a - b|^2 / 2 = |a|^2 / 2 - closeness of b seen from a
        let to_base = codes.half_squares[base as usize] - closeness_of(candidate);
        let own = codes.half_squares[row as usize];
        if scratch.closeness.iter().all(|closeness| own - closeness >= to_base) {
            chosen.push(row);
        }
    }
    chosen
}

/// Top layer of a row: how many of the leading base-`m` digits of a hash are zero.
fn level(seed: u64, row: u32, m: usize) -> usize {
    // the finalizer of SplitMix64 (Steele, Lea and Flood, 2014)
    let mut hash = seed.wrapping_add((u64::from(row) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^= hash >> 31;
    let mut level = 0;
    while hash.is_multiple_of(m as u64) && level < 16 {
        hash /= m as u64;
        level += 1;
    }
    level
}
