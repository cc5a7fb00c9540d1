//! The reward parameters that bandit methods share, and how they become a [`Reward`].

use crate::method::{FitContext, FitError};
use crate::methods::baselines::means;
use routewright_policy::online::{Reward, RewardForm};

/// The reward of the weights given, on the scales of the log: the dearest arm's mean price counts as 1.
///
/// # Errors
/// If a weight is not a finite number of at least 0, or prices matter and the log has none.
pub(super) fn reward(
    method: &'static str,
    form: RewardForm,
    [score, cost, latency]: [f64; 3],
    context: &FitContext<'_>,
) -> Result<Reward, FitError> {
    for (name, weight) in [("score", score), ("cost", cost), ("latency", latency)] {
        if !weight.is_finite() || weight < 0.0 {
            let reason = format!("`{name}` is `{weight}`, expected a finite number of at least 0");
            return Err(FitError::Params { method, reason });
        }
    }
    let prices = means::mean_costs(context.train);
    let dearest = prices.iter().copied().filter(|usd| !usd.is_nan()).fold(0.0_f32, f32::max);
    if cost > 0.0 && dearest <= 0.0 {
        let reason = format!("`cost` is `{cost}` but the log has no price above 0");
        return Err(FitError::Log { method, reason });
    }
    let cost_unit_usd = if dearest > 0.0 { f64::from(dearest) } else { 1.0 };
    Ok(Reward { form, score, cost, latency, cost_unit_usd, latency_unit_ms: 1.0 })
}

/// Checks a number against a range, both ends included.
pub(super) fn within(
    method: &'static str,
    name: &str,
    value: f64,
    range: std::ops::RangeInclusive<f64>,
) -> Result<(), FitError> {
    if range.contains(&value) {
        return Ok(());
    }
    let (least, most) = (range.start(), range.end());
    let reason = format!("`{name}` is `{value}`, expected a number from {least} to {most}");
    Err(FitError::Params { method, reason })
}
