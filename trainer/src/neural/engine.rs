//! What takes a training step, whatever it is written in.

use super::network::Parameter;
use super::targets::Targets;
use routewright_data::Tensors;
use routewright_policy::LoadError;
use std::fmt::Debug;

/// A network with its optimiser.
pub trait Engine: Debug {
    /// Takes one step of AdamW on a batch: `input` is `(n, dim)`, `targets` speak of the same `n` queries.
    /// Returns the loss before the step.
    ///
    /// `input_gradient`, where given, is overwritten by the gradient of the loss with respect to `input`,
    /// for an encoder in front of the network.
    fn step(&mut self, input: &[f32], targets: &Targets, input_gradient: Option<&mut Vec<f32>>) -> f32;

    /// The weights as they are now.
    fn parameters(&self) -> Vec<Parameter>;

    /// Weights, moments and the number of steps taken, for a checkpoint.
    fn save(&self, tensors: &mut Tensors);

    /// Continues from what [`Engine::save`] saved.
    ///
    /// # Errors
    /// If a tensor is missing, misshapen or not finite.
    fn restore(&mut self, tensors: &mut Tensors) -> Result<(), LoadError>;
}

/// Stores a step number, 64 bits in two.
pub(super) fn store_step(name: &str, step: u64, tensors: &mut Tensors) {
    tensors.insert_u32(name, &[2], vec![step as u32, (step >> 32) as u32]);
}

/// Takes what [`store_step`] stored.
pub(super) fn take_step(name: &str, tensors: &mut Tensors) -> Result<u64, LoadError> {
    let halves = tensors.take_u32(name, &[2])?;
    Ok(u64::from(halves[0]) | u64::from(halves[1]) << 32)
}
