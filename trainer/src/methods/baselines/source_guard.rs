//! Leaves the best single model only in sources where another is better beyond doubt.
//!
//! The rule is [`crate::source_guard`]: gains over the best single model are shrunk to their mean over all
//! queries, and an arm replaces it in a source where its gain less `z` standard errors is the greatest and above
//! 0. It reads no features. Predicted scores are lower bounds: the mean of the best single model in the source
//! plus that guarded gain.
//!
//! Measured for this project on six logs, see `docs/methods/source-guard.md`; there is no paper.

use super::means;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use crate::source_guard::{GuardSettings, SourceGuard};
use routewright_policy::SelectorSpec;
use routewright_policy::forms::{Constant, CostModel};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Guarded>(
    "the best single model, replaced in sources where another is better beyond doubt",
    None,
    Family::Baseline,
    &[Need::Source],
);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Guarded;

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Standard errors by which an arm must be better, at least 0.
    z: f64,
    /// Factor of `z` for arms dearer than the best single model, at least 0.
    dear: f64,
}

impl Default for Params {
    fn default() -> Self {
        let GuardSettings { z, dear } = GuardSettings::default();
        Self { z, dear }
    }
}

impl Method for Guarded {
    const NAME: &'static str = "source-guard";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        for (name, value) in [("z", params.z), ("dear", params.dear)] {
            if !(value.is_finite() && value >= 0.0) {
                let reason = format!("`{name}` is `{value}`, expected a finite number of at least 0");
                return Err(FitError::Params { method: Self::NAME, reason });
            }
        }
        let settings = GuardSettings { z: params.z, dear: params.dear };
        let guard = SourceGuard::fit(context.train, context.average, settings).ok_or_else(|| {
            FitError::Log { method: Self::NAME, reason: "it has no model with a score".to_owned() }
        })?;
        let overall = means::scores_under(context.train, context.average);
        let rows = means::rows_by_source(context.train);
        let mut by_source = Vec::with_capacity(rows.len() * overall.len());
        for (source, rows) in &rows {
            let level = context.train.score.select_rows(rows).column_mean(guard.baseline());
            let level = level.unwrap_or_else(|| f64::from(overall[guard.baseline()]));
            let bounds = guard.gains(source);
            by_source.extend((0..overall.len()).map(|arm| {
                // An arm never observed beside the best single model is never preferred to it.
                (level + bounds.map_or(-1.0, |gains| gains[arm].bound.max(-1.0))) as f32
            }));
        }
        let sources = rows.keys().map(|source| (*source).to_owned()).collect();
        let cost = CostModel::constant(means::mean_costs(context.train));
        let mut fitted = Fitted::new(Box::new(Constant::new(overall, sources, by_source, cost)), params);
        fitted.selector = SelectorSpec::named("argmax");
        fitted.metrics.insert("sources_changed".to_owned(), guard.n_changed() as f64);
        Ok(fitted)
    }
}
