//! How good a network is while it is being trained: the score of the arms it would choose.

use crate::evaluate::Average;
use routewright_data::{Cells, OutcomeTable};
use std::collections::BTreeMap;

/// The logged outcomes a choice is judged by.
#[derive(Debug, Clone)]
pub struct Judge {
    labels: Cells,
    /// Source of each row, as a number.
    groups: Vec<usize>,
    n_groups: usize,
}

impl Judge {
    /// Judges choices for the queries `rows` by `labels`, both of `table`.
    pub fn new(table: &OutcomeTable, labels: &Cells, rows: &[usize], average: Average) -> Self {
        let mut numbers = BTreeMap::<Option<&str>, usize>::new();
        let groups = rows.iter().map(|&row| match average {
            Average::Micro => 0,
            Average::Macro => {
                let next = numbers.len();
                *numbers.entry(table.queries[row].source.as_deref()).or_insert(next)
            }
        });
        let groups: Vec<usize> = groups.collect();
        let n_groups = groups.iter().max().map_or(0, |g| g + 1);
        Self { labels: labels.select_rows(rows), groups, n_groups }
    }

    /// Mean label of the arms of greatest prediction; `predicted` is `(n_rows, n_arms)`. Among arms without
    /// an outcome nothing can be judged: the greatest among the others counts, and a query without any
    /// outcome does not.
    pub fn mean_of_argmax(&self, predicted: &[f32]) -> f64 {
        let m = self.labels.n_cols();
        let mut sums = vec![(0.0_f64, 0_usize); self.n_groups];
        for (row, predicted) in predicted.chunks_exact(m).enumerate() {
            let mut best: Option<(f32, f32)> = None;
            for (arm, &p) in predicted.iter().enumerate() {
                let Some(label) = self.labels.get(row, arm) else { continue };
                if best.is_none_or(|(greatest, _)| p > greatest) {
                    best = Some((p, label));
                }
            }
            if let Some((_, label)) = best {
                let (sum, n) = &mut sums[self.groups[row]];
                *sum += f64::from(label);
                *n += 1;
            }
        }
        let means: Vec<f64> = sums.iter().filter(|(_, n)| *n > 0).map(|(s, n)| s / *n as f64).collect();
        means.iter().sum::<f64>() / means.len().max(1) as f64
    }

    /// Mean squared error of predicted scores over the cells present.
    pub fn mean_squared_error(&self, predicted: &[f32]) -> f64 {
        let pairs = || predicted.iter().zip(self.labels.values()).filter(|(_, y)| !y.is_nan());
        pairs().map(|(p, y)| f64::from(p - y).powi(2)).sum::<f64>() / pairs().count().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routewright_data::Query;

    #[test]
    fn macro_weighs_sources_alike_and_holes_are_passed_over() {
        let query = |source: &str| Query { source: Some(source.to_owned()), ..Query::default() };
        let table = OutcomeTable {
            queries: vec![query("a"), query("a"), query("b"), query("b")],
            models: vec!["x".to_owned(), "y".to_owned()],
            score: Cells::from_vec(4, 2, vec![1.0, 0.0, 0.0, 1.0, 0.5, f32::NAN, f32::NAN, f32::NAN]),
            soft_score: None,
            cost_usd: Cells::missing(4, 2),
            latency_ms: None,
            vectors: None,
        };
        let predicted = [0.9, 0.1, 0.9, 0.1, 0.1, 0.9, 0.5, 0.5];
        let judge = |average| Judge::new(&table, &table.score, &[0, 1, 2, 3], average);
        // a: (1 + 0) / 2, b: 0.5 (the hole at y is passed over, the last query says nothing)
        assert!((judge(Average::Macro).mean_of_argmax(&predicted) - 0.5).abs() < 1e-9);
        assert!((judge(Average::Micro).mean_of_argmax(&predicted) - 0.5).abs() < 1e-9);
        let first = [0.9, 0.1, 0.1, 0.9, 0.9, 0.1, 0.5, 0.5];
        assert!((judge(Average::Macro).mean_of_argmax(&first) - 0.75).abs() < 1e-9);
        assert!((judge(Average::Micro).mean_of_argmax(&first) - 2.5 / 3.0).abs() < 1e-9);
    }
}
