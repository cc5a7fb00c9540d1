//! The search for orders and thresholds of a cascade: every order, and every cut of its last threshold.
//!
//! For an order of two stages the rows are sorted by the first stage's score of its answer once; prefix sums give score
//! and cost of every threshold exactly, in O(n log n). Longer orders fix the earlier thresholds at quantiles of the
//! rows that arrive and do the same for the last one. Of all that is found, the best of each class of price is kept,
//! then those that no cheaper one equals.

/// What each arm did on each row: score of its answer by the scorer, what it was worth, and its price.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) n_arms: usize,
    /// `(n, n_arms)` each, row-major; complete.
    pub(super) believed: Vec<f32>,
    pub(super) scores: Vec<f64>,
    pub(super) costs: Vec<f64>,
}

/// An order of arms, a threshold for each but the last, and what it did on the rows searched.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) order: Vec<usize>,
    pub(super) thresholds: Vec<f32>,
    pub(super) score: f64,
    pub(super) cost: f64,
}

/// How far the search goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct SearchBounds {
    /// Most stages of an order, at least 1.
    pub(super) stages: usize,
    /// Quantiles at which thresholds before the last are tried.
    pub(super) quantiles: usize,
    /// Classes of price, evenly spaced in its logarithm.
    pub(super) classes: usize,
}

impl Table {
    pub(super) fn n(&self) -> usize {
        self.scores.len() / self.n_arms.max(1)
    }

    pub(super) fn believed(&self, row: usize, arm: usize) -> f32 {
        self.believed[row * self.n_arms + arm]
    }

    pub(super) fn score(&self, row: usize, arm: usize) -> f64 {
        self.scores[row * self.n_arms + arm]
    }

    fn cost(&self, row: usize, arm: usize) -> f64 {
        self.costs[row * self.n_arms + arm]
    }

    /// The arm of the greatest mean score, the cheapest of equals.
    pub(super) fn best_arm(&self) -> usize {
        let means: Vec<(f64, f64)> = (0..self.n_arms).map(|arm| self.play(&[arm], &[])).collect();
        let better = |a: &usize, b: &usize| {
            means[*a].0.total_cmp(&means[*b].0).then(means[*b].1.total_cmp(&means[*a].1)).then(b.cmp(a))
        };
        (0..self.n_arms).max_by(better).unwrap_or(0)
    }

    /// Score and price of an order on one row.
    pub(super) fn play_row(&self, row: usize, order: &[usize], thresholds: &[f32]) -> (f64, f64) {
        let mut cost = 0.0;
        for (stage, &arm) in order.iter().enumerate() {
            cost += self.cost(row, arm);
            if thresholds.get(stage).is_none_or(|threshold| self.believed(row, arm) >= *threshold) {
                return (self.score(row, arm), cost);
            }
        }
        (0.0, cost)
    }

    /// Mean score and price of an order on all rows.
    pub(super) fn play(&self, order: &[usize], thresholds: &[f32]) -> (f64, f64) {
        let (mut score, mut cost) = (0.0, 0.0);
        for row in 0..self.n() {
            let played = self.play_row(row, order, thresholds);
            score += played.0;
            cost += played.1;
        }
        let n = self.n().max(1) as f64;
        (score / n, cost / n)
    }
}

/// The best orders found, by rising price and score.
pub(super) fn search(table: &Table, limits: SearchBounds) -> Vec<Found> {
    let mut best = Best::new(table, limits.classes);
    let rows: Vec<usize> = (0..table.n()).collect();
    let start = Prefix { order: Vec::new(), thresholds: Vec::new(), score: 0.0, cost: 0.0 };
    extend(table, limits, &start, &rows, &mut best);
    best.frontier()
}

/// The stages fixed so far, and the sums over the rows they accepted; prices include all rows.
#[derive(Debug, Clone)]
struct Prefix {
    order: Vec<usize>,
    thresholds: Vec<f32>,
    score: f64,
    cost: f64,
}

/// Tries every arm next: as the last stage, and before one more.
fn extend(table: &Table, limits: SearchBounds, prefix: &Prefix, rows: &[usize], best: &mut Best) {
    for arm in (0..table.n_arms).filter(|arm| !prefix.order.contains(arm)) {
        let mut order = prefix.order.clone();
        order.push(arm);
        let cost = prefix.cost + rows.iter().map(|row| table.cost(*row, arm)).sum::<f64>();
        let score = prefix.score + rows.iter().map(|row| table.score(*row, arm)).sum::<f64>();
        if order.len() == 1 {
            best.offer(score, cost, || (order.clone(), Vec::new()));
        }
        if order.len() == limits.stages || rows.is_empty() {
            continue;
        }
        let mut sorted = rows.to_vec();
        sorted.sort_by(|a, b| table.believed(*b, arm).total_cmp(&table.believed(*a, arm)));
        let stage = Prefix { order, cost, ..prefix.clone() };
        last_thresholds(table, &stage, &sorted, best);
        if stage.order.len() + 1 < limits.stages {
            for cut in quantile_cuts(table, arm, &sorted, limits.quantiles) {
                let accepted = sorted[..cut].iter().map(|row| table.score(*row, arm)).sum::<f64>();
                let mut longer = Prefix { score: stage.score + accepted, ..stage.clone() };
                longer.thresholds.push(table.believed(sorted[cut - 1], arm));
                extend(table, limits, &longer, &sorted[cut..], best);
            }
        }
    }
}

/// Every cut of the rows that arrive at the last stage but one, followed by every other arm. `sorted` are those rows by
/// falling score of its answers.
fn last_thresholds(table: &Table, stage: &Prefix, sorted: &[usize], best: &mut Best) {
    let arm = stage.order[stage.order.len() - 1];
    for next in (0..table.n_arms).filter(|next| !stage.order.contains(next)) {
        let rest = |value: fn(&Table, usize, usize) -> f64| {
            sorted.iter().map(|row| value(table, *row, next)).sum::<f64>()
        };
        let (mut accepted, mut escalated, mut paid) = (0.0, rest(Table::score), rest(Table::cost));
        // The last cut escalates nothing: it is the shorter order.
        for cut in 1..sorted.len() {
            let row = sorted[cut - 1];
            accepted += table.score(row, arm);
            escalated -= table.score(row, next);
            paid -= table.cost(row, next);
            let threshold = table.believed(row, arm);
            if threshold == table.believed(sorted[cut], arm) {
                continue;
            }
            best.offer(stage.score + accepted + escalated, stage.cost + paid, || {
                let mut order = stage.order.clone();
                order.push(next);
                let mut thresholds = stage.thresholds.clone();
                thresholds.push(threshold);
                (order, thresholds)
            });
        }
    }
}

/// Numbers of rows accepted, at quantiles, each at the end of a run of equal scores; some rows always go on.
fn quantile_cuts(table: &Table, arm: usize, sorted: &[usize], quantiles: usize) -> Vec<usize> {
    let n = sorted.len();
    let at_end_of_run = |cut: &usize| {
        *cut > 0 && *cut < n && table.believed(sorted[cut - 1], arm) != table.believed(sorted[*cut], arm)
    };
    let mut cuts: Vec<usize> =
        (1..=quantiles).map(|q| q * n / (quantiles + 1)).filter(at_end_of_run).collect();
    cuts.dedup();
    cuts
}

/// The best order of each class of price.
struct Best {
    n: f64,
    low: f64,
    step: f64,
    classes: Vec<Option<Found>>,
}

impl Best {
    fn new(table: &Table, classes: usize) -> Self {
        let n = table.n().max(1) as f64;
        let mean = |arm: usize| (0..table.n()).map(|row| table.cost(row, arm)).sum::<f64>() / n;
        let means: Vec<f64> = (0..table.n_arms).map(mean).filter(|mean| *mean > 0.0).collect();
        let low = means.iter().copied().fold(f64::INFINITY, f64::min);
        let high = means.iter().sum::<f64>();
        let (low, high) = if low.is_finite() { (low.ln(), high.ln()) } else { (0.0, 1.0) };
        let step = ((high - low) / classes.max(1) as f64).max(1e-9);
        Self { n, low, step, classes: vec![None; classes.max(1) + 1] }
    }

    /// Takes an order where it is the best of its class: `score` and `cost` are sums over all rows.
    fn offer(&mut self, score: f64, cost: f64, order: impl FnOnce() -> (Vec<usize>, Vec<f32>)) {
        let (score, cost) = (score / self.n, cost / self.n);
        let class = if cost > 0.0 { ((cost.ln() - self.low) / self.step).max(0.0) as usize } else { 0 };
        let last = self.classes.len() - 1;
        let place = &mut self.classes[class.min(last)];
        let is_better = |old: &Found| score > old.score || (score == old.score && cost < old.cost);
        if place.as_ref().is_none_or(is_better) {
            let (order, thresholds) = order();
            *place = Some(Found { order, thresholds, score, cost });
        }
    }

    /// Those that no cheaper one equals, by rising price.
    fn frontier(self) -> Vec<Found> {
        let mut all: Vec<Found> = self.classes.into_iter().flatten().collect();
        all.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(b.score.total_cmp(&a.score)));
        let mut best = f64::NEG_INFINITY;
        all.retain(|found| {
            let is_kept = found.score > best;
            best = best.max(found.score);
            is_kept
        });
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt as _;
    use routewright_data::rng;

    /// Scores follow what is believed; the arms cost 1, 3 and 9.
    fn table(n: usize, seed: u64) -> Table {
        let mut rng = rng::stream(seed, "cascade test");
        let (mut believed, mut scores, mut costs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..n {
            for (base, cost) in [(0.5, 1.0), (0.65, 3.0), (0.8, 9.0)] {
                // Coarse, so that ties occur.
                let p = ((base + rng.random::<f64>() * 0.6 - 0.3) * 16.0).round() / 16.0;
                believed.push(p as f32);
                scores.push(f64::from(u8::from(rng.random::<f64>() < p)));
                costs.push(cost);
            }
        }
        Table { n_arms: 3, believed, scores, costs }
    }

    #[test]
    fn two_stages_are_searched_exactly() {
        let table = table(60, 3);
        let limits = SearchBounds { stages: 2, quantiles: 8, classes: 4000 };
        let found = search(&table, limits);
        assert!(found.len() > 5, "{}", found.len());
        for one in &found {
            let (score, cost) = table.play(&one.order, &one.thresholds);
            assert!(
                (score - one.score).abs() < 1e-9 && (cost - one.cost).abs() < 1e-9,
                "{one:?} {score} {cost}"
            );
        }
        // No pair and no threshold, tried one by one, is better and not dearer.
        for (a, b) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            for row in 0..60 {
                let (score, cost) = table.play(&[a, b], &[table.believed(row, a)]);
                let is_met = |one: &Found| one.score >= score - 1e-9 && one.cost <= cost * 1.002;
                assert!(found.iter().any(is_met), "{a} {b} {row}: {score} at {cost}");
            }
        }
    }

    #[test]
    fn more_stages_never_lose_and_their_sums_are_those_of_playing_them() {
        let table = table(80, 5);
        let reach = |stages: usize| {
            let found = search(&table, SearchBounds { stages, quantiles: 8, classes: 400 });
            for one in &found {
                let (score, cost) = table.play(&one.order, &one.thresholds);
                assert!((score - one.score).abs() < 1e-9 && (cost - one.cost).abs() < 1e-9, "{one:?}");
                assert!(one.order.len() <= stages && one.thresholds.len() + 1 == one.order.len());
            }
            found
        };
        let (one, two, three) = (reach(1), reach(2), reach(3));
        assert!(one.len() <= 3);
        for (few, more) in [(&one, &two), (&two, &three)] {
            for old in few {
                let is_met = |new: &Found| new.score >= old.score && new.cost <= old.cost * 1.02;
                assert!(more.iter().any(is_met), "{old:?}");
            }
        }
    }
}
