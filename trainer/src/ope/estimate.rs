//! From rounds to values with intervals, and to differences on the same rounds.

use super::parameters::resolve;
use super::{Estimator, LostMass, OpeError, Parameter, Parameters, Round, Terms, Tuned, bootstrap};
use serde::Serialize;

/// Two-sided level of every interval.
pub(super) const LEVEL: f64 = 0.95;

/// How values are estimated.
#[derive(Debug, Clone, PartialEq)]
pub struct EstimateOptions {
    /// Resamples of the bootstrap; 0 for none, and then no errors and no intervals.
    pub bootstrap: usize,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Greatest weight of `clipped-ips`.
    pub clip: Tuned,
    /// Threshold of `switch-dr`.
    pub tau: Tuned,
    /// Shrinkage of `dros`.
    pub lambda: Tuned,
}

impl Default for EstimateOptions {
    fn default() -> Self {
        Self { bootstrap: 1000, seed: 0, clip: Tuned::Auto, tau: Tuned::Auto, lambda: Tuned::Auto }
    }
}

/// A difference of two values, each estimated on the same rounds and the same resamples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// The target's value minus the other one.
    pub difference: f64,
    /// Its bootstrap standard error.
    pub standard_error: Option<f64>,
    /// Its 95 % interval, percentiles of the bootstrap.
    pub interval: Option<[f64; 2]>,
    /// Lower end of the interval: the gain is at least this, in 97.5 of 100 logs.
    pub lower_bound: Option<f64>,
}

/// What an estimator says the target policy is worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// Name of the estimator.
    pub estimator: &'static str,
    /// The parameter it used, where it has one.
    pub parameter: Option<f64>,
    /// The value; `None` where no round counts.
    pub value: Option<f64>,
    /// Its bootstrap standard error.
    pub standard_error: Option<f64>,
    /// Its 95 % interval, percentiles of the bootstrap.
    pub interval: Option<[f64; 2]>,
    /// Lower end of the interval.
    pub lower_bound: Option<f64>,
    /// The value minus the mean logged reward.
    pub vs_logged: Option<Difference>,
    /// The value minus that of the baseline policy by the same estimator.
    pub vs_baseline: Option<Difference>,
    /// The baseline's value by the same estimator.
    pub baseline_value: Option<f64>,
}

/// What the logging policy's own decisions were worth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Logged {
    /// Mean logged reward.
    pub value: f64,
    /// Its bootstrap standard error.
    pub standard_error: Option<f64>,
    /// Its 95 % interval.
    pub interval: Option<[f64; 2]>,
    /// Interval of the mean importance weight, which should hold 1.
    pub mean_weight_interval: Option<[f64; 2]>,
}

/// Rounds of the target policy, and of a baseline on the same log rows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample<'a> {
    /// The target's.
    pub target: &'a [Round],
    /// The baseline's, of the same length and order.
    pub baseline: Option<&'a [Round]>,
    /// What shrinkage loses of the target and of the baseline; where unknown, parameters left to the data
    /// shrink nothing.
    pub lost: [Option<&'a LostMass>; 2],
}

/// One side of a comparison with its parameters.
struct Side<'a> {
    rounds: &'a [Round],
    parameters: Parameters,
    /// Column at which its terms begin.
    first: usize,
}

/// Columns before those of the estimators: mass, mass x reward, mass x weight.
const FIXED: usize = 3;

/// Estimates the value of the target policy with every estimator.
///
/// # Errors
/// If a parameter or the number of resamples is not valid.
pub fn estimate(
    sample: &Sample<'_>,
    estimators: &[&Estimator],
    options: &EstimateOptions,
) -> Result<(Logged, Vec<Estimate>), OpeError> {
    if options.bootstrap == 1 || options.bootstrap > 100_000 {
        return Err(OpeError::Bootstrap { rounds: options.bootstrap });
    }
    let asked =
        [(Parameter::Clip, options.clip), (Parameter::Tau, options.tau), (Parameter::Lambda, options.lambda)];
    let width: usize = estimators.iter().map(|e| width(e)).sum();
    let mut sides = Vec::new();
    for (rounds, lost) in [Some(sample.target), sample.baseline].into_iter().flatten().zip(sample.lost) {
        let parameters = resolve(rounds, lost, estimators, &asked)?;
        sides.push(Side { rounds, parameters, first: FIXED + sides.len() * width });
    }
    let n_columns = FIXED + sides.len() * width;
    let mut totals = vec![0.0; n_columns];
    for at in 0..sample.target.len() {
        let mut column = 0;
        each_term(&sides, estimators, at, |term| {
            totals[column] += term;
            column += 1;
        });
    }
    let sums = bootstrap::resampled_sums(
        sample.target.len(),
        n_columns,
        options.bootstrap,
        options.seed,
        |range, out| {
            let size = range.len();
            for (i, at) in range.enumerate() {
                let mut column = 0;
                each_term(&sides, estimators, at, |term| {
                    out[column * size + i] = term;
                    column += 1;
                });
            }
        },
    );
    let resampled = Resampled { totals, sums, n_columns };
    Ok((logged(&resampled), estimates(&resampled, &sides, estimators)))
}

/// Columns of an estimator.
fn width(estimator: &Estimator) -> usize {
    if estimator.is_normalized { 3 } else { 1 }
}

/// Every column of one round, in order.
fn each_term(sides: &[Side<'_>], estimators: &[&Estimator], at: usize, mut push: impl FnMut(f64)) {
    let Some(target) = sides.first().map(|side| &side.rounds[at]) else { return };
    push(target.mass);
    push(target.mass * target.reward);
    push(target.mass * target.importance);
    for side in sides {
        let round = &side.rounds[at];
        for estimator in estimators {
            let Terms { direct, corrected, norm } = (estimator.terms)(round, &side.parameters);
            push(round.mass * direct);
            if estimator.is_normalized {
                push(round.mass * corrected);
                push(round.mass * norm);
            }
        }
    }
}

/// Sums over the sample and over each of its resamples.
struct Resampled {
    totals: Vec<f64>,
    sums: Vec<f64>,
    n_columns: usize,
}

/// A statistic on the sample and on its resamples.
struct Statistic {
    value: Option<f64>,
    resampled: Vec<f64>,
}

impl Resampled {
    fn statistic(&self, of: impl Fn(&[f64]) -> Option<f64>) -> Statistic {
        let resampled = self.sums.chunks_exact(self.n_columns).filter_map(&of).collect();
        Statistic { value: of(&self.totals), resampled }
    }
}

impl Statistic {
    fn standard_error(&self) -> Option<f64> {
        let n = self.resampled.len() as f64;
        let mean = self.resampled.iter().sum::<f64>() / n;
        let square: f64 = self.resampled.iter().map(|v| (v - mean).powi(2)).sum();
        (n >= 2.0).then(|| (square / (n - 1.0)).sqrt())
    }

    fn interval(&self) -> Option<[f64; 2]> {
        let mut ascending = self.resampled.clone();
        ascending.sort_by(f64::total_cmp);
        let tail = (1.0 - LEVEL) / 2.0;
        (ascending.len() >= 2)
            .then(|| [bootstrap::quantile(&ascending, tail), bootstrap::quantile(&ascending, 1.0 - tail)])
    }

    fn difference(&self) -> Option<Difference> {
        let interval = self.interval();
        Some(Difference {
            difference: self.value?,
            standard_error: self.standard_error(),
            interval,
            lower_bound: interval.map(|i| i[0]),
        })
    }
}

fn logged(resampled: &Resampled) -> Logged {
    let mean = resampled.statistic(|sums| Some(sums[1] / sums[0]));
    let weight = resampled.statistic(|sums| Some(sums[2] / sums[0]));
    Logged {
        value: mean.value.unwrap_or(f64::NAN),
        standard_error: mean.standard_error(),
        interval: mean.interval(),
        mean_weight_interval: weight.interval(),
    }
}

/// The value of an estimator whose columns begin at `first`.
fn value(estimator: &Estimator, first: usize, sums: &[f64]) -> Option<f64> {
    let direct = sums[first] / sums[0];
    if !estimator.is_normalized {
        return Some(direct);
    }
    let (corrected, norm) = (sums[first + 1], sums[first + 2]);
    (norm > 0.0).then(|| direct + corrected / norm)
}

fn estimates(resampled: &Resampled, sides: &[Side<'_>], estimators: &[&Estimator]) -> Vec<Estimate> {
    let mut offset = 0;
    let mut out = Vec::new();
    for estimator in estimators {
        let of = |side: &Side<'_>, sums: &[f64]| value(estimator, side.first + offset, sums);
        let own = resampled.statistic(|sums| of(&sides[0], sums));
        let vs_logged = resampled.statistic(|sums| Some(of(&sides[0], sums)? - sums[1] / sums[0]));
        let baseline = sides.get(1);
        let vs_baseline =
            baseline.map(|b| resampled.statistic(|sums| Some(of(&sides[0], sums)? - of(b, sums)?)));
        let interval = own.interval();
        out.push(Estimate {
            estimator: estimator.name,
            parameter: estimator.parameter.map(|p| sides[0].parameters.get(p)),
            value: own.value,
            standard_error: own.standard_error(),
            interval,
            lower_bound: interval.map(|i| i[0]),
            vs_logged: vs_logged.difference(),
            vs_baseline: vs_baseline.as_ref().and_then(Statistic::difference),
            baseline_value: baseline.and_then(|b| of(b, &resampled.totals)),
        });
        offset += width(estimator);
    }
    out
}
