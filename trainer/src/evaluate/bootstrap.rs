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
