//! The hyper-parameters of estimators, and how they are chosen on the data.
//!
//! `clip`, `tau` and `lambda` trade variance for bias. Each keeps a share `k(w)` of the weight: `min(1, clip/w)`,
//! `1` up to `tau` and `0` above, `lambda / (w^2 + lambda)`. Left to the data, each is the value of a grid with
//! the least bound on the mean squared error
//!
//! ```text
//! variance of the mean  +  (R  mean_i sum_a pi(a) (1 - k(pi(a) / p(a))))^2
//! ```
//!
//! the second term being the mass of the target policy that shrinkage loses ([`LostMass`]) times the greatest
//! error `R` it can matter by: the greatest `|r - q|` of the sample, or `|r|` for clipped IPS, which has no
//! model. This is the rule of Switch (Wang, Agarwal and Dudik 2017, section 3.2), applied to the shrinkage of
//! DRos as Su, Dimakopoulou, Krishnamurthy and Dudik 2020 do. A bias estimated from the weighted rounds
//! themselves is no use here: it is as noisy as what shrinkage removes.
//!
//! Deviation: 1. the greatest error of the sample stands for the known range of rewards.

use super::{Estimator, OpeError, Round};

/// Values tried where a parameter is left to the data; the last changes nothing in practice.
const GRID: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, UNSHRUNK];
/// Value from which a parameter changes nothing in practice.
pub const UNSHRUNK: f64 = 1e9;

/// Parameters of an estimator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameters {
    /// Greatest weight of clipped IPS.
    pub clip: f64,
    /// Greatest weight at which Switch-DR still corrects the reward model.
    pub tau: f64,
    /// Shrinkage of DRos: 0 is the direct method, infinity is DR.
    pub lambda: f64,
    /// Greatest importance weight of the sample: the bound of rejection sampling.
    pub weight_max: f64,
}

/// Which of them an estimator reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Parameter {
    /// [`Parameters::clip`].
    Clip,
    /// [`Parameters::tau`].
    Tau,
    /// [`Parameters::lambda`].
    Lambda,
}

impl Parameter {
    const ALL: [Self; 3] = [Self::Clip, Self::Tau, Self::Lambda];

    /// Share of the weight `w` that is kept at `value`.
    pub(super) fn kept(self, w: f64, value: f64) -> f64 {
        match self {
            _ if w <= 0.0 => 1.0,
            Self::Clip => (value / w).min(1.0),
            Self::Tau => f64::from(u8::from(w <= value)),
            Self::Lambda => value / (w * w + value),
        }
    }

    /// The greatest a weight can be once it is shrunk at `value`.
    pub(super) fn greatest(self, value: f64) -> f64 {
        match self {
            Self::Clip | Self::Tau => value,
            Self::Lambda => value.sqrt() / 2.0,
        }
    }

    /// Whether the shrunk weights of two policies differ by no more than the weights do.
    pub(super) fn is_smooth(self) -> bool {
        !matches!(self, Self::Tau)
    }
}

/// Mass of the target policy that each parameter loses at each value of the grid, summed over rounds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LostMass {
    mass: f64,
    lost: [[f64; GRID.len()]; 3],
}

impl LostMass {
    /// Adds a round: what the row counts for, and the probabilities of target and logging policy.
    ///
    /// Arms that were never logged are lost to every weight, shrunk or not; they are not counted.
    pub fn add(&mut self, mass: f64, target: &[f64], logging: &[f32]) {
        self.mass += mass;
        for (&pi, &p) in target.iter().zip(logging).filter(|(pi, p)| **pi > 0.0 && **p > 0.0) {
            let w = pi / f64::from(p);
            for (parameter, lost) in Parameter::ALL.into_iter().zip(&mut self.lost) {
                for (value, lost) in GRID.into_iter().zip(lost) {
                    *lost += mass * pi * (1.0 - parameter.kept(w, value));
                }
            }
        }
    }
}

impl Parameters {
    /// The value of one.
    pub fn get(&self, parameter: Parameter) -> f64 {
        match parameter {
            Parameter::Clip => self.clip,
            Parameter::Tau => self.tau,
            Parameter::Lambda => self.lambda,
        }
    }

    fn with(mut self, parameter: Parameter, value: f64) -> Self {
        match parameter {
            Parameter::Clip => self.clip = value,
            Parameter::Tau => self.tau = value,
            Parameter::Lambda => self.lambda = value,
        }
        self
    }
}

/// A parameter as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Tuned {
    /// Chosen on the data.
    #[default]
    Auto,
    /// As given.
    Fixed(f64),
}

impl std::str::FromStr for Tuned {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            _ if text == "auto" => Ok(Self::Auto),
            Ok(value) if value >= 0.0 => Ok(Self::Fixed(value)),
            _ => Err(format!("`{text}` is no parameter, expected `auto` or a number of at least 0")),
        }
    }
}

/// The parameters of a sample: as asked for, or chosen on it; without `lost` nothing is shrunk.
pub(super) fn resolve(
    rounds: &[Round],
    lost: Option<&LostMass>,
    estimators: &[&Estimator],
    asked: &[(Parameter, Tuned)],
) -> Result<Parameters, OpeError> {
    let weight_max = rounds.iter().map(|round| round.importance).fold(0.0, f64::max);
    let mut parameters = Parameters { clip: UNSHRUNK, tau: UNSHRUNK, lambda: UNSHRUNK, weight_max };
    for &(parameter, tuned) in asked {
        let estimator = estimators.iter().find(|estimator| estimator.parameter == Some(parameter));
        let value = match (tuned, estimator, lost) {
            (Tuned::Fixed(value), ..) => value,
            (Tuned::Auto, Some(estimator), Some(lost)) => {
                choose(rounds, lost, estimator, parameter, parameters)
            }
            (Tuned::Auto, ..) => continue,
        };
        if value.is_nan() || value < 0.0 {
            return Err(OpeError::Parameter { value });
        }
        parameters = parameters.with(parameter, value);
    }
    Ok(parameters)
}

/// What shrinkage at `value` can have moved the value of a policy by, at most: the mass it loses times the greatest
/// error of the sample.
///
/// A value between two of the grid loses less than the smaller one does; below all of them, and without `lost`,
/// everything may be lost.
pub(super) fn bias_bound(rounds: &[Round], lost: Option<&LostMass>, parameter: Parameter, value: f64) -> f64 {
    if value >= UNSHRUNK {
        return 0.0;
    }
    let below = GRID.iter().rposition(|known| *known <= value);
    let share = below.zip(lost).map_or(1.0, |(at, lost)| lost.lost[parameter as usize][at] / lost.mass);
    error_max(rounds, parameter) * share
}

/// The greatest error that the mass lost can matter by.
fn error_max(rounds: &[Round], parameter: Parameter) -> f64 {
    let error = |round: &Round| match parameter {
        Parameter::Clip => round.reward.abs(),
        Parameter::Tau | Parameter::Lambda => (round.reward - round.q_logged).abs(),
    };
    rounds.iter().map(error).fold(0.0, f64::max)
}

/// The value of the least bound; the first of equals: as much shrinkage as is free.
fn choose(
    rounds: &[Round],
    lost: &LostMass,
    estimator: &Estimator,
    parameter: Parameter,
    start: Parameters,
) -> f64 {
    let error_max = error_max(rounds, parameter);
    let bound = |(value, lost): (f64, f64)| {
        let parameters = start.with(parameter, value);
        let bias = error_max * lost;
        (value, variance_of_mean(rounds, |round| (estimator.terms)(round, &parameters).direct) + bias * bias)
    };
    let lost = lost.lost[parameter as usize].map(|sum| sum / lost.mass);
    let bounds = GRID.into_iter().zip(lost).map(bound);
    bounds.reduce(|best, other| if other.1 < best.1 { other } else { best }).map_or(GRID[0], |best| best.0)
}

/// Variance of the mean of a number a round.
fn variance_of_mean(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mass: f64 = rounds.iter().map(|round| round.mass).sum();
    let mean = rounds.iter().map(|round| round.mass * of(round)).sum::<f64>() / mass;
    let square: f64 = rounds.iter().map(|round| (round.mass * (of(round) - mean)).powi(2)).sum();
    square / (mass * mass)
}
