use super::training::gradient;
use super::*;
use routewright_data::rng;

fn shape() -> LmShape {
    LmShape { dim: 8, hidden: 12, layers: 2, heads: 4, kv_heads: 2, vocabulary: 11 }
}

fn recipe() -> LmRecipe {
    LmRecipe { shape: shape(), steps: 200, warm_up: 10, rate: 1e-2, weight_decay: 0.01, clip: 1.0, seed: 3 }
}

fn texts() -> Vec<Text> {
    let text = |ids: &[u32], from: usize| Text {
        ids: ids.to_vec(),
        learned: (0..ids.len()).map(|at| at >= from).collect(),
    };
    vec![text(&[1, 5, 7, 2, 9], 2), text(&[1, 10, 3], 0), text(&[1, 4, 4, 6, 8, 2, 0], 4)]
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    let mut weights = LmWeights::random(shape(), &mut rng::stream(0, "weights"));
    // States of size 1: the norm of small ones bends too much for the differences.
    weights.embedding.iter_mut().for_each(|value| *value *= 20.0);
    let (_, mut found) = gradient(&weights, &texts());
    let found: Vec<Vec<f32>> = found.parts_mut().into_iter().map(|(_, part)| part.clone()).collect();
    let h = 1e-2;
    for (part, found) in found.iter().enumerate() {
        for at in (0..found.len()).step_by(found.len() / 5 + 1) {
            let mut loss = |by: f32| {
                weights.parts_mut()[part].1[at] += by;
                let loss = gradient(&weights, &texts()).0;
                weights.parts_mut()[part].1[at] -= by;
                loss
            };
            let want =
                (8.0 * (loss(h) - loss(-h)) - (loss(2.0 * h) - loss(-2.0 * h))) / (12.0 * f64::from(h));
            let found = f64::from(found[at]);
            assert!(
                (found - want).abs() < 2e-3 * want.abs() + 2e-4,
                "part {part} at {at}: {found} not {want}"
            );
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_also_after_a_stop_and_texts_are_learned() {
    let batch = |_| texts();
    let mut whole = LmTrainer::new(recipe()).unwrap();
    let first = gradient(whole.weights(), &texts()).0;
    whole.run(&batch, &crate::progress::Silent).unwrap();
    // What follows the first id is not the same in all texts; the rest of each can be known.
    let last = gradient(whole.weights(), &texts()).0;
    assert!(first > 1.5 && last < 0.3, "{first} {last}");
    let mut stopped = LmTrainer::new(recipe()).unwrap();
    for _ in 0..50 {
        stopped.step(&texts()).unwrap();
    }
    let mut resumed = LmTrainer::new(LmRecipe { seed: 99, ..recipe() }).unwrap();
    resumed.restore(&mut stopped.save()).unwrap();
    resumed.run(&batch, &crate::progress::Silent).unwrap();
    assert_eq!(resumed.weights(), whole.weights());
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let odd = LmRecipe { shape: LmShape { heads: 3, ..shape() }, ..recipe() };
    assert!(LmTrainer::new(odd).unwrap_err().to_string().contains("dim `8` has `3` heads"));
    let mut trainer = LmTrainer::new(recipe()).unwrap();
    let error = trainer.step(&[Text { ids: vec![1, 11], learned: vec![true; 2] }]).unwrap_err();
    assert!(error.to_string().contains("id `11`"), "{error}");
}
