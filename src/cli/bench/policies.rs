//! Policies to serve in `bench route`: the shapes of real ones, with random weights, which cost the same.

use anyhow::Context;
use rand::RngExt;
use routewright_data::dense::{Activation, Dense};
use routewright_data::features::{FeatureInput, Featurizer, Lexical, LexicalSettings};
use routewright_data::{Cells, rng};
use routewright_policy::artifact::{self, DataRecord, RouterDraft};
use routewright_policy::forms::{
    Calibration, CostModel, Head, Linear, Link, Memory, Neighbors, Neural, Weighting,
};
use routewright_policy::search::EngineKind;
use routewright_policy::{Arm, Predictor, SelectorSpec};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const N_ARMS: usize = 11;
/// Texts the featurizer is fitted on, at most.
const FIT_QUERIES_MAX: usize = 4000;
/// Bytes of a text.
const TEXT_BYTES: usize = 200;
/// Made-up words; commoner ones first.
const N_WORDS: f64 = 4096.0;
const SYLLABLES: [&str; 16] =
    ["ka", "lo", "mi", "ten", "ra", "su", "vel", "no", "pri", "da", "gu", "shi", "fa", "or", "em", "qu"];

/// What is served and what it is held to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Served {
    /// The method whose shape it has.
    pub(super) name: &'static str,
    /// Processor time a request over the echo, at most so many times that of the echo itself ...
    pub(super) echoes: f64,
    /// ... and so many times that of the [memory probe](super::measure::MemoryProbe).
    pub(super) probes: f64,
    /// Megabytes of its own in RAM, at most.
    pub(super) mb_max: f64,
}

/// In the order they are measured in.
pub(super) const SERVED: [Served; 4] = [
    Served { name: "ridge", echoes: 3.0, probes: 0.0, mb_max: 20.0 },
    Served { name: "routerdc", echoes: 3.0, probes: 0.0, mb_max: 20.0 },
    Served { name: "knn", echoes: 4.0, probes: 2.0, mb_max: 80.0 },
    Served { name: "knn-graph", echoes: 8.0, probes: 0.0, mb_max: 80.0 },
];

/// Texts of [`TEXT_BYTES`] bytes from made-up words.
pub(super) fn texts(n: usize) -> Vec<String> {
    let mut rng = rng::stream(7, "bench texts");
    let mut text = || {
        let mut out = String::new();
        while out.len() < TEXT_BYTES {
            let uniform: f64 = rng.random();
            let mut word = (uniform * uniform * N_WORDS) as usize;
            for _ in 0..3 {
                out.push_str(SYLLABLES[word % SYLLABLES.len()]);
                word /= SYLLABLES.len();
            }
            out.push(' ');
        }
        out.truncate(TEXT_BYTES);
        out
    };
    (0..n).map(|_| text()).collect()
}

/// Writes the policies of [`SERVED`] into `dir`, over the default features of `texts`; the directories.
///
/// # Errors
/// If a policy cannot be made or written.
pub(super) fn write(dir: &Path, texts: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let borrowed: Vec<&str> = texts.iter().map(String::as_str).collect();
    let settings = LexicalSettings { fit_queries_max: FIT_QUERIES_MAX, ..LexicalSettings::default() };
    let lexical: Arc<dyn Featurizer> = Arc::new(Lexical::fit(&borrowed, settings, 1)?);
    let mut paths = Vec::new();
    for Served { name, .. } in SERVED {
        let predictor: Box<dyn Predictor> = match name {
            "ridge" => Box::new(linear(lexical.dim())),
            "routerdc" => Box::new(neural(lexical.dim())?),
            "knn" => Box::new(neighbors(EngineKind::Exact, lexical.as_ref(), &borrowed)?),
            _ => Box::new(neighbors(EngineKind::Graph, lexical.as_ref(), &borrowed)?),
        };
        let draft = RouterDraft {
            name: name.to_owned(),
            method: name.to_owned(),
            seed: 0,
            arms: (0..N_ARMS).map(|arm| Arm { model: format!("model-{arm}"), ..Arm::default() }).collect(),
            featurizer: Arc::clone(&lexical),
            predictor,
            selector: SelectorSpec::named("argmax"),
            query_text: routewright_data::QueryText::default(),
            params: serde_json::json!({}),
            data: DataRecord::default(),
            metrics: Default::default(),
        };
        let path = dir.join(name);
        artifact::save(&draft, &path)?;
        paths.push(path);
    }
    Ok(paths)
}

fn uniform(purpose: &str, n: usize) -> Vec<f32> {
    let mut rng = rng::stream(8, purpose);
    (0..n).map(|_| rng.random()).collect()
}

fn cost() -> CostModel {
    CostModel::constant((1..=N_ARMS).map(|arm| arm as f32 * 1e-4).collect())
}

fn linear(dim: usize) -> Linear {
    Linear::new(dim, Link::Identity, uniform("bench ridge", N_ARMS * (dim + 1)), cost())
}

/// The default of the method: one dense layer as wide as the features, and a vector an arm.
fn neural(dim: usize) -> anyhow::Result<Neural> {
    let layer = Dense::new(uniform("bench layer", dim * dim), vec![0.0; dim], Activation::Identity);
    let calibration = Calibration::new(1.0, 0.0).context("the identity is a calibration")?;
    let head = Head::Cosine { arms: uniform("bench arms", N_ARMS * dim), calibration };
    Ok(Neural::new(dim, vec![layer], head, cost()))
}

fn neighbors(engine: EngineKind, lexical: &dyn Featurizer, texts: &[&str]) -> anyhow::Result<Neighbors> {
    let inputs: Vec<FeatureInput<'_>> = texts.iter().map(|text| FeatureInput::from(*text)).collect();
    let n = texts.len();
    let memory = Memory {
        query_ids: (0..n).map(|row| format!("q{row}")).collect(),
        score: Cells::from_vec(n, N_ARMS, uniform("bench scores", n * N_ARMS)),
        cost_usd: Cells::from_vec(n, N_ARMS, uniform("bench costs", n * N_ARMS)),
    };
    let weighting = Weighting { k: 20, power: 1.0, prior: 1.0, gate: -1.0, engine };
    Ok(Neighbors::new(weighting, lexical.featurize(&inputs)?, memory)?)
}
