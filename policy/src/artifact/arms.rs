//! What the arms of an artifact may be; asked when one is written and again when it is read.

use crate::{Arm, Predictor};
use routewright_data::FeatureMatrix;
use routewright_data::names;
use std::collections::BTreeSet;

/// Dearest call or million tokens that is believed, US dollars.
pub const COST_USD_MAX: f64 = 1e6;
/// Longest mean wait that is believed, milliseconds.
pub const LATENCY_MS_MAX: f64 = 1e9;
/// Most tags of an arm.
pub const TAGS_MAX: usize = 64;

/// Checks names, tags, prices and latencies.
///
/// # Errors
/// If a name is not valid or listed twice, or a number is out of its range; the arm is named.
pub fn check(arms: &[Arm]) -> Result<(), String> {
    if arms.is_empty() {
        return Err("there are none, expected at least one".to_owned());
    }
    let mut seen = BTreeSet::new();
    for (at, arm) in arms.iter().enumerate() {
        names::check(&arm.model).map_err(|why| format!("the name `{}` of arm {at} {why}", arm.model))?;
        if !seen.insert(arm.model.as_str()) {
            return Err(format!("`{}` is listed twice, expected each model once", arm.model));
        }
        tags(&arm.tags).map_err(|why| format!("arm `{}`: {why}", arm.model))?;
        let price = &arm.price;
        for (what, value, most) in [
            ("mean_cost_usd", price.mean_cost_usd, COST_USD_MAX),
            ("input_usd_per_mtok", price.input_usd_per_mtok, COST_USD_MAX),
            ("output_usd_per_mtok", price.output_usd_per_mtok, COST_USD_MAX),
            ("mean_latency_ms", arm.mean_latency_ms, LATENCY_MS_MAX),
        ] {
            // NaN is in no range.
            if let Some(value) = value.filter(|value| !(0.0..=most).contains(value)) {
                let model = &arm.model;
                return Err(format!("`{what}` of `{model}` is `{value}`, expected a number in [0, {most}]"));
            }
        }
    }
    Ok(())
}

/// Checks the tags of an arm.
///
/// # Errors
/// If there are too many or one is no name.
pub fn tags(tags: &[String]) -> Result<(), String> {
    if tags.len() > TAGS_MAX {
        return Err(format!("it has {} tags, expected at most {TAGS_MAX}", tags.len()));
    }
    tags.iter().try_for_each(|tag| names::check(tag).map_err(|why| format!("the tag `{tag}` {why}")))
}

/// Predicts for a query without features and one with a single feature: weights so great that a plain query overflows
/// are found before the first request.
///
/// # Errors
/// If a predicted number is none, or there are too few of them; the arm is named.
pub(super) fn probe(predictor: &dyn Predictor, arms: &[Arm]) -> Result<(), String> {
    let dim = predictor.dim().unwrap_or(0);
    let mut features = vec![0.0; 2 * dim];
    if let Some(one) = features.get_mut(dim) {
        *one = 1.0;
    }
    let features = FeatureMatrix::from_vec(2, dim, features);
    let prediction = predictor.predict(&crate::Batch::of(&features)).map_err(|error| error.to_string())?;
    let n = 2 * arms.len();
    if prediction.score.len() != n || prediction.cost_usd.len() != n {
        return Err(format!("it predicts {} scores for {} arms", prediction.score.len() / 2, arms.len()));
    }
    for (at, (score, cost)) in prediction.score.iter().zip(&prediction.cost_usd).enumerate() {
        let se = prediction.score_se.as_ref().map_or(0.0, |se| se[at]);
        if !score.is_finite() || cost.is_infinite() || se.is_nan() || se < 0.0 {
            let model = &arms[at % arms.len()].model;
            return Err(format!(
                "for a plain query it predicts score `{score}`, standard error `{se}` and cost `{cost}` of `{model}`, \
                 expected finite numbers"
            ));
        }
    }
    Ok(())
}
