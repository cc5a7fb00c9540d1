//! Bootstrap standard errors, seeded. Unit: that of the mean; lower is surer.
//!
//! Micro averages resample queries; macro averages resample queries within each source, because the set of
//! sources is what the report is about, not a sample of something.

use super::{Average, JudgeOptions, Sources};
use rand::RngExt;
use routewright_data::rng;
use serde::{Deserialize, Serialize};

/// Standard error of the average of one value a query (`NaN` left out), by `bootstrap_rounds` resamples.
///
/// `None` when no query has a value or fewer than two rounds are asked for. A source with a single query
/// adds no spread to a macro average: its own variance cannot be seen.
pub fn standard_error(values: &[f64], sources: &Sources, options: &JudgeOptions) -> Option<f64> {
    let strata = strata(values, sources, options.average);
    if strata.is_empty() || options.bootstrap_rounds < 2 {
        return None;
    }
    let mut rng = rng::stream(options.seed, "bootstrap");
    let mut resample = |stratum: &Vec<f64>| {
        let n = stratum.len();
        (0..n).map(|_| stratum[rng.random_range(0..n)]).sum::<f64>() / n as f64
    };
    let round = |_| strata.iter().map(&mut resample).sum::<f64>() / strata.len() as f64;
    let means: Vec<f64> = (0..options.bootstrap_rounds).map(round).collect();
    Some(standard_deviation(&means))
}

/// Spread of a figure of the queries over `rounds` resamples; `figure` is given the weight of each query,
/// which sum to 1 under the average asked for and are 0 for queries that are not `kept`.
///
/// Rounds in which the figure does not exist are left out; `None` when fewer than two are left.
pub(super) fn spread(
    kept: &[bool],
    sources: &Sources,
    options: &JudgeOptions,
    rounds: usize,
    mut figure: impl FnMut(&[f64]) -> Option<f64>,
) -> Option<f64> {
    let positions: Vec<f64> = (0..kept.len()).map(|q| if kept[q] { q as f64 } else { f64::NAN }).collect();
    let strata = strata(&positions, sources, options.average);
    let mut rng = rng::stream(options.seed, "bootstrap of a figure");
    let mut values = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let mut weights = vec![0.0; kept.len()];
        for stratum in &strata {
            let n = stratum.len();
            let each = 1.0 / (n * strata.len()) as f64;
            (0..n).for_each(|_| weights[stratum[rng.random_range(0..n)] as usize] += each);
        }
        values.extend(figure(&weights));
    }
    (values.len() >= 2).then(|| standard_deviation(&values))
}

/// How two policies differ on the same queries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedDifference {
    /// Average score of the first minus that of the second; the mean over seeds where several were fitted.
    pub difference: f64,
    /// Its standard error by paired bootstrap: a query is drawn for both at once. With several seeds it
    /// includes their spread.
    pub standard_error: f64,
    /// Queries covered by both, with every seed.
    pub n_queries: usize,
}

impl PairedDifference {
    /// Whether it is more than `z` standard errors from 0, in either direction.
    pub fn is_beyond(&self, z: f64) -> bool {
        self.difference.abs() > z * self.standard_error
    }
}

/// Compares two policies query by query; `None` when no query is covered by both or no rounds are asked for.
///
/// `first` and `second` have one value a query, `NaN` where uncovered.
pub fn paired_difference(
    first: &[f64],
    second: &[f64],
    sources: &Sources,
    options: &JudgeOptions,
) -> Option<PairedDifference> {
    let differences = first.iter().zip(second).map(|(a, b)| a - b).collect();
    let (mean, standard_error) = over_seeds(&[differences], sources, options)?;
    Some(PairedDifference {
        difference: mean,
        standard_error: standard_error?,
        n_queries: first.iter().zip(second).filter(|(a, b)| !(*a - *b).is_nan()).count(),
    })
}

/// Mean over seeds of the average over queries, and its standard error; `runs` has a value a query for every
/// seed.
///
/// The error is the root of two variances: that of the mean over seeds when queries are resampled, and that
/// of the mean when seeds are. The noise both share counts twice, so it errs on the wide side.
pub(super) fn over_seeds(
    runs: &[Vec<f64>],
    sources: &Sources,
    options: &JudgeOptions,
) -> Option<(f64, Option<f64>)> {
    let means: Option<Vec<f64>> = runs.iter().map(|run| sources.mean(run, options.average)).collect();
    let means = means.filter(|means| !means.is_empty())?;
    let n = means.len() as f64;
    let mean = means.iter().sum::<f64>() / n;
    let seeds = seed_sd(&means).map_or(0.0, |sd| sd * sd / n);
    let by_query = mean_of_runs(runs);
    let se = standard_error(&by_query, sources, options).map(|se| (se * se + seeds).sqrt());
    Some((mean, se))
}

/// Standard deviation over seeds; `None` for one.
pub(super) fn seed_sd(values: &[f64]) -> Option<f64> {
    (values.len() > 1).then(|| standard_deviation(values))
}

/// The mean over runs of each query, over those runs in which it has a value.
fn mean_of_runs(runs: &[Vec<f64>]) -> Vec<f64> {
    let mean = |query: usize| {
        let present = runs.iter().map(|run| run[query]).filter(|value| !value.is_nan());
        let (sum, n) = present.fold((0.0, 0), |(sum, n), value| (sum + value, n + 1));
        if n > 0 { sum / f64::from(n) } else { f64::NAN }
    };
    (0..runs.first().map_or(0, Vec::len)).map(mean).collect()
}

/// What is resampled together; no stratum is empty.
fn strata(values: &[f64], sources: &Sources, average: Average) -> Vec<Vec<f64>> {
    let n_strata = if average == Average::Macro { sources.names().len() } else { 1 };
    let mut strata = vec![Vec::new(); n_strata];
    for (query, &value) in values.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
        let stratum = if average == Average::Macro { sources.of_query(query) } else { 0 };
        strata[stratum].push(value);
    }
    strata.retain(|stratum| !stratum.is_empty());
    strata
}

fn standard_deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::{near, table};

    fn options(average: Average) -> JudgeOptions {
        JudgeOptions { average, seed: 3, bootstrap_rounds: 4000 }
    }

    /// 100 queries of source `a` that score 0 and 1 in turn, one of source `b`.
    fn sources() -> (Sources, Vec<f64>) {
        let names: Vec<&str> = (0..101).map(|i| if i < 100 { "a" } else { "b" }).collect();
        let values = (0..101).map(|i| f64::from(i % 2)).collect();
        (Sources::of(&table(&names, &[0.0; 101], &[0.0; 101])), values)
    }

    #[test]
    fn the_spread_is_that_of_the_mean() {
        let (sources, mut values) = sources();
        values[100] = f64::NAN;
        // Population deviation 0.5 over the square root of 100 queries is 0.05; 4000 rounds are within 5 %.
        let micro = standard_error(&values, &sources, &options(Average::Micro)).unwrap();
        assert!((micro - 0.05).abs() < 0.0025, "{micro}");
        // Two sources, one without spread: half of it.
        values[100] = 1.0;
        let mean = standard_error(&values, &sources, &options(Average::Macro)).unwrap();
        assert!((mean - 0.025).abs() < 0.00125, "{mean}");
        assert_eq!(Some(mean), standard_error(&values, &sources, &options(Average::Macro)));
    }

    #[test]
    fn a_paired_difference_does_not_see_what_both_share() {
        let (sources, values) = sources();
        let better: Vec<f64> = values.iter().map(|v| v + 0.125).collect();
        let paired = paired_difference(&better, &values, &sources, &options(Average::Micro)).unwrap();
        assert!(near(paired.difference, 0.125) && paired.standard_error < 1e-12, "{paired:?}");
        assert_eq!(paired.n_queries, 101);
    }

    #[test]
    fn the_error_of_a_mean_over_seeds_includes_their_spread() {
        let (sources, values) = sources();
        let options = options(Average::Micro);
        let one = standard_error(&values, &sources, &options).unwrap();
        let run = |shift: f64| values.iter().map(|value| value + shift).collect::<Vec<f64>>();
        let runs = [run(-0.1), run(0.0), run(0.1)];
        let (mean, se) = over_seeds(&runs, &sources, &options).unwrap();
        assert!(near(mean, sources.mean(&values, Average::Micro).unwrap()));
        // The sd of -0.1, 0, 0.1 is 0.1; a third of its square is added.
        assert!(near(se.unwrap(), (one * one + 0.01 / 3.0).sqrt()), "{se:?} {one}");
    }

    #[test]
    fn a_resampled_figure_spreads_as_the_mean_does() {
        let (sources, values) = sources();
        let kept = [vec![true; 100], vec![false]].concat();
        let figure = |weights: &[f64]| {
            assert!(near(weights.iter().sum::<f64>(), 1.0) && weights[100] == 0.0);
            Some(weights.iter().zip(&values).map(|(w, v)| w * v).sum())
        };
        let found = spread(&kept, &sources, &options(Average::Micro), 4000, figure).unwrap();
        assert!((found - 0.05).abs() < 0.0025, "{found}");
    }

    #[test]
    fn nothing_covered_has_no_error_bar() {
        let sources = Sources::single(2);
        assert_eq!(standard_error(&[f64::NAN; 2], &sources, &options(Average::Macro)), None);
        assert_eq!(paired_difference(&[f64::NAN; 2], &[0.0; 2], &sources, &options(Average::Macro)), None);
    }
}
