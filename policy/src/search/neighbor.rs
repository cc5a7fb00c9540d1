//! One answer row, and the list of the best `k` of them.

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
    #[cfg(test)]
    pub(super) fn rank(&self, other: &Self) -> std::cmp::Ordering {
        other.similarity.total_cmp(&self.similarity).then(self.row.cmp(&other.row))
    }
}

/// Rows that a full list takes in before it is cut to `k` again, at least.
const EXTRA_MIN: usize = 8;

/// The best `k` neighbors seen so far.
///
/// The list is cut by selection each time it has grown by an eighth: a few operations a row, whatever `k`.
#[derive(Debug)]
pub(super) struct BestList {
    k: usize,
    /// [`Key`]s in no order; at most `k` and an eighth.
    keys: Vec<Key>,
    /// Greatest key that can still enter: the k-th smallest at the last cut.
    worst: Key,
}

/// A neighbor as one number, smaller for a better `Neighbor::rank`: its similarity turned round, then its row.
pub(super) type Key = u64;

/// The bits of a similarity in an order-preserving unsigned number, greatest first.
pub(super) fn key(neighbor: &Neighbor) -> Key {
    let bits = neighbor.similarity.to_bits();
    let ascending = if bits >> 31 == 1 { !bits } else { bits | (1 << 31) };
    (u64::from(!ascending) << 32) | u64::from(neighbor.row)
}

pub(super) fn neighbor(key: Key) -> Neighbor {
    let ascending = !((key >> 32) as u32);
    let bits = if ascending >> 31 == 1 { ascending & !(1 << 31) } else { !ascending };
    Neighbor { row: key as u32, similarity: f32::from_bits(bits) }
}

impl BestList {
    pub(super) fn new(k: usize) -> Self {
        Self { k, keys: Vec::with_capacity(k.min(1 << 12) + EXTRA_MIN), worst: Key::MAX }
    }

    /// A similarity that the k-th best kept neighbor reaches, once `k` are kept: what is below it cannot enter.
    pub(super) fn worst(&self) -> Option<f32> {
        (self.worst != Key::MAX).then(|| neighbor(self.worst).similarity)
    }

    #[inline]
    pub(super) fn offer(&mut self, neighbor: Neighbor) {
        let key = key(&neighbor);
        if key >= self.worst {
            return;
        }
        self.keys.push(key);
        let len = self.keys.len();
        if (len == self.k && self.worst == Key::MAX) || len >= self.k + EXTRA_MIN.max(self.k / 8) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.k > 0 && self.keys.len() >= self.k {
            let (_, worst, _) = self.keys.select_nth_unstable(self.k - 1);
            self.worst = *worst;
        }
        self.keys.truncate(self.k);
    }

    /// The best `k`, best first.
    pub(super) fn into_vec(mut self) -> Vec<Neighbor> {
        self.cut();
        self.keys.sort_unstable();
        self.keys.into_iter().map(neighbor).collect()
    }
}

/// Partial sums of an inner product.
pub(super) const SUMS: usize = 16;

/// Inner product in f64: 16 partial sums over strided elements, then a fixed tree.
///
/// A product of two f32 is exact in f64, so the only rounding is in the sums, whose order is fixed: every
/// instruction set gives the same bits, fused or not. Inlined so that it is also compiled for wider registers.
#[inline(always)]
pub(super) fn inner_product(left: &[f32], right: &[f32]) -> f64 {
    let mut sums = [0.0f64; SUMS];
    let (left_body, left_rest) = left.as_chunks::<SUMS>();
    let (right_body, right_rest) = right.as_chunks::<SUMS>();
    for (a, b) in left_body.iter().zip(right_body) {
        for lane in 0..SUMS {
            sums[lane] += f64::from(a[lane]) * f64::from(b[lane]);
        }
    }
    for (sum, (a, b)) in sums.iter_mut().zip(left_rest.iter().zip(right_rest)) {
        *sum += f64::from(*a) * f64::from(*b);
    }
    add_up(sums)
}

/// The tree of [`inner_product`].
#[inline(always)]
pub(super) fn add_up(mut sums: [f64; SUMS]) -> f64 {
    let mut width = SUMS / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(all: &[Neighbor], k: usize) -> Vec<Neighbor> {
        let mut all = all.to_vec();
        all.sort_by(Neighbor::rank);
        all.truncate(k);
        all
    }

    #[test]
    fn the_list_keeps_the_best_in_any_order_of_offers_with_ties_by_row() {
        let similarities = [0.5, -0.25, 0.0, 1.0, -1.0, 0.5, 0.125, -0.25];
        let neighbors = |n: u32, step: u32| -> Vec<Neighbor> {
            let at = |i: u32| i * step % n;
            (0..n).map(|i| Neighbor { row: at(i), similarity: similarities[at(i) as usize % 8] }).collect()
        };
        for (n, step) in [(1, 1), (7, 3), (500, 1), (500, 499), (501, 77)] {
            let all = neighbors(n, step);
            for k in [0, 1, 3, 20, 100, 600] {
                let mut best = BestList::new(k);
                for (at, neighbor) in all.iter().enumerate() {
                    best.offer(*neighbor);
                    let so_far = naive(&all[..=at], k);
                    if let (Some(worst), Some(kth)) = (best.worst(), so_far.get(k.wrapping_sub(1))) {
                        assert!(worst <= kth.similarity, "{worst} would drop {kth:?}");
                    }
                    assert!(best.worst().is_none() || so_far.len() == k);
                }
                assert_eq!(best.into_vec(), naive(&all, k), "{n} rows by {step}, k {k}");
            }
        }
    }

    #[test]
    fn a_key_holds_the_neighbor_and_its_rank() {
        let similarities = [f32::MIN, -1.0, -f32::MIN_POSITIVE, 0.0, f32::MIN_POSITIVE, 0.3, 1.0, f32::MAX];
        let all = similarities
            .iter()
            .flat_map(|&similarity| [0, 7, u32::MAX].map(|row| Neighbor { row, similarity }));
        let all: Vec<Neighbor> = all.collect();
        for left in &all {
            assert_eq!(neighbor(key(left)), *left);
            for right in &all {
                assert_eq!(key(left).cmp(&key(right)), left.rank(right), "{left:?} {right:?}");
            }
        }
    }
}
