//! Two arms and a threshold (RouteLLM, arXiv 2406.18665): the strong one where it is worth it.

use super::{Selector, SelectorError, SelectorRow, SelectorSpec};
use crate::{Arm, PredictionRow};
use routewright_data::suggest::near_names;
use serde::{Deserialize, Serialize};

pub(super) const ROW: SelectorRow = SelectorRow {
    name: "threshold",
    title: "the strong arm where its predicted lead over the weak one reaches the threshold",
    build: |settings, arms| {
        let settings: Settings = super::settings("threshold", settings)?;
        Ok(Box::new(Threshold::new(settings, arms)?))
    },
};

/// Settings of [`Threshold`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The dear, capable arm.
    pub strong: String,
    /// The cheap arm.
    pub weak: String,
    /// Least `score(strong) - score(weak)` at which the strong arm is called.
    pub threshold: f64,
}

/// Chooses `strong` when `score(strong) - score(weak) >= threshold`, else `weak`.
///
/// Where one of the two is not eligible the other is chosen; where neither is, the greatest score.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    settings: Settings,
    strong: usize,
    weak: usize,
}

impl Threshold {
    /// Resolves the two names among the arms.
    ///
    /// # Errors
    /// If a name is no arm, both are the same, or the threshold is not finite.
    pub fn new(settings: Settings, arms: &[Arm]) -> Result<Self, SelectorError> {
        let error = |reason| SelectorError::Settings { name: ROW.name, reason };
        let find = |key: &str, model: &str| {
            arms.iter().position(|arm| arm.model == model).ok_or_else(|| {
                let hint = near_names(model, arms.iter().map(|arm| arm.model.as_str()));
                error(format!("`{key}` is `{model}`, which is no arm of the policy; {hint}"))
            })
        };
        let (strong, weak) = (find("strong", &settings.strong)?, find("weak", &settings.weak)?);
        if strong == weak {
            return Err(error(format!("`strong` and `weak` are both `{}`", settings.strong)));
        }
        if !settings.threshold.is_finite() {
            return Err(error(format!("`threshold` is `{}`, expected a finite number", settings.threshold)));
        }
        Ok(Self { settings, strong, weak })
    }
}

impl Selector for Threshold {
    fn spec(&self) -> SelectorSpec {
        let Settings { strong, weak, threshold } = &self.settings;
        let settings = serde_json::json!({ "strong": strong, "weak": weak, "threshold": threshold });
        SelectorSpec { name: ROW.name.to_owned(), settings }
    }

    fn distribution(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
        let lead = f64::from(row.score[self.strong]) - f64::from(row.score[self.weak]);
        let chosen = match (eligible[self.strong], eligible[self.weak]) {
            (true, true) if lead >= self.settings.threshold => self.strong,
            (true, false) => self.strong,
            (_, true) => self.weak,
            (false, false) => return super::Argmax.distribution(row, eligible),
        };
        let mut out = vec![0.0; row.score.len()];
        out[chosen] = 1.0;
        out
    }
}
