//! From rounds to values with intervals, and to differences on the same rounds.

use super::interval::{Influence, Interval, Spread, Weighted};
use super::parameters::{UNSHRUNK, bias_bound, resolve};
use super::rounds::Clusters;
use super::{
    Cross, Estimator, LostMass, OpeError, Overlap, Parameter, Parameters, Round, Terms, Tuned, percentiles,
};
use serde::Serialize;

/// How values are estimated.
#[derive(Debug, Clone, PartialEq)]
pub struct EstimateOptions {
    /// Resamples of a percentile bootstrap that is reported beside the intervals; 0 for none.
    pub bootstrap: usize,
    /// Seed of the bootstrap and of rejection sampling.
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
        Self { bootstrap: 0, seed: 0, clip: Tuned::Auto, tau: Tuned::Auto, lambda: Tuned::Auto }
    }
}

/// A difference of two values, each estimated on the same rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// The target's value minus the other one.
    pub difference: f64,
    /// Its standard error.
    pub standard_error: Option<f64>,
    /// Its 95 % interval.
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
    /// What shrinking its weights can have moved the value by, at most; absent where it shrinks none. The intervals
    /// reach further by it: they hold for the value of the policy, not for that of shrunk weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias_bound: Option<f64>,
    /// Its standard error.
    pub standard_error: Option<f64>,
    /// Its 95 % interval.
    pub interval: Option<[f64; 2]>,
    /// Lower end of the interval.
    pub lower_bound: Option<f64>,
    /// The 95 % percentile interval of the bootstrap, where one was asked for; too short with few effective rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap_interval: Option<[f64; 2]>,
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
    /// Its standard error.
    pub standard_error: Option<f64>,
    /// Its 95 % interval.
    pub interval: Option<[f64; 2]>,
    /// Interval of the mean importance weight, which should hold 1.
    pub mean_weight_interval: Option<[f64; 2]>,
    /// The same of the baseline policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_weight_interval: Option<[f64; 2]>,
}

/// Rounds of the target policy, and of a baseline on the same log rows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample<'a> {
    /// The target's.
    pub target: &'a [Round],
    /// The baseline's, of the same length and order.
    pub baseline: Option<&'a [Round]>,
    /// Moments of both weights together, of the same length and order; the differences to the baseline have
    /// intervals of the sample's moments without them.
    pub cross: Option<&'a [Cross]>,
    /// What shrinkage loses of the target and of the baseline; where unknown, parameters left to the data
    /// shrink nothing.
    pub lost: [Option<&'a LostMass>; 2],
}

/// One side of a comparison with its parameters.
pub(super) struct Side<'a> {
    pub(super) rounds: &'a [Round],
    pub(super) parameters: Parameters,
    lost: Option<&'a LostMass>,
    ess: f64,
}

/// A side as one estimator sees it: its value and what its influence values are made of.
struct Fit<'a> {
    side: &'a Side<'a>,
    estimator: &'a Estimator,
    /// Mean of `direct`.
    direct: f64,
    /// `sum corrected / sum norm`; 0 for a plain mean.
    ratio: f64,
    /// Mean of `norm`; 1 for a plain mean.
    norm: f64,
}

/// Means of the sample that every statistic is centred by.
#[derive(Clone, Copy)]
struct Means {
    mass: f64,
    reward: f64,
}

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
    let mut sides = Vec::new();
    for (rounds, lost) in [Some(sample.target), sample.baseline].into_iter().flatten().zip(sample.lost) {
        let parameters = resolve(rounds, lost, estimators, &asked)?;
        sides.push(Side { rounds, parameters, lost, ess: Overlap::of(rounds).ess });
    }
    let clusters = Clusters::of(sample.target);
    let percentiles = percentiles::intervals(&sides, estimators, &clusters, options);
    let mass: f64 = sample.target.iter().map(|round| round.mass).sum();
    let reward = sample.target.iter().map(|round| round.mass * round.reward).sum::<f64>() / mass;
    let judge = Judge {
        sample,
        sides: &sides,
        clusters: &clusters,
        means: Means { mass: mass / sample.target.len() as f64, reward },
    };
    let estimates = estimators.iter().zip(percentiles);
    let estimates = estimates.map(|(estimator, percentile)| judge.estimate(estimator, percentile)).collect();
    Ok((judge.logged(), estimates))
}

/// What every statistic is made from.
struct Judge<'a> {
    sample: &'a Sample<'a>,
    sides: &'a [Side<'a>],
    clusters: &'a Clusters,
    means: Means,
}

impl Judge<'_> {
    /// The interval of a statistic from its influence on each round.
    fn interval(&self, ess: f64, of: impl Fn(usize) -> Influence) -> Option<Interval> {
        let mut spread = Spread::default();
        self.clusters.iter().for_each(|(at, is_last)| spread.add(of(at), is_last));
        spread.interval(ess)
    }

    fn logged(&self) -> Logged {
        let Means { mass, reward } = self.means;
        let mean = self.interval(f64::INFINITY, |at| self.reward(at));
        let weight = |side: &Side<'_>| {
            let total: f64 = side.rounds.iter().map(|round| round.mass * round.importance).sum();
            let mean = total / (mass * side.rounds.len() as f64);
            let found = self.interval(side.ess, |at| {
                let round = &side.rounds[at];
                let scale = round.mass / mass;
                let weighted = Weighted {
                    weight: scale * round.importance,
                    residual: 1.0,
                    square: scale * scale * round.square,
                    cube: scale.powi(3) * round.cube,
                };
                Influence { psi: scale * (round.importance - mean), weighted: Some(weighted) }
            });
            found.map(|found| found.around(mean))
        };
        Logged {
            value: reward,
            standard_error: mean.map(|mean| mean.standard_error),
            interval: mean.map(|mean| mean.around(reward)),
            mean_weight_interval: self.sides.first().and_then(weight),
            baseline_weight_interval: self.sides.get(1).and_then(weight),
        }
    }

    /// Influence of a round on the mean logged reward.
    fn reward(&self, at: usize) -> Influence {
        let round = &self.sample.target[at];
        Influence { psi: round.mass / self.means.mass * (round.reward - self.means.reward), weighted: None }
    }

    fn estimate(&self, estimator: &Estimator, bootstrap_interval: Option<[f64; 2]>) -> Estimate {
        let parameter = |side: &Side<'_>| estimator.parameter.map(|p| side.parameters.get(p));
        let fits: Vec<Option<Fit<'_>>> =
            self.sides.iter().map(|side| Fit::of(side, estimator, self.means.mass)).collect();
        let mut estimate = Estimate {
            estimator: estimator.name,
            parameter: self.sides.first().and_then(parameter),
            value: None,
            bias_bound: None,
            standard_error: None,
            interval: None,
            lower_bound: None,
            bootstrap_interval,
            vs_logged: None,
            vs_baseline: None,
            baseline_value: fits.get(1).and_then(|fit| fit.as_ref().map(Fit::value)),
        };
        let Some(Some(own)) = fits.first() else { return estimate };
        let mass = self.means.mass;
        let bias = own.bias();
        estimate.bias_bound = bias;
        let bias = bias.unwrap_or(0.0);
        let alone =
            self.interval(own.side.ess, |at| own.influence(at, mass)).map(|found| found.widened(bias));
        let interval = alone.map(|found| found.around(own.value()));
        estimate.value = Some(own.value());
        estimate.standard_error = alone.map(|found| found.standard_error);
        (estimate.interval, estimate.lower_bound) = (interval, interval.map(|[low, _]| low));
        let vs_logged = self.interval(own.side.ess, |at| {
            let own = own.influence(at, mass);
            Influence { psi: own.psi - self.reward(at).psi, ..own }
        });
        let vs_logged = vs_logged.map(|found| found.widened(bias));
        estimate.vs_logged = Some(difference(own.value() - self.means.reward, vs_logged));
        if let Some(Some(other)) = fits.get(1) {
            let ess = own.side.ess.min(other.side.ess);
            let found = self.interval(ess, |at| self.versus(own, other, at));
            let found = found.map(|found| found.widened(bias + other.bias().unwrap_or(0.0)));
            estimate.vs_baseline = Some(difference(own.value() - other.value(), found));
        }
        estimate
    }

    /// Influence of a round on the difference of two fits of one estimator.
    fn versus(&self, own: &Fit<'_>, other: &Fit<'_>, at: usize) -> Influence {
        let mass = self.means.mass;
        let psi = own.influence(at, mass).psi - other.influence(at, mass).psi;
        let (Some(residual), Some(cross)) = (own.estimator.residual, self.sample.cross) else {
            return Influence { psi, weighted: None };
        };
        let (round, rival, cross) = (&own.side.rounds[at], &other.side.rounds[at], &cross[at]);
        // The weight of the difference is `a w - b v`.
        let scale = round.mass / mass;
        let (a, b) = (scale / own.norm, scale / other.norm);
        let (own_weight, other_weight) = (own.moments(round), other.moments(rival));
        let weight = a * own_weight.weight - b * other_weight.weight;
        let whole = a * a * round.square - 2.0 * a * b * cross.wv + b * b * rival.square;
        let whole_cube = a.powi(3) * round.cube - 3.0 * a * a * b * cross.wwv + 3.0 * a * b * b * cross.wvv
            - b.powi(3) * rival.cube;
        let (square, cube) = match (own.shrinks(), other.shrinks()) {
            (None, None) => (whole, whole_cube),
            (one, two) => {
                // Neither weight is negative: what they have in common only takes away.
                let apart = a * a * own_weight.square + b * b * other_weight.square;
                let is_smooth =
                    one == two && a == b && one.is_some_and(|(parameter, _)| parameter.is_smooth());
                (if is_smooth { apart.min(whole) } else { apart }, weight.powi(3))
            }
        };
        let residual = residual(round) - f64::midpoint(own.ratio, other.ratio);
        Influence { psi, weighted: Some(Weighted { weight, residual, square, cube }) }
    }
}

/// A weight as drawn, and bounds of its mean square and cube over the arms that could have been drawn.
struct Moments {
    weight: f64,
    square: f64,
    cube: f64,
}

impl<'a> Fit<'a> {
    /// `None` where a ratio has nothing below it.
    fn of(side: &'a Side<'a>, estimator: &'a Estimator, mass: f64) -> Option<Self> {
        let (mut direct, mut corrected, mut norm) = (0.0, 0.0, 0.0);
        for round in side.rounds {
            let terms = (estimator.terms)(round, &side.parameters);
            direct += round.mass * terms.direct;
            corrected += round.mass * terms.corrected;
            norm += round.mass * terms.norm;
        }
        let total = mass * side.rounds.len() as f64;
        let fit = Self { side, estimator, direct: direct / total, ratio: 0.0, norm: 1.0 };
        if !estimator.is_normalized {
            return Some(fit);
        }
        (norm > 0.0).then(|| Self { ratio: corrected / norm, norm: norm / total, ..fit })
    }

    fn value(&self) -> f64 {
        self.direct + self.ratio
    }

    fn influence(&self, at: usize, mass: f64) -> Influence {
        let round = &self.side.rounds[at];
        let Terms { direct, corrected, norm } = (self.estimator.terms)(round, &self.side.parameters);
        let scale = round.mass / mass;
        let psi = scale * (direct - self.direct + (corrected - self.ratio * norm) / self.norm);
        let weighted = |residual: fn(&Round) -> f64| {
            let (factor, found) = (scale / self.norm, self.moments(round));
            Weighted {
                weight: factor * found.weight,
                residual: residual(round) - self.ratio,
                square: factor * factor * found.square,
                cube: factor.powi(3) * found.cube,
            }
        };
        Influence { psi, weighted: self.estimator.residual.map(weighted) }
    }

    /// The parameter that shrinks its weights and its value; `None` where they stay whole.
    fn shrinks(&self) -> Option<(Parameter, f64)> {
        let parameter = self.estimator.parameter?;
        Some((parameter, self.side.parameters.get(parameter))).filter(|(_, value)| *value < UNSHRUNK)
    }

    /// What shrinkage can have moved its value by, at most; `None` where it never shrinks.
    fn bias(&self) -> Option<f64> {
        let parameter = self.estimator.parameter?;
        Some(bias_bound(self.side.rounds, self.side.lost, parameter, self.side.parameters.get(parameter)))
    }

    fn moments(&self, round: &Round) -> Moments {
        let Round { importance, square, cube, .. } = *round;
        let Some((parameter, value)) = self.shrinks() else {
            return Moments { weight: importance, square, cube };
        };
        // The mean of a weight is at most 1, whole or shrunk.
        let greatest = parameter.greatest(value);
        let square = square.min(greatest);
        Moments {
            weight: importance * parameter.kept(importance, value),
            square,
            cube: cube.min(greatest * square),
        }
    }
}

fn difference(difference: f64, found: Option<Interval>) -> Difference {
    let interval = found.map(|found| found.around(difference));
    Difference {
        difference,
        standard_error: found.map(|found| found.standard_error),
        interval,
        lower_bound: interval.map(|[low, _]| low),
    }
}
