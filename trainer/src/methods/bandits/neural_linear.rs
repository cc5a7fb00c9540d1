//! Neural linear (Riquelme et al., arXiv 1802.09127): a Bayesian ridge regression on the last layer of a network
//! that another method of the registry trains.
//!
//! 1. The network is trained on the labelled queries: in `train` a share of the rows, in `simulate` the queries held
//!    out before the stream.
//! 2. Its head is the prior mean, so that before any reward the arms are worth what the network says.
//! 3. Online a linear bandit on what comes out of its layers.
//!
//! Deviations:
//! 1. the network is not trained again while rewards arrive: that would depend on their order;
//! 2. the prior mean is the trained head, not 0; a head that is not linear in the last layer leaves it at `prior_mean`;
//! 3. the noise of rewards is a parameter, not part of the belief.

use super::linear::{self, Begun, Params as LinearParams};
use super::paid;
use super::replay::Told;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, OnlineMethod};
use crate::simulate::Bandit;
use crate::validation;
use routewright_data::FeatureMatrix;
use routewright_data::dense::Activation;
use routewright_policy::SelectorSpec;
use routewright_policy::forms::{BayesianRidge, Embedding, Head, Neural, NeuralLinear as Form};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<NeuralLinear>(
    "linear bandit on the last layer of a trained network",
    Some("1802.09127"),
    Family::Before,
    &[Need::Features],
)
.online::<NeuralLinear>()
.on_device();

/// The form whose last layer this reads.
const NEURAL: &str = "neural";

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct NeuralLinear;

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::methods) struct Params {
    /// Method that trains the network: `mlp`, `routerdc`.
    network: String,
    /// Its parameters; what is left out has its default.
    network_params: serde_json::Map<String, serde_json::Value>,
    /// Share of the train rows the network is trained on when a policy is trained, `(0, 1)`.
    warm_share: f64,
    /// Those of every linear bandit; `precision` says how many rewards the head weighs.
    #[serde(flatten)]
    linear: LinearParams,
}

impl Default for Params {
    fn default() -> Self {
        let settings = serde_json::json!({ "alpha": 0.25 });
        let linear = LinearParams::exploring(SelectorSpec { name: "ucb".to_owned(), settings });
        let linear = LinearParams { precision: 5.0, feedback: Told::Full, ..linear };
        Self { network: "mlp".to_owned(), network_params: serde_json::Map::new(), warm_share: 0.5, linear }
    }
}

impl Method for NeuralLinear {
    const NAME: &'static str = "neural-linear";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        paid::within(Self::NAME, "warm_share", params.warm_share, 0.01..=0.99)?;
        let slice = validation::slice(context.train, context.seed, params.warm_share);
        let part = |rows: &[usize]| (context.train.select_rows(rows), context.features.select_rows(rows));
        let (warm, told) = (part(&slice.valid), part(&slice.fit));
        let bandit = Self::start(params, &FitContext { train: &warm.0, features: &warm.1, ..*context })?;
        let told = FitContext { train: &told.0, features: &told.1, ..*context };
        linear::fit_as(Self::NAME, &params.linear, params, bandit, &told)
    }
}

impl OnlineMethod for NeuralLinear {
    fn start(params: &Params, context: &FitContext<'_>) -> Result<Bandit, FitError> {
        if !params.linear.intercept {
            let reason = "`intercept` is `false`; the prior mean is a head with a bias, and needs one";
            return Err(FitError::Params { method: Self::NAME, reason: reason.to_owned() });
        }
        let network = network(params, context)?;
        let scale = match network.head() {
            Head::Cosine { .. } => None,
            Head::Linear(_) => Some(scale(&network, context.features)),
        };
        let embedding = Embedding::new(network.stack().clone(), scale);
        let begun = Begun::of(Self::NAME, &params.linear, embedding.width(), context)?;
        let prior = prior_mean(&begun, &network, scale, context);
        let ridge = BayesianRidge::new(begun.shape, prior, begun.cost.clone());
        let ridge =
            ridge.map_err(|error| FitError::Numeric { method: Self::NAME, reason: error.to_string() })?;
        Ok(begun.bandit(Box::new(Form::new(embedding, ridge))))
    }
}

/// The network another method trains on the queries of the context.
fn network(params: &Params, context: &FitContext<'_>) -> Result<Neural, FitError> {
    let refuse = |reason: String| FitError::Params { method: NeuralLinear::NAME, reason };
    let row = crate::methods::find(&params.network)?;
    let fitted = (row.fit)(&serde_json::Value::Object(params.network_params.clone()), context)?;
    if fitted.featurizer.is_some() {
        let reason = "`network_params` train an encoder; the network must read the features of the context";
        return Err(refuse(reason.to_owned()));
    }
    let state = fitted.predictor.state();
    match fitted.predictor.form() {
        NEURAL => Neural::restore(state, context.train.n_arms())
            .map_err(|error| FitError::Numeric { method: NeuralLinear::NAME, reason: error.to_string() }),
        form => Err(refuse(format!(
            "`network` is `{}`, which learns a `{form}`; expected a method that learns a `{NEURAL}`",
            params.network
        ))),
    }
}

/// What brings the last layer to a mean square length of 1 on the features given.
fn scale(network: &Neural, features: &FeatureMatrix) -> f32 {
    let squares: f64 = network.stack().hidden(features.values()).iter().map(|x| f64::from(x * x)).sum();
    let mean = squares / features.n_rows().max(1) as f64;
    if mean > 0.0 { (1.0 / mean.sqrt()) as f32 } else { 1.0 }
}

/// The head as coefficients of the reward, `(n_arms, width + 1)`, with the intercept last.
fn prior_mean(begun: &Begun, network: &Neural, scale: Option<f32>, context: &FitContext<'_>) -> Vec<f32> {
    let (n_arms, width) = (context.train.n_arms(), network.stack().width());
    let mut out = Vec::with_capacity(begun.prior_mean.len());
    for (arm, model) in crate::train::arms(context.train).iter().enumerate() {
        let (slopes, level): (Vec<f32>, f32) = match network.head() {
            Head::Linear(head) if head.activation() == Activation::Identity => {
                let slope = |i: usize| head.weights()[i * n_arms + arm] / scale.unwrap_or(1.0);
                ((0..width).map(slope).collect(), head.bias()[arm])
            }
            Head::Linear(_) => return begun.prior_mean.clone(),
            Head::Cosine { arms, calibration } => {
                let own = &arms[arm * width..(arm + 1) * width];
                let length = own.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
                let slope = |x: &f32| calibration.slope() * x / length;
                (own.iter().map(slope).collect(), calibration.intercept())
            }
        };
        out.extend(slopes.iter().map(|slope| (begun.reward.score * f64::from(*slope)) as f32));
        let worth = begun.reward.of(f64::from(level), model.price.mean_cost_usd, model.mean_latency_ms);
        out.push(worth as f32);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Average;
    use crate::method::Device;
    use crate::progress::Silent;
    use crate::train::{FeatureChoice, Prepared};
    use routewright_data::synthetic::{Settings, World};
    use routewright_policy::Batch;
    use serde_json::json;

    /// What the bandit says before any reward beside what the network says.
    fn gap(network: &str, network_params: &serde_json::Value) -> Result<f32, FitError> {
        let settings = Settings { n_arms: 3, missing: 0.2, ..Settings::default() };
        let prepared =
            Prepared::new(World::new(settings, 3).table(300).0, &FeatureChoice::default(), 1).unwrap();
        let context = FitContext {
            train: &prepared.train,
            pairs: None,
            answers: None,
            features: &prepared.features,
            featurizer: &prepared.featurizer,
            average: Average::Micro,
            seed: 1,
            device: Device::Cpu,
            progress: &Silent,
            checkpoint: None,
        };
        let given = json!({ "network": network, "network_params": network_params });
        let bandit = (ROW.start.unwrap())(&given, &context)?;
        let trained = (crate::methods::find(network)?.fit)(network_params, &context)?;
        let batch = Batch::of(&prepared.features);
        let (found, expected) =
            (bandit.learner.predict(&batch).unwrap(), trained.predictor.predict(&batch).unwrap());
        let gaps = found.score.iter().zip(&expected.score).map(|(a, b)| (a - b).abs());
        Ok(gaps.fold(0.0, f32::max))
    }

    #[test]
    fn before_any_reward_it_says_what_the_network_says() {
        let quick = json!({"steps": 60, "every": 20, "folds": 0});
        assert!(gap("mlp", &quick).unwrap() < 1e-4);
        assert!(gap("routerdc", &quick).unwrap() < 1e-4);
    }

    #[test]
    fn a_network_that_has_no_last_layer_is_refused() {
        let error = gap("ridge", &json!({})).unwrap_err().to_string();
        assert!(error.contains("`network` is `ridge`"), "{error}");
        let error = gap("mlq", &json!({})).unwrap_err().to_string();
        assert!(error.contains("mlp"), "{error}");
        let error = gap("mlp", &json!({"stepz": 3})).unwrap_err().to_string();
        assert!(error.contains("steps"), "{error}");
    }
}
