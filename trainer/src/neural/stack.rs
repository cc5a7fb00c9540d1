//! A small network whose gradient the caller works out: the building block of policy gradients.
//!
//! Dense layers with GELU and a linear output, trained by the hand-written engine of the processor. A caller
//! asks for the outputs, works out what the loss says of them, and hands that gradient back.

use super::cpu::CpuEngine;
use super::engine::Engine;
use super::network::{HeadShape, LayerShape, Network};
use super::optim::AdamW;
use super::targets::Targets;
use routewright_data::Tensors;
use routewright_data::dense::{Activation, Dense};
use routewright_policy::LoadError;

/// Layers of width `hidden` from `dim` inputs to `n_out` outputs.
#[derive(Debug)]
pub struct Stack {
    engine: CpuEngine,
    n_layers: usize,
}

impl Stack {
    /// A network at the start of training.
    pub fn new(dim: usize, hidden: &[usize], n_out: usize, optimizer: AdamW, seed: u64) -> Self {
        let layer = |&width: &usize| LayerShape { width, activation: Activation::Gelu, bias: true };
        let network = Network {
            dim,
            layers: hidden.iter().map(layer).collect(),
            head: HeadShape::Linear(Activation::Identity),
            n_arms: n_out,
        };
        let parameters = network.init(seed);
        Self { engine: CpuEngine::new(network, parameters, optimizer), n_layers: hidden.len() }
    }

    /// Outputs `(n, n_out)` of inputs `(n, dim)`.
    pub fn outputs(&mut self, input: &[f32]) -> Vec<f32> {
        self.engine.outputs(input)
    }

    /// Weights, moments and the number of steps: what a checkpoint holds.
    pub fn save(&self) -> Tensors {
        let mut tensors = Tensors::new();
        self.engine.save(&mut tensors);
        tensors
    }

    /// Goes on from what [`save`](Self::save) gave.
    ///
    /// # Errors
    /// If a tensor is missing or misshapen.
    pub fn restore(&mut self, tensors: &mut Tensors) -> Result<(), LoadError> {
        self.engine.restore(tensors)
    }

    /// Goes on with another learning rate.
    pub fn set_rate(&mut self, rate: f32) {
        self.engine.set_rate(rate);
    }

    /// Takes a step against the gradient `(n, n_out)` of the loss with respect to the outputs.
    pub fn learn(&mut self, input: &[f32], gradient: Vec<f32>) {
        self.engine.step(input, &Targets::Gradient(gradient), None);
    }

    /// The same; returns the gradient of the loss with respect to the inputs, as it was before the step.
    pub fn learn_through(&mut self, input: &[f32], gradient: Vec<f32>) -> Vec<f32> {
        let mut below = Vec::new();
        self.engine.step(input, &Targets::Gradient(gradient), Some(&mut below));
        below
    }

    /// The gradient of the loss with respect to the inputs, without a step.
    pub fn through(&mut self, input: &[f32], gradient: Vec<f32>) -> Vec<f32> {
        let mut below = Vec::new();
        self.engine.differentiate(input, &Targets::Gradient(gradient), Some(&mut below));
        below
    }

    /// The layers as a policy stores them, the output last.
    pub fn layers(&self) -> Vec<Dense> {
        let parameters = self.engine.parameters();
        let activation = |i| if i < self.n_layers { Activation::Gelu } else { Activation::Identity };
        let dense = parameters.chunks_exact(2).enumerate();
        dense.map(|(i, p)| Dense::new(p[0].values.clone(), p[1].values.clone(), activation(i))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_layers_put_out_the_same_and_gradients_are_slopes() {
        let optimizer = AdamW { rate: 0.01, weight_decay: 0.0, ..AdamW::default() };
        let mut stack = Stack::new(3, &[8], 2, optimizer, 1);
        let input = [0.5, -0.3, 0.8, 0.1, 0.9, -0.7];
        let forward = |stack: &Stack, input: &[f32]| {
            stack.layers().iter().fold(input.to_vec(), |x, layer| layer.forward(&x))
        };
        let (ours, stored) = (stack.outputs(&input), forward(&stack, &input));
        assert!(ours.iter().zip(&stored).all(|(a, b)| (a - b).abs() < 1e-6), "{ours:?} {stored:?}");
        // L = sum of the first output: its slope by finite differences.
        let below = stack.through(&input, vec![1.0, 0.0, 1.0, 0.0]);
        for at in 0..6 {
            let shifted = |by: f32| {
                let mut input = input;
                input[at] += by;
                let z = forward(&stack, &input);
                z[0] + z[2]
            };
            let slope = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
            assert!((below[at] - slope).abs() < 1e-3, "{below:?}: {slope} at {at}");
        }
        let before = stack.outputs(&input)[0];
        (0..20).for_each(|_| stack.learn(&input, vec![1.0, 0.0, 0.0, 0.0]));
        assert!(stack.outputs(&input)[0] < before, "a step goes against the gradient");
    }
}
