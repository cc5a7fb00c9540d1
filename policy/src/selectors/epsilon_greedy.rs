//! A uniformly random arm with probability epsilon, else what another selector chooses.
//!
//! Around `argmax` it is epsilon-greedy; around any explorer it is the floor that off-policy evaluation
//! needs: every eligible arm keeps a probability of at least `epsilon / n_eligible`.

use super::{Argmax, Selector, SelectorError, SelectorRow, SelectorSpec, Uniform};
use crate::PredictionRow;
use serde::{Deserialize, Serialize};

pub(super) const ROW: SelectorRow = SelectorRow {
    name: "epsilon-greedy",
    title: "a random arm with probability epsilon, else what the selector within chooses",
    build: |settings, arms| {
        let settings: Settings = super::settings(ROW.name, settings)?;
        super::finite_at_least(ROW.name, "epsilon", settings.epsilon, 0.0)?;
        super::finite_at_least(ROW.name, "half_life", settings.half_life, 0.0)?;
        if settings.epsilon > 1.0 {
            let reason = format!("`epsilon` is `{}`, expected a probability", settings.epsilon);
            return Err(SelectorError::Settings { name: ROW.name, reason });
        }
        let within = super::build(&settings.selector, arms)?;
        Ok(Box::new(EpsilonGreedy { settings, within }))
    },
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Probability of a random arm, `[0, 1]`.
    epsilon: f64,
    /// Rewards after which epsilon has halved (`epsilon / (1 + n / half_life)`); 0 keeps it as it is.
    #[serde(default)]
    half_life: f64,
    /// What chooses otherwise.
    #[serde(default = "argmax")]
    selector: SelectorSpec,
}

fn argmax() -> SelectorSpec {
    SelectorSpec::named("argmax")
}

/// Mixes the distribution of another selector with the uniform one.
#[derive(Debug)]
pub struct EpsilonGreedy {
    settings: Settings,
    within: Box<dyn Selector>,
}

impl EpsilonGreedy {
    fn epsilon(&self, n_updates: u64) -> f64 {
        let Settings { epsilon, half_life, .. } = self.settings;
        let decay = if half_life > 0.0 { 1.0 + n_updates as f64 / half_life } else { 1.0 };
        epsilon / decay
    }

    /// `chosen`, but for a share of random arms.
    fn mixed(&self, chosen: Vec<f32>, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
        let epsilon = self.epsilon(row.n_updates);
        let uniform = Uniform.distribution(row, eligible);
        let mix = |(p, u): (f32, f32)| ((1.0 - epsilon) * f64::from(p) + epsilon * f64::from(u)) as f32;
        chosen.into_iter().zip(uniform).map(mix).collect()
    }
}

impl Selector for EpsilonGreedy {
    fn spec(&self) -> SelectorSpec {
        let settings = serde_json::to_value(&self.settings).unwrap_or_default();
        SelectorSpec { name: ROW.name.to_owned(), settings }
    }

    fn distribution(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
        self.mixed(self.within.distribution(row, eligible), row, eligible)
    }

    fn lambda(&self) -> f64 {
        self.within.lambda()
    }

    fn explore(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Option<Vec<f32>> {
        let chosen = self.within.explore(row, eligible);
        let chosen = chosen.unwrap_or_else(|| Argmax.distribution(row, eligible));
        Some(self.mixed(chosen, row, eligible))
    }
}
