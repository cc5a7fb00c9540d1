//! A RouterDC training step (arXiv 2409.19886) beside PyTorch: queries learned from in a second of
//! processor time.
//!
//! Two shapes: a head 384-768-768 with GELU on frozen features, and a bag of 2^14 x 768 over 128 ids a query.
//! 11 arms, K+ = K- = H = 3, batches of 64, AdamW. Choosing positives, negatives and cluster mates is part of
//! a step on both sides. Our bag updates only the rows a batch touched; PyTorch's AdamW updates all of them,
//! its `SparseAdam` does as we do. The targets are against `AdamW` as PyTorch ships it; the other optimisers
//! stand beside it so that nobody has to ask.

use super::Settings;
use super::measure::{Rounds, cpu_seconds};
use super::peer::{Peer, Script};
use super::report::{Report, Target};
use rand::RngExt;
use routewright_data::dense::Activation;
use routewright_data::{Cells, rng};
use routewright_trainer::neural::{
    AdamW, BagRows, Contrast, CpuEngine, Engine, HeadShape, LayerShape, Network, Targets, TrainableBag,
    Variant,
};

const SCRIPT: Script = Script { peer: "PyTorch", file: "step.py", text: include_str!("peers/step.py") };

const BATCH: usize = 64;
const N_ARMS: usize = 11;
const N_QUERIES: usize = 4000;
const N_CLUSTERS: u32 = 8;
const N_FEATURES: usize = 384;
const WIDTH: usize = 768;
const N_BUCKETS: u32 = 1 << 14;
const IDS: usize = 128;
const OPTIMIZER: AdamW = AdamW { rate: 5e-4, weight_decay: 0.01, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8 };
/// Steps before anything is timed.
const WARM_UP: usize = 5;
/// Steps a round, ours and the peer's.
const HEAD_STEPS: (usize, usize) = (150, 100);
const BAG_STEPS: (usize, usize) = (40, 15);

/// What is asked of the peer, how it is called, what we are held to.
type Variants = &'static [(&'static str, &'static str, Option<Target>)];

const HEAD_VARIANTS: Variants =
    &[("head", "AdamW", Some(Target::RatioAtLeast(1.0))), ("head-fused", "AdamW(fused=True)", None)];
const BAG_VARIANTS: Variants = &[
    ("bag", "AdamW", Some(Target::RatioAtLeast(5.0))),
    ("bag-fused", "AdamW(fused=True)", None),
    ("bag-sparse", "SparseAdam", None),
];

/// Batches with every choice the losses need.
#[derive(Debug)]
struct Batches {
    labels: Cells,
    clusters: Vec<u32>,
    contrast: Contrast,
    rng: rng::Rng,
}

/// Measures both shapes.
pub(super) fn run(settings: &Settings, report: &mut Report) {
    let mut peer = settings.interpreters.start(SCRIPT, &[], report);
    super::output::tell("step: head");
    compare("step, head 384-768-768", HEAD_STEPS, HEAD_VARIANTS, head(), settings.rounds, &mut peer, report);
    super::output::tell("step: bag");
    compare("step, bag 2^14 x 768", BAG_STEPS, BAG_VARIANTS, bag(), settings.rounds, &mut peer, report);
}

fn compare(
    what: &str,
    steps: (usize, usize),
    variants: Variants,
    mut step: impl FnMut(),
    rounds: usize,
    peer: &mut Peer,
    report: &mut Report,
) {
    (0..WARM_UP).for_each(|_| step());
    let mut figures = vec![Rounds::default(); variants.len()];
    for _ in 0..rounds {
        let spent = cpu_seconds(|| {
            (0..steps.0).for_each(|_| step());
            Ok(())
        });
        // The work cannot fail, so there always is a time.
        let ours = spent.map_or(f64::NAN, |seconds| (BATCH * steps.0) as f64 / seconds);
        for ((kind, ..), figures) in variants.iter().zip(&mut figures) {
            let theirs = peer.figure(&format!("{kind} {}", steps.1), "samples_per_cpu_s", report);
            figures.push(ours, theirs);
        }
    }
    for ((_, name, target), figures) in variants.iter().zip(&figures) {
        report.row(format!("{what}, vs PyTorch {name}"), "/s", figures, *target);
    }
}

/// A step of the head.
fn head() -> impl FnMut() {
    let layer = |activation| LayerShape { width: WIDTH, activation, bias: true };
    let mut engine = engine(N_FEATURES, vec![layer(Activation::Gelu), layer(Activation::Identity)]);
    let mut batches = Batches::new();
    let mut rng = rng::stream(2, "bench features");
    let features: Vec<f32> = (0..N_QUERIES * N_FEATURES).map(|_| rng.random::<f32>() - 0.5).collect();
    let mut input = Vec::new();
    move || {
        let (queries, targets) = batches.next();
        input.clear();
        queries.iter().for_each(|q| input.extend_from_slice(&features[q * N_FEATURES..][..N_FEATURES]));
        engine.step(&input, &targets, None);
    }
}

/// A step of the bag.
fn bag() -> impl FnMut() {
    let mut engine = engine(WIDTH, Vec::new());
    let mut batches = Batches::new();
    let mut bag = TrainableBag::new(N_BUCKETS as usize, WIDTH, 1.0, OPTIMIZER, 1);
    let mut rows = BagRows::default();
    let mut rng = rng::stream(3, "bench ids");
    for _ in 0..N_QUERIES {
        rows.push((0..IDS).map(|_| (rng.random_range(0..N_BUCKETS), 1.0 / IDS as f32)).collect::<Vec<_>>());
    }
    let mut gradient = Vec::new();
    move || {
        let (queries, targets) = batches.next();
        let pooled = bag.pool(&rows, &queries);
        engine.step(&pooled, &targets, Some(&mut gradient));
        bag.update(&rows, &queries, &gradient);
    }
}

fn engine(dim: usize, layers: Vec<LayerShape>) -> CpuEngine {
    let network = Network { dim, layers, head: HeadShape::Cosine, n_arms: N_ARMS };
    let parameters = network.init(1);
    CpuEngine::new(network, parameters, OPTIMIZER)
}

impl Batches {
    fn new() -> Self {
        let mut rng = rng::stream(1, "bench batches");
        let scores = (0..N_QUERIES * N_ARMS).map(|_| rng.random::<f32>()).collect();
        let clusters = (0..N_QUERIES).map(|_| rng.random_range(0..N_CLUSTERS)).collect();
        let contrast = Contrast {
            variant: Variant::Paper,
            positives: 3,
            negatives: 3,
            temperature: 0.1,
            outsiders: 3,
            cluster_weight: 1.0,
        };
        Self { labels: Cells::from_vec(N_QUERIES, N_ARMS, scores), clusters, contrast, rng }
    }

    /// Rows of a batch and what it is judged by.
    fn next(&mut self) -> (Vec<usize>, Targets) {
        let rows: Vec<usize> = (0..BATCH).map(|_| self.rng.random_range(0..N_QUERIES)).collect();
        let targets = self.contrast.targets(&self.labels, &rows, Some(&self.clusters), &mut self.rng);
        (rows, Targets::Contrast(targets))
    }
}
