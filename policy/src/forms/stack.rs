//! Dense layers one after the other: the layers below a head.

use super::neural::{insert_dense, take_dense};
use crate::LoadError;
use routewright_data::Tensors;
use routewright_data::dense::{Activation, Dense};
use serde::{Deserialize, Serialize};

/// Layers of a stack, at most: a stored policy asking for more is not one of ours.
const LAYERS_MAX: usize = 64;

/// Layers over features of width `dim`; without layers it hands the features on.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    dim: usize,
    pub(super) layers: Vec<Dense>,
}

/// A layer, as configurations of forms name it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LayerConfig {
    width: usize,
    activation: Activation,
}

impl Stack {
    /// Layers whose widths follow each other.
    ///
    /// # Panics
    /// If they do not (a bug of the caller).
    pub fn new(dim: usize, layers: Vec<Dense>) -> Self {
        let mut width = dim;
        for layer in &layers {
            assert_eq!(layer.n_in(), width, "stack: widths of layers");
            width = layer.n_out();
        }
        Self { dim, layers }
    }

    /// Width of the features.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Width of what comes out.
    pub fn width(&self) -> usize {
        self.layers.last().map_or(self.dim, Dense::n_out)
    }

    /// Hidden vectors `(n_rows, width)` of features `(n_rows, dim)`.
    pub fn hidden(&self, features: &[f32]) -> Vec<f32> {
        let Some((first, rest)) = self.layers.split_first() else {
            return features.to_vec();
        };
        rest.iter().fold(first.forward(features), |hidden, layer| layer.forward(&hidden))
    }

    /// Stores the layers as `layers.0`, `layers.1`, ... and says what they are.
    pub(super) fn store(&self, tensors: &mut Tensors) -> Vec<LayerConfig> {
        for (i, layer) in self.layers.iter().enumerate() {
            insert_dense(tensors, &format!("layers.{i}"), layer);
        }
        let config = |layer: &Dense| LayerConfig { width: layer.n_out(), activation: layer.activation() };
        self.layers.iter().map(config).collect()
    }

    pub(super) fn restore(
        form: &'static str,
        dim: usize,
        config: &[LayerConfig],
        tensors: &mut Tensors,
    ) -> Result<Self, LoadError> {
        let refuse = |reason: String| LoadError::Config { form, reason };
        if config.len() > LAYERS_MAX {
            return Err(refuse(format!("it has {} layers, at most {LAYERS_MAX}", config.len())));
        }
        let mut width = dim;
        let mut layers = Vec::with_capacity(config.len());
        for (i, layer) in config.iter().enumerate() {
            if layer.width == 0 {
                return Err(refuse(format!("layer {i} has width `0`, expected at least 1")));
            }
            let shape = [width, layer.width];
            layers.push(take_dense(tensors, &format!("layers.{i}"), shape, layer.activation)?);
            width = layer.width;
        }
        if width == 0 {
            return Err(refuse("its head has width `0`, expected at least 1".to_owned()));
        }
        Ok(Self { dim, layers })
    }
}
