//! Tables of which bins of a confidence are passed on to a dearer model: candidates, what they score and cost, their
//! lift.
//!
//! Serves any scalar confidence; `automix` bins the rate of checks.

use std::collections::BTreeSet;

/// Kinds of tables.
pub(super) const KINDS: [&str; 4] = ["threshold", "double", "pomdp", "greedy"];
/// Width of the kernel that gains are smoothed by, in bins.
const SIGMA: f64 = 2.0;

/// What both models did on a query, and the bin of the confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Binned {
    pub(super) bin: usize,
    pub(super) small: f64,
    pub(super) large: f64,
    /// Price of the small model's answer, with and without its checks, and of the large one's.
    pub(super) small_usd: f64,
    pub(super) checked_usd: f64,
    pub(super) large_usd: f64,
}

impl Binned {
    /// Score under a table.
    pub(super) fn score(&self, table: &[bool]) -> f64 {
        if table[self.bin] { self.large } else { self.small }
    }
}

/// Means of a table over rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Judged {
    pub(super) score: f64,
    pub(super) cost_usd: f64,
    /// Share of rows that are passed on.
    pub(super) escalated: f64,
}

/// Means of a table.
pub(super) fn judge(table: &[bool], rows: &[Binned]) -> Judged {
    let n = rows.len().max(1) as f64;
    let mean = |value: &dyn Fn(&Binned) -> f64| rows.iter().map(value).sum::<f64>() / n;
    let escalated = |row: &Binned| f64::from(u8::from(table[row.bin]));
    Judged {
        score: mean(&|row| row.score(table)),
        cost_usd: mean(&|row| row.checked_usd + escalated(row) * row.large_usd),
        escalated: mean(&escalated),
    }
}

/// Mean score and price of the small and of the large model alone.
pub(super) fn alone(rows: &[Binned]) -> [(f64, f64); 2] {
    let n = rows.len().max(1) as f64;
    let mean = |value: fn(&Binned) -> f64| rows.iter().map(value).sum::<f64>() / n;
    [(mean(|row| row.small), mean(|row| row.small_usd)), (mean(|row| row.large), mean(|row| row.large_usd))]
}

/// `IBC(M) / IBC(L) - 1`; not a number where the models cost or score the same, or the table costs what the small one
/// does.
pub(super) fn lift(judged: &Judged, small: (f64, f64), large: (f64, f64)) -> f64 {
    let base = (large.0 - small.0) / (large.1 - small.1);
    let own = (judged.score - small.0) / (judged.cost_usd - small.1);
    if base.is_normal() && own.is_finite() { own / base - 1.0 } else { f64::NAN }
}

/// Every table of the kinds named, each once.
pub(super) fn candidates(rows: &[Binned], bins: usize, kinds: &[String]) -> Vec<Vec<bool>> {
    let has = |kind: &str| kinds.iter().any(|name| name == kind);
    let mut all = BTreeSet::new();
    if has("threshold") {
        all.extend((0..=bins + 1).map(|end| (0..=bins).map(|bin| bin < end).collect()));
    }
    if has("double") {
        let pairs = (0..=bins).flat_map(|low| (low..=bins).map(move |high| (low, high)));
        all.extend(pairs.map(|(low, high)| (0..=bins).map(|bin| (low..=high).contains(&bin)).collect()));
    }
    if has("pomdp") {
        all.extend(decided(rows, bins));
    }
    if has("greedy") {
        all.extend(nested(rows, bins));
    }
    all.into_iter().collect()
}

/// Shares of the rows of each bin that need the large model (it is better), that do not (equal, above 0), and that are
/// hopeless (both at 0), with one row of each added to every bin.
fn categories(rows: &[Binned], bins: usize) -> Vec<[f64; 3]> {
    let mut counts = vec![[1.0; 3]; bins + 1];
    for row in rows {
        let category = if row.small < row.large {
            0
        } else if row.small <= 0.0 && row.large <= 0.0 {
            2
        } else {
            1
        };
        counts[row.bin][category] += 1.0;
    }
    counts.into_iter().map(|counts| counts.map(|count| count / counts.iter().sum::<f64>())).collect()
}

/// The actions of the decision process, for every ratio of rewards at which one changes: a bin is passed on where `rho
/// (needy + hopeless) + hopeless > 100 (needy + good) + (rho + 100) hopeless`, that is `rho needy > 100 - hopeless`.
fn decided(rows: &[Binned], bins: usize) -> Vec<Vec<bool>> {
    let ratio = |[needy, _, hopeless]: &[f64; 3]| (100.0 - hopeless) / needy;
    let ratios: Vec<f64> = categories(rows, bins).iter().map(ratio).collect();
    let mut ends = ratios.clone();
    ends.push(f64::NEG_INFINITY);
    ends.iter().map(|end| ratios.iter().map(|ratio| ratio <= end).collect()).collect()
}

/// All bins passed on, then one fewer each time, that of the least smoothed gain first: strict to loose.
pub(super) fn nested(rows: &[Binned], bins: usize) -> Vec<Vec<bool>> {
    let mut sums = vec![(0.0, 0.0); bins + 1];
    for row in rows {
        sums[row.bin].0 += row.large - row.small;
        sums[row.bin].1 += 1.0;
    }
    let smooth = |bin: usize| {
        let weight = |other: usize| (-((bin as f64 - other as f64) / SIGMA).powi(2) / 2.0).exp();
        let all = sums.iter().enumerate();
        let (gain, n) = all.fold((0.0, 1e-9), |(gain, n), (other, (sum, count))| {
            (gain + weight(other) * sum, n + weight(other) * count)
        });
        gain / n
    };
    let gains: Vec<f64> = (0..=bins).map(smooth).collect();
    let mut order: Vec<usize> = (0..=bins).collect();
    order.sort_by(|a, b| gains[*a].total_cmp(&gains[*b]).then(b.cmp(a)));
    (0..=bins + 1).map(|n| (0..=bins).map(|bin| !order[..n].contains(&bin)).collect()).collect()
}

/// Tables that no cheaper one equals on the rows, by rising price.
pub(super) fn frontier(tables: Vec<Vec<bool>>, rows: &[Binned]) -> Vec<Vec<bool>> {
    let mut judged: Vec<(Judged, Vec<bool>)> =
        tables.into_iter().map(|table| (judge(&table, rows), table)).collect();
    judged.sort_by(|(a, _), (b, _)| a.cost_usd.total_cmp(&b.cost_usd).then(b.score.total_cmp(&a.score)));
    let mut best = f64::NEG_INFINITY;
    judged.retain(|(judged, _)| {
        let is_kept = judged.score > best;
        best = best.max(judged.score);
        is_kept
    });
    judged.into_iter().map(|(_, table)| table).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(bin: usize, small: f64, large: f64) -> Binned {
        Binned { bin, small, large, small_usd: 1.0, checked_usd: 2.0, large_usd: 50.0 }
    }

    /// Found wrong and wrong, found wrong and hopeless, half, and found right and right.
    fn rows() -> Vec<Binned> {
        vec![
            row(0, 0.0, 1.0),
            row(0, 0.0, 1.0),
            row(0, 0.0, 0.0),
            row(1, 0.0, 1.0),
            row(1, 1.0, 1.0),
            row(2, 1.0, 1.0),
        ]
    }

    #[test]
    fn means_and_lift_are_those_of_the_hand() {
        let judged = judge(&[true, false, false], &rows());
        assert!(
            (judged.score - 4.0 / 6.0).abs() < 1e-12 && judged.escalated == 0.5 && judged.cost_usd == 27.0
        );
        let [small, large] = alone(&rows());
        assert!((small.0 - 2.0 / 6.0).abs() < 1e-12 && (large.0 - 5.0 / 6.0).abs() < 1e-12);
        // (2/6) / 26 over (3/6) / 49.
        let expected = (2.0 / 6.0 / 26.0) / (3.0 / 6.0 / 49.0) - 1.0;
        assert!((lift(&judged, small, large) - expected).abs() < 1e-12);
        // No checks that cost anything, nothing passed on: a division by 0.
        let free = Judged { score: small.0, cost_usd: small.1, escalated: 0.0 };
        assert!(lift(&free, small, large).is_nan());
    }

    #[test]
    fn candidates_are_thresholds_windows_and_nested_bins() {
        let of = |kinds: &[&str]| {
            let kinds: Vec<String> = kinds.iter().map(|kind| (*kind).to_owned()).collect();
            candidates(&rows(), 2, &kinds)
        };
        assert_eq!(of(&["threshold"]).len(), 4);
        assert_eq!(of(&["double"]).len(), 6);
        // Bin 0 gains 2/3, bin 1 half, bin 2 nothing.
        let greedy = nested(&rows(), 2);
        let expected = [[true, true, true], [true, true, false], [true, false, false], [false, false, false]];
        assert_eq!(greedy, expected.map(|table| table.to_vec()));
        for kind in KINDS {
            assert!(!of(&[kind]).is_empty(), "{kind}");
        }
        // Needy shares 3/6, 2/5 and 1/4: the actions are nested in that order.
        assert_eq!(of(&["pomdp"]), of(&["threshold"]));
        let all = of(&KINDS);
        assert_eq!(all.len(), all.iter().collect::<BTreeSet<_>>().len());
        let kept = frontier(all, &rows());
        let costs: Vec<f64> = kept.iter().map(|table| judge(table, &rows()).cost_usd).collect();
        assert!(kept.len() >= 3 && costs.windows(2).all(|pair| pair[0] < pair[1]), "{kept:?}");
        assert_eq!(kept[0], [false; 3]);
    }
}
