use super::*;
use rand::RngExt;

/// Rows of a few topics with words of their own, commoner in the first topics, and a few words of the others: as many
/// clear directions as topics.
fn topics(n_rows: usize, n_cols: usize, n_topics: usize) -> SparseRows {
    let mut rng = rng::stream(5, "svd-test");
    let rows: Vec<Vec<(u32, f32)>> = (0..n_rows)
        .map(|i| {
            let topic = i % n_topics;
            let mut row: Vec<(u32, f32)> = Vec::new();
            for col in 0..n_cols {
                let share = if col % n_topics == topic { 0.9 / (1.0 + 0.3 * topic as f64) } else { 0.02 };
                if rng.random::<f64>() < share {
                    row.push((col as u32, rng.random_range(0.5..1.5)));
                }
            }
            row
        })
        .collect();
    SparseRows::from_rows(n_cols, &rows)
}

fn dense(matrix: &SparseRows) -> Vec<f64> {
    let mut identity = vec![0.0; matrix.n_cols * matrix.n_cols];
    identity.iter_mut().step_by(matrix.n_cols + 1).for_each(|x| *x = 1.0);
    matrix.times(&identity, matrix.n_cols).iter().map(|x| f64::from(*x)).collect()
}

/// `A^T B` of row-major matrices with as many rows.
fn inner(a: &[f64], b: &[f64], n_a: usize, n_b: usize) -> Vec<f64> {
    let rows = a.len() / n_a;
    let mut out = vec![0.0; n_a * n_b];
    product(View::new(a, rows, n_a).transposed(), View::new(b, rows, n_b), &mut out, false);
    out
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

/// A matrix of rank 3 with singular values 9, 4, 1 on known directions.
#[test]
fn finds_the_leading_directions_of_a_known_matrix() {
    let rows: Vec<Vec<(u32, f32)>> =
        vec![vec![(0, 9.0)], vec![(1, 4.0)], vec![(2, 1.0)], vec![], vec![(0, 0.0)]];
    let matrix = SparseRows::from_rows(6, &rows);
    let vectors = right_singular_vectors(&matrix, 2, 1).unwrap();
    for row in 0..6 {
        let (first, second) = (vectors[row * 2], vectors[row * 2 + 1]);
        let expected = [(1.0, 0.0), (0.0, 1.0)].get(row).copied().unwrap_or((0.0, 0.0));
        assert!(
            (first - expected.0).abs() < 1e-4 && (second - expected.1).abs() < 1e-4,
            "{row}: {first} {second}"
        );
    }
}

/// The reference is the eigendecomposition of `A^T A` in f64.
#[test]
fn spans_the_subspace_of_the_exact_decomposition_with_the_same_singular_values() {
    let (n_cols, dim) = (90, 5);
    let matrix = topics(400, n_cols, 7);
    let vectors = wide(&right_singular_vectors(&matrix, dim, 3).unwrap());
    let a = dense(&matrix);
    let (values, exact) = linalg::eigh_descending(inner(&a, &a, n_cols, n_cols), n_cols).unwrap();

    let own = inner(&vectors, &vectors, dim, dim);
    for (at, x) in own.iter().enumerate() {
        let unit = f64::from(u8::from(at % (dim + 1) == 0));
        assert!((x - unit).abs() < 1e-5, "orthonormal: {x} at {at}");
    }
    // Each exact direction lies in the span found: the length of its projection is 1.
    let exact: Vec<f64> = exact.chunks_exact(n_cols).flat_map(|row| row[..dim].to_vec()).collect();
    let overlap = inner(&exact, &vectors, dim, dim);
    for (direction, row) in overlap.chunks_exact(dim).enumerate() {
        let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        assert!((length - 1.0).abs() < 1e-4, "direction {direction}: {length}");
    }
    let mut images = vec![0.0; 400 * dim];
    product(View::new(&a, 400, n_cols), View::new(&vectors, n_cols, dim), &mut images, false);
    let found = inner(&images, &images, dim, dim);
    for j in 0..dim {
        assert!((found[j * dim + j] / values[j] - 1.0).abs() < 1e-5, "squared singular value {j}");
    }
}

#[test]
fn directions_beyond_the_rank_are_zero() {
    // Three distinct rows, many times each: rank 3, of 12 directions asked for.
    let kinds = [vec![(0, 1.0), (4, 2.0)], vec![(1, 1.0), (4, -1.0), (19, 0.5)], vec![(7, 3.0)]];
    let rows: Vec<Vec<(u32, f32)>> = (0..60).map(|i| kinds[i % 3].clone()).collect();
    let vectors = right_singular_vectors(&SparseRows::from_rows(20, &rows), 12, 1).unwrap();
    assert!(vectors.iter().all(|v| v.is_finite()));
    let lengths = inner(&wide(&vectors), &wide(&vectors), 12, 12);
    for j in 0..12 {
        let (length, want) = (lengths[j * 12 + j], f64::from(u8::from(j < 3)));
        assert!((length - want).abs() < 1e-5, "column {j}: squared length {length}");
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let matrix = topics(1500, 700, 5);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| right_singular_vectors(&matrix, 20, 9).unwrap())
    };
    let one = with(1);
    assert!(one.iter().any(|v| *v != 0.0));
    assert_eq!(one, with(3));
    assert_eq!(one, with(2));
}
