use super::*;
use crate::search::kernel::{Dots, GROUP, Kernel, LANES};
use crate::search::oracle::unit_rows;

/// Checks that every row's exact inner product is inside its interval, that every kernel has the same
/// integers, and that a row passes a cut exactly when its interval may reach the floor.
fn check(rows: &[f32], dim: usize, queries: &[f32]) -> f64 {
    let codes = Codes::new(rows, dim);
    let mut widest = 0.0f64;
    for query in queries.chunks_exact(dim) {
        let code = QueryCode::new(query, &codes);
        let packed: Vec<[i32; 1]> = code.packed.iter().map(|&packed| [packed]).collect();
        for (number, group) in codes.groups().enumerate() {
            let mut seen: Option<[Dots; 1]> = None;
            for kernel in Kernel::available() {
                let mut dots = [Dots::default()];
                let passed = kernel.tile(group, &packed, &[code.cut(0.1)], &mut dots);
                assert_eq!(seen.get_or_insert(dots), &dots, "{kernel:?}");
                for (row, values) in rows.chunks_exact(dim).enumerate().skip(number * GROUP).take(GROUP) {
                    let (block, lane) = (row % GROUP / LANES, row % LANES);
                    let interval = code.interval(
                        dots[0][block][lane],
                        group.scales[block][lane],
                        group.norms[block][lane],
                        group.errors[block][lane],
                    );
                    let exact = inner_product(query, values);
                    let rounded = f64::from(exact as f32);
                    let low = code.base + f64::from(interval.lower);
                    assert!(low <= exact.min(rounded), "row {row}: {exact} is below {low}");
                    let high = code.upper(interval.upper);
                    assert!(high >= exact.max(rounded), "row {row}: {exact} is above {high}");
                    widest = widest.max(high - low);
                    let has_passed = passed[0][block] >> lane & 1 == 1;
                    assert!(has_passed || interval.upper < 0.1, "row {row} was dropped by {kernel:?}");
                }
            }
        }
    }
    widest
}

#[test]
fn holds_on_random_rows() {
    for seed in 0..12 {
        let dim = [1, 3, 5, 16, 50, 384][seed as usize % 6];
        check(&unit_rows(seed, 150, dim), dim, &unit_rows(100 + seed, 6, dim));
    }
}

#[test]
fn is_narrow_enough_to_be_useful() {
    // two quantizations of 127 steps: each side loses at most half a step a dimension, 384 dimensions of
    // largest value about 0.09: 2 sides * 2 ends * sqrt(384) * 0.09 / 127 / sqrt(12) = 0.016
    let widest = check(&unit_rows(20, 200, 384), 384, &unit_rows(21, 4, 384));
    assert!(widest < 0.025, "{widest}");
}

#[test]
fn holds_on_extreme_rows() {
    let dim = 30;
    let mut rows = unit_rows(30, 128, dim);
    for (row, values) in rows.chunks_exact_mut(dim).enumerate() {
        match row % 8 {
            0 => values.fill(0.0),
            1 => values.fill(1e-44),
            2 => values.iter_mut().for_each(|value| *value *= 1e11),
            3 => values.iter_mut().for_each(|value| *value *= 1e-30),
            4 => values[row % dim] = 1e3,
            // half a step off the grid everywhere
            5 => values.iter_mut().enumerate().for_each(|(at, value)| *value = (at % 127) as f32 + 0.5),
            _ => {}
        }
    }
    let mut queries = unit_rows(31, 5, dim);
    queries[..dim].fill(1.0);
    queries[dim..2 * dim].iter_mut().for_each(|value| *value *= 1e-37);
    queries[2 * dim..3 * dim].iter_mut().for_each(|value| *value *= 1e11);
    queries[3 * dim..4 * dim].fill(-1e-43);
    check(&rows, dim, &queries);
}

#[test]
fn codes_use_the_whole_range_without_overflow() {
    // every code is -127 or 127: the largest dot products there are
    let dim = 4096;
    let rows: Vec<f32> =
        (0..66 * dim).map(|at| if at / dim == 0 || at % 3 == 0 { 0.5 } else { -0.5 }).collect();
    let mut queries = vec![-1.0; dim];
    queries.extend(vec![1.0; dim]);
    check(&rows, dim, &queries);
}
