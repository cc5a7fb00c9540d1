//! Samples per CPU second of a RouterDC training step, beside PyTorch where a script of it is given.
//!
//! ```text
//! cargo run --release --example neural_step [-- PYTHON SCRIPT DATA]
//! ```
//! Shapes are those of the peer script: head 384-768-768 with GELU, or an embedding bag of 2^14 x 768 over 128
//! ids a query; 11 arms, K+ = K- = H = 3, batch 64, AdamW. Choosing positives, negatives and cluster mates is
//! part of a step on both sides. The processor's time is compared, not the clock on the wall; the load of the
//! machine still shows in it, so both are taken in one run, alternating.
#![allow(clippy::allow_attributes, clippy::print_stdout, reason = "an example prints")]

use rand::RngExt;
use routewright_data::dense::Activation;
use routewright_data::{Cells, rng};
use routewright_trainer::neural::{
    AdamW, BagRows, Contrast, CpuEngine, Engine, HeadShape, LayerShape, Network, Targets, TrainableBag,
    Variant,
};
use std::process::Command;

const BATCH: usize = 64;
const N_ARMS: usize = 11;
const N_QUERIES: usize = 4000;
const N_CLUSTERS: u32 = 8;
const IDS: usize = 128;

/// User and system time of this process in seconds, all threads.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks = |i: usize| after.split_whitespace().nth(i).and_then(|v| v.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

struct Batches {
    labels: Cells,
    clusters: Vec<u32>,
    contrast: Contrast,
    rng: rng::Rng,
}

impl Batches {
    fn new() -> Self {
        let mut rng = rng::stream(1, "bench");
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

    fn next(&mut self) -> (Vec<usize>, Targets) {
        let rows: Vec<usize> = (0..BATCH).map(|_| self.rng.random_range(0..N_QUERIES)).collect();
        let targets = self.contrast.targets(&self.labels, &rows, Some(&self.clusters), &mut self.rng);
        (rows, Targets::Contrast(targets))
    }
}

fn network(dim: usize, layers: Vec<LayerShape>) -> CpuEngine {
    let network = Network { dim, layers, head: HeadShape::Cosine, n_arms: N_ARMS };
    let parameters = network.init(1);
    CpuEngine::new(network, parameters, AdamW { rate: 5e-4, ..AdamW::default() })
}

/// Samples per CPU second of `steps` steps, after a few to warm up.
fn measure(steps: usize, mut step: impl FnMut()) -> f64 {
    (0..5).for_each(|_| step());
    let start = cpu_seconds();
    (0..steps).for_each(|_| step());
    (BATCH * steps) as f64 / (cpu_seconds() - start)
}

fn head(steps: usize) -> f64 {
    let layer = |activation| LayerShape { width: 768, activation, bias: true };
    let mut engine = network(384, vec![layer(Activation::Gelu), layer(Activation::Identity)]);
    let mut batches = Batches::new();
    let features: Vec<f32> = (0..N_QUERIES * 384).map(|i| (i as f32 * 0.618).fract() - 0.5).collect();
    measure(steps, || {
        let (rows, targets) = batches.next();
        let input: Vec<f32> =
            rows.iter().flat_map(|&r| features[r * 384..(r + 1) * 384].iter().copied()).collect();
        engine.step(&input, &targets, None);
    })
}

fn bag(steps: usize) -> f64 {
    let mut engine = network(768, Vec::new());
    let mut batches = Batches::new();
    let optimizer = AdamW { rate: 5e-4, ..AdamW::default() };
    let mut bag = TrainableBag::new(1 << 14, 768, 1.0, optimizer, 1);
    let mut rows = BagRows::default();
    let mut rng = rng::stream(3, "ids");
    for _ in 0..N_QUERIES {
        rows.push((0..IDS).map(|_| (rng.random_range(0..1 << 14), 1.0 / IDS as f32)).collect::<Vec<_>>());
    }
    let mut gradient = Vec::new();
    measure(steps, || {
        let (queries, targets) = batches.next();
        let pooled = bag.pool(&rows, &queries);
        engine.step(&pooled, &targets, Some(&mut gradient));
        bag.update(&rows, &queries, &gradient);
    })
}

/// What the peer script prints for one kind, samples per CPU second; it runs on one thread as we do.
fn peer(args: &[String], kind: &str) -> Option<f64> {
    let [python, script, data] = args else { return None };
    let flags = ["--threads", "1", "--steps", "100", "--runs", "1", "--kinds", kind, "--data", data];
    let output = Command::new(python).arg(script).args(flags).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let after = text.split("'samples_per_cpu_s': ").nth(1)?;
    after.split([',', '}']).next()?.trim().parse().ok()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    println!("samples per CPU second, batch {BATCH}, median of 3");
    for (name, kind, ours, steps) in
        [("head 384-768-768", "mlp", head as fn(usize) -> f64, 150), ("bag 2^14 x 768", "bag", bag, 40)]
    {
        let mut own = Vec::new();
        let mut theirs = Vec::new();
        for _ in 0..3 {
            own.push(ours(steps));
            theirs.extend(peer(&args, kind));
        }
        own.sort_by(f64::total_cmp);
        theirs.sort_by(f64::total_cmp);
        match theirs.get(theirs.len() / 2) {
            Some(peer) => println!("{name}: {:.0}, PyTorch {peer:.0}, ratio {:.2}", own[1], own[1] / peer),
            None => println!("{name}: {:.0} (no peer script given)", own[1]),
        }
    }
}
