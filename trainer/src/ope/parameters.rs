//! The hyper-parameters of estimators, and how they are chosen on the data.
//!
//! `clip`, `tau` and `lambda` trade variance for bias. Left to the data, each is the value of a grid with the
//! least bound on the mean squared error
//!
//! ```text
//! variance of the mean  +  (|mean d| + 1.96 standard errors of it)^2
//! ```
//!
//! where `d` is, round by round, the estimator's unbiased relative (IPS for clipped IPS, DR for the others)
//! minus the estimator (Su, Dimakopoulou, Krishnamurthy and Dudik 2020, "Doubly robust off-policy evaluation
//! with shrinkage", section 5.3, after Wang, Agarwal and Dudik 2017).
//!
//! Deviation: 1. a normal bound on the bias in place of Bernstein's, which is wider by terms that vanish with
//! the number of rounds.

use super::{Estimator, OpeError, Round, Terms};

/// Values tried where a parameter is left to the data; the last changes nothing in practice.
pub(super) const GRID: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 1e9];
/// Standard errors of the bias that are added to it.
const BIAS_ERRORS: f64 = 1.96;

/// What an estimator may be told.
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
pub enum Parameter {
    /// [`Parameters::clip`].
    Clip,
    /// [`Parameters::tau`].
    Tau,
    /// [`Parameters::lambda`].
    Lambda,
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

/// The parameters of a sample: as asked for, or chosen on it.
pub(super) fn resolve(
    rounds: &[Round],
    estimators: &[&Estimator],
    asked: &[(Parameter, Tuned)],
) -> Result<Parameters, OpeError> {
    let weight_max = rounds.iter().map(|round| round.importance).fold(0.0, f64::max);
    let unshrunk = GRID[GRID.len() - 1];
    let mut parameters = Parameters { clip: unshrunk, tau: unshrunk, lambda: unshrunk, weight_max };
    for &(parameter, tuned) in asked {
        let value = match tuned {
            Tuned::Fixed(value) => value,
            Tuned::Auto => match estimators.iter().find(|e| e.parameter == Some(parameter)) {
                Some(estimator) => choose(rounds, estimator, parameter, parameters),
                None => continue,
            },
        };
        if value.is_nan() || value < 0.0 {
            return Err(OpeError::Parameter { value });
        }
        parameters = parameters.with(parameter, value);
    }
    Ok(parameters)
}

fn choose(rounds: &[Round], estimator: &Estimator, parameter: Parameter, start: Parameters) -> f64 {
    let bound = |value: f64| mse_bound(rounds, estimator, &start.with(parameter, value));
    let bounds = GRID.map(|value| (value, bound(value)));
    // The first of equals: as much shrinkage as is free.
    bounds
        .into_iter()
        .reduce(|best, other| if other.1 < best.1 { other } else { best })
        .map_or(GRID[0], |b| b.0)
}

/// The bound of the module's documentation.
fn mse_bound(rounds: &[Round], estimator: &Estimator, parameters: &Parameters) -> f64 {
    let terms = |round: &Round| -> Terms { (estimator.terms)(round, parameters) };
    let (_, variance) = moments(rounds, |round| terms(round).direct);
    let (bias, bias_variance) =
        moments(rounds, |round| (estimator.unbiased)(round, parameters).direct - terms(round).direct);
    variance + (bias.abs() + BIAS_ERRORS * bias_variance.sqrt()).powi(2)
}

/// Mean of a number a round, and the variance of that mean.
pub(super) fn moments(rounds: &[Round], of: impl Fn(&Round) -> f64) -> (f64, f64) {
    let mass: f64 = rounds.iter().map(|round| round.mass).sum();
    let mean = rounds.iter().map(|round| round.mass * of(round)).sum::<f64>() / mass;
    let square: f64 = rounds.iter().map(|round| (round.mass * (of(round) - mean)).powi(2)).sum();
    (mean, square / (mass * mass))
}
