//! A table of n-gram vectors trained end to end, with sparse updates.
//!
//! A query is the weighted mean of the rows of its n-grams. The network in front sees the pooled vectors as
//! plain inputs and hands back the gradient with respect to them; here it is scattered to the rows that took
//! part, and only those are updated.
//!
//! # Deviations from AdamW
//! 1. Rows without a gradient in a step keep weights and moments (PyTorch's dense AdamW decays both). The
//!    corrections for the start use the number of steps of the run, not of the row, as `SparseAdam` does.

use super::engine::{store_step, take_step};
use super::optim::AdamW;
use rand_distr::{Distribution, Normal};
use routewright_data::{Tensors, rng};
use routewright_policy::LoadError;

/// N-grams of many queries: bucket and weight of each, query after query.
#[derive(Debug, Clone, PartialEq)]
pub struct BagRows {
    starts: Vec<usize>,
    buckets: Vec<u32>,
    weights: Vec<f32>,
}

impl Default for BagRows {
    fn default() -> Self {
        Self { starts: vec![0], buckets: Vec::new(), weights: Vec::new() }
    }
}

impl BagRows {
    /// Appends a query.
    pub fn push(&mut self, grams: impl IntoIterator<Item = (u32, f32)>) {
        for (bucket, weight) in grams {
            self.buckets.push(bucket);
            self.weights.push(weight);
        }
        self.starts.push(self.buckets.len());
    }

    fn row(&self, row: usize) -> impl Iterator<Item = (u32, f32)> {
        let range = self.starts[row]..self.starts[row + 1];
        self.buckets[range.clone()].iter().copied().zip(self.weights[range].iter().copied())
    }
}

/// The table, its moments and its optimiser.
#[derive(Debug, Clone)]
pub struct TrainableBag {
    dim: usize,
    table: Vec<f32>,
    moments: [Vec<f32>; 2],
    optimizer: AdamW,
    step: u64,
    /// Bucket, position in the batch and weight of each n-gram of a batch.
    touched: Vec<(u32, u32, f32)>,
}

impl TrainableBag {
    /// A table of `n_buckets` rows of width `dim`, normal with standard deviation `sd`.
    pub fn new(n_buckets: usize, dim: usize, sd: f32, optimizer: AdamW, seed: u64) -> Self {
        let mut rng = rng::stream(seed, "bag");
        let n = n_buckets * dim;
        let table = Normal::new(0.0, sd)
            .map_or_else(|_| vec![0.0; n], |normal| (0..n).map(|_| normal.sample(&mut rng)).collect());
        Self { dim, table, moments: [vec![0.0; n], vec![0.0; n]], optimizer, step: 0, touched: Vec::new() }
    }

    /// Width of the rows.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The rows `(n_buckets, dim)`.
    pub fn table(&self) -> &[f32] {
        &self.table
    }

    /// Replaces the rows.
    ///
    /// # Panics
    /// If the length differs (a bug of the caller).
    pub fn set_table(&mut self, table: Vec<f32>) {
        assert_eq!(table.len(), self.table.len(), "table: (n_buckets, dim)");
        self.table = table;
    }

    /// Pooled vectors `(queries.len(), dim)`.
    pub fn pool(&self, rows: &BagRows, queries: &[usize]) -> Vec<f32> {
        let mut out = vec![0.0_f32; queries.len() * self.dim];
        routewright_data::simd::widest(
            #[inline(always)]
            || {
                for (out, &query) in out.chunks_exact_mut(self.dim).zip(queries) {
                    for (bucket, weight) in rows.row(query) {
                        let at = bucket as usize * self.dim;
                        let row = &self.table[at..at + self.dim];
                        out.iter_mut().zip(row).for_each(|(out, x)| *out += weight * x);
                    }
                }
            },
        );
        out
    }

    /// One step of AdamW on the rows of the batch, from the gradient `(queries.len(), dim)` with respect to
    /// the pooled vectors.
    pub fn update(&mut self, rows: &BagRows, queries: &[usize], gradient: &[f32]) {
        self.step += 1;
        let at = self.optimizer.at(self.step);
        self.touched.clear();
        for (i, &query) in queries.iter().enumerate() {
            self.touched.extend(rows.row(query).map(|(bucket, weight)| (bucket, i as u32, weight)));
        }
        // Stable by position: the order of every sum is fixed.
        self.touched.sort_unstable_by_key(|&(bucket, i, _)| (u64::from(bucket) << 32) | u64::from(i));
        let dim = self.dim;
        let [first, second] = &mut self.moments;
        let (table, touched) = (&mut self.table, &self.touched);
        let mut sum = vec![0.0_f32; dim];
        routewright_data::simd::widest(
            #[inline(always)]
            || {
                for group in touched.chunk_by(|a, b| a.0 == b.0) {
                    sum.fill(0.0);
                    for &(_, i, weight) in group {
                        let g = &gradient[i as usize * dim..(i as usize + 1) * dim];
                        sum.iter_mut().zip(g).for_each(|(sum, g)| *sum += weight * g);
                    }
                    let row = group[0].0 as usize * dim;
                    at.update_inline(
                        &mut table[row..row + dim],
                        &mut first[row..row + dim],
                        &mut second[row..row + dim],
                        &sum,
                    );
                }
            },
        );
    }

    /// Saves rows, moments and the number of steps.
    pub fn save(&self, tensors: &mut Tensors) {
        let shape = [self.table.len() / self.dim, self.dim];
        tensors.insert_f32("bag.table", &shape, self.table.clone());
        tensors.insert_f32("bag.moment_1", &shape, self.moments[0].clone());
        tensors.insert_f32("bag.moment_2", &shape, self.moments[1].clone());
        store_step("bag.step", self.step, tensors);
    }

    /// Goes on from what [`TrainableBag::save`] saved.
    ///
    /// # Errors
    /// If a tensor is missing, misshapen or not finite.
    pub fn restore(&mut self, tensors: &mut Tensors) -> Result<(), LoadError> {
        let shape = [self.table.len() / self.dim, self.dim];
        self.table = tensors.take_f32("bag.table", &shape)?;
        self.moments[0] = tensors.take_f32("bag.moment_1", &shape)?;
        self.moments[1] = tensors.take_f32("bag.moment_2", &shape)?;
        self.step = take_step("bag.step", tensors)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_rows_of_the_batch_move_and_each_by_its_own_gradient() {
        let adam = AdamW { rate: 0.1, ..AdamW::default() };
        let mut bag = TrainableBag::new(4, 2, 0.5, adam, 1);
        let mut rows = BagRows::default();
        rows.push([(0, 0.25), (2, 0.75)]);
        rows.push([(2, 1.0)]);
        rows.push([(3, 1.0)]);
        let before = bag.table().to_vec();
        let pooled = bag.pool(&rows, &[0, 1]);
        assert!((pooled[0] - (0.25 * before[0] + 0.75 * before[4])).abs() < 1e-6);
        assert_eq!(pooled[2..], before[4..6]);
        bag.update(&rows, &[0, 1], &[1.0, -2.0, 3.0, 0.0]);
        // The dense optimiser on rows 0 and 2 with their summed gradients.
        let (mut w, mut m, mut v) = ([&before[0..2], &before[4..6]].concat(), vec![0.0; 4], vec![0.0; 4]);
        adam.at(1).update(&mut w, &mut m, &mut v, &[0.25, -0.5, 3.75, -1.5]);
        assert_eq!([&bag.table()[0..2], &bag.table()[4..6]].concat(), w);
        assert_eq!([&bag.table()[2..4], &bag.table()[6..8]], [&before[2..4], &before[6..8]]);
    }
}
