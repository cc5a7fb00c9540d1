//! Which hashes are known, and at which row: what a query's n-grams are looked up in.
//!
//! Half of a new text's n-grams are unknown, in no order a processor could guess. A bitmap small enough for
//! the second cache drops nearly all of them without a branch; what is left is then found in the table at the
//! first probe nearly always, so that the reads of many n-grams overlap.

/// Bits of the bitmap a known hash: one unknown hash in sixteen passes.
const BITS_A_HASH: usize = 16;
/// Slots of the table a known hash.
const SLOTS_A_HASH: usize = 4;
const EMPTY: u32 = u32::MAX;

/// A set of hashes, each with its row.
#[derive(Debug, Clone)]
pub(super) struct KnownHashes {
    /// Read by the high bits of a hash.
    bitmap: Vec<u64>,
    shift: u32,
    /// `(hash, row)`, read by the low bits of a hash; of equal hashes the first one counts.
    slots: Vec<(u32, u32)>,
}

impl KnownHashes {
    /// `hashes[i]` has row `first_row + i`.
    pub(super) fn new(hashes: &[u32], first_row: u32) -> Self {
        let n_bits = (hashes.len() * BITS_A_HASH).next_power_of_two().max(64);
        let shift = 32 - n_bits.trailing_zeros().min(32);
        let mut bitmap = vec![0_u64; n_bits / 64];
        let n_slots = (hashes.len() * SLOTS_A_HASH).next_power_of_two().max(16);
        let mut slots = vec![(0, EMPTY); n_slots];
        for (row, &hash) in (first_row..).zip(hashes) {
            let bit = hash >> shift;
            bitmap[bit as usize / 64] |= 1 << (bit % 64);
            let mut at = hash as usize & (n_slots - 1);
            while slots[at].1 != EMPTY {
                at = (at + 1) & (n_slots - 1);
            }
            slots[at] = (hash, row);
        }
        Self { bitmap, shift, slots }
    }

    /// Appends the rows of the known ones of `hashes`, in their order.
    pub(super) fn rows(&self, hashes: &[u32], rows: &mut Vec<u32>) {
        let start = rows.len();
        rows.resize(start + hashes.len(), 0);
        let out = &mut rows[start..];
        let mut n = 0;
        for &hash in hashes {
            out[n] = hash;
            let bit = hash >> self.shift;
            n += (self.bitmap[bit as usize / 64] >> (bit % 64) & 1) as usize;
        }
        let mut n_known = 0;
        for at in 0..n {
            if let Some(row) = self.row(out[at]) {
                out[n_known] = row;
                n_known += 1;
            }
        }
        rows.truncate(start + n_known);
    }

    fn row(&self, hash: u32) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let (slot_hash, row) = self.slots[at];
            if row == EMPTY {
                return None;
            }
            if slot_hash == hash {
                return Some(row);
            }
            at = (at + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_known_hashes_only_and_in_order() {
        for n in [0_u32, 1, 3, 1000] {
            let hash = |i: u32| i.wrapping_mul(0x9e37_79b9) ^ (i << 7);
            let hashes: Vec<u32> = (0..n).map(hash).collect();
            let known = KnownHashes::new(&hashes, 5);
            let asked: Vec<u32> = (0..2 * n + 9).rev().map(hash).collect();
            let want: Vec<u32> = (0..n).rev().map(|i| 5 + i).collect();
            let mut rows = vec![77];
            known.rows(&asked, &mut rows);
            assert_eq!(rows[0], 77);
            assert_eq!(rows[1..], want, "{n}");
        }
    }

    #[test]
    fn extreme_and_equal_hashes_have_the_first_row() {
        let known = KnownHashes::new(&[0, u32::MAX, 0, 16, 32], 0);
        let mut rows = Vec::new();
        known.rows(&[u32::MAX, 0, 32, 48, 16, 0], &mut rows);
        assert_eq!(rows, [1, 0, 4, 3, 0]);
    }
}
