//! One answer row, and the sorted list of the best `k` of them.

use std::cmp::Ordering;

/// One stored row and its inner product with the query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbor {
    /// Row number, from 0, in the order the rows were given.
    pub row: u32,
    /// Inner product with the query: the cosine similarity in [-1, 1] for unit-norm vectors.
    pub similarity: f32,
}

impl Neighbor {
    /// Order of an answer: larger similarity first, then lower row.
    pub(super) fn rank(&self, other: &Self) -> Ordering {
        other.similarity.total_cmp(&self.similarity).then(self.row.cmp(&other.row))
    }
}

/// The best `k` neighbors seen so far, always in answer order.
///
/// Insertion is linear in `k`; it is called for a few dozen rows a query, so a heap would not pay.
#[derive(Debug)]
pub(super) struct BestList {
    k: usize,
    list: Vec<Neighbor>,
}

impl BestList {
    pub(super) fn new(k: usize) -> Self {
        Self { k, list: Vec::with_capacity(k.min(1 << 16)) }
    }

    /// Similarity of the worst kept neighbor once `k` are kept.
    pub(super) fn worst(&self) -> Option<f32> {
        if self.list.len() < self.k { None } else { self.list.last().map(|neighbor| neighbor.similarity) }
    }

    pub(super) fn offer(&mut self, neighbor: Neighbor) {
        let at = self.list.partition_point(|kept| kept.rank(&neighbor) == Ordering::Less);
        if at < self.k {
            if self.list.len() == self.k {
                self.list.pop();
            }
            self.list.insert(at, neighbor);
        }
    }

    pub(super) fn into_vec(self) -> Vec<Neighbor> {
        self.list
    }
}

/// Inner product in f64: 16 partial sums over strided elements, then a fixed tree.
///
/// A product of two f32 is exact in f64, so the only rounding is in the sums, whose order is fixed: every
/// instruction set gives the same bits. Inlined so that it is also compiled for wider registers.
#[inline(always)]
pub(super) fn inner_product(left: &[f32], right: &[f32]) -> f64 {
    const LANES: usize = 16;
    let mut sums = [0.0f64; LANES];
    let (left_body, left_rest) = left.as_chunks::<LANES>();
    let (right_body, right_rest) = right.as_chunks::<LANES>();
    for (a, b) in left_body.iter().zip(right_body) {
        for lane in 0..LANES {
            sums[lane] += f64::from(a[lane]) * f64::from(b[lane]);
        }
    }
    for (lane, (a, b)) in left_rest.iter().zip(right_rest).enumerate() {
        sums[lane] += f64::from(*a) * f64::from(*b);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}
