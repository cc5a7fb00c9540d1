//! RLAE (arXiv 2506.00439): weights of members, learned by reinforcement on whole answers.
//!
//! An episode is one answer to one task, written once: where a span begins, weights are drawn from what the actor
//! says of the state, and hold until the span ends. The reward comes with the end. Advantages are generalized
//! advantage estimates (arXiv 1506.02438) over that trajectory, `delta_t = r_t + gamma V(s_t+1) - V(s_t)`; actor and
//! critic are updated by the clipped surrogate of PPO (arXiv 1707.06347, equation 7) with an entropy bonus.
//!
//! Agents: `one` network puts out all weights (RLAE_PPO). `joint`: a network is asked once a member, with the state
//! and who it is, and the members' outputs form one distribution under a central critic (RLAE_MAPPO, arXiv
//! 2103.01955).
//! `independent`: the same network, but every member draws its own logit and has its own ratio; only the advantage is
//! shared.
//!
//! From a log of answers ([`learn_from_log`]) whose weights were drawn and kept with their densities, the same
//! networks learn off policy: the gradient of a span counts `min(p / p_log, cap)`.
//!
//! Deviations from the paper and its released code: 1. one true trajectory an answer; the released code writes a
//! whole answer again for every span. 2. The encoder is the fixed featurizer [`StateFeatures`], not a trained DeBERTa;
//! `sight = "prompt"` shows it what the first released code saw. 3. The deviation of Gaussian logits goes down on a
//! schedule.
//! 4. No clipping of gradients; AdamW bounds the step. 5. The weights kept are those of the round that was worth most
//! on the validation tasks.

mod actor;
mod log;
mod ppo;
mod trajectory;

pub use log::{Lesson, LoggedSpan, learn_from_log};
pub use ppo::{Curve, Learned, Point, train, train_reading};

use crate::method::FitError;
use routewright_data::features::{Sight, StateFeatures, StateSettings};
use routewright_policy::env::SpanRule;
use routewright_policy::simplex::Action;
use serde::{Deserialize, Serialize};

/// Name in errors and artifacts.
pub(crate) const NAME: &str = "rlae";

/// Who chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Agents {
    /// One network for all members.
    #[default]
    One,
    /// One network asked for each member, one distribution, a central critic.
    Joint,
    /// One network asked for each member, each with a draw and a ratio of its own.
    Independent,
}

/// Parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Who chooses.
    pub agents: Agents,
    /// Distribution weights are drawn from; independent agents draw logits whatever the value.
    pub action: Action,
    /// Where a span ends.
    pub span: SpanRule,
    /// What is read of a state.
    pub sight: Sight,
    /// Width of each block of features.
    pub width: usize,
    /// Spans with a feature of their own.
    pub spans: usize,
    /// Marks between segments of prompts and answers.
    pub marks: Vec<char>,
    /// Widths of the hidden layers of actor and critic.
    pub hidden: Vec<usize>,
    /// Rounds of play and learning.
    pub rounds: u64,
    /// Answers a round.
    pub episodes: usize,
    /// Passes over the spans of a round.
    pub epochs: usize,
    /// Spans a step of learning.
    pub batch: usize,
    /// Learning rate of the actor.
    pub rate: f32,
    /// Learning rate of the critic.
    pub critic_rate: f32,
    /// Discount a span.
    pub gamma: f32,
    /// Lambda of the advantage estimates.
    pub lambda: f32,
    /// How far a ratio may be from 1.
    pub clip: f32,
    /// Weight of the entropy.
    pub entropy: f32,
    /// Standard deviation of Gaussian logits, in the first and the last round.
    pub sd: [f32; 2],
    /// Rounds between judgements on the validation tasks.
    pub every: u64,
    /// Ratio a logged span counts at most, where learning is from a log.
    pub cap: f32,
}

impl Default for Params {
    fn default() -> Self {
        let StateSettings { width, spans, marks, .. } = StateSettings::default();
        Self {
            agents: Agents::One,
            action: Action::Dirichlet,
            span: SpanRule::default(),
            sight: Sight::Whole,
            width,
            spans,
            marks,
            hidden: vec![64],
            rounds: 60,
            episodes: 128,
            epochs: 4,
            batch: 64,
            rate: 3e-3,
            critic_rate: 3e-3,
            gamma: 0.99,
            lambda: 0.95,
            clip: 0.2,
            entropy: 0.01,
            sd: [1.0, 0.3],
            every: 5,
            cap: 5.0,
        }
    }
}

impl Params {
    /// Reads parameters; missing keys take their defaults.
    ///
    /// # Errors
    /// If one is unknown or out of range.
    pub fn read(given: &serde_json::Value) -> Result<Self, FitError> {
        let error = |reason: String| FitError::Params { method: NAME, reason };
        let params: Self = serde_json::from_value(given.clone()).map_err(|e| error(e.to_string()))?;
        params.check()?;
        Ok(params)
    }

    fn check(&self) -> Result<(), FitError> {
        let error = |reason: String| Err(FitError::Params { method: NAME, reason });
        let counts = [
            ("rounds", self.rounds),
            ("episodes", self.episodes as u64),
            ("epochs", self.epochs as u64),
            ("batch", self.batch as u64),
            ("every", self.every),
            ("span.units", self.span.units as u64),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, value)| *value == 0) {
            return error(format!("`{name}` is `0`, expected at least 1"));
        }
        if self.hidden.contains(&0) {
            return error("`hidden` has a layer of width `0`, expected at least 1".to_owned());
        }
        let ranges = [
            ("rate", self.rate, 1e-7, 1.0),
            ("critic_rate", self.critic_rate, 1e-7, 1.0),
            ("gamma", self.gamma, 0.0, 1.0),
            ("lambda", self.lambda, 0.0, 1.0),
            ("clip", self.clip, 1e-3, 10.0),
            ("entropy", self.entropy, 0.0, 10.0),
            ("sd", self.sd[0], 1e-3, 100.0),
            ("sd", self.sd[1], 1e-3, 100.0),
            ("cap", self.cap, 1.0, 1e6),
        ];
        match ranges.iter().find(|(_, value, low, high)| !(*low..=*high).contains(value)) {
            Some((name, value, low, high)) => {
                error(format!("`{name}` is `{value}`, expected a number in [{low}, {high}]"))
            }
            None => Ok(()),
        }
    }

    /// What reads states.
    ///
    /// # Errors
    /// If a width is out of range.
    pub fn featurizer(&self) -> Result<StateFeatures, FitError> {
        let settings = StateSettings {
            sight: self.sight,
            width: self.width,
            spans: self.spans,
            marks: self.marks.clone(),
            ..StateSettings::default()
        };
        StateFeatures::new(settings).map_err(|e| FitError::Params { method: NAME, reason: e.to_string() })
    }
}

#[cfg(test)]
mod tests;
