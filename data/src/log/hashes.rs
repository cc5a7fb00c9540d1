//! Many 64-bit hashes in little room, to find those that occur twice.

use rayon::prelude::*;

/// Bits of a hash that name its partition.
pub(super) const PARTITION_BITS: u32 = 12;

/// The first 64 bits of a digest.
pub(super) fn first_u64(hash: &blake3::Hash) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

/// Many hashes, in partitions that grow by a quarter: at most a quarter of the room is idle.
#[derive(Debug)]
pub(super) struct Hashes {
    partitions: Vec<Vec<u64>>,
}

impl Hashes {
    /// No hashes.
    pub(super) fn new() -> Self {
        Self { partitions: vec![Vec::new(); 1 << PARTITION_BITS] }
    }

    /// Keeps a hash in a partition.
    pub(super) fn push_to(&mut self, partition: u64, value: u64) {
        let hashes = &mut self.partitions[partition as usize];
        if hashes.len() == hashes.capacity() {
            hashes.reserve_exact(hashes.len() / 4 + 16);
        }
        hashes.push(value);
    }

    /// Keeps a hash, in the partition its upper bits name.
    pub(super) fn push(&mut self, hash: u64) {
        self.push_to(hash >> (64 - PARTITION_BITS), hash);
    }

    /// Sorts every partition.
    pub(super) fn sort(&mut self) {
        self.partitions.par_iter_mut().for_each(|hashes| hashes.sort_unstable());
    }

    /// The partitions, in order.
    pub(super) fn partitions_mut(&mut self) -> impl Iterator<Item = &mut Vec<u64>> {
        self.partitions.iter_mut()
    }

    /// Number of different hashes.
    pub(super) fn distinct(mut self) -> u64 {
        let distinct = |hashes: &mut Vec<u64>| {
            hashes.sort_unstable();
            hashes.dedup();
            hashes.len() as u64
        };
        self.partitions.par_iter_mut().map(distinct).sum()
    }

    /// One entry for every time a hash occurs again.
    pub(super) fn repeated(&mut self) -> Vec<u64> {
        let mut repeated = Vec::new();
        self.sort();
        for hashes in &self.partitions {
            repeated.extend(hashes.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]));
        }
        repeated
    }
}
