//! Judgements by the row of the train table their query has.

use crate::neural::{Duel, Targets};
use rand::RngExt as _;
use routewright_data::Cells;
use routewright_data::rng::Rng;

/// One judgement between two arms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Row of the train table.
    pub row: usize,
    /// Column of the first arm.
    pub a: usize,
    /// Column of the second arm.
    pub b: usize,
    /// What the first arm earned: 1 for a win, 0 for a loss, 0.5 for a tie.
    pub share: f32,
    /// How much the judgement counts, above 0.
    pub weight: f32,
}

/// The judgements of a train table, by row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Comparisons {
    all: Vec<Comparison>,
    /// Position of the first judgement of each row, and their number last.
    starts: Vec<usize>,
}

impl Comparisons {
    /// Sorts judgements by the rows of a table of `n_rows`; those of one row stay in their order.
    pub fn new(n_rows: usize, mut all: Vec<Comparison>) -> Self {
        all.sort_by_key(|comparison| comparison.row);
        let starts = (0..=n_rows).map(|row| all.partition_point(|c| c.row < row)).collect();
        Self { all, starts }
    }

    /// All of them, by row.
    pub fn all(&self) -> &[Comparison] {
        &self.all
    }

    /// Those of one row.
    pub fn of(&self, row: usize) -> &[Comparison] {
        match (self.starts.get(row), self.starts.get(row + 1)) {
            (Some(&from), Some(&to)) => &self.all[from..to],
            _ => &[],
        }
    }

    /// Those of some rows of the table, renumbered to their order.
    #[must_use]
    pub fn select_rows(&self, rows: &[usize]) -> Self {
        let at = |(row, from): (usize, &usize)| {
            self.of(*from).iter().map(move |c| Comparison { row, ..*c }).collect::<Vec<_>>()
        };
        Self::new(rows.len(), rows.iter().enumerate().flat_map(at).collect())
    }

    fn n_rows(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// The share of its comparisons that each arm won on each query, by weight, ties half; missing where it was not
    /// compared.
    pub fn win_shares(&self, n_arms: usize) -> Cells {
        let mut shares = Cells::missing(self.n_rows(), n_arms);
        for row in 0..self.n_rows() {
            for (arm, share) in shares_of(self.of(row), n_arms, |c| c.share) {
                shares.set(row, arm, share);
            }
        }
        shares
    }

    /// Labels of a batch `(rows.len(), n_arms)`: those of `labels`, and the shares won where a query was judged, with
    /// every tie drawn as a win of either arm.
    pub(crate) fn drawn(&self, labels: &Cells, rows: &[usize], rng: &mut Rng) -> Cells {
        let mut out = labels.select_rows(rows);
        for (at, row) in rows.iter().enumerate() {
            let drawn = |c: &Comparison| match c.share == 0.5 {
                true => f32::from(rng.random_bool(0.5)),
                false => c.share,
            };
            for (arm, share) in shares_of(self.of(*row), labels.n_cols(), drawn) {
                out.set(at, arm, share);
            }
        }
        out
    }

    /// Mean weight of the judgements of a row; 1 where there is none.
    pub(crate) fn weight_of(&self, row: usize) -> f32 {
        match self.of(row) {
            [] => 1.0,
            judged => judged.iter().map(|c| c.weight).sum::<f32>() / judged.len() as f32,
        }
    }

    /// The duels of a batch: the judgements of each row, or, where there is none, every two arms of different score.
    pub(crate) fn targets(&self, scores: &Cells, rows: &[usize]) -> Targets {
        let m = scores.n_cols();
        let mut duels = Vec::new();
        for (at, &row) in rows.iter().enumerate() {
            let cell = |arm: usize| (at * m + arm) as u32;
            let duel = |c: &Comparison| Duel { a: cell(c.a), b: cell(c.b), share: c.share, weight: c.weight };
            duels.extend(self.of(row).iter().map(duel));
            if !self.of(row).is_empty() {
                continue;
            }
            let scores = scores.row(row);
            let beats = |a: usize| (0..m).filter(move |b| scores[a] > scores[*b]);
            let won = |(a, b): (usize, usize)| Duel { a: cell(a), b: cell(b), share: 1.0, weight: 1.0 };
            duels.extend((0..m).flat_map(|a| beats(a).map(move |b| (a, b))).map(won));
        }
        Targets::Duels(duels)
    }

    /// Folds the judgements into a digest of the table they belong to.
    pub(crate) fn digest(&self, table: &str) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(table.as_bytes());
        for c in &self.all {
            for number in [c.row, c.a, c.b] {
                hasher.update(&(number as u64).to_le_bytes());
            }
            hasher.update(&c.share.to_bits().to_le_bytes());
            hasher.update(&c.weight.to_bits().to_le_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// Arms of some judgements of a query with the share each won.
fn shares_of(
    judged: &[Comparison],
    n_arms: usize,
    mut share: impl FnMut(&Comparison) -> f32,
) -> Vec<(usize, f32)> {
    let mut sums = vec![(0.0_f32, 0.0_f32); if judged.is_empty() { 0 } else { n_arms }];
    for c in judged {
        let share = share(c);
        for (arm, won) in [(c.a, share), (c.b, 1.0 - share)] {
            sums[arm].0 += c.weight * won;
            sums[arm].1 += c.weight;
        }
    }
    let of = |(arm, (won, weight)): (usize, (f32, f32))| (weight > 0.0).then(|| (arm, won / weight));
    sums.into_iter().enumerate().filter_map(of).collect()
}
