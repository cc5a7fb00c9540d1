//! Rows of embedding matrices, many at a time: products of blocks, spread over the processor's cores.

use rayon::prelude::*;
use routewright_data::product::{View, product};

/// Rows of a block at least.
pub(super) const BLOCK: usize = 64;
/// Products of a block at most, unless that is fewer rows than [`BLOCK`]: they stay in the nearer caches. The more
/// rows, the less often the kernel puts the other matrix in its order.
const PRODUCTS: usize = 1 << 20;

/// `a b'` of `a` `(n, dim)` and `b` `(m, dim)`, all by rows; the result is `(n, m)`.
///
/// # Panics
/// If a length is no multiple of `dim` (a bug of the caller).
pub(super) fn products(a: &[f32], b: &[f32], dim: usize) -> Vec<f32> {
    assert!(a.len().is_multiple_of(dim.max(1)) && b.len().is_multiple_of(dim.max(1)), "products: whole rows");
    let (n, m) = (a.len() / dim.max(1), b.len() / dim.max(1));
    let mut out = vec![0.0; n * m];
    if dim > 0 && !out.is_empty() {
        product(View::new(a, n, dim), View::new(b, m, dim).transposed(), &mut out, false);
    }
    out
}

/// Hands `each` the products of every row of `a` with all rows of `b`, and collects what it makes of them, in order.
/// Blocks of rows run at the same time; the result does not depend on how many do.
pub(super) fn with_products<T: Send>(
    a: &[f32],
    b: &[f32],
    dim: usize,
    each: impl Fn(usize, &[f32]) -> T + Sync,
) -> Vec<T> {
    let m = b.len() / dim.max(1);
    let block = (PRODUCTS / m.max(1)).clamp(BLOCK, 8 * BLOCK);
    let blocks = a.par_chunks(block * dim.max(1)).enumerate();
    blocks
        .flat_map_iter(|(at, rows)| {
            let products = products(rows, b, dim);
            let n = rows.len() / dim.max(1);
            let of = |row: usize| each(at * block + row, &products[row * m..(row + 1) * m]);
            (0..n).map(of).collect::<Vec<T>>()
        })
        .collect()
}

/// Scales every row to length 1.
pub(super) fn to_unit(rows: &mut [f32], dim: usize) {
    rows.par_chunks_mut(dim.max(1)).for_each(|row| {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
        row.iter_mut().for_each(|x| *x /= length);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_blocks_are_those_of_rows() {
        // Blocks of 8 times and of once the least.
        for m in [5, PRODUCTS / BLOCK] {
            products_of(8 * BLOCK + 3, m, 7);
        }
    }

    fn products_of(n: usize, m: usize, dim: usize) {
        let values =
            |n: usize, step: f32| (0..n * dim).map(|at| (at as f32 * step).sin()).collect::<Vec<_>>();
        let (a, b) = (values(n, 0.7), values(m, 0.3));
        let found = with_products(&a, &b, dim, |at, products| (at, products.to_vec()));
        assert_eq!(found.len(), n);
        for (row, (at, products)) in found.iter().enumerate() {
            assert_eq!(row, *at);
            for (column, product) in products.iter().enumerate() {
                let pairs = a[row * dim..][..dim].iter().zip(&b[column * dim..][..dim]);
                let expected: f32 = pairs.map(|(a, b)| a * b).sum();
                assert!((product - expected).abs() < 1e-4, "{row} {column}: {product} {expected}");
            }
        }
        assert!(with_products(&[], &b, dim, |_, _| ()).is_empty());
    }
}
