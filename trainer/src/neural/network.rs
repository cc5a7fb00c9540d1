//! What is trained: sizes of a network, its parameters as plain tensors, and the policy form made of them.

use rand::RngExt;
use rand_distr::{Distribution, Normal};
use routewright_data::dense::{Activation, Dense};
use routewright_data::{Tensors, rng};
use routewright_policy::forms::{Calibration, CostModel, Factor, Head, Neural};
use routewright_policy::{LoadError, Predictor};

/// Standard deviation of the arm vectors at the start (released code of RouterDC).
const ARM_SD: f32 = 0.78;

/// One dense layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerShape {
    /// Number of outputs.
    pub width: usize,
    /// What is applied to the sums.
    pub activation: Activation,
    /// Whether there is a bias.
    pub bias: bool,
}

/// The head on top of the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadShape {
    /// `h W + b`; the activation belongs to the prediction, losses read the sums.
    Linear(Activation),
    /// `cos(h, k_arm)`.
    Cosine,
    /// `w . (p_arm / |p_arm| * h)`.
    Factor,
}

/// Sizes of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Width of the inputs.
    pub dim: usize,
    /// Dense layers, first one first.
    pub layers: Vec<LayerShape>,
    /// The head.
    pub head: HeadShape,
    /// Number of arms.
    pub n_arms: usize,
}

/// One parameter tensor, a matrix (a vector is a matrix of one row), row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Name, unique in its network.
    pub name: String,
    /// Rows and columns.
    pub shape: [usize; 2],
    /// Values.
    pub values: Vec<f32>,
}

impl Network {
    /// Width the head reads.
    pub fn width(&self) -> usize {
        self.layers.last().map_or(self.dim, |layer| layer.width)
    }

    /// Parameters at the start of training: layers uniform in `±1 / sqrt(n_in)` (PyTorch's default), arm
    /// vectors normal with standard deviation 0.78 (RouterDC).
    pub fn init(&self, seed: u64) -> Vec<Parameter> {
        let mut parameters = Vec::new();
        let mut n_in = self.dim;
        for (i, layer) in self.layers.iter().enumerate() {
            let name = format!("layers.{i}");
            push_dense(&mut parameters, &name, [n_in, layer.width], layer.bias, seed);
            n_in = layer.width;
        }
        let normal = |name: &str, rows: usize| {
            let mut rng = rng::stream(seed, name);
            // The deviation is a positive constant: the distribution always exists.
            let values = Normal::new(0.0, ARM_SD).map_or_else(
                |_| vec![0.0; rows * n_in],
                |normal| (0..rows * n_in).map(|_| normal.sample(&mut rng)).collect(),
            );
            Parameter { name: name.to_owned(), shape: [rows, n_in], values }
        };
        match self.head {
            HeadShape::Linear(_) => {
                push_dense(&mut parameters, "head", [n_in, self.n_arms], true, seed);
            }
            HeadShape::Cosine => parameters.push(normal("arms", self.n_arms)),
            HeadShape::Factor => {
                parameters.push(normal("arms", self.n_arms));
                push_dense(&mut parameters, "mix", [1, n_in], false, seed);
            }
        }
        parameters
    }

    /// The policy form of trained parameters. `calibration` is for heads whose output is not a score; it is folded into
    /// the weights of a linear head without activation, and one with an activation has none. A
    /// factor head has exactly one layer below it, without bias or activation.
    ///
    /// # Panics
    /// If the parameters are not those of this network (a bug of the caller).
    pub fn predictor(
        &self,
        parameters: &[Parameter],
        calibration: Calibration,
        cost: CostModel,
    ) -> Box<dyn Predictor> {
        let mut values = parameters.iter().map(|p| p.values.clone());
        let mut next = || values.next().unwrap_or_default();
        if self.head == HeadShape::Factor {
            let (projection, arms, mix) = (next(), next(), next());
            return Box::new(Factor::new(arms, projection, mix, calibration, cost));
        }
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let weights = next();
            let bias = if layer.bias { next() } else { vec![0.0; layer.width] };
            layers.push(Dense::new(weights, bias, layer.activation));
        }
        let head = match self.head {
            HeadShape::Linear(Activation::Identity) => {
                let scaled = |value: f32| calibration.slope() * value;
                let weights = next().into_iter().map(scaled).collect();
                let bias = next().into_iter().map(|b| calibration.intercept() + scaled(b)).collect();
                Head::Linear(Dense::new(weights, bias, Activation::Identity))
            }
            HeadShape::Linear(activation) => Head::Linear(Dense::new(next(), next(), activation)),
            HeadShape::Cosine | HeadShape::Factor => Head::Cosine { arms: next(), calibration },
        };
        Box::new(Neural::new(self.dim, layers, head, cost))
    }
}

fn push_dense(parameters: &mut Vec<Parameter>, name: &str, shape: [usize; 2], bias: bool, seed: u64) {
    let mut rng = rng::stream(seed, name);
    // A mix vector `(1, width)` has fan-in `width`, a layer `(n_in, n_out)` has `n_in`.
    let fan_in = if shape[0] == 1 { shape[1] } else { shape[0] };
    let bound = 1.0 / (fan_in.max(1) as f32).sqrt();
    let mut draw = |n: usize| (0..n).map(|_| rng.random_range(-bound..=bound)).collect::<Vec<f32>>();
    let (weights, biases) = (draw(shape[0] * shape[1]), draw(shape[1]));
    parameters.push(Parameter { name: format!("{name}.weight"), shape, values: weights });
    if bias {
        parameters.push(Parameter { name: format!("{name}.bias"), shape: [1, shape[1]], values: biases });
    }
}

/// Stores parameters under `prefix` + name.
pub(super) fn store(parameters: &[Parameter], prefix: &str, tensors: &mut Tensors) {
    for p in parameters {
        tensors.insert_f32(&format!("{prefix}{}", p.name), &p.shape, p.values.clone());
    }
}

/// Overwrites the values of parameters by what [`store`] stored.
pub(super) fn restore(
    parameters: &mut [Parameter],
    prefix: &str,
    tensors: &mut Tensors,
) -> Result<(), LoadError> {
    for p in parameters {
        p.values = tensors.take_f32(&format!("{prefix}{}", p.name), &p.shape)?;
    }
    Ok(())
}
