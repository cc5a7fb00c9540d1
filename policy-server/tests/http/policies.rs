//! Policies of the tests: constant ones on disk, and one in memory that does as its text says.

use routewright_data::FeatureMatrix;
use routewright_data::features::{
    Column, FeatureError, FeatureInput, Featurizer, FeaturizerSpec, QueryAnswer,
};
use routewright_data::{QueryText, Tensors};
use routewright_policy::artifact::{self, DataRecord, ProgramDraft, RouterDraft};
use routewright_policy::forms::{Constant, CostModel, Linear, Link};
use routewright_policy::program::Program;
use routewright_policy::programs::{Cascade, Electorate, Reading, Strategy, Vote, Weighting};
use routewright_policy::selectors::Argmax;
use routewright_policy::{
    Arm, Batch, FormState, Neighborhood, Policy, PredictError, Prediction, Predictor, Price, Router,
    SelectorSpec,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// `small` 0.5 at 0.001 USD and 100 ms in the EU, `large` 0.8 at 0.01 USD and 900 ms, `other` 0.6, nothing
/// known.
fn arms() -> Vec<Arm> {
    let arm = |model: &str, mean_cost_usd, mean_latency_ms, tags: &[&str]| Arm {
        model: model.to_owned(),
        price: Price { mean_cost_usd, ..Price::default() },
        mean_latency_ms,
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..Arm::default()
    };
    vec![
        arm("small", Some(0.001), Some(100.0), &["eu", "tools"]),
        arm("large", Some(0.01), Some(900.0), &["tools"]),
        arm("other", None, None, &[]),
    ]
}

fn draft(
    name: &str,
    featurizer: Arc<dyn Featurizer>,
    predictor: Box<dyn Predictor>,
    selector: SelectorSpec,
) -> RouterDraft {
    RouterDraft {
        name: name.to_owned(),
        method: "test".to_owned(),
        seed: 0,
        arms: arms(),
        featurizer,
        predictor,
        selector,
        query_text: QueryText::default(),
        params: serde_json::json!({}),
        data: DataRecord::default(),
        metrics: BTreeMap::from([("score".to_owned(), 0.8)]),
    }
}

/// Writes an artifact whose predicted scores are `scores`; it reads a vector of width 2, and source `code`
/// makes `small` the best.
pub(crate) fn write(path: &Path, name: &str, scores: [f32; 3], selector: SelectorSpec) {
    let cost = CostModel::constant(vec![0.001, 0.01, f32::NAN]);
    let by_source = vec![0.99, 0.1, 0.1];
    let constant = Constant::new(scores.to_vec(), vec!["code".to_owned()], by_source, cost);
    let featurizer = Arc::new(Column::new("embedding", 2));
    artifact::save(&draft(name, featurizer, Box::new(constant), selector), path).unwrap();
}

/// Writes an artifact that reads text with `featurizer` by `rule`; its scores depend on nothing.
pub(crate) fn write_reading(path: &Path, featurizer: Arc<dyn Featurizer>, rule: QueryText) {
    let cost = CostModel::constant(vec![0.001, 0.01, f32::NAN]);
    let constant = Constant::new(vec![0.5, 0.8, 0.6], Vec::new(), Vec::new(), cost);
    let draft = draft("main", featurizer, Box::new(constant), SelectorSpec::named("argmax"));
    artifact::save(&RouterDraft { query_text: rule, ..draft }, path).unwrap();
}

/// Writes an artifact that reads text and chooses by `selector`; its scores depend on nothing.
pub(crate) fn write_text(path: &Path, selector: SelectorSpec) {
    let cost = CostModel::constant(vec![0.001, 0.01, f32::NAN]);
    let constant = Constant::new(vec![0.5, 0.8, 0.6], Vec::new(), Vec::new(), cost);
    let draft = draft("main", Arc::new(Column::new("none", 0)), Box::new(constant), selector);
    artifact::save(&draft, path).unwrap();
}

/// The artifact most tests use.
pub(crate) fn write_default(path: &Path) {
    write(path, "main", [0.5, 0.8, 0.6], SelectorSpec::named("argmax"));
}

/// A featurizer of width 1: the sleep asked for in the text, or a mark that makes the predictor panic.
#[derive(Debug)]
struct Orders(FeaturizerSpec);

impl Featurizer for Orders {
    fn spec(&self) -> &FeaturizerSpec {
        &self.0
    }

    fn tensors(&self) -> Tensors {
        Tensors::new()
    }

    fn featurize(&self, inputs: &[FeatureInput<'_>]) -> Result<FeatureMatrix, FeatureError> {
        let order = |input: &FeatureInput<'_>| match input.text.split_once(' ') {
            Some(("sleep", ms)) => ms.parse().unwrap(),
            Some(("panic", _)) => -1.0,
            _ => 0.0,
        };
        Ok(FeatureMatrix::from_vec(inputs.len(), 1, inputs.iter().map(order).collect()))
    }
}

/// What an obedient predictor saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) predictions: AtomicUsize,
    pub(crate) queries: AtomicUsize,
}

/// Sleeps or panics as its features say; it has standard errors and neighbors.
#[derive(Debug)]
struct Obedient(Arc<Seen>);

impl Predictor for Obedient {
    fn form(&self) -> &'static str {
        "obedient"
    }

    fn n_arms(&self) -> usize {
        3
    }

    fn dim(&self) -> Option<usize> {
        Some(1)
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        let n = batch.n_queries();
        self.0.predictions.fetch_add(1, Ordering::SeqCst);
        self.0.queries.fetch_add(n, Ordering::SeqCst);
        let orders = batch.features.values();
        assert!(orders.iter().all(|order| *order >= 0.0), "told to panic");
        let ms = orders.iter().fold(0.0_f32, |a, b| a.max(*b));
        std::thread::sleep(Duration::from_millis(ms as u64));
        let near = || Neighborhood {
            query_ids: vec!["q7".to_owned(), "q3".to_owned()],
            similarities: vec![0.5, 0.25],
            evidence: None,
        };
        Ok(Prediction {
            n_arms: 3,
            score: [0.5, 0.75, 0.25].repeat(n),
            score_se: Some([0.125, 0.0, 0.5].repeat(n)),
            cost_usd: [0.001, 0.01, f32::NAN].repeat(n),
            neighborhoods: Some((0..n).map(|_| near()).collect()),
            members: None,
            n_updates: 0,
        })
    }

    fn state(&self) -> FormState {
        FormState::default()
    }
}

/// A policy in memory that sleeps on `sleep MS` and panics on `panic now`.
pub(crate) fn obedient(name: &str) -> (Policy, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let spec = FeaturizerSpec { name: "orders".to_owned(), dim: 1, settings: serde_json::json!({}) };
    let predictor = Box::new(Obedient(Arc::clone(&seen)));
    let draft = draft(name, Arc::new(Orders(spec)), predictor, SelectorSpec::named("argmax"));
    (draft.into_policy().unwrap(), seen)
}

/// Writes a cascade of `small` and `large` that reads text: an answer of `small` is kept from 19 characters on.
pub(crate) fn write_cascade(path: &Path) {
    let nothing = || Arc::new(Column::new("none", 0));
    let reads: Arc<dyn Featurizer> = Arc::new(QueryAnswer::new(nothing(), nothing()));
    // The first number of the answer's form is ln(1 + characters), for every arm alike.
    let mut weights = vec![0.0; 3 * (reads.dim() + 1)];
    weights.iter_mut().step_by(reads.dim() + 1).for_each(|weight| *weight = 1.0);
    let cost = CostModel::constant(vec![0.001, 0.01, f32::NAN]);
    let predictor = Box::new(Linear::new(reads.dim(), Link::Identity, weights, cost));
    let scorer = Router { featurizer: reads, predictor, selector: Box::new(Argmax) };
    let order = vec!["small".to_owned(), "large".to_owned()];
    let strategy = Strategy { order, thresholds: vec![2.995], score: 0.8, cost_usd: 0.005 };
    write_program(path, Box::new(Cascade::new(vec![strategy], 0, scorer, &arms()).unwrap()));
}

/// Writes a vote of all three, one vote each, on numbers.
pub(crate) fn write_vote(path: &Path) {
    let voters = ["small", "large", "other"].map(str::to_owned).to_vec();
    let default = Weighting { weights: vec![1.0; 3], strengths: vec![0.5, 0.8, 0.6] };
    let (answers, tasks) = ("number".to_owned(), BTreeMap::new());
    let electorate = Electorate { voters, answers, reads: Reading::Short, default, tasks };
    write_program(path, Box::new(Vote::new(electorate, &arms()).unwrap()));
}

fn write_program(path: &Path, program: Box<dyn Program>) {
    let draft = ProgramDraft {
        name: "main".to_owned(),
        method: "test".to_owned(),
        seed: 0,
        arms: arms(),
        program,
        query_text: QueryText::default(),
        params: serde_json::json!({}),
        data: DataRecord::default(),
        metrics: BTreeMap::new(),
    };
    draft.save(path).unwrap();
}
