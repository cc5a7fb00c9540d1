//! Actor and critic: what they put out, what they learn from, and how they are kept.

use super::{Agents, Params};
use crate::neural::{AdamW, Stack};
use routewright_data::Tensors;
use routewright_policy::LoadError;
use routewright_policy::forms::{Heads, Simplex};
use routewright_policy::simplex::{Action, OverWeights, softplus_slope};

/// One span as it was played.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Played {
    /// Features of the state it began at.
    pub(super) features: Vec<f32>,
    /// Weights drawn.
    pub(super) weights: Vec<f32>,
    /// Their logits, where they were drawn so.
    pub(super) logits: Vec<f32>,
    /// Natural logarithm of their density.
    pub(super) log_density: f64,
    /// Means of the logits when they were drawn, for agents that have ratios of their own.
    pub(super) means: Vec<f32>,
}

/// Spans with what they were worth.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch<'a> {
    pub(super) spans: &'a [&'a Played],
    pub(super) advantages: &'a [f32],
}

/// How far a span may count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bound {
    /// Clipped surrogate: ratios beyond `1 +- clip` push no further.
    Clip(f32),
    /// Truncated importance weights.
    Cap(f32),
}

/// The two networks.
#[derive(Debug)]
pub(super) struct ActorCritic {
    agents: Agents,
    action: Action,
    pub(super) sd: f32,
    dim: usize,
    n_arms: usize,
    hidden: Vec<usize>,
    actor: Stack,
    critic: Stack,
}

impl ActorCritic {
    pub(super) fn new(params: &Params, dim: usize, n_arms: usize, seed: u64) -> Self {
        let (heads, action) = shape(params);
        let (n_in, n_out) = heads.widths(dim, n_arms);
        let optimizer = |rate| AdamW { rate, weight_decay: 0.0, ..AdamW::default() };
        Self {
            agents: params.agents,
            action,
            sd: params.sd[0],
            dim,
            n_arms,
            hidden: params.hidden.clone(),
            actor: Stack::new(n_in, &params.hidden, n_out, optimizer(params.rate), seed),
            critic: Stack::new(dim, &params.hidden, 1, optimizer(params.critic_rate), seed ^ 1),
        }
    }

    fn heads(&self) -> Heads {
        if self.agents == Agents::One { Heads::One } else { Heads::Each }
    }

    /// The actor as a policy stores it.
    pub(super) fn form(&self) -> Simplex {
        Simplex::new(self.dim, self.n_arms, self.heads(), self.action, self.sd, self.actor.layers())
    }

    /// Values of states, `(n, dim)` features in one row after the other.
    pub(super) fn values(&mut self, features: &[f32]) -> Vec<f32> {
        if features.is_empty() { Vec::new() } else { self.critic.outputs(features) }
    }

    /// One step of the critic towards `returns`: half the mean squared error.
    pub(super) fn learn_values(&mut self, features: &[f32], returns: &[f32]) {
        let values = self.critic.outputs(features);
        let n = returns.len().max(1) as f32;
        let gradient = values.iter().zip(returns).map(|(v, r)| (v - r) / n).collect();
        self.critic.learn(features, gradient);
    }

    /// One step of the actor.
    pub(super) fn learn_weights(&mut self, batch: Batch<'_>, bound: Bound, entropy: f32) {
        let heads = self.heads();
        let input: Vec<f32> =
            batch.spans.iter().flat_map(|span| heads.inputs(&span.features, self.n_arms)).collect();
        let outputs = self.actor.outputs(&input);
        let gradient = self.gradient(&outputs, batch, bound, entropy);
        self.actor.learn(&input, gradient);
    }

    /// Gradient of the loss with respect to the outputs, one row of `n_arms` a span.
    pub(super) fn gradient(&self, outputs: &[f32], batch: Batch<'_>, bound: Bound, entropy: f32) -> Vec<f32> {
        let n = batch.spans.len().max(1) as f64;
        let rows = outputs.chunks_exact(self.n_arms).zip(batch.spans).zip(batch.advantages);
        rows.flat_map(|((outputs, span), advantage)| {
            let over = OverWeights::of(self.action, outputs, self.sd);
            let pushes = self.pushes(&over, span, f64::from(*advantage), bound);
            let spread = over.entropy().1;
            let chain = |at: usize| match self.action {
                Action::Dirichlet => f64::from(softplus_slope(outputs[at])),
                Action::Gaussian => 1.0,
            };
            let entropy = f64::from(entropy);
            (0..self.n_arms)
                .map(|at| (-(pushes[at] + entropy * spread[at]) * chain(at) / n) as f32)
                .collect::<Vec<f32>>()
        })
        .collect()
    }

    /// Gradient of the surrogate of a span with respect to the parameters of its distribution.
    fn pushes(&self, over: &OverWeights, span: &Played, advantage: f64, bound: Bound) -> Vec<f64> {
        if let (Agents::Independent, OverWeights::Gaussian(means, sd)) = (self.agents, over) {
            let variance = f64::from(*sd) * f64::from(*sd);
            let old = span.means.iter().zip(&span.logits);
            return old
                .zip(means)
                .map(|((old, logit), mean)| {
                    let off = |mean: f32| f64::from(logit - mean);
                    let ratio = ((off(*old).powi(2) - off(*mean).powi(2)) / (2.0 * variance)).exp();
                    bound.push(ratio, advantage) * off(*mean) / variance
                })
                .collect();
        }
        let ratio = (over.log_density(&span.weights) - span.log_density).clamp(-20.0, 20.0).exp();
        let push = bound.push(ratio, advantage);
        over.log_density_slope(&span.weights).into_iter().map(|slope| push * slope).collect()
    }

    /// Everything a checkpoint holds of the networks.
    pub(super) fn save(&self, tensors: &mut Tensors) {
        for (name, stack) in [("actor", &self.actor), ("critic", &self.critic)] {
            for (key, tensor) in stack.save().iter() {
                tensors.insert(&format!("{name}.{key}"), tensor.clone());
            }
        }
    }

    pub(super) fn restore(&mut self, tensors: &Tensors) -> Result<(), LoadError> {
        for (name, stack) in [("actor.", &mut self.actor), ("critic.", &mut self.critic)] {
            let mut own = Tensors::new();
            for (key, tensor) in tensors.iter() {
                if let Some(key) = key.strip_prefix(name) {
                    own.insert(key, tensor.clone());
                }
            }
            stack.restore(&mut own)?;
        }
        Ok(())
    }

    pub(super) fn hidden(&self) -> &[usize] {
        &self.hidden
    }
}

impl Bound {
    /// What multiplies the slope of the log-density.
    fn push(self, ratio: f64, advantage: f64) -> f64 {
        match self {
            Self::Clip(clip) => {
                let clip = f64::from(clip);
                let beyond = if advantage >= 0.0 { ratio > 1.0 + clip } else { ratio < 1.0 - clip };
                if beyond { 0.0 } else { ratio * advantage }
            }
            Self::Cap(cap) => ratio.min(f64::from(cap)) * advantage,
        }
    }
}

/// Independent agents draw logits; the others what the parameters say.
fn shape(params: &Params) -> (Heads, Action) {
    match params.agents {
        Agents::One => (Heads::One, params.action),
        Agents::Joint => (Heads::Each, params.action),
        Agents::Independent => (Heads::Each, Action::Gaussian),
    }
}
