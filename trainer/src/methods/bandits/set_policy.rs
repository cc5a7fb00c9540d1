//! The policy over a set of arms in training: forward and backward pass of `policy::forms::IdentitySet`.

use super::gradient::softmax;
use crate::neural::{AdamW, FreeParameters, Stack};
use routewright_data::FeatureMatrix;
use routewright_policy::forms::tokens;

/// Sizes of the networks.
#[derive(Debug, Clone, Copy)]
pub(super) struct SetSizes {
    /// Width of the features.
    pub(super) dim: usize,
    /// Width of an identity.
    pub(super) width: usize,
    /// Width of a token's image and of the pool.
    pub(super) pool: usize,
    /// Width of the trunk's hidden layer.
    pub(super) hidden: usize,
}

/// A batch of decisions.
#[derive(Debug, Clone, Default)]
pub(super) struct Decisions {
    /// Features `(n, dim)`.
    pub(super) features: Vec<f32>,
    /// Predicted successes `(n, m)`.
    pub(super) ability: Vec<f32>,
    /// Arms in the set of each query, `(n, m)`.
    pub(super) allowed: Vec<bool>,
    /// Preference of each query, `(n,)`.
    pub(super) preference: Vec<f32>,
}

/// What the backward pass needs of the forward pass.
#[derive(Debug)]
pub(super) struct Passed {
    tokens: Vec<f32>,
    phi: Vec<f32>,
    /// Attention `(n, m)`.
    attention: Vec<f32>,
    input: Vec<f32>,
    /// Outputs `(n, m)`.
    pub(super) outputs: Vec<f32>,
}

/// The networks with their optimisers.
#[derive(Debug)]
pub(super) struct SetPolicy {
    sizes: SetSizes,
    /// `(m, width)`, not trained here.
    identities: Vec<f32>,
    relative_costs: Vec<f32>,
    pub(super) tokens: Stack,
    pub(super) attention: FreeParameters,
    pub(super) trunk: Stack,
}

impl SetPolicy {
    pub(super) fn new(
        sizes: SetSizes,
        identities: Vec<f32>,
        relative_costs: Vec<f32>,
        rate: f32,
        seed: u64,
    ) -> Self {
        let optimizer = AdamW { rate, weight_decay: 0.0, ..AdamW::default() };
        let SetSizes { dim, width, pool, hidden } = sizes;
        let query = (0..pool).map(|i| if i % 2 == 0 { 0.1 } else { -0.1 }).collect();
        Self {
            sizes,
            identities,
            relative_costs,
            tokens: Stack::new(width + 2, &[pool], pool, optimizer, seed ^ 0x70),
            attention: FreeParameters::new(query, optimizer),
            trunk: Stack::new(pool + dim + 1, &[hidden], width, optimizer, seed ^ 0x71),
        }
    }

    /// Goes on with another learning rate.
    pub(super) fn set_rate(&mut self, rate: f32) {
        self.tokens.set_rate(rate);
        self.attention.set_rate(rate);
        self.trunk.set_rate(rate);
    }

    fn n_arms(&self) -> usize {
        self.relative_costs.len()
    }

    /// Outputs of a batch; softmax over the allowed arms makes the policy of them.
    pub(super) fn forward(&mut self, batch: &Decisions) -> Passed {
        let (m, SetSizes { dim, width, pool, .. }) = (self.n_arms(), self.sizes);
        let each = batch.ability.chunks_exact(m).zip(batch.allowed.chunks_exact(m));
        let masked = each.map(|(p, ok)| -> Vec<f32> {
            // An arm outside the set must not set the scale of the others.
            p.iter().zip(ok).map(|(p, ok)| if *ok { *p } else { 0.0 }).collect()
        });
        let token_rows: Vec<f32> =
            masked.flat_map(|p| tokens(&self.identities, width, &self.relative_costs, &p)).collect();
        let phi = self.tokens.outputs(&token_rows);
        let query = self.attention.values();
        let scale = 1.0 / (pool as f32).sqrt();
        let strength = |row: &[f32]| scale * row.iter().zip(query).map(|(a, b)| a * b).sum::<f32>();
        let strengths: Vec<f32> = phi.chunks_exact(pool).map(strength).collect();
        let attention = softmax(&strengths, &batch.allowed, m);
        let mut input = Vec::with_capacity(batch.preference.len() * (pool + dim + 1));
        for (i, preference) in batch.preference.iter().enumerate() {
            let start = input.len();
            input.resize(start + pool, 0.0);
            for k in 0..m {
                let (weight, row) = (attention[i * m + k], &phi[(i * m + k) * pool..][..pool]);
                input[start..].iter_mut().zip(row).for_each(|(out, value)| *out += weight * value);
            }
            input.extend_from_slice(&batch.features[i * dim..(i + 1) * dim]);
            input.push(*preference);
        }
        let h = self.trunk.outputs(&input);
        let scale = 1.0 / (width as f32).sqrt();
        let logits = |h: &[f32]| -> Vec<f32> {
            let dot = |identity: &[f32]| scale * identity.iter().zip(h).map(|(i, h)| i * h).sum::<f32>();
            self.identities.chunks_exact(width).map(dot).collect()
        };
        let outputs = h.chunks_exact(width).flat_map(logits).collect();
        Passed { tokens: token_rows, phi, attention, input, outputs }
    }

    /// Takes a step against the gradient `(n, m)` with respect to the outputs.
    pub(super) fn learn(&mut self, passed: &Passed, gradient: &[f32]) {
        let (m, SetSizes { dim, width, pool, .. }) = (self.n_arms(), self.sizes);
        let scale = 1.0 / (width as f32).sqrt();
        let to_h = |g: &[f32]| -> Vec<f32> {
            let mut out = vec![0.0; width];
            for (g, identity) in g.iter().zip(self.identities.chunks_exact(width)) {
                out.iter_mut().zip(identity).for_each(|(out, i)| *out += scale * g * i);
            }
            out
        };
        let of_h: Vec<f32> = gradient.chunks_exact(m).flat_map(to_h).collect();
        let of_input = self.trunk.learn_through(&passed.input, of_h);
        let mut of_phi = vec![0.0; passed.phi.len()];
        let mut of_query = vec![0.0; pool];
        let (query, scale) = (self.attention.values(), 1.0 / (pool as f32).sqrt());
        for (i, row) in of_input.chunks_exact(pool + dim + 1).enumerate() {
            let of_pool = &row[..pool];
            let phi = |k: usize| &passed.phi[(i * m + k) * pool..][..pool];
            let weights = &passed.attention[i * m..(i + 1) * m];
            let along: Vec<f32> =
                (0..m).map(|k| phi(k).iter().zip(of_pool).map(|(a, b)| a * b).sum()).collect();
            let mean: f32 = weights.iter().zip(&along).map(|(w, a)| w * a).sum();
            for k in (0..m).filter(|k| weights[*k] > 0.0) {
                let of_strength = weights[k] * (along[k] - mean) * scale;
                let out = &mut of_phi[(i * m + k) * pool..][..pool];
                for j in 0..pool {
                    out[j] = weights[k] * of_pool[j] + of_strength * query[j];
                    of_query[j] += of_strength * phi(k)[j];
                }
            }
        }
        self.tokens.learn(&passed.tokens, of_phi);
        self.attention.learn(&of_query);
    }
}

/// A batch of rows of a table with the arms and preferences given.
pub(super) fn decisions(
    features: &FeatureMatrix,
    ability: &[f32],
    m: usize,
    rows: &[usize],
    allowed: Vec<bool>,
    preference: Vec<f32>,
) -> Decisions {
    Decisions {
        features: rows.iter().flat_map(|row| features.row(*row).iter().copied()).collect(),
        ability: rows.iter().flat_map(|row| ability[row * m..(row + 1) * m].iter().copied()).collect(),
        allowed,
        preference,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt as _;
    use routewright_data::rng;

    /// What a plain gradient step of a small rate does to the sum of `weights * outputs` must be what the
    /// gradient promises: the parts of the backward pass are tested together, by the slope of the loss along the
    /// step each part takes.
    #[test]
    fn the_policy_learns_what_the_gradient_says_and_masks_what_is_not_in_the_set() {
        let (n, m) = (6, 3);
        let sizes = SetSizes { dim: 4, width: 3, pool: 5, hidden: 7 };
        let mut rng = rng::stream(1, "set policy");
        let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random::<f32>() - 0.5).collect() };
        let mut policy = SetPolicy::new(sizes, draw(m * 3), vec![0.1, 0.5, 1.0], 5e-3, 2);
        let mut batch = Decisions {
            features: draw(n * 4),
            ability: draw(n * m).iter().map(|p| p + 0.5).collect(),
            allowed: vec![true; n * m],
            preference: vec![0.3; n],
        };
        batch.allowed[1] = false;
        // Every query shall call arm 2: cross-entropy falls towards 0.
        let loss = |policy: &mut SetPolicy| {
            let p = softmax(&policy.forward(&batch).outputs, &batch.allowed, m);
            assert_eq!(p[1], 0.0, "a masked arm has no probability");
            p.chunks_exact(m).map(|row| -row[2].ln()).sum::<f32>() / n as f32
        };
        let before = loss(&mut policy);
        for _ in 0..150 {
            let passed = policy.forward(&batch);
            let mut gradient = softmax(&passed.outputs, &batch.allowed, m);
            (0..n).for_each(|i| gradient[i * m + 2] -= 1.0);
            gradient.iter_mut().for_each(|g| *g /= n as f32);
            policy.learn(&passed, &gradient);
        }
        let after = loss(&mut policy);
        assert!(after < 0.2 * before, "{before} to {after}");
    }

    #[test]
    fn the_gradient_of_tokens_and_attention_is_the_slope_of_the_outputs() {
        // With one arm's identity as the only direction, L = sum of outputs; compared with finite differences of
        // the attention query, which only the backward pass through the pool reaches.
        let sizes = SetSizes { dim: 1, width: 2, pool: 3, hidden: 4 };
        let batch = Decisions {
            features: vec![0.7, -0.2],
            ability: vec![0.9, 0.4, 0.2, 0.8],
            allowed: vec![true; 4],
            preference: vec![0.5, 1.0],
        };
        let identities = vec![0.5, -1.0, 0.8, 0.3];
        let new = || SetPolicy::new(sizes, identities.clone(), vec![0.2, 1.0], 1e-3, 5);
        let sum = |policy: &mut SetPolicy| policy.forward(&batch).outputs.iter().sum::<f32>();
        let mut policy = new();
        let passed = policy.forward(&batch);
        policy.learn(&passed, &[1.0; 4]);
        // The first step of AdamW moves every number by the rate against the sign of its gradient.
        let start = new();
        for i in 0..3 {
            let moved = policy.attention.values()[i] - start.attention.values()[i];
            let shifted = |by: f32| {
                let mut other = new();
                let mut values = start.attention.values().to_vec();
                values[i] += by;
                other.attention = FreeParameters::new(values, AdamW::default());
                sum(&mut other)
            };
            let slope = (shifted(0.05) - shifted(-0.05)) / 0.1;
            assert!(slope.abs() > 1e-5, "the test has no slope at {i}");
            assert!(moved * slope < 0.0, "query {i}: moved {moved} against a slope of {slope}");
        }
    }
}
