//! A policy over a *set* of arms, each known by an identity vector (LLM Bandit, arXiv 2502.02743).
//!
//! `p_k = sigmoid(f(x, I_k))` is the chance that arm `k` answers query `x` rightly. The set is read through one
//! token an arm, `t_k = (I_k, cost_k / max cost, p_k / max p)`: a network makes `phi_k` of each, attention with one
//! learned query pools them, and a trunk makes `h` of the pool, the query and the caller's preference
//! `w = lambda * max cost`. The policy is `softmax_k(I_k . h / sqrt(d))`, the score its logarithm.
//!
//! Nothing but the identities belongs to one arm: another arm joins with its identity alone.

use super::preference::{forward, insert_stack, log_softmax, take_stack};
use super::{CostModel, FormRow};
use crate::{Batch, FormState, LoadError, PredictError, Prediction, Predictor, check_batch};
use routewright_data::Tensors;
use routewright_data::dense::{Dense, sigmoid};
use serde::{Deserialize, Serialize};

pub(super) const ROW: FormRow = FormRow {
    name: "identities",
    version: 1,
    title: "a policy over a set of arms, each known by an identity vector",
    load: IdentitySet::load,
};

/// Layers of each network, at most.
const LAYERS_MAX: usize = 16;

/// The parts of the policy; every network ends in a linear layer.
#[derive(Debug, Clone, PartialEq)]
pub struct SetParts {
    /// Identities `(n_arms, d)`.
    pub identities: Vec<f32>,
    /// `f`: from `(x, I)` to one output.
    pub ability: Vec<Dense>,
    /// From a token of `d + 2` numbers to `phi`.
    pub tokens: Vec<Dense>,
    /// Query of the attention, as wide as `phi`.
    pub attention: Vec<f32>,
    /// From `(pool, x, w)` to `h` of width `d`.
    pub trunk: Vec<Dense>,
}

/// The policy.
#[derive(Debug, Clone, PartialEq)]
pub struct IdentitySet {
    dim: usize,
    width: usize,
    parts: SetParts,
    /// Preference where the caller says nothing: score given up for the price of the dearest arm.
    preference: f64,
    cost: CostModel,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    dim: usize,
    width: usize,
    ability: Vec<usize>,
    tokens: Vec<usize>,
    pool: usize,
    trunk: Vec<usize>,
    preference: f64,
}

/// Price of each arm over that of the dearest, 0 where unknown; and the price of the dearest, 1 if none is known.
pub fn relative_costs(mean_usd: &[f32]) -> (Vec<f32>, f64) {
    let known = |usd: &f32| if usd.is_nan() { 0.0 } else { *usd };
    let dearest = mean_usd.iter().map(known).fold(0.0_f32, f32::max);
    let unit = if dearest > 0.0 { dearest } else { 1.0 };
    (mean_usd.iter().map(|usd| known(usd) / unit).collect(), f64::from(unit))
}

fn hidden(layers: &[Dense]) -> Vec<usize> {
    layers.split_last().map(|(_, hidden)| hidden.iter().map(Dense::n_out).collect()).unwrap_or_default()
}

impl IdentitySet {
    /// A policy over features of width `dim` with identities of width `width`.
    ///
    /// # Panics
    /// If the parts do not fit each other (a bug of the caller).
    pub fn new(dim: usize, width: usize, parts: SetParts, preference: f64, cost: CostModel) -> Self {
        assert_eq!(parts.identities.len(), cost.mean_usd().len() * width, "identities: (n_arms, width)");
        let n_in = |layers: &[Dense]| layers.first().map_or(0, Dense::n_in);
        let pool = parts.attention.len();
        assert_eq!(n_in(&parts.ability), dim + width, "identities: inputs of the ability");
        assert_eq!(n_in(&parts.tokens), width + 2, "identities: inputs of the tokens");
        assert_eq!(n_in(&parts.trunk), pool + dim + 1, "identities: inputs of the trunk");
        Self { dim, width, parts, preference, cost }
    }

    fn load(mut state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        let config: Config = super::config(ROW.name, state.config)?;
        let Config { dim, width, ability, tokens, pool, trunk, preference } = config;
        let stacks = [&ability, &tokens, &trunk];
        let sound = stacks.iter().all(|hidden| hidden.len() <= LAYERS_MAX && !hidden.contains(&0));
        let sound = sound && width > 0 && pool > 0 && n_arms > 0;
        // NaN is not at least 0.
        if !(sound && preference >= 0.0) {
            let reason = "a width is 0, there are too many layers, or the preference is below 0".to_owned();
            return Err(LoadError::Config { form: ROW.name, reason });
        }
        let t = &mut state.tensors;
        let parts = SetParts {
            identities: t.take_f32("identities", &[n_arms, width])?,
            ability: take_stack(t, "ability", dim + width, &ability, 1)?,
            tokens: take_stack(t, "tokens", width + 2, &tokens, pool)?,
            attention: t.take_f32("attention", &[pool])?,
            trunk: take_stack(t, "trunk", pool + dim + 1, &trunk, width)?,
        };
        let cost = CostModel::restore(t, n_arms)?;
        Ok(Box::new(Self::new(dim, width, parts, preference, cost)))
    }

    /// Chance of each arm to answer a query rightly, `(n_arms,)`.
    pub fn abilities(&self, x: &[f32]) -> Vec<f32> {
        let identities = self.parts.identities.chunks_exact(self.width);
        let input: Vec<f32> = identities.flat_map(|identity| x.iter().chain(identity).copied()).collect();
        forward(&self.parts.ability, &input).into_iter().map(sigmoid).collect()
    }

    fn row(&self, x: &[f32], preference: f32, relative: &[f32]) -> Vec<f32> {
        let ability = self.abilities(x);
        let tokens = tokens(&self.parts.identities, self.width, relative, &ability);
        let phi = forward(&self.parts.tokens, &tokens);
        let mut input = pool(&phi, &self.parts.attention);
        input.extend_from_slice(x);
        input.push(preference);
        let h = forward(&self.parts.trunk, &input);
        let scale = 1.0 / (self.width as f32).sqrt();
        let logit = |identity: &[f32]| scale * identity.iter().zip(&h).map(|(i, h)| i * h).sum::<f32>();
        self.parts.identities.chunks_exact(self.width).map(logit).collect()
    }
}

/// Tokens `(n_arms, width + 2)` of a query.
pub fn tokens(identities: &[f32], width: usize, relative_costs: &[f32], ability: &[f32]) -> Vec<f32> {
    let best = ability.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let arms = identities.chunks_exact(width).zip(relative_costs.iter().zip(ability));
    arms.flat_map(|(identity, (cost, p))| identity.iter().copied().chain([*cost, p / best])).collect()
}

/// Attention with one query over rows `phi` as wide as it: weights `softmax(phi . q / sqrt(width))`.
fn pool(phi: &[f32], attention: &[f32]) -> Vec<f32> {
    let width = attention.len();
    let scale = 1.0 / (width as f32).sqrt();
    let mut weights: Vec<f32> = phi
        .chunks_exact(width)
        .map(|row| scale * row.iter().zip(attention).map(|(a, b)| a * b).sum::<f32>())
        .collect();
    let n = weights.len();
    log_softmax(&mut weights, n);
    let mut out = vec![0.0; width];
    for (row, weight) in phi.chunks_exact(width).zip(weights) {
        out.iter_mut().zip(row).for_each(|(out, value)| *out += weight.exp() * value);
    }
    out
}

impl Predictor for IdentitySet {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.cost.mean_usd().len()
    }

    fn dim(&self) -> Option<usize> {
        Some(self.dim)
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        check_batch(batch, self.dim)?;
        let n_arms = self.n_arms();
        let (relative, unit) = relative_costs(self.cost.mean_usd());
        let preference = |row| batch.lambda(row).map_or(self.preference, |lambda| lambda * unit) as f32;
        let rows = 0..batch.n_queries();
        let mut score: Vec<f32> =
            rows.flat_map(|row| self.row(batch.features.row(row), preference(row), &relative)).collect();
        log_softmax(&mut score, n_arms);
        let cost_usd = self.cost.predict(batch.features);
        Ok(Prediction {
            n_arms,
            score,
            score_se: None,
            cost_usd,
            neighborhoods: None,
            members: None,
            n_updates: 0,
        })
    }

    fn state(&self) -> FormState {
        let mut tensors = Tensors::new();
        let SetParts { identities, ability, tokens, attention, trunk } = &self.parts;
        tensors.insert_f32("identities", &[self.n_arms(), self.width], identities.clone());
        tensors.insert_f32("attention", &[attention.len()], attention.clone());
        for (name, layers) in [("ability", ability), ("tokens", tokens), ("trunk", trunk)] {
            insert_stack(&mut tensors, name, layers);
        }
        self.cost.store(&mut tensors);
        let config = Config {
            dim: self.dim,
            width: self.width,
            ability: hidden(ability),
            tokens: hidden(tokens),
            pool: attention.len(),
            trunk: hidden(trunk),
            preference: self.preference,
        };
        FormState { config: serde_json::to_value(config).unwrap_or_default(), tensors }
    }

    fn is_conditioned(&self) -> bool {
        true
    }
}
