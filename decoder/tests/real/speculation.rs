//! The speculative ensemble writes what plain fusion writes.

use crate::stories;
use routewright_decoder::backend::Backend;
use routewright_decoder::backends::llama2c::{Llama2c, Weights};
use routewright_decoder::fuse::{answer, find};
use routewright_decoder::generation::{Answer, Ask};
use routewright_decoder::pick::Pick;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// stories260K, and the same with half of its last layer: two models of one vocabulary.
fn two() -> Option<[Arc<dyn Backend>; 2]> {
    let stories = stories()?;
    let mut weights: Weights = stories.weights().clone();
    weights.blocks[4].w2.iter_mut().for_each(|value| *value *= 0.3);
    let other = Llama2c::new("other", weights, stories.tokenizer().unwrap().clone()).unwrap();
    Some([Arc::new(stories), Arc::new(other)])
}

fn run(system: &str, params: Value, backends: &[Arc<dyn Backend>], ask: Ask) -> Answer {
    let fuser = find(system).unwrap().build(&params, backends).unwrap();
    answer(&*fuser, backends, ask, Box::new(|_| {})).unwrap()
}

#[test]
fn greedy_output_is_that_of_plain_fusion_for_every_gamma() {
    let Some(backends) = two() else { return };
    for (pool, weights) in [(json!("linear"), [0.5, 0.5]), (json!("log-linear"), [0.3, 0.7])] {
        let mut ask = Ask::new(b"Once upon a time, there was a big");
        ask.limits.steps = 80;
        let plain = match &pool {
            Value::String(name) if name == "linear" => {
                run("gac", json!({"weights": weights}), &backends, ask.clone())
            }
            _ => run("purify", json!({"weights": weights}), &backends, ask.clone()),
        };
        for gamma in [1, 2, 5, 9] {
            let params = json!({"weights": weights, "gamma": gamma, "pool": pool});
            let answer = run("speculative-ensemble", params, &backends, ask.clone());
            assert_eq!(answer.text, plain.text, "gamma {gamma}");
            assert_eq!(answer.trace.steps().len(), plain.trace.steps().len());
            if gamma == 5 {
                println!("{pool}: {} calls instead of {}", answer.calls, plain.calls);
                assert!(answer.calls < plain.calls);
            }
        }
    }
}

#[test]
fn sampled_output_has_the_distribution_of_plain_fusion() {
    let Some(backends) = two() else { return };
    const N: usize = 700;
    let count = |system: &str, params: Value| {
        let fuser = find(system).unwrap().build(&params, &backends).unwrap();
        let mut counts: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for seed in 0..N {
            let mut ask = Ask::new(b"She saw a");
            ask.limits.steps = 2;
            ask.pick = Pick { temperature: 0.8, top_p: 0.9 };
            ask.seed = seed as u64;
            let answer = answer(&*fuser, &backends, ask, Box::new(|_| {})).unwrap();
            let steps = answer.trace.steps();
            *counts.entry(steps.get(1).map_or(Vec::new(), |step| step.text.clone())).or_default() += 1;
        }
        counts
    };
    let plain = count("gac", json!({"weights": [0.5, 0.5]}));
    let ahead = count("speculative-ensemble", json!({"weights": [0.5, 0.5], "gamma": 3}));
    for (text, n) in &plain {
        let (a, b) = (*n as f64 / N as f64, ahead.get(text).copied().unwrap_or(0) as f64 / N as f64);
        let deviation = ((a * (1.0 - a) + b * (1.0 - b)) / N as f64).sqrt().max(1.0 / N as f64);
        assert!((a - b).abs() < 4.5 * deviation, "{}: {a} {b}", String::from_utf8_lossy(text));
    }
}
