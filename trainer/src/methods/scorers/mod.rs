//! Methods that regress the score of each arm, or the preferences between them, on the features.

pub(super) mod mlp;
pub(super) mod routellm_mf;

use crate::method::{FitError, Fitted};
use crate::neural::{Network, Trained};

/// Checks what every network method is asked for.
pub(super) fn check(
    method: &'static str,
    network: &Network,
    rate: f32,
    valid_share: f64,
) -> Result<(), FitError> {
    let error = |reason: String| Err(FitError::Params { method, reason });
    if network.dim == 0 {
        let reason = "the features have width 0; choose another featurizer".to_owned();
        return Err(FitError::Log { method, reason });
    }
    if network.layers.iter().any(|layer| layer.width == 0) {
        return error("a hidden layer has width `0`, expected at least 1".to_owned());
    }
    if !(rate > 0.0 && rate < 10.0) {
        return error(format!("`rate` is `{rate}`, expected a number above 0 and below 10"));
    }
    if !(0.0..1.0).contains(&valid_share) {
        return error(format!("`valid_share` is `{valid_share}`, expected a number in [0, 1)"));
    }
    Ok(())
}

/// Writes what was chosen on the validation slice into the figures of the fit.
pub(super) fn record(fitted: &mut Fitted, trained: &Trained, name: &str, value: f64) {
    fitted.metrics.insert("steps".to_owned(), trained.steps as f64);
    if value.is_finite() {
        fitted.metrics.insert(name.to_owned(), value);
    }
}
