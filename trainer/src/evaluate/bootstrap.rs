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

/// How two policies differ on the same queries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedDifference {
    /// Average score of the first minus that of the second.
    pub difference: f64,
    /// Its standard error by paired bootstrap: a query is drawn for both at once.
    pub standard_error: f64,
    /// Queries covered by both.
    pub n_queries: usize,
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
    let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
    Some(PairedDifference {
        difference: sources.mean(&differences, options.average)?,
        standard_error: standard_error(&differences, sources, options)?,
        n_queries: differences.iter().filter(|d| !d.is_nan()).count(),
    })
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
    fn nothing_covered_has_no_error_bar() {
        let sources = Sources::single(2);
        assert_eq!(standard_error(&[f64::NAN; 2], &sources, &options(Average::Macro)), None);
        assert_eq!(paired_difference(&[f64::NAN; 2], &[0.0; 2], &sources, &options(Average::Macro)), None);
    }
}
