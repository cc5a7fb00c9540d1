//! A policy beside one model that is always called: money saved and score lost, with their standard errors.

use crate::evaluate::{Average, Decisions, Sources, query_costs, query_scores};
use crate::methods::baselines::means;
use routewright_data::{Cells, OutcomeTable};
use routewright_policy::artifact::Saving;

/// One model called on every query, and what that scores and costs.
#[derive(Debug, Clone, PartialEq)]
pub struct Always {
    /// The model.
    pub model: String,
    /// Its position among the models of the table.
    pub arm: usize,
    /// Its mean score.
    pub score: f64,
    /// Its mean cost in US dollars, where known.
    pub cost_usd: Option<f64>,
    /// Whether no other model costs less on average.
    pub is_cheapest: bool,
}

impl Always {
    /// The model of the best mean score of `table`, the cheaper of equals; `None` if no cell has a score.
    pub fn best(table: &OutcomeTable, average: Average) -> Option<Self> {
        Self::of(table, &table.models[means::best_single(table, average)?], average)
    }

    /// A model of `table` by name; `None` if it has no score there.
    pub fn of(table: &OutcomeTable, model: &str, average: Average) -> Option<Self> {
        let sources = Sources::of(table);
        let arm = table.models.iter().position(|name| name == model)?;
        let score = means::column_means(&table.score, &sources, average)[arm]?;
        let costs = means::column_means(&table.cost_usd, &sources, average);
        let (cost_usd, least) = (costs[arm], costs.iter().flatten().copied().fold(f64::INFINITY, f64::min));
        Some(Self {
            model: model.to_owned(),
            arm,
            score,
            cost_usd,
            is_cheapest: cost_usd.is_some_and(|usd| usd <= least),
        })
    }

    /// What `decisions` save on the queries of `table` against this model; `None` where no query has score and cost
    /// of both, or the model costs nothing on them.
    pub fn saving(&self, decisions: &Decisions, table: &OutcomeTable, average: Average) -> Option<Saving> {
        let (scores, costs) = (query_scores(decisions, table), query_costs(decisions, table));
        let model = |cells: &Cells, row: usize| f64::from(cells.row(row)[self.arm]);
        let known = |row: &usize| {
            let figures =
                [scores[*row], costs[*row], model(&table.score, *row), model(&table.cost_usd, *row)];
            figures.iter().all(|figure| figure.is_finite())
        };
        let kept: Vec<usize> = (0..table.n_queries()).filter(known).collect();
        let strata = Strata::of(table, &kept, average);
        let usd: Vec<f64> = kept.iter().map(|&row| costs[row]).collect();
        let model_usd: Vec<f64> = kept.iter().map(|&row| model(&table.cost_usd, row)).collect();
        let (mean_usd, _) = strata.mean(&usd)?;
        let (mean_model_usd, _) = strata.mean(&model_usd)?;
        if mean_model_usd <= 0.0 {
            return None;
        }
        let ratio = mean_usd / mean_model_usd;
        let differences: Vec<f64> = kept.iter().map(|&row| scores[row] - model(&table.score, row)).collect();
        let (difference, standard_error) = strata.mean(&differences)?;
        // A ratio of means spreads as the mean of its residuals does (Cochran, Sampling Techniques, section 6.4).
        let residuals: Vec<f64> =
            usd.iter().zip(&model_usd).map(|(a, b)| (a - ratio * b) / mean_model_usd).collect();
        let (_, saving_se) = strata.mean(&residuals)?;
        Some(Saving {
            against: self.model.clone(),
            saving: 1.0 - ratio,
            saving_se,
            difference,
            standard_error,
            cost_usd: mean_usd,
            n_queries: kept.len(),
        })
    }
}

/// What is averaged first: all queries under micro, those of each source under macro.
struct Strata {
    of_query: Vec<usize>,
    n: usize,
}

impl Strata {
    fn of(table: &OutcomeTable, kept: &[usize], average: Average) -> Self {
        let sources = Sources::of(table);
        match average {
            Average::Micro => Self { of_query: vec![0; kept.len()], n: 1 },
            Average::Macro => Self {
                of_query: kept.iter().map(|&row| sources.of_query(row)).collect(),
                n: sources.names().len(),
            },
        }
    }

    /// Mean over strata of the means within, and its standard error; `None` without a value. A stratum of one query
    /// adds no spread, as in [`crate::evaluate::standard_error`].
    fn mean(&self, values: &[f64]) -> Option<(f64, f64)> {
        let mut groups: Vec<Vec<f64>> = vec![Vec::new(); self.n];
        for (&stratum, &value) in self.of_query.iter().zip(values) {
            groups[stratum].push(value);
        }
        groups.retain(|group| !group.is_empty());
        let n_groups = groups.len() as f64;
        let (mut mean, mut variance) = (0.0, 0.0);
        for group in &groups {
            let n = group.len() as f64;
            let own = group.iter().sum::<f64>() / n;
            mean += own / n_groups;
            if n > 1.0 {
                let squares: f64 = group.iter().map(|value| (value - own).powi(2)).sum();
                variance += squares / (n - 1.0) / n / (n_groups * n_groups);
            }
        }
        (n_groups > 0.0).then_some((mean, variance.sqrt()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::{near, table};

    /// `y` is best with 1, 0, 1 at 4, 2, 3 dollars; the policy takes `x` on the first query only: 0 at 1 dollar.
    #[test]
    fn savings_and_losses_of_a_small_case() {
        let outcomes =
            table(&["a", "a", "b"], &[0.0, 1.0, 0.0, 0.0, 0.5, 1.0], &[1.0, 4.0, 1.0, 2.0, 1.0, 3.0]);
        let best = Always::best(&outcomes, Average::Micro).unwrap();
        assert_eq!((best.model.as_str(), best.is_cheapest), ("y", false));
        let decisions = Decisions::deterministic(&[0, 1, 1], 2);
        let found = best.saving(&decisions, &outcomes, Average::Micro).unwrap();
        // Costs 1 + 2 + 3 = 6 of 9; differences -1, 0, 0: mean -1/3, variance 1/3, standard error 1/3.
        assert!(near(found.saving, 1.0 / 3.0) && near(found.cost_usd, 2.0), "{found:?}");
        assert!(near(found.difference, -1.0 / 3.0) && near(found.standard_error, 1.0 / 3.0), "{found:?}");
        // Residuals (1 - 8/3, 2 - 4/3, 3 - 2) / 3 = (-5/9, 2/9, 3/9): sum of squares 38/81, se sqrt(38/81/2/3).
        assert!(near(found.saving_se, (38.0_f64 / 81.0 / 6.0).sqrt()), "{found:?}");
        // Sources weigh the same: a saves 3 of 6 dollars (mean 1.5 of 3), b none of 3.
        let found = best.saving(&decisions, &outcomes, Average::Macro).unwrap();
        assert!(near(found.saving, 1.0 - 2.25 / 3.0) && near(found.difference, -0.25), "{found:?}");
        assert!(near(found.standard_error, 0.25), "{found:?}");
    }

    #[test]
    fn queries_without_both_are_left_out() {
        let none = f32::NAN;
        let outcomes =
            table(&["a", "a", "a"], &[0.5, 1.0, 0.5, 1.0, 0.5, none], &[1.0, 2.0, none, 2.0, 1.0, 2.0]);
        let best = Always::best(&outcomes, Average::Micro).unwrap();
        let found = best.saving(&Decisions::deterministic(&[0, 0, 0], 2), &outcomes, Average::Micro).unwrap();
        assert_eq!((found.n_queries, found.saving, found.difference), (1, 0.5, -0.5));
        let unpriced = table(&["a"], &[0.5, 1.0], &[1.0, none]);
        let best = Always::best(&unpriced, Average::Micro).unwrap();
        assert_eq!(best.cost_usd, None);
        assert_eq!(best.saving(&Decisions::deterministic(&[0], 2), &unpriced, Average::Micro), None);
        let free = table(&["a"], &[0.5, 1.0], &[1.0, 0.0]);
        let best = Always::best(&free, Average::Micro).unwrap();
        assert!(best.is_cheapest);
        assert_eq!(best.saving(&Decisions::deterministic(&[0], 2), &free, Average::Micro), None);
    }
}
