//! The engines take the same steps.

use super::super::cpu::CpuEngine;
use super::super::network::LayerShape;
use super::super::targets::{Contrast, Variant};
use super::*;
use burn_autodiff::Autodiff;
use burn_flex::Flex;
use burn_ndarray::NdArray;
use rand::RngExt;
use routewright_data::{Cells, rng};

const N: usize = 12;
const DIM: usize = 10;
const N_ARMS: usize = 5;

fn network(head: HeadShape, hidden: Activation) -> Network {
    let layer = |width, activation| LayerShape { width, activation, bias: true };
    let layers = match head {
        HeadShape::Factor => vec![LayerShape { bias: false, ..layer(6, Activation::Identity) }],
        _ => vec![layer(7, hidden), layer(6, Activation::Identity)],
    };
    Network { dim: DIM, layers, head, n_arms: N_ARMS }
}

fn labels() -> Cells {
    let mut rng = rng::stream(5, "labels");
    let mut cell = || match rng.random_range(0..6) {
        0 => f32::NAN,
        k => k as f32 / 5.0 - 0.2,
    };
    Cells::from_vec(N, N_ARMS, (0..N * N_ARMS).map(|_| cell()).collect())
}

/// Labels over their sums, holes kept; a query whose labels are all 0 has no target.
fn distributions(labels: &[f32]) -> Vec<f32> {
    let of_row = |row: &[f32]| {
        let total: f32 = row.iter().filter(|y| !y.is_nan()).sum();
        row.iter().map(|y| if total > 0.0 { y / total } else { f32::NAN }).collect::<Vec<f32>>()
    };
    labels.chunks_exact(N_ARMS).flat_map(of_row).collect()
}

fn contrast(variant: Variant) -> Targets {
    let contrast =
        Contrast { variant, positives: 3, negatives: 2, temperature: 0.3, outsiders: 2, cluster_weight: 0.8 };
    let rows: Vec<usize> = (0..N).collect();
    let clusters: Vec<u32> = (0..N as u32).map(|i| i % 3).collect();
    Targets::Contrast(contrast.targets(&labels(), &rows, Some(&clusters), &mut rng::stream(6, "t")))
}

fn assert_near(found: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), want.len(), "{what}");
    for (found, want) in found.iter().zip(want) {
        assert!((found - want).abs() < tolerance, "{what}: {found} is not {want}");
    }
}

/// The hand-written engine against burn on its two backends for the processor.
fn engines_agree(network: Network, targets: &Targets) {
    agrees_with::<Autodiff<Flex>>(network.clone(), targets, 2e-6);
    // burn's own gradient of GELU, which `flex` replaces, is that of the approximation by tanh.
    agrees_with::<Autodiff<NdArray>>(network, targets, 2e-3);
}

fn agrees_with<B: AutodiffBackend>(network: Network, targets: &Targets, tolerance: f32) {
    let mut rng = rng::stream(4, "input");
    let input: Vec<f32> = (0..N * DIM).map(|_| rng.random_range(-1.0..1.0)).collect();
    let optimizer = AdamW { rate: 0.01, ..AdamW::default() };
    let parameters = network.init(3);
    let mut reference =
        AutodiffEngine::<B>::new(network.clone(), parameters.clone(), optimizer, Default::default());
    let mut engine = CpuEngine::new(network, parameters, optimizer);

    let want = reference.differentiate(&input, targets, true);
    let mut of_input = Vec::new();
    let loss = engine.differentiate(&input, targets, Some(&mut of_input));
    assert!((loss - want.loss).abs() < 1e-5, "{loss} {}", want.loss);
    for (i, (found, want)) in engine.gradients().iter().zip(want.parameters).enumerate() {
        assert_near(found, &download(want), tolerance, &format!("gradient {i}"));
    }
    assert_near(&of_input, &download(want.input.unwrap()), tolerance, "gradient of the input");

    for _ in 0..5 {
        let (a, b) = (engine.step(&input, targets, None), reference.step(&input, targets, None));
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
    for (found, want) in engine.parameters().iter().zip(reference.parameters()) {
        // AdamW divides by the root of the second moment: tiny gradients of unlike sign move weights apart.
        assert_near(&found.values, &want.values, 2e-3, &want.name);
    }
}

#[test]
fn contrastive_steps_agree_in_both_variants() {
    for variant in [Variant::Paper, Variant::Released] {
        engines_agree(network(HeadShape::Cosine, Activation::Gelu), &contrast(variant));
    }
}

#[test]
fn score_and_preference_steps_agree() {
    let labels = labels().values().to_vec();
    for (kind, hidden) in [(ScoreLoss::Mse, Activation::Relu), (ScoreLoss::Bce, Activation::Sigmoid)] {
        let linear = network(HeadShape::Linear(Activation::Identity), hidden);
        engines_agree(linear, &Targets::Scores(labels.clone(), kind));
    }
    let linear = network(HeadShape::Linear(Activation::Identity), Activation::Gelu);
    engines_agree(linear, &Targets::Distribution(distributions(&labels)));
    engines_agree(network(HeadShape::Factor, Activation::Gelu), &Targets::Preferences(labels));
    let duel = |(a, b, share, weight)| Duel { a, b, share, weight };
    let judged = [(0, 1, 1.0, 1.0), (3, 4, 0.5, 2.0), (6, 5, 0.0, 0.3), (59, 56, 1.0, 1.0)].map(duel);
    engines_agree(network(HeadShape::Factor, Activation::Gelu), &Targets::Duels(judged.to_vec()));
}

#[test]
fn adamw_in_tensors_equals_burns() {
    use burn::module::{Module, Param};
    use burn::optim::{AdamWConfig, GradientsParams, Optimizer};

    #[derive(Module, Debug)]
    struct Weights<B: Backend> {
        w: Param<Tensor<B, 2>>,
    }
    type B = Autodiff<Flex>;
    let device = Default::default();
    let start = upload::<B>(&[0.5, -1.0, 2.0], [1, 3], &device);
    let mut module = Weights::<B> { w: Param::from_tensor(start) };
    let config = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.01);
    let mut burns = config.init::<B, Weights<B>>();
    let adam = AdamW { rate: 0.05, ..AdamW::default() };
    let (mut w, mut m, mut v) = (vec![0.5, -1.0, 2.0], vec![0.0; 3], vec![0.0; 3]);
    for t in 1..=4 {
        let g: Vec<f32> = (0..3).map(|i| (t * 7 + i * 3) as f32 % 5.0 - 2.0).collect();
        let weighted = module.w.val() * upload::<B>(&g, [1, 3], &device);
        let grads = GradientsParams::from_grads(weighted.sum().backward(), &module);
        module = burns.step(0.05, module, grads);
        adam.at(t as u64).update(&mut w, &mut m, &mut v, &g);
    }
    assert_near(&w, &download(module.w.val()), 1e-6, "weights");
}
