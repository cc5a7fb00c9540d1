//! Mean scores by source, shrunk: what replaces a raw table of means.
//!
//! A raw mean of few rows is luck: on one public log of 77 sources it loses 3.2 points against the best single model.
//! Scores are taken apart into a level of the row, which every arm shares, and the effect of the arm:
//!
//! ```text
//! y_im = level_i + mu_m + e_im         level_i, mu_m by least squares over the cells that are present
//! effect_sm = mu_m + P_sm              P as in [`crate::source_guard`], of e around 0
//! level_s   = (sum of level_i + 5 level) / (n_s + 5)
//! score_sm  = level_s + effect_sm
//! ```
//!
//! In a complete table `level_i` is the mean of the row's scores, and `e` the score less that mean less the arm's own
//! mean of the same. A row of one cell has no effect of its own: it is compared with the level of its source.

use crate::methods::baselines::means::rows_by_source;
use crate::source_guard::prior;
use routewright_data::OutcomeTable;
use routewright_policy::evidence::Differences;
use std::collections::BTreeMap;

/// Rows that the level of the log counts for in a source.
const LEVEL_ROWS: f64 = 5.0;
/// Sweeps of the two-way fit of a table with missing cells; a complete one takes one.
const SWEEPS: usize = 30;

/// Levels of rows and effects of arms.
struct TwoWay {
    level: Vec<f64>,
    /// Mean effect of each arm, 0 over the arms observed.
    arm: Vec<f64>,
    /// Mean level.
    mean: f64,
}

impl TwoWay {
    fn fit(table: &OutcomeTable, rows: &BTreeMap<&str, Vec<usize>>) -> Self {
        let (n, n_arms) = (table.n_queries(), table.n_arms());
        let cell = |row: usize, arm: usize| table.score.get(row, arm).map(f64::from);
        let means: Vec<Option<f64>> = (0..n_arms).map(|arm| table.score.column_mean(arm)).collect();
        let mut arm: Vec<f64> = means.iter().map(|mean| mean.unwrap_or(0.0)).collect();
        center(&mut arm, &means);
        let mut level = vec![0.0; n];
        let is_complete = table.score.n_present() == n * n_arms;
        for _ in 0..if is_complete { 1 } else { SWEEPS } {
            level = levels(table, rows, &arm);
            for (at, effect) in arm.iter_mut().enumerate().filter(|(at, _)| means[*at].is_some()) {
                let own: Vec<f64> = (0..n).filter_map(|row| Some(cell(row, at)? - level[row])).collect();
                *effect = own.iter().sum::<f64>() / own.len().max(1) as f64;
            }
            center(&mut arm, &means);
        }
        let known: Vec<f64> = level.iter().copied().filter(|level| !level.is_nan()).collect();
        let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
        Self { level, arm, mean }
    }
}

/// Shifts the effects of observed arms to a mean of 0.
fn center(arm: &mut [f64], observed: &[Option<f64>]) {
    let known: Vec<usize> = (0..arm.len()).filter(|at| observed[*at].is_some()).collect();
    let mean = known.iter().map(|at| arm[*at]).sum::<f64>() / known.len().max(1) as f64;
    known.iter().for_each(|at| arm[*at] -= mean);
}

/// The level of each row, `NaN` for one without a score; a row of one score has that of its source.
fn levels(table: &OutcomeTable, rows: &BTreeMap<&str, Vec<usize>>, arm: &[f64]) -> Vec<f64> {
    let mut singles = Vec::new();
    let mut level = vec![f64::NAN; table.n_queries()];
    for (row, level) in level.iter_mut().enumerate() {
        let cells = table.score.row(row).iter().zip(arm).filter(|(y, _)| !y.is_nan());
        let (n, sum) = cells.fold((0, 0.0), |(n, sum), (y, arm)| (n + 1, sum + f64::from(*y) - arm));
        if n > 0 {
            *level = sum / f64::from(n);
        }
        if n == 1 {
            singles.push(row);
        }
    }
    if singles.is_empty() {
        return level;
    }
    let of_source: BTreeMap<&str, f64> =
        rows.iter().map(|(source, rows)| (*source, mean_of(&level, rows))).collect();
    let all = mean_of(&level, &(0..level.len()).collect::<Vec<_>>());
    for row in singles {
        let source = table.queries[row].source.as_deref();
        level[row] = source.and_then(|source| of_source.get(source)).copied().unwrap_or(all);
    }
    level
}

/// Mean of the values of some rows, `NaN` left out.
fn mean_of(values: &[f64], rows: &[usize]) -> f64 {
    let known = rows.iter().map(|row| values[*row]).filter(|value| !value.is_nan());
    let (n, sum) = known.fold((0.0, 0.0), |(n, sum), value| (n + 1.0, sum + value));
    if n > 0.0 { sum / n } else { 0.0 }
}

/// Shrunk mean score of every arm in every source, by name. An arm never observed has the least of the others.
pub(crate) fn shrunk(table: &OutcomeTable) -> BTreeMap<&str, Vec<f64>> {
    let rows = rows_by_source(table);
    let fit = TwoWay::fit(table, &rows);
    let n_arms = table.n_arms();
    let level = |rows: &Vec<usize>| {
        let known = rows.iter().map(|row| fit.level[*row]).filter(|level| !level.is_nan());
        let (n, sum) = known.fold((0.0, 0.0), |(n, sum), level| (n + 1.0, sum + level));
        (sum + LEVEL_ROWS * fit.mean) / (n + LEVEL_ROWS)
    };
    let mut scores: BTreeMap<&str, Vec<f64>> =
        rows.iter().map(|(source, rows)| (*source, vec![level(rows); n_arms])).collect();
    let mut unseen = Vec::new();
    for arm in 0..n_arms {
        let effect =
            |row: &usize| Some(f64::from(table.score.get(*row, arm)?) - fit.level[*row] - fit.arm[arm]);
        let of = |rows: &Vec<usize>| Differences::of(&rows.iter().filter_map(effect).collect::<Vec<f64>>());
        let groups: Vec<Differences> = rows.values().map(of).collect();
        if groups.iter().all(|group| group.n == 0.0) {
            unseen.push(arm);
        }
        let prior = prior(0.0, &groups);
        for (scores, group) in scores.values_mut().zip(&groups) {
            scores[arm] += fit.arm[arm] + prior.posterior(group).0;
        }
    }
    for scores in scores.values_mut() {
        let seen = (0..n_arms).filter(|arm| !unseen.contains(arm)).map(|arm| scores[arm]);
        let least = seen.fold(f64::INFINITY, f64::min);
        unseen.iter().filter(|_| least.is_finite()).for_each(|arm| scores[*arm] = least);
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::table;

    /// 40 rows of `a` on which `x` leads by 0.5, 40 of `b` on which `y` does, 2 of `c` on which `y` does.
    fn log() -> OutcomeTable {
        let sources: Vec<&str> = (0..82)
            .map(|i| {
                if i < 40 {
                    "a"
                } else if i < 80 {
                    "b"
                } else {
                    "c"
                }
            })
            .collect();
        let score = |i: usize| {
            let noise = if i.is_multiple_of(2) { 0.1 } else { -0.1 };
            if i < 40 { [0.75 + noise, 0.25] } else { [0.25, 0.75 + noise] }
        };
        let scores: Vec<f32> = (0..82).flat_map(score).collect();
        table(&sources, &scores, &[f32::NAN; 164])
    }

    /// Python 3.11, the formulas of the header written out with numpy for the same rows.
    #[test]
    fn a_complete_table_is_shrunk_by_the_formulas() {
        let log = log();
        let found = shrunk(&log);
        for (source, expected) in REFERENCE {
            let scores = &found[source];
            assert!(scores.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{source}: {scores:?}");
        }
    }

    const REFERENCE: [(&str, [f64; 2]); 3] = [
        ("a", [0.749_736_733_856, 0.250_263_266_144]),
        ("b", [0.250_250_729_660, 0.749_749_270_339]),
        ("c", [0.255_870_297_275, 0.744_129_702_725]),
    ];

    /// Harder rows are answered by `y` alone: a raw mean would call it worse by 0.3 where it is as good.
    #[test]
    fn missing_cells_do_not_move_the_level_into_the_arms() {
        let none = f32::NAN;
        let sources = vec!["a"; 60];
        let row = |i: usize| match i % 3 {
            0 => [0.8, 0.8, 0.7],
            1 => [0.2, none, 0.1],
            _ => [none, 0.5, 0.4],
        };
        let scores: Vec<f32> = (0..60).flat_map(row).collect();
        let log = table(&sources, &scores, &[none; 180]);
        let found = shrunk(&log);
        let a = &found["a"];
        assert!((a[0] - a[1]).abs() < 0.01 && (a[0] - a[2] - 0.1).abs() < 0.01, "{a:?}");
    }

    #[test]
    fn one_score_a_row_and_an_arm_never_seen_are_no_trouble() {
        let none = f32::NAN;
        let sources: Vec<&str> = (0..80).map(|i| if i < 40 { "a" } else { "b" }).collect();
        let row = |i: usize| {
            let x_is_right = i < 40;
            if i.is_multiple_of(2) {
                [if x_is_right { 1.0 } else { 0.0 }, none, none]
            } else {
                [none, 0.5, none]
            }
        };
        let scores: Vec<f32> = (0..80).flat_map(row).collect();
        let log = table(&sources, &scores, &[none; 240]);
        let found = shrunk(&log);
        assert!(found["a"][0] > found["a"][1] + 0.1 && found["b"][0] < found["b"][1] - 0.1, "{found:?}");
        assert!(found.values().flatten().all(|score| score.is_finite()));
        assert_eq!(found["a"][2], found["a"][1]);
        let empty = table(&["a"], &[none; 3], &[none; 3]);
        assert!(shrunk(&empty)["a"].iter().all(|score| score.is_finite()));
    }
}
