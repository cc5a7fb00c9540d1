//! The network methods through their registry rows: what they learn, what they survive, what they repeat.

use crate::evaluate::Average;
use crate::method::{Device, FitContext, FitError, Fitted};
use crate::methods;
use crate::progress::{Progress, Silent};
use rand::RngExt;
use routewright_data::features::{Column, FeatureInput, Featurizer};
use routewright_data::{Cells, FeatureMatrix, OutcomeTable, Query, rng};
use routewright_policy::Batch;
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const DIM: usize = 6;
const WORDS: [&str; 3] = ["sum the numbers", "translate the poem", "prove the theorem"];

/// Queries of three topics; arm `t` answers topic `t`, the others seldom. A share of the cells is missing.
fn world(n: usize, missing: f64, seed: u64) -> (OutcomeTable, FeatureMatrix) {
    let mut rng = rng::stream(seed, "world");
    let (mut queries, mut score, mut cost, mut features) = (vec![], vec![], vec![], vec![]);
    for i in 0..n {
        let topic = i % 3;
        queries.push(Query {
            id: i.to_string(),
            prompt: format!("{} {}", WORDS[topic], rng.random_range(0..1_000_000)),
            source: Some(format!("topic {topic}")),
            ..Query::default()
        });
        for arm in 0..3 {
            let right = rng.random::<f64>() < if arm == topic { 0.9 } else { 0.2 };
            let seen = rng.random::<f64>() >= missing;
            score.push(if seen { f32::from(right) } else { f32::NAN });
            cost.push(if seen { [0.001, 0.002, 0.004][arm] } else { f32::NAN });
        }
        features.extend((0..DIM).map(|j| f32::from(j == topic) + rng.random_range(-0.3..0.3)));
    }
    let table = OutcomeTable {
        queries,
        models: ["a", "b", "c"].map(str::to_owned).to_vec(),
        score: Cells::from_vec(n, 3, score),
        soft_score: None,
        cost_usd: Cells::from_vec(n, 3, cost),
        latency_ms: None,
        vectors: None,
    };
    (table, FeatureMatrix::from_vec(n, DIM, features))
}

fn fit_with(
    method: &str,
    params: &Value,
    world: &(OutcomeTable, FeatureMatrix),
    progress: &dyn Progress,
    checkpoint: Option<&Path>,
) -> Result<Fitted, FitError> {
    let featurizer: Arc<dyn Featurizer> = Arc::new(Column::new("vector", world.1.dim()));
    let context = FitContext {
        train: &world.0,
        pairs: None,
        answers: None,
        features: &world.1,
        featurizer: &featurizer,
        average: Average::Macro,
        seed: 11,
        device: Device::Cpu,
        progress,
        checkpoint,
    };
    (methods::find(method)?.fit)(params, &context)
}

/// Each method with settings for a small world.
fn cases() -> Vec<(&'static str, Value)> {
    // The contrast of the paper, on three arms: the defaults are for logs of more.
    let contrast = json!({ "positives": 3, "negatives": 3, "temperature": 0.2, "noise": 0.0 });
    let with_contrast = |mut params: Value| {
        for (key, value) in contrast.as_object().unwrap() {
            params[key] = value.clone();
        }
        params
    };
    let dc = json!({ "steps": 120, "every": 20, "batch": 32, "hidden": [8], "per_source": 0, "rate": 0.01 });
    let dc = with_contrast(dc);
    let mut released = dc.clone();
    released["variant"] = json!("released");
    let bag = json!({ "steps": 120, "every": 20, "batch": 32, "hidden": [], "per_source": 100, "rate": 0.01,
        "encoder": "bag", "bag_bits": 10, "bag_width": 8 });
    let bag = with_contrast(bag);
    let scorer = json!({ "steps": 200, "every": 20, "batch": 32, "rate": 0.01, "hidden": [8] });
    let factor = json!({ "steps": 200, "every": 20, "batch": 32, "rate": 0.01, "width": 8 });
    vec![
        ("routerdc", dc),
        ("routerdc", released),
        ("routerdc", bag),
        ("mlp", scorer),
        ("routellm-mf", factor),
        #[cfg(feature = "bert")]
        ("routerdc", with_contrast(tuned())),
    ]
}

/// A tiny checkpoint that knows the words of the world, tuned end to end.
#[cfg(feature = "bert")]
fn tuned() -> Value {
    static DIR: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    let dir = DIR.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let words: Vec<&str> = WORDS.iter().flat_map(|w| w.split(' ')).collect();
        routewright_data::features::bert::write_tiny(dir.path(), &words).unwrap();
        dir
    });
    json!({ "steps": 80, "every": 20, "batch": 16, "hidden": [], "per_source": 0, "rate": 0.01,
        "encoder": "bert", "bert_dir": dir.path(), "bert_rate": 1e-3 })
}

fn scores(fitted: &Fitted, world: &(OutcomeTable, FeatureMatrix)) -> Vec<f32> {
    let inputs: Vec<FeatureInput<'_>> =
        world.0.queries.iter().map(|q| FeatureInput::from(q.prompt.as_str())).collect();
    let own = fitted.featurizer.as_ref().map(|f| f.featurize(&inputs).unwrap());
    fitted.predictor.predict(&Batch::of(own.as_ref().unwrap_or(&world.1))).unwrap().score
}

#[test]
fn every_method_finds_the_arm_of_each_topic_in_spite_of_holes() {
    let (train, test) = (world(450, 0.3, 1), world(90, 0.0, 2));
    for (method, params) in cases() {
        let fitted = fit_with(method, &params, &train, &Silent, None).unwrap();
        let scores = scores(&fitted, &test);
        let right = scores.chunks_exact(3).enumerate().filter(|(i, row)| {
            let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row[i % 3] == best
        });
        let right = right.count();
        assert!(right >= 80, "{method} {params}: {right} of 90");
        // On the scale of the log: right and wrong arms differ by 0.7 in truth; calibration on a small slice
        // with holes pulls them together.
        let gap: f32 = scores.chunks_exact(3).enumerate().map(|(i, row)| row[i % 3] - row[(i + 1) % 3]).sum();
        assert!((0.35..0.95).contains(&(gap / 90.0)), "{method} {params}: gap {}", gap / 90.0);
    }
}

/// Dies at a step, as a killed process does.
#[derive(Debug)]
struct Killer {
    left: AtomicU64,
}

impl Progress for Killer {
    fn start(&self, _: &str, _: u64) {}
    fn step(&self, _: u64, _: &str) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            std::panic::resume_unwind(Box::new("killed"));
        }
    }
}

fn bytes(fitted: &Fitted) -> (Value, Vec<u8>, Vec<u8>) {
    let state = fitted.predictor.state();
    let own = fitted.featurizer.as_ref().map(|f| f.tensors()).unwrap_or_default();
    let encode = |t| routewright_policy::artifact::encode_tensors(&t).unwrap();
    (state.config, encode(state.tensors), encode(own))
}

#[test]
fn a_killed_fit_goes_on_to_the_same_bytes_as_an_unbroken_one() {
    let world = world(150, 0.1, 3);
    for (method, params) in cases() {
        let unbroken = fit_with(method, &params, &world, &Silent, None).unwrap();
        let again = fit_with(method, &params, &world, &Silent, None).unwrap();
        assert_eq!(bytes(&unbroken), bytes(&again), "{method}: same seed");
        let folder = tempfile::tempdir().unwrap();
        // Killed between two checkpoints of the first phase, then again further on, then left alone.
        for left in [51, 64] {
            let killer = Killer { left: AtomicU64::new(left) };
            let fit = || fit_with(method, &params, &world, &killer, Some(folder.path()));
            assert!(catch_unwind(AssertUnwindSafe(fit)).is_err(), "{method}: not killed");
        }
        let resumed = fit_with(method, &params, &world, &Silent, Some(folder.path())).unwrap();
        assert_eq!(bytes(&unbroken), bytes(&resumed), "{method} {params}: resumed");
        assert_eq!(unbroken.metrics, resumed.metrics);
        // Another fit does not go on from it.
        let mut other = params.clone();
        other["weight_decay"] = json!(0.5);
        let error = fit_with(method, &other, &world, &Silent, Some(folder.path())).unwrap_err();
        assert!(error.to_string().contains("belongs to another"), "{error}");
    }
}

#[test]
fn one_arm_one_query_and_equal_scores_are_fitted_or_refused_with_a_reason() {
    let (table, features) = world(30, 0.0, 4);
    let one_arm = (table.select_arms(&[1]), features.clone());
    let one_query = (table.select_rows(&[0]), features.select_rows(&[0]));
    let mut equal = (table, features);
    equal.0.score = Cells::from_vec(30, 3, vec![1.0; 90]);
    for (method, params) in cases() {
        for world in [&one_arm, &one_query, &equal] {
            match fit_with(method, &params, world, &Silent, None) {
                Ok(fitted) => assert!(scores(&fitted, world).iter().all(|s| s.is_finite()), "{method}"),
                Err(FitError::Log { reason, .. }) => assert!(reason.contains("preferred"), "{reason}"),
                Err(error) => panic!("{method}: {error}"),
            }
        }
    }
}

#[test]
fn wrong_parameters_are_refused_with_the_value_and_the_range() {
    let world = world(12, 0.0, 5);
    let wrong = [
        ("routerdc", json!({ "temperature": 0.001 }), "`temperature` is `0.001`"),
        ("routerdc", json!({ "positives": 0 }), "expected at least 1"),
        ("routerdc", json!({ "encoder": "bag", "bag_bits": 40 }), "`bag_bits` is `40`"),
        (
            "routerdc",
            json!({ "encoder": "bert" }),
            if cfg!(feature = "bert") { "`bert_dir` is empty" } else { "`--features bert`" },
        ),
        ("routerdc", json!({ "temprature": 1.0 }), "did you mean `temperature`?"),
        ("mlp", json!({ "rate": -1.0 }), "`rate` is `-1`"),
        ("mlp", json!({ "hidden": [0] }), "width `0`"),
        ("mlp", json!({ "steps": 0 }), "`steps` is `0`"),
        ("routellm-mf", json!({ "valid_share": 1.5 }), "`valid_share` is `1.5`"),
    ];
    for (method, params, part) in wrong {
        let error = fit_with(method, &params, &world, &Silent, None).unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains('\n'), "{method} {params}: {error}");
    }
}
