//! The engine written in burn: any backend, gradients by automatic differentiation.
//!
//! Losses are written as tensor expressions, each once, with the same formulas as `losses.rs`.

use super::engine::{Engine, store_step, take_step};
use super::network::{self, HeadShape, Network, Parameter};
use super::optim::AdamW;
use super::targets::{ClusterTargets, ContrastTargets, Duel, ScoreLoss, Targets};
use burn_tensor::activation;
use burn_tensor::backend::{AutodiffBackend, Backend};
use burn_tensor::{Int, Tensor, TensorData};
use routewright_data::Tensors;
use routewright_data::dense::Activation;
use routewright_policy::LoadError;

/// Lengths below this count as zero.
const NORM_MIN: f32 = 1e-12;
/// Taken off the outputs of arms without a target, so that no softmax sees them.
const ABSENT: f32 = 1e9;

/// The engine over backend `B`.
#[derive(Debug)]
pub struct AutodiffEngine<B: AutodiffBackend> {
    network: Network,
    optimizer: AdamW,
    device: B::Device,
    /// Names and shapes; the values live in `tensors`.
    parameters: Vec<Parameter>,
    tensors: Vec<Tensor<B::InnerBackend, 2>>,
    moments: [Vec<Tensor<B::InnerBackend, 2>>; 2],
    step: u64,
}

/// Loss and gradients of a batch.
struct Differential<B: Backend> {
    loss: f32,
    parameters: Vec<Tensor<B, 2>>,
    input: Option<Tensor<B, 2>>,
}

impl<B: AutodiffBackend> AutodiffEngine<B> {
    /// An engine over parameters at the start of training.
    pub fn new(network: Network, parameters: Vec<Parameter>, optimizer: AdamW, device: B::Device) -> Self {
        let tensors: Vec<_> = parameters.iter().map(|p| upload(&p.values, p.shape, &device)).collect();
        let zeros: Vec<_> = parameters.iter().map(|p| Tensor::zeros(p.shape, &device)).collect();
        let moments = [zeros.clone(), zeros];
        Self { network, optimizer, device, parameters, tensors, moments, step: 0 }
    }

    fn differentiate(
        &self,
        input: &[f32],
        targets: &Targets,
        of_input: bool,
    ) -> Differential<B::InnerBackend> {
        let n = input.len() / self.network.dim.max(1);
        let parameters: Vec<Tensor<B, 2>> =
            self.tensors.iter().map(|t| Tensor::from_inner(t.clone()).require_grad()).collect();
        let mut x: Tensor<B, 2> = upload(input, [n, self.network.dim], &self.device);
        if of_input {
            x = x.require_grad();
        }
        let loss = loss(&self.network, &parameters, x.clone(), targets);
        let grads = loss.backward();
        let grad = |p: &Tensor<B, 2>| p.grad(&grads).unwrap_or_else(|| p.clone().inner().zeros_like());
        Differential {
            loss: loss.into_scalar().elem_f32(),
            parameters: parameters.iter().map(grad).collect(),
            input: of_input.then(|| grad(&x)),
        }
    }

    /// AdamW in tensor operations; the same formula as `optim.rs`.
    fn update(&mut self, grads: Vec<Tensor<B::InnerBackend, 2>>) {
        self.step += 1;
        let a = self.optimizer.at(self.step);
        let [first, second] = &mut self.moments;
        for (((w, m), v), g) in self.tensors.iter_mut().zip(first).zip(second).zip(grads) {
            *m = m.clone() * a.beta_1 + g.clone() * (1.0 - a.beta_1);
            *v = v.clone() * a.beta_2 + g.clone() * g * (1.0 - a.beta_2);
            let delta = m.clone() * a.rate / (v.clone().sqrt() * a.root + a.epsilon);
            *w = w.clone() * a.keep - delta;
        }
    }
}

impl<B: AutodiffBackend> Engine for AutodiffEngine<B> {
    fn step(&mut self, input: &[f32], targets: &Targets, input_gradient: Option<&mut Vec<f32>>) -> f32 {
        let d = self.differentiate(input, targets, input_gradient.is_some());
        if let (Some(out), Some(gradient)) = (input_gradient, d.input) {
            *out = download(gradient);
        }
        self.update(d.parameters);
        d.loss
    }

    fn parameters(&self) -> Vec<Parameter> {
        with_values(&self.parameters, &self.tensors)
    }

    fn save(&self, tensors: &mut Tensors) {
        network::store(&self.parameters(), "weights.", tensors);
        network::store(&with_values(&self.parameters, &self.moments[0]), "moment_1.", tensors);
        network::store(&with_values(&self.parameters, &self.moments[1]), "moment_2.", tensors);
        store_step("optimizer.step", self.step, tensors);
    }

    fn restore(&mut self, tensors: &mut Tensors) -> Result<(), LoadError> {
        let [first, second] = &mut self.moments;
        for (prefix, target) in [("weights.", &mut self.tensors), ("moment_1.", first), ("moment_2.", second)]
        {
            network::restore(&mut self.parameters, prefix, tensors)?;
            *target = self.parameters.iter().map(|p| upload(&p.values, p.shape, &self.device)).collect();
        }
        self.step = take_step("optimizer.step", tensors)?;
        Ok(())
    }
}

fn with_values<B: Backend>(like: &[Parameter], tensors: &[Tensor<B, 2>]) -> Vec<Parameter> {
    let parameter =
        |(p, t): (&Parameter, &Tensor<B, 2>)| Parameter { values: download(t.clone()), ..p.clone() };
    like.iter().zip(tensors).map(parameter).collect()
}

pub(super) fn upload<B: Backend>(values: &[f32], shape: [usize; 2], device: &B::Device) -> Tensor<B, 2> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

pub(super) fn indices<B: Backend, const D: usize>(
    values: &[u32],
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D, Int> {
    let values: Vec<i32> = values.iter().map(|&v| v as i32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Values of a tensor on the host. A backend that cannot hand them out yields NaN, which every reader of a
/// checkpoint or an artifact refuses.
pub(super) fn download<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    let n = tensor.shape().num_elements();
    tensor.into_data().convert::<f32>().into_vec().unwrap_or_else(|_| vec![f32::NAN; n])
}

trait ElemF32 {
    fn elem_f32(self) -> f32;
}

impl<E: burn_tensor::ElementConversion> ElemF32 for E {
    fn elem_f32(self) -> f32 {
        self.elem()
    }
}

/// The loss of a batch: layers, head, loss.
fn loss<B: Backend>(
    network: &Network,
    parameters: &[Tensor<B, 2>],
    input: Tensor<B, 2>,
    targets: &Targets,
) -> Tensor<B, 1> {
    let mut parameters = parameters.iter().cloned();
    let with_bias = |x: Tensor<B, 2>, bias: Option<Tensor<B, 2>>| match bias {
        Some(bias) => x + bias,
        None => x,
    };
    let mut h = input;
    for layer in &network.layers {
        let (weights, bias) = (parameters.next(), if layer.bias { parameters.next() } else { None });
        let Some(weights) = weights else { break };
        h = activate(with_bias(h.matmul(weights), bias), layer.activation);
    }
    let head: Vec<Tensor<B, 2>> = parameters.collect();
    if network.head == HeadShape::Cosine {
        h = unit_rows(h);
    }
    let z = match network.head {
        HeadShape::Linear(_) => with_bias(h.clone().matmul(head[0].clone()), head.get(1).cloned()),
        HeadShape::Cosine => h.clone().matmul(unit_rows(head[0].clone()).transpose()),
        HeadShape::Factor => (h.clone() * head[1].clone()).matmul(unit_rows(head[0].clone()).transpose()),
    };
    match targets {
        Targets::Contrast(t) => {
            let loss = sample_llm(z, t);
            match &t.cluster {
                Some(cluster) => loss + sample_sample(h, cluster),
                None => loss,
            }
        }
        Targets::Scores(labels, kind) => scores(z, labels, *kind),
        Targets::Distribution(targets) => divergence(z, targets),
        Targets::Preferences(labels) => preferences(z, labels),
        Targets::Duels(judged) => duels(z, judged),
        Targets::Gradient(gradient) => {
            let (device, shape) = (z.device(), z.dims());
            // Its gradient is the one given.
            (z * upload(gradient, shape, &device)).sum()
        }
    }
}

fn activate<B: Backend>(x: Tensor<B, 2>, activation: Activation) -> Tensor<B, 2> {
    match activation {
        Activation::Identity => x,
        Activation::Relu => activation::relu(x),
        Activation::Gelu => activation::gelu(x),
        Activation::Sigmoid => activation::sigmoid(x),
    }
}

/// Rows over their lengths.
pub(super) fn unit_rows<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let norms = x.clone().powi_scalar(2).sum_dim(1).sqrt().clamp_min(NORM_MIN);
    x / norms
}

/// The sample-LLM loss on cosines `(n, m)`; formula in [`super::losses::sample_llm`].
pub(super) fn sample_llm<B: Backend>(cosines: Tensor<B, 2>, t: &ContrastTargets) -> Tensor<B, 1> {
    let (device, [n, _]) = (cosines.device(), cosines.dims());
    let (kp, kn) = (t.n_positives, t.n_negatives);
    let z = cosines / t.temperature;
    let positive = z.clone().gather(1, indices(&t.positives, [n, kp], &device));
    let negative = z.gather(1, indices(&t.negatives, [n, kn], &device));
    let counts = upload::<B>(&t.negative_weight, [n, kn], &device).unsqueeze_dim::<3>(1);
    // (n, K+, K-)
    let margins = negative.unsqueeze_dim::<3>(1) - positive.unsqueeze_dim::<3>(2);
    let outside = (margins.exp() * counts).sum_dim(2).squeeze_dim::<2>(2);
    let weight = upload(&t.positive_weight, [n, kp], &device);
    (outside.log1p() * weight).sum() / n as f32
}

/// The sample-sample loss on unit vectors `(n, d)`; formula in [`super::losses::sample_sample`].
pub(super) fn sample_sample<B: Backend>(units: Tensor<B, 2>, t: &ClusterTargets) -> Tensor<B, 1> {
    let (device, [n, d]) = (units.device(), units.dims());
    let width = 1 + t.n_outsiders;
    let members = indices(&t.members, [n * width], &device);
    let members = units.clone().select(0, members).reshape([n, width, d]);
    let similarities = (units.unsqueeze_dim::<3>(1) * members).sum_dim(2).squeeze_dim::<2>(2) / t.temperature;
    let mate = similarities.clone().slice([0..n, 0..1]);
    let outside = (similarities.slice([0..n, 1..width]) - mate).exp().sum_dim(1).squeeze_dim::<1>(1);
    let weight = Tensor::<B, 1>::from_data(TensorData::new(t.weight.clone(), [n]), &device);
    let n_anchors = t.weight.iter().sum::<f32>().max(1.0);
    (outside.log1p() * weight).sum() * (t.scale / n_anchors)
}

/// Squared error or cross-entropy on sums `(n, m)`; formula in [`super::losses::scores`].
pub(super) fn scores<B: Backend>(z: Tensor<B, 2>, labels: &[f32], kind: ScoreLoss) -> Tensor<B, 1> {
    let (device, shape) = (z.device(), z.dims());
    let present: Vec<f32> = labels.iter().map(|y| f32::from(!y.is_nan())).collect();
    let known: Vec<f32> = labels.iter().map(|y| if y.is_nan() { 0.0 } else { *y }).collect();
    let n_present = present.iter().sum::<f32>().max(1.0);
    let (mask, y) = (upload::<B>(&present, shape, &device), upload::<B>(&known, shape, &device));
    let cells = match kind {
        ScoreLoss::Mse => (z - y).powi_scalar(2),
        ScoreLoss::Bce => softplus(z.clone()) - y * z,
    };
    (cells * mask).sum() / n_present
}

/// Divergence of softmaxes from distributions over the arms observed; formula in [`super::losses::divergence`].
pub(super) fn divergence<B: Backend>(z: Tensor<B, 2>, targets: &[f32]) -> Tensor<B, 1> {
    let (device, [n, m]) = (z.device(), z.dims());
    let present: Vec<f32> = targets.iter().map(|q| f32::from(!q.is_nan())).collect();
    let known: Vec<f32> = targets.iter().map(|q| if q.is_nan() { 0.0 } else { *q }).collect();
    let n_judged = present.chunks_exact(m).filter(|row| row.contains(&1.0)).count().max(1);
    let entropy: f32 = known.iter().filter(|q| **q > 0.0).map(|q| q * q.ln()).sum();
    let absent: Vec<f32> = present.iter().map(|p| (p - 1.0) * ABSENT).collect();
    let z = z + upload::<B>(&absent, [n, m], &device);
    let cross = activation::log_softmax(z, 1) * upload::<B>(&known, [n, m], &device);
    (cross.sum().neg() + entropy) / n_judged as f32
}

/// The pairwise logistic loss on strengths `(n, m)`; formula in [`super::losses::preferences`].
pub(super) fn preferences<B: Backend>(z: Tensor<B, 2>, labels: &[f32]) -> Tensor<B, 1> {
    let (device, [n, m]) = (z.device(), z.dims());
    // mask[i][a][b] = 1 where a beat b; NaN compares false
    let beats: Vec<f32> = labels
        .chunks_exact(m)
        .flat_map(|row| row.iter().flat_map(move |a| row.iter().map(move |b| f32::from(a > b))))
        .collect();
    let n_pairs = beats.iter().sum::<f32>().max(1.0);
    let mask = Tensor::<B, 3>::from_data(TensorData::new(beats, [n, m, m]), &device);
    let margins = z.clone().unsqueeze_dim::<3>(1) - z.unsqueeze_dim::<3>(2);
    (softplus(margins) * mask).sum() / n_pairs
}

/// The loss of judged duels on strengths `(n, m)`; formula in [`super::losses::duels`].
pub(super) fn duels<B: Backend>(z: Tensor<B, 2>, judged: &[Duel]) -> Tensor<B, 1> {
    let (device, [n, m], k) = (z.device(), z.dims(), judged.len());
    let total: f32 = judged.iter().map(|duel| duel.weight).sum();
    if total <= 0.0 {
        return z.sum() * 0.0;
    }
    let flat = z.reshape([n * m]);
    let arms = |arm: fn(&Duel) -> u32| judged.iter().map(arm).collect::<Vec<u32>>();
    let column = |value: fn(&Duel) -> f32| {
        let values: Vec<f32> = judged.iter().map(value).collect();
        Tensor::<B, 1>::from_data(TensorData::new(values, [k]), &device)
    };
    let a = flat.clone().select(0, indices(&arms(|duel| duel.a), [k], &device));
    let margin = flat.select(0, indices(&arms(|duel| duel.b), [k], &device)) - a;
    let loss = softplus(margin.clone()) - margin * column(|duel| 1.0 - duel.share);
    (loss * column(|duel| duel.weight)).sum() / total
}

/// `ln(1 + exp(x))`, stable.
fn softplus<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    x.clone().clamp_min(0.0) + x.abs().neg().exp().log1p()
}

#[cfg(test)]
#[path = "autodiff_tests.rs"]
mod tests;
