//! The encoder in burn against the one by hand, and its training through the method.

use super::*;
use burn_autodiff::Autodiff;
use burn_flex::Flex;
use routewright_data::features::bert::write_tiny;
use routewright_data::features::{FeatureInput, Featurizer};
use std::path::Path;

fn recipe(dir: &Path, texts: &[&str], rate: f32) -> BertRecipe {
    let checkpoint = BertCheckpoint::open(dir).unwrap();
    let optimizer = AdamW { rate, ..AdamW::default() };
    BertRecipe::new(checkpoint, EncoderSettings::default(), optimizer, texts).unwrap()
}

fn assert_same(encoder: &dyn TrainableBert, recipe: &BertRecipe, texts: &[&str]) {
    let mut weights = Tensors::new();
    encoder.weights("", &mut weights);
    let by_hand = recipe.featurizer(weights).unwrap();
    let inputs: Vec<FeatureInput<'_>> = texts.iter().map(|t| FeatureInput::from(*t)).collect();
    let want = by_hand.featurize(&inputs).unwrap();
    let rows: Vec<usize> = (0..texts.len()).collect();
    for (found, want) in encoder.pool(&rows).iter().zip(want.values()) {
        assert!((found - want).abs() < 1e-5, "{found} is not {want}");
    }
}

#[test]
fn burn_equals_the_forward_pass_by_hand_before_and_after_steps() {
    let dir = tempfile::tempdir().unwrap();
    write_tiny(dir.path(), &["hello", "world"]).unwrap();
    let texts = ["hello world", "", "a longer text of many letters", "World"];
    let recipe = recipe(dir.path(), &texts, 1e-3);
    let mut encoder = recipe.start_on::<Autodiff<Flex>>(Default::default());
    assert_same(&encoder, &recipe, &texts);
    let dim = recipe.dim();
    // Drawn towards the first axis: the loss is minus the sum of the first entries.
    let gradient: Vec<f32> = (0..3 * dim).map(|i| if i % dim == 0 { -1.0 } else { 0.0 }).collect();
    let first = |v: &[f32]| v.iter().step_by(dim).sum::<f32>();
    let before = first(&encoder.forward(&[0, 1, 2]));
    for _ in 0..10 {
        encoder.update(&gradient);
        encoder.forward(&[0, 1, 2]);
    }
    let after = first(&encoder.pool(&[0, 1, 2]));
    assert!(after > before + 0.1, "{after} {before}");
    assert_same(&encoder, &recipe, &texts);
}

#[test]
fn the_gradient_equals_finite_differences() {
    let dir = tempfile::tempdir().unwrap();
    write_tiny(dir.path(), &["hello", "world"]).unwrap();
    // The tiny step of plain AdamW moves every weight by the sign of its gradient.
    let recipe = recipe(dir.path(), &["hello abc", "world"], 1e-5);
    let mut encoder = recipe.start_on::<Autodiff<Flex>>(Default::default());
    let gradient: Vec<f32> = (0..2 * recipe.dim()).map(|i| ((i * 7 % 11) as f32 - 5.0) / 10.0).collect();
    let loss = |v: &[f32]| v.iter().zip(&gradient).map(|(v, g)| f64::from(v * g)).sum::<f64>();
    let before = loss(&encoder.forward(&[0, 1]));
    encoder.update(&gradient);
    let mut moments = Tensors::new();
    encoder.save(&mut moments);
    // m = (1 - beta_1) g after one step: the loss falls by rate * sum |g|, to first order.
    let slope: f64 = encoder
        .parameters
        .iter()
        .map(|(name, shape)| {
            let m = moments.take_f32(&format!("bert.moment_1.{name}"), shape).unwrap();
            m.iter().map(|m| f64::from(m.abs()) / 0.1).sum::<f64>()
        })
        .sum();
    let fallen = before - loss(&encoder.pool(&[0, 1]));
    assert!((fallen / (1e-5 * slope) - 1.0).abs() < 0.1, "{fallen} {}", 1e-5 * slope);
}
