use super::*;
use crate::search::ExactIndex;
use crate::search::oracle::unit_rows;

fn recall(found: &[Vec<Neighbor>], truth: &[Vec<Neighbor>]) -> f64 {
    let hit = |(found, truth): (&Vec<Neighbor>, &Vec<Neighbor>)| {
        truth.iter().filter(|want| found.iter().any(|got| got.row == want.row)).count()
    };
    let total: usize = truth.iter().map(Vec::len).sum();
    found.iter().zip(truth).map(hit).sum::<usize>() as f64 / total as f64
}

#[test]
fn finds_nearly_all_neighbors() {
    let dim = 24;
    let (rows, queries) = (unit_rows(1, 3000, dim), unit_rows(2, 50, dim));
    let truth = ExactIndex::new(rows.clone(), dim).unwrap().search(&queries, 10).unwrap();
    let mut index = ApproximateIndex::new(&rows, dim, GraphOptions::default()).unwrap();
    let (plain, rescored) =
        (index.search(&queries, 10).unwrap(), index.search_rescored(&queries, 10, &rows).unwrap());
    assert!(recall(&plain, &truth) > 0.9, "{}", recall(&plain, &truth));
    assert!(recall(&rescored, &truth) > 0.97, "{}", recall(&rescored, &truth));
    let exact =
        |row: u32, query: usize| truth[query].iter().find(|want| want.row == row).map(|n| n.similarity);
    for (query, list) in rescored.iter().enumerate() {
        assert!(list.is_sorted_by(|a, b| a.rank(b).is_lt()));
        for neighbor in list {
            assert!(exact(neighbor.row, query).is_none_or(|want| want == neighbor.similarity));
        }
    }
    for (plain, truth) in plain.iter().zip(&truth) {
        // 24 dimensions of at most 0.5: half a step is 0.002, and errors of both sides add up
        assert!((plain[0].similarity - truth[0].similarity).abs() < 0.02);
    }
    index.set_ef_search(3000);
    assert!(recall(&index.search_rescored(&queries, 10, &rows).unwrap(), &truth) > 0.999);
}

#[test]
fn survives_duplicates_and_tiny_sets() {
    let dim = 5;
    let mut rows = unit_rows(3, 400, dim);
    let first = rows[..dim].to_vec();
    rows[..200 * dim].chunks_exact_mut(dim).for_each(|row| row.copy_from_slice(&first));
    let index = ApproximateIndex::new(&rows, dim, GraphOptions::default()).unwrap();
    let found = index.search_rescored(&rows[300 * dim..301 * dim], 1, &rows).unwrap();
    assert_eq!(found[0][0].row, 300);
    for n in [0, 1, 2] {
        let index =
            ApproximateIndex::new(&rows[300 * dim..(300 + n) * dim], dim, GraphOptions::default()).unwrap();
        assert_eq!(index.search(&first, 10).unwrap()[0].len(), n);
    }
}

#[test]
fn bytes_give_the_same_index_and_building_is_deterministic() {
    let dim = 70;
    let (rows, queries) = (unit_rows(4, 500, dim), unit_rows(5, 20, dim));
    let options = GraphOptions { m: 6, ef_search: 40, ..GraphOptions::default() };
    let index = ApproximateIndex::new(&rows, dim, options).unwrap();
    let bytes = index.to_bytes();
    assert_eq!(bytes, ApproximateIndex::new(&rows, dim, options).unwrap().to_bytes());
    assert_ne!(
        bytes,
        ApproximateIndex::new(&rows, dim, GraphOptions { seed: 9, ..options }).unwrap().to_bytes()
    );
    let loaded = ApproximateIndex::from_bytes(&bytes).unwrap();
    assert_eq!(loaded.search(&queries, 10).unwrap(), index.search(&queries, 10).unwrap());
    assert_eq!(loaded.to_bytes(), bytes);
}

#[test]
fn refuses_damaged_bytes_and_never_panics_on_them() {
    let dim = 6;
    let rows = unit_rows(6, 40, dim);
    let index = ApproximateIndex::new(&rows, dim, GraphOptions { m: 2, ..GraphOptions::default() }).unwrap();
    let bytes = index.to_bytes();
    for length in 0..bytes.len() {
        assert!(ApproximateIndex::from_bytes(&bytes[..length]).is_err(), "cut at {length}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(ApproximateIndex::from_bytes(&longer).unwrap_err().to_string().contains("`1` bytes follow"));
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            if let Ok(index) = ApproximateIndex::from_bytes(&changed)
                && index.dim() == dim
            {
                index.search(&rows[..dim], 5).unwrap();
            }
        }
    }
}

#[test]
fn refuses_bad_input() {
    let rows = unit_rows(7, 4, 3);
    let refused = |options| ApproximateIndex::new(&rows, 3, options).unwrap_err().to_string();
    assert!(refused(GraphOptions { m: 1, ..GraphOptions::default() }).contains("m `1`"));
    let long: Vec<f32> = rows.iter().map(|value| value * 2.0).collect();
    let error = ApproximateIndex::new(&long, 3, GraphOptions::default()).unwrap_err();
    assert!(matches!(error, SearchError::NotUnit { row: 0, .. }));
    let index = ApproximateIndex::new(&rows, 3, GraphOptions::default()).unwrap();
    assert!(index.search(&[0.0; 4], 1).is_err());
    assert!(index.search_rescored(&rows, 1, &rows[..3]).is_err());
}
