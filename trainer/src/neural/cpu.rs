//! The engine of the processor: forward, backward and update by hand.
//!
//! A step is three matrix products a layer, the losses of `losses.rs` and one fused pass of AdamW. Buffers
//! are kept between steps. The result does not depend on the number of threads.

use super::engine::{Engine, store_step, take_step};
use super::losses::{self, add_scaled, dot};
use super::network::{self, HeadShape, Network, Parameter};
use super::optim::AdamW;
use super::product::{View, product};
use super::targets::Targets;
use routewright_data::Tensors;
use routewright_data::dense::{Activation, gelu_slope};
use routewright_policy::LoadError;

/// Lengths below this count as zero.
const NORM_MIN: f32 = 1e-12;

/// The engine.
#[derive(Debug)]
pub struct CpuEngine {
    network: Network,
    optimizer: AdamW,
    parameters: Vec<Parameter>,
    /// First and second moment of each parameter.
    moments: [Vec<Parameter>; 2],
    /// Gradient of each parameter.
    grads: Vec<Vec<f32>>,
    step: u64,
    /// Sums and outputs of each layer, `(n, width)`.
    sums: Vec<Vec<f32>>,
    outputs: Vec<Vec<f32>>,
}

impl CpuEngine {
    /// An engine over parameters at the start of training.
    pub fn new(network: Network, parameters: Vec<Parameter>, optimizer: AdamW) -> Self {
        let zeros = |p: &Parameter| Parameter { values: vec![0.0; p.values.len()], ..p.clone() };
        let moments: Vec<Parameter> = parameters.iter().map(zeros).collect();
        let grads = parameters.iter().map(|p| vec![0.0; p.values.len()]).collect();
        let buffers = vec![Vec::new(); network.layers.len()];
        Self {
            network,
            optimizer,
            parameters,
            moments: [moments.clone(), moments],
            grads,
            step: 0,
            sums: buffers.clone(),
            outputs: buffers,
        }
    }

    /// Loss and gradients of a batch, without a step.
    pub(super) fn differentiate(
        &mut self,
        input: &[f32],
        targets: &Targets,
        input_gradient: Option<&mut Vec<f32>>,
    ) -> f32 {
        let n = input.len() / self.network.dim.max(1);
        // Gradients of vectors are summed up; those of matrices are overwritten by a product.
        let vectors = self.parameters.iter().zip(&mut self.grads).filter(|(p, _)| p.shape[0] == 1);
        vectors.for_each(|(_, g)| g.fill(0.0));
        self.forward(input, n);
        let (hidden, mut grad) = (self.outputs.last().map_or(input, Vec::as_slice), Vec::new());
        let head = self.network.layers.iter().map(|l| 1 + usize::from(l.bias)).sum();
        let mut head = HeadStep {
            n,
            m: self.network.n_arms,
            d: self.network.width(),
            hidden,
            targets,
            parameters: &self.parameters[head..],
            grads: &mut self.grads[head..],
            hidden_grad: &mut grad,
        };
        let loss = match self.network.head {
            HeadShape::Linear(_) => head.linear(),
            HeadShape::Cosine => head.cosine(),
            HeadShape::Factor => head.factor(),
        };
        self.backward(input, n, grad, input_gradient);
        loss
    }

    /// Goes on with another learning rate.
    pub(super) fn set_rate(&mut self, rate: f32) {
        self.optimizer.rate = rate;
    }

    /// What a linear head puts out for a batch, `(n, n_arms)`, without a step.
    pub(super) fn outputs(&mut self, input: &[f32]) -> Vec<f32> {
        let n = input.len() / self.network.dim.max(1);
        self.forward(input, n);
        let hidden = self.outputs.last().map_or(input, Vec::as_slice);
        let [.., weights, bias] = self.parameters.as_slice() else { return Vec::new() };
        let mut z = bias.values.repeat(n);
        let weights = View::new(&weights.values, self.network.width(), self.network.n_arms);
        product(View::new(hidden, n, self.network.width()), weights, &mut z, true);
        z
    }

    fn forward(&mut self, input: &[f32], n: usize) {
        let (mut n_in, mut at) = (self.network.dim, 0);
        for (i, layer) in self.network.layers.iter().enumerate() {
            let (before, rest) = self.outputs.split_at_mut(i);
            let x = before.last().map_or(input, Vec::as_slice);
            let sums = &mut self.sums[i];
            sums.clear();
            if layer.bias {
                for _ in 0..n {
                    sums.extend_from_slice(&self.parameters[at + 1].values);
                }
            } else {
                sums.resize(n * layer.width, 0.0);
            }
            let weights = View::new(&self.parameters[at].values, n_in, layer.width);
            product(View::new(x, n, n_in), weights, sums, true);
            rest[0].clone_from(sums);
            layer.activation.apply(&mut rest[0]);
            at += 1 + usize::from(layer.bias);
            n_in = layer.width;
        }
    }

    fn backward(
        &mut self,
        input: &[f32],
        n: usize,
        mut grad: Vec<f32>,
        input_gradient: Option<&mut Vec<f32>>,
    ) {
        let mut at: usize = self.network.layers.iter().map(|l| 1 + usize::from(l.bias)).sum();
        for (i, layer) in self.network.layers.iter().enumerate().rev() {
            at -= 1 + usize::from(layer.bias);
            let n_in = if i == 0 { self.network.dim } else { self.network.layers[i - 1].width };
            let x = if i == 0 { input } else { &self.outputs[i - 1] };
            apply_slope(layer.activation, &self.sums[i], &self.outputs[i], &mut grad);
            let grads = View::new(&grad, n, layer.width);
            product(View::new(x, n, n_in).transposed(), grads, &mut self.grads[at], false);
            if layer.bias {
                let bias = &mut self.grads[at + 1];
                grad.chunks_exact(layer.width).for_each(|row| add_scaled(bias, 1.0, row));
            }
            if i > 0 || input_gradient.is_some() {
                let mut below = vec![0.0; n * n_in];
                let weights = View::new(&self.parameters[at].values, n_in, layer.width);
                product(grads, weights.transposed(), &mut below, false);
                grad = below;
            }
        }
        if let Some(out) = input_gradient {
            *out = grad;
        }
    }

    /// Gradients of the last batch, in the order of the parameters.
    #[cfg(test)]
    pub(super) fn gradients(&self) -> &[Vec<f32>] {
        &self.grads
    }
}

impl Engine for CpuEngine {
    fn step(&mut self, input: &[f32], targets: &Targets, input_gradient: Option<&mut Vec<f32>>) -> f32 {
        let loss = self.differentiate(input, targets, input_gradient);
        self.step += 1;
        let at = self.optimizer.at(self.step);
        let [first, second] = &mut self.moments;
        for (((p, m), v), g) in self.parameters.iter_mut().zip(first).zip(second).zip(&self.grads) {
            at.update(&mut p.values, &mut m.values, &mut v.values, g);
        }
        loss
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.parameters.clone()
    }

    fn save(&self, tensors: &mut Tensors) {
        network::store(&self.parameters, "weights.", tensors);
        network::store(&self.moments[0], "moment_1.", tensors);
        network::store(&self.moments[1], "moment_2.", tensors);
        store_step("optimizer.step", self.step, tensors);
    }

    fn restore(&mut self, tensors: &mut Tensors) -> Result<(), LoadError> {
        network::restore(&mut self.parameters, "weights.", tensors)?;
        network::restore(&mut self.moments[0], "moment_1.", tensors)?;
        network::restore(&mut self.moments[1], "moment_2.", tensors)?;
        self.step = take_step("optimizer.step", tensors)?;
        Ok(())
    }
}

/// Multiplies a gradient with respect to outputs by the slope of the activation.
fn apply_slope(activation: Activation, sums: &[f32], outputs: &[f32], grad: &mut [f32]) {
    routewright_data::simd::widest(
        #[inline(always)]
        || match activation {
            Activation::Identity => {}
            Activation::Relu => {
                grad.iter_mut().zip(sums).for_each(|(g, s)| *g = if *s > 0.0 { *g } else { 0.0 });
            }
            Activation::Gelu => grad.iter_mut().zip(sums).for_each(|(g, s)| *g *= gelu_slope(*s)),
            Activation::Sigmoid => grad.iter_mut().zip(outputs).for_each(|(g, y)| *g *= y * (1.0 - y)),
        },
    );
}

/// One pass through the head of a batch: `n` queries, `m` arms, width `d`.
struct HeadStep<'a> {
    n: usize,
    m: usize,
    d: usize,
    hidden: &'a [f32],
    targets: &'a Targets,
    parameters: &'a [Parameter],
    grads: &'a mut [Vec<f32>],
    hidden_grad: &'a mut Vec<f32>,
}

impl HeadStep<'_> {
    /// `z = h W + b`.
    fn linear(&mut self) -> f32 {
        let (n, m, d) = (self.n, self.m, self.d);
        let weights = View::new(&self.parameters[0].values, d, m);
        let mut z = self.parameters[1].values.repeat(n);
        product(View::new(self.hidden, n, d), weights, &mut z, true);
        let mut dz = vec![0.0; n * m];
        let loss = judge(&z, m, self.targets, &mut dz);
        let dz_view = View::new(&dz, n, m);
        product(View::new(self.hidden, n, d).transposed(), dz_view, &mut self.grads[0], false);
        dz.chunks_exact(m).for_each(|row| add_scaled(&mut self.grads[1], 1.0, row));
        self.hidden_grad.resize(n * d, 0.0);
        product(dz_view, weights.transposed(), self.hidden_grad, false);
        loss
    }

    /// `z = (h / |h|) (k / |k|)^T`, with the sample-sample loss on `h / |h|`.
    fn cosine(&mut self) -> f32 {
        let (n, m, d) = (self.n, self.m, self.d);
        let (units, norms) = normalize(self.hidden, d);
        let (arms, arm_norms) = normalize(&self.parameters[0].values, d);
        let mut z = vec![0.0; n * m];
        product(View::new(&units, n, d), View::new(&arms, m, d).transposed(), &mut z, false);
        let mut dz = vec![0.0; n * m];
        let mut loss = judge(&z, m, self.targets, &mut dz);
        let dz = View::new(&dz, n, m);
        self.hidden_grad.resize(n * d, 0.0);
        product(dz, View::new(&arms, m, d), self.hidden_grad, false);
        if let Targets::Contrast(t) = self.targets
            && let Some(cluster) = &t.cluster
        {
            loss += losses::sample_sample(&units, d, cluster, self.hidden_grad);
        }
        normalize_backward(&units, &norms, d, self.hidden_grad);
        product(dz.transposed(), View::new(&units, n, d), &mut self.grads[0], false);
        normalize_backward(&arms, &arm_norms, d, &mut self.grads[0]);
        loss
    }

    /// `z = (h * w) (p / |p|)^T`.
    fn factor(&mut self) -> f32 {
        let (n, m, d) = (self.n, self.m, self.d);
        let mix = &self.parameters[1].values;
        let (arms, arm_norms) = normalize(&self.parameters[0].values, d);
        let mut mixed = self.hidden.to_vec();
        mixed.chunks_exact_mut(d).for_each(|row| row.iter_mut().zip(mix).for_each(|(h, w)| *h *= w));
        let mut z = vec![0.0; n * m];
        product(View::new(&mixed, n, d), View::new(&arms, m, d).transposed(), &mut z, false);
        let mut dz = vec![0.0; n * m];
        let loss = judge(&z, m, self.targets, &mut dz);
        let dz = View::new(&dz, n, m);
        product(dz.transposed(), View::new(&mixed, n, d), &mut self.grads[0], false);
        normalize_backward(&arms, &arm_norms, d, &mut self.grads[0]);
        self.hidden_grad.resize(n * d, 0.0);
        product(dz, View::new(&arms, m, d), self.hidden_grad, false);
        let rows = self.hidden_grad.chunks_exact_mut(d).zip(self.hidden.chunks_exact(d));
        for (grad, hidden) in rows {
            for (((g, h), w), dw) in grad.iter_mut().zip(hidden).zip(mix).zip(&mut self.grads[1]) {
                *dw += *g * h;
                *g *= w;
            }
        }
        loss
    }
}

/// Loss of head outputs `(n, m)`; adds its gradient to `dz`.
fn judge(z: &[f32], m: usize, targets: &Targets, dz: &mut [f32]) -> f32 {
    match targets {
        Targets::Contrast(t) => losses::sample_llm(z, m, t, dz),
        Targets::Scores(labels, kind) => losses::scores(z, labels, *kind, dz),
        Targets::Distribution(targets) => losses::divergence(z, targets, m, dz),
        Targets::Preferences(labels) => losses::preferences(z, labels, m, dz),
        Targets::Duels(duels) => losses::duels(z, duels, dz),
        Targets::Gradient(gradient) => {
            dz.copy_from_slice(gradient);
            0.0
        }
    }
}

/// Rows over their lengths, and the lengths.
fn normalize(rows: &[f32], d: usize) -> (Vec<f32>, Vec<f32>) {
    let norms: Vec<f32> = rows.chunks_exact(d).map(|row| dot(row, row).sqrt().max(NORM_MIN)).collect();
    let mut units = rows.to_vec();
    for (row, norm) in units.chunks_exact_mut(d).zip(&norms) {
        row.iter_mut().for_each(|x| *x /= norm);
    }
    (units, norms)
}

/// Gradient with respect to the rows, from the one with respect to unit rows: `(g - u (u . g)) / |x|`.
fn normalize_backward(units: &[f32], norms: &[f32], d: usize, grad: &mut [f32]) {
    for ((unit, norm), grad) in units.chunks_exact(d).zip(norms).zip(grad.chunks_exact_mut(d)) {
        let along = dot(unit, grad);
        grad.iter_mut().zip(unit).for_each(|(g, u)| *g = (*g - u * along) / norm);
    }
}
