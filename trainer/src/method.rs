//! What a method is, and the row it is registered by.

use crate::evaluate::{Average, Tuning};
use crate::preferences::Comparisons;
use crate::progress::Progress;
use crate::simulate::Bandit;
use routewright_data::answers::AnswerTable;
use routewright_data::features::Featurizer;
use routewright_data::suggest::near_names;
use routewright_data::{FeatureMatrix, OutcomeTable};
use routewright_policy::forms::{Constant, CostModel};
use routewright_policy::program::Program;
use routewright_policy::{Predictor, SelectorSpec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Where networks are trained, and by which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The processor, by the hand-written pass; byte-equal artifacts for the same seed.
    #[default]
    Cpu,
    /// The processor, by burn's backend `flex` (cargo feature `burn`).
    BurnFlex,
    /// The processor, by burn's backend `ndarray` (cargo feature `burn`).
    BurnNdarray,
    /// An NVIDIA GPU (cargo feature `cuda`).
    Cuda,
}

/// Everything a method may look at.
#[derive(Debug, Clone, Copy)]
pub struct FitContext<'a> {
    /// Rows to learn from. Validation slices are cut from it by the method, see [`crate::validation`].
    pub train: &'a OutcomeTable,
    /// Judgements between the arms of `train`, where a pair log was given. Without an outcome log beside it the
    /// scores of `train` are the shares of comparisons won, see [`crate::preferences`].
    pub pairs: Option<&'a Comparisons>,
    /// Answers to the queries of `train` by its arms, in its order; loaded where a method reads them.
    pub answers: Option<&'a AnswerTable>,
    /// Features of `train`, shape `(n_queries, dim)`.
    pub features: &'a FeatureMatrix,
    /// The featurizer that made them.
    pub featurizer: &'a Arc<dyn Featurizer>,
    /// The average hyper-parameters are chosen by.
    pub average: Average,
    /// Seed of every random choice; draw from `routewright_data::rng::stream(seed, purpose)`.
    pub seed: u64,
    /// Where tensors are computed.
    pub device: Device,
    /// Told how far it is.
    pub progress: &'a dyn Progress,
    /// Folder for checkpoints of a long fit, where the caller wants to be able to resume.
    pub checkpoint: Option<&'a Path>,
}

/// What a method learned.
#[derive(Debug)]
pub struct Fitted {
    /// Predicts score and cost of every arm, in the order of `train.models`.
    pub predictor: Box<dyn Predictor>,
    /// Replaces the featurizer of the context where the method trained its own encoder.
    pub featurizer: Option<Arc<dyn Featurizer>>,
    /// The selector that goes with the method; `argmax` unless the method is one (e.g. `cheapest`).
    pub selector: SelectorSpec,
    /// Parameters as used, with everything that was chosen on a validation slice filled in.
    pub params: serde_json::Value,
    /// Figures of the validation slice, by name.
    pub metrics: BTreeMap<String, f64>,
    /// How many settings were compared on slices of train; `None` where none were.
    pub tuning: Option<Tuning>,
    /// What the policy does, where it takes several steps; predictor, featurizer and selector are not used then.
    pub program: Option<Box<dyn Program>>,
}

impl Fitted {
    /// A fit of a policy of several steps over `n_arms` arms.
    pub fn steps(program: Box<dyn Program>, n_arms: usize, params: &impl Serialize) -> Self {
        let cost = CostModel::constant(vec![f32::NAN; n_arms]);
        let nothing = Constant::new(vec![0.0; n_arms], Vec::new(), Vec::new(), cost);
        Self { program: Some(program), ..Self::new(Box::new(nothing), params) }
    }

    /// A fit with the context's featurizer, the `argmax` selector and no figures.
    pub fn new(predictor: Box<dyn Predictor>, params: &impl Serialize) -> Self {
        Self {
            predictor,
            featurizer: None,
            selector: SelectorSpec::named("argmax"),
            params: serde_json::to_value(params).unwrap_or_default(),
            metrics: BTreeMap::new(),
            tuning: None,
            program: None,
        }
    }
}

/// Why a method could not be fitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// No method of that name.
    #[error("unknown method `{name}`; {hint}")]
    UnknownMethod {
        /// Name asked for.
        name: String,
        /// Near names, or all of them.
        hint: String,
    },
    /// No scenario of that name.
    #[error("unknown scenario `{name}`; {hint}")]
    UnknownScenario {
        /// Name asked for.
        name: String,
        /// Near names, or all of them.
        hint: String,
    },
    /// A parameter is not known or not valid.
    #[error("the parameters of method `{method}` are not valid: {reason}")]
    Params {
        /// Name of the method.
        method: &'static str,
        /// What is wrong and what would be accepted.
        reason: String,
    },
    /// The method does not learn from preferences.
    #[error("method `{method}` does not learn from a pair log; these do: {known}")]
    Pairs {
        /// Name of the method.
        method: &'static str,
        /// Names of the methods that do.
        known: String,
    },
    /// The log cannot carry this method.
    #[error("cannot fit method `{method}` on this log: {reason}")]
    Log {
        /// Name of the method.
        method: &'static str,
        /// What is missing.
        reason: String,
    },
    /// What was asked for has one step, and the method makes policies of several.
    #[error("the method makes a policy of several steps: {what}; expected one that chooses before inference")]
    Steps {
        /// What cannot be done.
        what: &'static str,
    },
    /// The device cannot be used.
    #[error("cannot use device `{device}`: {reason}")]
    Device {
        /// Name of the device.
        device: &'static str,
        /// What is missing.
        reason: String,
    },
    /// A checkpoint could not be read or written.
    #[error("cannot {action} checkpoint `{path}`: {reason}")]
    Checkpoint {
        /// What was attempted.
        action: &'static str,
        /// Path of the checkpoint.
        path: String,
        /// What went wrong.
        reason: String,
    },
    /// The computation broke down.
    #[error("method `{method}` failed: {reason}")]
    Numeric {
        /// Name of the method.
        method: &'static str,
        /// What happened.
        reason: String,
    },
}

/// A recipe that produces a policy.
pub trait Method {
    /// The paper's own name, kebab-case.
    const NAME: &'static str;
    /// Hyper-parameters; their `Default` is what the documentation shows.
    type Params: Default + Serialize + DeserializeOwned;

    /// Learns from `context.train`.
    ///
    /// # Errors
    /// If a parameter is out of range or the log cannot carry the method.
    fn fit(params: &Self::Params, context: &FitContext<'_>) -> Result<Fitted, FitError>;
}

/// A method whose policy learns from one reward at a time.
pub trait OnlineMethod: Method {
    /// The bandit before its first reward. Of `context.train` it may use texts, prices and latencies; scores
    /// only where a parameter of the method says so.
    ///
    /// # Errors
    /// If a parameter is out of range or the log cannot carry the method.
    fn start(params: &Self::Params, context: &FitContext<'_>) -> Result<Bandit, FitError>;
}

/// What a method needs of the log or the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// Query features.
    Features,
    /// The source of each query, at decision time too.
    Source,
    /// Preferences between pairs of answers, or outcomes they can be made from.
    Preferences,
    /// The outcomes of the very queries decided on: evaluation only.
    Outcomes,
}

/// When a method acts, as the survey sorts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Chooses before inference.
    Before,
    /// Chooses while an answer is being written.
    During,
    /// Looks at answers: calls again, chooses among them, or abstains.
    After,
    /// Not of the survey: a yardstick.
    Baseline,
}

/// What a method learns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reads {
    /// Scores and costs of an outcome log.
    Outcomes,
    /// The answers of an outcome log.
    Answers,
    /// The answers of an outcome log, or of a log without texts that there was one.
    Calls,
    /// Scores of each of several answers of a model to a query, where an outcome log has them.
    Samples,
    /// Judgements of a pair log.
    Pairs,
    /// Tasks that an ensemble plays.
    Tasks,
    /// A log of fused answers.
    FusionLog,
    /// Tokens with the member that is right.
    TokenLabels,
}

/// A registered method; the only place its name is spelled.
#[derive(Debug, Clone, Copy)]
pub struct MethodRow {
    /// Name on the command line and in artifacts.
    pub name: &'static str,
    /// What it does, in one line.
    pub title: &'static str,
    /// arXiv id, where there is a paper.
    pub paper: Option<&'static str>,
    /// When it acts.
    pub family: Family,
    /// What it needs.
    pub needs: &'static [Need],
    /// Default parameters, an object.
    pub defaults: fn() -> serde_json::Value,
    /// Fits with the given parameters (an object; missing keys take their defaults).
    pub fit: fn(&serde_json::Value, &FitContext<'_>) -> Result<Fitted, FitError>,
    /// Starts the bandit with the given parameters, where the method learns from rewards.
    pub start: Option<Start>,
    /// Whether it computes on [`FitContext::device`]; the others run on the processor whatever it is.
    pub uses_device: bool,
    /// What it learns from.
    pub reads: &'static [Reads],
}

/// Makes a bandit of parameters (an object; missing keys take their defaults).
pub type Start = fn(&serde_json::Value, &FitContext<'_>) -> Result<Bandit, FitError>;

impl MethodRow {
    /// The row of a typed method.
    pub const fn of<M: Method>(
        title: &'static str,
        paper: Option<&'static str>,
        family: Family,
        needs: &'static [Need],
    ) -> Self {
        let (defaults, fit) = (defaults::<M>, fit::<M>);
        Self {
            name: M::NAME,
            title,
            paper,
            family,
            needs,
            defaults,
            fit,
            start: None,
            uses_device: false,
            reads: &[Reads::Outcomes],
        }
    }

    /// The row of a typed method that learns from rewards.
    #[must_use]
    pub const fn online<M: OnlineMethod>(self) -> Self {
        Self { start: Some(start::<M>), ..self }
    }

    /// The row of a method that computes on the device of the context.
    #[must_use]
    pub const fn on_device(self) -> Self {
        Self { uses_device: true, ..self }
    }

    /// The row of a method that learns from something else than outcomes alone.
    #[must_use]
    pub const fn reading(self, reads: &'static [Reads]) -> Self {
        Self { reads, ..self }
    }

    /// Whether its policies look at answers.
    pub fn looks_at_answers(&self) -> bool {
        self.reads(Reads::Answers) || self.reads(Reads::Calls)
    }

    /// Whether the answers of a log are loaded for it.
    pub fn loads_answers(&self) -> bool {
        self.looks_at_answers() || self.reads(Reads::Samples)
    }

    /// Whether it learns from `what`.
    pub fn reads(&self, what: Reads) -> bool {
        self.reads.contains(&what)
    }
}

fn defaults<M: Method>() -> serde_json::Value {
    serde_json::to_value(M::Params::default()).unwrap_or_default()
}

/// A grid of one value may be written without brackets.
fn listed(default: &serde_json::Value, given: &serde_json::Value) -> serde_json::Value {
    match given {
        serde_json::Value::Array(_) => given.clone(),
        _ if default.is_array() => serde_json::json!([given]),
        _ => given.clone(),
    }
}

/// Which of the given parameters is at fault: the first that is refused among defaults only.
fn blame<M: Method>(given: &serde_json::Map<String, serde_json::Value>, whole: &str) -> String {
    for (key, value) in given {
        let mut alone = defaults::<M>();
        alone[key] = listed(&alone[key], value);
        if let Err(reason) = serde_json::from_value::<M::Params>(alone) {
            return format!("`{key}` is `{value}`: {reason}");
        }
    }
    whole.to_owned()
}

/// Merges the given keys over the defaults, so that a typo is found by its name.
fn params<M: Method>(given: &serde_json::Value) -> Result<M::Params, FitError> {
    let error = |reason| FitError::Params { method: M::NAME, reason };
    let mut merged = defaults::<M>();
    let empty = serde_json::Map::new();
    let given = match given {
        serde_json::Value::Null => &empty,
        serde_json::Value::Object(given) => given,
        other => return Err(error(format!("expected a table of parameters, found `{other}`"))),
    };
    if let Some(known) = merged.as_object_mut() {
        for (key, value) in given {
            if !known.contains_key(key) {
                let hint = near_names(key, known.keys().map(String::as_str));
                return Err(error(format!("unknown parameter `{key}`; {hint}")));
            }
            let value = listed(&known[key], value);
            known.insert(key.clone(), value);
        }
    }
    serde_json::from_value(merged).map_err(|e| error(blame::<M>(given, &e.to_string())))
}

fn check_log<M: Method>(context: &FitContext<'_>) -> Result<(), FitError> {
    if context.train.n_queries() == 0 || context.train.score.n_present() == 0 {
        let reason = "it has no scored query".to_owned();
        return Err(FitError::Log { method: M::NAME, reason });
    }
    Ok(())
}

fn fit<M: Method>(given: &serde_json::Value, context: &FitContext<'_>) -> Result<Fitted, FitError> {
    let params = params::<M>(given)?;
    check_log::<M>(context)?;
    M::fit(&params, context)
}

fn start<M: OnlineMethod>(given: &serde_json::Value, context: &FitContext<'_>) -> Result<Bandit, FitError> {
    let params = params::<M>(given)?;
    check_log::<M>(context)?;
    M::start(&params, context)
}
