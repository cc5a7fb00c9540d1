use super::*;
use crate::search::oracle::{brute_force, unit_rows};

/// The same rows behind every kernel this processor can run.
fn indexes(rows: &[f32], dim: usize) -> Vec<ExactIndex> {
    let build = |kernel| ExactIndex { kernel, ..ExactIndex::new(rows.to_vec(), dim).unwrap() };
    Kernel::available().map(build).collect()
}

fn assert_exact(rows: &[f32], dim: usize, queries: &[f32], k: usize) {
    let want: Vec<Vec<Neighbor>> =
        queries.chunks_exact(dim).map(|query| brute_force(rows, dim, query, k, |_| true)).collect();
    for index in indexes(rows, dim) {
        let got = index.search(queries, k).unwrap();
        assert_eq!(got, want, "dim {dim}, k {k}, {} rows, {:?}", index.len(), index.kernel);
    }
}

#[test]
fn equals_brute_force_on_random_rows() {
    for (case, dim) in [1, 2, 3, 7, 16, 17, 63, 100, 384].into_iter().enumerate() {
        for n in [1, 2, 63, 64, 65, 130, 700] {
            let rows = unit_rows(case as u64, n, dim);
            let queries = unit_rows(1000 + case as u64, 7, dim);
            for k in [1, 5, 20] {
                assert_exact(&rows, dim, &queries, k);
            }
        }
    }
}

#[test]
fn equals_brute_force_on_clustered_rows_with_a_common_mean() {
    // tight clusters on top of one large shared vector: many rows inside the error bound of each other
    let (dim, n) = (48, 900);
    let (noise, centers) = (unit_rows(1, n, dim), unit_rows(2, 6, dim));
    let rows: Vec<f32> = (0..n * dim)
        .map(|at| 0.003 * noise[at] + 0.2 * centers[at / dim % 6 * dim + at % dim] + 0.1)
        .collect();
    assert_exact(&rows, dim, &rows[..40 * dim], 20);
}

#[test]
fn ties_go_to_the_lower_row() {
    let dim = 24;
    let distinct = unit_rows(3, 5, dim);
    let rows: Vec<f32> = (0..400).flat_map(|row| distinct[row % 5 * dim..][..dim].to_vec()).collect();
    assert_exact(&rows, dim, &distinct, 30);
    let found = ExactIndex::new(rows, dim).unwrap().search(&distinct[..dim], 3).unwrap();
    assert_eq!(found[0].iter().map(|neighbor| neighbor.row).collect::<Vec<_>>(), [0, 5, 10]);
}

#[test]
fn rows_in_ascending_order_of_similarity() {
    // every row beats all earlier ones, so the candidate list is cleaned up many times
    let rows: Vec<f32> = (0..5000).flat_map(|row| [(row as f32 / 5000.0), 0.3, -0.1]).collect();
    assert_exact(&rows, 3, &[1.0, 0.0, 0.0, -1.0, 0.5, 0.5], 20);
}

#[test]
fn zero_rows_and_zero_queries() {
    let dim = 20;
    let mut rows = unit_rows(4, 150, dim);
    rows[10 * dim..90 * dim].fill(0.0);
    let mut queries = unit_rows(5, 4, dim);
    queries[..dim].fill(0.0);
    queries[dim..2 * dim].fill(-0.0);
    assert_exact(&rows, dim, &queries, 20);
    assert_exact(&vec![0.0; 70 * dim], dim, &queries, 20);
}

#[test]
fn rows_of_very_different_lengths() {
    let dim = 19;
    let mut rows = unit_rows(6, 300, dim);
    for (row, values) in rows.chunks_exact_mut(dim).enumerate() {
        let factor = [1.0, 1e-3, 1e6, 1e-20, 1e-42, 3.0][row % 6];
        values.iter_mut().for_each(|value| *value *= factor);
    }
    let mut queries = unit_rows(7, 6, dim);
    for (query, values) in queries.chunks_exact_mut(dim).enumerate() {
        let factor = [1.0, 1e-3, 1e6, 1e-20, 1e-39, 3.0][query];
        values.iter_mut().for_each(|value| *value *= factor);
    }
    assert_exact(&rows, dim, &queries, 80);
}

#[test]
fn one_outlier_dimension() {
    let dim = 64;
    let mut rows = unit_rows(8, 500, dim);
    for (row, values) in rows.chunks_exact_mut(dim).enumerate() {
        values[11] = if row % 3 == 0 { 40.0 } else { -25.0 };
    }
    assert_exact(&rows, dim, &unit_rows(9, 5, dim), 20);
}

#[test]
fn k_beyond_the_rows_and_k_zero() {
    let (rows, queries) = (unit_rows(10, 9, 8), unit_rows(11, 3, 8));
    assert_exact(&rows, 8, &queries, 50);
    let index = ExactIndex::new(rows, 8).unwrap();
    assert_eq!(index.search(&queries, 50).unwrap()[0].len(), 9);
    assert_eq!(index.search(&queries, 0).unwrap(), vec![vec![]; 3]);
    assert_eq!(index.search(&[], 5).unwrap(), Vec::<Vec<Neighbor>>::new());
    let empty = ExactIndex::new(vec![], 8).unwrap();
    assert!(empty.is_empty());
    assert_eq!(empty.search(&queries, 5).unwrap(), vec![vec![]; 3]);
}

#[test]
fn an_answer_does_not_depend_on_its_batch() {
    let dim = 33;
    let (rows, queries) = (unit_rows(12, 500, dim), unit_rows(13, 2 * PASS + 3, dim));
    let mut batched = None;
    for index in indexes(&rows, dim) {
        let together = index.search(&queries, 10).unwrap();
        for (query, want) in queries.chunks_exact(dim).zip(&together).step_by(17) {
            assert_eq!(&index.search(query, 10).unwrap()[0], want);
        }
        // and not on the processor's instructions
        assert_eq!(batched.get_or_insert_with(|| together.clone()), &together);
    }
}

#[test]
fn leaves_one_row_out() {
    let dim = 12;
    let rows = unit_rows(14, 200, dim);
    let excluded: Vec<u32> = (0..200).collect();
    for index in indexes(&rows, dim) {
        let found = index.search_excluding(&rows, 5, &excluded).unwrap();
        for (query, got) in found.iter().enumerate() {
            let want = brute_force(&rows, dim, &rows[query * dim..][..dim], 5, |row| row != query as u32);
            assert_eq!(got, &want);
        }
    }
    let index = ExactIndex::new(rows.clone(), dim).unwrap();
    let nothing = index.search_excluding(&rows[..dim], 5, &[u32::MAX]).unwrap();
    assert_eq!(nothing, index.search(&rows[..dim], 5).unwrap());
}

#[test]
fn filters_rows_by_query_across_passes() {
    let dim = 9;
    let (rows, queries) = (unit_rows(15, 300, dim), unit_rows(16, PASS + 9, dim));
    let keep = |query: usize, row: u32| (query + row as usize).is_multiple_of(7);
    let index = ExactIndex::new(rows.clone(), dim).unwrap();
    let found = index.search_where(&queries, 60, keep).unwrap();
    for (query, got) in found.iter().enumerate() {
        let want = brute_force(&rows, dim, &queries[query * dim..][..dim], 60, |row| keep(query, row));
        assert_eq!(got, &want);
        assert!(got.len() < 60, "fewer rows than k pass the filter");
    }
}

#[test]
fn refuses_bad_input() {
    let message = |result: Result<ExactIndex, SearchError>| result.unwrap_err().to_string();
    assert!(message(ExactIndex::new(vec![], 0)).starts_with("cannot search in `0` dimensions"));
    assert!(message(ExactIndex::new(vec![0.0; 7], 3)).contains("multiple of `3`"));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e20] {
        let mut rows = unit_rows(17, 4, 3);
        rows[7] = bad;
        assert!(message(ExactIndex::new(rows, 3)).contains(&format!("`{bad}` in row `2`, column `1`")));
    }
    let index = ExactIndex::new(unit_rows(17, 4, 3), 3).unwrap();
    assert!(matches!(index.search(&[0.0; 4], 1), Err(SearchError::Ragged { what: "queries", .. })));
    assert!(matches!(index.search(&[f32::NAN; 3], 1), Err(SearchError::Value { row: 0, column: 0, .. })));
    let excluded = index.search_excluding(&[0.0; 6], 1, &[0]);
    assert!(matches!(excluded, Err(SearchError::Excluded { excluded: 1, queries: 2 })));
}
