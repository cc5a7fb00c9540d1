//! The learner of every method of this crate that trains a network on features or on a bag of n-grams.

use super::bag::{BagRows, TrainableBag};
#[cfg(feature = "bert")]
use super::bert::TrainableBert;
use super::engine::Engine;
use super::epochs::{Learner, Sampler};
use super::judge::Judge;
use super::network::{self, Network, Parameter};
use super::targets::Targets;
use routewright_data::rng::{self, Rng};
use routewright_data::{FeatureMatrix, Tensors};
use routewright_policy::forms::{Calibration, CostModel};
use routewright_policy::{Batch, LoadError, Predictor};

/// Makes the targets of the queries of a batch.
pub type MakeTargets<'a> = dyn Fn(&[usize], &mut Rng) -> Targets + 'a;

/// What turns queries into the inputs of the network.
#[derive(Debug)]
pub enum Encoder<'a> {
    /// Features that stay as they are.
    Frozen(&'a FeatureMatrix),
    /// N-gram vectors trained along with the network.
    Bag(Box<TrainableBag>, &'a BagRows),
    /// A sentence encoder trained along with the network.
    #[cfg(feature = "bert")]
    Bert(Box<dyn TrainableBert + 'a>),
}

impl Encoder<'_> {
    /// Inputs of the network `(rows.len(), dim)`.
    pub fn inputs(&self, rows: &[usize]) -> FeatureMatrix {
        match self {
            Self::Frozen(features) => features.select_rows(rows),
            Self::Bag(bag, grams) => FeatureMatrix::from_vec(rows.len(), bag.dim(), bag.pool(grams, rows)),
            #[cfg(feature = "bert")]
            Self::Bert(bert) => {
                let values = bert.pool(rows);
                FeatureMatrix::from_vec(rows.len(), values.len() / rows.len().max(1), values)
            }
        }
    }
}

impl Encoder<'_> {
    /// Replaces the weights by those of [`Learner::weights`].
    ///
    /// # Errors
    /// If one is missing, misshapen or not finite.
    pub fn set_weights(&mut self, weights: &Tensors) -> Result<(), LoadError> {
        match self {
            Self::Frozen(_) => {}
            Self::Bag(bag, _) => {
                let shape = weights.shape("bag")?;
                bag.set_table(weights.clone().take_f32("bag", &shape)?);
            }
            #[cfg(feature = "bert")]
            Self::Bert(bert) => bert.set_weights("bert.", weights)?,
        }
        Ok(())
    }
}

/// How a run is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Criterion {
    /// Score of the arms of greatest prediction.
    Choice,
    /// Negative squared error of the predicted scores.
    Error,
}

/// A network in training.
pub struct NetworkLearner<'a> {
    /// Sizes.
    pub network: Network,
    /// Takes the steps.
    pub engine: Box<dyn Engine>,
    /// In front of the network.
    pub encoder: Encoder<'a>,
    /// Deals the batches.
    pub sampler: Sampler,
    /// Makes the targets of a batch.
    pub targets: &'a MakeTargets<'a>,
    /// Rows of the validation slice.
    pub valid: &'a [usize],
    /// Judges the choices on them.
    pub judge: &'a Judge,
    /// What is judged.
    pub criterion: Criterion,
    /// Standard deviation of the noise added to inputs, 0 for none.
    pub noise: f32,
    /// Seed of every random choice.
    pub seed: u64,
}

impl std::fmt::Debug for NetworkLearner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetworkLearner").field("network", &self.network).finish_non_exhaustive()
    }
}

impl NetworkLearner<'_> {
    fn predictor(&self) -> Box<dyn Predictor> {
        let cost = CostModel::constant(vec![f32::NAN; self.network.n_arms]);
        self.network.predictor(&self.engine.parameters(), Calibration::default(), cost)
    }

    fn add_noise(&self, input: &mut [f32], rng: &mut Rng) {
        use rand_distr::{Distribution, StandardNormal};
        if self.noise > 0.0 {
            for x in input {
                let z: f32 = StandardNormal.sample(rng);
                *x += self.noise * z;
            }
        }
    }
}

impl Learner for NetworkLearner<'_> {
    fn step(&mut self, step: u64) -> f32 {
        let rows = self.sampler.batch(step).to_vec();
        let mut rng = rng::stream(self.seed, &format!("step {step}"));
        let targets = (self.targets)(&rows, &mut rng);
        let mut input = match &mut self.encoder {
            #[cfg(feature = "bert")]
            Encoder::Bert(bert) => bert.forward(&rows),
            encoder => encoder.inputs(&rows).into_values(),
        };
        self.add_noise(&mut input, &mut rng);
        match &mut self.encoder {
            Encoder::Frozen(_) => self.engine.step(&input, &targets, None),
            Encoder::Bag(bag, grams) => {
                let mut gradient = Vec::new();
                let loss = self.engine.step(&input, &targets, Some(&mut gradient));
                bag.update(grams, &rows, &gradient);
                loss
            }
            #[cfg(feature = "bert")]
            Encoder::Bert(bert) => {
                let mut gradient = Vec::new();
                let loss = self.engine.step(&input, &targets, Some(&mut gradient));
                bert.update(&gradient);
                loss
            }
        }
    }

    fn judge(&self) -> f64 {
        let inputs = self.encoder.inputs(self.valid);
        let Ok(prediction) = self.predictor().predict(&Batch::of(&inputs)) else {
            return f64::NEG_INFINITY; // weights that are not finite
        };
        match self.criterion {
            Criterion::Choice => self.judge.mean_of_argmax(&prediction.score),
            Criterion::Error => -self.judge.mean_squared_error(&prediction.score),
        }
    }

    fn weights(&self) -> Tensors {
        let mut tensors = Tensors::new();
        network::store(&self.engine.parameters(), "", &mut tensors);
        if let Encoder::Bag(bag, _) = &self.encoder {
            let shape = [bag.table().len() / bag.dim(), bag.dim()];
            tensors.insert_f32("bag", &shape, bag.table().to_vec());
        }
        #[cfg(feature = "bert")]
        if let Encoder::Bert(bert) = &self.encoder {
            bert.weights("bert.", &mut tensors);
        }
        tensors
    }

    fn save(&self) -> Tensors {
        let mut tensors = Tensors::new();
        self.engine.save(&mut tensors);
        if let Encoder::Bag(bag, _) = &self.encoder {
            bag.save(&mut tensors);
        }
        #[cfg(feature = "bert")]
        if let Encoder::Bert(bert) = &self.encoder {
            bert.save(&mut tensors);
        }
        tensors
    }

    fn restore(&mut self, tensors: &mut Tensors) -> Result<(), LoadError> {
        self.engine.restore(tensors)?;
        match &mut self.encoder {
            Encoder::Frozen(_) => Ok(()),
            Encoder::Bag(bag, _) => bag.restore(tensors),
            #[cfg(feature = "bert")]
            Encoder::Bert(bert) => bert.restore(tensors),
        }
    }
}

/// Parameters of a network, and the rows of its bag where it has one, out of [`Learner::weights`].
///
/// # Errors
/// If a tensor is missing, misshapen or not finite: training diverged.
pub fn unpack(network: &Network, weights: &Tensors) -> Result<(Vec<Parameter>, Option<Vec<f32>>), LoadError> {
    let mut weights = weights.clone();
    let mut parameters = network.init(0);
    network::restore(&mut parameters, "", &mut weights)?;
    let bag = match weights.shape("bag") {
        Ok(shape) => Some(weights.take_f32("bag", &shape)?),
        Err(_) => None,
    };
    Ok((parameters, bag))
}
